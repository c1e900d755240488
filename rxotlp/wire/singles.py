"""Taking a request apart into single records, and putting records together again.

Both work on headers: a group, scope or metric without what is in it, as bytes. Taking apart
writes one header a list and then only changes the record in it; putting together joins
what has equal headers. Records keep their bytes, unknown fields stay.
"""

from collections.abc import Iterator
from typing import Any

from rxotlp.wire.shapes import LAYOUTS, children, read
from rxotlp.wire.signals import Signal

__all__ = ["apart", "together"]


def apart(signal: Signal, payload: bytes) -> Iterator[bytes]:
    """A request for each record, in order; what holds no record is in none.

    Raises:
        DecodeError: at the first, the request cannot be read as far down as its records.
    """
    layout = LAYOUTS[signal]
    shape = read(layout.shape, signal, payload)
    for path, raw in _lists(shape, 0, layout.depth):
        one = layout.shape()
        one.CopyFrom(shape)
        node = one
        for level, header in enumerate(path):
            added = children(node, level, layout.depth).add()
            added.CopyFrom(header)
            node = added
        place = children(node, layout.depth, layout.depth)
        for record in raw:
            place.append(record)
            yield one.SerializeToString()
            del place[:]


def _lists(node: Any, level: int, depth: int) -> list[tuple[tuple[Any, ...], list[bytes]]]:
    """Every list of records, with the headers above it; `node` is one itself afterwards."""
    below = children(node, level, depth)
    inside = list(below)
    if inside:
        del below[:]
    if level == depth:
        return [((), inside)] if inside else []
    return [
        ((child, *path), raw) for child in inside for path, raw in _lists(child, level + 1, depth)
    ]


def together(signal: Signal, payload: bytes) -> bytes:
    """The request with equal groups, scopes and metrics joined; each where its first is.

    Raises:
        DecodeError: the request cannot be read as far down as its records.
    """
    layout = LAYOUTS[signal]
    shape = read(layout.shape, signal, payload)
    groups = list(shape.groups)
    del shape.groups[:]
    _join(groups, shape, 0, layout.depth)
    made: bytes = shape.SerializeToString()
    return made


def _join(nodes: list[Any], above: Any, level: int, depth: int) -> None:
    """Put nodes in their place under `above`, those with equal headers as one."""
    place = children(above, level, depth)
    if level == depth:
        if nodes:
            place.extend(nodes)
        return
    inside: dict[bytes, list[Any]] = {}
    for node in nodes:
        below = children(node, level + 1, depth)
        taken = list(below)
        if taken:
            del below[:]
        inside.setdefault(node.SerializeToString(deterministic=True), []).extend(taken)
    for header, taken in inside.items():
        made = place.add()
        made.MergeFromString(header)
        _join(taken, made, level + 1, depth)
