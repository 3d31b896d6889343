"""Where things are kept: a folder per port, a file per technology."""
