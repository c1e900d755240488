"""A field of records that conditions compare: how it is got, and with what it may be compared.

Each comparison becomes one function of a value, so that asking one record (its view gives
the value) and asking a list of them (a column gives all values) cannot differ.
"""

import operator
import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from typing import Any, final

from rxotlp.processors._condition import Condition, Need
from rxotlp.wire.rows import Rows

__all__ = ["Field", "plain", "seconds", "severity_number", "text"]

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


def plain(call: str, other: Any) -> Any:
    """A value as attributes have them."""
    if not isinstance(other, str | bool | int | float | bytes):
        raise TypeError(
            f"{call}: expected a str, bool, int, float or bytes, got {type(other).__name__}"
        )
    return other


def text(call: str, other: Any) -> Any:
    """A text."""
    if not isinstance(other, str):
        raise TypeError(f"{call}: expected a str, got {type(other).__name__}")
    return other


def seconds(call: str, other: Any) -> Any:
    """A number of seconds."""
    if isinstance(other, bool) or not isinstance(other, int | float):
        raise TypeError(f"{call}: expected seconds as a number, got {type(other).__name__}")
    return other


def severity_number(call: str, other: Any) -> Any:
    """A severity: its number, or something that compares as the four of a name."""
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
