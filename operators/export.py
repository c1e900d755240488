"""Delivery to an exporter: claims, concurrency, timeout, books. One attempt an element.

The stage keeps bytes and a claim, never the element, so a sender hears as soon as the last
claim is reported. Bytes are fixed when the attempt begins; until then a part whose sender
has been told to send again is left out.
"""

import inspect
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Protocol

from reactivex import abc

from rxotlp._core.aimd import Aimd, Heard
from rxotlp._core.complaints import Complaints
from rxotlp._core.outcomes import DELIVERED, DISPOSED, Kind, Outcome, failed, rejected
from rxotlp._core.slots import Entry, Slots
from rxotlp.claims import Claim
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.operators._described import described
from rxotlp.operators._limits import Followed, Limit, Limited, check_limit, initial
from rxotlp.operators._shell import Operator, Shell, check_seconds, describe, each, operator
from rxotlp.operators._turn import Turn
from rxotlp.operators.adaptive import AdaptiveConcurrency

__all__ = ["Delivery", "Exporter", "export"]

DEFAULT_MAX_CONCURRENT = 8

_HEARD = {Kind.DELIVERED: Heard.SUCCESS, Kind.FAILED: Heard.REFUSED}

logger = logging.getLogger("rxotlp")


class Exporter(Protocol):
    """What `export` needs of an exporter.

    `export` makes one attempt and says what became of it; it may be plain and quick, plain
    and blocking (`blocking = True`: it runs in the scheduler's pool) or `async def`. The
    element it gets has no receipt: keeping it holds nobody up.
    """

    def export(self, data: TelemetryData, /) -> Outcome | Awaitable[Outcome]:
        """Deliver one element."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one element at a destination.

    Attributes:
        items: items that were attempted.
        bytes: their encoded size.
        outcome: what the exporter said.
        attempts: how many were made; 0 when all of it was withdrawn before the first.
        seconds: from the start of the attempt to the outcome.
    """

    items: int
    bytes: int
    outcome: Outcome
    attempts: int
    seconds: float


@described
def export(
    exporter: Exporter,
    *,
    max_concurrent: Limited | AdaptiveConcurrency = DEFAULT_MAX_CONCURRENT,
    timeout: float | None = None,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Deliver each element and emit a `Delivery` for it.

    ```
    export(exporter, max_concurrent=2)        b takes one second, the others four
        source  -a-b-c-----|
        result  ----BA---C-|          a Delivery each, as they are done
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Recorder, Rig
        >>> backend = Recorder()
        >>> with Rig(ops.export(backend)) as rig:
        ...     heard = rig.send([1, 2])
        >>> backend.delivered, heard.outcome.kind.name
        ([1, 2], 'DELIVERED')

    Args:
        exporter: see `Exporter`. A raise is booked as failed, with its reason.
        max_concurrent: attempts under way at once, 1 or more; or an Observable of numbers,
            or a `Limit` that says what it is until the first; or `adaptive_concurrency()`,
            which learns it. Lowering it cancels nothing; while it is 0 nothing is begun.
        timeout: seconds an attempt may take before it is cancelled and booked as failed;
            None leaves it to the exporter. A blocking exporter cannot be cancelled: it runs
            on, and what it reports afterwards is ignored.
        name: the stage's name in the books; "export" by default.
        scheduler: where async exporters run and deliveries are emitted.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    On completion and error, what runs and waits is delivered first, a pause included; what
    waits in a pause that nothing can end, because its Observable has, fails as retryable.
    On dispose, what runs finishes and is reported, and what waits fails as `disposed`, which
    is how a drain that is out of time ends a pause. A delivery holds no telemetry.
    """
    if isinstance(exporter, type):
        raise TypeError(
            f"export({exporter.__name__}): expected an exporter, got its class; "
            f"write export({exporter.__name__}(...))"
        )
    if not callable(getattr(exporter, "export", None)):
        raise TypeError(
            f"export({exporter!r}): expected an exporter with an `export` method, "
            f"got {type(exporter).__name__}"
        )
    limit: int | Limit | AdaptiveConcurrency
    if isinstance(max_concurrent, AdaptiveConcurrency):
        limit = max_concurrent
    else:
        limit = check_limit(
            "export(max_concurrent",
            max_concurrent,
            default=DEFAULT_MAX_CONCURRENT,
            why="nothing could ever be sent",
        )
    if timeout is not None:
        check_seconds("export(timeout", timeout, why="an attempt needs time")

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> Shell:
        return _Export(observer, turn, name, exporter, limit, timeout)

    return operator(build, scheduler, exporter=exporter)


class _Job:
    """One element on its way out: its bytes, and the claim on its share."""

    __slots__ = ("claim", "data", "items", "reported", "running", "size", "started", "timer")

    def __init__(self, claim: Claim, data: TelemetryData, items: int) -> None:
        self.claim = claim
        self.data = data  # without a share of its own; its parts know theirs
        self.items = items
        self.size = 0
        self.started = 0.0
        self.reported = False
        self.timer: abc.DisposableBase | None = None
        self.running: abc.DisposableBase | None = None


class _Export(Shell):
    __slots__ = (
        "_aimd",
        "_blocking",
        "_complaints",
        "_exporter",
        "_holding",
        "_limit",
        "_slots",
        "_timeout",
    )

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        exporter: Exporter,
        limit: int | Limit | AdaptiveConcurrency,
        timeout: float | None,
    ) -> None:
        self._holding = 0
        super().__init__("export", observer, turn, given=name)
        self.book.leaf = True
        self._exporter = exporter
        self._timeout = timeout
        self._blocking = bool(getattr(exporter, "blocking", False))
        self._aimd: Aimd | None = None
        if isinstance(limit, AdaptiveConcurrency):
            self._aimd = limit.begin()
            limit = self.book.limits["max_concurrent"] = self._aimd.limit
        self._slots = Slots[_Job](initial(limit))
        self._complaints = Complaints()
        if self.assembly is not None and callable(getattr(exporter, "close", None)):
            self.assembly.add_resource(exporter)  # type: ignore[arg-type]
        self._limit = Followed(self, {"max_concurrent": limit}, self._change, self._give_up)

    def held(self) -> int:
        return self._holding

    def on_next(self, data: TelemetryData) -> None:
        data = self.take(data)
        share = data._share
        assert share is not None
        job = _Job(share.claim(), data._with_share(None), share.items)
        del data, share
        self._holding += job.items
        self.turn.enter(lambda: self._add(job))

    def _add(self, job: _Job) -> None:
        if self.disposed:
            self._finish(job, DISPOSED)
        else:
            self._start(self._slots.offer(job))

    def _start(self, entries: list[Entry[_Job]]) -> None:
        """Begin them, and whatever may begin because some of them were over at once."""
        fault: Exception | None = None
        while entries:
            try:
                self._attempt(entries.pop(0), entries)
            except Exception as error:  # an observer's; the others have their turn all the same
                fault = fault or error
        if fault is not None:
            try:
                raise fault
            finally:
                fault = None  # no cycle with this frame, which would need a collection

    def _attempt(self, entry: Entry[_Job], after: list[Entry[_Job]]) -> None:
        """Begin one attempt. When it was over at once, `after` gets what may begin then."""
        job = entry.work
        job.started = self.turn.seconds()
        if self.disposed:  # by the observer of one that began together with this one
            self._over(entry, DISPOSED, 0, after)
            return
        if job.claim.withdrawn:
            self._over(entry, failed("withdrawn: its sender was told to send again"), 0, after)
            return
        data = job.data._outgoing()
        try:
            job.size = data.size
        except DecodeError as error:  # joined profiles that cannot be read
            self._over(entry, rejected(describe(error)), 0, after)
            return
        if data.items != job.items:  # parts were withdrawn; they have been answered
            withdrawn = job.items - data.items
            self._holding -= withdrawn
            self.book.failed += withdrawn
            job.items = data.items
        done = self._done_with(entry)
        if self._blocking:
            job.running = self.turn.run_blocking(lambda: self._exporter.export(data), done)
        else:
            try:
                outcome = self._exporter.export(data)
            except Exception as error:
                self._over(entry, _failure(error), 1, after)
                return
            if not inspect.isawaitable(outcome):
                self._over(entry, _checked(outcome), 1, after)
                return
            job.running = self.turn.run_coroutine(_awaited(outcome), done)
        if self._timeout is not None:
            job.timer = self.turn.later(self._timeout, lambda: self._late(entry))

    def _done_with(self, entry: Entry[_Job]) -> Any:
        def done(outcome: Any, error: BaseException | None) -> None:
            if not entry.work.reported:
                self._ended_with(entry, _checked(outcome) if error is None else _failure(error))

        return done

    def _late(self, entry: Entry[_Job]) -> None:
        job = entry.work
        if not job.reported:
            if job.running is not None:
                job.running.dispose()
            text = f"{self._exporter!r} took longer than {self._timeout} s"
            self._ended_with(entry, failed(text))

    def _ended_with(self, entry: Entry[_Job], outcome: Outcome) -> None:
        after: list[Entry[_Job]] = []
        try:
            self._over(entry, outcome, 1, after)
        finally:
            self._start(after)

    def _over(
        self, entry: Entry[_Job], outcome: Outcome, attempts: int, after: list[Entry[_Job]]
    ) -> None:
        job = entry.work
        delivery = Delivery(
            job.items, job.size, outcome, attempts, self.turn.seconds() - job.started
        )
        if job.timer is not None:
            job.timer.dispose()
        if attempts and (outcome is not DELIVERED or self._complaints.failing):
            self._say(outcome, job.items)
        if attempts and self._aimd is not None:
            after += self._learn(self._aimd, outcome, delivery.seconds)
        self._finish(job, outcome)
        try:
            if not self.disposed:
                self.observer.on_next(delivery)
        finally:  # whatever the observer makes of this one, the others go on
            after += self._free(entry)

    def _learn(self, aimd: Aimd, outcome: Outcome, seconds: float) -> list[Entry[_Job]]:
        """Move the limit by what the destination's answer says about its load."""
        before = aimd.limit
        full = self._slots.running >= before
        after = aimd.heard(
            _HEARD.get(outcome.kind, Heard.NEITHER), seconds, now=self.turn.seconds(), full=full
        )
        if after == before:
            return []
        self.book.limits["max_concurrent"] = after
        return self._slots.set_limit(after)

    def _say(self, outcome: Outcome, items: int) -> None:
        """Tell who runs this that a destination is down or refuses, and when it is back."""
        said = self._complaints.note(outcome, items, self.turn.seconds())
        if said is not None:
            level = logging.WARNING if self._complaints.failing else logging.INFO
            logger.log(level, "%s: %s", self.book.name, said)

    def _free(self, entry: Entry[_Job]) -> list[Entry[_Job]]:
        _, started = self._slots.finish(entry, None)
        if self._ended and self._slots.idle and not self.disposed:
            self.end()
        return started

    def _finish(self, job: _Job, outcome: Outcome) -> None:
        job.reported = True
        job.running = job.timer = None
        self._holding -= job.items
        self.book.count(outcome, job.items)
        job.claim.report(outcome)
        if self.disposed:
            self.forget()

    def _change(self, _name: str, limit: int) -> None:
        self._start(self._slots.set_limit(limit))

    def finish(self) -> None:
        if self._slots.idle:
            self.end()
        else:
            self._give_up()

    def _give_up(self) -> None:
        """Fail what waits when the source has ended in a pause that nothing can end."""
        if self.disposed or not self._ended or self._slots.max_concurrent:
            return
        if self._slots.waiting and self._limit.over("max_concurrent"):
            try:
                each(self._paused_for_good, list(self._slots.take_waiting()))
            finally:
                if self._slots.idle and not self.disposed:
                    self.end()

    def _paused_for_good(self, jobs: list[_Job]) -> None:
        job = jobs.pop()
        outcome = failed(f"{self.book.name}: paused, and nothing can end the pause")
        self._finish(job, outcome)
        if not self.disposed:
            self.observer.on_next(Delivery(job.items, 0, outcome, 0, 0.0))

    def discard(self) -> None:
        self._limit.dispose()
        for job in self._slots.take_waiting():
            self._finish(job, DISPOSED)


async def _awaited(outcome: Awaitable[Outcome]) -> Outcome:
    return await outcome


def _checked(outcome: Any) -> Outcome:
    if isinstance(outcome, Outcome):
        if outcome.kind is Kind.REJECTED and outcome.items == 0:
            return Outcome(Kind.DELIVERED, warning=outcome.reason)
        return outcome
    return failed(f"the exporter returned {type(outcome).__name__}, expected an Outcome")


def _failure(error: BaseException) -> Outcome:
    return failed(f"the exporter raised {describe(error)}")
