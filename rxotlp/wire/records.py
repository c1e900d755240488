"""Looking at records, removing some and changing them.

The envelope around the records is a decoded shape that is edited in place, so unknown
fields and a metric's oneof stay; records that stay keep their bytes.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import compress
from typing import Any

from rxotlp.wire.rows import Rows, Source
from rxotlp.wire.shapes import LAYOUTS, children, read
from rxotlp.wire.signals import Signal
from rxotlp.wire.views import RecordView

__all__ = ["filter_records", "map_records", "select_lists", "select_records", "views"]


def views(signal: Signal, payload: bytes) -> Iterator[RecordView]:
    """A view of each record, in order.

    Raises:
        DecodeError: at once, when the request cannot be read as far down as its records;
            later, when a record that is touched cannot be read.
    """
    source = Source(signal, payload, read(LAYOUTS[signal].shape, signal, payload))
    return (view for rows in source.walk() for view in rows.views())


def filter_records(
    signal: Signal, payload: bytes, predicate: Callable[[RecordView], object]
) -> tuple[bytes, int] | None:
    """The request with the records for which `predicate` is true, and their number.

    Returns:
        `payload` itself, the same object, when all of them stay; None when none does.
    """
    return select_records(signal, payload, lambda rows: map(predicate, rows.views()))


def select_records(
    signal: Signal, payload: bytes, choose: Callable[[Rows], Iterable[object]]
) -> tuple[bytes, int] | None:
    """The same, where `choose` tells of a whole list of records which of them stay."""
    return select_lists(signal, payload, lambda lists: ((rows, choose(rows)) for rows in lists))


def select_lists(
    signal: Signal,
    payload: bytes,
    choose: Callable[[Iterator[Rows]], Iterable[tuple[Rows, Iterable[object]]]],
) -> tuple[bytes, int] | None:
    """The same, where `choose` gets all lists and tells of each which records stay."""
    layout = LAYOUTS[signal]
    shape = read(layout.shape, signal, payload)
    kept = dropped = 0
    emptied: set[tuple[int, ...]] = set()
    for rows, chosen in choose(Source(signal, payload, shape).walk()):
        stay = list(compress(rows.raw, chosen))
        kept += len(stay)
        if len(stay) == len(rows.raw):
            continue
        dropped += len(rows.raw) - len(stay)
        if not stay:
            emptied.add(rows.place)
        rows.put(stay)
    if not dropped:
        return payload, kept
    if not kept:
        return None
    if emptied:
        _prune(shape, (), layout.depth, emptied)
    return shape.SerializeToString(), kept


def _prune(node: Any, place: tuple[int, ...], depth: int, emptied: set[tuple[int, ...]]) -> bool:
    """Remove what a filter emptied. Returns whether that is all of the node."""
    if len(place) == depth:
        return place in emptied
    below = children(node, len(place), depth)
    gone = [
        index for index, child in enumerate(below) if _prune(child, (*place, index), depth, emptied)
    ]
    for index in reversed(gone):
        del below[index]
    return bool(gone) and not below


def map_records(
    signal: Signal, payload: bytes, function: Callable[[Any], Any]
) -> tuple[bytes, int]:
    """The request with each record changed by `function`, and their number.

    Raises:
        DecodeError: the request, or a record, cannot be read.
        TypeError: `function` returned neither None nor a message of the record's type.
    """
    shape = read(LAYOUTS[signal].shape, signal, payload)
    items = 0
    for rows in Source(signal, payload, shape).walk():
        changed = []
        for index in range(len(rows.raw)):
            message = rows.message(index)
            made = function(message)
            if made is None:
                made = message
            elif type(made) is not type(message):
                raise TypeError(
                    f"map_records(function): returned {type(made).__name__}, expected None or "
                    f"a {type(message).__name__}; filter_records removes records"
                )
            changed.append(made.SerializeToString())
        items += len(changed)
        rows.put(changed)
    return shape.SerializeToString(), items
