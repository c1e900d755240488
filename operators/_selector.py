"""Selectors: which key an element has, and what to do with one that has several.

A request may carry several services, scopes and traces at once. So a selector does not
merely name a key: it *divides* an element into one part for each key. Those that look at
the whole request (signal, metadata, turns) never cut, those that look at resources cut
groups, and those that look at scopes or records cut between records.

`route` knows only its branches, so it gives `divide` a function from a key to a branch:
keys that lead to one branch stay in one part, however many there are.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from rxotlp.data import TelemetryData
from rxotlp.wire.partition import partition
from rxotlp.wire.rows import Rows

__all__ = [
    "BY_SIGNAL",
    "Choose",
    "Divide",
    "Into",
    "Parts",
    "Selector",
    "as_selector",
    "check_name",
    "of_elements",
    "of_records",
    "selector",
]

Into = Callable[[Hashable], Hashable]
Parts = list[tuple[Hashable, TelemetryData]]
Divide = Callable[[TelemetryData, Into], Parts]
Begin = Callable[[Sequence[Hashable]], Divide]
Choose = Callable[[Rows], Sequence[Hashable]]
F = TypeVar("F", bound=Callable[..., Any])


class Selector:
    """What `route`, `split_by`, `batch(key=)` and `parallel(key=)` go by.

    Called with an element, it gives its key; of an element with several, the first.

    Attributes:
        cuts: whether an element may have several keys.
        names: branches that it chooses from, when it was told them.
        takes_turns: what it chooses depends on what it chose before, so it only makes
            sense in `route`.
        wants_names: it must be told branches, by `route` if by nobody else.
    """

    __slots__ = ("_begin", "_divide", "_text", "cuts", "names", "takes_turns", "wants_names")

    def __init__(
        self,
        text: str,
        begin: Begin,
        *,
        cuts: bool = False,
        names: Sequence[Hashable] = (),
        takes_turns: bool = False,
        wants_names: bool = False,
    ) -> None:
        self._text = text
        self._begin = begin
        self._divide: Divide | None = None
        self.cuts = cuts
        self.names = names
        self.takes_turns = takes_turns
        self.wants_names = wants_names

    def begin(self, branches: Sequence[Hashable] = ()) -> Divide:
        """What divides the elements of one subscription."""
        return self._begin(branches)

    def __call__(self, data: TelemetryData) -> Hashable:
        if self._divide is None:
            self._divide = self._begin(())
        return self._divide(data, _as_it_is)[0][0]

    def __repr__(self) -> str:
        return self._text


def as_selector(call: str, by: Any) -> Selector:
    """A selector for whatever a user may give.

    Raises:
        TypeError, ValueError: it is no selector, "signal" or function; the message begins
            with `call`.
    """
    if isinstance(by, Selector):
        return by
    bare = getattr(by, "is_selector", None)
    if bare:  # with its brackets or without
        made: Selector = by()
        return made
    if bare is not None:
        raise TypeError(f"{call}{by.__name__}): expected {by.__name__}(...), with its arguments")
    if callable(by):
        return of_elements(getattr(by, "__name__", repr(by)), by)
    if by == "signal":
        return BY_SIGNAL
    wrong = ValueError if isinstance(by, str) else TypeError
    raise wrong(
        f"{call}{by!r}): expected 'signal', a selector such as by_resource(\"service.name\"), "
        "or a function of an element"
    )


def selector(*, bare: bool = False) -> Callable[[F], F]:
    """Marks a function that makes a selector; operators are exported beside them.

    Args:
        bare: it needs no arguments, and so no brackets.
    """

    def mark(function: F) -> F:
        vars(function)["is_selector"] = bare
        return function

    return mark


def of_elements(text: str, key: Callable[[TelemetryData], Hashable]) -> Selector:
    """A selector that looks at elements as a whole."""

    def divide(data: TelemetryData, into: Into) -> Parts:
        return [(into(key(data)), data)]

    return Selector(text, lambda _: divide)


def of_records(text: str, choose: Choose, *, names: Sequence[Hashable] = ()) -> Selector:
    """A selector that looks at each record, and cuts between them."""

    def divide(data: TelemetryData, into: Into) -> Parts:
        def chosen(rows: Rows) -> list[Hashable]:
            return list(map(into, choose(rows)))

        parts = partition(data.signal, data.to_bytes(), chosen)
        if len(parts) < 2:
            return [(parts[0][0] if parts else into(None), data)]
        made = data._in_place_of_this([(payload, items) for _, payload, items in parts])
        return [(key, part) for (key, _, _), part in zip(parts, made, strict=True)]

    return Selector(text, lambda _: divide, cuts=True, names=names)


def check_name(call: str, name: object) -> None:
    """Raise when it cannot be the name of an attribute or a header."""
    if not isinstance(name, str):
        raise TypeError(f"{call}({name!r}): expected a name, got {type(name).__name__}")
    if not name:
        raise ValueError(f"{call}(''): expected a name; nothing is called by no name")


def _as_it_is(key: Hashable) -> Hashable:
    return key


BY_SIGNAL = of_elements("'signal'", lambda data: data.signal)
