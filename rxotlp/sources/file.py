"""`sources.file()`: the requests of a file, again until they are taken, and on from there.

Reading, credit, back-off and the end are `from_iterable`'s; here are the positions. Every
record's receipt has its number, and a checkpoint moves past a record when it and all before
it have settled: what is open when the process dies is read again by the next one. So every
record arrives at least once, and some twice.
"""

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reactivex.disposable import SerialDisposable

from rxotlp._core.progress import Progress
from rxotlp.admission import Admission
from rxotlp.sources import checkpoint as checkpoints
from rxotlp.sources.base import State
from rxotlp.sources.checkpoint import Mark
from rxotlp.sources.file_reader import FileReader, Record
from rxotlp.sources.iterable import IterableSource
from rxotlp.wire.signals import Signal

if TYPE_CHECKING:
    from rxotlp.schedulers import SerialScheduler

__all__ = ["FileProgress", "FileSource", "file"]

logger = logging.getLogger("rxotlp")

SAVE_EVERY = 1.0  # seconds between two writes of a checkpoint
FORMATS = ("auto", "json", "proto")


class FileProgress(NamedTuple):
    """How far a file source is in its file.

    Attributes:
        read: bytes of the file that were read, compressed ones if it is.
        size: its bytes in all, as of now.
        ended: all of it was read; what was read may still be on its way.
    """

    read: int
    size: int
    ended: bool


class FileSource(IterableSource):
    """The source of a file's records; made by `file`.

    Attributes:
        broken: records that could not be read; each was logged with its line.
    """

    def __init__(
        self,
        path: Path,
        *,
        format: str,
        signal: Signal | None,
        follow: bool,
        poll: float,
        checkpoint: Path | None,
        max_record_size: int,
        max_attempts: int | None,
        backoff: float,
        max_backoff: float,
        linger: float,
        admission: Admission | None,
        name: str | None,
    ) -> None:
        super().__init__(
            (),  # known when it begins
            max_attempts=sys.maxsize if max_attempts is None else max_attempts,
            backoff=backoff,
            max_backoff=max_backoff,
            linger=linger,
            admission=admission,
            name=name,
            call="file",
        )
        self._path = path
        self._format = format
        self._signal = signal
        self._follow = follow
        self._poll = poll
        self._checkpoint = checkpoint
        self._max_record_size = max_record_size
        self._reader: FileReader | None = None
        self._progress: Progress[Mark] = Progress()
        self._saving = SerialDisposable()
        self._dirty = False
        self.broken = 0

    def _begin(self, scheduler: "SerialScheduler") -> None:
        if not self._follow:
            self._path.open("rb").close()  # raises where the pipeline starts
        start = None if self._checkpoint is None else checkpoints.load(self._checkpoint)
        self._progress = Progress()
        self._saving = SerialDisposable()
        self._items = self._reader = FileReader(
            self._path,
            signal=self._signal,
            format=self._format,
            follow=self._follow,
            poll=self._poll,
            max_record_size=self._max_record_size,
            start=start,
            broken=self._is_broken,
        )
        super()._begin(scheduler)

    @property
    def progress(self) -> FileProgress:
        """How far it is. From any thread; exact once it has stopped."""
        reader = self._reader
        read, size = (0, 0) if reader is None else reader.position
        return FileProgress(read, size, reader is not None and reader.ended)

    def _release(self) -> None:
        super()._release()
        if self._reader is not None:
            self._reader.close()
        self._saving.dispose()
        self._save()

    def _is_broken(self, reason: str) -> None:
        self.broken += 1
        logger.error("%s: %s", self.name, reason)

    def stop(self) -> None:
        """Let nothing in any more, and stop looking for it."""
        super().stop()
        self._pending.dispose()

    def _pulled(self, data: object, error: BaseException | None) -> None:
        if error is not None and self.state is not State.OPEN:
            return  # it was told to stop
        if isinstance(data, Record):
            self._progress.begin(data.mark)
            data = data.data
        super()._pulled(data, error)

    def _final(self, position: int, *, settled: bool) -> None:
        if self._progress.end(position, settled=settled) and not self._dirty:
            self._dirty = True
            self._saving.disposable = self._later(SAVE_EVERY, self._save)

    def _save(self) -> None:
        mark = self._progress.mark
        if self._dirty and self._checkpoint is not None and mark is not None:
            try:
                checkpoints.save(self._checkpoint, mark)
            except OSError as error:
                logger.error("%s: checkpoint %s: %s", self.name, self._checkpoint, error)
        self._dirty = False


def file(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    signal: Signal | None = None,
    follow: bool = False,
    poll: float = 1.0,
    checkpoint: str | os.PathLike[str] | None = None,
    max_record_size: int = 64 * 1024 * 1024,
    max_attempts: int | None = None,
    backoff: float = 0.5,
    max_backoff: float = 30.0,
    linger: float = 5.0,
    admission: Admission | None = None,
    name: str | None = None,
) -> FileSource:
    """Emit the requests of a file: lines of OTLP/JSON, or protobuf messages behind their size.

    The file may be compressed with gzip or zstd; its first bytes say so. A line that cannot
    be read is logged with its number and counted in `broken`, and the rest goes on; an
    unreadable size, or damage to the compression, fails the stream. What failed is offered
    again with a back-off, out of order.

    Args:
        path: the file.
        format: "json", "proto" (each message behind a varint of its size, as protobuf's
            "delimited" has it), or "auto": the first bytes tell them apart.
        signal: whose requests the file has; needed for protobuf. A line of JSON says it.
        follow: go on after the end, with what is appended, and with the file that takes this
            one's place when it is rotated or truncated; until the pipeline stops. The file
            need not be there yet. Only for files that are not compressed.
        poll: seconds between two looks for more.
        checkpoint: a file that remembers how far everything is settled, so that the next run
            goes on there. Written once a second at most, and at the end.
        max_record_size: bytes of a line or message; longer ones cannot be read.
        max_attempts: how often a request is offered before a failure is final; None: until
            it is taken. A checkpoint does not move past one that was given up.
        backoff, max_backoff, linger, admission, name: as for `from_iterable`.

    Returns:
        A hot source; see `from_iterable`.

    Raises:
        ValueError: an argument out of its range.
    """
    if format not in FORMATS:
        raise ValueError(f"file(format={format!r}): expected one of {', '.join(FORMATS)}")
    if format == "proto" and signal is None:
        raise ValueError(
            'file(format="proto", signal=None): expected a Signal; protobuf does not say its own'
        )
    if signal is not None and not isinstance(signal, Signal):
        raise TypeError(f"file(signal={signal!r}): expected a Signal, or None")
    if not poll > 0:
        raise ValueError(f"file(poll={poll}): expected more than 0 seconds")
    if max_record_size < 1:
        raise ValueError(f"file(max_record_size={max_record_size}): expected 1 or more bytes")
    return FileSource(
        Path(path),
        format=format,
        signal=signal,
        follow=follow,
        poll=poll,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        max_record_size=max_record_size,
        max_attempts=max_attempts,
        backoff=backoff,
        max_backoff=max_backoff,
        linger=linger,
        admission=admission,
        name=name,
    )
