"""What a model is computed by: the same name, the same bits."""

import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

from skyloom.kernel.ids import digest

_CPU = Path("/proc/cpuinfo")
_HEAD = 16_384


@cache
def machine() -> str:
    """The kind of processor, the version of ONNX Runtime, and a digest of both with the processor's abilities and the C
    library, by which kernels and elementary functions are chosen.

    >>> machine() == machine()
    True
    """
    kind, runtime = platform.machine(), version("onnxruntime")
    abilities = " ".join(sorted(_abilities()))
    return f"{kind} onnxruntime {runtime} {digest(' '.join((kind, runtime, *platform.libc_ver(), abilities)).encode())[:12]}"


def _abilities() -> set[str]:
    """What the first processor can do, as Linux tells it."""
    try:
        with _CPU.open() as file:
            lines = file.read(_HEAD).splitlines()
    except OSError:
        return set()
    told = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return set(told[0].split()) if told else set()
