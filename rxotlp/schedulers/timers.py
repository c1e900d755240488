"""Scheduled actions, and the order in which timers fall due. No threads, no clock.

`Timers.add` may be called from any thread and only appends: the heap itself is touched by
whoever holds the scheduler's turn, so no lock is needed. A cancelled timer lets go of its
action at once and of its place in the heap when the heap has doubled, so cancelled timers
cost at most as much room as live ones, and cancelling needs no search.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from reactivex import abc

__all__ = ["NEVER", "Item", "Timers"]

NEVER = 1 << 63  # nanoseconds; later than any clock here will read

_SMALL = 64  # a heap up to this size is not worth compacting

_next_order = itertools.count().__next__


class Item(abc.DisposableBase):
    """One scheduled action and the handle that cancels it.

    Attributes:
        action: what to run; None once it has begun or was cancelled.
        origin: the thread on whose behalf it runs, 0 for nobody's (timers).
        due: nanoseconds of the scheduler's clock; 0 for an action without a time.
    """

    __slots__ = ("_context", "_disposed", "_result", "_state", "action", "due", "order", "origin")

    def __init__(
        self, action: Callable[..., Any], state: Any, *, origin: int = 0, due: int = 0
    ) -> None:
        self.action: Callable[..., Any] | None = action
        self.origin = origin
        self.due = due
        self.order = _next_order()
        self._state = state
        self._context: Context | None = copy_context()
        self._result: abc.DisposableBase | None = None
        self._disposed = False

    def run(self, scheduler: abc.SchedulerBase) -> None:
        """Run the action once, unless it was cancelled."""
        action, state, context = self.action, self._state, self._context
        if action is None or context is None:
            return
        self._let_go()
        result = context.run(action, scheduler, state)
        if isinstance(result, abc.DisposableBase):
            self._result = result
            if self._disposed:  # cancelled while it ran
                result.dispose()

    def dispose(self) -> None:
        """Cancel it; once it has run, dispose what the action returned."""
        self._disposed = True
        self._let_go()
        result, self._result = self._result, None
        if result is not None:
            result.dispose()

    def _let_go(self) -> None:
        # The action and its state may hold telemetry, whose sender waits for its end.
        self.action = None
        self._state = None
        self._context = None


class Timers:
    """Timers in order of their due time, then of their arming.

    Attributes:
        arrived: timers armed since the last `take_due`, from any thread.
    """

    __slots__ = ("_compact_at", "_heap", "arrived")

    def __init__(self) -> None:
        self.arrived: deque[Item] = deque()
        self._heap: list[tuple[int, int, Item]] = []
        self._compact_at = _SMALL

    def add(self, item: Item) -> None:
        """Arm a timer. Safe from any thread."""
        self.arrived.append(item)

    def take_due(self, now: int) -> list[Item]:
        """Sort in what arrived; remove and return what is due. Only in the turn."""
        heap = self._heap
        arrived = self.arrived
        while arrived:
            item = arrived.popleft()
            if item.action is not None:
                heapq.heappush(heap, (item.due, item.order, item))
                if len(heap) > self._compact_at:
                    self._compact()
        due: list[Item] = []
        while heap and (heap[0][2].action is None or heap[0][0] <= now):
            item = heapq.heappop(heap)[2]
            if item.action is not None:
                due.append(item)
        return due

    @property
    def next_due(self) -> int:
        """When the first timer in the heap is due, NEVER without one. Only in the turn."""
        heap = self._heap
        while heap and heap[0][2].action is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else NEVER

    def _compact(self) -> None:
        self._heap[:] = [entry for entry in self._heap if entry[2].action is not None]
        heapq.heapify(self._heap)
        self._compact_at = max(_SMALL, 2 * len(self._heap))

    def discard(self) -> int:
        """Cancel every timer; returns how many there were. Only in the turn."""
        entries = [*self.arrived, *(entry[2] for entry in self._heap)]
        self.arrived.clear()
        self._heap.clear()
        self._compact_at = _SMALL
        live = [item for item in entries if item.action is not None]
        for item in live:
            item.dispose()
        return len(live)

    @property
    def room(self) -> int:
        """Entries in memory, cancelled ones that still have a place included."""
        return len(self._heap) + len(self.arrived)

    def __len__(self) -> int:
        live = [*self.arrived, *(entry[2] for entry in self._heap.copy())]
        return sum(item.action is not None for item in live)
