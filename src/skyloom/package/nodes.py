"""Nodes of the graph of a model file, read without building it. Numbers of fields are those of onnx.proto of ONNX 1.x."""

from typing import NamedTuple

from skyloom.package.protobuf import fields, text


class Node(NamedTuple):
    """One operator. ``attributes`` are where each of them begins and ends in the file."""

    operator: str
    domain: str
    inputs: list[str]
    outputs: list[str]
    attributes: list[tuple[int, int]]


def node_of(model: bytes, first: int, last: int) -> Node:
    """The node in the bytes ``first`` to ``last`` of a file. Raises `IndexError` and `UnicodeDecodeError` for none."""
    node = Node("", "", [], [], [])
    for number, start, end in fields(model, first, last):
        if number == 1:
            node.inputs.append(text(model, start, end))
        elif number == 2:
            node.outputs.append(text(model, start, end))
        elif number == 4:
            node = node._replace(operator=text(model, start, end))
        elif number == 5:
            node.attributes.append((start, end))
        elif number == 7:
            node = node._replace(domain=text(model, start, end))
    return node
