"""So many seconds for what is behind it, and no more: then the sender hears, and sends again."""

from functools import partial
from typing import TYPE_CHECKING, Any

from reactivex import abc

from rxotlp._core.outcomes import Outcome, failed
from rxotlp.operators._described import described
from rxotlp.operators._shell import Operator, check_seconds, operator
from rxotlp.operators._turn import Turn
from rxotlp.operators._watched import Job, Watching, as_branch

if TYPE_CHECKING:
    from rxotlp.operators.export import Exporter

__all__ = ["time_limit"]


@described
def time_limit(
    limited: "Operator | Exporter",
    seconds: float,
    *,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Fail what an operator has not settled in time, and withdraw it.

    ```
    time_limit(export(backend, max_concurrent=1), 5)     backend takes four seconds
        source  -a-b------c----|
        result  -----A---B----C|     Deliveries: b failed at 8, its attempt ended at 9
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Rig, SlowRecorder
        >>> backend = SlowRecorder(4)
        >>> slow = ops.export(backend, max_concurrent=1)
        >>> with Rig(ops.time_limit(slow, 2)) as rig:
        ...     heard = rig.send([1]), rig.send([2])
        ...     rig.wait(9)
        >>> backend.recorder.calls, heard[1].outcome.reason
        ([[1]], 'time_limit: not settled within 2 s')

    Not called `timeout`: reactivex's operator of that name ends the stream when no element
    comes for so long, and this one never ends it.

    Args:
        limited: an operator, or an exporter, which is put in an `export` without retries.
            What follows it counts as well, until it is known what became of the element.
        seconds: from when an element comes, above 0. What is in there then fails (its sender
            sends it again) and is withdrawn: no attempt begins any more. One that is under way
            is not called back, so what is sent again may be doubled; `export(timeout=)`
            cancels attempts. An `export` in there stops trying again in time.
        name: the stage's name in the books; "time_limit" by default.
        scheduler: whose clock it uses, and where results of other schedulers are merged.

    Raises:
        ValueError, TypeError: `seconds` is out of its range, or `limited` is neither.

    What holds a late element holds it on, until it finds it withdrawn and books it as `failed`;
    a batch is sent without it. On completion and error, ends when `limited` has. On dispose,
    disposes it. If it ends by itself, what comes fails as `branch ended`. Holds nothing.
    Reorders nothing. A second subscription has times of its own.
    """
    branch = as_branch("time_limit(", limited)
    check_seconds("time_limit(..., seconds", seconds, why="what has no time cannot be in time")

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> _TimeLimit:
        return _TimeLimit(observer, turn, name, branch, seconds)

    return operator(build, scheduler)


class _TimeLimit(Watching):
    __slots__ = ("_branch", "_seconds", "_timers")

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        limited: Operator,
        seconds: float,
    ) -> None:
        super().__init__("time_limit", observer, turn, given=name)
        self._seconds = seconds
        self._timers: dict[Job, abc.DisposableBase] = {}
        self._branch = self.attach("limited", limited)

    def offer(self, job: Job) -> None:
        self._timers[job] = self.turn.later(self._seconds, partial(self._late, job))
        due = self.turn.seconds() + self._seconds
        self.give(job, self._branch, self._heard, due=due)

    def refuse(self, job: Job, outcome: Outcome) -> None:
        self._stop(job)
        super().refuse(job, outcome)

    def _heard(self, job: Job, outcome: Outcome) -> None:
        self._stop(job)
        self.pass_on(job, outcome)

    def _late(self, job: Job) -> None:
        self._stop(job)
        watch = job.watch
        if watch is not None and watch.give_up():  # else it settles just now
            self.pass_on(job, failed(f"{self.book.name}: not settled within {self._seconds:g} s"))

    def _stop(self, job: Job) -> None:
        timer = self._timers.pop(job, None)
        if timer is not None:
            timer.dispose()

    def discard(self) -> None:
        for timer in self._timers.values():
            timer.dispose()
        self._timers.clear()
        super().discard()
