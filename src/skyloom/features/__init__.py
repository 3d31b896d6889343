"""Features: one definition, computed by one kernel for training sets, the stream and served requests alike."""
