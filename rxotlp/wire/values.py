"""OTLP's attribute values as Python values, and messages of attributes as views.

    string -> str   bool -> bool   int -> int   double -> float   bytes -> bytes
    array  -> list  kvlist -> dict  nothing set -> None

In a profiles request keys and texts may be indices into the request's string table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

__all__ = ["ResourceView", "ScopeView", "StatusView", "attributes", "value"]


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
        return {_key(pair, strings): value(pair.value, strings) for pair in plain.values}
    if kind == "string_value_strindex":
        return strings[plain]
    return plain


def attributes(pairs: Iterable[Any], strings: Sequence[str] = ()) -> Mapping[str, Any]:
    """`KeyValue`s as a read-only mapping; of two with one key, the last counts."""
    return MappingProxyType({_key(pair, strings): value(pair.value, strings) for pair in pairs})


def _key(pair: Any, strings: Sequence[str]) -> str:
    index = pair.key_strindex
    key: str = strings[index] if index else pair.key
    return key


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
