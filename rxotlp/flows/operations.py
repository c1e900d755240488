"""What a flow can be told to do.

Operations are plain values: making one does nothing, and the same one may be executed by
any flow, any number of times. Executing them makes OTLP (see `rxotlp.flows.state`).

Most programs never name a span: an operation without one means the current span of the
`ExecutionContext` it is executed in. `StartTrace` and `AddSpan` make theirs the current
span for what follows in their group, `EndTrace` goes back to its parent:

    [StartTrace("order"), AddSpan(None, "pay"), EndTrace(), EndTrace()]

The names are those of the analysis that rxotlp grew from; `Call` is new, so that real work
can stand between a span's start and its end.
"""

import enum
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rxotlp.flows._arguments import (
    Attributes,
    check_id,
    check_name,
    check_text,
    frozen,
    is_finite,
    none,
)

__all__ = [
    "AddSpan",
    "BatchProcessing",
    "Call",
    "ComplexTrace",
    "EndTrace",
    "HighLatency",
    "Metric",
    "MetricKind",
    "NestedTrace",
    "NonBlocking",
    "Operation",
    "RecordMetric",
    "RecursiveMetric",
    "SpanKind",
    "SpanStatus",
    "StartTrace",
]

# fmt: off
_DEFAULT_BOUNDS = (  # the specification's, for histograms of milliseconds
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0,
    500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0,
)
# fmt: on


class SpanKind(enum.IntEnum):
    """Which side of a call a span describes; OTLP's own numbers."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class SpanStatus(enum.IntEnum):
    """How what a span describes went; OTLP's own numbers."""

    UNSET = 0
    OK = 1
    ERROR = 2


class MetricKind(enum.Enum):
    """How a metric's values become one data point."""

    SUM = "sum"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One measurement.

    Args:
        name: the metric's name.
        value: what was measured; finite.
        kind: SUM adds up, GAUGE keeps the last, HISTOGRAM counts by `bounds`.
        unit: UCUM, such as "s" or "By".
        description: for people.
        attributes: measurements with equal ones share a data point.
        monotonic: of a SUM that only grows.
        bounds: of a HISTOGRAM: upper edges, increasing. The SDK's by default.

    Raises:
        ValueError, TypeError: an argument is out of its range.
    """

    name: str
    value: float
    kind: MetricKind = MetricKind.SUM
    unit: str = ""
    description: str = ""
    attributes: Attributes = field(default_factory=none, hash=False)
    monotonic: bool = True
    bounds: tuple[float, ...] = _DEFAULT_BOUNDS

    def __post_init__(self) -> None:
        call = f"Metric({self.name!r}"
        check_name("Metric", self.name)
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise TypeError(f"{call}, value={self.value!r}): expected an int or a float")
        check_text(f"{call}, unit", self.unit)
        check_text(f"{call}, description", self.description)
        if not is_finite(self.value):
            raise ValueError(f"{call}, value={self.value}): expected a finite number")
        if not isinstance(self.kind, MetricKind):
            raise TypeError(f"{call}, kind={self.kind!r}): expected a MetricKind")
        if self.kind is MetricKind.SUM and self.monotonic and self.value < 0:
            raise ValueError(
                f"{call}, value={self.value}): expected 0 or more; a monotonic sum never "
                "shrinks (monotonic=False for one that may)"
            )
        bounds = tuple(map(float, self.bounds))
        if list(bounds) != sorted(set(bounds)) or not all(map(math.isfinite, bounds)):
            raise ValueError(f"{call}, bounds={self.bounds}): expected finite, increasing edges")
        object.__setattr__(self, "bounds", bounds)
        object.__setattr__(self, "attributes", frozen(f"{call}, attributes", self.attributes))


class Operation:
    """Something a flow can execute."""

    __slots__ = ()

    @property
    def label(self) -> str:
        """A short name for paths, logs and errors; never the whole tree below."""
        name = getattr(self, "name", "")
        return f"{type(self).__name__}({name})" if name else type(self).__name__


@dataclass(frozen=True, slots=True)
class StartTrace(Operation):
    """Open the root span of a new trace.

    Args:
        name: the span's.
        attributes: the span's.
        kind: which side of a call it describes.
        span_id: 16 hex digits, for those who must know it beforehand; made up otherwise.
        trace_id: 32 hex digits, likewise.
        parent_span_id: 16 hex digits of a span elsewhere whose child this is; with
            `trace_id`.
    """

    name: str
    attributes: Attributes = field(default_factory=none, hash=False)
    kind: SpanKind = SpanKind.INTERNAL
    span_id: str | None = None
    trace_id: str | None = None
    parent_span_id: str | None = None

    def __post_init__(self) -> None:
        _check_span(self)
        check_id(self, "trace_id", self.trace_id, 32)
        check_id(self, "parent_span_id", self.parent_span_id, 16)
        if self.parent_span_id is not None and self.trace_id is None:
            raise ValueError(
                f"StartTrace({self.name!r}, parent_span_id=...): expected its trace_id as well"
            )


@dataclass(frozen=True, slots=True)
class AddSpan(Operation):
    """Open a child span.

    Args:
        parent: the id of an open span; None for the current one.
        name, attributes, kind, span_id: as in `StartTrace`.
    """

    parent: str | None
    name: str
    attributes: Attributes = field(default_factory=none, hash=False)
    kind: SpanKind = SpanKind.INTERNAL
    span_id: str | None = None

    def __post_init__(self) -> None:
        _check_span(self)
        check_id(self, "parent", self.parent, 16)


@dataclass(frozen=True, slots=True)
class EndTrace(Operation):
    """End a span; the trace leaves when its root ends.

    Args:
        span_id: the id of an open span; None for the current one.
        status: how it went.
        message: why, for an ERROR.
        attributes: added to the span's.
    """

    span_id: str | None = None
    status: SpanStatus = SpanStatus.UNSET
    message: str = ""
    attributes: Attributes = field(default_factory=none, hash=False)

    def __post_init__(self) -> None:
        check_id(self, "span_id", self.span_id, 16)
        if not isinstance(self.status, SpanStatus):
            raise TypeError(f"EndTrace(status={self.status!r}): expected a SpanStatus")
        check_text("EndTrace(message", self.message)
        object.__setattr__(self, "attributes", frozen("EndTrace(attributes", self.attributes))


@dataclass(frozen=True, slots=True)
class RecordMetric(Operation):
    """Add a measurement to its data point."""

    metric: Metric

    def __post_init__(self) -> None:
        _check_metric("RecordMetric(metric", self.metric)

    @property
    def name(self) -> str:
        """The metric's."""
        return self.metric.name


@dataclass(frozen=True, slots=True)
class RecursiveMetric(Operation):
    """Add a measurement times a factor; one of at most 1.0 leaves it as it is."""

    base_metric: Metric
    recursion_factor: float

    def __post_init__(self) -> None:
        _check_metric("RecursiveMetric(base_metric", self.base_metric)
        factor = self.recursion_factor
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            raise TypeError(f"RecursiveMetric(recursion_factor={factor!r}): expected a number")
        if not is_finite(factor):
            raise ValueError(f"RecursiveMetric(recursion_factor={factor}): expected it finite")

    @property
    def name(self) -> str:
        """The metric's."""
        return self.base_metric.name


@dataclass(frozen=True, slots=True)
class Call(Operation):
    """Call a function of the program's; what it returns is executed after it.

    Args:
        function: called with the `ExecutionContext`; plain or `async`. It returns None, an
            operation, several, or any other value, which becomes the result's.
        name: for paths and logs; the function's own by default.
    """

    function: Callable[[Any], Any]
    name: str = ""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"Call(function={self.function!r}): expected a function")
        if not self.name:
            object.__setattr__(self, "name", getattr(self.function, "__name__", "function"))


@dataclass(frozen=True, slots=True)
class ComplexTrace(Operation):
    """Parts that must be done first, in order, and parts that may be done together after.

    Only a `HybridControlFlow` runs the `async_parts` together; elsewhere they are done in
    order too.
    """

    critical_parts: Sequence[Operation]
    async_parts: Sequence[Operation] = ()

    def __post_init__(self) -> None:
        _keep_operations(self, "critical_parts")
        _keep_operations(self, "async_parts")


@dataclass(frozen=True, slots=True, repr=False)
class NestedTrace(Operation):
    """Operations one level deeper: what they do to the current span ends with them.

    Args:
        child_operations: done in order.
        name: with one, the level is a span itself: a child of the current span, or the root
            of a trace of its own.
    """

    child_operations: Sequence[Operation]
    name: str = ""

    def __post_init__(self) -> None:
        _keep_operations(self, "child_operations")
        check_text("NestedTrace(name", self.name)

    def __repr__(self) -> str:
        # Of a tree ten thousand levels deep nobody wants, and Python cannot make, a repr.
        return f"NestedTrace({len(self.child_operations)} operations, name={self.name!r})"


@dataclass(frozen=True, slots=True)
class HighLatency(Operation):
    """An operation that takes long: strategies prefer to do it asynchronously."""

    operation: Operation

    def __post_init__(self) -> None:
        _check_operation("HighLatency(operation", self.operation)


@dataclass(frozen=True, slots=True)
class NonBlocking(Operation):
    """An operation that never waits: it fits where nothing may block."""

    operation: Operation

    def __post_init__(self) -> None:
        _check_operation("NonBlocking(operation", self.operation)


@dataclass(frozen=True, slots=True)
class BatchProcessing(Operation):
    """Operations that belong together, done in order."""

    operations: Sequence[Operation]

    def __post_init__(self) -> None:
        _keep_operations(self, "operations")


# -- arguments -----------------------------------------------------------------------------


def _check_span(operation: StartTrace | AddSpan) -> None:
    call = type(operation).__name__
    check_name(call, operation.name)
    if not isinstance(operation.kind, SpanKind):
        raise TypeError(f"{call}({operation.name!r}, kind={operation.kind!r}): expected a SpanKind")
    check_id(operation, "span_id", operation.span_id, 16)
    attributes = frozen(f"{call}({operation.name!r}, attributes", operation.attributes)
    object.__setattr__(operation, "attributes", attributes)


def _check_metric(call: str, metric: object) -> None:
    if not isinstance(metric, Metric):
        raise TypeError(f"{call}={metric!r}): expected a Metric")


def _check_operation(call: str, operation: object) -> None:
    if not isinstance(operation, Operation):
        raise TypeError(f"{call}={operation!r}): expected an operation")


def _keep_operations(operation: Operation, argument: str) -> None:
    call = f"{type(operation).__name__}({argument}"
    given = getattr(operation, argument)
    if isinstance(given, Operation) or not isinstance(given, Iterable):
        raise TypeError(f"{call}={given!r}): expected several operations, as a list")
    kept = tuple(given)
    for at, one in enumerate(kept):
        _check_operation(f"{call}[{at}]", one)
    object.__setattr__(operation, argument, kept)
