"""Records are what is stored: written as JSON and read back, they are the same."""

import importlib
import pkgutil
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.kernel import records
from skyloom.kernel.expr import Expression
from skyloom.kernel.ids import canonical_json
from skyloom.kernel.records.prediction import Receipt
from skyloom.kernel.schema import Field, Schema, Type

_scalar = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
_expressions = st.recursive(
    st.builds(Expression, st.sampled_from(["col", "lit"]), st.just(()), _scalar),
    lambda inner: st.builds(Expression, st.sampled_from(["+", "and"]), st.lists(inner, max_size=3).map(tuple)),
    max_leaves=8,
)


def _kinds() -> list[type[msgspec.Struct]]:
    modules = [
        importlib.import_module(f"{records.__name__}.{found.name}") for found in pkgutil.iter_modules(records.__path__)
    ]
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    return sorted((kind for kind in kinds if issubclass(kind, msgspec.Struct)), key=lambda kind: kind.__name__)


def _of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation, with floats that JSON can hold."""
    if kind is Expression:
        return _expressions
    if kind is Schema:
        return st.just(Schema((Field("id", Type.STRING), Field("x", Type.FLOAT, True, 2)), "id", ""))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return st.builds(kind, **{field.name: _of(field.type) for field in msgspec.structs.fields(kind)})
    simple = {int: st.integers(-(2**63), 2**63 - 1), float: st.floats(allow_nan=False, allow_infinity=False)}
    if kind in simple:
        return simple[kind]
    arguments = getattr(kind, "__args__", ())
    origin = getattr(kind, "__origin__", None)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), _of(arguments[1]), max_size=2)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(_of(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(_of, arguments))
    if arguments:
        return st.one_of(*map(_of, arguments))
    return st.from_type(kind)


@pytest.mark.parametrize("kind", _kinds(), ids=lambda kind: kind.__name__)
def test_records_survive_json(kind: type[msgspec.Struct]) -> None:
    @settings(max_examples=8, deadline=None, database=None)
    @given(_of(kind))
    def survives(record: msgspec.Struct) -> None:
        text = canonical_json(record)
        again = msgspec.json.decode(text, type=kind)
        assert again == record
        assert canonical_json(again) == text

    survives()


@pytest.mark.parametrize("kind", _kinds(), ids=lambda kind: kind.__name__)
def test_records_are_frozen(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.frozen


@given(st.lists(_scalar, max_size=5).map(tuple))
def test_a_receipt_keeps_the_types_of_its_inputs(inputs: tuple[Any, ...]) -> None:
    receipt = Receipt("r", "m", 1, "rel", "champion", "u", "k", 0, 0, inputs, {}, {}, None, 0.5)
    for codec in (msgspec.json, msgspec.msgpack):
        again = codec.decode(codec.encode(receipt), type=Receipt)
        assert again == receipt
        assert list(map(type, again.inputs)) == list(map(type, inputs))
