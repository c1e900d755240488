"""How many requests a destination bears at once, learnt from how it answers.

    refused, or timed out     limit * decrease
    slower by `tolerance`     limit * baseline / latency, which drains the queue over there
    limit used up, all well   limit + 1 a round; doubled until the first of the above

Additive increase and multiplicative decrease, a round at a time. A round is as many answers
as may be under way, and some more where they are few, so that a mean means something; a mean is
larger only by more than its standard error, or jitter would look like load. What
began before the limit was last moved says nothing about the new one, and is left out.

Only successes are timed: a refusal is quick, and would make an overloaded destination look
fast. The baseline is the latency without a queue: the least mean of a round, which forgets
slowly. Where a decrease does not make the destination quicker the cause is not ours, and the
baseline is what it takes now.

Never below 1: what sends nothing learns nothing. No clock: the caller says what time it is.
"""

import enum
from math import sqrt

__all__ = ["Aimd", "Heard"]

LEAST_ROUND = 24  # answers; the mean of fewer jitters too much
FIRST_ROUNDS = 8  # answers, while it doubles, and where it is far too slow
FORGET = 0.02  # of its distance, what the baseline goes towards a larger mean in a round
FALL = 0.3  # the same towards a smaller mean: one lucky round is no proof
MARGIN = 0.9  # under what the baseline allows, or a queue would stay
HELPED = 0.9  # of the latency before a decrease; what is left if it was the cause


class Heard(enum.Enum):
    """What an answer says about the load of a destination."""

    SUCCESS = "success"  # taken: its time counts
    REFUSED = "refused"  # overloaded, unreachable or too late
    NEITHER = "neither"  # about the data, not the load


class Aimd:
    """The limit as it is, and what was heard in this round.

    Args:
        initial: the first limit.
        least, most: its bounds.
        decrease: what a refusal multiplies it by, above 0 and below 1.
        tolerance: how many times the baseline a latency may be, above 1.

    Attributes:
        limit: how many may be under way, a whole number.
    """

    __slots__ = (
        "_baseline",
        "_before",
        "_began",
        "_count",
        "_decrease",
        "_full",
        "_least",
        "_most",
        "_probing",
        "_seconds",
        "_squares",
        "_tolerance",
        "limit",
    )

    def __init__(
        self,
        *,
        initial: int = 1,
        least: int = 1,
        most: int = 256,
        decrease: float = 0.85,
        tolerance: float = 1.5,
    ) -> None:
        self.limit = initial
        self._least = least
        self._most = most
        self._decrease = decrease
        self._tolerance = tolerance
        self._baseline: float | None = None
        self._before: float | None = None  # the mean that led to the last decrease
        self._probing = True  # nothing has been too much yet
        self._began = float("-inf")
        self._count = 0  # of this round: answers that were timed,
        self._seconds = 0.0  # what they took,
        self._squares = 0.0  # the squares of that,
        self._full = False  # and whether the limit was used up

    def heard(self, what: Heard, seconds: float, *, now: float, full: bool) -> int:
        """Take one answer into account.

        Args:
            what: what it says.
            seconds: how long it took.
            now: seconds, on a clock that never goes back.
            full: the limit was used up when it came; a limit that is not says nothing about
                a larger one.

        Returns:
            The limit from now on.
        """
        if what is Heard.NEITHER or now - seconds < self._began:
            return self.limit
        if what is Heard.REFUSED:
            self._probing = False
            self._lower(self.limit * self._decrease, now)
            self._before = None
            return self.limit
        self._count += 1
        self._seconds += seconds
        self._squares += seconds * seconds
        self._full = self._full or full
        mean = self._seconds / self._count
        if self._count >= max(self.limit, FIRST_ROUNDS if self._probing else LEAST_ROUND) or (
            self._count >= FIRST_ROUNDS and mean - self._error(mean) > 2 * self._threshold
        ):
            self._end_round(mean, now)
        return self.limit

    def bound(self, most: int) -> None:
        """Never be above `most` from now on, nor below `least`."""
        self._most = max(self._least, most)
        self.limit = min(self.limit, self._most)

    @property
    def _threshold(self) -> float:
        return float("inf") if self._baseline is None else self._baseline * self._tolerance

    def _error(self, mean: float) -> float:
        """How far the mean of this round may be off by chance: its standard error."""
        return sqrt(max(0.0, self._squares / self._count - mean * mean) / self._count)

    def _end_round(self, mean: float, now: float) -> None:
        before, self._before = self._before, None
        baseline = self._baseline
        if baseline is None or (before is not None and mean > before * HELPED):
            baseline = mean  # the first; or less load did not help
        elif mean < baseline:
            baseline += (mean - baseline) * FALL
        else:
            baseline += (mean - baseline) * FORGET
        self._baseline = baseline
        if mean - self._error(mean) > self._threshold and self.limit > self._least:
            self._probing = False
            self._before = mean
            self._lower(self.limit * max(0.4, MARGIN * baseline / mean), now)
            return
        if self._full:
            step = self.limit if self._probing else 1
            self.limit = min(self._most, self.limit + step)
            self._began = now
        self._start_round()

    def _lower(self, limit: float, now: float) -> None:
        self.limit = max(self._least, min(int(limit), self.limit - 1))
        self._began = now
        self._start_round()

    def _start_round(self) -> None:
        self._count = 0
        self._seconds = 0.0
        self._squares = 0.0
        self._full = False
