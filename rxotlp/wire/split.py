"""Counting items, and cutting a request into parts, without decoding a record.

A part is made by *removing* everything else from a decoded shape, never by copying fields
into a new one, so whatever stands above the records, unknown fields too, stays in every
part: resource, scope, a metric's name and `data` oneof, and a profiles request's dictionary,
without which its profiles mean nothing.

Places in a request are counted in *units*: a record is one, and so is a group, scope or
metric that holds no record, so that these too end up in exactly one part. Cutting into many
parts halves again and again, so it costs the logarithm of their number and not the number.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from rxotlp.wire.shapes import LAYOUTS, children, read
from rxotlp.wire.signals import Signal

__all__ = ["count", "split"]

_NO_LIMIT = 1 << 62


def count(signal: Signal, payload: bytes) -> int:
    """Items in a request.

    Raises:
        DecodeError: it cannot be read as far down as its records.
    """
    layout = LAYOUTS[signal]
    shape = read(layout.shape, signal, payload)
    if layout.depth == 2:
        return sum(len(scope.records) for group in shape.groups for scope in group.scopes)
    total = 0
    for group in shape.groups:
        for scope in group.scopes:
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
    if max_bytes is not None and len(payload) <= max_bytes:
        max_bytes = None
    items, units = _weigh(shape, 0, depth)
    if max_bytes is None:
        if max_items is None or items <= max_items:
            return [(payload, items)]
        if items == units:
            cuts = list(range(max_items, units, max_items))
            counts = [max_items] * len(cuts)
            counts.append(items - max_items * len(cuts))
            return list(zip(_cut(signal, payload, cuts), counts, strict=True))
    plan = _Plan(max_items or units, max_bytes or _NO_LIMIT, len(payload))
    plan.walk(shape, 0, depth)
    cuts, counts = plan.finish()
    return list(zip(_cut(signal, payload, cuts), counts, strict=True))


def _weigh(node: Any, level: int, depth: int) -> tuple[int, int]:
    """Items and units in a node."""
    below = children(node, level, depth)
    if level == depth:
        return len(below), len(below) or 1
    items = units = 0
    for child in below:
        more, places = _weigh(child, level + 1, depth)
        items += more
        units += places
    return items, units or 1


def _cut(signal: Signal, payload: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The parts between the cuts, which are units."""
    if not cuts:
        yield payload
        return
    layout = LAYOUTS[signal]
    middle = len(cuts) // 2
    at = cuts[middle]
    left = layout.shape.FromString(payload)
    _trim(left, 0, layout.depth, at, first=True)
    yield from _cut(signal, left.SerializeToString(), cuts[:middle])
    del left
    right = layout.shape.FromString(payload)
    _trim(right, 0, layout.depth, at, first=False)
    yield from _cut(signal, right.SerializeToString(), [cut - at for cut in cuts[middle + 1 :]])


def _trim(node: Any, level: int, depth: int, at: int, *, first: bool) -> None:
    """Remove what is past the first `at` units, or those; 0 < at < the node's units."""
    below = children(node, level, depth)
    if level < depth:
        index = 0
        while at >= (units := _weigh(below[index], level + 1, depth)[1]):
            at -= units
            index += 1
        if at:  # the cut goes through this child
            _trim(below[index], level + 1, depth, at, first=first)
            index += first
        at = index
    if first:
        del below[at:]
    else:
        del below[:at]


class _Plan:
    """Where to cut: fills each part as far as its limits allow.

    A part's size is reckoned as what stands above its records, records, and a length of the
    longest kind for everything in between, which may be some bytes too many and never too
    few.
    """

    def __init__(self, max_items: int, max_bytes: int, size: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._prefix = 1 + _varint(min(size, max_bytes))
        self._above: list[int] = []  # bytes of each node on the way down to the current one
        self._entered = 0  # how many of those the open part has paid for
        self._cuts: list[int] = []
        self._counts: list[int] = []
        self._unit = 0
        self._start = 0
        self._items = 0
        self._bytes = 0

    def walk(self, node: Any, level: int, depth: int) -> None:
        """Add a node and all that is below it."""
        below = children(node, level, depth)
        if level == depth:
            sizes = [length + 1 + _varint(length) for length in map(len, below)]
        else:
            sizes = [size + 1 + _varint(size) for size in map(_size, below)]
        self._above.append(node.ByteSize() - sum(sizes) + self._prefix)
        if level == depth and sizes:
            self._add(sizes, 1)
        elif not sizes:
            self._add([0], 0)
        else:
            for child in below:
                self.walk(child, level + 1, depth)
        self._above.pop()
        self._entered = min(self._entered, len(self._above))

    def finish(self) -> tuple[list[int], list[int]]:
        """The cuts, and the items of the parts between them."""
        self._counts.append(self._items)
        return self._cuts, self._counts

    def _add(self, sizes: list[int], weight: int) -> None:
        """Add units of the current node, each of `weight` items."""
        ends = [0, *accumulate(sizes)]
        done = 0
        while done < len(sizes):
            above = sum(self._above[self._entered :])
            room = self._max_bytes - self._bytes - above
            fit = bisect_right(ends, ends[done] + room, lo=done) - 1 - done if room >= 0 else 0
            if weight:
                fit = min(fit, self._max_items - self._items)
            if fit <= 0 and self._unit == self._start:
                fit = 1  # too large for any part: alone
            if fit > 0:
                self._bytes += above + ends[done + fit] - ends[done]
                self._entered = len(self._above)
                self._items += weight * fit
                self._unit += fit
                done += fit
            if done < len(sizes):
                self._close()

    def _close(self) -> None:
        self._cuts.append(self._unit)
        self._counts.append(self._items)
        self._start = self._unit
        self._entered = self._items = self._bytes = 0


def _size(node: Any) -> int:
    size: int = node.ByteSize()
    return size


def _varint(number: int) -> int:
    """Bytes that a length takes on the wire."""
    return (number.bit_length() + 6) // 7 or 1
