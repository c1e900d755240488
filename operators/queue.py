"""A bounded queue that takes responsibility. Who enters and who is lost is `_core.queueing`.

The queue is an acknowledgement point: a sender hears success as soon as its element is in,
and from then on a failure is the queue's to mend. An entry is bytes and, until it is in, a
claim on the sender's share; each hand-over is an element with a receipt of the queue's own.
Its room is free when that receipt has settled for good, so `max_items` and `max_bytes` bound
what is anywhere behind the queue, not only what waits in it.

In place of reactivex's `observe_on`, whose queue has no bound and falls silent after a fault.
"""

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from reactivex import abc
from reactivex.disposable import SerialDisposable

from rxotlp._core.outcomes import DELIVERED, DISPOSED, Kind, Outcome, dropped, failed, rejected
from rxotlp._core.queueing import POLICIES, Answer, Entry, Line, delay
from rxotlp.claims import Claim
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError
from rxotlp.operators._described import described
from rxotlp.operators._priority import Priority, Ranking, ranking
from rxotlp.operators._shell import Operator, Shell, check_count, check_seconds, operator
from rxotlp.operators._turn import Turn
from rxotlp.receipt import Receipt

__all__ = ["queue"]

logger = logging.getLogger("rxotlp")

RETRY_AFTER = 1.0  # seconds that a sender is told to wait when the queue is full
SLICE = 64  # elements handed over in one action, so that a scheduler's others get their turn


@described
def queue(
    *,
    max_items: int = 65_536,
    max_bytes: int = 64 << 20,
    when_full: str = "wait",
    max_out: int | None = None,
    priority: Priority | None = None,
    ageing: float = 1.0,
    max_attempts: int = 5,
    backoff: float = 0.5,
    max_backoff: float = 30.0,
    linger: float = 5.0,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Take responsibility for elements, and hand them over at another pace.

    ```
    queue(max_out=1)                  what follows takes two seconds an element
        source  -abc----|
        result  ---A-B-C|             the senders heard success at 1, 2 and 3
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp import DELIVERED, failed
        >>> from rxotlp.testing import Recorder, Rig
        >>> answers = iter([failed("down"), DELIVERED])
        >>> backend = Recorder(lambda data: next(answers))
        >>> with Rig(ops.queue(backoff=2), ops.export(backend, retry=None)) as rig:
        ...     heard = rig.send([1])  # delivered, as far as the sender knows
        ...     rig.wait(2)
        >>> heard.outcome.kind.name, backend.calls
        ('DELIVERED', [[1], [1]])

    Args:
        max_items: items in the queue and behind it, not yet delivered, 1 or more.
        max_bytes: and their bytes, 1 or more.
        when_full: what becomes of an element for which there is no room. "wait" keeps it
            outside, its sender waiting and its credit held, until there is; "reject" fails
            it, so its sender tries again later; "drop_newest" drops it; "drop_oldest" drops
            those that are still here, first what rests after a failure, to make room.
        max_out: elements handed over and not settled, at most, 1 or more. None hands over
            as fast as the scheduler takes turns, so `batch` can follow; a number keeps the
            rest here, where "drop_oldest" finds it.
        priority: gives an element's priority, any finite number; the larger is handed over
            sooner, and let in sooner from outside; equal ones in order. Called once, where
            the elements arrive. A raise, or what is no number, rejects the element with the
            reason. Give `max_out` with it: what is out cannot be overtaken. Who is lost when
            it is full does not depend on it, and "drop_oldest" does not go with it.
        ageing: seconds of waiting that weigh as much as 1 of priority, above 0. Under any
            load, an element is overtaken only by those that come at most `ageing` times the
            difference of their priorities after it.
        max_attempts: hand-overs of an element before it is dropped, 1 or more. An `export`
            behind it retries by itself; what comes back is what it gave up. A failed
            element is handed over again as a whole: what others of its parts delivered
            is delivered twice.
        backoff: seconds before the second hand-over; doubles with each.
        max_backoff: and grows no further. A backend that asks for more is given it.
        linger: seconds without a settlement after which a source that ended ends the stream
            although something is still out.
        name: the stage's name in the books; "queue" by default.
        scheduler: where elements are handed over, one action for up to 64. Stages behind
            it keep the scheduler that `subscribe` brought unless they are given this one.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    An element larger than the whole queue is rejected (dropped by a policy that drops).
    What an open batch behind it holds takes room here: give it room for several batches.
    Order is kept, but what failed goes behind what waits, with `priority` to its place among
    it. On completion and error, all of
    it is handed over and settled first; what fails afterwards is dropped. On dispose, what
    waits outside fails as `disposed`, and the rest, which was acknowledged, is dropped.
    Books: what comes back to be handed over again is `created`.
    """
    check_count("queue(max_items", max_items, why="it could hold nothing")
    check_count("queue(max_bytes", max_bytes, why="it could hold nothing")
    if when_full not in POLICIES:
        raise ValueError(
            f"queue(when_full={when_full!r}): expected one of {', '.join(map(repr, POLICIES))}"
        )
    if max_out is not None:
        check_count("queue(max_out", max_out, why="nothing could ever leave")
    ranks = ranking("queue", priority, ageing)
    if ranks is not None and when_full == "drop_oldest":
        raise ValueError(
            "queue(when_full='drop_oldest', priority=...): expected another policy; "
            "the oldest may be the most important"
        )
    check_count("queue(max_attempts", max_attempts, why="the first hand-over is an attempt")
    check_seconds("queue(backoff", backoff, why="a failed element needs a rest")
    check_seconds("queue(max_backoff", max_backoff, why="a failed element needs a rest")
    if max_backoff < backoff:
        raise ValueError(
            f"queue(max_backoff={max_backoff}): expected backoff={backoff} or more; it is its bound"
        )
    check_seconds("queue(linger", linger, why="what is out needs time to settle")

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> Shell:
        line = Line[_Job](
            max_items=max_items,
            max_bytes=max_bytes,
            when_full=when_full,
            max_out=max_out,
            ranked=ranks is not None,
        )
        rests = partial(delay, backoff=backoff, max_backoff=max_backoff)
        return _Queue(observer, turn, name, line, when_full, ranks, max_attempts, rests, linger)

    return operator(build, scheduler)


class _Job:
    """One element's bytes; the claim on its sender's share until it is in."""

    __slots__ = ("claim", "data", "timer")

    def __init__(self, claim: Claim, data: TelemetryData) -> None:
        self.claim: Claim | None = claim
        self.data = data  # without a share
        self.timer: abc.DisposableBase | None = None

    def report(self, outcome: Outcome) -> None:
        """Tell the sender, who hears only the first."""
        claim, self.claim = self.claim, None
        if claim is not None:
            claim.report(outcome)


class _Queue(Shell):
    __slots__ = (
        "_arrived",
        "_called",
        "_drops",
        "_holding",
        "_line",
        "_linger",
        "_max_attempts",
        "_over",
        "_patience",
        "_pumping",
        "_ranks",
        "_rests",
        "_settlements",
    )

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        line: Line[_Job],
        when_full: str,
        ranks: Ranking | None,
        max_attempts: int,
        rests: Callable[..., float],
        linger: float,
    ) -> None:
        self._holding = 0  # items that are here or outside; what is out is on the edge
        super().__init__("queue", observer, turn, given=name)
        # What has arrived, in whichever thread, and is not in the line yet.
        self._arrived: deque[Entry[_Job]] = deque()
        self._called = False  # somebody will look at it
        self._line = line
        self._ranks = ranks
        self._drops = when_full.startswith("drop")
        self._max_attempts = max_attempts
        self._rests = rests
        self._linger = linger
        self._patience = SerialDisposable()
        self._settlements = 0
        self._pumping = False  # a pump is posted or runs
        self._over = False  # the end has been passed on

    def held(self) -> int:
        return self._holding

    # -- in ---------------------------------------------------------------------------------

    def on_next(self, data: TelemetryData) -> None:
        data = self.take(data)
        share = data._share
        assert share is not None
        rank = 0.0
        if self._ranks is not None:
            try:
                rank = self._ranks(data, self.turn.seconds())
            except Exception as error:
                del share
                cell = [data]
                del data
                self.reject(cell.pop(), error)
                return
        entry = Entry(_Job(share.claim(), data._with_share(None)), share.items, data.size, rank)
        del data, share
        self._holding += entry.items
        self._arrived.append(entry)
        # Never lend a thread that is not in the turn to it: what enters from outside also
        # runs what is due there, and that is the work that was to be handed over.
        if self.turn.here:
            self._arrive()
        elif not self._called:
            self._called = True
            try:
                self.turn.post(self._arrive)
            except PipelineError as error:  # its scheduler is closed: nobody will look
                self._called = False
                while self._arrived:
                    self._settle(self._arrived.popleft(), failed(str(error)))
                raise

    def on_error(self, error: Exception) -> None:
        self._hop(lambda: self._source_ended(error))

    def on_completed(self) -> None:
        self._hop(lambda: self._source_ended(None))

    def _source_ended(self, error: Exception | None) -> None:
        self._arrive()  # the end overtakes nothing, whichever thread it comes on
        super()._source_ended(error)

    def _hop(self, action: Callable[[], object]) -> None:
        """Run `action` in the turn, in a thread that is in it already."""
        if self.turn.here:
            action()
        else:
            self.turn.post(action)

    def _arrive(self) -> None:
        """In the turn: everybody who has arrived joins the line."""
        self._called = False  # first: who comes from now on calls again
        arrived = self._arrived
        for _ in range(len(arrived)):  # who comes meanwhile must not keep us for ever
            self._add(arrived.popleft())

    def _add(self, entry: Entry[_Job]) -> None:
        if self.disposed:
            self._settle(entry, DISPOSED)
            return
        answer, lost = self._line.offer(entry)
        for old in lost:
            self._forget(old, "the queue was full")
        if answer is Answer.ENTERED:
            entry.work.report(DELIVERED)
            self._pump_soon()
        elif answer is Answer.OUTSIDE:
            self._let_in()  # those before it may have given up
            self._pump_soon()
        else:
            self._settle(entry, self._refusal(entry, answer))

    def _refusal(self, entry: Entry[_Job], answer: Answer) -> Outcome:
        if answer is Answer.TOO_LARGE:
            reason = (
                f"{self.book.name}: {entry.items} items of {entry.size} bytes are more than "
                "the whole queue holds"
            )
            return dropped(reason) if self._drops else rejected(reason)
        reason = f"{self.book.name}: the queue is full"
        return dropped(reason) if self._drops else failed(reason, retry_after=RETRY_AFTER)

    def _settle(self, entry: Entry[_Job], outcome: Outcome) -> None:
        """What was held here ends here."""
        self._holding -= entry.items
        self.book.count(outcome, entry.items)
        entry.work.report(outcome)

    def _forget(self, entry: Entry[_Job], reason: str) -> None:
        """What was acknowledged is lost here: its sender will not send it again."""
        timer, entry.work.timer = entry.work.timer, None
        if timer is not None:
            timer.dispose()
        self._settle(entry, dropped(f"{self.book.name}: {reason}"))

    # -- out --------------------------------------------------------------------------------

    def _pump_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            self.turn.post(self._pump)

    def _pump(self) -> None:
        """Hand over what may go; settlements that this causes only free room."""
        try:
            for _ in range(SLICE):
                entry = None if self.disposed else self._line.next()
                if entry is None:
                    self._pumping = False
                    self._look_for_the_end()
                    return
                self._hand_over(entry)
        finally:  # also when an observer raised: the others must not wait for its sake
            if self._pumping:
                self.turn.post(self._pump)

    def _hand_over(self, entry: Entry[_Job]) -> None:
        receipt = Receipt(inbox=self.turn.inbox, on_settle=partial(self._settled, entry))
        cell = [receipt.attach(entry.work.data)]
        self._holding -= entry.items
        self.emit(cell)

    def _settled(self, entry: Entry[_Job], receipt: Receipt) -> None:
        """In whichever thread settled it."""
        outcome = receipt.outcome
        assert outcome is not None
        if self.turn.here:
            self._outcome(entry, outcome)
        else:
            self.turn.post(lambda: self._outcome(entry, outcome))

    def _outcome(self, entry: Entry[_Job], outcome: Outcome) -> None:
        self._settlements += 1
        if outcome.kind is not Kind.FAILED:
            self._line.leave(entry)
        else:
            self._holding += entry.items
            self.book.created += entry.items
            if self.disposed or self._over or entry.attempts >= self._max_attempts:
                self._line.leave(entry)
                self._give_up(entry, outcome.reason)
            else:
                self._line.rest(entry)
                seconds = self._rests(entry.attempts, retry_after=outcome.retry_after)
                entry.work.timer = self.turn.later(seconds, lambda: self._due(entry))
        self._let_in()
        self._pump_soon()

    def _give_up(self, entry: Entry[_Job], reason: str) -> None:
        logger.error(
            "%s dropped %d items after %d attempts: %s",
            self.book.name,
            entry.items,
            entry.attempts,
            reason,
        )
        self._forget(entry, reason)

    def _due(self, entry: Entry[_Job]) -> None:
        if entry.work.timer is not None:  # else it was lost meanwhile
            entry.work.timer = None
            self._line.due(entry)
            self._pump_soon()

    def _let_in(self) -> None:
        """There may be room for those who wait outside, or they may have given up."""
        while (entry := self._line.outside) is not None:
            claim = entry.work.claim
            if claim is not None and claim.withdrawn:
                self._line.turn_away()
                self._settle(entry, failed("withdrawn: its sender was told to send again"))
            elif self._line.admit():
                entry.work.report(DELIVERED)
            else:
                return

    # -- the end ----------------------------------------------------------------------------

    def finish(self) -> None:
        self._wait_for_progress()
        self._look_for_the_end()

    def _look_for_the_end(self) -> None:
        if self._ended and self._line.idle and not self._line.out:
            self._pass_the_end_on()

    def _wait_for_progress(self) -> None:
        """What follows may hold elements until the end, so it cannot wait for them for ever."""
        before = self._settlements

        def look() -> None:
            if self._settlements == before and self._line.idle:
                self._pass_the_end_on()
            else:
                self._wait_for_progress()

        self._patience.disposable = self.turn.later(self._linger, look)

    def _pass_the_end_on(self) -> None:
        if not self._over and not self.disposed:
            self._over = True
            self._patience.dispose()
            self.end()

    def discard(self) -> None:
        self._patience.dispose()
        inside, outside = self._line.clear()
        for entry in outside:
            self._settle(entry, DISPOSED)
        if inside:
            logger.error(
                "%s dropped %d items that it had acknowledged: disposed while they were here",
                self.book.name,
                sum(entry.items for entry in inside),
            )
        for entry in inside:
            self._forget(entry, "disposed")
