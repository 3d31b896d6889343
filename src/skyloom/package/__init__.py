"""The packaged model: data, never a program. What it takes and gives, where it is kept, how it answers."""

from skyloom.package.scorer import Scorer
from skyloom.package.signature import Input, Signature
from skyloom.package.store import Content, Golden, LoadedPackage, load, opened, read, save
from skyloom.package.trial import Allowance, try_out

__all__ = [
    "Allowance",
    "Content",
    "Golden",
    "Input",
    "LoadedPackage",
    "Scorer",
    "Signature",
    "load",
    "opened",
    "read",
    "save",
    "try_out",
]
