"""The words that conditions are written with: `attr("http.route") == "/health"`, ...

    attr(key)  resource(key)  scope(key)   attributes
    scope.name  scope.version              of the instrumentation
    name                                   a span's, a metric's, a log record's event name
    duration                               seconds, of spans and profiles
    status.is_error  .is_ok  .is_unset     of spans
    severity                               of log records: numbers, or names of four each:
                                           TRACE, DEBUG, INFO, WARN, ERROR, FATAL
    body                                   of log records

A field that a record does not have, or that its signal does not know, is None: it equals
nothing and is not less or more than anything, so `!=` and `~` are true of it. Values of
types that have no order (a text and a number) are neither less nor more.
"""

from collections.abc import Callable, Sequence
from typing import Any, final

from rxotlp.data import Signal
from rxotlp.processors._condition import Condition, Need
from rxotlp.processors._field import Field, plain, seconds, severity_number, text
from rxotlp.wire.rows import Rows
from rxotlp.wire.values import value

__all__ = ["attr", "body", "duration", "name", "resource", "scope", "severity", "status"]

_ATTRIBUTES = Need("attributes", 2)
_RESOURCE = Need("resource", 0)
_SCOPE = Need("scope", 0)
_NAME = Need("name", 1, Signal.TRACES, Signal.METRICS, Signal.LOGS)
_DURATION = Need("duration", 1, Signal.TRACES, Signal.PROFILES)
_STATUS = Need("status", 1, Signal.TRACES)
_SEVERITY = Need("severity", 1, Signal.LOGS)
_BODY = Need("body", 2, Signal.LOGS)


def _key(call: str, key: Any) -> str:
    if not isinstance(key, str) or not key:
        raise TypeError(f"{call}({key!r}): expected an attribute's key")
    return key


def _in_bytes(text: str) -> Callable[[Any], bool]:
    """Whether a text may be among a record's attributes: on the wire it stands as it is.

    A profile's attributes stand elsewhere.
    """
    needle = text.encode("utf-8", "surrogatepass")

    def test(record: Any) -> bool:
        return needle in record.to_bytes() or "attributes" not in record.DESCRIPTOR.fields_by_name

    return test


def attr(key: str) -> Field:
    """An attribute of the record itself. A record without the key's bytes is not decoded."""
    may_have = _in_bytes(_key("attr", key))

    def get(record: Any) -> Any:
        if not may_have(record):
            return None
        if "attributes" not in record.DESCRIPTOR.fields_by_name:
            return record.attributes.get(key)
        found = None
        for pair in record.message.attributes:  # one of them is not worth a mapping of all
            if pair.key == key:
                found = pair
        return None if found is None else value(found.value)

    return Field(f"attr({key!r})", _ATTRIBUTES, get, plain, may_equal=_in_bytes)


def resource(key: str) -> Field:
    """An attribute of the record's resource."""
    _key("resource", key)

    def get(record: Any) -> Any:
        return record.resource.attributes.get(key)

    return Field(f"resource({key!r})", _RESOURCE, get, plain)


@final
class _Scope:
    """The instrumentation that wrote the record: `scope.name`, `scope.version`, `scope(key)`."""

    __slots__ = ()

    name = Field("scope.name", _SCOPE, lambda record: record.scope.name, text)
    version = Field("scope.version", _SCOPE, lambda record: record.scope.version, text)

    def __call__(self, key: str) -> Field:
        """An attribute of the scope."""
        _key("scope", key)

        def get(record: Any) -> Any:
            return record.scope.attributes.get(key)

        return Field(f"scope({key!r})", _SCOPE, get, plain)

    def __repr__(self) -> str:
        return "scope"


def _status(word: str, code: int) -> Condition:
    def test(record: Any) -> bool:
        return "status" in record.DESCRIPTOR.fields_by_name and record.status.code == code

    def choose(rows: Rows) -> list[bool]:
        if "status" not in rows.columns:
            return [False] * len(rows.raw)
        return [found.code == code for found in rows.column("status")]

    return Condition(f"status.{word}", frozenset([_STATUS]), test, choose, single=True)


@final
class _Status:
    """A span's status: `status.is_error`, `status.is_ok`, `status.is_unset`."""

    __slots__ = ()

    # trace.proto, Status.StatusCode
    is_unset = _status("is_unset", 0)
    is_ok = _status("is_ok", 1)
    is_error = _status("is_error", 2)

    def __repr__(self) -> str:
        return "status"


def _name_of(record: Any) -> Any:
    names = record.DESCRIPTOR.fields_by_name
    if "name" in names:
        return record.name
    if "event_name" in names:
        return record.event_name
    return None if "attribute_indices" in names else record.metric.name


def _names(rows: Rows) -> Sequence[Any]:
    for name in ("name", "event_name"):
        if name in rows.columns:
            return rows.column(name)
    above = rows.metric.name if rows.source.signal is Signal.METRICS else None
    return [above] * len(rows.raw)


def _seconds_between(start: int, end: int) -> float | None:
    return (end - start) / 1e9 if end else None  # an end of 0: not given


def _duration_of(record: Any) -> Any:
    names = record.DESCRIPTOR.fields_by_name
    if "end_time_unix_nano" in names:
        return _seconds_between(record.start_time_unix_nano, record.end_time_unix_nano)
    return record.duration_nano / 1e9 if "duration_nano" in names else None


def _durations(rows: Rows) -> Sequence[Any]:
    if "end_time_unix_nano" in rows.columns:
        starts, ends = rows.column("start_time_unix_nano"), rows.column("end_time_unix_nano")
        return list(map(_seconds_between, starts, ends))
    if "duration_nano" in rows.columns:
        return [taken / 1e9 for taken in rows.column("duration_nano")]
    return [None] * len(rows.raw)


def _severity_of(record: Any) -> Any:
    known = "severity_number" in record.DESCRIPTOR.fields_by_name
    return record.severity_number or None if known else None  # 0: not given


def _severities(rows: Rows) -> Sequence[Any]:
    if "severity_number" not in rows.columns:
        return [None] * len(rows.raw)
    return [number or None for number in rows.column("severity_number")]


def _body_of(record: Any) -> Any:
    return record.body if "body" in record.DESCRIPTOR.fields_by_name else None


name = Field("name", _NAME, _name_of, text, column=_names)
duration = Field("duration", _DURATION, _duration_of, seconds, column=_durations)
severity = Field("severity", _SEVERITY, _severity_of, severity_number, column=_severities)
body = Field("body", _BODY, _body_of, plain)
scope = _Scope()
status = _Status()
