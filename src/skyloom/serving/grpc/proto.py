"""Message classes made from a ``.proto`` file at the start of a process.

Generated code registers its messages for the whole process, where those of a client library of the same protocol may lie
already, and asks for one version of protobuf; what is read here lies in a pool of its own and asks for none. Of the language
(proto3, protobuf.dev/reference/protobuf/proto3-spec) what our files use is read: messages, enums, maps, oneofs, services.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TOKEN = re.compile(r"""//[^\n]*|"[^"]*"|[\w.]+|[{}()<>=;,]""")
_SCALARS = ("double", "float", "int64", "uint64", "int32", "bool", "string", "bytes", "uint32")
_FIELD: Any = descriptor_pb2.FieldDescriptorProto


class Method(NamedTuple):
    """One call of a service: its name, the classes of its messages, and whether each side streams them."""

    name: str
    request: Any
    response: Any
    streams_in: bool
    streams_out: bool


class Protocol(NamedTuple):
    """A file: its message classes by their names without the package, and its service."""

    messages: dict[str, Any]
    service: str
    methods: tuple[Method, ...]


def read_protocol(text: str) -> Protocol:
    """The protocol that a ``.proto`` file with one service declares. Raises `ValueError` for what is no such file.

    >>> text = 'syntax = "proto3"; package p; service S { rpc A(M) returns (stream M); } message M { int32 a = 1; }'
    >>> protocol = read_protocol(text)
    >>> protocol.messages["M"](a=3).SerializeToString(), protocol.service, protocol.methods[0].streams_out
    (b'\\x08\\x03', 'p.S', True)
    """
    file: Any = _File(text).read()
    pool: Any = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    classes = {each.name: _class(pool, file.package, each.name) for each in file.message_type}
    service = file.service[0]
    methods = tuple(
        Method(
            each.name,
            classes[each.input_type],
            classes[each.output_type],
            each.client_streaming,
            each.server_streaming,
        )
        for each in service.method
    )
    return Protocol(classes, f"{file.package}.{service.name}", methods)


def _class(pool: Any, package: str, name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


class _File:
    """The words of a file, and what they declare."""

    def __init__(self, text: str) -> None:
        self._words = iter([word for word in _TOKEN.findall(text) if not word.startswith("//")])

    def read(self) -> Any:
        file: Any = descriptor_pb2.FileDescriptorProto(syntax="proto3")
        for word in self._words:
            if word == "syntax":
                self._expect("=", '"proto3"', ";")
            elif word == "package":
                file.package = next(self._words)
                file.name = f"{file.package.replace('.', '/')}.proto"
                self._expect(";")
            elif word == "service":
                self._service(file.service.add(name=next(self._words)))
            elif word == "enum":
                self._enum(file.enum_type.add(name=next(self._words)))
            elif word == "message":
                self._message(file.message_type.add(name=next(self._words)))
            else:
                raise ValueError(f"a .proto file with {word!r} cannot be read")
        return file

    def _inside(self) -> Iterator[str]:
        self._expect("{")
        while (word := next(self._words)) != "}":
            yield word

    def _expect(self, *wanted: str) -> None:
        for word in wanted:
            if (found := next(self._words)) != word:
                raise ValueError(f"a .proto file has {found!r} where {word!r} should be")

    def _service(self, service: Any) -> None:
        for word in self._inside():
            if word != "rpc":
                raise ValueError(f"a service with {word!r} cannot be read")
            method = service.method.add(name=next(self._words))
            method.input_type, method.client_streaming = self._side()
            self._expect("returns")
            method.output_type, method.server_streaming = self._side()
            self._expect(";")

    def _side(self) -> tuple[str, bool]:
        self._expect("(")
        word = next(self._words)
        streams = word == "stream"
        name = next(self._words) if streams else word
        self._expect(")")
        return name, streams

    def _enum(self, enum: Any) -> None:
        for word in self._inside():
            self._expect("=")
            enum.value.add(name=word, number=int(next(self._words)))
            self._expect(";")

    def _message(self, message: Any) -> None:
        for word in self._inside():
            if word == "message":
                self._message(message.nested_type.add(name=next(self._words)))
            elif word == "enum":
                self._enum(message.enum_type.add(name=next(self._words)))
            elif word == "oneof":
                message.oneof_decl.add(name=next(self._words))
                for kind in self._inside():
                    self._field(message, kind, _FIELD.LABEL_OPTIONAL).oneof_index = len(message.oneof_decl) - 1
            elif word == "map":
                self._map(message)
            elif word == "repeated":
                self._field(message, next(self._words), _FIELD.LABEL_REPEATED)
            else:
                self._field(message, word, _FIELD.LABEL_OPTIONAL)

    def _map(self, message: Any) -> None:
        self._expect("<")
        key = next(self._words)
        self._expect(",")
        value = next(self._words)
        self._expect(">")
        field = message.field.add(name=next(self._words), label=_FIELD.LABEL_REPEATED)
        entry = message.nested_type.add(name=f"{field.name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        for number, (name, kind) in enumerate((("key", key), ("value", value)), 1):
            _typed(entry.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL), kind)
        field.type_name = entry.name
        field.number = self._number()

    def _field(self, message: Any, kind: str, label: int) -> Any:
        field = _typed(message.field.add(name=next(self._words), label=label), kind)
        field.number = self._number()
        return field

    def _number(self) -> int:
        self._expect("=")
        number = int(next(self._words))
        self._expect(";")
        return number


def _typed(field: Any, kind: str) -> Any:
    if kind in _SCALARS:
        field.type = getattr(_FIELD, f"TYPE_{kind.upper()}")
    else:
        field.type_name = kind
    return field
