"""Scalars of protobuf's wire format as OTLP/JSON text."""

import binascii
import math
import struct
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from rxotlp.wire.json_read import HEX_FIELDS

__all__ = ["EIGHT", "FOUR", "SIZED", "VARINT", "Scalar", "Slice", "read_varint", "value_writer"]

VARINT, EIGHT, SIZED, FOUR = 0, 1, 2, 5  # wire types

Slice = Callable[[bytes, int, int], str]  # writes data[at:stop]
Scalar = Callable[[Any], str]  # writes a number

_F = FieldDescriptor
_FIXED = {  # as struct names them
    _F.TYPE_DOUBLE: "d",
    _F.TYPE_FIXED64: "Q",
    _F.TYPE_SFIXED64: "q",
    _F.TYPE_FLOAT: "f",
    _F.TYPE_FIXED32: "I",
    _F.TYPE_SFIXED32: "i",
}


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = shift = 0
    while (byte := data[at]) > 127:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
    return value | byte << shift, at + 1


def value_writer(field: FieldDescriptor) -> tuple[int, Slice | Scalar]:
    """The wire type of a scalar field, and what writes it: a Scalar for VARINT, else a Slice."""
    if field.cpp_type == _F.CPPTYPE_STRING:
        if field.type != _F.TYPE_BYTES:
            return SIZED, _string
        return SIZED, _hex if field.name in HEX_FIELDS else _base64
    if field.is_repeated:
        assert field.is_packed, field.full_name  # proto3's default
        return SIZED, _packed(field)
    if field.type == _F.TYPE_FIXED64:
        return EIGHT, _time
    if letter := _FIXED.get(field.type):
        return EIGHT if struct.calcsize(letter) == 8 else FOUR, _fixed(letter, _scalar(field))
    return VARINT, _varint(field)


def _string(data: bytes, at: int, stop: int) -> str:
    return encode_basestring(str(data[at:stop], "utf-8"))


def _hex(data: bytes, at: int, stop: int) -> str:
    return f'"{data[at:stop].hex()}"'


def _base64(data: bytes, at: int, stop: int) -> str:
    return f'"{binascii.b2a_base64(data[at:stop], newline=False).decode("ascii")}"'


def _time(data: bytes, at: int, stop: int) -> str:
    """What `_fixed` would do, in one call: every record has two of them."""
    return f'"{int.from_bytes(data[at:stop], "little")}"'


def _fixed(letter: str, write: Scalar) -> Slice:
    unpack = struct.Struct(f"<{letter}").unpack_from

    def write_fixed(data: bytes, at: int, stop: int) -> str:
        return write(unpack(data, at)[0])

    return write_fixed


def _packed(field: FieldDescriptor) -> Slice:
    letter, write = _FIXED.get(field.type, ""), _varint(field)
    width = struct.calcsize(letter)
    wide_integer = letter in {"Q", "q"}

    def write_packed(data: bytes, at: int, stop: int) -> str:
        if not letter:
            return f"[{','.join(map(write, _varints(data, at, stop)))}]"
        values = struct.unpack(f"<{(stop - at) // width}{letter}", data[at:stop])
        if wide_integer:
            return '["' + '","'.join(map(str, values)) + '"]'
        text = f"[{','.join(map(repr, values))}]"
        return text if "n" not in text else f"[{','.join(map(write, values))}]"  # nan, inf

    return write_packed


def _varints(data: bytes, at: int, stop: int) -> list[int]:
    values = []
    while at < stop:
        value, at = read_varint(data, at)
        values.append(value)
    return values


def _varint(field: FieldDescriptor) -> Scalar:
    """What writes a varint."""
    write = _scalar(field)
    if field.type in (_F.TYPE_INT64, _F.TYPE_INT32, _F.TYPE_ENUM):
        return lambda value: write(value if value < 1 << 63 else value - (1 << 64))
    if field.type in (_F.TYPE_SINT64, _F.TYPE_SINT32):
        return lambda value: write(value >> 1 ^ -(value & 1))
    return write


def _scalar(field: FieldDescriptor) -> Scalar:
    if field.cpp_type in (_F.CPPTYPE_INT64, _F.CPPTYPE_UINT64):
        return _quoted
    if field.cpp_type == _F.CPPTYPE_BOOL:
        return _bool
    return _double if field.cpp_type == _F.CPPTYPE_DOUBLE else str


def _quoted(value: int) -> str:
    return f'"{value}"'


def _bool(value: int) -> str:
    return "true" if value else "false"


def _double(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'
