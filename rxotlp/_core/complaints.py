"""Which outcomes of a destination are worth a log line.

A backend that is down fails every element, and a line for each would bury the first. So the
first is told; then, while it goes on, one line a `PERIOD` with all that came to it since;
and the first delivery afterwards. What flaps is told once a `PERIOD` as well.
"""

from rxotlp._core.outcomes import Kind, Outcome

__all__ = ["PERIOD", "Complaints"]

PERIOD = 10.0  # seconds


class Complaints:
    """Remembers what one destination was last said to be.

    Attributes:
        failing: the last line said that something was not delivered.
    """

    __slots__ = ("_failed", "_next", "_rejected", "failing")

    def __init__(self) -> None:
        self.failing = False
        self._failed = self._rejected = 0  # items that no line has told of yet
        self._next = float("-inf")

    def note(self, outcome: Outcome, items: int, now: float) -> str | None:
        """What to say about `items` that met this outcome; None for nothing.

        Args:
            items: 0 for a failure that was noted before.
            now: seconds on any clock that does not go back.
        """
        if outcome.kind is Kind.DELIVERED and self.failing:
            self.failing = False
            return "delivers again"
        if outcome.success:
            return None
        if outcome.kind is Kind.FAILED:
            self._failed += items
        else:
            self._rejected += items if outcome.items is None else outcome.items
        if now < self._next:
            return None
        self._next = now + PERIOD
        self.failing = True
        counts = [
            f"{count} items {what}"
            for count, what in (
                (self._failed, "not delivered, to be sent again"),
                (self._rejected, "refused for good"),
            )
            if count
        ]
        self._failed = self._rejected = 0
        return f"{' and '.join(counts) or 'tried again in vain'}: {outcome.reason}"
