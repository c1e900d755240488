"""Conditions: questions about a record that can be combined, printed and looked into.

A condition is a function of a record view, so it goes wherever a predicate does. What it
has beside a function: `needs`, the fields that it looks at, from which follows on which
signals it can be true and whether records have to be looked at at all; and a repr that
reads as it was written.

A condition is answered in two ways that agree: of one record by its view, and of a whole
list of records at once. The second makes no view where the fields are columns (see
`wire.columns`) or stand above the records.

Operands of `&` and `|` are asked in the order of what their fields cost, not in the order
in which they were written: they are questions, and asking changes nothing.
"""

from collections.abc import Callable
from typing import Any, final

from rxotlp.data import ResourceView, Signal
from rxotlp.wire.rows import Rows

__all__ = ["Condition", "Need", "OnlyResource", "as_condition"]


class Need:
    """A field that a condition looks at.

    Attributes:
        name: how conditions write it.
        cost: 0 above the records, 1 of all records at once, 2 each record in full.
        signals: those whose records have it.
    """

    __slots__ = ("cost", "name", "signals")

    def __init__(self, name: str, cost: int, *signals: Signal) -> None:
        self.name = name
        self.cost = cost
        self.signals = frozenset(signals or Signal)

    def __repr__(self) -> str:
        return self.name


_ANYTHING = Need("a function", 2)


class OnlyResource:
    """What a condition that looks at resources alone needs of a record."""

    __slots__ = ("resource",)

    def __init__(self, resource: ResourceView) -> None:
        self.resource = resource


Test = Callable[[Any], object]
Choose = Callable[[Rows], list[bool]]


@final
class Condition:
    """A question about a record; `&`, `|` and `~` make others of it.

    Attributes:
        needs: the fields that it looks at.
        test: answers for one record, by its view.
        choose: answers for each record of a list.
    """

    __slots__ = ("_single", "_text", "choose", "needs", "test")

    def __init__(
        self,
        text: str,
        needs: frozenset[Need],
        test: Test,
        choose: Choose | None = None,
        *,
        single: bool = False,
    ) -> None:
        self.needs = needs
        self.test = test
        self.choose = choose or (lambda rows: [bool(test(view)) for view in rows.views()])
        self._text = text
        self._single = single  # its text needs no brackets beside an operator

    def __call__(self, record: Any) -> bool:
        """Whether it is so of a record view."""
        return bool(self.test(record))

    def __and__(self, other: Any) -> "Condition":
        return _both(self, as_condition(f"{self!r} & ", other))

    def __rand__(self, other: Any) -> "Condition":
        return _both(as_condition("", other, f" & {self!r}"), self)

    def __or__(self, other: Any) -> "Condition":
        return _either(self, as_condition(f"{self!r} | ", other))

    def __ror__(self, other: Any) -> "Condition":
        return _either(as_condition("", other, f" | {self!r}"), self)

    def __invert__(self) -> "Condition":
        test, choose = self.test, self.choose
        return Condition(
            f"~{self._beside()}",
            self.needs,
            lambda record: not test(record),
            lambda rows: [not answer for answer in choose(rows)],
            single=self._single,
        )

    def __bool__(self) -> bool:
        raise TypeError(
            f"bool({self!r}): a condition is true or false of a record; combine conditions "
            "with & | ~ and brackets, not with and, or, not or a chain of comparisons"
        )

    def __repr__(self) -> str:
        return self._text

    def _beside(self) -> str:
        return self._text if self._single else f"({self._text})"

    @property
    def cost(self) -> int:
        """Of its fields, that of the dearest."""
        return max((need.cost for need in self.needs), default=0)

    @property
    def above_records(self) -> bool:
        """Whether a resource alone decides it, for all of its records."""
        return all(need.name == "resource" for need in self.needs)


def as_condition(call: str, given: object, end: str = "") -> Condition:
    """A condition as it is, a function as one.

    Raises:
        TypeError: it is neither; the message begins with it between `call` and `end`.
    """
    if isinstance(given, Condition):
        return given
    if not callable(given):
        raise TypeError(
            f"{call}{given!r}{end}: expected a condition or a function of a record, "
            f"got {type(given).__name__}"
        )
    name = getattr(given, "__name__", None) or repr(given)
    return Condition(name, frozenset([_ANYTHING]), given, single=True)


def _both(left: Condition, right: Condition) -> Condition:
    first, then = sorted((left, right), key=lambda condition: condition.cost)

    def choose(rows: Rows) -> list[bool]:
        answers = first.choose(rows)
        if not any(answers):
            return answers
        if then.cost < 2:
            return [one and other for one, other in zip(answers, then.choose(rows), strict=True)]
        pairs = zip(answers, rows.views(), strict=True)
        return [one and bool(then.test(view)) for one, view in pairs]

    return Condition(
        f"{left._beside()} & {right._beside()}",
        left.needs | right.needs,
        lambda record: first.test(record) and then.test(record),
        choose,
    )


def _either(left: Condition, right: Condition) -> Condition:
    first, then = sorted((left, right), key=lambda condition: condition.cost)

    def choose(rows: Rows) -> list[bool]:
        answers = first.choose(rows)
        if all(answers):
            return answers
        if then.cost < 2:
            return [one or other for one, other in zip(answers, then.choose(rows), strict=True)]
        pairs = zip(answers, rows.views(), strict=True)
        return [one or bool(then.test(view)) for one, view in pairs]

    return Condition(
        f"{left._beside()} | {right._beside()}",
        left.needs | right.needs,
        lambda record: first.test(record) or then.test(record),
        choose,
    )
