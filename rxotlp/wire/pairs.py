"""Attributes from Python values to the bytes of a list of `KeyValue`s.

Programs say the same few things of all their spans, so an attribute is encoded once and then
found by its key, the type and the value. The type belongs to it because `1 == True == 1.0`.
Kept are small values that can be told apart by `==` (no floats: -0.0 is 0.0), and of each key
only so many, so that ids push nothing else out.
"""

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from rxotlp.wire.writing import length, signed, tag

__all__ = ["Pairs", "any_value"]

_MAX_PAIRS = 4096  # kept by one field
_MAX_VALUES = 256  # kept of one key
_MAX_BYTES = 256  # of an attribute that is kept
_MAX_MISSES = 65536  # until what is kept starts anew, so that new values get a chance

_KEY = tag(KeyValue, "key")
_VALUE = tag(KeyValue, "value")
_STRING = tag(AnyValue, "string_value")
_INT = tag(AnyValue, "int_value")
_DOUBLE = tag(AnyValue, "double_value")
_BYTES = tag(AnyValue, "bytes_value")
_ARRAY = tag(AnyValue, "array_value")
_KVLIST = tag(AnyValue, "kvlist_value")
_ELEMENT = tag(ArrayValue, "values")
_ENTRY = tag(KeyValueList, "values")
_BOOLS = {value: tag(AnyValue, "bool_value") + bytes([value]) for value in (False, True)}

_double = Struct("<d").pack
_DOUBLE_VALUE = length(len(_DOUBLE) + 8) + _DOUBLE


def any_value(value: Any) -> bytes:
    """The body of an `AnyValue`.

    Raises:
        TypeError: it, or something in it, is of a type that OTLP has no value for.
        OverflowError: an integer does not fit into 64 bits.
        UnicodeEncodeError: a text is no Unicode.
    """
    write = _WRITERS.get(type(value))
    if write is not None:
        return write(value)
    for kind, write in _KINDS:  # a subclass, or what only behaves like one
        if isinstance(value, kind):
            return write(value)
    raise TypeError(f"{type(value).__name__}: OTLP has no such value")


def _none(_: None) -> bytes:
    return b""


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _STRING + length(len(encoded)) + encoded


def _integer(value: int) -> bytes:
    return _INT + signed(int(value))


def _real(value: float) -> bytes:
    return _DOUBLE + _double(value)


def _binary(value: bytes) -> bytes:
    return _BYTES + length(len(value)) + value


def _array(value: Sequence[Any]) -> bytes:
    made: list[bytes] = []
    for element in value:
        body = any_value(element)
        made += (_ELEMENT, length(len(body)), body)
    body = b"".join(made)
    return _ARRAY + length(len(body)) + body


def _mapping(value: Mapping[Any, Any]) -> bytes:
    made: list[bytes] = []
    for key, element in value.items():
        body = _head(str(key)) + _lengthy(any_value(element))
        made += (_ENTRY, length(len(body)), body)
    body = b"".join(made)
    return _KVLIST + length(len(body)) + body


def _head(key: str) -> bytes:
    """A `KeyValue` up to the length of its value."""
    encoded = key.encode()
    return _KEY + length(len(encoded)) + encoded + _VALUE


def _lengthy(body: bytes) -> bytes:
    return length(len(body)) + body


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    type(None): _none,
    bool: _BOOLS.__getitem__,
    str: _text,
    int: _integer,
    float: _real,
    bytes: _binary,
    tuple: _array,
    list: _array,
    dict: _mapping,
}
# A type that is several of these counts as the first.
_KINDS: tuple[tuple[Any, Callable[[Any], bytes]], ...] = (
    (str, _text),
    (int, _integer),
    (float, _real),
    (bytes, _binary),
    (Sequence, _array),
    (Mapping, _mapping),
)
_PLAIN = (str, int, bool, type(None))


class _Key:
    """What all attributes of one key begin with."""

    __slots__ = ("double", "head", "room")

    def __init__(self, tag: bytes, key: str) -> None:
        self.head = _head(key)
        self.double = tag + length(len(self.head) + len(_DOUBLE_VALUE) + 8) + self.head
        self.double += _DOUBLE_VALUE
        self.room = _MAX_VALUES


class Pairs(dict[tuple[str, type, Any], bytes]):
    """The attributes of one field; what was encoded before is found again.

    Any number of threads may use it.

    Args:
        message: the class of the message that has the field.
        field: its name there, a list of `KeyValue`s.
    """

    __slots__ = ("_keys", "_misses", "_tag")

    def __init__(self, message: Any, field: str = "attributes") -> None:
        super().__init__()
        self._tag = tag(message, field)
        self._keys: dict[str, _Key] = {}
        self._misses = 0

    def add(self, attributes: Mapping[str, Any], parts: list[bytes]) -> None:
        """Append all of them, in order, to the parts of the message that has the field.

        Raises:
            TypeError, OverflowError, UnicodeEncodeError: as `any_value`.
            AttributeError: a key is no text.
        """
        for key, value in attributes.items():
            try:
                parts.append(self[key, type(value), value])
            except TypeError:  # it has no hash, as mappings, or no encoding at all
                parts.append(self._make(self._key(key), value))

    def __missing__(self, wanted: tuple[str, type, Any]) -> bytes:
        name, kind, value = wanted
        self._misses += 1
        key = self._key(name)
        if kind is float:
            return key.double + _double(value)
        made = self._make(key, value)
        if key.room > 0 and len(made) <= _MAX_BYTES and _comparable(kind, value):
            key.room -= 1
            self[wanted] = made
        if self._misses >= _MAX_MISSES or len(self) >= _MAX_PAIRS:
            self._misses = 0
            self.clear()
            self._keys = {}
        return made

    def _key(self, name: str) -> _Key:
        known = self._keys.get(name)
        if known is None:
            known = _Key(self._tag, name)
            if len(self._keys) < _MAX_PAIRS:
                self._keys[name] = known
        return known

    def _make(self, key: _Key, value: Any) -> bytes:
        body = any_value(value)
        size = length(len(body))
        return b"".join(
            (self._tag, length(len(key.head) + len(size) + len(body)), key.head, size, body)
        )


def _comparable(kind: type, value: Any) -> bool:
    """Whether what equals it is encoded the same."""
    return kind in _PLAIN or (kind is tuple and all(type(element) is str for element in value))
