"""What a limit is while a stream of numbers says so.

A limit is a level: the latest valid value counts, and what came before it does not matter.
What is no finite number of 0 or more is ignored and counted, because a control loop's slip
must not stop the telemetry that it controls. Limits count things, so a fraction is rounded
down, but never to 0: only 0 itself pauses.
"""

import math
from numbers import Integral, Real

__all__ = ["Level", "valid"]


def valid(value: object) -> float | None:
    """The number that `value` is, or None when it cannot be a limit."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    if isinstance(value, Integral):
        number: float = int(value)  # of any size, as a float would not be
    else:
        number = float(value)
        if not math.isfinite(number):
            return None
    return number if number >= 0 else None


class Level:
    """The limit as it is now.

    Args:
        initial: what it is until the first value.

    Attributes:
        value: what it is, a whole number of 0 or more.
        ignored: values that could not be limits.
        over: no more values will come.
    """

    __slots__ = ("ignored", "over", "value")

    def __init__(self, initial: int) -> None:
        self.value = initial
        self.ignored = 0
        self.over = False

    def offer(self, value: object) -> bool:
        """Take one value. False when it was ignored."""
        number = valid(value)
        if number is None:
            self.ignored += 1
            return False
        self.value = 1 if 0 < number < 1 else int(number)
        return True
