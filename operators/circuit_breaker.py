"""Stop asking a destination that does not answer. When, is decided by `_core.breaker`."""

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from reactivex import abc

from rxotlp._core.breaker import Breaker, State
from rxotlp._core.outcomes import Outcome, failed
from rxotlp.operators._described import described
from rxotlp.operators._shell import Operator, check_count, check_seconds, operator
from rxotlp.operators._turn import Turn
from rxotlp.operators._watched import Job, Watching, answered, as_branch

if TYPE_CHECKING:
    from rxotlp.operators.export import Exporter

__all__ = ["circuit_breaker"]

logger = logging.getLogger("rxotlp")


@described
def circuit_breaker(
    protected: "Operator | Exporter",
    *,
    failures: int = 5,
    open_for: float = 30.0,
    probes: int = 1,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Fail elements at once while what they go to fails anyway.

    ```
    circuit_breaker(export(backend), failures=2, open_for=4)     down, back after 5 seconds
        source  -a-b-c---d-|
        result  -A-B-----D-|     Deliveries: A and B failed, c never went there, D did
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp import failed
        >>> from rxotlp.testing import Recorder, Rig
        >>> backend = Recorder(failed("down"))
        >>> with Rig(ops.circuit_breaker(backend, failures=1)) as rig:
        ...     heard = rig.send([1]), rig.send([2])
        >>> backend.calls, heard[1].outcome.retry_after
        ([[1]], 30.0)

    Args:
        protected: an operator, or an exporter, which is put in an `export` without retries.
            What becomes of an element in there or in what follows is what counts: with
            retries, all of them together are one failure.
        failures: elements in a row that fail (are to be sent again) before it opens, 1 or
            more. A success and a rejection are answers and begin the row anew; what is
            filtered or dropped on the way says nothing.
        open_for: seconds for which it stays open, above 0, or for as long as the destination
            asked if that is longer. Elements fail at once meanwhile, with what is left of it
            as the time after which to try again.
        probes: elements that are let through at once afterwards, 1 or more. The first that
            succeeds closes it, the first that fails opens it again, and the others are told
            to try again within a second. One without an answer after `open_for` is forgotten.
        name: the stage's name in the books; "circuit_breaker" by default.
        scheduler: whose clock it uses, and where results of other schedulers are merged.

    Raises:
        ValueError, TypeError: an argument is out of its range, or `protected` is neither.

    Opening and closing is logged; `books["circuit_breaker"].limits["open"]` is 1 while it is
    open or half open. What was let through before it opened is not called back. A `queue`
    before it waits as long as it is told, and a refusal is one of its `max_attempts`.

    On completion and error, ends when `protected` has. On dispose, disposes it. If it ends
    by itself, what comes fails as `branch ended`. Holds nothing. Reorders nothing. A second
    subscription has a breaker of its own.
    """
    branch = as_branch("circuit_breaker(", protected)
    check_count("circuit_breaker(failures", failures, why="it would be open from the beginning")
    check_seconds("circuit_breaker(open_for", open_for, why="it would never be open")
    check_count("circuit_breaker(probes", probes, why="it could never close again")

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> _CircuitBreaker:
        breaker = Breaker(failures=failures, open_for=open_for, probes=probes)
        return _CircuitBreaker(observer, turn, name, branch, breaker)

    return operator(build, scheduler)


class _CircuitBreaker(Watching):
    __slots__ = ("_branch", "_breaker", "_seen")

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        protected: Operator,
        breaker: Breaker,
    ) -> None:
        super().__init__("circuit_breaker", observer, turn, given=name)
        self._breaker = breaker
        self._seen = State.CLOSED
        self.book.limits["open"] = 0
        self._branch = self.attach("protected", protected)

    def offer(self, job: Job) -> None:
        breaker = self._breaker
        wait = breaker.ask(self.turn.seconds())
        if wait is not None:
            reason = f"{self.book.name}: {breaker.state.value}"
            self.refuse(job, failed(reason, retry_after=wait))
            return
        if breaker.state is not self._seen:
            self._changed("")
        self.give(job, self._branch, partial(self._heard, breaker.ticket))

    def _heard(self, ticket: int, job: Job, outcome: Outcome) -> None:
        self._breaker.heard(
            ticket, answered(outcome), self.turn.seconds(), asked=outcome.retry_after
        )
        if self._breaker.state is not self._seen:
            self._changed(outcome.reason)
        self.pass_on(job, outcome)

    def _changed(self, reason: str) -> None:
        state = self._seen = self._breaker.state
        self.book.limits["open"] = int(state is not State.CLOSED)
        level = logging.WARNING if state is State.OPEN else logging.INFO
        said = f" after {reason}" if state is State.OPEN else ""
        logger.log(level, "%s is %s%s", self.book.name, state.value, said)
