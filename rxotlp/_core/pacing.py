"""A token bucket: how long something must wait so that a rate is kept.

Tokens come at `rate` a second, up to `burst`. Something may pass when there are as many as
it costs, or the bucket is full: what costs more than the burst passes then and leaves a
debt, so it waits its time and is not locked out. No clock: the caller says what time it is.
"""

__all__ = ["Bucket"]

_CLOSE = 1e-6  # seconds; a wait shorter than a clock's resolution is none


class Bucket:
    """Tokens that come at a steady rate.

    Args:
        rate: tokens a second, above 0.
        burst: tokens at most, above 0; the bucket begins full.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def wait(self, cost: float, now: float) -> float:
        """Seconds until something of that cost may pass; 0 when it may now."""
        if self._at is not None and now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        seconds = (min(cost, self._burst) - self._tokens) / self._rate
        return seconds if seconds > _CLOSE else 0.0

    def spend(self, cost: float) -> None:
        """It passes."""
        self._tokens -= cost
