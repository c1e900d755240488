"""Each element to the first of several destinations that takes it.

Which one is next is decided by `_core.levels`. An element that fails at one goes on to the
next as the same bytes and with the same sender behind it, who hears of the last one alone.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from reactivex import abc
from reactivex.disposable import SerialDisposable

from rxotlp._core.levels import Choice, Levels
from rxotlp._core.outcomes import Kind, Outcome, failed, worst
from rxotlp.operators._branches import Branch
from rxotlp.operators._described import described
from rxotlp.operators._shell import Operator, check_seconds, operator
from rxotlp.operators._turn import Turn
from rxotlp.operators._watched import Job, Watching, answered, as_branch

if TYPE_CHECKING:
    from rxotlp.operators.export import Exporter

__all__ = ["failover"]

logger = logging.getLogger("rxotlp")


@described
def failover(
    levels: "Sequence[Operator | Exporter]",
    *,
    recover_after: float = 30.0,
    linger: float = 5.0,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Send each element to the first destination that takes it.

    ```
    failover([primary, secondary], recover_after=6)      primary is down for five seconds
        source     -a----b----c-|
        primary    -a---------c-|
        secondary  -a----b------|
        result     -(AA)-B----C-|     Deliveries: a failed, and was delivered elsewhere
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp import failed
        >>> from rxotlp.testing import Recorder, Rig
        >>> primary, secondary = Recorder(failed("down")), Recorder()
        >>> with Rig(ops.failover([primary, secondary])) as rig:
        ...     heard = rig.send([1]), rig.send([2])
        >>> primary.calls, secondary.calls, heard[0].outcome.kind.name
        ([[1]], [[1], [2]], 'DELIVERED')

    Args:
        levels: two or more, the most wanted first: operators, or exporters, which are put in
            an `export` without retries. An `export` that tries again for ever never fails,
            and so never lets go: give it `retry=None`, or a `limit`.
        recover_after: seconds after which a level that failed is tried again, above 0, or as
            long as it asked if that is longer: by one element, and by the others when that
            was taken or is not answered after as many seconds again.
        linger: once the source has ended, seconds without an answer after which a level is
            completed although the one before it has not answered for all.
        name: the stage's name in the books; "failover" by default.
        scheduler: whose clock it uses, and where results of other schedulers are merged.

    Raises:
        ValueError: fewer than two levels, or an argument is out of its range.
        TypeError: a level that is neither.

    A level takes an element that is delivered, filtered, dropped or rejected in it or in
    what follows; a rejection is an answer, and no other level is asked. One that fails goes
    to the next level, as a whole: what others of its parts delivered is delivered twice.
    When all levels are down, each is tried all the same. What has failed at every level
    fails, with the longest time that any asked to wait. What its sender withdraws meanwhile
    goes nowhere else.

    Changes are logged; `books["failover"].limits["level"]` is the position of the first level
    that is up, the number of levels when none is. What goes to another level is `created`.
    May reorder: what failed is later at the next level.

    On completion and error, levels are completed one after the other, so that what fails in
    one can still go to the next; ends when all have. On dispose, disposes every level; what
    they hold fails. A level that ends by itself is left out from then on. A second
    subscription has levels of its own.
    """
    if not isinstance(levels, Sequence):
        raise TypeError(
            f"failover({levels!r}): expected a list of operators or exporters, "
            f"got {type(levels).__name__}"
        )
    if len(levels) < 2:
        raise ValueError(
            f"failover() of {len(levels)} levels: expected 2 or more; there is nowhere else to go"
        )
    branches = [as_branch("failover(", level) for level in levels]
    check_seconds("failover(recover_after", recover_after, why="a level that failed needs a rest")
    check_seconds("failover(linger", linger, why="what is out needs time to settle")

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> _Failover:
        return _Failover(observer, turn, name, branches, recover_after, linger)

    return operator(build, scheduler)


class _Failover(Watching):
    __slots__ = ("_answers", "_completed", "_levels", "_linger", "_out", "_patience")

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        operators: list[Operator],
        recover_after: float,
        linger: float,
    ) -> None:
        super().__init__("failover", observer, turn, given=name)
        self._levels = Levels(len(operators), recover_after)
        self._linger = linger
        self._patience = SerialDisposable()
        self._out = [0] * len(operators)  # elements that each level has
        self._answers = 0
        self._completed = 0  # levels that were told the end
        self.book.limits["level"] = 0
        for at, level in enumerate(operators):
            self.attach(str(at), level)

    def offer(self, job: Job) -> None:
        self._send(job, frozenset(), None)

    def _send(self, job: Job, tried: frozenset[int], before: Outcome | None) -> None:
        """Give it to the next level; `before` is what it met at those that it has tried."""
        choice = self._levels.choose(self.turn.seconds(), tried | self._gone())
        if choice is None:
            text = f"{self.book.name}: branch ended: every level"
            self.refuse(job, before or failed(text))
            return
        self._out[choice[0]] += 1
        self.give(job, self.branches[choice[0]], partial(self._heard, choice, tried, before))

    def _heard(
        self,
        choice: Choice,
        tried: frozenset[int],
        before: Outcome | None,
        job: Job,
        outcome: Outcome,
    ) -> None:
        at = choice[0]
        self._out[at] -= 1
        self._answers += 1
        was_up = self._levels.up(at)
        self._levels.heard(
            choice, answered(outcome), self.turn.seconds(), asked=outcome.retry_after
        )
        if self._levels.up(at) is not was_up:
            self._changed(at, outcome)
        try:
            self._decide(job, tried | {at}, before, outcome)
        finally:
            self._complete_next()

    def _decide(
        self, job: Job, tried: frozenset[int], before: Outcome | None, outcome: Outcome
    ) -> None:
        if outcome.kind is not Kind.FAILED:
            self.pass_on(job, outcome)
            return
        met = outcome if before is None else worst(before, outcome)
        if len(tried | self._gone()) == len(self.branches) or job.over:
            self.pass_on(job, met)
        else:
            self.take_back(job)
            self._send(job, tried, met)

    def _gone(self) -> set[int]:
        """Levels that take nothing any more."""
        return {
            at
            for at, branch in enumerate(self.branches)
            if branch.closed or branch.entry is None or at < self._completed
        }

    def _changed(self, at: int, outcome: Outcome) -> None:
        first = self._levels.first_up
        self.book.limits["level"] = len(self.branches) if first is None else first
        where = "no level is up" if first is None else f"elements go to level {first}"
        if self._levels.up(at):
            logger.info("%s: level %d takes elements again; %s", self.book.name, at, where)
        else:
            logger.warning("%s: level %d failed: %s; %s", self.book.name, at, outcome.reason, where)

    # -- the end ----------------------------------------------------------------------------

    def finish(self) -> None:
        if self._open:
            self._wait_for_answers()
            self._complete_next()
        else:  # all of them have ended before
            self._maybe_end()

    def _complete_next(self) -> None:
        """Complete the levels that nothing can come to any more."""
        while self._ended and not self.disposed and self._completed < len(self.branches):
            before = self._completed
            if any(self._out[:before]) or not all(one.closed for one in self.branches[:before]):
                return
            self._complete_one()

    def _complete_one(self) -> None:
        branch = self.branches[self._completed]
        self._completed += 1
        if self._completed == len(self.branches):
            self._patience.dispose()
        entry = branch.entry
        if entry is not None and not branch.closed:
            if self._error is not None:
                entry.on_error(self._error)
            else:
                entry.on_completed()

    def _ended_by(self, branch: Branch, error: Exception | None) -> None:
        super()._ended_by(branch, error)
        if self._ended:
            self.turn.post(self._complete_next)  # behind what it has just answered for

    def _wait_for_answers(self) -> None:
        """What a level gave may be held by what follows until the end: not for ever."""
        before = self._answers

        def look() -> None:
            if self._answers == before and self._completed < len(self.branches):
                self._complete_one()
                self._complete_next()
            if self._completed < len(self.branches):
                self._wait_for_answers()

        self._patience.disposable = self.turn.later(self._linger, look)

    def discard(self) -> None:
        self._patience.dispose()
        super().discard()
