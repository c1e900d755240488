"""OTLP's attribute values as Python values, and messages of attributes as views.

    string -> str   bool -> bool   int -> int   double -> float   bytes -> bytes
    array  -> list  kvlist -> dict  nothing set -> None

In a profiles request keys and texts may be indices into the request's string table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

__all__ = ["ResourceView", "ScopeView", "StatusView", "any_value", "attributes", "key", "value"]


def value(any_value: Any, strings: Sequence[str] = ()) -> Any:
    """An `AnyValue` as a Python value.

    Args:
        strings: the request's string table, for profiles.

    Raises:
        IndexError: it refers past the end of the string table.
    """
    kind = any_value.WhichOneof("value")
    if kind is None:
        return None
    plain = getattr(any_value, kind)
    if kind == "array_value":
        return [value(item, strings) for item in plain.values]
    if kind == "kvlist_value":
        return {key(pair, strings): value(pair.value, strings) for pair in plain.values}
    if kind == "string_value_strindex":
        return strings[plain]
    return plain


def attributes(pairs: Iterable[Any], strings: Sequence[str] = ()) -> Mapping[str, Any]:
    """`KeyValue`s as a read-only mapping; of two with one key, the last counts."""
    return MappingProxyType({key(pair, strings): value(pair.value, strings) for pair in pairs})


def key(pair: Any, strings: Sequence[str] = ()) -> str:
    """A `KeyValue`'s key."""
    index = pair.key_strindex
    found: str = strings[index] if index else pair.key
    return found


def any_value(plain: Any) -> AnyValue:
    """A Python value as an `AnyValue`: the way back from `value`.

    Raises:
        TypeError: it, or something in it, is of a type that OTLP has no value for.
        ValueError: an integer does not fit into 64 bits, or a text is no Unicode.
    """
    made = AnyValue()
    if plain is None:
        return made
    if isinstance(plain, bool):
        made.bool_value = plain
    elif isinstance(plain, int):
        made.int_value = plain
    elif isinstance(plain, float):
        made.double_value = plain
    elif isinstance(plain, str):
        made.string_value = plain
    elif isinstance(plain, bytes):
        made.bytes_value = plain
    elif isinstance(plain, Mapping):
        made.kvlist_value.SetInParent()
        for name, inner in plain.items():
            if not isinstance(name, str):
                raise TypeError(f"key {name!r}: expected a str, got {type(name).__name__}")
            made.kvlist_value.values.add(key=name).value.CopyFrom(any_value(inner))
    elif isinstance(plain, Sequence):
        made.array_value.SetInParent()
        made.array_value.values.extend(map(any_value, plain))
    else:
        raise TypeError(
            "expected None, bool, int, float, str, bytes, a list or a mapping of these, "
            f"got {type(plain).__name__}"
        )
    return made


class _View:
    """A decoded message under OTLP's own field names, its attributes as a mapping."""

    __slots__ = ("_attributes", "_message", "_strings", "schema_url")

    def __init__(self, message: Any, schema_url: str, strings: Sequence[str]) -> None:
        self._message = message
        self._strings = strings
        self._attributes: Mapping[str, Any] | None = None
        self.schema_url = schema_url

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The attributes, decoded when first asked for."""
        found = self._attributes
        if found is None:
            found = self._attributes = attributes(self._message.attributes, self._strings)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {dict(self.attributes)!r}>"


class ResourceView(_View):
    """What one group's data is about: `attributes`, `schema_url`, `entity_refs`, ..."""

    __slots__ = ()

    @classmethod
    def read(cls, group: Any, strings: Sequence[str] = ()) -> "ResourceView":
        """From a node of `wire.shapes` that has `resource` and `schema_url`.

        Raises:
            google.protobuf.message.DecodeError: the bytes are no resource.
            UnicodeDecodeError: its schema URL is no text.
        """
        return cls(Resource.FromString(b"".join(group.resource)), _last(group.schema_url), strings)


class ScopeView(_View):
    """Which instrumentation wrote it: `name`, `version`, `attributes`, `schema_url`, ..."""

    __slots__ = ()

    @classmethod
    def read(cls, scope: Any, strings: Sequence[str] = ()) -> "ScopeView":
        """From a node of `wire.shapes` that has `scope` and `schema_url`; raises likewise."""
        message = InstrumentationScope.FromString(b"".join(scope.scope))
        return cls(message, _last(scope.schema_url), strings)


@dataclass(frozen=True, slots=True)
class StatusView:
    """A span's status: `code` (OTLP's integer) and `message`. Spans may share one."""

    code: int
    message: str

    @classmethod
    def of(cls, status: Any) -> "StatusView":
        """From OTLP's message."""
        return cls(status.code, status.message)


def _last(texts: Sequence[bytes]) -> str:
    return str(texts[-1], "utf-8") if texts else ""
