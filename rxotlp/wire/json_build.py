"""JSON values to messages, fast, as long as nothing is wrong with them.

Each message type gets a reader once, which turns a JSON object into the keyword arguments of
that message, field names and converted scalars, nested as they are; protobuf's C code then
makes the whole tree in one call, which also checks the range of integers and the encoding of
strings. The lists and attributes of the JSON value are reused: what lives until the end
keeps the garbage collector busy, a third of the time. Nothing is said about what is wrong:
that is `Unusual`, and whoever called lets `json_read` decide.
"""

import binascii
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from rxotlp.wire.json_read import HEX_FIELDS, MAX_DEPTH, BadField, converter, shared_oneof

__all__ = ["Unusual", "build"]

_KEY_VALUE = "opentelemetry.proto.common.v1.KeyValue"

_Read = Callable[[Any, int], dict[str, Any]]


class Unusual(Exception):
    """This is for the careful reader, be it right or wrong."""


def build(cls: type[Message], value: Any) -> Message:
    """Make a message of a JSON value, which is used up.

    Raises:
        Unusual: it may be right or wrong; `json_read` knows.
    """
    try:
        return cls(**_reader(cls.DESCRIPTOR)(value, 1))
    except (BadField, TypeError, ValueError) as error:  # of a conversion, or of protobuf
        raise Unusual from error


@cache
def _reader(descriptor: Descriptor) -> _Read:
    table: dict[str, tuple[str, Callable[[Any], Any] | None, Callable[[Any, int], Any] | None]]
    table = {}  # filled below: message types may contain themselves, by way of this cache
    oneofs: dict[str, set[str]] = {}
    for field in descriptor.fields:
        if oneof := shared_oneof(field):
            oneofs.setdefault(oneof, set()).add(field.name)
    exclusive = list(oneofs.values())

    def read(value: Any, depth: int) -> dict[str, Any]:
        if type(value) is not dict or depth > MAX_DEPTH:
            raise Unusual
        if not table:  # at once, for other threads
            table.update({field.json_name: _plan(field) for field in descriptor.fields})
        made: dict[str, Any] = {}
        for key, item in value.items():
            plan = table.get(key)
            if plan is None or item is None:
                continue
            name, convert, nested = plan
            if nested is not None:
                made[name] = nested(item, depth + 1)
            elif convert is not None:
                made[name] = convert(item)
            else:
                made[name] = item
        if exclusive and len(made) > 1:
            for members in exclusive:
                if len(members & made.keys()) > 1:
                    raise Unusual
        return made

    return read


def _plan(
    field: FieldDescriptor,
) -> tuple[str, Callable[[Any], Any] | None, Callable[[Any, int], Any] | None]:
    """Name, how to convert a scalar (None: as it is), how to read messages."""
    if field.message_type is not None:
        read = _reader(field.message_type)
        if not field.is_repeated:
            return field.name, None, read
        if field.message_type.full_name == _KEY_VALUE:
            return field.name, None, _attributes(field.message_type, read)
        return field.name, None, _each(read)
    convert = _converter(field)
    if field.is_repeated:
        return field.name, _every(convert or _as_is), None
    return field.name, convert, None


def _each(read: _Read) -> Callable[[Any, int], list[dict[str, Any]]]:
    def read_each(items: Any, depth: int) -> list[dict[str, Any]]:
        if type(items) is not list:
            raise Unusual
        for index, item in enumerate(items):
            items[index] = read(item, depth)
        return items

    return read_each


def _attributes(descriptor: Descriptor, read: _Read) -> Callable[[Any, int], list[dict[str, Any]]]:
    """Like `_each`; most of a request is attributes of one scalar, read here without a call."""
    value_type = descriptor.fields_by_name["value"].message_type
    assert value_type is not None
    scalars = {
        field.json_name: (field.name, _converter(field) or _as_is)
        for field in value_type.fields
        if field.message_type is None
    }

    def read_attributes(items: Any, depth: int) -> list[dict[str, Any]]:
        if type(items) is not list or depth >= MAX_DEPTH:  # a value is one level below
            raise Unusual
        for index, item in enumerate(items):
            try:
                value = item["value"]
                (kind,) = value
                name, convert = scalars[kind]
                usual = len(item) == 2 and "key" in item
            except (KeyError, TypeError, ValueError):
                usual = False
            if usual:  # and so are the names of its fields
                item["value"] = {name: convert(value[kind])}
            else:
                items[index] = read(item, depth)
        return items

    return read_attributes


def _every(convert: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def convert_every(items: Any) -> list[Any]:
        if type(items) is not list:
            raise Unusual
        return [convert(item) for item in items]

    return convert_every


def _converter(field: FieldDescriptor) -> Callable[[Any], Any] | None:
    careful = converter(field)  # what it refuses, it will be asked about again
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.type != FieldDescriptor.TYPE_BYTES:
            return None  # protobuf takes nothing but Unicode text
        return binascii.unhexlify if field.name in HEX_FIELDS else careful
    if field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64):
        return _digits(careful)
    return _finite(careful) if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE else careful


def _as_is(value: Any) -> Any:
    return value


def _digits(careful: Callable[[Any], int]) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if type(value) is str and value.isdigit() and value.isascii() and len(value) <= 20:
            return int(value)
        return careful(value)

    return convert


def _finite(careful: Callable[[Any], float]) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        if type(value) is float and value - value == 0:  # 1e999 is infinite here
            return value
        return careful(value)

    return convert
