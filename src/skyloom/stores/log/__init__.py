"""Logs, one file per technology."""
