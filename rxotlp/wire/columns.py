"""One field of many records in one call to protobuf.

Numbers come from a sketch, in which the decoder has put each record's numbers. Making a
message object for each text or id would cost more than all the rest, so those are found
otherwise: all records are joined with a *mark* between them, an occurrence of the wanted
field itself that holds random bytes, and decoded as if they were one message in which the
field is a list. Occurrences of one field keep their order, so the marks tell whose is whose:

    record  mark  record  mark  record      decoded:  ["GET /a", MARK, MARK, "GET /b"]

which says that the second record has none. A record that is cut off, or opens a group and
does not close it, swallows the mark after it; then the count of marks is wrong and nothing
is believed. Nobody can forge a mark, because a process makes its own and never sends it.
"""

import os
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from google.protobuf.message import DecodeError as ProtobufDecodeError

from rxotlp.wire.shapes import Column

__all__ = ["numbers", "texts"]

_MARK = os.urandom(16)


def numbers(sketches: Any, name: str) -> list[Any]:
    """A number of every record of a sketch's list."""
    return list(map(attrgetter(name), sketches))


def texts(column: Column, records: Sequence[bytes]) -> list[Any] | None:
    """A text, some bytes or a small message of every record.

    Returns:
        None when that cannot be done without looking at each record alone.
    """
    assert column.marks is not None
    joint = column.tag + bytes([len(_MARK)]) + _MARK
    try:
        found = list(column.marks.FromString(joint.join(records)).field)
    except ProtobufDecodeError:
        return None
    marks = len(records) - 1
    if found.count(_MARK) != marks:
        return None
    if len(found) == 2 * marks + 1 and found[1::2].count(_MARK) == marks:
        found = found[0::2]  # each record has the field once
    else:
        found = _gathered(found, merge=column.merges)
    if column.decode is None:
        return found
    try:
        return list(map(_Memo(column.decode).__getitem__, found))
    except (UnicodeDecodeError, ProtobufDecodeError):
        return None


def _gathered(found: list[bytes], *, merge: bool) -> list[bytes]:
    """One value a record: of several occurrences the last, or for messages all, joined."""
    column = []
    current = b""
    for piece in found:
        if piece == _MARK:
            column.append(current)
            current = b""
        else:
            current = current + piece if merge else piece
    column.append(current)
    return column


class _Memo(dict[bytes, Any]):
    """Decodes each different value once; names and statuses repeat."""

    def __init__(self, decode: Callable[[bytes], Any]) -> None:
        self._decode = decode

    def __missing__(self, key: bytes) -> Any:
        self[key] = made = self._decode(key)
        return made
