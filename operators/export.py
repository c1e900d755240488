"""Delivery to an exporter: what it is given and what comes of it. `_delivering` does it."""

import random
from collections.abc import Awaitable
from typing import Any, Protocol

from reactivex import abc

from rxotlp._core.outcomes import Outcome
from rxotlp._core.retrying import Retry, Retrying
from rxotlp.data import TelemetryData
from rxotlp.operators._delivering import Delivering
from rxotlp.operators._described import described
from rxotlp.operators._job import Delivery
from rxotlp.operators._limits import Limit, Limited, check_limit
from rxotlp.operators._shell import Operator, Shell, check_seconds, operator
from rxotlp.operators._turn import Turn
from rxotlp.operators.adaptive import AdaptiveConcurrency

__all__ = ["Delivery", "Exporter", "Retry", "export"]

DEFAULT_MAX_CONCURRENT = 8
DEFAULT_RETRY = Retry()

# Its own, so that nobody's seeded sequence depends on it, and no two forks throw the same.
_dice = random.SystemRandom()


class Exporter(Protocol):
    """What `export` needs of an exporter.

    `export` makes one attempt and says what became of it; it may be plain and quick, plain
    and blocking (`blocking = True`: it runs in the scheduler's pool) or `async def`. The
    element it gets has no receipt: keeping it holds nobody up. A retry brings the same
    object again. `rejected(..., cause=Cause.BAD_DATA)` and `Cause.TOO_LARGE` have it come
    again in parts.
    """

    def export(self, data: TelemetryData, /) -> Outcome | Awaitable[Outcome]:
        """Deliver one element."""


@described
def export(
    exporter: Exporter,
    *,
    max_concurrent: Limited | AdaptiveConcurrency = DEFAULT_MAX_CONCURRENT,
    retry: Retry | None = DEFAULT_RETRY,
    timeout: float | None = None,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Deliver each element, trying again what fails, and emit a `Delivery` for it.

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
        retry: when to try again what failed, see `Retry`; None leaves that to the sender.
            An element rests outside of the attempts under way. When senders wait for its
            answer, it is given up in time for the first of them, and they send again; what
            an acknowledgement point (`queue`) has taken is tried until `Retry.limit`. What
            its source offers again by itself (files, iterables, the SDK's buffer) is not
            tried again here.
        timeout: seconds an attempt may take before it is cancelled and booked as failed;
            None leaves it to the exporter. A blocking exporter cannot be cancelled: it runs
            on, and what it reports afterwards is ignored.
        name: the stage's name in the books; "export" by default.
        scheduler: where async exporters run and deliveries are emitted.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    What a destination refuses as too large is cut; of what it refuses as bad, a batch of
    several requests, the bad ones are isolated by halves and rejected, the others delivered.
    Each part is tried again by itself and has a `Delivery`, and its senders hear of nothing
    else. What was sent once is not encoded again.

    On completion and error, what runs, rests and waits is delivered first, a pause included,
    and what rests is tried at once unless the destination named the time; what waits in a
    pause that nothing can end, because its Observable has, fails as retryable. On dispose,
    what runs finishes and is reported, and what rests or waits fails as `disposed`, which is
    how a drain that is out of time ends a pause. A delivery holds no telemetry.
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
    if retry is not None and not isinstance(retry, Retry):
        raise TypeError(f"export(retry={retry!r}): expected a Retry or None")
    retrying = None if retry is None else Retrying(retry, _dice.random)
    if timeout is not None:
        check_seconds("export(timeout", timeout, why="an attempt needs time")

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> Shell:
        return Delivering(observer, turn, name, exporter, limit, retrying, timeout)

    return operator(build, scheduler, exporter=exporter)
