"""`BatchSpanProcessor` and `BatchLogRecordProcessor`, in place of the SDK's.

    provider.add_span_processor(BatchSpanProcessor(ops.map_records(redact)))

What ends in the application goes through the caller's operators and to a backend, on a
thread of the processor's own. The application is never kept waiting.
"""

import copy
from typing import Any, ClassVar

from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from rxotlp.operators._shell import Operator
from rxotlp.operators.export import Exporter
from rxotlp.sdk.bridge import Bridge, Bridged
from rxotlp.sdk.encoding import LOGS, TRACES, Encoding
from rxotlp.sdk.settings import limits

__all__ = ["BatchLogRecordProcessor", "BatchSpanProcessor"]


class _BatchProcessor(Bridged):
    _encoding: ClassVar[Encoding]
    _variables: ClassVar[str]
    _delay: ClassVar[float]  # seconds

    def __init__(
        self,
        *operators: Operator,
        exporter: Exporter | None = None,
        max_queue_size: int | None = None,
        max_queue_bytes: int | None = None,
        max_export_batch_size: int | None = None,
        schedule_delay: float | None = None,
        export_timeout: float | None = None,
    ) -> None:
        chosen = limits(
            type(self).__name__,
            self._variables,
            self._delay,
            max_queue_size=max_queue_size,
            max_queue_bytes=max_queue_bytes,
            max_export_batch_size=max_export_batch_size,
            schedule_delay=schedule_delay,
            export_timeout=export_timeout,
        )
        self._bridge = Bridge(type(self).__name__, self._encoding, operators, exporter, chosen)

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Deliver what came so far. False when that took longer than it may."""
        return self._flush(timeout_millis)

    def shutdown(self, timeout_millis: int | None = None) -> None:
        """Deliver what is held, with one more attempt for each batch, and end the thread."""
        self._shutdown(timeout_millis)


class BatchSpanProcessor(_BatchProcessor, SpanProcessor):
    """Sends ended spans through operators to an exporter.

    Args:
        operators: applied in order before the export; each element is one batch of spans.
        exporter: one of `rxotlp.exporters` or one like it; OTLP as OTEL_EXPORTER_OTLP_* say
            by default. It is closed at shutdown.
        max_queue_size: spans held at once, 1 or more, those being sent and those to be sent
            again included; when it is full, new ones are dropped and counted. 2048, or
            OTEL_BSP_MAX_QUEUE_SIZE.
        max_queue_bytes: the same in bytes of OTLP, 1 or more; 64 MiB. Spans are measured as
            they are encoded, a batch at a time, so it may be exceeded by a batch.
        max_export_batch_size: spans in a batch; 512, or OTEL_BSP_MAX_EXPORT_BATCH_SIZE.
        schedule_delay: seconds that a span waits for others; 5, or OTEL_BSP_SCHEDULE_DELAY.
        export_timeout: seconds for one attempt and for a shutdown; 30, or
            OTEL_BSP_EXPORT_TIMEOUT.

    Raises:
        ValueError, TypeError: an argument out of its range.

    A batch whose delivery failed stays and is sent again after a rest, until shutdown. At a
    fork the parent keeps what was buffered, and the child starts empty. What a process could
    not keep is in `statistics()`, and in the log at its shutdown.
    """

    _encoding = TRACES
    _variables = "OTEL_BSP"
    _delay = 5.0

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Nothing: only ended spans are of interest."""

    def on_end(self, span: ReadableSpan) -> None:
        """Take a sampled span in; never waits."""
        context = span.context
        if context and context.trace_flags.sampled:
            self._bridge.offer(span)


class BatchLogRecordProcessor(_BatchProcessor, LogRecordProcessor):
    """Sends log records through operators to an exporter.

    Args: as of `BatchSpanProcessor`, for log records, with OTEL_BLRP_* and a
    `schedule_delay` of 1 second.

    What is logged by an export itself is not taken in: a failing one would feed itself.
    """

    _encoding = LOGS
    _variables = "OTEL_BLRP"
    _delay = 1.0

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Take a record in; never waits."""
        # A copy: later processors may change it, and its context may be large.
        record = copy.copy(log_record.log_record)
        record.context = Context()
        self._bridge.offer(
            ReadableLogRecord(
                log_record=record,
                resource=log_record.resource or Resource.create({}),
                instrumentation_scope=log_record.instrumentation_scope,
                limits=log_record.limits,
            )
        )
