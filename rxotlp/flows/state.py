"""`ControlState`: what all operations of a flow work on.

Open traces, data points and counters, behind one lock; it is held for the few lines that
change them, never while anything is emitted. Flows that share a state share its traces, its
metrics and its `telemetry`, as the halves of a `HybridControlFlow` do.
"""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, NamedTuple, get_args

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from reactivex import abc
from reactivex.disposable import Disposable

from rxotlp.admission import Admission
from rxotlp.data import TelemetryData
from rxotlp.errors import UnsupportedOperation
from rxotlp.flows import results
from rxotlp.flows._metrics import Metrics, Temporality
from rxotlp.flows._telemetry import Telemetry
from rxotlp.flows._traces import Traces, fill
from rxotlp.flows.context import ExecutionContext, TraceContext
from rxotlp.flows.events import Events
from rxotlp.flows.operations import (
    AddSpan,
    EndTrace,
    Metric,
    Operation,
    RecordMetric,
    RecursiveMetric,
    StartTrace,
)
from rxotlp.flows.results import ExecutionResult
from rxotlp.operators._shell import check_count, check_seconds
from rxotlp.schedulers import SerialScheduler, default_scheduler
from rxotlp.schedulers.forks import watch

__all__ = ["ControlState", "Performed", "Statistics"]

SCOPE = "rxotlp.flows"


class Performed(NamedTuple):
    """What an operation gave, and the context of what follows it in its group."""

    result: ExecutionResult
    context: ExecutionContext


@dataclass(frozen=True, slots=True)
class Statistics:
    """A flow's counters.

    Attributes:
        performed: operations done, by the name of their class.
        open_spans, open_traces, points: what is held now.
        unended: spans that nobody ended before their trace left.
        overflowed: measurements without a data point of their own.
        emitted, unobserved, refused, undelivered: items, see `Telemetry`.
        missed_events: see `Events`.
    """

    performed: Mapping[str, int]
    open_spans: int
    open_traces: int
    points: int
    unended: int
    overflowed: int
    emitted: int
    unobserved: int
    refused: int
    undelivered: int
    missed_events: int


class ControlState:
    """Traces, metrics and counters, safe from many threads.

    Args:
        scheduler: gives times and turns; the process's default one without.
        resource: who is speaking, as attributes; `service.name` is unknown without.
        temporality: of sums and histograms: "cumulative" or "delta".
        metric_interval: seconds from a measurement until metrics leave by themselves; None
            leaves it to `collect` and to the end.
        max_open_spans: spans that may be open at once, 1 or more.
        max_waiting_spans: ended spans of a trace that wait for its root; more leave ahead.
        max_points: data points held, 1 or more; what needs one more shares an overflow point
            of its metric. So many metrics there may be at most; one more is a FlowError.
        max_events: events that wait for observers, 1 or more.
        admission: bounds the telemetry in flight.
        seed: makes ids repeatable, for tests.

    Attributes:
        telemetry: what operations made, as a stream of `TelemetryData`.
        events: what happened to operations.
    """

    def __init__(
        self,
        *,
        scheduler: SerialScheduler | None = None,
        resource: Mapping[str, Any] | None = None,
        temporality: Temporality = "cumulative",
        metric_interval: float | None = 60.0,
        max_open_spans: int = 20_000,
        max_waiting_spans: int = 1_000,
        max_points: int = 2_000,
        max_events: int = 10_000,
        admission: Admission | None = None,
        seed: int | None = None,
    ) -> None:
        if temporality not in get_args(Temporality):
            raise ValueError(
                f"ControlState(temporality={temporality!r}): expected 'cumulative' or 'delta'"
            )
        for name, value in (
            ("max_open_spans", max_open_spans),
            ("max_waiting_spans", max_waiting_spans),
            ("max_points", max_points),
            ("max_events", max_events),
        ):
            check_count(f"ControlState({name}", value, why="nothing could ever be held")
        if metric_interval is not None:
            check_seconds(
                "ControlState(metric_interval", metric_interval, why="None leaves it to collect()"
            )
        self.scheduler = default_scheduler() if scheduler is None else scheduler
        self.telemetry = Telemetry(self.scheduler, admission=admission, complete=self.complete)
        self.events = Events(self.scheduler, max_events)
        self._lock = threading.Lock()
        self._resource = Resource()
        fill(self._resource.attributes, {"service.name": "unknown_service", **(resource or {})})
        # os.urandom, unlike a seeded generator, makes other ids in a forked child.
        make_id = os.urandom if seed is None else Random(seed).randbytes
        self._traces = Traces(
            make_id, self._spans_leave, max_open=max_open_spans, max_waiting=max_waiting_spans
        )
        self._metrics = Metrics(
            self.scheduler.timestamp_ns(), temporality=temporality, max_points=max_points
        )
        self._interval = metric_interval
        self._timer: abc.DisposableBase | None = None
        self._performed: dict[str, int] = {}
        self._leaving: list[TelemetryData] = []
        self._make_id = make_id
        watch(self)

    # -- operations ------------------------------------------------------------------------

    def new_context(self, attributes: Mapping[str, Any] | None = None) -> ExecutionContext:
        """The context of an execution of its own."""
        with self._lock:
            execution_id = self._make_id(16).hex()
        return ExecutionContext(execution_id, attributes=dict(attributes or {}))

    def perform(self, operation: Operation, context: ExecutionContext) -> Performed:
        """Do one plain operation.

        Raises:
            UnsupportedOperation: it is not one of those that make OTLP.
            UnknownSpan, TooManySpans: see there.
        """
        now = self.scheduler.timestamp_ns()
        try:
            with self._lock:
                performed = self._do(operation, context, now)
                kind = type(operation).__name__
                self._performed[kind] = self._performed.get(kind, 0) + 1
                leaving, self._leaving = self._leaving, []
        except Exception as error:
            if not getattr(error, "path", True):
                error.path = context.path  # type: ignore[attr-defined]
            raise
        for data in leaving:
            self.telemetry.emit(data)
        return performed

    def collect(self) -> None:
        """Let all metrics leave now."""
        self._flush(complete=False)

    def complete(self) -> None:
        """End what is open, and let everything leave. The state may be used on."""
        self._flush(complete=True)

    def statistics(self) -> Statistics:
        """The counters, at one moment."""
        telemetry = self.telemetry
        with self._lock:
            return Statistics(
                performed=dict(self._performed),
                open_spans=len(self._traces),
                open_traces=self._traces.traces(),
                points=len(self._metrics),
                unended=self._traces.unended,
                overflowed=self._metrics.overflowed,
                emitted=telemetry.emitted,
                unobserved=telemetry.unobserved,
                refused=telemetry.refused,
                undelivered=telemetry.undelivered,
                missed_events=self.events.missed,
            )

    def __repr__(self) -> str:
        with self._lock:
            return f"<ControlState {len(self._traces)} open spans, {len(self._metrics)} points>"

    # -- under the lock --------------------------------------------------------------------

    def _do(self, operation: Operation, context: ExecutionContext, now: int) -> Performed:
        traces = self._traces
        match operation:
            case StartTrace():
                opened = traces.start(operation, context.trace, now)
                return Performed(_span(opened), context.with_trace(opened))
            case AddSpan():
                opened = traces.add(operation, context.trace, now)
                return Performed(_span(opened), context.with_trace(opened))
            case EndTrace():
                ended = traces.end(operation, context.trace, now)
                current = traces.nearest_open(context.trace)
                return Performed(_span(ended), context.with_trace(current))
            case RecordMetric(metric):
                return self._record(operation, metric, context, now)
            case RecursiveMetric(metric, factor):
                if factor > 1.0:
                    metric = replace(metric, value=metric.value * factor)
                return self._record(operation, metric, context, now)
        raise UnsupportedOperation(
            f"{operation.label}: expected a StartTrace, AddSpan, EndTrace, RecordMetric or "
            "RecursiveMetric; other operations are for the flows that take them apart",
            operation=operation,
        )

    def _record(
        self, operation: Operation, metric: Metric, context: ExecutionContext, now: int
    ) -> Performed:
        self._metrics.record(operation, metric, now)
        if self._timer is None and self._interval is not None:
            self._timer = self.scheduler.schedule_relative(self._interval, self._due)
        return Performed(results.Metric(metric), context)

    def _spans_leave(self, spans: list[Span]) -> None:
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add(resource=self._resource)
        scope = group.scope_spans.add()
        scope.scope.name = SCOPE
        scope.spans.extend(spans)
        self._leaving.append(TelemetryData.from_message(request))

    def _metrics_leave(self, now: int) -> None:
        metrics = self._metrics.collect(now)
        if metrics:
            request = ExportMetricsServiceRequest()
            group = request.resource_metrics.add(resource=self._resource)
            scope = group.scope_metrics.add()
            scope.scope.name = SCOPE
            scope.metrics.extend(metrics)
            self._leaving.append(TelemetryData.from_message(request))

    # -- without it ------------------------------------------------------------------------

    def _flush(self, *, complete: bool) -> None:
        now = self.scheduler.timestamp_ns()
        with self._lock:
            timer, self._timer = self._timer, None
            if complete:
                self._traces.complete(now)
            self._metrics_leave(now)
            leaving, self._leaving = self._leaving, []
        if timer is not None:
            timer.dispose()
        for data in leaving:
            self.telemetry.emit(data)

    def _after_fork(self) -> None:
        # Another thread may have held it in the parent, and is not here to release it.
        self._lock = threading.Lock()

    def _due(self, _scheduler: abc.SchedulerBase, _state: Any) -> abc.DisposableBase:
        self.collect()
        return Disposable()


def _span(context: TraceContext) -> results.Success:
    return results.Success(span_id=context.span_id, trace_id=context.trace_id)
