"""Who waits least: the larger number first, and who has waited long enough before all.

An entry's rank is when it began to wait, less `ageing` seconds for each step of priority;
the smallest rank is next, and among equal ranks the one that came first. So an entry of
priority 3 stands where one of priority 0 would that came three times `ageing` earlier.

That is ageing, though nothing is ever sorted again: what every entry gains by waiting, all
of them gain alike, so two entries never change places. And it is why nobody starves: an
entry can be overtaken only by those that come at most

    (their priority - its own) * ageing      seconds

after it. Who comes later stands behind it, however important, and however many they are.

Entries of one priority keep their order. Taking and adding cost the logarithm of how many
wait. No clock: the caller says since when an entry waits; for a task that is when it is due.
"""

import heapq
from collections.abc import Iterator
from math import isfinite
from typing import Generic, TypeVar

__all__ = ["Priorities", "rank"]

T = TypeVar("T")


def rank(priority: float, *, since: float, ageing: float) -> float:
    """Where an entry stands; the smallest is next.

    Args:
        priority: a finite number; larger is sooner. True is 1.
        since: seconds, on any clock; only differences mean anything.
        ageing: seconds of waiting that weigh as much as one step of priority, above 0.

    Raises:
        TypeError, ValueError: the priority is no finite number.
    """
    try:
        finite = isfinite(priority)
    except TypeError:
        raise TypeError(
            f"priority {priority!r:.80}: expected a number, got {type(priority).__name__}"
        ) from None
    except OverflowError:
        finite = False
    if not finite:
        raise ValueError(
            f"priority {priority!r:.80}: expected a finite number; waiting would never outweigh it"
        )
    return since - float(priority) * ageing


class Priorities(Generic[T]):
    """Entries that wait, by rank."""

    __slots__ = ("_heap", "_next")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[T]:
        """Everything that waits, the next one first."""
        return (entry for _rank, _number, entry in sorted(self._heap, key=_place))

    def add(self, entry: T, rank: float, *, number: int | None = None) -> None:
        """Let one wait.

        Args:
            entry: never compared.
            rank: what `rank` made.
            number: its place among equal ranks, different from all others'; by default
                that of being added. Give it to all or to none.
        """
        if number is None:
            number = self._next
            self._next += 1
        heapq.heappush(self._heap, (rank, number, entry))

    def first(self) -> T:
        """The next one, which goes on waiting.

        Raises:
            IndexError: nobody waits.
        """
        return self._heap[0][2]

    def pop(self) -> T:
        """Take the next one.

        Raises:
            IndexError: nobody waits.
        """
        return heapq.heappop(self._heap)[2]

    def clear(self) -> None:
        """Nobody waits any more."""
        self._heap.clear()


def _place(held: tuple[float, int, object]) -> tuple[float, int]:
    return held[:2]
