"""AWS Lambda: the loop over its runtime API, and the events that it brings."""
