"""Operators that say what they are: `ops.batch(max_items=100)` instead of a closure's address.

What `ops.x(...)` gives is a function; wrapped, it is still one, called once a pipeline. What
every operator takes, a name and a scheduler, is checked here.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from reactivex import Observable, abc

from rxotlp.arguments import one_line
from rxotlp.data import TelemetryData
from rxotlp.operators._shell import Operator

__all__ = ["Described", "described"]

P = ParamSpec("P")


class Described:
    """An operator, and what it was made of.

    Attributes:
        is_operator: for those that must not import operators.
    """

    __slots__ = ("_apply", "_arguments", "_keywords", "_name")

    is_operator = True

    def __init__(
        self, name: str, apply: Operator, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        self._name = name
        self._apply = apply
        self._arguments = arguments
        self._keywords = keywords

    def __call__(self, source: Observable[TelemetryData]) -> Observable[Any]:
        return self._apply(source)

    def __repr__(self) -> str:
        given = [one_line(value) for value in self._arguments]
        given += [f"{name}={one_line(value)}" for name, value in self._keywords.items()]
        return f"ops.{self._name}({', '.join(given)})"


def described(function: Callable[P, Operator]) -> Callable[P, Operator]:
    """Decorates a function that makes an operator: its results show how they were made."""

    @wraps(function)
    def make(*arguments: P.args, **keywords: P.kwargs) -> Operator:
        made = function(*arguments, **keywords)
        _check(function.__name__, **keywords)
        return Described(function.__name__, made, arguments, keywords)

    return make


def _check(call: str, *, name: object = None, scheduler: object = None, **_: object) -> None:
    if not isinstance(name, str | None):
        raise TypeError(f"{call}(name={name!r}): expected a text, got {type(name).__name__}")
    if not isinstance(scheduler, abc.SchedulerBase | None):
        raise TypeError(
            f"{call}(scheduler={scheduler!r}): expected a scheduler of rxotlp or reactivex, "
            f"got {type(scheduler).__name__}"
        )
