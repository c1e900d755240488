"""Between an application's threads and a stream: a bounded buffer that never makes them wait.

    offer --> queue --batch, encoded--> stream --outcome--> done
      |                                   ^         |
      full: dropped, counted              +- rest --+ failed: it stays, and is offered again

The application pays for `offer` alone (see `intake`). Everything else happens in the turn of
a scheduler of the bridge's own; records are encoded there.

A record stays in the buffer until its outcome is final, so the bound holds for what is
queued, under way and waiting for a backend that is down, together. When it is full the
newest are dropped: what is under way could not be taken back.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from reactivex import abc
from reactivex.disposable import SerialDisposable

from rxotlp._core.outcomes import Kind, Outcome, failed
from rxotlp.admission import Admission, Credit
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError
from rxotlp.exporters.quiet import untraced
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SyncScheduler
from rxotlp.sdk.encoding import Encoding
from rxotlp.sdk.intake import Intake, exporting
from rxotlp.sdk.settings import Limits
from rxotlp.sources.base import STOPPED, Source, State

__all__ = ["Buffer"]

WINDOW = 8  # batches under way at once; as many as `ops.export` sends
FIRST_REST = 0.5  # seconds after a failure; doubled with each that follows
AGAIN = 0.05  # seconds until a flush hurries the caller's batches again
LONGEST_REST = 30.0  # seconds, unless the backend asks for more

# There is no bound in bytes; the gate is there because holders let go when somebody waits.
_ANY_SIZE = 1 << 62

logger = logging.getLogger("rxotlp")


class _Entry:
    """A batch on its way; its data is detached and stays until the outcome is final."""

    __slots__ = ("attempts", "data", "first", "items")

    def __init__(self, data: TelemetryData, first: int, items: int) -> None:
        self.data = data
        self.first = first  # items accepted before its own
        self.items = items
        self.attempts = 0


class _Flush:
    """Somebody waits until all that was accepted so far has a final outcome."""

    __slots__ = ("done", "target")

    def __init__(self, target: int) -> None:
        self.target = target
        self.done = threading.Event()


class Buffer(Source):
    """The source of a bridge's stream.

    Args:
        encoding: of what is offered.
        limits: how much it holds, and when a batch leaves.
        scheduler: in whose turn it works.
        start: connects this source; called in the turn when there is something to do.
    """

    def __init__(
        self,
        encoding: Encoding,
        limits: Limits,
        scheduler: SyncScheduler,
        start: Callable[[], object],
    ) -> None:
        super().__init__("sdk", admission=Admission(max_bytes=_ANY_SIZE))
        self._delay = limits.schedule_delay
        self._encoding = encoding
        self._own = scheduler
        self._start = start
        self.intake = Intake(
            limits.max_queue_size,
            limits.max_export_batch_size,
            on_first=partial(self.call, self._arm),
            on_full=partial(self.call, self._full),
            on_overflow=partial(self.call, self._report_full),
        )
        self._begun = False
        self._broken = False
        self._final = False  # what fails now is given up
        self._taken = 0
        self._ripe = 0  # records at the queue's head that need not wait for more
        self._entries: dict[int, _Entry] = {}
        self._again: deque[_Entry] = deque()
        self._under_way = 0
        self._failures = 0
        self._resting = False
        self._flushes: list[_Flush] = []
        self._age, self._rest = SerialDisposable(), SerialDisposable()
        self._hurrying = SerialDisposable()
        self._booked = 0  # of those dropped

    # -- from any thread -----------------------------------------------------------------------

    @property
    def given_up(self) -> int:
        """Items that were not delivered by the end of shutdown."""
        return self.intake.given_up

    def flush(self, timeout: float, *, final: bool = False) -> bool:
        """Wait until all that was accepted so far has its outcome; False after `timeout`.

        Args:
            timeout: seconds.
            final: each batch has one more attempt, without a rest, and is given up after.
        """
        if self._own.running_here:
            logger.error("%s: a flush inside the bridge's own stream waits for itself", self.name)
            return False
        if not self.intake.held:
            return not self._broken
        flush = _Flush(self.intake.accepted)
        self.call(partial(self._begin_flush, flush, final))
        if flush.done.wait(timeout):
            return not self._broken
        self.call(partial(self._forget, flush))
        return False

    def abandon(self) -> int:
        """The scheduler is closed: give up what is left. Returns how many items that were."""
        waiting = sum(map(self._encoding.items, self.intake.queue.copy()))
        left = self.intake.give_up()
        self._again.clear()
        self._entries.clear()
        if self._stage is not None:
            self._book_dropped()
            self._stage.book.received += waiting  # they never came as far as the stream
            self._stage.book.dropped += waiting
        return left

    @property
    def connected(self) -> bool:
        """Whether its stream was started."""
        return self.state is not State.NEW

    def call(self, action: Callable[[], object]) -> None:
        """Run `action` in the turn."""
        try:
            self._own.post(partial(self._run, action))
        except PipelineError:
            logger.debug("%s: after the end; what is in the buffer is given up", self.name)

    # -- in the turn ---------------------------------------------------------------------------

    def _run(self, action: Callable[[], object]) -> None:
        with _unfed():  # exports, timers and coroutines that start here take it along
            if not self._begun:
                self._begun = True
                try:
                    self._start()
                except Exception as error:
                    self._break(error)
            action()

    def _break(self, error: Exception) -> None:
        """The stream is wired in a way that cannot work: nothing will ever leave."""
        self._broken = self.intake.shut = True
        self.intake.give_up()
        logger.error("%s: the stream cannot start, nothing is sent: %s", self.name, error)

    def _begin(self, scheduler: object) -> None:
        """Nothing to bind: the application calls."""

    def _release(self) -> None:
        self._age.dispose()
        self._rest.dispose()
        self._hurrying.dispose()

    def _later(self, timer: SerialDisposable, seconds: float, action: Callable[[], object]) -> None:
        def run(scheduler: abc.SchedulerBase, state: object) -> None:
            action()

        timer.disposable = self._own.schedule_relative(seconds, run)

    def _arm(self) -> None:
        if self._flushes:
            self._aged()
        else:
            self._later(self._age, self._delay, self._aged)

    def _aged(self) -> None:
        self.intake.armed = False
        self._ripe = len(self.intake.queue)
        self._pump()

    def _full(self) -> None:
        self.intake.called = False
        self._pump()

    def _pump(self) -> None:
        """Send what is due, as far as the window and the rest after a failure allow."""
        while self._under_way < WINDOW and not self._resting:
            entry = self._again.popleft() if self._again else self._take()
            if entry is None:
                break
            self._under_way += 1
            entry.attempts += 1
            self.admission.acquire(entry.data.size, partial(self._granted, entry))
        if self._flushes:
            self._answer_flushes()

    def _take(self) -> _Entry | None:
        """Make a batch of the queue's head, if there is one that is due."""
        while (waiting := len(self.intake.queue)) >= self.intake.batch or (waiting and self._ripe):
            records = [self.intake.queue.popleft() for _ in range(min(waiting, self.intake.batch))]
            self._ripe = max(0, self._ripe - len(records))
            first = self._taken
            encoded = self._encoding.encode(records)
            self._taken += encoded.items + encoded.refused
            if encoded.refused:
                self.intake.rejected += encoded.refused
                self.intake.held -= encoded.refused
                self.book_rejected(encoded.refused)
            if encoded.items:
                data = TelemetryData.from_bytes(self._encoding.signal, encoded.payload)
                entry = self._entries[first] = _Entry(data, first, encoded.items)
                return entry
        return None

    def _granted(self, entry: _Entry, credit: Credit) -> None:
        """There is credit, perhaps since another thread released it."""
        self.call(partial(self._send, entry, credit))

    def _send(self, entry: _Entry, credit: Credit) -> None:
        if self.state is not State.OPEN:
            credit.release()
            self._outcome(entry, failed(STOPPED), 0)
            return
        self.admit(
            entry.data,
            credit=credit,
            position=entry.first,
            on_settle=partial(self._settled_entry, entry),
            again=entry.attempts > 1,
        )

    def _emit(self, cell: list[TelemetryData], receipt: Receipt, again: bool) -> None:
        with _unfed():  # posted by `admit`, without a context
            super()._emit(cell, receipt, again)
            self._hurry()

    def _settled_entry(self, entry: _Entry, receipt: Receipt) -> None:
        """In whichever thread settled it."""
        assert receipt.outcome is not None
        self.call(partial(self._outcome, entry, receipt.outcome, receipt.rejected))

    def _outcome(self, entry: _Entry, outcome: Outcome, rejected: int) -> None:
        self._under_way -= 1
        if outcome.kind is not Kind.FAILED:
            refused = min(rejected, entry.items)
            if refused:
                logger.warning(
                    "%s: %d %s refused for good: %s",
                    *(self.name, refused, self._encoding.signal.names.items, outcome.reason),
                )
            self.intake.rejected += refused
            self.intake.succeeded += entry.items - refused
            self._finished(entry)
            self._failures = 0
            self._report_room()
        elif self._final:
            logger.error(
                "%s: %d %s given up: %s",
                *(self.name, entry.items, self._encoding.signal.names.items, outcome.reason),
            )
            self.intake.given_up += entry.items
            self._finished(entry)
        else:
            self._again.append(entry)
            self._rest_after(outcome)
        self._pump()

    def _finished(self, entry: _Entry) -> None:
        self._entries.pop(entry.first, None)
        self.intake.held -= entry.items

    def _rest_after(self, outcome: Outcome) -> None:
        if not self._resting:  # what was under way at the same time fails for the same reason
            self._resting = True
            self._failures += 1
            seconds = min(FIRST_REST * 2.0 ** min(self._failures - 1, 10), LONGEST_REST)
            seconds = max(seconds, outcome.retry_after or 0.0)
            logger.warning("%s: %s; again in %.1f s", self.name, outcome.reason, seconds)
            self._later(self._rest, seconds, self._rested)

    def _rested(self) -> None:
        self._resting = False
        self._pump()

    # -- flushing ------------------------------------------------------------------------------

    def _begin_flush(self, flush: _Flush, final: bool) -> None:
        self._final = self._final or final
        self._flushes.append(flush)
        self._book_dropped()
        self._rest.disposable = None
        self._resting = False
        self._aged()
        self._hurry()

    def _forget(self, flush: _Flush) -> None:
        if flush in self._flushes:
            self._flushes.remove(flush)

    def _answer_flushes(self) -> None:
        oldest = min(self._entries, default=self._taken)  # nothing before it is open
        for flush in list(self._flushes):
            if oldest >= flush.target or self._broken:
                self._flushes.remove(flush)
                flush.done.set()

    def _hurry(self) -> None:
        """Ask for all the credit there is: open batches close when somebody does.

        It does not wait for it, so one batch that hangs keeps no other from being sent, and
        asks again, for what reaches a batch later.
        """
        if self._flushes and self._under_way:
            self.admission.acquire(self.admission.max_bytes, Credit.release)()
            self._later(self._hurrying, AGAIN, self._hurry)

    # -- reporting -----------------------------------------------------------------------------

    def _report_full(self) -> None:
        self._book_dropped()
        logger.warning(
            "%s: %s; %s that come now are dropped",
            self.name,
            "shut down" if self.intake.shut else f"the buffer of {self.intake.max_items} is full",
            self._encoding.signal.names.items,
        )

    def _report_room(self) -> None:
        if self.intake.told and not self.intake.shut:
            self.intake.told = False
            self._book_dropped()
            logger.warning(
                "%s: there is room again; %d %s were dropped so far",
                *(self.name, self.intake.dropped, self._encoding.signal.names.items),
            )

    def _book_dropped(self) -> None:
        if self._stage is not None:
            dropped, self._booked = self.intake.dropped - self._booked, self.intake.dropped
            self._stage.book.received += dropped
            self._stage.book.dropped += dropped


@contextmanager
def _unfed() -> Iterator[None]:
    """Inside, and in what starts inside, nothing is traced and nothing is taken in."""
    token = exporting.set(True)
    try:
        with untraced():
            yield
    finally:
        exporting.reset(token)
