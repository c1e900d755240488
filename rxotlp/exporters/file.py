"""`File`: one request after the other, as JSON lines or protobuf, whole or not at all.

A record is written in one piece. When the disk is full half-way, what was written of it is
cut off again and the outcome is a retryable failure, so a reader never sees half a record,
and the retry's stands alone. What a crash left of a record is dealt with before the next
one: a half line is closed with a line break, half a message, behind which nobody could find
the next, is cut off. A file that was moved away is followed by a new one at its path, so
rotation by others needs no signal. One process at a time should write to a file.

DELIVERED means handed to the operating system: it survives this process, not a power cut.
"""

import os
import stat
from errno import EINVAL
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import ClassVar

from reactivex import abc

from rxotlp._core.outcomes import DELIVERED, FILTERED, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.exporters.base import Exporter
from rxotlp.exporters.text import clean
from rxotlp.wire.compression import ENCODINGS, compress, end_of_packed
from rxotlp.wire.framing import end_of_sized, sized

__all__ = ["File"]


class File(Exporter):
    """Appends each element to a file, as `sources.file` reads it.

    Elements that are exported at the same time come in either order;
    `ops.export(..., max_concurrent=1)` keeps the stream's.

    Args:
        path: the file; `{signal}` in it becomes traces, metrics, logs or profiles, so that
            each signal has its own. It is opened, and made, with its first element.
        append: False empties the file when it is first opened.
        format: "json", the OTLP file format: a line of OTLP/JSON for each element; or
            "proto": messages, each behind a varint of its size (protobuf's "delimited").
            Protobuf does not say its signal: put `{signal}` into the path.
        max_bytes: of a file; the element that would make it larger begins a new one, and the
            old one is called `path.1` from then on. A larger element has a file of its own.
        max_files: how many old ones are kept, up to `path.5` by default; the oldest go.
        compression: "gzip" or "zstd"; each record is compressed alone, and the file is all of
            them behind each other, which every reader of gzip and zstd takes. So whatever
            a crash leaves can be read up to its last whole record, and appended to: when it
            is opened, the file is read once, and half a record at its end is cut off. Small
            records compress badly alone; put a `batch` before.
    """

    blocking: ClassVar[bool] = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        append: bool = True,
        format: str = "json",
        max_bytes: int | None = None,
        max_files: int = 5,
        compression: str | None = None,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        if format not in ("json", "proto"):
            raise ValueError(f"File(format={format!r}): expected json or proto")
        if max_bytes is not None and max_bytes < 1:
            raise ValueError(f"File(max_bytes={max_bytes}): expected 1 or more, or None")
        if max_files < 1:
            raise ValueError(
                f"File(max_files={max_files}): expected 1 or more; with none kept, a rotation "
                "would delete what was just delivered"
            )
        if compression is not None and compression not in ("gzip", "zstd"):
            raise ValueError(f"File(compression={compression!r}): expected gzip, zstd or None")
        if compression is not None and compression not in ENCODINGS:
            raise ValueError("File(compression='zstd'): zstd needs pip install 'rxotlp[gateway]'")
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"File({path!r}): expected a path, got {type(path).__name__}")
        super().__init__(scheduler=scheduler)
        self.destination = os.fspath(path)
        self._append = append
        self._lines = format == "json"
        self._compression = compression
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._open: dict[Path, _Records] = {}
        self._seen: set[Path] = set()
        self._lock = Lock()

    def export(self, data: TelemetryData) -> Outcome:
        """Write one record; an OSError is a retryable failure and leaves no trace."""
        path = Path(self.destination.replace("{signal}", data.signal.value))
        try:
            if not data.items:
                return FILTERED  # C14: there is nothing to send
            record = data.to_json().encode() + b"\n" if self._lines else sized(data.to_bytes())
            if self._compression is not None:
                record = compress(self._compression, record)
        except DecodeError as error:
            return rejected(f"{path}: {clean(str(error))}")
        try:
            with self._lock:
                self._write(path, record)
        except OSError as error:
            return failed(f"{path}: {error.strerror or error}")
        return DELIVERED

    def _write(self, path: Path, record: bytes) -> None:
        records = self._open.get(path)
        if records is not None and not records.is_at(path):  # rotated away
            self._forget(path)
            records = None
        if records is None:
            empty = not self._append and path not in self._seen
            records = self._open[path] = self._records(path, empty=empty)
            self._seen.add(path)
        try:
            if self._max_bytes is not None and 0 < records.size > self._max_bytes - len(record):
                _rotate(path, self._max_files)
                self._forget(path)
                records = self._open[path] = self._records(path, empty=False)
            records.write(record)
        except OSError:
            self._forget(path)  # opening it again looks for what could not be cut off
            raise

    def _records(self, path: Path, *, empty: bool) -> "_Records":
        return _Records(path, empty=empty, lines=self._lines, compression=self._compression)

    def _forget(self, path: Path) -> None:
        records = self._open.pop(path, None)
        if records is not None:
            records.close()

    def close(self) -> None:
        """Close the files."""
        super().close()
        with self._lock:
            files, self._open = self._open, {}
            for records in files.values():
                records.close()


class _Records:
    """One open file. Not thread-safe; its exporter holds a lock."""

    __slots__ = ("_descriptor", "_regular")

    def __init__(self, path: Path, *, empty: bool, lines: bool, compression: str | None) -> None:
        # Read from only to mend: a reader of our own would keep a pipe from breaking.
        mode = os.O_RDWR if not path.exists() or path.is_file() else os.O_WRONLY
        flags = mode | os.O_APPEND | os.O_CREAT | (os.O_TRUNC if empty else 0)
        self._descriptor = os.open(path, flags, 0o666)
        try:
            status = os.fstat(self._descriptor)
            self._regular = stat.S_ISREG(status.st_mode)
            if self._regular and status.st_size:
                if compression is None:
                    self._mend(status.st_size, lines)
                else:
                    self._mend_packed(path, status.st_size, compression)
        except OSError:
            self.close()
            raise

    def _mend(self, size: int, lines: bool) -> None:
        """Deal with what a crash may have left at the end."""
        if not lines:
            whole = end_of_sized(lambda at: os.pread(self._descriptor, 10, at), size)
            if whole < size:
                os.ftruncate(self._descriptor, whole)
        elif os.pread(self._descriptor, 1, size - 1) != b"\n":
            self.write(b"\n")

    def _mend_packed(self, path: Path, size: int, compression: str) -> None:
        with path.open("rb") as file:
            try:
                whole = end_of_packed(compression, file)
            except DecodeError as error:  # cutting it off could lose what is good behind it
                raise OSError(EINVAL, f"nothing is appended to what is there: {error}") from None
        if whole < size:
            os.ftruncate(self._descriptor, whole)

    @property
    def size(self) -> int:
        """Bytes in the file; 0 for what is no regular file, and cannot be rotated."""
        return os.fstat(self._descriptor).st_size if self._regular else 0

    def is_at(self, path: Path) -> bool:
        """False when the path names another file by now, or none."""
        try:
            return os.path.samestat(path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def write(self, record: bytes) -> None:
        """Write all of `record`, or nothing and raise OSError."""
        start = os.fstat(self._descriptor).st_size
        rest = memoryview(record)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            if self._regular:
                os.ftruncate(self._descriptor, start)
            raise

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _rotate(path: Path, max_files: int) -> None:
    """Call the file `path.1`, what was that `path.2`, and so on; the last one is gone."""
    names = [path, *(path.with_name(f"{path.name}.{at}") for at in range(1, max_files + 1))]
    for older, newer in pairwise(reversed(names)):  # a gap stops nothing, nor does a retry
        if newer.exists():
            newer.replace(older)
