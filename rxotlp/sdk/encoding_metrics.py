"""The SDK's metrics to the bytes of a request, equal to what its own encoder makes of them.

But nothing is lost that the SDK's encoder would lose: of several groups of one resource, and
several of one scope, it keeps the last.
"""

from collections.abc import Callable, Sequence
from struct import Struct, pack
from typing import Any

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb2
from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    Gauge,
    Histogram,
    HistogramDataPoint,
    NumberDataPoint,
    Sum,
)

from rxotlp.sdk import encoding_reference as reference
from rxotlp.sdk.encoding_groups import Groups, framed, plain
from rxotlp.wire.pairs import Pairs
from rxotlp.wire.writing import Texts, length, tag, varint, zigzag

__all__ = ["encode_metrics"]

_groups = Groups(
    metrics_service_pb2.ExportMetricsServiceRequest,
    ("resource_metrics", "scope_metrics", "metrics"),
)
_METRIC = _groups.record

_fixed64 = Struct("<Q").pack
_signed64 = Struct("<q").pack
_times = Struct("<cQcQ").pack
_double = Struct("<d").pack
# Several fields at once: a tag of these is one byte.
_time_and_int = Struct("<cQcq").pack
_time_and_double = Struct("<cQcd").pack


class _Point:
    """The tags of a kind of data point, and what all kinds have."""

    def __init__(self, message: Any) -> None:
        fields = [field.name for field in message.DESCRIPTOR.fields]
        self.tags = {name: tag(message, name) for name in fields}
        self._exemplars = self.tags["exemplars"]
        self._time = self.tags["time_unix_nano"]
        self._start = self.tags["start_time_unix_nano"]
        self._attributes = Pairs(message)

    def common(self, point: Any) -> list[bytes]:
        """Attributes, times and exemplars."""
        began = point.start_time_unix_nano
        if began is None:
            parts = [self._time, _fixed64(point.time_unix_nano)]
        else:
            parts = [_times(self._start, began, self._time, point.time_unix_nano)]
        self.rest(point, parts)
        return parts

    def rest(self, point: Any, parts: list[bytes]) -> None:
        """Attributes and exemplars."""
        if attributes := point.attributes:
            self._attributes.add(plain(attributes), parts)
        if exemplars := point.exemplars:
            parts += [framed(self._exemplars, _exemplar(one)) for one in exemplars]

    def summary(self, point: Any) -> list[bytes]:
        """What both kinds of histogram have besides."""
        tags = self.tags
        parts = self.common(point)
        parts += (tags["count"], _fixed64(point.count))
        if (value := point.sum) is not None:
            parts += (tags["sum"], _double(value))
        if (value := point.min) is not None:
            parts += (tags["min"], _double(value))
        if (value := point.max) is not None:
            parts += (tags["max"], _double(value))
        return parts


_number = _Point(pb2.NumberDataPoint)
_histogram = _Point(pb2.HistogramDataPoint)
_exponential = _Point(pb2.ExponentialHistogramDataPoint)

_AS_INT = _number.tags["as_int"]
_AS_DOUBLE = _number.tags["as_double"]
_START = _number.tags["start_time_unix_nano"]
_TIME = _number.tags["time_unix_nano"]

_EXEMPLAR_TIME = tag(pb2.Exemplar, "time_unix_nano")
_EXEMPLAR_TRACE_ID = tag(pb2.Exemplar, "trace_id") + b"\x10"
_EXEMPLAR_SPAN_ID = tag(pb2.Exemplar, "span_id") + b"\x08"
_EXEMPLAR_INT = tag(pb2.Exemplar, "as_int")
_EXEMPLAR_DOUBLE = tag(pb2.Exemplar, "as_double")
_exemplar_attributes = Pairs(pb2.Exemplar, "filtered_attributes")

_Buckets = pb2.ExponentialHistogramDataPoint.Buckets
_OFFSET = tag(_Buckets, "offset")
_COUNTS = tag(_Buckets, "bucket_counts")

_names = Texts(pb2.Metric, "name")
_descriptions = Texts(pb2.Metric, "description")
_units = Texts(pb2.Metric, "unit")


def encode_metrics(records: Sequence[Any]) -> bytes:
    """An encoded `ExportMetricsServiceRequest` of several `MetricsData`, one after the other.

    Raises:
        Exception: the SDK's encoder raised it for a metric.
    """
    return b"".join(
        _groups.group(
            group.resource,
            [
                _groups.scope(scope.scope, [framed(_METRIC, _metric(one)) for one in scope.metrics])
                for scope in group.scope_metrics
            ],
        )
        for metrics in records
        for group in metrics.resource_metrics
    )


def _metric(metric: Any) -> bytes:
    try:
        data = metric.data
        member, encode, points = _DATA[type(data)]
        description, unit = metric.description, metric.unit
        parts = [
            _names[metric.name],
            _descriptions[description] if description else b"",
            _units[unit] if unit else b"",
        ]
        if data.data_points:
            body = _about(data)
            for point in data.data_points:
                made = encode(point)
                body += (points, length(len(made)), made)
            parts.append(framed(member, b"".join(body)))
        return b"".join(parts)
    except Exception:  # whatever it is, the SDK's encoder decides
        return reference.metric(metric)


def _about(data: Any) -> list[bytes]:
    """What a metric's data says besides its points."""
    temporality = _TEMPORALITY.get(type(data))
    if temporality is None:
        return []
    parts = [temporality, varint(data.aggregation_temporality)]
    if type(data) is Sum:
        parts += (_MONOTONIC, varint(data.is_monotonic))
    return parts


def _gauge_point(point: Any) -> bytes:
    value, time = point.value, point.time_unix_nano
    if isinstance(value, int):
        parts = [_time_and_int(_TIME, time, _AS_INT, value)]
    else:
        parts = [_time_and_double(_TIME, time, _AS_DOUBLE, value)]
    _number.rest(point, parts)
    return b"".join(parts)


def _sum_point(point: NumberDataPoint) -> bytes:
    made = _gauge_point(point)
    began = point.start_time_unix_nano
    return made if began is None else b"".join((_START, _fixed64(began), made))


def _histogram_point(point: HistogramDataPoint) -> bytes:
    tags = _histogram.tags
    parts = _histogram.summary(point)
    counts, bounds = point.bucket_counts, point.explicit_bounds
    if counts:
        parts.append(framed(tags["bucket_counts"], pack(f"<{len(counts)}Q", *counts)))
    if bounds:
        parts.append(_bounds(bounds))
    return b"".join(parts)


def _bounds(bounds: Sequence[float]) -> bytes:
    """A histogram's bounds; the SDK's are one tuple for all of its points, so it is kept."""
    known = _kept_bounds.get(id(bounds))
    if known is not None:
        return known[1]
    made = framed(_histogram.tags["explicit_bounds"], pack(f"<{len(bounds)}d", *bounds))
    if type(bounds) is tuple:
        if len(_kept_bounds) >= _MAX_BOUNDS:
            _kept_bounds.clear()
        _kept_bounds[id(bounds)] = bounds, made
    return made


def _exponential_point(point: Any) -> bytes:
    tags = _exponential.tags
    parts = _exponential.summary(point)
    parts += (tags["scale"], zigzag(point.scale), tags["zero_count"], _fixed64(point.zero_count))
    for name in ("positive", "negative"):
        buckets = getattr(point, name)
        if counts := buckets.bucket_counts:
            body = (_OFFSET, zigzag(buckets.offset), framed(_COUNTS, b"".join(map(varint, counts))))
            parts.append(framed(tags[name], b"".join(body)))
    if flags := point.flags:
        parts += (tags["flags"], varint(flags))
    return b"".join(parts)


def _exemplar(exemplar: Any) -> bytes:
    value = exemplar.value
    parts = [_EXEMPLAR_TIME, _fixed64(exemplar.time_unix_nano)]
    _exemplar_attributes.add(plain(exemplar.filtered_attributes), parts)
    if exemplar.span_id is not None and exemplar.trace_id is not None:
        parts += (_EXEMPLAR_SPAN_ID, exemplar.span_id.to_bytes(8, "big"))
        parts += (_EXEMPLAR_TRACE_ID, exemplar.trace_id.to_bytes(16, "big"))
    if isinstance(value, float):
        parts += (_EXEMPLAR_DOUBLE, _double(value))
    elif isinstance(value, int):
        parts += (_EXEMPLAR_INT, _signed64(value))
    else:
        raise TypeError(f"an exemplar's value is a {type(value).__name__}")
    return b"".join(parts)


# By identity, as -0.0 equals 0.0. The tuple is kept too, so that its id stays its own.
_kept_bounds: dict[int, tuple[tuple[float, ...], bytes]] = {}
_MAX_BOUNDS = 64

_DATA: dict[type, tuple[bytes, Callable[[Any], bytes], bytes]] = {
    Gauge: (tag(pb2.Metric, "gauge"), _gauge_point, tag(pb2.Gauge, "data_points")),
    Sum: (tag(pb2.Metric, "sum"), _sum_point, tag(pb2.Sum, "data_points")),
    Histogram: (
        tag(pb2.Metric, "histogram"),
        _histogram_point,
        tag(pb2.Histogram, "data_points"),
    ),
    ExponentialHistogram: (
        tag(pb2.Metric, "exponential_histogram"),
        _exponential_point,
        tag(pb2.ExponentialHistogram, "data_points"),
    ),
}
_TEMPORALITY = {
    Sum: tag(pb2.Sum, "aggregation_temporality"),
    Histogram: tag(pb2.Histogram, "aggregation_temporality"),
    ExponentialHistogram: tag(pb2.ExponentialHistogram, "aggregation_temporality"),
}
_MONOTONIC = tag(pb2.Sum, "is_monotonic")
