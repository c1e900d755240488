"""Counting items, and cutting a request into parts, without decoding a record.

A part is made by *removing* everything else from a decoded shape, never by copying fields
into a new one, so whatever stands above the records, unknown fields too, stays in every
part: resource, scope, a metric's name and `data` oneof, and a profiles request's dictionary,
without which its profiles mean nothing.

A *place* is where a cut goes: the indices of group, scope, (metric,) and record before which
it is made. A group, scope or metric that holds no record is a place too, so that these too
end up in exactly one part. Cutting into many parts halves again and again, so it costs the
logarithm of their number and not the number.
"""

from collections.abc import Iterator
from typing import Any

from rxotlp.wire.plan import Place, by_items, by_size
from rxotlp.wire.shapes import LAYOUTS, children, read
from rxotlp.wire.signals import Signal

__all__ = ["count", "count_shape", "split"]


def count(signal: Signal, payload: bytes) -> int:
    """Items in a request.

    Raises:
        DecodeError: it cannot be read as far down as its records.
    """
    return count_shape(signal, read(LAYOUTS[signal].shape, signal, payload))


def count_shape(signal: Signal, shape: Any) -> int:
    """Items in a request of which there is the shape already."""
    depth = LAYOUTS[signal].depth
    total = 0
    for group in shape.groups:
        for scope in group.scopes:
            if depth == 2:
                total += len(scope.records)
                continue
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                if kind is not None:
                    total += len(getattr(metric, kind).records)
    return total


def split(
    signal: Signal, payload: bytes, *, max_items: int | None = None, max_bytes: int | None = None
) -> list[tuple[bytes, int]]:
    """Cut a request into parts, in order, each with its items.

    Args:
        max_items: items a part holds at most.
        max_bytes: bytes a part has at most; a record that needs more, together with what
            stands above it, is a part of its own.

    Returns:
        The parts; `payload` itself, the same object, when it is within the limits.

    Raises:
        DecodeError: it cannot be read as far down as its records.
    """
    depth = LAYOUTS[signal].depth
    shape = read(LAYOUTS[signal].shape, signal, payload)
    if max_bytes is None or len(payload) <= max_bytes:
        places, counts = by_items(shape, depth, max_items)
    else:
        places, counts = by_size(shape, depth, len(payload), max_items, max_bytes)
    if not places:
        return [(payload, counts[0])]
    return list(zip(_cut(signal, payload, shape, places), counts, strict=True))


def _cut(signal: Signal, payload: bytes, shape: Any, places: list[Place]) -> Iterator[bytes]:
    """The parts between the places of a request, whose shape is used up."""
    if not places:
        yield payload
        return
    layout = LAYOUTS[signal]
    middle = len(places) // 2
    at = places[middle]
    _trim(shape, 0, layout.depth, at, first=True)
    yield from _cut(signal, shape.SerializeToString(), shape, places[:middle])
    shape = layout.shape.FromString(payload)
    _trim(shape, 0, layout.depth, at, first=False)
    later = [_behind(place, at) for place in places[middle + 1 :]]
    yield from _cut(signal, shape.SerializeToString(), shape, later)


def _trim(node: Any, level: int, depth: int, place: Place, *, first: bool) -> None:
    """Remove what comes at and after a place, or, for the second part, before it."""
    below = children(node, level, depth)
    at = place[level]
    through = any(place[level + 1 :])  # the cut goes through that child
    if first:
        del below[at + through :]
    else:
        del below[:at]
        at = 0
    if through:
        _trim(below[at], level + 1, depth, place, first=first)


def _behind(place: Place, cut: Place) -> Place:
    """Where a place is in what a cut leaves on its right."""
    for level, (here, gone) in enumerate(zip(place, cut, strict=True)):
        if here != gone:
            return (*[0] * level, here - gone, *place[level + 1 :])
    raise ValueError("two cuts at one place")
