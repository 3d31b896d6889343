"""Metadata, one file per technology."""
