"""Which task runs next: what is due, by priority, and nobody waits for ever.

    later    not due yet, by due time; whatever their priority, they keep nobody waiting
    ready    due, by `priorities.rank`: the more important first, who waits long enough before
             all, and equal ones in order of due time, then of arrival

What is due mostly comes in the order in which it will be taken, or in a few such orders, one a
priority. So `ready` is a few lines, each in order: an entry goes to the end of the first line
whose last one is before it, and only what no line can take goes into a heap. The next one is at
the head of a line or of the heap, so a million that wait cost hardly more than a thousand.

No threads, no clock: the caller says what time it is, in seconds.
"""

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar, cast

from rxotlp._core.priorities import rank

__all__ = ["Entry", "TaskQueue"]

T = TypeVar("T")

# [place, number, task, due, priority]: a list, so that a heap compares entries without calling
# anything. The place is the rank, or while it is not due yet when it is; the number is that of
# its arrival, different from all others', so that tasks are never compared. The task is None
# once it was taken or cancelled.
Entry = list[Any]
PLACE, NUMBER, TASK, DUE, PRIORITY = range(5)


LINES = 8


class TaskQueue(Generic[T]):
    """Tasks that wait.

    Args:
        ageing: seconds of waiting that weigh as much as one step of priority.
    """

    __slots__ = ("_ageing", "_gone", "_heap", "_later", "_lines", "_number", "_size")

    def __init__(self, *, ageing: float) -> None:
        self._ageing = ageing
        self._later: list[Entry] = []
        self._heap: list[Entry] = []
        self._lines: list[deque[Entry]] = []
        self._number: Callable[[], int] = itertools.count().__next__
        self._size = 0
        self._gone = 0  # cancelled, and still in its place

    def __len__(self) -> int:
        return self._size

    def entry(self, task: T, *, due: float, priority: float) -> Entry:
        """An entry for `put`; it takes its number, and so its place among equal ones, now.

        Raises:
            TypeError, ValueError: the priority is no finite number.
        """
        place = rank(priority, since=due, ageing=self._ageing)
        return [place, self._number(), task, due, priority]

    def put(self, entry: Entry, now: float) -> None:
        """Let an entry wait."""
        if entry[DUE] <= now:
            self._line_up(entry)
        else:
            entry[PLACE] = entry[DUE]
            heappush(self._later, entry)
        self._size += 1

    def add(self, task: T, *, due: float, priority: float, now: float) -> Entry:
        """Let a task wait.

        Raises:
            TypeError, ValueError: the priority is no finite number.
        """
        entry = self.entry(task, due=due, priority=priority)
        self.put(entry, now)
        return entry

    def cancel(self, entry: Entry) -> bool:
        """Take one out before its turn; False when it has been taken already."""
        if entry[TASK] is None:
            return False
        entry[TASK] = None  # its place goes when it is passed, or with many others
        self._size -= 1
        self._gone += 1
        if self._gone > max(64, self._size):
            self._compact()
        return True

    def take(self, now: float) -> T | None:
        """Take the next task that is due; None when none is."""
        later = self._later
        while later and later[0][PLACE] <= now:
            entry = heappop(later)
            if entry[TASK] is None:
                self._gone -= 1
            else:
                entry[PLACE] = rank(entry[PRIORITY], since=entry[DUE], ageing=self._ageing)
                self._line_up(entry)
        while (source := self._first()) is not None:
            entry = self._pop(source)
            task: T | None = entry[TASK]
            if task is not None:
                entry[TASK] = None
                self._size -= 1
                return task
            self._gone -= 1
        return None

    def next_due(self) -> float | None:
        """When the next task is due; None without one; long ago when one is ready."""
        while (source := self._first()) is not None:
            if source[0][TASK] is not None:
                due: float = source[0][DUE]
                return due
            self._pop(source)
            self._gone -= 1
        later = self._later
        while later and later[0][TASK] is None:
            heappop(later)
            self._gone -= 1
        return later[0][DUE] if later else None

    def take_all(self) -> list[T]:
        """Take everything, due or not, the next one first."""
        ready = sorted(itertools.chain(self._heap, *self._lines))
        tasks = []
        for entry in (*ready, *sorted(self._later)):
            task, entry[TASK] = entry[TASK], None
            if task is not None:
                tasks.append(task)
        self._lines.clear()
        self._heap.clear()
        self._later.clear()
        self._size = self._gone = 0
        return tasks

    # -- what is due -------------------------------------------------------------------------

    def _line_up(self, entry: Entry) -> None:
        lines = self._lines
        for line in lines:
            if line[-1] < entry:
                line.append(entry)
                return
        if len(lines) < LINES:
            lines.append(deque((entry,)))
        else:
            heappush(self._heap, entry)

    def _first(self) -> Sequence[Entry] | None:
        """The line, or the heap, whose head is next; None when nothing is due."""
        first: Sequence[Entry] | None = self._heap or None
        for line in self._lines:  # none is empty
            if first is None or line[0] < first[0]:
                first = line
        return first

    def _pop(self, source: Sequence[Entry]) -> Entry:
        if source is self._heap:
            return heappop(self._heap)
        line = cast(deque[Entry], source)
        entry = line.popleft()
        if not line:
            self._lines = [one for one in self._lines if one]
        return entry

    def _compact(self) -> None:
        """Give back the places of those that were cancelled, or they wait as long as the rest."""
        self._later = [entry for entry in self._later if entry[TASK] is not None]
        heapify(self._later)
        self._heap = [entry for entry in self._heap if entry[TASK] is not None]
        heapify(self._heap)
        kept = (deque(entry for entry in line if entry[TASK] is not None) for line in self._lines)
        self._lines = [line for line in kept if line]
        self._gone = 0
