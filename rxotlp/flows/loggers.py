"""Loggers: what flows tell about themselves, as log entries.

    ExecutionFlowLogger   operations: start, end with result and duration, error
    ControlFlowLogger     what was decided, and the way from node to node
    DataFlowLogger        data: start, each processor with sizes, end with its time

Attaching one is one argument, `logger=`, of every flow and of organizers; several are a
list. Those that are given one `FlowLog` write to it together. A logger at `LogLevel.OFF`
costs a look at its switch.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.flows import results
from rxotlp.flows._telemetry import Telemetry
from rxotlp.flows.context import ExecutionContext, TraceContext
from rxotlp.flows.events import EventKind
from rxotlp.flows.log import FlowLog, LogEntry, LogLevel, shown
from rxotlp.flows.operations import Operation
from rxotlp.flows.results import ExecutionResult
from rxotlp.schedulers import SerialScheduler

__all__ = [
    "Attached",
    "ControlDecision",
    "ControlFlowLogger",
    "DataFlowLogger",
    "ExecutionFlowLogger",
    "FlowLogger",
    "attached",
]

Made = TelemetryData | Sequence[TelemetryData] | None  # what a processor made

_MAX_STARTED = 10_000  # operations under way whose start is remembered

# An enumeration's member is found by a function of `enum` (in Python 3.11), which takes longer
# than all that a logger does that says nothing.
_DEBUG, _INFO, _ERROR, _OFF = LogLevel.DEBUG, LogLevel.INFO, LogLevel.ERROR, LogLevel.OFF
_STARTED, _FINISHED, _FAILED = EventKind.STARTED, EventKind.FINISHED, EventKind.FAILED


@dataclass(frozen=True, slots=True)
class ControlDecision:
    """Something was decided.

    Attributes:
        node: where: a node, a phase or an operation.
        outcome: what was found: what a condition said, the flow that a router chose.
        chosen: where it goes on; None when nowhere.
        reason: for people.
    """

    node: str
    outcome: Any
    chosen: str | None = None
    reason: str = ""


class FlowLogger:
    """What all loggers have in common.

    Args:
        log: where entries go; a `FlowLog` of its own without.
        level: the least that is said; OFF says nothing. May be changed at any time.

    Attributes:
        enabled: whether anything is said at all.
        log: as given or made.
    """

    kind = ""

    def __init__(self, log: FlowLog | None = None, *, level: LogLevel = LogLevel.INFO) -> None:
        name = type(self).__name__
        if log is not None and not isinstance(log, FlowLog):
            raise TypeError(f"{name}(log={log!r}): expected a FlowLog")
        self.log = FlowLog() if log is None else log
        self._wanted = self.log.to(self.kind).isEnabledFor
        self.level = level

    @property
    def level(self) -> LogLevel:
        """The least that is said."""
        return self._level

    @level.setter
    def level(self, level: LogLevel) -> None:
        if not isinstance(level, LogLevel):
            raise TypeError(f"{type(self).__name__}(level={level!r}): expected a LogLevel")
        self._level = level
        self.enabled = level < _OFF
        self._informing = level <= _INFO

    @property
    def telemetry(self) -> Telemetry:
        """The entries of this logger's log as OTLP: a stream of `TelemetryData`."""
        return self.log.telemetry

    def informs(self) -> bool:
        """`says(LogLevel.INFO)`, which is asked most, in less time."""
        if not self._informing:
            return False
        made = self.log.made
        return self._wanted(_INFO) or (made is not None and made.accepting)

    def says(self, level: LogLevel) -> bool:
        """Whether an entry of `level` would be made, and reach anybody."""
        return level >= self._level and (self._wanted(level) or self.log.exported)

    def _say(
        self,
        level: LogLevel,
        message: str,
        context: ExecutionContext,
        metadata: Mapping[str, Any],
        time: int | None = None,
    ) -> None:
        now = self.log.now() if time is None else time
        self.log.write(LogEntry(now, level, message, context.next(), metadata, self.kind))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._level.name}>"


class ExecutionFlowLogger(FlowLogger):
    """Tells of operations: INFO when one starts and ends, ERROR when it fails."""

    kind = "execution"

    def __init__(self, log: FlowLog | None = None, *, level: LogLevel = LogLevel.INFO) -> None:
        super().__init__(log, level=level)
        self._started: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()

    def hears(self, kind: EventKind) -> bool:
        """Whether `observe` does anything with events of a kind.

        Starts are remembered where they are told, and by a logger that is to tell of errors
        alone; else an error is told without its duration.
        """
        return not self._informing or kind is _FAILED or self.informs()

    def observe(
        self,
        kind: EventKind,
        operation: Operation,
        context: ExecutionContext,
        time: int,
        result: ExecutionResult | None,
        error: BaseException | None,
    ) -> None:
        """Hear what a flow does with an operation."""
        key = (context.execution_id, context.sequence)
        if kind is _STARTED:
            with self._lock:
                if len(self._started) >= _MAX_STARTED:  # they were abandoned, never ended
                    del self._started[next(iter(self._started))]
                self._started[key] = time
            self.log_execution_start(operation, context, time=time)
            return
        with self._lock:
            started = self._started.pop(key, None)
        seconds = None if started is None else (time - started) / 1e9
        if kind is _FAILED:
            assert error is not None
            self.log_execution_error(operation, error, context, duration=seconds, time=time)
        elif seconds is None:
            return  # nobody was told that it started
        elif kind is _FINISHED:
            assert result is not None
            self.log_execution_end(operation, result, context, duration=seconds, time=time)
        elif self.informs():
            metadata = {"operation": operation.label, "duration": seconds}
            text = f"execution cancelled: {operation.label}"
            self._say(_INFO, text, context, metadata, time)

    def log_execution_start(
        self, operation: Operation, context: ExecutionContext, *, time: int | None = None
    ) -> None:
        """An operation starts."""
        if self.informs():
            metadata = {"operation": operation.label}
            text = f"execution starts: {operation.label}"
            self._say(_INFO, text, context, metadata, time)

    def log_execution_end(
        self,
        operation: Operation,
        result: ExecutionResult,
        context: ExecutionContext,
        *,
        duration: float,
        time: int | None = None,
    ) -> None:
        """An operation ends, after `duration` seconds."""
        if self.informs():
            kind = type(result).__name__
            metadata = {"operation": operation.label, "result": kind, "duration": duration}
            text = f"execution ends: {operation.label}, {kind} after {duration:.6f} s"
            self._say(_INFO, text, _of(result, context), metadata, time)

    def log_execution_error(
        self,
        operation: Operation,
        error: BaseException,
        context: ExecutionContext,
        *,
        duration: float | None = None,
        time: int | None = None,
    ) -> None:
        """An operation failed, after `duration` seconds if that is known."""
        if self.says(_ERROR):
            metadata = {"operation": operation.label, **_described(error)}
            if duration is not None:
                metadata["duration"] = duration
            text = f"execution failed: {operation.label}, {_line(error)}"
            self._say(_ERROR, text, context, metadata, time)


class ControlFlowLogger(FlowLogger):
    """Tells of the way that control takes: decisions at INFO, transitions at DEBUG."""

    kind = "control"

    def log_control_decision(
        self, decision: ControlDecision, context: ExecutionContext, *, time: int | None = None
    ) -> None:
        """Something was decided."""
        if self.informs():
            chosen = "nowhere" if decision.chosen is None else decision.chosen
            why = f" ({decision.reason})" if decision.reason else ""
            metadata = {
                "node": decision.node,
                "outcome": _plain(decision.outcome),
                "chosen": chosen,
                "reason": decision.reason,
            }
            outcome = shown(decision.outcome)
            text = f"control decision: {decision.node} is {outcome}, on to {chosen}{why}"
            self._say(_INFO, text, context, metadata, time)

    def log_control_flow_transition(
        self, start: str, end: str, context: ExecutionContext, *, time: int | None = None
    ) -> None:
        """Control goes from one node to another."""
        if self.says(_DEBUG):
            text = f"control transition: {start} -> {end}"
            self._say(_DEBUG, text, context, {"from": start, "to": end}, time)


class DataFlowLogger(FlowLogger):
    """Tells of data: INFO when it starts and ends, DEBUG for each processor, ERROR."""

    kind = "data"

    def log_data_flow_start(
        self, data: TelemetryData, context: ExecutionContext, *, time: int | None = None
    ) -> None:
        """Data arrives."""
        if self.informs():
            items, size = _sizes(data)
            metadata = {"signal": data.signal.value, "items": items, "bytes": size}
            self._say(_INFO, f"data flow starts: {data!r}", context, metadata, time)

    def log_data_processing(
        self,
        processor: str,
        given: TelemetryData,
        made: Made,
        context: ExecutionContext,
        *,
        time: int | None = None,
    ) -> None:
        """A processor made `made` of `given`; nothing when it filtered all of it."""
        if self.says(_DEBUG):
            before, after = _sizes(given), _sizes(made)
            metadata = {
                "processor": processor,
                "input.items": before[0],
                "input.bytes": before[1],
                "output.items": after[0],
                "output.bytes": after[1],
            }
            text = (
                f"data processing: {processor}, in: {before[0]} items, {before[1]} bytes, "
                f"out: {after[0]} items, {after[1]} bytes"
            )
            self._say(_DEBUG, text, context, metadata, time)

    def log_data_flow_end(
        self,
        data: Made,
        duration: float,
        context: ExecutionContext,
        *,
        time: int | None = None,
    ) -> None:
        """Data leaves, after `duration` seconds; nothing when all of it was filtered."""
        if self.informs():
            items, size = _sizes(data)
            metadata = {"items": items, "bytes": size, "duration": duration}
            left = repr(data) if isinstance(data, TelemetryData) else _counted(data)
            text = f"data flow ends: {left}, after {duration:.6f} s"
            self._say(_INFO, text, context, metadata, time)

    def log_data_flow_error(
        self, error: BaseException, context: ExecutionContext, *, time: int | None = None
    ) -> None:
        """Data could not be processed."""
        if self.says(_ERROR):
            text = f"data flow failed: {_line(error)}"
            self._say(_ERROR, text, context, _described(error), time)


# -- attaching -----------------------------------------------------------------------------

Attached = FlowLogger | Iterable[FlowLogger] | None


def attached(
    call: str, logger: Attached, scheduler: SerialScheduler | None
) -> tuple[FlowLogger, ...]:
    """The loggers in a flow's `logger=`, bound to its scheduler if it has one.

    Raises:
        TypeError: it is neither a logger nor several.
    """
    if logger is None:
        return ()
    given = (logger,) if isinstance(logger, FlowLogger) else logger
    if not isinstance(given, Iterable):
        raise TypeError(f"{call}(logger={logger!r}): expected a logger of rxotlp.flows, or several")
    loggers = tuple(given)
    for one in loggers:
        if not isinstance(one, FlowLogger):
            raise TypeError(f"{call}(logger={one!r}): expected a logger of rxotlp.flows")
        if scheduler is not None:
            one.log.bind(scheduler)
    return loggers


def _of(result: ExecutionResult, context: ExecutionContext) -> ExecutionContext:
    """With the span that an operation opened or ended, which the context before has not."""
    if isinstance(result, results.Success) and result.span_id:
        return context.with_trace(TraceContext(result.trace_id, result.span_id))
    return context


def _sizes(made: Made) -> tuple[int | None, int]:
    """Items and bytes; None where items cannot be counted, which is not the logger's to tell."""
    parts = (made,) if isinstance(made, TelemetryData) else made or ()
    size = sum(part.size for part in parts)
    try:
        return sum(part.items for part in parts), size
    except DecodeError:
        return None, size


def _counted(parts: Sequence[TelemetryData] | None) -> str:
    if not parts:
        return "nothing is left"
    items, size = _sizes(parts)
    return f"{len(parts)} elements of {items} items, {size} bytes"


def _line(error: BaseException) -> str:
    text = shown(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _described(error: BaseException) -> dict[str, Any]:
    return {"exception.type": type(error).__name__, "exception.message": shown(error)}


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else shown(value)
