"""Cutting a request into one for each key that its records have.

As in `split`, a part is made by removing everything else from a decoded shape, so what
stands above the records stays as it came. Many keys are divided in halves again and again,
so they cost the logarithm of their number and not the number. A group, scope or metric that
held no record in the first place is in the first part, and so in exactly one.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import compress, islice
from typing import Any

from rxotlp.wire.rows import Rows, Source
from rxotlp.wire.shapes import LAYOUTS, Layout, children, read
from rxotlp.wire.signals import Signal

__all__ = ["hashable", "partition"]

Part = tuple[Hashable, bytes, int]


def partition(
    signal: Signal, payload: bytes, choose: Callable[[Rows], Sequence[Hashable]]
) -> list[Part]:
    """One request for each key that `choose` gives, in the order in which keys first appear.

    Args:
        signal: whose request it is.
        payload: the request.
        choose: the key of each record of a list. Records keep their bytes and, within a key,
            their order.

    Returns:
        Keys, requests and their items; `payload` itself, the same object, when there is one
        key only, and nothing when there is no record.

    Raises:
        DecodeError: the request cannot be read as far down as its records.
        TypeError: a key is not hashable.
    """
    layout = LAYOUTS[signal]
    keys: list[Hashable] = []
    for rows in Source(signal, payload, read(layout.shape, signal, payload)).walk():
        keys += choose(rows)
    return list(_divide(layout, payload, keys, list(dict.fromkeys(keys)), first=True))


def hashable(key: Any) -> Hashable:
    """An attribute's value as a key; lists and mappings, which are not hashable, as text."""
    try:
        hash(key)
    except TypeError:
        return repr(key)
    found: Hashable = key
    return found


def _divide(
    layout: Layout, payload: bytes, keys: list[Hashable], distinct: list[Hashable], *, first: bool
) -> Iterator[Part]:
    """The parts of a request whose records have `keys`; `first` keeps what held no record."""
    if not distinct:
        return
    if len(distinct) == 1:
        yield distinct[0], payload, len(keys)
        return
    middle = len(distinct) // 2
    for half, here in ((distinct[:middle], first), (distinct[middle:], False)):
        wanted = frozenset(half)
        stay = [key in wanted for key in keys]
        shape = layout.shape.FromString(payload)
        _keep(shape, 0, layout.depth, iter(stay), first=here)
        part = shape.SerializeToString()
        yield from _divide(layout, part, list(compress(keys, stay)), half, first=here)


def _keep(node: Any, level: int, depth: int, stay: Iterator[bool], *, first: bool) -> bool:
    """Remove the other records, and what is empty without them. Returns whether it stays."""
    below = children(node, level, depth)
    before = len(below)
    if level == depth:
        kept = list(compress(list(below), islice(stay, before)))
        if len(kept) < before:
            del below[:]
            below.extend(kept)
    else:
        gone = [
            index
            for index, child in enumerate(below)
            if not _keep(child, level + 1, depth, stay, first=first)
        ]
        for index in reversed(gone):
            del below[index]
    return len(below) > 0 or (first and not before)
