"""OTLP/JSON to protobuf messages and back, by a walk over the message descriptors.

OTLP/JSON is protobuf's JSON mapping with exceptions (OTLP specification, "JSON Protobuf
Encoding"), and `google.protobuf.json_format` has a switch for none of them: trace and span
ids are hex, enums are integers and never names, keys are lowerCamelCase only. So each
message type gets a plan once (JSON key -> how to read that field, field -> how to write
it), and one short walk serves every message.

Which bytes are ids is decided by name: `trace_id`, `span_id` and `parent_span_id`. All
other bytes, `profile_id` included, are base64, as the specification names no others. Id
lengths are not checked here; `wire.validate` does.

What is refused: names for enums, numbers for strings and the like, NaN and Infinity as
bare words, two members of one oneof, `null` inside a list, more than 100 levels of messages
(protobuf's own limit, past which nobody could read what we would send). Unknown keys are
ignored; `null` for a field means that the field is not there.
"""

import binascii
import json
import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from rxotlp.errors import DecodeError
from rxotlp.wire.signals import Signal

__all__ = ["decode", "decode_message", "encode"]

_MAX_DEPTH = 100  # protobuf's default recursion limit
_HEX_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})  # rule of the specification
_INTEGER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class _BadField(Exception):
    """A field that cannot be read; the path grows while the walk unwinds."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = ""

    def under(self, parent: str) -> None:
        self.path = parent + (
            self.path if not self.path or self.path[0] == "[" else f".{self.path}"
        )


def decode(signal: Signal, data: str | bytes) -> Message:
    """Read one export request.

    Args:
        signal: whose request it is.
        data: the JSON text; bytes must be UTF-8.

    Raises:
        DecodeError: it is no JSON (the message names line and column) or no OTLP (the
            message and `path` name the field).
    """
    return decode_message(signal.names.request, data)


def decode_message(cls: type[Message], data: str | bytes) -> Message:
    """Read any OTLP message, a response for example; like `decode` otherwise."""
    value = _parse(data)
    message = cls()
    try:
        _read_message(message, value, 1)
    except _BadField as bad:
        where = bad.path or "the JSON document"
        raise DecodeError(f"{where}: {bad.reason}", path=bad.path) from None
    return message


def encode(message: Message) -> str:
    """Write a message as OTLP/JSON on one line, without spaces.

    Unknown fields of the message have no JSON name and are left out.
    """
    return json.dumps(_written(message), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


# Reading


def _parse(data: str | bytes) -> object:
    try:
        text = data if isinstance(data, str) else str(data, "utf-8")
        return json.loads(text, parse_constant=_bare_word)
    except UnicodeDecodeError as error:
        raise DecodeError(f"malformed JSON: invalid UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise DecodeError(
            f"malformed JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        raise DecodeError("malformed JSON: nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits
        raise DecodeError(f"malformed JSON: {error}") from None


def _bare_word(word: str) -> NoReturn:
    raise ValueError(f'{word} is no JSON; expected the string "{word}"')


def _read_message(message: Message, value: object, depth: int) -> None:
    if type(value) is not dict:
        raise _BadField(f"{_kind(value)}, expected an object")
    if depth > _MAX_DEPTH:
        raise _BadField(f"nested deeper than {_MAX_DEPTH} levels")
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
                    raise _BadField(f"set together with {other}, expected one of them")
            field.read(message, item, depth)
        except _BadField as bad:
            bad.under(field.name)
            raise


class _Reader:
    """How one field is read."""

    __slots__ = ("convert", "name", "oneof", "read")

    def __init__(self, field: FieldDescriptor) -> None:
        self.name = field.name
        # A proto3 `optional` is a oneof of one: nothing to check.
        shared = field.containing_oneof is not None and len(field.containing_oneof.fields) > 1
        self.oneof = field.containing_oneof.name if shared and field.containing_oneof else ""
        self.convert: Callable[[Any], Any] | None = None
        self.read: Callable[[Message, Any, int], None]
        if field.message_type is not None:
            self.read = self._messages if field.is_repeated else self._message
        else:
            self.convert = _converter(field)
            self.read = self._scalars if field.is_repeated else self._scalar

    def _message(self, message: Message, value: object, depth: int) -> None:
        child = getattr(message, self.name)
        child.SetInParent()
        _read_message(child, value, depth + 1)

    def _messages(self, message: Message, value: object, depth: int) -> None:
        add = getattr(message, self.name).add
        for index, item in enumerate(_items(value)):
            try:
                _read_message(add(), item, depth + 1)
            except _BadField as bad:
                bad.under(f"[{index}]")
                raise

    def _scalar(self, message: Message, value: object, depth: int) -> None:
        setattr(message, self.name, self._converted(value))

    def _scalars(self, message: Message, value: object, depth: int) -> None:
        append = getattr(message, self.name).append
        for index, item in enumerate(_items(value)):
            try:
                append(self._converted(item))
            except _BadField as bad:
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
        raise _BadField(f"{_kind(value)}, expected a list")
    return value


def _converter(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _hex if field.name in _HEX_FIELDS else _base64
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
            raise _BadField(f"{_kind(value)}, expected an integer")
        if not low <= number <= high:
            raise _BadField(f"{number}, expected {low} to {high}")
        return number

    return convert


def _enum(value: Any) -> int:
    if type(value) is str:
        raise _BadField(f"{_kind(value)}, expected an integer; OTLP/JSON has no names for enums")
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
        raise _BadField(f'{_kind(value)}, expected a number, "NaN", "Infinity" or "-Infinity"')
    if math.isinf(number):
        raise _BadField("a number outside the range of a double")
    return number


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _BadField(f"{_kind(value)}, expected true or false")
    return value


def _string(value: Any) -> str:
    if type(value) is not str:
        raise _BadField(f"{_kind(value)}, expected a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _BadField("half of a surrogate pair, which is no Unicode text") from None
    return value


def _hex(value: Any) -> bytes:
    if type(value) is str:
        try:
            return binascii.unhexlify(value)
        except ValueError:
            pass  # told below, together with what is no string
    raise _BadField(f"{_kind(value)}, expected hex digits in pairs")


def _base64(value: Any) -> bytes:
    if type(value) is str:
        plain = value.replace("-", "+").replace("_", "/")  # the URL-safe alphabet is allowed too
        try:
            return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
        except ValueError:
            pass  # told below, together with what is no string
    raise _BadField(f"{_kind(value)}, expected base64")


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


# Writing


def _written(message: Message) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for field, value in message.ListFields():
        write = _writer(field)
        if field.is_repeated:
            result[field.json_name] = [write(item) for item in value]
        else:
            result[field.json_name] = write(value)
    return result


@cache
def _writer(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.message_type is not None:
        return _written
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes.hex if field.name in _HEX_FIELDS else _as_base64
    if field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64):
        return str
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return _as_number
    return _as_is


def _as_base64(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def _as_number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _as_is(value: Any) -> Any:
    return value
