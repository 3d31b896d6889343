"""A model that begins by joining its inputs, as one that is given them joined: a row is one array then for ONNX Runtime,
which needs a tenth of a microsecond for each input, and what the joining takes.

Numbers of fields are those of onnx.proto of ONNX 1.x.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from skyloom.package.nodes import Node, node_of
from skyloom.package.protobuf import fields, text

_GRAPH = 7
_NODE, _INPUT, _OUTPUT = 1, 11, 12
_LARGEST = 1 << 20
"""Larger models are left as they are: their weights would be in memory twice, and they take longer than their inputs."""
_AXES = (b"\x01", b"\xff" * 9 + b"\x01")
"""1 and -1: the last axis of a column."""


class Joined(NamedTuple):
    """``model`` takes float32 [rows, n] as ``name`` in place of n inputs of [rows, 1]; nothing else of it is another."""

    model: bytes
    name: str


class _Field(NamedTuple):
    """A field: its number, where it begins, and where its content does and ends."""

    number: int
    begin: int
    first: int
    last: int


def joined(model: bytes, names: Sequence[str]) -> Joined | None:
    """The same model with the inputs ``names``, in this order, given as one; ``None`` where it does anything else with them
    than to join them, and where it is large or written in an unusual way."""
    try:
        return _joined(model, names) if len(model) <= _LARGEST and len(names) > 1 else None
    except (IndexError, UnicodeDecodeError):
        return None


def _joined(model: bytes, names: Sequence[str]) -> Joined | None:
    parts = list(_fields(model, 0, len(model)))
    graphs = [each for each in parts if each.number == _GRAPH]
    if len(graphs) != 1:
        return None
    within = list(_fields(model, graphs[0].first, graphs[0].last))
    nodes = {each: node_of(model, each.first, each.last) for each in within if each.number == _NODE}
    asking = [each for each, node in nodes.items() if not set(names).isdisjoint(node.inputs)]
    given = {_name(model, each) for each in within if each.number == _INPUT}
    if len(asking) != 1 or given != set(names) or any(_holds_graph(model, node) for node in nodes.values()):
        return None
    joining = nodes[asking[0]]
    if not _joins(model, joining, names) or any(
        _name(model, each) in (*names, *joining.outputs) for each in within if each.number == _OUTPUT
    ):
        return None
    name = joining.outputs[0]
    kept = [model[each.begin : each.last] for each in within if each.number != _INPUT and each is not asking[0]]
    graph = b"".join([*kept, _message(_INPUT, _input(name, len(names)))])
    rest = [model[each.begin : each.last] for each in parts if each.number != _GRAPH]
    return Joined(b"".join([*rest, _message(_GRAPH, graph)]), name)


def _joins(model: bytes, node: Node, names: Sequence[str]) -> bool:
    """Whether a node makes one row of the columns ``names``, in this order."""
    if node.operator != "Concat" or node.domain not in ("", "ai.onnx") or len(node.outputs) != 1:
        return False
    if node.inputs != list(names) or len(node.attributes) != 1:
        return False
    axis = {number: model[first:last] for number, first, last in fields(model, *node.attributes[0])}
    return axis.get(1) == b"axis" and axis.get(3) in _AXES


def _holds_graph(model: bytes, node: Node) -> bool:
    """Whether a node has branches or a loop within it, which may look at what is around it."""
    return any(number in (6, 11) for first, last in node.attributes for number, *_ in fields(model, first, last, bulk=True))


def _name(model: bytes, field: _Field) -> str:
    """What an input or output is called."""
    return next((text(model, *place) for number, *place in fields(model, field.first, field.last) if number == 1), "")


def _fields(message: bytes, start: int, end: int) -> Iterator[_Field]:
    for number, first, last in fields(message, start, end):
        yield _Field(number, start, first, last)
        start = last


def _input(name: str, width: int) -> bytes:
    """A ``ValueInfoProto``: float32 [any number, width]."""
    shape = _message(1, b"") + _message(1, b"\x08" + _varint(width))
    tensor = b"\x08\x01" + _message(2, shape)
    return _message(1, name.encode()) + _message(2, _message(1, tensor))


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
