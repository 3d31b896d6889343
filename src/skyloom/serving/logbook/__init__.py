"""The logbook: receipts on their way from a prediction into the log."""

from skyloom.serving.logbook.logbook import UNLOGGED, Logbook, Room, Sealed
from skyloom.serving.logbook.policy import Policy, keyed_hash, policy_of

__all__ = ["UNLOGGED", "Logbook", "Policy", "Room", "Sealed", "keyed_hash", "policy_of"]
