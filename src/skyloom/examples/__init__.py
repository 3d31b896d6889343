"""Projects to start from: each folder is one, and its ``prepare.py`` writes its data."""
