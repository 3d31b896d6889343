"""Compile what reads features, before somebody waits for it."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np

from skyloom.features.algebra.kernel import read_packed
from skyloom.features.algebra.program import Program, compile_group
from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef
from skyloom.kernel.units import HOUR

_BLAS = "scipy.linalg"


def warm_reading() -> None:
    """Compile (or load from the cache) what reads the features of a request."""
    read_packed(example_program().packed, b"", 1, np.empty(2))


@contextmanager
def without_blas() -> Generator[None]:
    """Let Numba find no BLAS while the block runs. It looks for one when the first compiled function is loaded, by importing
    SciPy's: a tenth of a second and 20 MB for what nothing here calls. Not for a process that runs foreign code."""
    modules: dict[str, Any] = sys.modules
    absent = _BLAS not in modules
    if absent:
        modules[_BLAS] = None
    try:
        yield
    finally:
        if absent:
            del modules[_BLAS]


def example_program() -> Program:
    """A group as small as any, to call the kernel with."""
    aggregates = (AggregateDef("a", "max", "x", HOUR, HOUR), AggregateDef("b", "mean", "x", HOUR, HOUR))
    return compile_group(FeatureGroupDef("g", "s", ("k",), aggregates, {"x": 0}, 0))
