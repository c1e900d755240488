"""`flow.telemetry`: what a flow's operations made, as a stream.

In a `Pipeline` it is a source like any other. Subscribed without one it connects itself to
the flow's scheduler. Nobody waits for a receipt here, so what is refused or fails is
counted: put an `ops.queue` behind it to try again.
"""

import logging
from collections.abc import Callable
from typing import Any

from reactivex import abc
from reactivex.disposable import Disposable

from rxotlp import assembly
from rxotlp._core.outcomes import Kind
from rxotlp.admission import Admission
from rxotlp.data import TelemetryData
from rxotlp.errors import RefusedError
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SerialScheduler
from rxotlp.sources.base import Source, State

__all__ = ["Telemetry"]

logger = logging.getLogger("rxotlp")


class Telemetry(Source):
    """The OTLP that a flow's operations make.

    Attributes:
        emitted: items that were let in.
        unobserved: items made while nobody was subscribed; they are gone.
        refused: items for which the admission had no room; they are gone.
        undelivered: items that were let in and failed or were rejected.
    """

    def __init__(
        self,
        scheduler: SerialScheduler,
        *,
        admission: Admission | None,
        complete: Callable[[], object],
    ) -> None:
        super().__init__("telemetry", admission=admission)
        self._own = scheduler
        self._complete = complete
        self.emitted = 0
        self.unobserved = 0
        self.refused = 0
        self.undelivered = 0

    def emit(self, data: TelemetryData) -> None:
        """Let `data` in, if anybody listens and there is room; from any thread.

        In the caller's thread when the scheduler allows it, so that what a SyncControlFlow
        made has been seen when `execute` returns.
        """
        items = data.items
        if not self.accepting:
            if not self.unobserved:
                logger.warning(
                    "%s: a flow makes telemetry and nobody is subscribed to it; it is counted "
                    "as unobserved and gone",
                    self.name,
                )
            self.unobserved += items
            return
        try:
            credit = self.admission.reserve(data.size)
        except RefusedError as error:
            if not self.refused:
                logger.warning("%s: %s; what does not fit is counted as refused", self.name, error)
            self.refused += items
            return
        self.emitted += items

        def settled(receipt: Receipt) -> None:
            outcome = receipt.outcome
            if outcome is not None and outcome.kind in (Kind.FAILED, Kind.REJECTED):
                self.undelivered += items

        scheduler = self._scheduler
        assert scheduler is not None

        def let_in(_scheduler: abc.SchedulerBase, _state: Any) -> abc.DisposableBase:
            self.admit(data, credit=credit, on_settle=settled)
            return Disposable()

        scheduler.schedule(let_in)

    def stop(self) -> None:
        """Emit what is open or was measured, then complete the stream."""
        if self.state is State.OPEN:
            self._complete()
        super().stop()

    def end(self) -> None:
        """Complete the stream, by the way that elements take: behind those not yet let in."""
        scheduler = self._scheduler
        assert scheduler is not None

        def complete(_scheduler: abc.SchedulerBase, _state: Any) -> abc.DisposableBase:
            super(Telemetry, self).end()
            return Disposable()

        scheduler.schedule(complete)

    def _begin(self, scheduler: SerialScheduler) -> None:
        """There is nothing to bind."""

    def _release(self) -> None:
        """There is nothing to give back."""

    def _subscribe_core(
        self,
        observer: "abc.ObserverBase[TelemetryData]",
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        subscription = super()._subscribe_core(observer, scheduler)
        if self.state is State.NEW and assembly.current() is None:
            self.connect(self._own)
        return subscription
