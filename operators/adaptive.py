"""How many requests a destination bears at once, as a limit of `export` that learns it.

What is learnt from an answer is decided in `_core.aimd`; `export` tells it of every attempt.
"""

from dataclasses import dataclass

from rxotlp._core.aimd import Aimd
from rxotlp.operators._limits import Limit, Limited, check_limit
from rxotlp.operators._limits import initial as first_of
from rxotlp.operators._shell import check_count

__all__ = ["AdaptiveConcurrency", "adaptive_concurrency"]

DEFAULT_MAX = 128  # attempts; far above what one process needs, and still a bound


@dataclass(frozen=True, slots=True)
class AdaptiveConcurrency:
    """What `adaptive_concurrency` makes: settings, from which each `export` starts afresh."""

    initial: int
    min_concurrent: int
    max_concurrent: int | Limit
    decrease: float
    tolerance: float

    def begin(self) -> Aimd:
        """A limit that has learnt nothing yet."""
        aimd = Aimd(
            initial=self.initial,
            least=self.min_concurrent,
            decrease=self.decrease,
            tolerance=self.tolerance,
        )
        aimd.bound(first_of(self.max_concurrent))
        return aimd


def adaptive_concurrency(
    *,
    initial: int = 1,
    min_concurrent: int = 1,
    max_concurrent: Limited = DEFAULT_MAX,
    decrease: float = 0.85,
    tolerance: float = 1.5,
) -> AdaptiveConcurrency:
    """Let an `export` find out how many attempts its destination bears at once.

    ```
    export(exporter, max_concurrent=adaptive_concurrency())     four seconds an attempt
        source  (abcdefghijkl)|
        result  ----A---B---C---D---E---F---G---H---(IJ)(KL|)     one at a time, then two
    ```

    Additive increase, multiplicative decrease: 1 more a round that used the limit up and went
    well; less by `decrease` when an attempt fails (refused, unreachable, timed out); and as
    much less as drains its queue when the destination takes `tolerance` times as long as it
    does without one. Until the first of these the limit doubles. A rejection, which is about
    the data, changes nothing, and only successes are timed: refusals are quick.

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Rig, SlowRecorder
        >>> backend = SlowRecorder(0.1)
        >>> with Rig(ops.export(backend, max_concurrent=ops.adaptive_concurrency())) as rig:
        ...     for number in range(100):
        ...         heard = rig.send([number])
        ...     rig.clock.advance_by(10)
        ...     rig.books["export"].limits["max_concurrent"] > 4
        True

    Args:
        initial: the first limit. What the first round takes counts as the latency without a
            queue, so more than the destination bears would be learnt as normal.
        min_concurrent: what it never falls below, 1 or more: what sends nothing learns
            nothing.
        max_concurrent: what it never exceeds; or an Observable of numbers, or a `Limit`, as
            `DynamicScheduler.concurrency`: then the one learns within what the other allows.
        decrease: what a failure multiplies the limit by, above 0 and below 1.
        tolerance: how many times as long as without a queue an answer may take, above 1.
            More jitter wants more; 2 and above let a queue grow before it is noticed.

    Returns:
        What `max_concurrent=` of `export` takes. One may serve several exports: each learns
        for itself. `books["export"].limits["max_concurrent"]` shows the limit.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    It filters, drops and keeps nothing. A lowered limit cancels nothing.
    """
    call = "adaptive_concurrency"
    check_count(f"{call}(min_concurrent", min_concurrent, why="what sends nothing learns nothing")
    check_count(f"{call}(initial", initial, least=min_concurrent, why="min_concurrent is a bound")
    if isinstance(max_concurrent, int):
        check_count(f"{call}(max_concurrent", max_concurrent, least=initial, why="it is a bound")
    most = check_limit(
        f"{call}(max_concurrent", max_concurrent, default=DEFAULT_MAX, why="it is a bound"
    )
    if not _number(decrease) or not 0 < decrease < 1:
        raise ValueError(
            f"{call}(decrease={decrease!r}): expected above 0 and below 1; it is what is left"
        )
    if not _number(tolerance) or not 1 < tolerance < float("inf"):
        raise ValueError(
            f"{call}(tolerance={tolerance!r}): expected above 1; nothing is faster than usual "
            "for ever"
        )
    return AdaptiveConcurrency(initial, min_concurrent, most, decrease, tolerance)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
