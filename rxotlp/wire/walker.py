"""Walking protobuf bytes field by field, to find what makes a message unreadable.

protobuf's parser only says that it failed. This walk needs no message class, goes as far
as the bytes make sense, and so can cut out one bad record and keep its neighbours. It is
plain Python and slow; it runs after a parse has failed.
"""

from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from rxotlp.wire.writing import varint

__all__ = ["Field", "MalformedError", "encode_field", "find_fault", "walk"]

_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = range(6)  # wire types
_MAX_DEPTH = 100  # protobuf's default recursion limit
_PACKED_WIDTHS = {
    FieldDescriptor.TYPE_DOUBLE: 8,
    FieldDescriptor.TYPE_FIXED64: 8,
    FieldDescriptor.TYPE_SFIXED64: 8,
    FieldDescriptor.TYPE_FLOAT: 4,
    FieldDescriptor.TYPE_FIXED32: 4,
    FieldDescriptor.TYPE_SFIXED32: 4,
}


class MalformedError(Exception):
    """The bytes cannot be cut into fields any further."""


class Field(NamedTuple):
    """One occurrence of a field: `data[start:end]` is all of it, `data[inner:end]` its value."""

    number: int
    has_bytes: bool  # string, bytes, message or packed values
    start: int
    inner: int
    end: int


def walk(data: bytes) -> Iterator[Field]:
    """Yield the fields of a message in order.

    Raises:
        MalformedError: when the bytes stop making sense; what came before was yielded.
    """
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        if tag >> 3 == 0 or tag >> 32:
            raise MalformedError(f"no field starts at byte {start}")
        inner, at = _value(data, at, tag)
        yield Field(tag >> 3, tag & 7 == _BYTES, start, inner, at)


def _value(data: bytes, at: int, tag: int) -> tuple[int, int]:
    """Where the value that follows a tag begins and ends."""
    wire_type = tag & 7
    inner = at
    if wire_type == _VARINT:
        _, at = _varint(data, at)
    elif wire_type == _BYTES:
        length, inner = _varint(data, at)
        at = inner + length
    elif wire_type == _FIXED64:
        at += 8
    elif wire_type == _FIXED32:
        at += 4
    elif wire_type == _GROUP:
        at = _group_end(data, at, tag)
    else:
        raise MalformedError(f"no field starts before byte {at}")
    if at > len(data):
        raise MalformedError(f"ends {at - len(data)} bytes early")
    return inner, at


def _group_end(data: bytes, at: int, tag: int) -> int:
    """Groups left protobuf long ago, but an unknown field may be one, and is skipped."""
    waiting = [tag >> 3]
    while waiting:
        tag, at = _varint(data, at)
        if tag & 7 == _GROUP:
            waiting.append(tag >> 3)
        elif tag & 7 == _END_GROUP:
            if waiting.pop() != tag >> 3:
                raise MalformedError(f"a group ends before byte {at} that did not start")
        else:
            _, at = _value(data, at, tag)
    return at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise MalformedError("ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedError(f"a number of more than 10 bytes before byte {at}")


def encode_field(number: int, value: bytes) -> bytes:
    """A field with bytes, encoded."""
    return varint(number << 3 | _BYTES) + varint(len(value)) + value


def find_fault(descriptor: Descriptor, data: bytes, *, depth: int = 0) -> tuple[str, str] | None:
    """Find the first field that makes a message unreadable.

    Args:
        descriptor: what the bytes should be.
        data: the message.
        depth: levels of messages around it.

    Returns:
        Its path within the message and what is wrong, or None when all looks well. The
        path is "" when the message itself cannot be cut into fields.
    """
    if depth >= _MAX_DEPTH:
        return "", f"nested deeper than {_MAX_DEPTH} levels"
    counts: dict[int, int] = {}
    try:
        for field in walk(data):
            known = descriptor.fields_by_number.get(field.number)
            if known is None or not field.has_bytes:
                continue
            name = known.name
            index = counts.get(field.number, 0)
            counts[field.number] = index + 1
            value = data[field.inner : field.end]
            fault: tuple[str, str] | None = None
            if known.message_type is not None:
                fault = find_fault(known.message_type, value, depth=depth + 1)
            elif known.type == FieldDescriptor.TYPE_STRING:
                fault = _text_fault(value)
            elif known.is_repeated and known.type != FieldDescriptor.TYPE_BYTES:
                fault = _packed_fault(value, _PACKED_WIDTHS.get(known.type))
                index = -1  # packed values are one field
            if fault is not None:
                where = f"{name}[{index}]" if known.is_repeated and index >= 0 else name
                return (f"{where}.{fault[0]}" if fault[0] else where), fault[1]
    except MalformedError as error:
        return "", str(error)
    return None


def _text_fault(value: bytes) -> tuple[str, str] | None:
    try:
        str(value, "utf-8")
    except UnicodeDecodeError as error:
        return "", f"invalid UTF-8 at byte {error.start}, expected UTF-8 text"
    return None


def _packed_fault(value: bytes, width: int | None) -> tuple[str, str] | None:
    if width is not None:
        if len(value) % width:
            return "", f"{len(value)} bytes, expected a multiple of {width}"
        return None
    at = 0
    try:
        while at < len(value):
            _, at = _varint(value, at)
    except MalformedError as error:
        return "", str(error)
    return None
