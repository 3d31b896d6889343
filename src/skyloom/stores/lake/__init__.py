"""Lakes, one file per technology."""
