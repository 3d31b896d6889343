"""Processes of these tests start with the drivers imported."""

from skyloom.testing.faults import preload

preload("apsw", "cryptography.hazmat.primitives.serialization", "deltalake", "lmdb", "pandas", "skyloom.stores.environment")
