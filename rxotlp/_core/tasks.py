"""Which task runs next: what is due, by priority, and nobody waits for ever.

    later    not due yet, by due time; whatever their priority, they keep nobody waiting
    ready    due, by `priorities.rank`: the more important first, who waits long enough before
             all, and equal ones in order of due time, then of arrival

No threads, no clock: the caller says what time it is, in seconds.
"""

import heapq
import itertools
from typing import Generic, TypeVar

from rxotlp._core.priorities import Priorities, rank

__all__ = ["TaskQueue"]

T = TypeVar("T")


class Entry(Generic[T]):
    """One task in the queue.

    Attributes:
        task: what the caller added; None once it was taken or cancelled.
        due: seconds.
        priority: larger is sooner.
    """

    __slots__ = ("due", "number", "priority", "task")

    def __init__(self, task: T, due: float, priority: float, number: int) -> None:
        self.task: T | None = task
        self.due = due
        self.priority = priority
        self.number = number


class TaskQueue(Generic[T]):
    """Tasks that wait.

    Args:
        ageing: seconds of waiting that weigh as much as one step of priority.
    """

    __slots__ = ("_ageing", "_compact_at", "_later", "_number", "_ready", "_size")

    def __init__(self, *, ageing: float) -> None:
        self._ageing = ageing
        self._later: list[tuple[float, int, Entry[T]]] = []
        self._ready: Priorities[Entry[T]] = Priorities()
        self._number = itertools.count()
        self._size = 0
        self._compact_at = 64

    def __len__(self) -> int:
        return self._size

    def add(self, task: T, *, due: float, priority: float, now: float) -> Entry[T]:
        """Let one wait.

        Raises:
            TypeError, ValueError: the priority is no finite number.
        """
        place = rank(priority, since=due, ageing=self._ageing)
        entry = Entry(task, due, priority, next(self._number))
        if due <= now:
            self._ready.add(entry, place, number=entry.number)
        else:
            heapq.heappush(self._later, (due, entry.number, entry))
        self._size += 1
        if len(self._later) > self._compact_at:
            self._compact()
        return entry

    def cancel(self, entry: Entry[T]) -> bool:
        """Take one out before its turn; False when it has been taken already."""
        if entry.task is None:
            return False
        entry.task = None  # its place goes when it is passed, or with the next compaction
        self._size -= 1
        return True

    def take(self, now: float) -> T | None:
        """Take the next task that is due; None when none is."""
        later = self._later
        while later and later[0][0] <= now:
            entry = heapq.heappop(later)[2]
            if entry.task is not None:
                place = rank(entry.priority, since=entry.due, ageing=self._ageing)
                self._ready.add(entry, place, number=entry.number)
        while self._ready:
            entry = self._ready.pop()
            task, entry.task = entry.task, None
            if task is not None:
                self._size -= 1
                return task
        return None

    def next_due(self) -> float | None:
        """When the next task is due; None without one; long ago when one is ready."""
        while self._ready and self._ready.first().task is None:
            self._ready.pop()
        if self._ready:
            return self._ready.first().due
        later = self._later
        while later and later[0][2].task is None:
            heapq.heappop(later)
        return later[0][0] if later else None

    def take_all(self) -> list[T]:
        """Take everything, due or not, the next one first."""
        entries = [*self._ready, *(entry for *_, entry in sorted(self._later, key=_place))]
        self._ready.clear()
        self._later.clear()
        self._size = 0
        tasks = []
        for entry in entries:
            task, entry.task = entry.task, None
            if task is not None:
                tasks.append(task)
        return tasks

    def _compact(self) -> None:
        self._later = [place for place in self._later if place[2].task is not None]
        heapq.heapify(self._later)
        self._compact_at = max(64, 2 * len(self._later))


def _place(held: tuple[float, int, object]) -> tuple[float, int]:
    return held[:2]
