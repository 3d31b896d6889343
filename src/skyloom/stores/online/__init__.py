"""Online stores, one file per technology."""
