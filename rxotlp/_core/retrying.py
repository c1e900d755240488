"""When to try a delivery again, and when to stop trying.

Pauses grow from the policy's first by its factor up to its longest, each drawn from around
its value so that what failed together does not come back together. A destination that names
a time is given at least that, and pauses grow from there (OTLP specification, "OTLP/gRPC
Throttling"; exporter specification, "Retry").

A sender that waits for its answer is answered in time: no attempt begins that would not be
over, if it took as long as the last one, when the answer is due. What fails then is sent
again by the sender, who still has it.

No clock, no I/O; the caller brings the dice.
"""

from collections.abc import Callable
from dataclasses import dataclass

from rxotlp._core.backoff import Backoff

__all__ = ["Retry", "Retrying"]


@dataclass(frozen=True, slots=True)
class Retry:
    """How `export` tries again what failed.

    Args:
        first: seconds before the first retry when nobody waits for the answer.
        soon: seconds before it when a sender does, or the stream has ended: there is not
            much time.
        factor: growth from one pause to the next, 1 or more.
        most: seconds that no pause exceeds, unless the destination asks for more: up to a day,
            and half as much again by jitter.
        jitter: 0 to 1; each pause is drawn from its value times 1 - jitter to 1 + jitter.
        limit: seconds from the first attempt in which a retry may begin; None for ever.

    Raises:
        ValueError: an argument is out of its range.
    """

    first: float = 5.0
    soon: float = 0.5
    factor: float = 1.5
    most: float = 30.0
    jitter: float = 0.5
    limit: float | None = None

    def __post_init__(self) -> None:
        for name in ("first", "soon", "most"):
            seconds = getattr(self, name)
            if not 0 < seconds < float("inf"):
                raise ValueError(
                    f"Retry({name}={seconds}): expected seconds above 0; "
                    "a destination that failed needs a rest"
                )
        if not 1 <= self.factor < float("inf"):
            raise ValueError(f"Retry(factor={self.factor}): expected 1 or more; pauses must grow")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"Retry(jitter={self.jitter}): expected 0 to 1")
        if max(self.first, self.soon) > self.most:
            raise ValueError(
                f"Retry(most={self.most}): expected first={self.first} and soon={self.soon} "
                "or more; it is their bound"
            )
        if self.limit is not None and not self.limit >= 0:
            raise ValueError(f"Retry(limit={self.limit}): expected 0 or more seconds, or None")


class Retrying:
    """Decides about retries.

    Args:
        policy: see `Retry`.
        dice: a number from 0 up to 1, for the jitter.
    """

    __slots__ = ("_backoff", "policy")

    def __init__(self, policy: Retry, dice: Callable[[], float]) -> None:
        self.policy = policy
        self._backoff = Backoff(dice, most=policy.most, jitter=policy.jitter)

    def again(
        self,
        pause: float | None,
        *,
        asked: float | None,
        hurried: bool,
        since: float,
        took: float,
        left: float | None,
    ) -> tuple[float, float] | None:
        """What follows a failed attempt.

        Args:
            pause: what this returned as the pause last time; None after the first attempt.
            asked: seconds that the destination asked to wait, if it did.
            hurried: begin with the policy's `soon`.
            since: seconds since the first attempt began.
            took: seconds that the failed attempt took.
            left: seconds until a sender must have its answer; None when nobody waits.

        Returns:
            The pause, from which the next one grows, and the seconds to wait, which jitter
            made of it; None to give up.
        """
        policy = self.policy
        if pause is None:
            pause = policy.soon if hurried else policy.first
        else:
            pause = min(pause * policy.factor, max(policy.most, pause))
        seconds = self._backoff.around(pause)
        if asked is not None and asked > seconds:
            # Others were asked the same: later, so that not all come at once.
            pause = max(pause, asked)
            seconds = asked + self._backoff.spread(asked)
        if policy.limit is not None and since + seconds > policy.limit:
            return None
        if left is not None and seconds + took > left:
            return None
        return pause, seconds
