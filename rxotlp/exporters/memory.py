"""`Memory`: keeps what it is sent, for tests and for looking.

It holds detached elements, so looking at them keeps no sender waiting. What it answers is
scripted: one outcome for all, or a function that is asked each time.
"""

from collections.abc import Callable, Iterator
from typing import Any

from reactivex import abc

from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import TelemetryData
from rxotlp.exporters.base import Exporter
from rxotlp.wire.signals import Signal

__all__ = ["Memory"]


class Memory(Exporter):
    """Keeps what was delivered in `elements`, in order of arrival.

    Args:
        outcome: what each attempt comes to, or a function from the element to that.

    Attributes:
        elements: what was taken: everything whose outcome was no failure and no rejection
            of the whole.
        attempts: how many exports there were, whatever came of them.
    """

    destination = "memory"

    def __init__(
        self,
        *,
        outcome: Outcome | Callable[[TelemetryData], Outcome] = DELIVERED,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        super().__init__(scheduler=scheduler)
        self._outcome = outcome
        self.elements: list[TelemetryData] = []
        self.attempts = 0

    def export(self, data: TelemetryData) -> Outcome:
        """Keep `data` unless the script says otherwise."""
        self.attempts += 1
        outcome = self._outcome if isinstance(self._outcome, Outcome) else self._outcome(data)
        partial = outcome.items is not None and outcome.items < data.items
        if outcome.success or partial:
            self.elements.append(data.detached())
        return outcome

    @property
    def items(self) -> int:
        """Items in all of `elements`."""
        return sum(data.items for data in list(self.elements))

    def records(self, signal: Signal | None = None) -> Iterator[Any]:
        """Record views of everything kept, or of one signal."""
        for data in list(self.elements):
            if signal is None or data.signal is signal:
                yield from data.records()

    def clear(self) -> None:
        """Forget what was kept."""
        self.elements.clear()
        self.attempts = 0
