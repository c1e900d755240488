"""`File`: JSON lines in the OTLP file format, one request a line, whole or not at all.

A line is written in one piece. When the disk is full half-way, what was written of it is
cut off again and the outcome is a retryable failure, so a reader never sees half a line,
and the retry's line stands alone. A half line that a crash left behind is closed with a
line break before the next one. A file that was moved away is followed by a new one at its
path, so rotation needs no signal. One process at a time should write to a file.

DELIVERED means handed to the operating system: it survives this process, not a power cut.
"""

import os
import stat
from pathlib import Path
from threading import Lock
from typing import ClassVar

from reactivex import abc

from rxotlp._core.outcomes import DELIVERED, FILTERED, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.exporters.base import Exporter
from rxotlp.exporters.text import clean

__all__ = ["File"]


class File(Exporter):
    """Appends each element to a file as one line of OTLP/JSON.

    Lines of elements that are exported at the same time come in either order;
    `ops.export(..., max_concurrent=1)` keeps the stream's.

    Args:
        path: the file; `{signal}` in it becomes traces, metrics, logs or profiles, so that
            each signal has its own. It is opened, and made, with its first element.
        append: False empties the file when it is first opened.
    """

    blocking: ClassVar[bool] = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        append: bool = True,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        super().__init__(scheduler=scheduler)
        self.destination = os.fspath(path)
        self._append = append
        self._open: dict[Path, _Lines] = {}
        self._seen: set[Path] = set()
        self._lock = Lock()

    def export(self, data: TelemetryData) -> Outcome:
        """Write one line; an OSError is a retryable failure and leaves no trace."""
        path = Path(self.destination.replace("{signal}", data.signal.value))
        try:
            if not data.items:
                return FILTERED  # C14: there is nothing to send
            line = data.to_json().encode() + b"\n"
        except DecodeError as error:
            return rejected(f"{path}: {clean(str(error))}")
        try:
            with self._lock:
                self._write(path, line)
        except OSError as error:
            return failed(f"{path}: {error.strerror or error}")
        return DELIVERED

    def _write(self, path: Path, line: bytes) -> None:
        lines = self._open.get(path)
        if lines is not None and not lines.is_at(path):  # rotated away
            del self._open[path]
            lines.close()
            lines = None
        if lines is None:
            empty = not self._append and path not in self._seen
            lines = self._open[path] = _Lines(path, empty=empty)
            self._seen.add(path)
        try:
            lines.write(line)
        except OSError:
            del self._open[path]  # opening it again looks for what could not be cut off
            lines.close()
            raise

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            files, self._open = self._open, {}
            for lines in files.values():
                lines.close()


class _Lines:
    """One open file. Not thread-safe; its exporter holds a lock."""

    __slots__ = ("_descriptor", "_regular")

    def __init__(self, path: Path, *, empty: bool) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | (os.O_TRUNC if empty else 0)
        self._descriptor = os.open(path, flags, 0o666)
        try:
            status = os.fstat(self._descriptor)
            self._regular = stat.S_ISREG(status.st_mode)
            size = status.st_size if self._regular else 0
            if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
                self.write(b"\n")
        except OSError:
            self.close()
            raise

    def is_at(self, path: Path) -> bool:
        """False when the path names another file by now, or none."""
        try:
            return os.path.samestat(path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def write(self, line: bytes) -> None:
        """Write all of `line`, or nothing and raise OSError."""
        start = os.fstat(self._descriptor).st_size
        rest = memoryview(line)
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
