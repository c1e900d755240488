"""Which of several destinations, from the most to the least wanted, an element goes to next.

A level that fails is *down* for `recover_after` seconds, or for as long as it asked. Then one
element is its probe; nobody else goes there before that has an answer, or as many seconds
have passed again. A success brings it back.

    1. the first level that is up, or down and due for a probe
    2. else, as a last resort, the first that is left

Each element goes to a level once at most, so it fails only when all of them have failed for
it, also when all were down to begin with.

Every choice carries a ticket, void once its level has gone up or down: an answer to what was sent
before a level went down says nothing about now. No clock; the caller brings the time.
"""

from collections.abc import Collection

__all__ = ["Choice", "Levels"]

Choice = tuple[int, int]  # a level, and the ticket for `heard`


class _Level:
    __slots__ = ("due", "ticket")

    def __init__(self) -> None:
        self.due: float | None = None  # down, and when it may be probed; None is up
        self.ticket = 0


class Levels:
    """The levels of one failover.

    Args:
        count: how many.
        recover_after: seconds after which a level that is down is tried again.
    """

    __slots__ = ("_levels", "_recover_after")

    def __init__(self, count: int, recover_after: float) -> None:
        self._levels = [_Level() for _ in range(count)]
        self._recover_after = recover_after

    @property
    def first_up(self) -> int | None:
        """The level that elements go to; None when all are down."""
        for at, level in enumerate(self._levels):
            if level.due is None:
                return at
        return None

    def up(self, at: int) -> bool:
        """Whether a level is up."""
        return self._levels[at].due is None

    def choose(self, now: float, tried: Collection[int] = ()) -> Choice | None:
        """The next level for an element that has `tried` some, or may not use them; or None."""
        left = None
        for at, level in enumerate(self._levels):
            if at in tried:
                continue
            if level.due is None:
                return at, level.ticket
            if now >= level.due:
                level.due = now + self._recover_after  # nobody else until then
                return at, level.ticket
            if left is None:
                left = at
        return None if left is None else (left, self._levels[left].ticket)

    def heard(
        self, choice: Choice, success: bool | None, now: float, *, asked: float | None = None
    ) -> None:
        """What became of an element at the level that was chosen for it.

        Args:
            choice: what `choose` gave.
            success: the level answered; None when nobody asked it.
            now: seconds on any clock that does not go back.
            asked: seconds that it asked to wait, if it did.
        """
        at, ticket = choice
        level = self._levels[at]
        if ticket != level.ticket:
            return
        if success is None:
            if level.due is not None:
                level.due = min(level.due, now)  # a probe that was none: another may go
            return
        if success:
            if level.due is not None:
                level.due = None
                level.ticket += 1
            return
        level.due = now + max(self._recover_after, asked or 0.0)
        level.ticket += 1
