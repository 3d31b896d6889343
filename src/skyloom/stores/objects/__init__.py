"""Objects, one file per technology."""
