"""What the processes of `skyloom up` are forked from: ``python -m skyloom.runtime.nursery``.

It has imported what serving imports and has its compiled code at hand, which is most of a start; the others share what of
that they need too. No store is opened here, and no thread begun: ONNX Runtime and PyArrow
begin one when they are imported, so that every child imports them for itself. No child knows pandas: PyArrow would import
it for the first list that it is given, 38 MB in each process, and none of them has anything to do with it.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder

from skyloom.engines.local import attended, raise_children, tie_to_parent
from skyloom.features.online.warm import warm_reading, without_blas
from skyloom.kernel.errors import UsageError

PREPARED = ("skyloom.runtime.serve",)


class _WithoutPandas(MetaPathFinder):
    """Finds no pandas, as if it were not installed."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("the processes of `skyloom up` do without pandas", name=fullname)


def main() -> None:
    """Entry point of the nursery, and of each of its children."""
    control = attended()
    if control is None:
        raise UsageError("a nursery needs somebody who asks it for children", fix="skyloom up")
    tie_to_parent()
    sys.meta_path.insert(0, _WithoutPandas())
    for module in PREPARED:
        import_module(module)
    with without_blas():
        warm_reading()
    birth = raise_children(control)
    if birth is not None:
        _, _, module, *arguments = birth.words
        sys.argv = [module, *arguments]
        import_module(module).main()


if __name__ == "__main__":
    main()
