"""JSON values to messages, one field at a time: the careful way, which can say what is wrong.

`json_build` is three times as fast and knows only the usual spellings; what it does not know
comes here, to be read or to be refused with the path of the field. So this module alone
decides what OTLP/JSON means.

What is refused: names for enums, numbers for strings and the like, two members of one
oneof, `null` inside a list, more than 100 levels of messages (protobuf's own limit, past
which nobody could read what we would send). Unknown keys are ignored; `null` for a field
means that the field is not there.
"""

import binascii
import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

__all__ = ["HEX_FIELDS", "MAX_DEPTH", "BadField", "converter", "read_message", "shared_oneof"]

MAX_DEPTH = 100  # protobuf's default recursion limit
HEX_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})  # rule of the specification
_INTEGER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class BadField(Exception):
    """A field that cannot be read; the path grows while the walk unwinds."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = ""

    def under(self, parent: str) -> None:
        """Go one level up."""
        self.path = parent + (
            self.path if not self.path or self.path[0] == "[" else f".{self.path}"
        )


def read_message(message: Message, value: object, depth: int = 1) -> None:
    """Fill `message` from a JSON value.

    Raises:
        BadField: the value is no such message.
    """
    if type(value) is not dict:
        raise BadField(f"{_kind(value)}, expected an object")
    if depth > MAX_DEPTH:
        raise BadField(f"nested deeper than {MAX_DEPTH} levels")
    readers = _readers(message.DESCRIPTOR)
    oneofs: dict[str, str] = {}
    for key, item in value.items():
        field = readers.get(key)
        if field is None or item is None:
            continue
        try:
            if field.oneof:
                other = oneofs.setdefault(field.oneof, field.name)
                if other != field.name:
                    raise BadField(f"set together with {other}, expected one of them")
            field.read(message, item, depth)
        except BadField as bad:
            bad.under(field.name)
            raise


def shared_oneof(field: FieldDescriptor) -> str:
    """The oneof in which a field excludes others, or "".

    A proto3 `optional` is a oneof of one: nothing to exclude.
    """
    oneof = field.containing_oneof
    return oneof.name if oneof is not None and len(oneof.fields) > 1 else ""


class _Reader:
    """How one field is read."""

    __slots__ = ("convert", "name", "oneof", "read")

    def __init__(self, field: FieldDescriptor) -> None:
        self.name = field.name
        self.oneof = shared_oneof(field)
        self.convert: Callable[[Any], Any] | None = None
        self.read: Callable[[Message, Any, int], None]
        if field.message_type is not None:
            self.read = self._messages if field.is_repeated else self._message
        else:
            self.convert = converter(field)
            self.read = self._scalars if field.is_repeated else self._scalar

    def _message(self, message: Message, value: object, depth: int) -> None:
        child = getattr(message, self.name)
        child.SetInParent()
        read_message(child, value, depth + 1)

    def _messages(self, message: Message, value: object, depth: int) -> None:
        add = getattr(message, self.name).add
        for index, item in enumerate(_items(value)):
            try:
                read_message(add(), item, depth + 1)
            except BadField as bad:
                bad.under(f"[{index}]")
                raise

    def _scalar(self, message: Message, value: object, depth: int) -> None:
        setattr(message, self.name, self._converted(value))

    def _scalars(self, message: Message, value: object, depth: int) -> None:
        append = getattr(message, self.name).append
        for index, item in enumerate(_items(value)):
            try:
                append(self._converted(item))
            except BadField as bad:
                bad.under(f"[{index}]")
                raise

    def _converted(self, value: object) -> Any:
        assert self.convert is not None
        return self.convert(value)


@cache
def _readers(descriptor: Descriptor) -> dict[str, _Reader]:
    return {field.json_name: _Reader(field) for field in descriptor.fields}


def _items(value: object) -> list[object]:
    if type(value) is not list:
        raise BadField(f"{_kind(value)}, expected a list")
    return value


def converter(field: FieldDescriptor) -> Callable[[Any], Any]:
    """What makes a value of a scalar field of a JSON value, or raises BadField."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _hex if field.name in HEX_FIELDS else _base64
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _enum
    return _CONVERTERS[field.cpp_type]


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if type(value) is int:
            number = value
        elif (type(value) is str and _INTEGER.fullmatch(value)) or (
            type(value) is float and value.is_integer()  # 1e3 and 1.0 are integers in JSON
        ):
            number = int(value)
        else:
            raise BadField(f"{_kind(value)}, expected an integer")
        if not low <= number <= high:
            raise BadField(f"{number}, expected {low} to {high}")
        return number

    return convert


def _enum(value: Any) -> int:
    if type(value) is str:
        raise BadField(f"{_kind(value)}, expected an integer; OTLP/JSON has no names for enums")
    return _int32(value)


def _double(value: Any) -> float:
    if type(value) is float or type(value) is int:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    elif type(value) is str and value in _SPECIAL:
        return _SPECIAL[value]
    elif type(value) is str and _NUMBER.fullmatch(value):
        number = float(value)
    else:
        raise BadField(f'{_kind(value)}, expected a number, "NaN", "Infinity" or "-Infinity"')
    if math.isinf(number):
        raise BadField("a number outside the range of a double")
    return number


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise BadField(f"{_kind(value)}, expected true or false")
    return value


def _string(value: Any) -> str:
    if type(value) is not str:
        raise BadField(f"{_kind(value)}, expected a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadField("half of a surrogate pair, which is no Unicode text") from None
    return value


def _hex(value: Any) -> bytes:
    if type(value) is str:
        try:
            return binascii.unhexlify(value)
        except ValueError:
            pass  # told below, together with what is no string
    raise BadField(f"{_kind(value)}, expected hex digits in pairs")


def _base64(value: Any) -> bytes:
    if type(value) is str:
        plain = value.replace("-", "+").replace("_", "/")  # the URL-safe alphabet is allowed too
        try:
            return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
        except ValueError:
            pass  # told below, together with what is no string
    raise BadField(f"{_kind(value)}, expected base64")


def _kind(value: object) -> str:
    """A value as an error shows it: its type, and itself when it is short."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value!r}" if -1e18 < value < 1e18 else "a huge number"
        case str():
            return f"the string {value[:40]!r}{'...' if len(value) > 40 else ''}"
        case list():
            return "a list"
    return "an object"


_int32 = _integer(-(2**31), 2**31 - 1)
_CONVERTERS: dict[int, Callable[[Any], Any]] = {
    FieldDescriptor.CPPTYPE_INT32: _int32,
    FieldDescriptor.CPPTYPE_INT64: _integer(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: _integer(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: _integer(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: _double,
    FieldDescriptor.CPPTYPE_BOOL: _bool,
    FieldDescriptor.CPPTYPE_STRING: _string,
}
