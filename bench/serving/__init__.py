"""Serving beside its peers: every server on one core, the load generator on another."""
