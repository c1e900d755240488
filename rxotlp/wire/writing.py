"""Writing protobuf bytes field by field, without a message object.

Tags come from OTLP's own descriptors, so no field number stands in the code. What is written
may be longer than what protobuf would write (a number that is zero may be there) and reads as
an equal message.
"""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor

__all__ = ["Texts", "length", "signed", "tag", "varint", "zigzag"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_WIRE_TYPES = {
    FieldDescriptor.TYPE_DOUBLE: _FIXED64,
    FieldDescriptor.TYPE_FIXED64: _FIXED64,
    FieldDescriptor.TYPE_SFIXED64: _FIXED64,
    FieldDescriptor.TYPE_FLOAT: _FIXED32,
    FieldDescriptor.TYPE_FIXED32: _FIXED32,
    FieldDescriptor.TYPE_SFIXED32: _FIXED32,
    FieldDescriptor.TYPE_STRING: _BYTES,
    FieldDescriptor.TYPE_BYTES: _BYTES,
    FieldDescriptor.TYPE_MESSAGE: _BYTES,
}
_MAX_TEXTS = 1024
_MAX_CHARACTERS = 256  # of a text that is kept


def varint(value: int) -> bytes:
    """A number of 0 or more as protobuf's variable-length integer."""
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


_LENGTHS = tuple(map(varint, range(2048)))  # most records and all attributes are shorter


def length(value: int) -> bytes:
    """The same as `varint`, for numbers that are small most of the time."""
    return _LENGTHS[value] if value < 2048 else varint(value)


def signed(value: int) -> bytes:
    """An `int64`.

    Raises:
        OverflowError: it does not fit into 64 bits.
    """
    if 0 <= value < 2048:
        return _LENGTHS[value]
    if not -(1 << 63) <= value < 1 << 63:
        raise OverflowError(f"{value}: expected an integer of 64 bits")
    return varint(value & 0xFFFFFFFFFFFFFFFF)


def zigzag(value: int) -> bytes:
    """A `sint32`.

    Raises:
        OverflowError: it does not fit into 32 bits.
    """
    if not -(1 << 31) <= value < 1 << 31:
        raise OverflowError(f"{value}: expected an integer of 32 bits")
    return varint(value << 1 ^ value >> 31)


def tag(message: Any, field: str) -> bytes:
    """What stands before a field's value on the wire.

    Args:
        message: the class of the message.
        field: its name there; repeated numbers are packed.
    """
    known = message.DESCRIPTOR.fields_by_name[field]
    wire_type = _BYTES if known.is_repeated else _WIRE_TYPES.get(known.type, _VARINT)
    return varint(known.number << 3 | wire_type)


class Texts(dict[str, bytes]):
    """A field of text with its tag, by text; texts that come again are encoded once.

    `texts[text]` is the encoded field. Any number of threads may ask.
    """

    __slots__ = ("_tag",)

    def __init__(self, message: Any, field: str) -> None:
        super().__init__()
        self._tag = tag(message, field)

    def __missing__(self, text: str) -> bytes:
        value = text.encode()
        made = self._tag + length(len(value)) + value
        if len(text) <= _MAX_CHARACTERS:
            if len(self) >= _MAX_TEXTS:
                self.clear()
            self[text] = made
        return made
