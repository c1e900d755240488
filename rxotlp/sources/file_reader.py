"""The records of a file, one after the other, and of the file that takes its place.

Following is polling: at the end the reader looks now and then whether there is more, whether
the path names another file by now (rotation: the old one is read to its end first) or the
file has become shorter (truncation: it is read from the start).
"""

import asyncio
import gzip
import json
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError, PipelineError
from rxotlp.sources.checkpoint import Mark
from rxotlp.wire.framing import Cutter, Lines, Sized, looks_like_json
from rxotlp.wire.signals import Signal

try:
    import zstandard
except ImportError:
    zstandard = None  # type: ignore[assignment]

__all__ = ["FileReader", "Record", "UnknownSignal"]

CHUNK = 256 * 1024  # bytes a read
HEAD = 16 * 1024  # bytes that tell a file from another one with its inode

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # what their files begin with
_KEYS = {
    "resourceSpans": Signal.TRACES,
    "resourceMetrics": Signal.METRICS,
    "resourceLogs": Signal.LOGS,
    "resourceProfiles": Signal.PROFILES,
}
_FIRST_KEY = re.compile(rb'\s*\{\s*"(resource(?:Spans|Metrics|Logs|Profiles))"\s*:')
_DAMAGED: tuple[type[Exception], ...] = (gzip.BadGzipFile, EOFError, zlib.error)
if zstandard is not None:
    _DAMAGED = (*_DAMAGED, zstandard.ZstdError)


class UnknownSignal(PipelineError):
    """Nobody said of which signal a file's protobuf messages are.

    Attributes:
        reason: without what to do about it, which depends on who is told.
    """

    def __init__(self, path: Path) -> None:
        self.reason = f"{path}: it has protobuf messages, which do not say of which signal they are"
        super().__init__(f"{self.reason}; expected signal=")


class Record(NamedTuple):
    """One request, and where it ends."""

    data: TelemetryData
    mark: Mark


class FileReader:
    """An async iterator of records.

    Args:
        path: the file.
        signal: whose requests it has; None: each line says so.
        format: "json", "proto", or "auto".
        follow: go on after the end.
        poll: seconds between two looks for more.
        max_record_size: bytes.
        start: where to begin, if it is still the same file.
        broken: told about a record that cannot be read.
    """

    def __init__(
        self,
        path: Path,
        *,
        signal: Signal | None,
        format: str,
        follow: bool,
        poll: float,
        max_record_size: int,
        start: Mark | None,
        broken: Callable[[str], object],
    ) -> None:
        self._path = path
        self._signal = signal
        self._format = format
        self._follow = follow
        self._poll = poll
        self._max_record_size = max_record_size
        self._start = start
        self._broken = broken
        self._file: BinaryIO | None = None
        self._stream: BinaryIO | None = None  # the file, decompressed
        self._cutter: Cutter | None = None  # once there are bytes to tell the format by
        self._identity = (0, 0)
        self._head = (0, 0)  # size and checksum
        self._begin = (0, 0)  # offset and number to go on from
        self._read = 0  # bytes of the stream
        self._ended = False
        self._last = (0, 0)  # bytes of the file that were read, and its size, when it was closed

    @property
    def position(self) -> tuple[int, int]:
        """Bytes of the file that were read, compressed ones if it is, and its size."""
        file = self._file
        if file is None or file.closed:
            return self._last
        return file.tell(), os.fstat(file.fileno()).st_size

    @property
    def ended(self) -> bool:
        """Whether all of the file was read."""
        return self._ended

    def __aiter__(self) -> "FileReader":
        return self

    async def __anext__(self) -> Record:
        while True:
            try:
                record = self._next()
            except _DAMAGED as error:
                raise DecodeError(
                    f"{self._path}: damaged: {error}; {self._mark().number} records before "
                    f"byte {self._read} of what it holds could be read"
                ) from None
            if record is not None:
                return record
            if self._ended:
                raise StopAsyncIteration
            await asyncio.sleep(self._poll)

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._last = self.position
        stream, self._stream = self._stream, None
        file, self._file = self._file, None
        self._cutter = None
        for opened in (stream, file):
            if opened is not None:
                opened.close()

    def _next(self) -> Record | None:
        """The next record; None: not yet, or never when the end was reached."""
        while not self._ended:
            if self._stream is None and not self._open():
                return None
            raw = self._cut(at_end=False)
            if raw is None:
                if self._fill():
                    continue
                shorter, over = self._look()
                if not over:
                    return None
                if not shorter and self._fill():
                    continue  # written before the file was moved away, after the last look
                raw = None if shorter else self._cut(at_end=True)
                mark = self._mark()
                self.close()
                self._ended = not self._follow
            else:
                mark = self._mark()
            data = None if raw is None else self._decoded(raw, mark.number)
            if data is not None:
                return Record(data, mark)
        return None

    def _open(self) -> bool:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            if self._follow:
                return False  # between a rotation and the next file
            raise
        status = os.fstat(self._file.fileno())
        self._identity = (status.st_dev, status.st_ino)
        start, self._start = self._start, None
        self._begin = self._head = (0, 0)
        if (
            start is not None
            and (start.device, start.inode) == self._identity
            and start.head == self._checksum(start.offset)
        ):
            self._begin = (start.offset, start.number)
        head = self._file.read(4)
        self._file.seek(0)
        if self._begin[0] > status.st_size and head[:2] != _GZIP and head != _ZSTD:
            self._begin = (0, 0)  # it became shorter
        self._stream = self._decompressed(self._file, head)
        self._skip(self._stream, self._begin[0])
        return True

    def _decompressed(self, file: BinaryIO, head: bytes) -> BinaryIO:
        packed = head.startswith(_GZIP) or head == _ZSTD
        if packed and self._follow:
            raise PipelineError(
                f"file(follow=True): {self._path} is compressed; only a plain file can grow"
            )
        if head.startswith(_GZIP):
            stream: BinaryIO = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
            return stream
        if head == _ZSTD:
            if zstandard is None:
                raise PipelineError(
                    f"{self._path} is compressed with zstd, which needs "
                    "pip install 'rxotlp[gateway]'"
                )
            reader: BinaryIO = zstandard.ZstdDecompressor().stream_reader(
                file, read_across_frames=True, closefd=False
            )
            return reader
        return file

    def _skip(self, stream: BinaryIO, offset: int) -> None:
        """Go to where the reader begins."""
        self._read = 0
        if stream is self._file:
            self._read = stream.seek(offset)
        while self._read < offset:
            skipped = stream.read(min(CHUNK, offset - self._read))
            if not skipped:
                raise DecodeError(f"{self._path}: shorter than its checkpoint says")
            self._read += len(skipped)

    def _fill(self) -> bool:
        """Read on; False at the end."""
        assert self._stream is not None
        # Not read(): where the compression breaks off, it would lose what comes before that.
        data = self._stream.read1(CHUNK)  # type: ignore[attr-defined]
        if not data:
            return False
        self._read += len(data)
        if self._cutter is None:
            offset, number = self._begin
            lines = looks_like_json(data) if self._format == "auto" else self._format == "json"
            if not lines and self._signal is None:
                raise UnknownSignal(self._path)
            self._cutter = (Lines if lines else Sized)(
                offset=offset, number=number, max_size=self._max_record_size
            )
        self._cutter.feed(data)
        return True

    def _look(self) -> tuple[bool, bool]:
        """At the end: whether the file became shorter, and whether this is all of it."""
        if not self._follow:
            return False, True
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False, False
        moved = (status.st_dev, status.st_ino) != self._identity
        shorter = not moved and status.st_size < self._read
        return shorter, moved or shorter

    def _cut(self, *, at_end: bool) -> bytes | None:
        cutter = self._cutter
        while cutter is not None:
            try:
                return cutter.rest() if at_end else cutter.cut()
            except DecodeError as error:
                if isinstance(cutter, Sized):
                    raise DecodeError(
                        f"{self._path}: record {cutter.number + 1}, at byte {cutter.offset}: "
                        f"{error}"
                    ) from None
                self._broken(f"{self._path}: line {cutter.number}: {error}")
        return None

    def _mark(self) -> Mark:
        offset, number = self._begin
        if self._cutter is not None:
            offset, number = self._cutter.offset, self._cutter.number
        return Mark(*self._identity, offset, number, self._checksum(offset))

    def _checksum(self, offset: int) -> int:
        """Of the beginning of the file, but not past `offset`."""
        assert self._file is not None
        size = min(HEAD, offset)
        if self._head[0] != size:
            self._head = (size, zlib.crc32(os.pread(self._file.fileno(), size, 0)))
        return self._head[1]

    def _decoded(self, raw: bytes, number: int) -> TelemetryData | None:
        if isinstance(self._cutter, Sized) and self._signal is not None:
            return TelemetryData.from_bytes(self._signal, raw)
        if not raw.strip():
            return None
        try:
            return TelemetryData.from_json(self._signal or _signal_of(raw), raw)
        except DecodeError as error:
            self._broken(f"{self._path}: line {number}: {error}")
            return None


def _signal_of(line: bytes) -> Signal:
    """The signal of a line of JSON, told by its keys."""
    if first := _FIRST_KEY.match(line):
        return _KEYS[first[1].decode()]
    try:
        keys = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"malformed JSON: {error}") from None
    found = [signal for key, signal in _KEYS.items() if key in keys] if type(keys) is dict else []
    if len(found) != 1:
        raise DecodeError(f"expected an object with one of the keys {', '.join(_KEYS)}")
    return found[0]
