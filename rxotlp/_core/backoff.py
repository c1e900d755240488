"""How long to wait before trying again, and whether trying again is still allowed.

Delays grow by a factor up to a limit, and each is drawn from a range around its value, so
that what failed together does not come back together. A budget keeps retries a share of
what succeeds: when everything fails, retrying it all only doubles the load.

No clock; the caller brings the dice.
"""

from collections.abc import Callable

__all__ = ["Backoff", "RetryBudget"]


class Backoff:
    """Delays of successive retries.

    Args:
        first: seconds before the first retry, above 0.
        factor: growth from one to the next, 1 or more.
        most: seconds that none exceeds.
        jitter: 0 to 1; each delay is drawn from its value times 1 - jitter to 1 + jitter.
        dice: a number from 0 up to 1, for the jitter.
    """

    __slots__ = ("_dice", "factor", "first", "jitter", "most")

    def __init__(
        self,
        dice: Callable[[], float],
        *,
        first: float = 5.0,
        factor: float = 1.5,
        most: float = 30.0,
        jitter: float = 0.5,
    ) -> None:
        self._dice = dice
        self.first = first
        self.factor = factor
        self.most = most
        self.jitter = jitter

    def delay(self, retry: int) -> float:
        """Seconds before the retry of that number, from 1."""
        delay = self.first
        for _ in range(retry - 1):
            delay *= self.factor
            if delay >= self.most:
                break
        return self.around(delay)

    def around(self, seconds: float) -> float:
        """A delay drawn from around `seconds`, with none above `most`."""
        spread = 1.0 - self.jitter + 2.0 * self.jitter * self._dice()
        return min(seconds, self.most / (1.0 + self.jitter)) * spread

    def spread(self, seconds: float) -> float:
        """What to wait beyond `seconds` that are the least: up to `jitter` of them."""
        return seconds * self.jitter * self._dice()


class RetryBudget:
    """Retries as a share of successes.

    Args:
        share: retries that each success allows, 0 or more.
        reserve: retries allowed from the start, and most that can be saved.
    """

    __slots__ = ("_left", "_reserve", "_share", "refused")

    def __init__(self, *, share: float = 0.2, reserve: float = 10.0) -> None:
        self._share = share
        self._reserve = reserve
        self._left = reserve
        self.refused = 0

    def succeeded(self) -> None:
        """One success earns its share."""
        left = self._left + self._share  # no call, so that threads need no lock for it
        self._left = left if left < self._reserve else self._reserve

    def take(self) -> bool:
        """Whether one more retry may be made; counts those that may not."""
        if self._left >= 1.0:
            self._left -= 1.0
            return True
        self.refused += 1
        return False
