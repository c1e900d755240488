"""A limit of a flow that an Observable may change; what a value means is `_core.limits`.

A flow is no subscription, so it follows its limit while it has something to do: from the
first group that arrives until none is left. What the last value said holds until then.
"""

import logging
from collections.abc import Callable

from reactivex import abc

from rxotlp._core.limits import Level
from rxotlp.operators._limits import Limit, initial
from rxotlp.schedulers import SerialScheduler

__all__ = ["Following"]

logger = logging.getLogger("rxotlp")


class Following:
    """Follows one limit, in the scheduler's turn.

    Args:
        limit: a number, or what changes it.
        changed: told in the turn when the limit or `over` has changed.

    Attributes:
        over: the limit stays what it is.
    """

    __slots__ = ("_changed", "_level", "_limit", "_scheduler", "_subscription", "_warned", "over")

    def __init__(
        self, limit: int | Limit, scheduler: SerialScheduler, changed: Callable[[int], object]
    ) -> None:
        self._limit = limit
        self._scheduler = scheduler
        self._changed = changed
        self._level = Level(initial(limit))
        self._subscription: abc.DisposableBase | None = None
        self._warned = False
        self.over = not isinstance(limit, Limit)

    def begin(self) -> None:
        """Follow, unless it does already; in the turn."""
        if self._subscription is None and isinstance(self._limit, Limit):
            self.over = False
            self._subscription = self._limit.values.subscribe(
                self._on_next, self._on_error, self._on_completed, scheduler=self._scheduler
            )
            self._tell()  # what it said at once holds for the first group already

    def end(self) -> None:
        """Follow no longer, until `begin`."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.dispose()

    def _on_next(self, value: object) -> None:
        if self._level.offer(value):
            self._scheduler.post(self._tell)
        elif not self._warned:
            self._warned = True
            logger.warning(
                "ParallelExecutionFlow: ignored %.80r as concurrency_limit: expected a finite "
                "number of 0 or more; more of these are ignored too",
                value,
            )

    def _on_error(self, error: Exception) -> None:
        logger.warning(
            "ParallelExecutionFlow: the values of concurrency_limit failed, so it stays %d: %s",
            self._level.value,
            error,
        )
        self._on_completed()

    def _on_completed(self) -> None:
        self._scheduler.post(self._last)  # behind the last value

    def _last(self) -> None:
        self.over = True
        self._tell()

    def _tell(self) -> None:
        self._changed(self._level.value)
