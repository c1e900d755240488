"""`sources.from_iterable()`: a pull source that nobody waits for an answer from.

It takes the next element, waits for credit, offers it, and goes on, each step an action of
the scheduler of its own: no step blocks, so the same chain runs on every scheduler, and due
timers (a batch's age) run in between.

    pull --element--> acquire --credit--> offer --receipt--> outcome
      ^                  ^                  |                   |
      +------------------|------------------+                   |
                         +------- failed: credit again, --------+
                                  then offer after a back-off

When is it over? A failed element can only be offered again while the stream is open, but
some operators let go of what they hold only when the stream completes. So the stream
completes when every element has its final outcome, and until then the source asks for its
whole credit: open batches close early when somebody waits for credit. If nothing settles
for `linger` seconds it completes all the same, and what fails afterwards is not offered
again.
"""

import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from reactivex import abc
from reactivex.disposable import SerialDisposable

from rxotlp._core.outcomes import Kind, Outcome
from rxotlp.admission import Admission, Credit
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError, PipelineError, RefusedError, without_tracebacks
from rxotlp.receipt import Receipt
from rxotlp.sources.base import Source, State

if TYPE_CHECKING:
    from rxotlp.schedulers import SerialScheduler

__all__ = ["IterableSource", "from_iterable"]

logger = logging.getLogger("rxotlp")

SOON = 0.05  # seconds until an element that found room for its bytes but not its items asks again


class _Entry:
    """One element of the input and how often it was offered. It has no receipt itself."""

    __slots__ = ("attempts", "data", "items", "position")

    def __init__(self, data: TelemetryData, position: int) -> None:
        self.data = data.detached()
        self.items = data.items
        self.position = position
        self.attempts = 0


class IterableSource(Source):
    """The pull source; made by `from_iterable`.

    Attributes:
        given_up: items that failed as often as they may, or when the stream was over.
    """

    offers_again = True

    def __init__(
        self,
        items: Iterable[TelemetryData] | AsyncIterable[TelemetryData],
        *,
        max_attempts: int,
        backoff: float,
        max_backoff: float,
        linger: float,
        admission: Admission | None,
        name: str | None,
        call: str = "from_iterable",
    ) -> None:
        own = name or call.removeprefix("from_")
        super().__init__(own, given=name is not None, admission=admission)
        if max_attempts < 1:
            raise ValueError(
                f"{call}(max_attempts={max_attempts}): expected 1 or more; the first "
                "offer is an attempt"
            )
        if not 0 < backoff <= max_backoff:
            raise ValueError(
                f"{call}(backoff={backoff}, max_backoff={max_backoff}): expected "
                "0 < backoff <= max_backoff, in seconds"
            )
        if not linger > 0:
            raise ValueError(f"{call}(linger={linger}): expected more than 0 seconds")
        self._items: Iterable[object] | AsyncIterable[object] = items
        self._max_attempts = max_attempts
        self._backoff = backoff
        self._max_backoff = max_backoff
        self._linger = linger
        self._iterator: Iterator[object] | AsyncIterator[object] | None = None
        self._pending = SerialDisposable()  # the next element of an async iterable
        self._patience = SerialDisposable()  # the linger timer
        self._taken = 0
        self._settled_once = 0
        self._unfinished = 0  # entries without a final outcome
        self._again: dict[_Entry, Credit | None] = {}  # to be offered again, and its credit
        self._exhausted = False
        self._stalled = False  # nobody was subscribed when the next was to be taken
        self._fault: Exception | None = None  # what taking one raised
        self._asking = False  # for the whole credit
        self.given_up = 0

    # -- taking --------------------------------------------------------------------------------

    def _begin(self, scheduler: "SerialScheduler") -> None:
        items = self._items
        self._iterator = aiter(items) if isinstance(items, AsyncIterable) else iter(items)
        self._pending, self._patience = SerialDisposable(), SerialDisposable()
        self._taken = self._unfinished = 0
        self._again = {}
        self._exhausted = self._asking = self._stalled = False
        self._fault = None
        scheduler.post(self._pull)

    def _release(self) -> None:
        self._iterator = None
        self._pending.dispose()
        self._patience.dispose()

    def _pull(self) -> None:
        iterator = self._iterator
        if iterator is None or self._exhausted:
            return
        if not self.accepting:
            self._stalled = True
            return
        if isinstance(iterator, AsyncIterator):
            self._pending.disposable = self._ours.run_coroutine(_next(iterator), self._pulled)
            return
        try:
            data = next(iterator, None)
        except Exception as error:
            self._fail(error)
        else:
            self._pulled(data, None)

    def _pulled(self, data: object, error: BaseException | None) -> None:
        if error is not None:
            if self._iterator is not None:  # else it is our own doing
                self._fail(error)
        elif data is None:
            self._exhausted = True
            self._wait_for_progress()
            self._look_for_the_end()
        elif not isinstance(data, TelemetryData):
            self._fail(
                TypeError(
                    f"from_iterable(): element {self._taken} is {type(data).__name__}, "
                    "expected TelemetryData"
                )
            )
        else:
            self._take(data)

    def _take(self, data: TelemetryData) -> None:
        position = self._taken
        self._taken += 1
        try:
            entry = _Entry(data, position)
        except DecodeError as error:
            logger.error("%s: element %d: %s", self.name, position, error)
            self._final(position, settled=True)
            self._ours.post(self._pull)
            return
        self._unfinished += 1
        self._acquire(entry, self._offer_first)

    def _fail(self, error: BaseException) -> None:
        self._exhausted = True
        fault = error if isinstance(error, Exception) else PipelineError(repr(error))
        self._fault = without_tracebacks(fault)
        self._observers.on_error(self._fault)

    def _resumed(self) -> None:
        if self._fault is not None:
            self._ours.post(partial(self._observers.on_error, self._fault))
            return
        super()._resumed()
        if self._stalled:
            self._stalled = False
            self._ours.post(self._pull)

    # -- offering ------------------------------------------------------------------------------

    def _acquire(self, entry: _Entry, then: Callable[[_Entry, Credit], object]) -> None:
        """Ask for the credit of `entry`, and call `then` in an action when it is there."""
        post = self._ours.post
        try:
            self.admission.acquire(
                entry.data.size, lambda credit: post(partial(then, entry, credit))
            )
        except RefusedError as error:
            self._refuse(entry, error)
            if not entry.attempts:
                self._ours.post(self._pull)

    def _offer_first(self, entry: _Entry, credit: Credit) -> None:
        if self._offer(entry, credit, self._offer_first):
            self._ours.post(self._pull)

    def _back_off(self, seconds: float, entry: _Entry, credit: Credit) -> None:
        if entry in self._again:
            self._again[entry] = credit
            self._later(seconds, lambda: self._offer_again(entry))
        else:  # the stream has ended since
            credit.release()

    def _offer_again(self, entry: _Entry) -> None:
        credit = self._again.pop(entry, None)
        if credit is not None:
            self._offer(entry, credit, self._offer)

    def _offer(
        self,
        entry: _Entry,
        credit: Credit,
        retry: "Callable[[_Entry, Credit], object] | None" = None,
    ) -> bool:
        """Offer `entry`; False when there was no room for its items and it will ask again."""
        if self.abandoned:
            credit.release()
            self._give_up(entry, "the stream is over")
            return True
        if not self.accepting:
            self._again[entry] = credit
            self._later(SOON, lambda: self._offer_again(entry))
            return True
        try:
            credit.resize(credit.size, items=entry.items)
        except RefusedError as error:
            credit.release()
            if error.permanent:
                self._refuse(entry, error)
                return True
            then = retry or self._offer
            self._later(SOON, lambda: self._acquire(entry, then))
            return False
        entry.attempts += 1
        self.admit(
            entry.data,
            credit=credit,
            position=entry.position,
            on_settle=partial(self._settled_entry, entry),
            again=entry.attempts > 1,
        )
        self._look_for_the_end()
        return True

    # -- outcomes ------------------------------------------------------------------------------

    def _settled_entry(self, entry: _Entry, receipt: Receipt) -> None:
        """In whichever thread settled it."""
        assert receipt.outcome is not None
        self._ours.post(partial(self._outcome, entry, receipt.outcome))

    def _outcome(self, entry: _Entry, outcome: Outcome) -> None:
        self._settled_once += 1
        if outcome.kind is not Kind.FAILED:
            self._finished(entry, settled=True)
        elif entry.attempts >= self._max_attempts or self.abandoned:
            self._give_up(entry, outcome.reason)
        else:
            # Credit first, then the back-off: what waits to be offered again counts as in
            # flight, so a backend that is down stops the pulling and fills no memory.
            self._again[entry] = None
            doubled = self._backoff * 2.0 ** min(entry.attempts - 1, 64)
            seconds = min(doubled, self._max_backoff)
            seconds = max(seconds, outcome.retry_after or 0.0)
            self._acquire(entry, partial(self._back_off, seconds))

    def _refuse(self, entry: _Entry, error: RefusedError) -> None:
        logger.error("%s: element %d: %s", self.name, entry.position, error)
        self.book_rejected(entry.items)
        self._finished(entry, settled=True)

    def _give_up(self, entry: _Entry, reason: str) -> None:
        self.given_up += entry.items
        logger.error(
            "%s: element %d given up after %d attempts, %d items: %s",
            self.name,
            entry.position,
            entry.attempts,
            entry.items,
            reason,
        )
        self._finished(entry, settled=False)

    def _finished(self, entry: _Entry, *, settled: bool) -> None:
        self._unfinished -= 1
        self._final(entry.position, settled=settled)
        self._look_for_the_end()

    def _final(self, position: int, *, settled: bool) -> None:
        """The element at `position` is over; not `settled` when it was given up."""

    # -- the end -------------------------------------------------------------------------------

    def end(self) -> None:
        """Complete the stream; what was to be offered again is given up before."""
        self._ours.post(self._give_up_all)
        super().end()

    def _give_up_all(self) -> None:
        while self._again:
            entry, credit = self._again.popitem()
            if credit is not None:
                credit.release()
            self._give_up(entry, "the stream is over")

    def _look_for_the_end(self) -> None:
        if not self._exhausted or self.state is not State.OPEN:
            return
        if not self._unfinished:
            self._patience.dispose()
            self.end()
        elif not self._asking:
            self._asking = True
            post = self._ours.post
            self.admission.acquire(
                self.admission.max_bytes, lambda credit: post(partial(self._all_free, credit))
            )

    def _all_free(self, credit: Credit) -> None:
        credit.release()
        self._asking = False  # what is offered again asks again

    def _wait_for_progress(self) -> None:
        before = self._settled_once

        def look() -> None:
            if self.state is not State.OPEN or not self._unfinished:
                return
            if self._settled_once == before and not self._again:
                self.end()
            else:
                self._wait_for_progress()

        self._patience.disposable = self._later(self._linger, look)

    # -- the scheduler -------------------------------------------------------------------------

    @property
    def _ours(self) -> "SerialScheduler":
        scheduler = self._scheduler
        assert scheduler is not None
        return scheduler

    def _later(self, seconds: float, action: Callable[[], object]) -> abc.DisposableBase:
        def run(scheduler: abc.SchedulerBase, state: object) -> None:
            action()

        return self._ours.schedule_relative(seconds, run)


def from_iterable(
    items: TelemetryData | Iterable[TelemetryData] | AsyncIterable[TelemetryData],
    *,
    max_attempts: int = 5,
    backoff: float = 0.5,
    max_backoff: float = 30.0,
    linger: float = 5.0,
    admission: Admission | None = None,
    name: str | None = None,
) -> IterableSource:
    """Emit the elements of an iterable as fast as they are dealt with.

    Args:
        items: one element, or an iterable or async iterable of them. It is advanced in the
            scheduler's turn, so a plain one should not block. One that can be iterated
            again serves a pipeline that starts again.
        max_attempts: how often an element is offered before a failure is final, 1 or more.
        backoff: seconds before the second offer; doubled each time, and never less than a
            destination asked for.
        max_backoff: the most that doubling comes to, in seconds.
        linger: seconds without any outcome after the end of the input, until the stream
            completes all the same.
        admission: bounds what is in flight; 64 MiB of its own by default. A single element
            larger than that is rejected and logged.
        name: in the books; "iterable" by default.

    Returns:
        A hot source: every observer attached when it connects shares its elements. Its
        stream completes once every element has its final outcome, and fails with what the
        iterable raises.

    Raises:
        ValueError: an argument out of its range.
        TypeError: `items` is not iterable.
    """
    if isinstance(items, TelemetryData):
        items = [items]
    elif not isinstance(items, Iterable | AsyncIterable):
        raise TypeError(
            f"from_iterable({type(items).__name__}): expected TelemetryData or an iterable of it"
        )
    return IterableSource(
        items,
        max_attempts=max_attempts,
        backoff=backoff,
        max_backoff=max_backoff,
        linger=linger,
        admission=admission,
        name=name,
    )


async def _next(iterator: AsyncIterator[object]) -> object:
    return await anext(iterator, None)
