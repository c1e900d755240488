"""Who is in a bounded queue, who waits outside it, and who is lost when it is full.

    offer --> ready --next--> out --leave-->            settled: its room is free
     |          ^              |
     v          +--- due ---- rests                     failed: offered again later
    outside --admit--> ready

What is ready, out or rests takes room; what waits outside does not. So the queue bounds
everything that it answers for, also what it has handed over and nobody has reported yet.

When something does not fit, `offer` answers by the policy:

    "wait"         OUTSIDE; it comes in, in order, when `admit` finds room
    "reject"       FULL
    "drop_newest"  FULL
    "drop_oldest"  ENTERED, and what was pushed out for it: first what has rested longest,
                   then what has been ready longest. What is out cannot be pushed out; when
                   the room of all others would not do, FULL, and nobody is lost in vain.

What is larger than the whole queue is TOO_LARGE whatever the policy.

With `ranked`, what is ready goes out by rank (see `priorities`), and what waits outside comes
in by rank: so the important overtake others outside too, by as much as ageing lets them.
What rested keeps its rank.

No clock: the caller arms a timer for what rests and calls `due`. No threads: one caller.
"""

import enum
from collections import OrderedDict, deque
from typing import Generic, Literal, TypeVar

from rxotlp._core.priorities import Priorities

__all__ = ["POLICIES", "Answer", "Entry", "Line", "delay"]

POLICIES = ("wait", "reject", "drop_newest", "drop_oldest")

T = TypeVar("T")


class Answer(enum.Enum):
    """What became of an offer."""

    ENTERED = "entered"
    OUTSIDE = "outside"
    FULL = "full"
    TOO_LARGE = "too large"


class Entry(Generic[T]):
    """One element's place.

    Attributes:
        work: what the caller offered.
        items: room it takes, in items.
        size: room it takes, in bytes.
        attempts: how often it was out.
        rank: its place in a ranked line.
    """

    __slots__ = ("attempts", "items", "rank", "size", "work")

    def __init__(self, work: T, items: int, size: int, rank: float = 0.0) -> None:
        self.work = work
        self.items = items
        self.size = size
        self.attempts = 0
        self.rank = rank


class _Ranked(Priorities[Entry[T]]):
    """As much of a deque as a `Line` needs, by rank."""

    __slots__ = ()

    def append(self, entry: Entry[T]) -> None:
        self.add(entry, entry.rank)

    def popleft(self) -> Entry[T]:
        return self.pop()

    def __getitem__(self, _at: Literal[0]) -> Entry[T]:
        return self.first()


class Line(Generic[T]):
    """A bounded queue as a state machine.

    Args:
        max_items: room in items, 1 or more.
        max_bytes: room in bytes, 1 or more.
        when_full: one of `POLICIES`.
        max_out: how many entries may be out at once; None for as many as there are.
        ranked: by rank instead of in order; not with "drop_oldest".
    """

    __slots__ = (
        "_max_bytes",
        "_max_items",
        "_max_out",
        "_outside",
        "_ready",
        "_resting",
        "_when_full",
        "here_items",
        "here_size",
        "items",
        "out",
        "size",
    )

    def __init__(
        self,
        *,
        max_items: int,
        max_bytes: int,
        when_full: str,
        max_out: int | None = None,
        ranked: bool = False,
    ) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._max_out = max_out
        self._outside: deque[Entry[T]] | _Ranked[T] = _Ranked() if ranked else deque()
        self._ready: deque[Entry[T]] | _Ranked[T] = _Ranked() if ranked else deque()
        # In the order in which they failed; finding the first of a dict takes as long as what
        # was before it.
        self._resting: OrderedDict[Entry[T], None] = OrderedDict()
        self.items = self.size = 0  # room taken
        self.here_items = self.here_size = 0  # of that, by what is not out
        self.out = 0

    @property
    def idle(self) -> bool:
        """Nothing waits here, in whatever state; something may be out."""
        return not (self._ready or self._resting or self._outside)

    def offer(self, entry: Entry[T]) -> tuple[Answer, list[Entry[T]]]:
        """Add one. Returns what became of it, and who was pushed out for it."""
        if entry.items > self._max_items or entry.size > self._max_bytes:
            return Answer.TOO_LARGE, []
        if not self._outside and self._fits(entry, 0, 0):
            self._enter(entry)
            return Answer.ENTERED, []
        if self._when_full == "wait":
            self._outside.append(entry)
            return Answer.OUTSIDE, []
        if self._when_full != "drop_oldest" or not self._fits(
            entry, self.here_items, self.here_size
        ):
            return Answer.FULL, []
        lost: list[Entry[T]] = []
        while not self._fits(entry, 0, 0):
            lost.append(self._push_out())
        self._enter(entry)
        return Answer.ENTERED, lost

    @property
    def outside(self) -> Entry[T] | None:
        """Who is the next to come in from outside."""
        return self._outside[0] if self._outside else None

    def admit(self) -> bool:
        """Let the next one in from outside. False when there is no room for it."""
        if not self._fits(self._outside[0], 0, 0):
            return False
        self._enter(self._outside.popleft())
        return True

    def turn_away(self) -> None:
        """The next one outside has given up."""
        self._outside.popleft()

    def next(self) -> Entry[T] | None:
        """Hand one over, if one is ready and may go out."""
        if not self._ready or (self._max_out is not None and self.out >= self._max_out):
            return None
        entry = self._ready.popleft()
        self.here_items -= entry.items
        self.here_size -= entry.size
        self.out += 1
        entry.attempts += 1
        return entry

    def rest(self, entry: Entry[T]) -> None:
        """What was out came back; it keeps its room and rests until `due`."""
        self.out -= 1
        self.here_items += entry.items
        self.here_size += entry.size
        self._resting[entry] = None

    def due(self, entry: Entry[T]) -> None:
        """It has rested enough and is ready again, behind the others."""
        del self._resting[entry]
        self._ready.append(entry)

    def leave(self, entry: Entry[T]) -> None:
        """What was out is done with."""
        self.out -= 1
        self.items -= entry.items
        self.size -= entry.size

    def clear(self) -> tuple[list[Entry[T]], list[Entry[T]]]:
        """Empty it. Returns who was in it and not out, and who waited outside."""
        inside = [*self._resting, *self._ready]
        outside = list(self._outside)
        self._resting.clear()
        self._ready.clear()
        self._outside.clear()
        self.items -= self.here_items
        self.size -= self.here_size
        self.here_items = self.here_size = 0
        return inside, outside

    def _fits(self, entry: Entry[T], free_items: int, free_size: int) -> bool:
        return (
            self.items - free_items + entry.items <= self._max_items
            and self.size - free_size + entry.size <= self._max_bytes
        )

    def _enter(self, entry: Entry[T]) -> None:
        self._ready.append(entry)
        self.items += entry.items
        self.size += entry.size
        self.here_items += entry.items
        self.here_size += entry.size

    def _push_out(self) -> Entry[T]:
        if self._resting:
            entry, _ = self._resting.popitem(last=False)
        else:
            entry = self._ready.popleft()
        self.items -= entry.items
        self.size -= entry.size
        self.here_items -= entry.items
        self.here_size -= entry.size
        return entry


def delay(attempts: int, backoff: float, max_backoff: float, retry_after: float | None) -> float:
    """Seconds to rest after that many attempts: doubling, and never less than was asked for."""
    # The exponent is bounded because 2.0 ** 1024 overflows.
    return max(min(backoff * 2.0 ** min(attempts - 1, 64), max_backoff), retry_after or 0.0)
