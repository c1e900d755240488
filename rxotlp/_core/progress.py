"""How far a source has come that must not skip what is not settled.

Things begin in order and end in any; the mark is that of the last one before which nothing
is open. One that ends unsettled stops the mark for good, so that the next run begins with
it.
"""

from typing import Generic, TypeVar

__all__ = ["Progress"]

Mark = TypeVar("Mark")


class Progress(Generic[Mark]):
    """Marks of what began, in order, and how far they may be forgotten.

    Attributes:
        mark: of the last thing that is settled together with all before it; None at first.
    """

    __slots__ = ("_began", "_ended", "_marks", "_next", "mark")

    def __init__(self) -> None:
        self.mark: Mark | None = None
        self._marks: dict[int, Mark] = {}  # of what the mark has not passed
        self._began = 0
        self._next = 0  # the first position that the mark has not passed
        self._ended: dict[int, bool] = {}

    def begin(self, mark: Mark) -> int:
        """Something began that ends at `mark`; its position, counted from 0."""
        position = self._began
        self._began += 1
        if self._ended.get(self._next, True):  # else nothing after it counts any more
            self._marks[position] = mark
        return position

    def end(self, position: int, *, settled: bool) -> bool:
        """What began as `position` is over; True when the mark moved."""
        if position not in self._marks:
            return False
        self._ended[position] = settled
        before = self._next
        while self._ended.get(self._next, False):
            del self._ended[self._next]
            self.mark = self._marks.pop(self._next)
            self._next += 1
        if not self._ended.get(self._next, True):
            self._marks = {self._next: self._marks[self._next]}
            self._ended = {self._next: False}
        return self._next != before
