"""Let no more items a second through than what follows was promised."""

from collections import deque
from typing import Any

from reactivex import abc

from rxotlp._core.outcomes import failed
from rxotlp._core.pacing import Bucket
from rxotlp.data import TelemetryData
from rxotlp.operators._described import described
from rxotlp.operators._shell import Operator, Shell, check_count, operator
from rxotlp.operators._turn import Turn
from rxotlp.shares import Share

__all__ = ["rate_limit"]

_POLICIES = ("wait", "reject", "drop")


@described
def rate_limit(
    items_per_second: float,
    *,
    burst: int | None = None,
    when_over: str = "wait",
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Let so many items a second through, on average.

    ```
    rate_limit(0.5, burst=1)          one item every two seconds
        source  -abc---|
        result  -A-B-C-|
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Rig, draw
        >>> with Rig(ops.rate_limit(0.5, burst=1)) as rig:
        ...     heard = rig.play("-abc---|")
        >>> draw(rig.happened)
        '-a-b-c-|'

    Args:
        items_per_second: above 0; a token bucket that begins full.
        burst: items that may pass at once after a silence, 1 or more; by default those of a
            second. An element of more passes when the bucket is full, and what follows it
            waits for the rest.
        when_over: what becomes of an element that is too early. "wait" keeps it, its sender
            waiting and its credit held, which bounds what waits; "reject" fails it, so its
            sender tries again when there is room; "drop" drops it.
        name: the stage's name in the books; "rate_limit" by default.
        scheduler: whose clock is read, and where elements that waited leave.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    Order is kept, and elements are never cut. One whose sender was told meanwhile to send
    again does not leave. On completion and error, what waits leaves in its time, then the
    end. On dispose, it fails as `disposed`.
    """
    if isinstance(items_per_second, bool) or not isinstance(items_per_second, int | float):
        raise TypeError(
            f"rate_limit({items_per_second!r}): expected a number, "
            f"got {type(items_per_second).__name__}"
        )
    if not 0 < items_per_second < float("inf"):
        raise ValueError(
            f"rate_limit({items_per_second}): expected items a second above 0; "
            "nothing could ever pass"
        )
    if burst is not None:
        check_count("rate_limit(burst", burst, why="nothing could ever pass")
    if when_over not in _POLICIES:
        raise ValueError(
            f"rate_limit(when_over={when_over!r}): expected one of "
            f"{', '.join(map(repr, _POLICIES))}"
        )
    most = max(1.0, items_per_second) if burst is None else float(burst)

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> Shell:
        return _RateLimit(observer, turn, name, Bucket(items_per_second, most), when_over)

    return operator(build, scheduler)


class _RateLimit(Shell):
    __slots__ = ("_bucket", "_holding", "_timer", "_waiting", "_when_over")

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        bucket: Bucket,
        when_over: str,
    ) -> None:
        self._holding = 0
        super().__init__("rate_limit", observer, turn, given=name)
        self._bucket = bucket
        self._when_over = when_over
        self._waiting: deque[TelemetryData] = deque()
        self._timer: abc.DisposableBase | None = None

    def held(self) -> int:
        return self._holding

    def on_next(self, data: TelemetryData) -> None:
        cell = [self.take(data)]
        del data
        share = cell[0]._share
        assert share is not None
        self._holding += share.items
        share.hold()
        self.turn.enter(lambda: self._add(cell))

    def _add(self, cell: list[TelemetryData]) -> None:
        share = cell[0]._share
        assert share is not None
        if self.disposed:
            self._let_go(cell[0])
            self.fail_disposed(share)
            return
        seconds = self._bucket.wait(share.items, self.turn.seconds())
        if not seconds and not self._waiting:
            self._pass(cell)
        elif self._when_over == "wait":
            self._waiting.append(cell.pop())
            self._wait()
        else:
            self._let_go(cell[0])
            reason = f"{self.book.name}: more items than may pass"
            if self._when_over == "drop":
                self.drop(share, reason)
            else:
                share.verdict(failed(reason, retry_after=seconds))
                self.book.failed += share.items

    def _pass(self, cell: list[TelemetryData]) -> None:
        share = self._let_go(cell[0])
        self._bucket.spend(share.items)
        del share
        self.emit(cell)

    def _let_go(self, data: TelemetryData) -> Share:
        share = data._share
        assert share is not None
        self._holding -= share.items
        share.release()
        return share

    def _wait(self) -> None:
        """Have a timer for the first that waits."""
        if self._timer is None and self._waiting:
            share = self._waiting[0]._share
            assert share is not None
            seconds = self._bucket.wait(share.items, self.turn.seconds())
            self._timer = self.turn.later(seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        try:
            while self._waiting and self._first_leaves():
                pass
        finally:  # also when an observer raised: the others have their time all the same
            self._wait()
            if self._ended and not self._waiting and not self.disposed:
                self.end()

    def _first_leaves(self) -> bool:
        share = self._waiting[0]._share
        assert share is not None
        if share.withdrawn:
            self._let_go(self._waiting.popleft())
            share.verdict(failed("withdrawn: its sender was told to send again"))
            self.book.failed += share.items
        elif self._bucket.wait(share.items, self.turn.seconds()):
            return False
        else:
            self._pass([self._waiting.popleft()])
        return True

    def finish(self) -> None:
        if not self._waiting:
            self.end()

    def discard(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.dispose()
        while self._waiting:
            self.fail_disposed(self._let_go(self._waiting.popleft()))
