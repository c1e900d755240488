"""One buffer, one pipeline, one scheduler: what each processor and exporter here runs on.

Nothing starts before the first record is offered, and a forked child has a bridge of its
own that starts the same way: what the parent had buffered is the parent's to deliver. The
exporter is shared by both; connections are opened anew where the exporter can (ours do).
"""

import contextlib
import importlib
import logging
import threading
import time
from collections.abc import Sequence
from multiprocessing import process, util
from typing import Any

from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace.export import SpanExporter

from rxotlp.books import Books
from rxotlp.operators._shell import Operator
from rxotlp.operators.export import Exporter, export
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import SyncScheduler, forks
from rxotlp.sdk.buffer import Buffer
from rxotlp.sdk.encoding import Encoding
from rxotlp.sdk.intake import Statistics
from rxotlp.sdk.settings import Limits, default_exporter
from rxotlp.sdk.stock import WINDOW

__all__ = ["Bridge", "Bridged"]

logger = logging.getLogger("rxotlp")

_CLOSING = 1.0  # seconds of a shutdown's time, a quarter at most, kept for closing things

# What the first export would import, on the worker. A program that forks at that moment gives
# its child a module that is half imported for ever, so they are imported where the program is.
for _late in ("encodings.idna", "grpc._channel", "grpc.experimental", "uvloop"):
    with contextlib.suppress(ImportError):  # uvloop is an extra
        importlib.import_module(_late)

# A parent's engine in a forked child: collecting it would reach for the parent's threads.
_parents: list[object] = []


class Bridge:
    """Feeds what an application offers through operators to an exporter.

    Args:
        call: what the caller wrote, for messages.
        encoding: of which signal.
        operators: the caller's; they come before the export.
        exporter: None for OTLP as the environment says.
        limits: of the buffer.

    Raises:
        TypeError: something else stands in place of an operator or the exporter.
    """

    def __init__(
        self,
        call: str,
        encoding: Encoding,
        operators: Sequence[Operator],
        exporter: Exporter | None,
        limits: Limits,
    ) -> None:
        _check(call, operators, exporter)
        self._encoding = encoding
        self._operators = operators
        self.exporter = default_exporter(encoding.signal) if exporter is None else exporter
        self.limits = limits
        self._stopped = False
        self._at_end: util.Finalize | None = None
        self._build()
        forks.watch(self)
        # A child that multiprocessing forked ends without atexit, but does what is registered
        # here. The hook for forks is one that runs when the child has forgotten the parent's.
        util.register_after_fork(self, Bridge._end_with_process)
        if process.parent_process() is not None:
            self._end_with_process()

    def _end_with_process(self) -> None:
        self._at_end = util.Finalize(
            None, self.shutdown, args=(self.limits.export_timeout,), exitpriority=0
        )

    def _build(self) -> None:
        self._stopping = threading.Lock()
        self.scheduler = SyncScheduler()
        self.buffer = Buffer(
            self._encoding, self.limits, self.scheduler, lambda: self.pipeline.start()
        )
        deliver = export(self.exporter, max_concurrent=WINDOW, timeout=self.limits.export_timeout)
        steps: list[Any] = [*self._operators, deliver]
        self.pipeline = Pipeline(self.buffer.pipe(*steps), scheduler=self.scheduler)
        self.offer = self.buffer.intake.offer

    def _after_fork(self) -> None:
        """In the child."""
        inherited = self.buffer
        inherited.intake.give_up()
        _parents.append((inherited, self.pipeline, self.scheduler))
        self._build()
        self.buffer.intake.shut = self._stopped

    def flush(self, timeout: float) -> bool:
        """Wait until what was offered so far has a final outcome; False after `timeout`."""
        return self.buffer.flush(timeout)

    def shutdown(self, timeout: float) -> bool:
        """Flush, with one more attempt for each batch, and stop. False when items were lost.

        It returns within `timeout` seconds; what is not delivered by then is given up.
        """
        deadline = time.monotonic() + timeout
        if self.scheduler.running_here:
            logger.error("sdk: a shutdown inside the bridge's own stream waits for itself")
            return False
        if not self._stopping.acquire(timeout=max(0.0, timeout)):
            return False
        try:
            if not self._stopped:
                self._stopped = True
                self.buffer.intake.close()
                self._stop(deadline, min(_CLOSING, timeout / 4))
            return not self.buffer.given_up
        finally:
            self._stopping.release()

    def _stop(self, deadline: float, reserve: float) -> None:
        def left() -> float:
            return max(0.0, deadline - time.monotonic())

        self.buffer.flush(max(0.0, left() - reserve), final=True)
        if self.buffer.connected:
            self.pipeline.stop(drain_timeout=left() / 2)
        self.scheduler.close(timeout=left())
        self.buffer.abandon()
        if self._at_end is not None:
            self._at_end.cancel()


def _check(call: str, operators: Sequence[object], exporter: object) -> None:
    for given in operators:
        if not callable(given):
            hint = "; an exporter is given by exporter=" if hasattr(given, "export") else ""
            raise TypeError(
                f"{call}({type(given).__name__}): expected operators, such as "
                f"ops.map_records(...){hint}"
            )
    if isinstance(exporter, SpanExporter | LogRecordExporter | MetricExporter):
        raise TypeError(
            f"{call}(exporter={type(exporter).__name__}): expected an exporter of rxotlp, such as "
            "exporters.OtlpHttp(...); the SDK's own take its records, and what operators give "
            "is OTLP"
        )


class Bridged:
    """What processors and exporters have in common: counts, flush and shutdown."""

    _bridge: Bridge

    @property
    def books(self) -> Books:
        """The books of the stream; what was dropped is booked at the stage `sdk`."""
        self._bridge.buffer.book_late()
        return self._bridge.pipeline.books

    def statistics(self) -> Statistics:
        """What became of everything that was offered in this process."""
        return self._bridge.buffer.intake.statistics()

    def _flush(self, timeout_millis: float | None) -> bool:
        limit = self._bridge.limits.export_timeout
        return self._bridge.flush(limit if timeout_millis is None else timeout_millis / 1000)

    def _shutdown(self, timeout_millis: float | None) -> bool:
        limit = self._bridge.limits.export_timeout
        return self._bridge.shutdown(limit if timeout_millis is None else timeout_millis / 1000)

    def __repr__(self) -> str:
        bridge = self._bridge
        return (
            f"<{type(self).__name__} to {bridge.exporter!r}, {self.statistics().held} items held>"
        )
