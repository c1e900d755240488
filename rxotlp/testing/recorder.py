"""`Recorder`: an exporter that notes what it is sent and answers as told."""

import asyncio
from collections.abc import Callable

from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import TelemetryData
from rxotlp.testing.elements import ids_of

__all__ = ["Recorder", "SlowRecorder"]


class Recorder:
    """Notes the ids of every element it is sent, and answers at once.

    Unlike `exporters.Memory` it keeps no bytes, and notes what it refuses too.

    Args:
        outcome: what each attempt comes to; or a function from the element to that, which
            may raise.

    Attributes:
        calls: the ids of each attempt's element.
        ids: all of them, in order.
        delivered: the ids of what it took.
    """

    def __init__(self, outcome: Outcome | Callable[[TelemetryData], Outcome] = DELIVERED) -> None:
        self.outcome = outcome
        self.calls: list[list[int]] = []
        self.ids: list[int] = []
        self.delivered: list[int] = []

    def export(self, data: TelemetryData) -> Outcome:
        """Note and answer."""
        ids = ids_of(data)
        self.calls.append(ids)
        self.ids += ids
        outcome = self.outcome(data) if callable(self.outcome) else self.outcome
        if outcome.success:
            self.delivered += ids
        return outcome


class SlowRecorder:
    """The same for `async` destinations: takes `seconds` over each attempt.

    Attributes:
        recorder: what it noted.
        running: attempts under way.
        most: how many were under way at once at most.
    """

    def __init__(
        self,
        seconds: float,
        outcome: Outcome | Callable[[TelemetryData], Outcome] = DELIVERED,
    ) -> None:
        self.recorder = Recorder(outcome)
        self.seconds = seconds
        self.running = self.most = 0

    async def export(self, data: TelemetryData) -> Outcome:
        """Wait, note and answer."""
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds)
            return self.recorder.export(data)
        finally:
            self.running -= 1
