"""What the imagined shop measures: each service's instruments, and their state over time.

A round is one collection of all of them. Between two rounds counters only grow, and what is
cumulative starts where the load started; with delta temporality sums and histograms start
where the round before ended. An up-down counter stays cumulative, as the SDKs' "delta"
preference has it, and a gauge has no start.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import floor, log2
from random import Random
from typing import Any

from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from rxotlp.sources.shop import METHODS, AttributeValue, Service, add_attributes

__all__ = ["Point", "Rounds"]

CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds, as HTTP's are advised
_SCALE = 3  # of exponential histograms: buckets 9 % wide
_LEAST = -8 * 6  # index of the lowest bucket: 1/64 s
_BUCKETS = 64


@dataclass(frozen=True, slots=True)
class Point:
    """One data point: whose, of which metric, and the message itself, which is used again."""

    service: int
    metric: Metric
    kind: str  # the metric's field with the data
    message: Any


class Rounds:
    """All instruments of a shop.

    Args:
        random: what happens.
        shop: the services.
        delta: the temporality of sums and histograms.
        start: nanoseconds since the epoch, when everything was 0.
    """

    def __init__(self, random: Random, shop: list[Service], *, delta: bool, start: int) -> None:
        self._random = random
        self._temporality = DELTA if delta else CUMULATIVE
        self._delta = delta
        self._start = start
        self._shop = shop
        self._points = [
            point for at, service in enumerate(shop) for point in self._instruments(at, service)
        ]

    @property
    def size(self) -> int:
        """Points of a round."""
        return len(self._points)

    def collect(self, now: int) -> Iterator[Point]:
        """One round at `now`. A point is good until the next one is asked for."""
        start, random = self._start, self._random
        if self._delta:
            self._start = now
        for point in self._points:
            message = point.message
            message.time_unix_nano = now
            if point.kind == "gauge":
                message.as_double = min(1.0, max(0.0, message.as_double + random.gauss(0, 0.02)))
            elif not point.metric.sum.is_monotonic and point.kind == "sum":
                message.as_int = max(0, message.as_int + random.randrange(-3, 4))
            else:
                message.start_time_unix_nano = start
                if point.kind == "sum":
                    grown = 0 if self._delta else message.as_int
                    message.as_int = grown + random.randrange(1, 200_000)
                else:
                    self._observe(point.kind, message)
            yield point

    def _observe(self, kind: str, message: Any) -> None:
        random = self._random
        exponential = kind == "exponential_histogram"
        counts = message.positive.bucket_counts if exponential else message.bucket_counts
        if self._delta:
            counts[:] = [0] * len(counts)
            message.count, message.sum = 0, 0.0
        least, most = float("inf"), 0.0
        for _ in range(random.randrange(1, 4)):
            seconds = min(max(random.lognormvariate(-2.5, 0.8), 0.016), 3.9)
            if exponential:
                bucket = floor(log2(seconds) * 2**_SCALE) - _LEAST
                counts[bucket] += 1
            else:
                counts[sum(bound < seconds for bound in BOUNDS)] += 1
            message.count += 1
            message.sum += seconds
            least, most = min(least, seconds), max(most, seconds)
        if self._delta:
            message.min, message.max = least, most  # of a cumulative one they say little

    def _instruments(self, at: int, service: Service) -> Iterator[Point]:
        requests = [{"rpc.system": "grpc", "rpc.method": method} for method in METHODS]
        made = Metric(name="rpc.server.duration", unit="s", description="how long calls take")
        made.histogram.aggregation_temporality = self._temporality
        for attributes in requests:
            point = self._point(made, made.histogram, attributes)
            point.explicit_bounds.extend(BOUNDS)
            point.bucket_counts.extend([0] * (len(BOUNDS) + 1))
            yield Point(at, made, "histogram", point)
        made = Metric(name="rpc.client.duration", unit="s", description="how long calls took")
        made.exponential_histogram.aggregation_temporality = self._temporality
        for called in service.calls:
            attributes = {"rpc.system": "grpc", "server.address": self._shop[called].name}
            point = self._point(made, made.exponential_histogram, attributes)
            point.scale = _SCALE
            point.positive.offset = _LEAST
            point.positive.bucket_counts.extend([0] * _BUCKETS)
            yield Point(at, made, "exponential_histogram", point)
        made = Metric(name="network.io", unit="By", description="bytes sent and received")
        made.sum.aggregation_temporality = self._temporality
        made.sum.is_monotonic = True
        for direction in ("transmit", "receive"):
            point = self._point(made, made.sum, {"network.io.direction": direction})
            yield Point(at, made, "sum", point)
        made = Metric(name="http.server.active_requests", unit="{request}", description="open now")
        made.sum.aggregation_temporality = CUMULATIVE
        point = self._point(made, made.sum, {"url.scheme": "https"})
        point.start_time_unix_nano = self._start
        yield Point(at, made, "sum", point)
        made = Metric(name="process.cpu.utilization", unit="1", description="share of the CPUs")
        for mode in ("user", "system"):
            point = self._point(made, made.gauge, {"cpu.mode": mode})
            point.as_double = self._random.uniform(0.05, 0.6)
            yield Point(at, made, "gauge", point)

    def _point(self, metric: Metric, data: Any, attributes: Mapping[str, AttributeValue]) -> Any:
        """A point that is not in its metric: each request takes the ones that are its own."""
        message = type(data.data_points.add())()
        del data.data_points[:]
        add_attributes(message.attributes, attributes)
        return message
