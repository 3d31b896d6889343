"""The kernel's own source, run without a compiler; and the same with one place of it broken on purpose."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numba

from skyloom.features.algebra import kernel

MODULES = ("compiled", "exact", "wide", "sketches", "tiles", "kernel")
"""What is compiled, each before what imports it."""


def _uncompiled(**_: Any) -> Any:
    return lambda function: function


def twin(healthy: str = "", broken: str = "") -> ModuleType:
    """The kernel under another name, as plain Python; with ``broken`` in place of ``healthy`` a mutant."""
    folder = Path(str(kernel.__file__)).parent
    sources = {name: (folder / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    if healthy:
        assert sum(source.count(healthy) for source in sources.values()) == 1, f"{healthy!r} is not in the kernel once"
        sources = {name: source.replace(healthy, broken) for name, source in sources.items()}
    made: dict[str, ModuleType] = {}
    with patch.object(numba, "njit", _uncompiled), patch.dict(sys.modules):
        for name, source in sources.items():
            full = f"skyloom.features.algebra.{name}"
            made[name] = sys.modules[full] = module = ModuleType(full)
            module.__file__ = str(folder / f"{name}.py")
            exec(compile(source, module.__file__, "exec"), module.__dict__)
    return made["kernel"]
