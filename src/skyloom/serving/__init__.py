"""The data plane: answers predictions and takes events in, from the release it obeys."""
