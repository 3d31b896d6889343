"""Requests to be scored, wherever they lie: every row in its place, also those that break the contract."""

from skyloom.ingest.requests.batch import RequestBatch, RequestSource, gathered, of_columns
from skyloom.ingest.requests.databases import DatabaseRequests
from skyloom.ingest.requests.files import FileRequests
from skyloom.ingest.requests.snapshots import Snapshot, SnapshotRequests

__all__ = [
    "DatabaseRequests",
    "FileRequests",
    "RequestBatch",
    "RequestSource",
    "Snapshot",
    "SnapshotRequests",
    "gathered",
    "of_columns",
]
