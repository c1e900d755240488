"""Where to cut a request so that each part is within its limits.

Filled in order, each part as far as it goes. A part's size is what stands above its
records, its records, and a length of the longest kind for everything in between: some bytes
too many now and then, never too few.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from rxotlp.wire.shapes import children

__all__ = ["Place", "by_items", "by_size"]

Place = tuple[int, ...]
"""Indices of group, scope, metric (metrics only) and record."""


def by_items(shape: Any, depth: int, max_items: int | None) -> tuple[list[Place], list[int]]:
    """Places to cut at, and the items of the parts between them."""
    places: list[Place] = []
    counts: list[int] = []
    items = 0
    for path, length in _lists(shape, depth):
        start = 0
        if max_items is not None:
            while items + length - start > max_items:
                start += max_items - items
                places.append((*path, start))
                counts.append(max_items)
                items = 0
        items += length - start
    counts.append(items)
    return places, counts


def _lists(shape: Any, depth: int) -> Iterator[tuple[Place, int]]:
    """The place and the length of every list of records."""
    for at, group in enumerate(shape.groups):
        for within, scope in enumerate(group.scopes):
            if depth == 2:
                yield (at, within), len(scope.records)
                continue
            for number, metric in enumerate(scope.metrics):
                kind = metric.WhichOneof("data")
                if kind is not None:
                    yield (at, within, number), len(getattr(metric, kind).records)


def by_size(
    shape: Any, depth: int, size: int, max_items: int | None, max_bytes: int
) -> tuple[list[Place], list[int]]:
    """Like `by_items`, with a limit on a part's bytes too.

    Args:
        size: bytes of the whole request.
    """
    plan = _Filling(depth, max_items or size, max_bytes, 1 + _varint(min(size, max_bytes)))
    plan.walk(shape, ())
    return plan.places, [*plan.counts, plan.items]


class _Filling:
    """The part being filled.

    Attributes:
        places: where parts were cut off.
        counts: items of those parts.
        items: items of the open one.
    """

    def __init__(self, depth: int, max_items: int, max_bytes: int, prefix: int) -> None:
        self.places: list[Place] = []
        self.counts: list[int] = []
        self.items = 0
        self._depth = depth
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._prefix = prefix  # bytes of a tag and a length
        self._above: list[int] = []  # bytes of each node on the way down to the current one
        self._entered = 0  # how many of those the open part has paid for
        self._bytes = 0
        self._empty = True

    def walk(self, node: Any, path: Place) -> None:
        """Add a node and all that is below it."""
        level, depth = len(path), self._depth
        below = children(node, level, depth)
        lengths = map(len, below) if level == depth else (child.ByteSize() for child in below)
        sizes = [length + 1 + _varint(length) for length in lengths]
        self._above.append(node.ByteSize() - sum(sizes) + self._prefix)
        if not sizes:  # no record is in here: it goes whole
            self._add((*path, *[0] * (depth + 1 - level)), [0], 0)
        elif level == depth:
            self._add((*path, 0), sizes, 1)
        else:
            for index, child in enumerate(below):
                self.walk(child, (*path, index))
        self._above.pop()
        self._entered = min(self._entered, len(self._above))

    def _add(self, place: Place, sizes: list[int], weight: int) -> None:
        """Add records, or one node without any, from a place on."""
        ends = [0, *accumulate(sizes)]
        done = 0
        while done < len(sizes):
            above = sum(self._above[self._entered :])
            room = self._max_bytes - self._bytes - above
            fit = bisect_right(ends, ends[done] + room, lo=done) - 1 - done if room >= 0 else 0
            if weight:
                fit = min(fit, self._max_items - self.items)
            if fit <= 0 and self._empty:
                fit = 1  # too large for any part: alone
            if fit > 0:
                self._bytes += above + ends[done + fit] - ends[done]
                self._entered = len(self._above)
                self._empty = False
                self.items += weight * fit
                done += fit
            if done < len(sizes):
                self._close((*place[:-1], place[-1] + done))

    def _close(self, place: Place) -> None:
        self.places.append(place)
        self.counts.append(self.items)
        self._entered = self.items = self._bytes = 0
        self._empty = True


def _varint(number: int) -> int:
    """Bytes that a length takes on the wire."""
    return (number.bit_length() + 6) // 7 or 1
