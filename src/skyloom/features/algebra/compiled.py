"""How the kernel is compiled: by Numba, kept on the disk beside its sources."""

from pathlib import Path
from typing import Any

from numba import config, njit

from skyloom.kernel.ids import digest

SOURCES = (
    "compiled.py",
    "exact.py",
    "wide.py",
    "sketches.py",
    "program.py",
    "tiles.py",
    "kernel.py",
    "columns.py",
    "codes.py",
    "../offline/pit.py",
    "batch.py",
)
"""Every file that compiled code is made of, or that tells it what it works on."""


def _cache_folder() -> str:
    """Compiled code belongs to exactly these sources: Numba alone would also load what an older kernel left behind."""
    here = Path(__file__).parent
    sources = b"".join((here / name).read_bytes() for name in SOURCES)
    return str(here / "__pycache__" / f"kernel-{digest(sources)[:12]}")


def jit(function: Any) -> Any:
    """The function compiled for the types it is called with; tests run the same source uncompiled."""
    before, config.CACHE_DIR = config.CACHE_DIR, _FOLDER  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return njit(cache=True, nogil=True)(function)
    finally:
        config.CACHE_DIR = before  # pyright: ignore[reportAttributeAccessIssue]


_FOLDER = _cache_folder()
