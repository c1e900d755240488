"""`flow.events`: what a flow does, as it does it, for those who look on.

A flow never waits for them. Events are handed to the scheduler and delivered in order in
its turn; when more than `capacity` wait there, the oldest go and are counted.
"""

import enum
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rxotlp.flows._hot import Hot
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.operations import Operation
from rxotlp.flows.results import ExecutionResult

if TYPE_CHECKING:
    from rxotlp.schedulers import SerialScheduler

__all__ = ["ControlEvent", "EventKind", "Events"]


class EventKind(enum.Enum):
    """What happened to an operation."""

    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class ControlEvent:
    """Something that happened to an operation.

    Attributes:
        kind: what.
        operation: to which.
        context: where; its `execution_id` and `sequence` put events into order.
        time: nanoseconds since the epoch, by the flow's scheduler.
        result: of a FINISHED one.
        error: of a FAILED one; it holds no frames.
    """

    kind: EventKind
    operation: Operation
    context: ExecutionContext
    time: int
    result: ExecutionResult | None = None
    error: BaseException | None = None


class Events(Hot[ControlEvent]):
    """A bounded, hot stream of events.

    Attributes:
        missed: events that had to go because observers were too slow.
    """

    def __init__(self, scheduler: "SerialScheduler", capacity: int) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._waiting: deque[ControlEvent] = deque(maxlen=capacity)
        self._posted = False
        self.missed = 0

    def put(self, event: ControlEvent) -> None:
        """Hand over one event; from any thread, and without running anything."""
        if len(self._waiting) == self._waiting.maxlen:
            self.missed += 1
        self._waiting.append(event)
        if not self._posted:
            self._posted = True
            self._scheduler.post(self._deliver)

    def _deliver(self) -> None:
        self._posted = False
        fault: Exception | None = None
        while self._waiting:
            event = self._waiting.popleft()
            for observer in self._observers:
                try:
                    observer.on_next(event)
                except Exception as error:  # one observer's; the others miss nothing by it
                    fault = fault or error
        if fault is not None:
            raise fault

    def complete(self) -> None:
        """Deliver what waits, then complete every observer; later ones are served anew."""
        self._scheduler.post(self._end)

    def _end(self) -> None:
        try:
            self._deliver()
        finally:
            observers, self._observers = self._observers, ()
            for observer in observers:
                observer.on_completed()
