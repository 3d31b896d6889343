"""The packaged model: data, never a program. What it takes and gives, where it is kept, how it answers."""

from skyloom.package.scorer import Scorer
from skyloom.package.signature import Input, Signature
from skyloom.package.store import Golden, LoadedPackage, load, save

__all__ = ["Golden", "Input", "LoadedPackage", "Scorer", "Signature", "load", "save"]
