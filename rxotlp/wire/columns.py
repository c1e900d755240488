"""One field of many records in one call to protobuf.

Numbers come from a sketch, in which the decoder has put each record's numbers. Making a
message object for each text or id would cost more than all the rest, so those are found
otherwise: all records are joined with a *mark* between them, an occurrence of the wanted
field itself that holds random bytes, and decoded as if they were one message in which the
field is a list. Occurrences of one field keep their order, so the marks tell whose is whose:

    record  mark  record  mark  record      decoded:  ["GET /a", MARK, MARK, "GET /b"]

which says that the second record has none. A record that is cut off, or opens a group and
does not close it, swallows the mark after it; then marks are missing and nothing is
believed. Nobody can forge a mark, because a process makes its own and never sends it.
"""

import os
from collections.abc import Sequence
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
        joined = column.marks.FromString(joint.join(records))
    except ProtobufDecodeError:
        return None
    found = _once_each(joined, len(records))
    if found is None:
        found = _gathered(joined.field, merge=column.merges)
        if len(found) != len(records):
            return None
    if column.decode is None:
        return found
    try:
        values = {value: column.decode(value) for value in set(found)}
    except (UnicodeDecodeError, ProtobufDecodeError):
        return None
    return list(map(values.__getitem__, found))


def _once_each(joined: Any, records: int) -> list[bytes] | None:
    """The occurrences between the marks, if every record has the field once."""
    occurrences = joined.field
    if len(occurrences) != 2 * records - 1 or occurrences[1::2].count(_MARK) != records - 1:
        return None
    found: list[bytes] = occurrences[0::2]
    return found


def _gathered(occurrences: Any, *, merge: bool) -> list[bytes]:
    """One value a record: of several occurrences the last, or for messages all, joined."""
    column = []
    current = b""
    for piece in occurrences:
        if piece == _MARK:
            column.append(current)
            current = b""
        else:
            current = current + piece if merge else piece
    column.append(current)
    return column
