"""Measurements become data points. No clock, no lock, no I/O.

Measurements of one metric with equal attributes share a point. With cumulative temporality
a point counts from when the flow began, with delta from when the last ones left; a gauge
has no temporality (OTLP data model, "Temporality"). Above `max_points` whatever needs a
point of its own goes to one with `otel.metric.overflow`, as in the SDK's specification
("Cardinality limits"), so that attributes without bound cannot take all memory.
"""

from bisect import bisect_left
from collections.abc import Hashable
from typing import Any, Literal

from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)

from rxotlp.errors import FlowError, UnsupportedOperation
from rxotlp.flows import operations
from rxotlp.flows._arguments import Attributes
from rxotlp.flows._traces import fill
from rxotlp.flows.operations import MetricKind

__all__ = ["Metrics", "Temporality"]

Temporality = Literal["cumulative", "delta"]

_OVERFLOW = {"otel.metric.overflow": True}


class _Stream:
    """One metric: what its measurements have in common, and its points."""

    __slots__ = ("identity", "points", "shape")

    def __init__(self, measured: operations.Metric) -> None:
        self.shape = measured
        self.identity = _identity(measured)
        self.points: dict[Hashable, Any] = {}


class Metrics:
    """The metrics of one flow.

    Args:
        start: when it began, in nanoseconds since the epoch.
        temporality: of sums and histograms.
        max_points: data points of all metrics together.

    Attributes:
        overflowed: measurements that went to an overflow point.
    """

    __slots__ = ("_count", "_max_points", "_start", "_streams", "_temporality", "overflowed")

    def __init__(self, start: int, *, temporality: Temporality, max_points: int) -> None:
        self._start = start
        self._temporality = temporality
        self._max_points = max_points
        self._streams: dict[str, _Stream] = {}
        self._count = 0
        self.overflowed = 0

    def __len__(self) -> int:
        return self._count

    def record(
        self, operation: operations.Operation, measured: operations.Metric, now: int
    ) -> None:
        """Add one measurement.

        Raises:
            UnsupportedOperation: the name is known with another kind, unit or bounds; one
                name with two meanings is what receivers cannot undo.
            FlowError: it is a new name, and there are as many as there may be points.
        """
        stream = self._streams.get(measured.name)
        if stream is None:
            if len(self._streams) >= self._max_points:
                raise FlowError(
                    f"{operation.label}: {len(self._streams)} metrics are known, which is the "
                    "limit (max_points); expected one of these, with attributes for what differs",
                    operation=operation,
                )
            stream = self._streams[measured.name] = _Stream(measured)
        elif stream.identity != _identity(measured):
            shape = stream.shape
            raise UnsupportedOperation(
                f"{operation.label}: {measured.name} is a {measured.kind.value} in "
                f"{measured.unit or 'no unit'}; expected a {shape.kind.value} in "
                f"{shape.unit or 'no unit'} with the same bounds, as before",
                operation=operation,
            )
        attributes = measured.attributes
        key = _key(attributes)
        point = stream.points.get(key)
        if point is None:
            if self._count >= self._max_points:
                self.overflowed += 1
                attributes = _OVERFLOW
                key = _key(attributes)
                point = stream.points.get(key)
            if point is None:
                point = stream.points[key] = self._new_point(measured, attributes)
                self._count += 1
        _add(point, measured)
        point.time_unix_nano = now

    def collect(self, now: int) -> list[Metric]:
        """What was measured, as OTLP; with delta temporality it begins anew."""
        made = []
        for stream in self._streams.values():
            points = list(stream.points.values())
            if not points:
                continue
            kind = stream.shape.kind
            metric = Metric(
                name=stream.shape.name,
                unit=stream.shape.unit,
                description=stream.shape.description,
            )
            if kind is not MetricKind.GAUGE:
                for point in points:
                    point.time_unix_nano = now
            if kind is MetricKind.SUM:
                metric.sum.data_points.extend(points)
                metric.sum.is_monotonic = stream.shape.monotonic
                metric.sum.aggregation_temporality = self._otlp_temporality()
            elif kind is MetricKind.GAUGE:
                metric.gauge.data_points.extend(points)
            else:
                metric.histogram.data_points.extend(points)
                metric.histogram.aggregation_temporality = self._otlp_temporality()
            made.append(metric)
        if self._temporality == "delta":
            for stream in self._streams.values():
                stream.points.clear()
            self._count = 0
            self._start = now
        return made

    def _new_point(self, measured: operations.Metric, attributes: Any) -> Any:
        point: Any
        if measured.kind is MetricKind.HISTOGRAM:
            edges = measured.bounds
            point = HistogramDataPoint(
                explicit_bounds=edges, bucket_counts=[0] * (len(edges) + 1), sum=0.0
            )
        else:
            point = NumberDataPoint()
        if measured.kind is not MetricKind.GAUGE:
            point.start_time_unix_nano = self._start
        fill(point.attributes, attributes)
        return point

    def _otlp_temporality(self) -> Any:
        if self._temporality == "delta":
            return AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
        return AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def _identity(measured: operations.Metric) -> tuple[object, ...]:
    edges = measured.bounds if measured.kind is MetricKind.HISTOGRAM else ()
    return (measured.kind, measured.unit, measured.monotonic, edges)


def _key(attributes: Attributes) -> Hashable:
    # By text: values may be lists, and 1 is not True.
    return tuple(sorted((name, repr(value)) for name, value in attributes.items()))


def _add(point: Any, measured: operations.Metric) -> None:
    value = measured.value
    if measured.kind is MetricKind.HISTOGRAM:
        at = bisect_left(measured.bounds, value)  # an edge belongs to the bucket below it
        point.bucket_counts[at] += 1
        point.min = value if not point.count else min(point.min, value)
        point.max = value if not point.count else max(point.max, value)
        point.count += 1
        point.sum += value
        return
    if measured.kind is MetricKind.SUM and (known := point.WhichOneof("value")):
        value += getattr(point, known)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        point.as_int = value
    else:
        point.as_double = value
