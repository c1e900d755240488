"""Where in which file a source goes on, kept in a small file of its own."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from rxotlp.errors import DecodeError

__all__ = ["Mark", "load", "save"]


@dataclass(frozen=True, slots=True)
class Mark:
    """The end of a record.

    Attributes:
        device, inode: the file, whatever it is called by now.
        offset: in its bytes, decompressed.
        number: of the record, counted from 1.
        head: a checksum of the file's first bytes, as far as `offset`: inodes are used again.
    """

    device: int
    inode: int
    offset: int
    number: int
    head: int


def load(path: Path) -> Mark | None:
    """Read a checkpoint; None when there is none.

    Raises:
        DecodeError: the file is something else.
        OSError: it cannot be read.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        values = json.loads(text)
        mark = Mark(**values)
        if all(type(value) is int and value >= 0 for value in values.values()):
            return mark
    except (TypeError, ValueError):
        pass  # told below, together with values that are no positions
    raise DecodeError(f"{path}: no checkpoint of a file source; remove it to read from the start")


def save(path: Path, mark: Mark) -> None:
    """Replace a checkpoint, as a whole."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(json.dumps(asdict(mark)))
    os.replace(beside, path)
