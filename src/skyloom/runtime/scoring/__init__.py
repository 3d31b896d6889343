"""Batch scoring: from the words that name a table to the table of its predictions."""

from skyloom.runtime.scoring.run import Run, Scored, running, score
from skyloom.runtime.scoring.scoring import Scoring

__all__ = ["Run", "Scored", "Scoring", "running", "score"]
