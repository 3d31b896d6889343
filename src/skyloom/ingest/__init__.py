"""Bringing rows in: typed, checked against the contract of their source, appended to the log, sunk into the lake."""
