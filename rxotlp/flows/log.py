"""`FlowLog`: what flows have to say, as one stream with two ends.

Every entry goes to the standard `logging` module, with its parts as structured `extra`, and
leaves as an OTLP log record with its trace context on `log.telemetry`. Loggers that share a
log share both; what they say about one execution is numbered by its context, so entries of
several loggers fall into one order.

Nothing is made for an end that nobody listens to.
"""

import enum
import logging
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from rxotlp.admission import Admission
from rxotlp.data import TelemetryData
from rxotlp.flows._telemetry import Telemetry
from rxotlp.flows._traces import fill
from rxotlp.flows.context import ExecutionContext
from rxotlp.lines import guard
from rxotlp.schedulers import SerialScheduler, default_scheduler
from rxotlp.wire.values import any_value

__all__ = ["FlowLog", "LogEntry", "LogLevel", "shown"]


class LogLevel(enum.IntEnum):
    """How much an entry matters; the numbers of the `logging` module."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    OFF = 100  # of a logger that says nothing


_SEVERITIES = {
    LogLevel.DEBUG: SeverityNumber.SEVERITY_NUMBER_DEBUG,
    LogLevel.INFO: SeverityNumber.SEVERITY_NUMBER_INFO,
    LogLevel.WARNING: SeverityNumber.SEVERITY_NUMBER_WARN,
    LogLevel.ERROR: SeverityNumber.SEVERITY_NUMBER_ERROR,
}


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One thing that was said.

    Attributes:
        timestamp: nanoseconds since the epoch, by the flow's scheduler.
        level: how much it matters.
        message: for people.
        context: of the execution; `execution_id` and `sequence` put the entries of all
            loggers into one order, `trace` is the span it belongs to.
        metadata: its parts, for programs.
        logger: who said it: "execution", "control" or "data"; "program" is everybody else.
    """

    timestamp: int
    level: LogLevel
    message: str
    context: ExecutionContext
    metadata: Mapping[str, Any] = field(default_factory=dict)
    logger: str = "program"


class FlowLog:
    """Where loggers write.

    Args:
        name: of the loggers of `logging` below which entries go ("rxotlp.flows" gives
            "rxotlp.flows.execution"), and of the scope of the OTLP records.
        scheduler: for times and the turns of `telemetry`; without, that of the first flow
            that is given a logger of this log.
        resource: who is speaking, as attributes; `service.name` is unknown without.
        admission: bounds the telemetry in flight.

    Attributes:
        made: `telemetry`, if anybody has asked for it.
    """

    def __init__(
        self,
        name: str = "rxotlp.flows",
        *,
        scheduler: SerialScheduler | None = None,
        resource: Mapping[str, Any] | None = None,
        admission: Admission | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"FlowLog(name={name!r}): expected a str")
        if not name:
            raise ValueError("FlowLog(name=''): expected a name; logging knows loggers by it")
        if scheduler is not None and not isinstance(scheduler, SerialScheduler):
            raise TypeError(
                f"FlowLog(scheduler={scheduler!r}): expected a scheduler of rxotlp.schedulers"
            )
        self.name = name
        self._scheduler = scheduler
        self._admission = admission
        self._resource = Resource()
        fill(self._resource.attributes, {"service.name": "unknown_service", **(resource or {})})
        self.made: Telemetry | None = None
        self._making = threading.Lock()

    @property
    def telemetry(self) -> Telemetry:
        """The entries as OTLP log records: a stream of `TelemetryData`, one record each."""
        with self._making:
            if self.made is None:
                self.made = Telemetry(
                    self._chosen(), admission=self._admission, complete=lambda: None
                )
            return self.made

    def bind(self, scheduler: SerialScheduler) -> None:
        """Use `scheduler`, unless there is one already."""
        if self._scheduler is None:
            self._scheduler = scheduler

    def now(self) -> int:
        """Nanoseconds since the epoch."""
        return self._chosen().timestamp_ns()

    def to(self, logger: str) -> logging.Logger:
        """Where the entries of a logger go in `logging`."""
        return guard(logging.getLogger(f"{self.name}.{logger}"))

    @property
    def exported(self) -> bool:
        """Whether `telemetry` has a subscriber."""
        # Not asked for, not made: a log whose telemetry nobody takes is no loss to be counted.
        return self.made is not None and self.made.accepting

    def write(self, entry: LogEntry) -> None:
        """Hand an entry to both ends, in this thread; from any."""
        to = self.to(entry.logger)
        if to.isEnabledFor(entry.level):
            try:
                to.log(entry.level, "%s", entry.message, extra=_extra(entry))
            except Exception:  # a handler's or a filter's; as logging does with most of them
                if logging.raiseExceptions:
                    traceback.print_exc()
        if self.exported:
            self.telemetry.emit(self._record(entry))

    def _chosen(self) -> SerialScheduler:
        if self._scheduler is None:
            self._scheduler = default_scheduler()
        return self._scheduler

    def _record(self, entry: LogEntry) -> TelemetryData:
        request = ExportLogsServiceRequest()
        group = request.resource_logs.add(resource=self._resource)
        scope = group.scope_logs.add()
        scope.scope.name = f"{self.name}.{entry.logger}"
        record = scope.log_records.add(
            time_unix_nano=entry.timestamp,
            observed_time_unix_nano=entry.timestamp,
            severity_number=_SEVERITIES[entry.level],
            severity_text=entry.level.name,
        )
        record.body.string_value = shown(entry.message)
        context = entry.context
        attributes = {
            **context.attributes,
            **entry.metadata,
            "execution.id": context.execution_id,
            "execution.sequence": context.sequence,
        }
        fill(
            record.attributes, {shown(key): _encodable(value) for key, value in attributes.items()}
        )
        if context.trace is not None:
            record.trace_id = bytes.fromhex(context.trace.trace_id)
            record.span_id = bytes.fromhex(context.trace.span_id)
        return TelemetryData.from_message(request)

    def __repr__(self) -> str:
        return f"<FlowLog {self.name}>"


def shown(value: Any) -> str:
    """`value` as text that can be sent. What is told of must not fail because it is told of."""
    try:
        return str(value).encode(errors="replace").decode()  # half a surrogate pair cannot
    except Exception:  # how it shows itself is its own code
        return f"<{type(value).__name__}>"


def _encodable(value: Any) -> Any:
    """`value`, or its text where OTLP has no such value."""
    try:
        any_value(value)
    except Exception:  # also whatever a mapping of its own, or one within itself, raises
        return shown(value)
    return value


def _extra(entry: LogEntry) -> dict[str, Any]:
    context, trace = entry.context, entry.context.trace
    return {
        "execution_id": context.execution_id,
        "sequence": context.sequence,
        "timestamp_ns": entry.timestamp,
        "trace_id": "" if trace is None else trace.trace_id,
        "span_id": "" if trace is None else trace.span_id,
        "metadata": dict(entry.metadata),
        "entry": entry,
    }
