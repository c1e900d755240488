"""What an application's threads touch: a queue, its bound, and the counts.

`offer` takes no lock and waits for nothing, so it may run in a finalizer or a signal
handler. CPython with the GIL switches threads at calls and backward jumps only, and the
lines that test and change a count have none between; a `deque` needs no lock either. So
whoever sets `shut` knows that each record is either in the queue by then or dropped.

Each flag says that the worker has been told and has not looked yet. The worker lowers it
before it looks, and `offer` reads it after the record is there, so no record is forgotten.

Spans and log records that an export itself makes are not taken in, nor counted: a stream
that feeds itself never ends. `exporting` marks their context.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from rxotlp.exporters.quiet import untraced

__all__ = ["Intake", "Statistics", "exporting", "unfed"]

exporting: ContextVar[bool] = ContextVar("rxotlp.sdk.exporting", default=False)


class Statistics(NamedTuple):
    """What became of the items that were offered; `received` is the sum of the others."""

    received: int
    """Items the application ended or emitted."""
    succeeded: int
    """Delivered, or meant to go by the caller's operators."""
    rejected: int
    """Refused for good: by the backend, an operator, or because they cannot be encoded."""
    dropped: int
    """Came when the buffer was full, or after shutdown."""
    given_up: int
    """Not delivered by the end of shutdown."""
    held: int
    """In the buffer now."""


class Intake:
    """The application's side of a buffer.

    Args:
        room: items that may be held at once.
        batch: records of a full batch.
        on_first: called when a record came into a queue that nobody has an eye on.
        on_full: called when a batch is full.
        on_overflow: called when there is no room, until the worker has lowered `told`.

    Attributes:
        room, batch: as above; the worker changes them when the records are large.
        queue: records that are not in a batch yet.
        accepted: items that were let in.
        held: items whose outcome is not final.
        shut: nothing is let in any more.
        over: what was held has been given up.
    """

    def __init__(
        self,
        room: int,
        batch: int,
        on_first: Callable[[], object],
        on_full: Callable[[], object],
        on_overflow: Callable[[], object],
    ) -> None:
        self.room = room
        self.batch = batch
        self._on_first = on_first
        self._on_full = on_full
        self._on_overflow = on_overflow
        self.queue: deque[Any] = deque()
        self.accepted = 0
        self.held = 0
        self.dropped = 0
        self.succeeded = 0
        self.rejected = 0
        self.given_up = 0
        self.armed = False
        self.called = False
        self.told = False
        self.shut = False
        self.over = False

    def offer(self, record: Any, items: int = 1) -> bool:
        """Take a record in, from any thread. False when there is no room; never waits."""
        if exporting.get():
            return True
        if self.shut or self.held + items > self.room:
            self.dropped += items
            if not self.told:
                self.told = True
                self._on_overflow()
            return False
        self.held += items
        self.queue.append(record)
        self.accepted += items  # after the record is there: a flush waits for what it sees
        if not self.armed:
            self.armed = True
            self._on_first()
        if not self.called and len(self.queue) >= self.batch:
            self.called = True
            self._on_full()
        return True

    def settle(self, *, succeeded: int = 0, rejected: int = 0, given_up: int = 0) -> None:
        """So many have their final outcome; of no interest once they were given up."""
        if self.over:
            return
        self.held -= succeeded + rejected + given_up
        self.succeeded += succeeded
        self.rejected += rejected
        self.given_up += given_up

    def statistics(self) -> Statistics:
        """The counts of now; exact when nothing is being offered."""
        counts = (self.succeeded, self.rejected, self.dropped, self.given_up, self.held)
        return Statistics(sum(counts), *counts)

    def close(self) -> None:
        """Let nothing in any more; what comes is one line in the log."""
        self.shut = True
        self.told = False

    def give_up(self) -> None:
        """Nothing is taken in or settled from here on: give up whatever is held."""
        self.over = self.shut = True
        self.given_up += self.held
        self.held = 0
        self.queue.clear()


@contextmanager
def unfed() -> Iterator[None]:
    """Inside, and in what starts inside, nothing is traced and nothing is taken in."""
    token = exporting.set(True)
    try:
        with untraced():
            yield
    finally:
        exporting.reset(token)
