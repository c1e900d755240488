"""`where`: processors for some of the records only.

The element is cut in two by the condition, the processors get the part of which it is true,
and what they make of it is joined with the rest again, so that one request stays one.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from rxotlp.data import TelemetryData
from rxotlp.processors._condition import Condition, OnlyResource, as_condition
from rxotlp.processors._ready import ReadyProcessor
from rxotlp.processors._select import selected
from rxotlp.wire.rows import Rows

__all__ = ["where"]

Made = TelemetryData | list[TelemetryData] | None
Plain = Callable[[TelemetryData], TelemetryData | Iterable[TelemetryData] | None]


def where(
    condition: Condition | Callable[[Any], object], *processors: Plain
) -> ReadyProcessor[Made]:
    """Run processors on the records of which a condition is true; the others pass unchanged.

    Example:
        >>> from rxotlp import TelemetryData
        >>> from rxotlp.processors import attributes, resource, where
        >>> from rxotlp.testing import logs
        >>> data = TelemetryData.merge([logs([1], service="pay-eu"), logs([2], service="shop")])
        >>> ours = where(resource("service.name") == "pay-eu", attributes(upsert={"team": "pay"}))
        >>> [dict(record.attributes) for record in ours(data).records()]
        [{'team': 'pay'}, {}]

    Args:
        condition: a condition, or a function of a record view. It is asked once a record
            (or once a resource, when it looks at nothing else), on every signal; of a field
            that a signal does not have it is as told at `conditions`.
        processors: plain functions as `chain` takes them, run one after the other on an
            element with the records of which it is true. `async` ones belong into `chain`.

    Records keep their order within each part; those that were not meant come last. When the
    processors make one element, with the metadata that it had, it is joined with the rest;
    otherwise each goes on by itself. A resource or scope that has records in both parts is
    in the result twice, with the same header or, where processors changed it, with two.

    A record that cannot be decoded as far as the condition looks makes the processor raise,
    and `chain` rejects the element.

    Raises:
        TypeError: the condition is none, or a processor cannot be called or is async.
        ValueError: there is no processor.
    """
    asked = as_condition("where(", condition, ", ...)")
    if not processors:
        raise ValueError(f"where({asked!r}): expected one processor or more")
    for processor in processors:
        _check(asked, processor)
    text = ", ".join([repr(asked), *map(_called, processors)])

    def apply(data: TelemetryData) -> Made:
        cut = _by_resource if asked.above_records else _by_record
        meant, rest = cut(data, asked)
        if meant is None:
            return data
        made = [meant]
        del meant
        for processor in processors:
            made = [result for part in made for result in _results(processor(part))]
        if rest is None:
            return made[0] if len(made) == 1 else made
        if len(made) == 1 and _alike(made[0], rest):
            return TelemetryData.merge([made[0], rest])
        return [*made, rest]

    return ReadyProcessor(f"where({text})", apply)


def _check(asked: Condition, processor: object) -> None:
    call = f"where({asked!r}, {processor!r})"
    if not callable(processor):
        raise TypeError(
            f"{call}: expected a function of an element, got {type(processor).__name__}"
        )
    if getattr(processor, "is_operator", False):
        raise TypeError(f"{call}: expected a function of an element; an operator stands in `pipe`")
    if inspect.iscoroutinefunction(processor) or inspect.iscoroutinefunction(
        getattr(processor, "__call__", None)  # noqa: B004  (an instance with an async __call__)
    ):
        raise TypeError(f"{call}: expected a plain function; put an async one into chain itself")


def _called(processor: Any) -> str:
    name: str = getattr(processor, "__name__", None) or repr(processor)
    return name


def _by_record(
    data: TelemetryData, asked: Condition
) -> tuple[TelemetryData | None, TelemetryData | None]:
    lists: list[list[bool]] = []

    def ask(rows: Rows) -> list[bool]:
        lists.append(asked.choose(rows))
        return lists[-1]

    meant = selected(data, ask)
    if meant is None or meant is data:
        return (meant if lists else None), None
    remembered = iter(lists)
    return meant, selected(data, lambda _rows: [not answer for answer in next(remembered)])


def _by_resource(
    data: TelemetryData, asked: Condition
) -> tuple[TelemetryData | None, TelemetryData | None]:
    parts = dict(data.split_by(lambda resource: bool(asked.test(OnlyResource(resource)))))
    return parts.get(True), parts.get(False)


def _results(made: Any) -> list[TelemetryData]:
    if made is None:
        return []
    if isinstance(made, TelemetryData):
        return [made]
    if not isinstance(made, Iterable):  # an Observable would be counted through without end
        raise TypeError(
            f"a processor in `where` returned {type(made).__name__}, expected TelemetryData, "
            "an iterable of it, or None"
        )
    return list(made)


def _alike(one: TelemetryData, other: TelemetryData) -> bool:
    return one.signal is other.signal and one.metadata == other.metadata
