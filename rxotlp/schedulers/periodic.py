"""One periodic action: its ticks lie on multiples of the period and never overlap."""

from collections.abc import Callable
from typing import Any

from reactivex import abc

from rxotlp.schedulers.timers import Item

__all__ = ["Periodic"]


class Periodic(abc.DisposableBase):
    """Arms the next tick when the last has run.

    Args:
        arm: `arm(due, action, state)`, the scheduler's way to arm a timer.
        clock: the scheduler's clock, nanoseconds.
        step: the period, nanoseconds.
        action: `state -> state`.
        state: what the first call is given.
    """

    __slots__ = ("_action", "_arm", "_clock", "_due", "_item", "_state", "_step")

    def __init__(
        self,
        arm: Callable[[int, Callable[..., Any], Any], Item],
        clock: Callable[[], int],
        step: int,
        action: Callable[[Any], Any],
        state: Any,
    ) -> None:
        self._arm = arm
        self._clock = clock
        self._step = step
        self._action: Callable[[Any], Any] | None = action
        self._state = state
        self._due = clock() + step
        self._item: Item | None = arm(self._due, self._tick, None)

    def _tick(self, _scheduler: abc.SchedulerBase, _none: None) -> None:
        action = self._action
        if action is None:
            return
        try:
            self._state = action(self._state)
        finally:
            self._next()

    def _next(self) -> None:
        if self._disposed():  # the action disposed of its own timer
            return
        late = max(0, self._clock() - self._due)
        self._due += self._step * (late // self._step + 1)
        item = self._arm(self._due, self._tick, None)
        self._item = item
        if self._disposed():  # meanwhile, on another thread
            item.dispose()

    def _disposed(self) -> bool:
        return self._action is None

    def dispose(self) -> None:
        """End it; a tick that runs finishes."""
        self._action = None
        item, self._item, self._state = self._item, None, None
        if item is not None:
            item.dispose()
