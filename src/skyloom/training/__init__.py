"""Training: split, fit, search, evaluate, convert, prove. Functions over Arrow tables; no store is touched."""

from skyloom.training.card import Card
from skyloom.training.prove import Proof
from skyloom.training.train import Holdout, Trained, TrainOptions, train

__all__ = ["Card", "Holdout", "Proof", "TrainOptions", "Trained", "train"]
