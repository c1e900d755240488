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
from collections.abc import Callable
from functools import partial

from reactivex import abc
from reactivex.disposable import SerialDisposable

from rxotlp._core.outcomes import Kind, Outcome, failed
from rxotlp._core.queueing import delay
from rxotlp.admission import Admission, Credit
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SyncScheduler
from rxotlp.sdk.encoding import Encoding
from rxotlp.sdk.flushes import Flush, Flushes
from rxotlp.sdk.intake import Intake, unfed
from rxotlp.sdk.reports import Reports
from rxotlp.sdk.settings import Limits
from rxotlp.sdk.stock import WINDOW, Batch, Stock
from rxotlp.sources.base import STOPPED, Source, State

__all__ = ["Buffer"]

FIRST_REST = 0.5  # seconds after a failure; doubled with each that follows
LONGEST_REST = 30.0  # seconds, unless the backend asks for more
AGAIN = 0.05  # seconds until a flush hurries the caller's batches again

# `Stock` bounds the bytes; the gate is there because holders let go when somebody waits.
_ANY_SIZE = 1 << 62

logger = logging.getLogger("rxotlp")


class Buffer(Source):
    """The source of a bridge's stream.

    Args:
        encoding: of what is offered.
        limits: how much it holds, and when a batch leaves.
        scheduler: in whose turn it works.
        start: connects this source; called in the turn when there is something to do.
    """

    offers_again = True

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
            on_overflow=self._overflow,
        )
        self._stock = Stock(limits)
        self._reports = Reports(self.intake, encoding.signal, limits)
        self._begun = False
        self._broken = False
        self._final = False  # what fails now is given up
        self._taken = 0
        self._ripe = 0  # records at the queue's head that need not wait for more
        self._under_way = 0
        self._failures = 0
        self._resting = False
        self._flushes = Flushes()
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
        flush = Flush(self.intake.accepted)
        self.call(partial(self._begin_flush, flush, final))
        if flush.done.wait(timeout):
            return not self._broken
        self.call(partial(self._flushes.forget, flush))
        return False

    def abandon(self) -> None:
        """The scheduler is closed: give up what is left, and say what became of everything."""
        self.intake.give_up()
        self._stock.clear()
        self.book_late()
        self._reports.end()

    def book_late(self) -> None:
        """Book what never came as far as the stream, as it has ended."""
        if self._stage is not None and self.intake.over:
            late = self.intake.statistics().received - self._stage.book.received
            self._stage.book.received += late
            self._stage.book.dropped += late

    @property
    def connected(self) -> bool:
        """Whether its stream was started."""
        return self.state is not State.NEW

    def call(self, action: Callable[[], object]) -> bool:
        """Run `action` in the turn. False after the end: what is held then is given up."""
        try:
            self._own.post(partial(self._run, action))
        except PipelineError:
            return False
        return True

    def _overflow(self) -> None:
        if not self.call(partial(self._report_full, shut := self.intake.shut)):
            self._reports.full(shut)

    # -- in the turn ---------------------------------------------------------------------------

    def _run(self, action: Callable[[], object]) -> None:
        with unfed():  # exports, timers and coroutines that start here take it along
            if not self._begun:
                self._begun = True
                try:
                    self._start()
                except Exception as error:
                    self._break(error)
            action()

    def _break(self, error: Exception) -> None:
        """The stream is wired in a way that cannot work: nothing will ever leave."""
        self._broken = True
        self.intake.close()
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
        """Encode a batch that is due; send what the window and a rest after failure allow."""
        if self._encode():
            self.call(self._pump)  # others have their turn before the next one
        while self._under_way < WINDOW and not self._resting and (batch := self._stock.next()):
            self._under_way += 1
            batch.attempts += 1
            self.admission.acquire(batch.data.size, partial(self._granted, batch))
        self._flushes.answer(None if self._broken else self._stock.oldest(self._taken))

    def _encode(self) -> bool:
        """Make a batch of the queue's head. False when none is due."""
        queue = self.intake.queue
        if not queue or (len(queue) < self.intake.batch and not self._ripe):
            return False
        records = [queue.popleft() for _ in range(min(len(queue), self.intake.batch))]
        self._ripe = max(0, self._ripe - len(records))
        encoded = self._encoding.encode(records)
        if encoded.items:
            data = TelemetryData.from_bytes(self._encoding.signal, encoded.payload)
            batch = Batch(data, self._taken, encoded.items)
            self._stock.add(batch, len(records))
            self._make_room()
        self._taken += encoded.items + encoded.refused
        if encoded.refused:
            self.intake.settle(rejected=encoded.refused)
            self.book_rejected(encoded.refused)
        return True

    def _make_room(self) -> None:
        self.intake.room, self.intake.batch = self._stock.room, self._stock.batch

    def _granted(self, batch: Batch, credit: Credit) -> None:
        """There is credit, perhaps since another thread released it."""
        self.call(partial(self._send, batch, credit))

    def _send(self, batch: Batch, credit: Credit) -> None:
        if self.state is not State.OPEN:
            credit.release()
            self._outcome(batch, failed(STOPPED), 0)
            return
        self.admit(
            batch.data,
            credit=credit,
            position=batch.first,
            on_settle=partial(self._settled_batch, batch),
            again=batch.attempts > 1,
        )

    def _emit(self, cell: list[TelemetryData], receipt: Receipt, again: bool) -> None:
        with unfed():  # posted by `admit`, without a context
            super()._emit(cell, receipt, again)
            self._hurry()

    def _settled_batch(self, batch: Batch, receipt: Receipt) -> None:
        """In whichever thread settled it."""
        assert receipt.outcome is not None
        self.call(partial(self._outcome, batch, receipt.outcome, receipt.rejected))

    def _outcome(self, batch: Batch, outcome: Outcome, rejected: int) -> None:
        self._under_way -= 1
        if outcome.kind is not Kind.FAILED:
            refused = min(rejected, batch.items)
            if refused:
                self._reports.refused(refused, outcome.reason)
            self._finished(batch, succeeded=batch.items - refused, rejected=refused)
            self._failures = 0
            self._report_room()
        elif self._final:
            self._reports.given_up(batch.items, outcome.reason)
            self._finished(batch, given_up=batch.items)
        else:
            self._stock.put_back(batch)
            self._rest_after(outcome)
        self._pump()

    def _finished(self, batch: Batch, **counts: int) -> None:
        self._stock.finish(batch)
        self._make_room()
        self.intake.settle(**counts)

    def _rest_after(self, outcome: Outcome) -> None:
        if not self._resting:  # what was under way at the same time fails for the same reason
            self._resting = True
            self._failures += 1
            seconds = delay(self._failures, FIRST_REST, LONGEST_REST, outcome.retry_after)
            self._reports.rest(self._failures, outcome, seconds)
            self._later(self._rest, seconds, self._rested)

    def _rested(self) -> None:
        self._resting = False
        self._pump()

    # -- flushing ------------------------------------------------------------------------------

    def _begin_flush(self, flush: Flush, final: bool) -> None:
        self._final = self._final or final
        self._flushes.add(flush)
        self._book_dropped()
        self._rest.disposable = None
        self._resting = False
        self._aged()
        self._hurry()

    def _hurry(self) -> None:
        """Ask for all the credit there is: open batches close when somebody does.

        It does not wait for it, so one batch that hangs keeps no other from being sent, and
        asks again, for what reaches a batch later.
        """
        if self._flushes and self._under_way:
            self.admission.acquire(self.admission.max_bytes, Credit.release)()
            self._later(self._hurrying, AGAIN, self._hurry)

    def _report_full(self, shut: bool) -> None:
        self._book_dropped()
        self._reports.full(shut)

    def _report_room(self) -> None:
        # Half of it, or a busy program that is just too fast would say so with each batch.
        roomy = self.intake.held * 2 <= self.intake.room
        if self.intake.told and roomy and not self.intake.shut:
            self.intake.told = False
            self._book_dropped()
            self._reports.room()

    def _book_dropped(self) -> None:
        if self._stage is not None:
            dropped, self._booked = self.intake.dropped - self._booked, self.intake.dropped
            self._stage.book.received += dropped
            self._stage.book.dropped += dropped
