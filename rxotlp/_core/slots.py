"""Who runs next, and whose result leaves next, when only so many may run at once.

    offer    an entry arrives; it starts if a slot and its key are free, else it waits
    finish   an entry's work is done; says which results leave and which entries start

Entries start by rank (see `priorities`), by default in order of arrival; entries of one key
one at a time and in order of arrival, whatever their ranks. With `ordered`, which goes with
one rank for all, results leave in order of arrival too, and an entry keeps its slot until
its result has left, so a slow one holds at most `max_concurrent - 1` finished results back.
That cannot lock up: the oldest entry that has not left is running, or waits for an older one
of its key, or is the next to start.

No threads, no tasks, no clock: the caller starts what it is told to start.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

from rxotlp._core.priorities import Priorities

__all__ = ["Entry", "Slots"]

T = TypeVar("T")


class Entry(Generic[T]):
    """One piece of work.

    Attributes:
        work: what the caller offered.
        key: entries of one key never run at the same time; None has no such bond.
        result: what `finish` was given.
    """

    __slots__ = ("finished", "key", "number", "rank", "result", "work")

    def __init__(self, work: T, key: Hashable, number: int, rank: float) -> None:
        self.work = work
        self.key = key
        self.number = number
        self.rank = rank
        self.finished = False
        self.result: Any = None


class Slots(Generic[T]):
    """Bounded concurrency as a state machine.

    Args:
        max_concurrent: entries that may run at once; 0 pauses, what runs goes on.
        ordered: results leave in order of arrival.
    """

    __slots__ = ("_behind", "_line", "_next", "_ordered", "_ready", "max_concurrent", "running")

    def __init__(self, max_concurrent: int, *, ordered: bool = False) -> None:
        self.max_concurrent = max_concurrent
        self.running = 0  # slots in use
        self._ordered = ordered
        self._next = 0
        self._ready: Priorities[Entry[T]] = Priorities()  # wait for a slot only
        self._behind: dict[Hashable, deque[Entry[T]]] = {}  # wait for one of their key
        self._line: deque[Entry[T]] = deque()  # all of them, in order, when ordered

    @property
    def waiting(self) -> int:
        """Entries that have not started."""
        return len(self._ready) + sum(map(len, self._behind.values()))

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not (self.running or self._ready)

    def offer(self, work: T, *, key: Hashable = None, rank: float = 0.0) -> list[Entry[T]]:
        """Add one. Returns the entries to start now (none or one)."""
        entry = Entry(work, key, self._next, rank)
        self._next += 1
        if self._ordered:
            self._line.append(entry)
        if key is not None:
            behind = self._behind.get(key)
            if behind is not None:
                behind.append(entry)
                return []
            self._behind[key] = deque()
        if self.running < self.max_concurrent:  # then nobody waits for a slot
            self.running += 1
            return [entry]
        self._ready.add(entry, rank, number=entry.number)
        return []

    def finish(self, entry: Entry[T], result: Any) -> tuple[list[Entry[T]], list[Entry[T]]]:
        """Record a result. Returns the entries that leave, in order, and those to start."""
        entry.finished = True
        entry.result = result
        if entry.key is not None:
            behind = self._behind[entry.key]
            if behind:
                following = behind.popleft()
                self._ready.add(following, following.rank, number=following.number)
            else:
                del self._behind[entry.key]
        if not self._ordered:
            self.running -= 1
            return [entry], self._start()
        leaving: list[Entry[T]] = []
        while self._line and self._line[0].finished:
            leaving.append(self._line.popleft())
            self.running -= 1
        return leaving, self._start()

    def set_limit(self, max_concurrent: int) -> list[Entry[T]]:
        """Change the limit. Lowering cancels nothing. Returns the entries to start."""
        self.max_concurrent = max_concurrent
        return self._start()

    def take_waiting(self) -> Iterator[T]:
        """Remove and yield everything that has not started, in order of arrival."""
        waiting = [*self._ready, *(entry for behind in self._behind.values() for entry in behind)]
        keep = {entry.key for entry in self._ready}
        self._ready.clear()
        for key in list(self._behind):
            self._behind[key].clear()
            if key in keep:  # its first entry never started
                del self._behind[key]
        for entry in sorted(waiting, key=_number):
            if self._ordered:
                self._line.remove(entry)
            yield entry.work

    def take_finished(self) -> Iterator[Entry[T]]:
        """Remove and yield what has finished and waits for older results."""
        for entry in [entry for entry in self._line if entry.finished]:
            self._line.remove(entry)
            self.running -= 1
            yield entry

    def _start(self) -> list[Entry[T]]:
        started: list[Entry[T]] = []
        while self.running < self.max_concurrent and self._ready:
            self.running += 1
            started.append(self._ready.pop())
        return started


def _number(entry: Entry[Any]) -> int:
    return entry.number
