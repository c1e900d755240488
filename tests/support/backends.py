"""Simulated destinations in virtual time: each bears so much at once, and answers for it."""

import asyncio
import random
from collections.abc import Callable

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome, failed
from rxotlp.data import TelemetryData
from rxotlp.operators import AdaptiveConcurrency
from rxotlp.testing import Rig, logs

__all__ = ["BACKENDS", "Backend", "Run", "run"]

# From now, how many are under way (this one too) and chance: whether, and how long.
Answers = Callable[[float, int, random.Random], tuple[bool, float]]


def constant(now: float, load: int, _chance: random.Random) -> tuple[bool, float]:
    """Ten at once in 0.1 s each; more are slower, and more than proportionally."""
    return True, 0.1 * max(1.0, (load / 10) ** 1.5)


def shifting(now: float, load: int, _chance: random.Random) -> tuple[bool, float]:
    """Twenty at once, then six, then twelve; at last each takes three times as long."""
    bears = 20 if now < 12 else 6 if now < 24 else 12
    return True, (0.1 if now < 36 else 0.3) * max(1.0, (load / bears) ** 1.5)


def jittery(now: float, load: int, chance: random.Random) -> tuple[bool, float]:
    """As constant, but three tenths to several times as long, by chance."""
    return True, 0.1 * (0.3 + chance.expovariate(1 / 0.7)) * max(1.0, (load / 10) ** 1.5)


def refusing(now: float, load: int, _chance: random.Random) -> tuple[bool, float]:
    """Ten at once in 0.1 s each; the eleventh is refused, quickly."""
    return (True, 0.1) if load <= 10 else (False, 0.03)


BACKENDS: dict[str, Answers] = {
    "constant": constant,
    "shifting": shifting,
    "jittery": jittery,
    "refusing": refusing,
}


class Backend:
    """An exporter to one of them.

    Attributes:
        taken: what it took.
        refused: what it refused.
    """

    def __init__(self, answers: Answers, clock: Callable[[], float], seed: int) -> None:
        self.taken = self.refused = 0
        self._answers = answers
        self._clock = clock
        self._chance = random.Random(seed)
        self._load = 0

    async def export(self, data: TelemetryData) -> Outcome:
        good, seconds = self._answers(self._clock(), self._load + 1, self._chance)
        self._load += good
        await asyncio.sleep(seconds)
        self._load -= good
        self.taken += good
        self.refused += not good
        return DELIVERED if good else failed("too many at once")


class Run:
    """What came of one.

    Attributes:
        taken: requests that the backend took.
        latency: mean seconds of those.
        limits: times and limits.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.latency = 0.0
        self.limits: list[tuple[float, float]] = []


def run(
    name: str, limit: int | AdaptiveConcurrency, *, seconds: float = 48.0, seed: int = 1
) -> Run:
    """Send to a backend, always more than it takes, for so many virtual seconds."""
    made = Run()
    times: list[float] = []
    with Rig() as rig:
        backend = Backend(BACKENDS[name], lambda: rig.clock.clock, seed)

        def heard(delivery: ops.Delivery) -> None:
            if delivery.outcome is DELIVERED:
                times.append(delivery.seconds)
            now = rig.books["export"].limits.get("max_concurrent", limit)
            if isinstance(now, int) and (not made.limits or made.limits[-1][1] != now):
                made.limits.append((rig.clock.clock, now))
            rig.receipts.clear()
            if rig.clock.clock < seconds:  # one comes for one that has gone
                rig.feed.admit(logs([1]))

        rig.run(ops.export(backend, max_concurrent=limit), on_next=heard)
        for _ in range(130):
            rig.feed.admit(logs([1]))
        rig.clock.advance_to(seconds)
        made.taken = backend.taken
        made.latency = sum(times) / max(1, len(times))
        rig.clock.run()
    return made
