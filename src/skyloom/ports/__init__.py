"""The protocols of everything that can be swapped. Each states what its adapters promise."""

from skyloom.ports.compute import Compute, Job, JobResult
from skyloom.ports.keys import Signer, Verifier
from skyloom.ports.lake import Lake
from skyloom.ports.log import MAX_ROWS, Log, LogBatch, NewBatch
from skyloom.ports.metadata import Change, Document, Metadata, Transaction
from skyloom.ports.objects import ObjectReader, Objects
from skyloom.ports.online import OnlineReader, OnlineStore, OnlineWriter
from skyloom.ports.outlet import Finished, Outlet

__all__ = [
    "MAX_ROWS",
    "Change",
    "Compute",
    "Document",
    "Finished",
    "Job",
    "JobResult",
    "Lake",
    "Log",
    "LogBatch",
    "Metadata",
    "NewBatch",
    "ObjectReader",
    "Objects",
    "OnlineReader",
    "OnlineStore",
    "OnlineWriter",
    "Outlet",
    "Signer",
    "Transaction",
    "Verifier",
]
