"""Environments of the peers that we do not depend on: made once, in a cache folder, from exact versions."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

_MODELS = ("scikit-learn==1.9.1", "onnxruntime==1.31.1", "numpy==2.4.6")
_SERVER = ("fastapi==0.165.0", "uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0")
ENVIRONMENTS = {
    "polars": ("polars==2.1.0", "pyarrow==26.0.1"),
    "feast": ("feast==0.67.0",),
    "fastapi": (*_SERVER, *_MODELS),
    "litserve": ("litserve==0.2.19", *_MODELS),
    "mlserver": ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", *_MODELS),
    "bentoml": ("bentoml==1.4.39", *_MODELS),
    "ray": ("ray[serve]==2.60.0", *_MODELS),
    "mlflow": ("mlflow==3.17.2", *_MODELS),
    "kserve": ("kserve==0.21.0", *_MODELS),
}


def python_of(name: str) -> str:
    """The interpreter of an environment, which is made when it is not there. Raises `RuntimeError` when that fails."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skyloom-bench"
    folder = cache / re.sub(r"[^\w.]+", "-", "-".join([*ENVIRONMENTS[name], f"py{sys.version_info.minor}"]))
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        uv = shutil.which("uv") or _beside_the_project()
        if uv:
            _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
            _run(uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *ENVIRONMENTS[name])
        else:
            _run(sys.executable, "-m", "venv", "--clear", str(folder))
            _run(str(python), "-m", "pip", "install", "--quiet", *ENVIRONMENTS[name])
        ready.touch()
    return str(python)


def _beside_the_project() -> str | None:
    uv = Path(__file__).resolve().parent.parent / ".venv-uv" / "bin" / "uv"
    return str(uv) if uv.exists() else None


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with exit code {done.returncode}: {done.stderr[-500:]}")
