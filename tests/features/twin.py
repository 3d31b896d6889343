"""The kernel's own source, run without a compiler; and the same with one place of it broken on purpose."""

import importlib.util
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numba

from skyloom.features import kernel


def _uncompiled(**_: Any) -> Any:
    return lambda function: function


def twin(healthy: str = "", broken: str = "") -> ModuleType:
    """The kernel under another name, as plain Python; with ``broken`` in place of ``healthy`` a mutant."""
    path = str(kernel.__file__)
    spec = importlib.util.spec_from_file_location("kernel_twin", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with open(path, encoding="utf-8") as file:
        source = file.read()
    if healthy:
        assert source.count(healthy) == 1, f"{healthy!r} is not in the kernel once"
        source = source.replace(healthy, broken)
    with patch.object(numba, "njit", _uncompiled):
        exec(compile(source, path, "exec"), module.__dict__)
    return module
