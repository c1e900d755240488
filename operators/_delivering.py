"""The stage of `export`: claims, attempts, pauses between them, books.

It keeps bytes and a claim, never the element, so a sender hears as soon as the last claim
is reported. Bytes are fixed when the first attempt begins; until then a part whose sender
has been told to send again is left out, and from then on all of it is sent unless every
sender has been told.

    waiting --slot--> attempt --+--> over          delivered, rejected, failed for good
       ^                        +--> resting       failed: its pause, outside of the slots
       +---- pause over --------+--> cut           parts, which wait for a slot of their own
"""

import inspect
import logging
from asyncio import CancelledError
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from reactivex import abc

from rxotlp._core.aimd import Aimd, Heard
from rxotlp._core.complaints import Complaints
from rxotlp._core.outcomes import (
    DELIVERED,
    DISPOSED,
    Cause,
    Kind,
    Outcome,
    failed,
    rejected,
)
from rxotlp._core.retrying import Retrying
from rxotlp._core.slots import Entry, Slots
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.operators._job import Delivery, Job, cut
from rxotlp.operators._limits import Followed, Limit, initial
from rxotlp.operators._shell import Shell, describe, each
from rxotlp.operators._turn import Turn
from rxotlp.operators.adaptive import AdaptiveConcurrency

if TYPE_CHECKING:
    from rxotlp.operators.export import Exporter

__all__ = ["Delivering"]

_HEARD = {Kind.DELIVERED: Heard.SUCCESS, Kind.FAILED: Heard.REFUSED}
_WITHDRAWN = failed("withdrawn: its sender was told to send again")

logger = logging.getLogger("rxotlp")


class Delivering(Shell):
    """See the module's text. Made by `export`, which says what the arguments mean."""

    __slots__ = (
        "_aimd",
        "_blocking",
        "_complaints",
        "_exporter",
        "_holding",
        "_limit",
        "_most",
        "_resting",
        "_retrying",
        "_slots",
        "_timeout",
    )

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        exporter: "Exporter",
        limit: int | Limit | AdaptiveConcurrency,
        retrying: Retrying | None,
        timeout: float | None,
    ) -> None:
        self._holding = 0
        super().__init__("export", observer, turn, given=name)
        self.book.leaf = True
        self._exporter = exporter
        self._retrying = retrying
        self._timeout = timeout
        self._blocking = bool(getattr(exporter, "blocking", False))
        self._aimd: Aimd | None = None
        if isinstance(limit, AdaptiveConcurrency):
            self._aimd = limit.begin()
            limit = limit.max_concurrent
        self._most = initial(limit)  # what is learnt stays within it
        self._slots = Slots[Job](self._bounded())
        self._resting: dict[Job, None] = {}  # in order
        self._complaints = Complaints()
        if self.assembly is not None and callable(getattr(exporter, "close", None)):
            self.assembly.add_resource(exporter)  # type: ignore[arg-type]
        self._limit = Followed(self, {"max_concurrent": limit}, self._change, self._give_up)
        if self._aimd is not None:
            self.book.limits["max_concurrent"] = self._bounded()

    def held(self) -> int:
        return self._holding

    def on_next(self, data: TelemetryData) -> None:
        data = self.take(data)
        share = data._share
        assert share is not None
        job = Job(share, data._with_share(None), share.items)
        del data, share
        self._holding += job.items
        self.turn.enter(lambda: self._add(job))

    def _add(self, job: Job) -> None:
        if self.disposed:
            self._finish(job, DISPOSED)
        else:
            self._start(self._slots.offer(job))

    # -- attempts -----------------------------------------------------------------------------

    def _start(self, entries: list[Entry[Job]]) -> None:
        """Begin them, and whatever may begin because some of them were over at once."""
        fault: BaseException | None = None
        while entries:
            try:
                self._attempt(entries.pop(0), entries)
            except BaseException as error:  # an observer's; the others have their turn anyway
                fault = fault or error
        if fault is not None:
            try:
                raise fault
            finally:
                fault = None  # no cycle with this frame, which would need a collection

    def _attempt(self, entry: Entry[Job], after: list[Entry[Job]]) -> None:
        """Begin one attempt. When it was over at once, `after` gets what may begin then."""
        job = entry.work
        if self.disposed:  # by the observer of one that began together with this one
            self._over(entry, DISPOSED, after)
            return
        if job.claim.withdrawn:
            self._over(entry, _WITHDRAWN, after)
            return
        job.started = self.turn.seconds()
        if not job.attempts:
            job.began = job.started
        if not job.size:
            try:
                self._fix(job)
            except DecodeError as error:  # joined profiles that cannot be read
                self._heard(entry, rejected(describe(error), cause=Cause.BAD_DATA), after)
                return
        job.attempts += 1
        data = job.sent
        assert data is not None
        done = self._done_with(entry)
        if self._blocking:
            job.running = self.turn.run_blocking(lambda: self._exporter.export(data), done)
        else:
            try:
                outcome = self._exporter.export(data)
            except BaseException as error:  # a cancelled future's is no Exception
                self._heard(entry, _failure(error), after)
                if isinstance(error, Exception | CancelledError):
                    return
                raise
            if not inspect.isawaitable(outcome):
                self._heard(entry, _checked(outcome), after)
                return
            job.running = self.turn.run_coroutine(_awaited(outcome), done)
        if self._timeout is not None:
            job.timer = self.turn.later(self._timeout, lambda: self._late(entry))

    def _fix(self, job: Job) -> None:
        """Decide which bytes are sent, from the first attempt on."""
        job.fix()
        withdrawn = job.items - job.data.items
        if withdrawn:  # parts were withdrawn; they have been answered
            self._holding -= withdrawn
            self.book.failed += withdrawn
            job.items = job.data.items

    def _done_with(self, entry: Entry[Job]) -> Any:
        number = entry.work.attempts

        def done(outcome: Any, error: BaseException | None) -> None:
            job = entry.work
            if not job.reported and job.attempts == number and job.running is not None:
                self._ended_with(entry, _checked(outcome) if error is None else _failure(error))

        return done

    def _late(self, entry: Entry[Job]) -> None:
        job = entry.work
        if job.running is not None:
            job.running.dispose()
            text = f"{self._exporter!r} took longer than {self._timeout} s"
            self._ended_with(entry, failed(text))

    def _ended_with(self, entry: Entry[Job], outcome: Outcome) -> None:
        after: list[Entry[Job]] = []
        try:
            self._heard(entry, outcome, after)
        finally:
            self._start(after)

    # -- what comes of them --------------------------------------------------------------------

    def _heard(self, entry: Entry[Job], outcome: Outcome, after: list[Entry[Job]]) -> None:
        """An attempt has ended: the job is over, rests, or is cut."""
        job = entry.work
        if job.timer is not None:
            job.timer.dispose()
        job.running = job.timer = None
        # A failure counts once, however often it is tried again.
        items = 0 if outcome.kind is Kind.FAILED and job.pause is not None else job.items
        if outcome is not DELIVERED:
            if self._rest(job, outcome):
                if self._aimd is not None:
                    after += self._learn(self._aimd, outcome, self.turn.seconds() - job.started)
                self._say(outcome, items)
                after += self._free(entry)
                return
            if outcome.kind is Kind.REJECTED:
                parts = cut(job, outcome)
                if parts and self.disposed:  # nobody finds out any more which of them was meant
                    for part in parts:
                        self._finish(part, DISPOSED)
                    after += self._free(entry)
                    return
                if parts:
                    after += self._free(entry, parts)
                    return
        if outcome is not DELIVERED or self._complaints.failing:
            self._say(outcome, items)
        if self._aimd is not None:
            after += self._learn(self._aimd, outcome, self.turn.seconds() - job.started)
        self._over(entry, outcome, after)

    def _over(self, entry: Entry[Job], outcome: Outcome, after: list[Entry[Job]]) -> None:
        job = entry.work
        delivery = self._delivery(job, outcome)
        self._finish(job, outcome)
        try:
            if not self.disposed:
                self.observer.on_next(delivery)
        finally:  # whatever the observer makes of this one, the others go on
            after += self._free(entry)

    def _delivery(self, job: Job, outcome: Outcome) -> Delivery:
        seconds = self.turn.seconds() - job.began if job.attempts else 0.0
        return Delivery(job.items, job.size, outcome, job.attempts, seconds)

    def _learn(self, aimd: Aimd, outcome: Outcome, seconds: float) -> list[Entry[Job]]:
        """Move the limit by what the destination's answer says about its load."""
        before = self._bounded()
        full = self._slots.running >= before
        aimd.heard(
            _HEARD.get(outcome.kind, Heard.NEITHER), seconds, now=self.turn.seconds(), full=full
        )
        after = self._bounded()
        if after == before:
            return []
        self.book.limits["max_concurrent"] = after
        return self._slots.set_limit(after)

    def _bounded(self) -> int:
        return self._most if self._aimd is None else min(self._aimd.limit, self._most)

    def _say(self, outcome: Outcome, items: int) -> None:
        """Tell who runs this that a destination is down or refuses, and when it is back."""
        said = self._complaints.note(outcome, items, self.turn.seconds())
        if said is not None:
            level = logging.WARNING if self._complaints.failing else logging.INFO
            logger.log(level, "%s: %s", self.book.name, said)

    def _free(self, entry: Entry[Job], parts: list[Job] | None = None) -> list[Entry[Job]]:
        """Give its slot back, with the parts that are to be tried in its place."""
        _, started = self._slots.finish(entry, None)
        for part in parts or ():
            started += self._slots.offer(part)
        self._look_for_the_end()
        return started

    def _finish(self, job: Job, outcome: Outcome) -> None:
        self._holding -= job.items
        self.book.count(outcome, job.items)
        job.over(outcome)
        if self.disposed:
            self.forget()

    # -- pauses --------------------------------------------------------------------------------

    def _rest(self, job: Job, outcome: Outcome) -> bool:
        """Have it tried again later. False when it is given up."""
        retrying = self._retrying
        if retrying is None or outcome.kind is not Kind.FAILED or self.disposed:
            return False
        if job.claim.offered_again:
            return False  # two that try again would multiply their attempts
        now = self.turn.seconds()
        due = job.claim.due
        again = retrying.again(
            job.pause,
            asked=outcome.retry_after,
            hurried=bool(due) or self._ended,
            since=now - job.began,
            took=now - job.started,
            left=due - now if due else None,
        )
        if again is None:
            return False
        job.pause, seconds = again
        job.asked = outcome.retry_after is not None
        self._resting[job] = None
        job.timer = self.turn.later(seconds, lambda: self._resume(job))
        return True

    def _resume(self, job: Job) -> None:
        if job not in self._resting:  # ended, or disposed
            return
        del self._resting[job]
        job.timer = None
        self._start(self._slots.offer(job))
        self._give_up()

    # -- the end -------------------------------------------------------------------------------

    def _change(self, name: str, limit: int) -> None:
        self._most = limit
        if self._aimd is not None:
            self._aimd.bound(limit)
            self.book.limits[name] = self._bounded()
        self._start(self._slots.set_limit(self._bounded()))

    def finish(self) -> None:
        for job in list(self._resting):
            if not job.asked:  # a drain has not the time for a long pause
                assert job.timer is not None
                job.timer.dispose()
                self._resume(job)
        self._give_up()
        self._look_for_the_end()

    def _look_for_the_end(self) -> None:
        if self._ended and not self._resting and self._slots.idle and not self.disposed:
            self.end()

    def _give_up(self) -> None:
        """Fail what waits when the source has ended in a pause that nothing can end."""
        if self.disposed or not self._ended or self._slots.max_concurrent:
            return
        if self._slots.waiting and self._limit.over("max_concurrent"):
            try:
                each(self._paused_for_good, list(self._slots.take_waiting()))
            finally:
                self._look_for_the_end()

    def _paused_for_good(self, jobs: list[Job]) -> None:
        job = jobs.pop()
        outcome = failed(f"{self.book.name}: paused, and nothing can end the pause")
        delivery = self._delivery(job, outcome)
        self._finish(job, outcome)
        if not self.disposed:
            self.observer.on_next(delivery)

    def discard(self) -> None:
        self._limit.dispose()
        resting, self._resting = self._resting, {}
        for job in resting:
            if job.timer is not None:
                job.timer.dispose()
            self._finish(job, DISPOSED)
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
