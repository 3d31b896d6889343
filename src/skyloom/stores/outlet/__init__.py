"""Where finished tables go: one file per technology."""
