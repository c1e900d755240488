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

import operator
import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from typing import Any, final

from rxotlp.data import Signal
from rxotlp.processors._condition import Condition, Need
from rxotlp.wire.rows import Rows
from rxotlp.wire.values import value

__all__ = ["Field", "attr", "body", "duration", "name", "resource", "scope", "severity", "status"]

_ATTRIBUTES = Need("attributes", 2)
_RESOURCE = Need("resource", 0)
_SCOPE = Need("scope", 0)
_NAME = Need("name", 1, Signal.TRACES, Signal.METRICS, Signal.LOGS)
_DURATION = Need("duration", 1, Signal.TRACES, Signal.PROFILES)
_STATUS = Need("status", 1, Signal.TRACES)
_SEVERITY = Need("severity", 1, Signal.LOGS)
_BODY = Need("body", 2, Signal.LOGS)

# Logs data model, "Field: SeverityNumber": the first of the four of each name.
_SEVERITIES = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17, "FATAL": 21}

Get = Callable[[Any], Any]  # of a record view; of a list of records too, for what is above
Column = Callable[[Rows], Sequence[Any]]


@final
class Field:
    """Something of a record that conditions compare; compared, it gives a condition."""

    __slots__ = ("_check", "_column", "_get", "_may_equal", "_need", "_text")

    def __init__(
        self,
        text: str,
        need: Need,
        get: Get,
        check: Callable[[str, Any], Any],
        *,
        column: Column | None = None,
        may_equal: Callable[[str], Callable[[Any], bool]] | None = None,
    ) -> None:
        self._text = text
        self._need = need
        self._get = get
        self._check = check
        self._column = column
        self._may_equal = may_equal

    def __repr__(self) -> str:
        return self._text

    __hash__ = None  # type: ignore[assignment]  # `==` asks about records

    def __eq__(self, other: Any) -> Condition:  # type: ignore[override]
        wanted = self._value("==", other)
        if self._may_equal is None or not isinstance(wanted, str):
            return self._condition(f" == {other!r}", lambda found: bool(found == wanted))
        may, get = self._may_equal(wanted), self._get
        return Condition(
            f"{self._text} == {other!r}",
            frozenset([self._need]),
            lambda record: may(record) and get(record) == wanted,
        )

    def __ne__(self, other: Any) -> Condition:  # type: ignore[override]
        wanted = self._value("!=", other)
        return self._condition(f" != {other!r}", lambda found: not found == wanted)  # noqa: SIM201

    def __lt__(self, other: Any) -> Condition:
        return self._ordered("<", operator.lt, other)

    def __le__(self, other: Any) -> Condition:
        return self._ordered("<=", operator.le, other)

    def __gt__(self, other: Any) -> Condition:
        return self._ordered(">", operator.gt, other)

    def __ge__(self, other: Any) -> Condition:
        return self._ordered(">=", operator.ge, other)

    def matches(self, glob: str) -> Condition:
        """Whether it is a text of this form; `*`, `?` and `[...]` as in file names."""
        if not isinstance(glob, str):
            raise TypeError(
                f"{self._text}.matches({glob!r}): expected a str such as 'pay-*', "
                f"got {type(glob).__name__}"
            )
        match = re.compile(translate(glob)).match

        def holds(found: Any) -> bool:
            return isinstance(found, str) and match(found) is not None

        return self._condition(f".matches({glob!r})", holds, single=True)

    @property
    def exists(self) -> Condition:
        """Whether the record has it."""
        return self._condition(".exists", lambda found: found is not None, single=True)

    def __bool__(self) -> bool:
        raise TypeError(
            f"bool({self._text}): a field is no condition; compare it, or write "
            f"{self._text}.exists, and combine conditions with & | ~ and brackets"
        )

    def _ordered(self, sign: str, compare: Callable[[Any, Any], Any], other: Any) -> Condition:
        wanted = self._value(sign, other)

        def holds(found: Any) -> bool:
            if found is None:
                return False
            try:
                return bool(compare(found, wanted))
            except TypeError:  # a text and a number
                return False

        return self._condition(f" {sign} {other!r}", holds)

    def _value(self, sign: str, other: Any) -> Any:
        call = f"{self._text} {sign} {other!r}"
        if other is None:
            raise TypeError(f"{call}: expected a value; write {self._text}.exists")
        return self._check(call, other)

    def _condition(
        self, rest: str, holds: Callable[[Any], bool], *, single: bool = False
    ) -> Condition:
        get, column = self._get, self._column
        choose: Callable[[Rows], list[bool]] | None = None
        if self._need.cost == 0:
            choose = lambda rows: [holds(get(rows))] * len(rows.raw)  # noqa: E731
        elif column is not None:
            choose = lambda rows: list(map(holds, column(rows)))  # noqa: E731
        return Condition(
            f"{self._text}{rest}",
            frozenset([self._need]),
            lambda record: holds(get(record)),
            choose,
            single=single,
        )


# -- what a field may be compared with -----------------------------------------------------


def _plain(call: str, other: Any) -> Any:
    if not isinstance(other, str | bool | int | float | bytes):
        raise TypeError(
            f"{call}: expected a str, bool, int, float or bytes, got {type(other).__name__}"
        )
    return other


def _text(call: str, other: Any) -> Any:
    if not isinstance(other, str):
        raise TypeError(f"{call}: expected a str, got {type(other).__name__}")
    return other


def _seconds(call: str, other: Any) -> Any:
    if isinstance(other, bool) or not isinstance(other, int | float):
        raise TypeError(f"{call}: expected seconds as a number, got {type(other).__name__}")
    return other


def _severity_number(call: str, other: Any) -> Any:
    if isinstance(other, str):
        if other.upper() not in _SEVERITIES:
            raise ValueError(f"{call}: expected one of {', '.join(_SEVERITIES)} or 1 to 24")
        return _Named(_SEVERITIES[other.upper()])
    if isinstance(other, bool) or not isinstance(other, int):
        raise TypeError(f"{call}: expected a name or a number, got {type(other).__name__}")
    if not 1 <= other <= 24:
        raise ValueError(f"{call}: expected 1 to 24; there are no other severities")
    return other


class _Named:
    """The four severities of a name, beside which a number is less, more or the same."""

    __slots__ = ("_first",)

    def __init__(self, first: int) -> None:
        self._first = first

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, number: object) -> bool:
        return isinstance(number, int) and self._first <= number < self._first + 4

    def __lt__(self, number: int) -> bool:
        return number >= self._first + 4

    def __le__(self, number: int) -> bool:
        return number >= self._first

    def __gt__(self, number: int) -> bool:
        return number < self._first

    def __ge__(self, number: int) -> bool:
        return number < self._first + 4


# -- fields --------------------------------------------------------------------------------


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

    return Field(f"attr({key!r})", _ATTRIBUTES, get, _plain, may_equal=_in_bytes)


def resource(key: str) -> Field:
    """An attribute of the record's resource."""
    _key("resource", key)

    def get(record: Any) -> Any:
        return record.resource.attributes.get(key)

    return Field(f"resource({key!r})", _RESOURCE, get, _plain)


@final
class _Scope:
    """The instrumentation that wrote the record: `scope.name`, `scope.version`, `scope(key)`."""

    __slots__ = ()

    name = Field("scope.name", _SCOPE, lambda record: record.scope.name, _text)
    version = Field("scope.version", _SCOPE, lambda record: record.scope.version, _text)

    def __call__(self, key: str) -> Field:
        """An attribute of the scope."""
        _key("scope", key)

        def get(record: Any) -> Any:
            return record.scope.attributes.get(key)

        return Field(f"scope({key!r})", _SCOPE, get, _plain)

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


name = Field("name", _NAME, _name_of, _text, column=_names)
duration = Field("duration", _DURATION, _duration_of, _seconds, column=_durations)
severity = Field("severity", _SEVERITY, _severity_of, _severity_number, column=_severities)
body = Field("body", _BODY, _body_of, _plain)
scope = _Scope()
status = _Status()
