"""Keys, one file per technology."""
