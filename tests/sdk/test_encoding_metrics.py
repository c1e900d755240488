"""Metrics: whatever the SDK collects is encoded as its own encoder would."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics as peer_metrics
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, Exemplar, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from rxotlp.sdk import encoding_reference
from rxotlp.sdk.encoding import METRICS
from rxotlp.sdk.encoding_metrics import encode_metrics

ATTRIBUTES = st.none() | st.dictionaries(
    st.sampled_from(["route", "a", "b"]),
    st.sampled_from([0, 1, True, False, 1.0, -0.0, "1", "", None, ("a", "b"), [1, True]]),
    max_size=3,
)
TIMES = st.integers(0, 2**64 - 1)
INTS = st.integers(-(2**63), 2**63 - 1)
VALUES = INTS | st.floats()
COUNTS = st.lists(st.integers(0, 2**64 - 1), max_size=4)
EXEMPLARS = st.lists(
    st.builds(
        Exemplar,
        ATTRIBUTES,
        INTS | st.floats(),
        TIMES,
        st.none() | st.integers(0, 2**64 - 1),
        st.none() | st.integers(0, 2**128 - 1),
    ),
    max_size=2,
)
NUMBERS = st.lists(
    st.builds(NumberDataPoint, ATTRIBUTES, st.none() | TIMES, TIMES, VALUES, EXEMPLARS), max_size=3
)
SUMMED = st.none() | st.floats() | st.integers(-(2**60), 2**60)
HISTOGRAMS = st.lists(
    st.builds(
        HistogramDataPoint,
        attributes=ATTRIBUTES,
        start_time_unix_nano=st.none() | TIMES,
        time_unix_nano=TIMES,
        count=TIMES,
        sum=SUMMED,
        bucket_counts=COUNTS | COUNTS.map(tuple),
        explicit_bounds=st.lists(st.floats(), max_size=3)
        | st.lists(st.sampled_from([0.0, -0.0, 1.0]), max_size=2).map(tuple),
        min=SUMMED,
        max=SUMMED,
        exemplars=EXEMPLARS,
    ),
    max_size=3,
)
BUCKETS = st.builds(Buckets, st.integers(-(2**31), 2**31 - 1), COUNTS)
EXPONENTIALS = st.lists(
    st.builds(
        ExponentialHistogramDataPoint,
        attributes=ATTRIBUTES,
        start_time_unix_nano=TIMES,
        time_unix_nano=TIMES,
        count=TIMES,
        sum=SUMMED,
        scale=st.integers(-(2**31), 2**31 - 1),
        zero_count=TIMES,
        positive=BUCKETS,
        negative=BUCKETS,
        flags=st.integers(0, 2**32 - 1),
        min=SUMMED,
        max=SUMMED,
        exemplars=EXEMPLARS,
    ),
    max_size=3,
)
TEMPORALITIES = st.sampled_from(AggregationTemporality)
DATA: st.SearchStrategy[Any] = (
    st.builds(Gauge, NUMBERS)
    | st.builds(Sum, NUMBERS, TEMPORALITIES, st.booleans())
    | st.builds(Histogram, HISTOGRAMS, TEMPORALITIES)
    | st.builds(ExponentialHistogram, EXPONENTIALS, TEMPORALITIES)
)
TEXTS = st.sampled_from(["", "requests", "Größe"])
METRIC = st.builds(Metric, TEXTS, st.none() | TEXTS, st.none() | TEXTS, DATA)
URLS = st.sampled_from(["", "https://opentelemetry.io/schemas/1.40.0"])
SCOPES = st.lists(
    st.builds(
        ScopeMetrics,
        st.builds(InstrumentationScope, TEXTS, st.none() | TEXTS, URLS, ATTRIBUTES),
        st.lists(METRIC, max_size=3),
        URLS,
    ),
    max_size=2,
    unique_by=lambda scope: scope.scope.name,  # the SDK gives each once
)
GROUPS = st.lists(
    st.builds(
        ResourceMetrics,
        st.builds(Resource, st.fixed_dictionaries({"service.name": TEXTS}), URLS),
        SCOPES,
        URLS,
    ),
    max_size=2,
    unique_by=lambda group: str(group.resource.attributes),
)


def same(ours: bytes, peer: Any) -> None:
    """Equal messages; compared encoded, so that NaN is NaN and -0.0 is not 0.0."""
    message = type(peer).FromString(ours)
    if message.SerializeToString(deterministic=True) != peer.SerializeToString(deterministic=True):
        assert message == peer
        raise AssertionError(f"they differ by a float's sign: {message} {peer}")


@settings(max_examples=70, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.builds(MetricsData, GROUPS))
def test_metrics_are_encoded_as_the_sdk_encodes_them(metrics: MetricsData) -> None:
    """Whoever reads them cannot tell which encoder it was."""
    same(encode_metrics([metrics]), peer_metrics(metrics))


def collected() -> MetricsData:
    """What a program with every kind of instrument collects, exemplars and all."""
    reader = InMemoryMetricReader()
    exponential = View(
        instrument_name="latency.fine", aggregation=ExponentialBucketHistogramAggregation()
    )
    provider = MeterProvider(
        [reader],
        resource=Resource.create({"service.name": "shop"}, "https://schema"),
        views=[exponential],
        exemplar_filter=AlwaysOnExemplarFilter(),
        shutdown_on_exit=False,
    )
    meter = provider.get_meter("shop", "1.0", "https://schema", {"team": "checkout"})
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("shop")
    numbers: list[Callable[..., None]] = [
        meter.create_counter("orders", "1", "Orders").add,
        meter.create_up_down_counter("open").add,
        meter.create_gauge("level", "By").set,
        meter.create_histogram("latency", "s").record,
        meter.create_histogram("latency.fine", "s").record,
    ]
    for callback in (
        meter.create_observable_counter,
        meter.create_observable_up_down_counter,
        meter.create_observable_gauge,
    ):
        callback(callback.__name__, [lambda _: [Observation(7, {"k": "v"}), Observation(0.5)]])
    for value in (0, 1, 5, 0.25, 3.5e9):
        with tracer.start_as_current_span("around"):
            for number in numbers:
                number(value, {"route": "/", "code": 200})
                number(value, {"route": "/", "code": True})
                number(value)
    found = reader.get_metrics_data()
    assert found is not None
    provider.shutdown()
    return found


def test_a_real_programs_metrics_need_no_message_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick way is the way of everything that the SDK makes, not of simple cases."""

    def never(record: object) -> bytes:
        raise AssertionError(f"the SDK's encoder was asked for {record!r}")

    metrics = collected()
    peer: Any = peer_metrics(metrics)
    for name in encoding_reference.__all__:
        monkeypatch.setattr(encoding_reference, name, never)
    same(encode_metrics([metrics]), peer)
    kinds = {
        metric.WhichOneof("data") for metric in peer.resource_metrics[0].scope_metrics[0].metrics
    }
    assert kinds == {"sum", "gauge", "histogram", "exponential_histogram"}
    assert "exemplars" in str(peer)


def of(data: Any) -> MetricsData:
    """One metric."""
    scope = ScopeMetrics(InstrumentationScope("shop"), [Metric("one", "", "", data)], "")
    return MetricsData([ResourceMetrics(Resource({}), [scope], "")])


def point(value: Any, **fields: Any) -> Gauge:
    """A gauge with one point."""
    return Gauge([NumberDataPoint(fields.get("attributes", {}), 1, 2, value, [])])


@pytest.mark.parametrize(
    "data",
    [
        point(1, attributes={"big": 2**64, "fine": 1}),
        point(1, attributes={"a": object(), "fine": 1}),
        point(None),
        object(),
    ],
    ids=["big", "object", "no value", "no data that is known"],
)
def test_what_is_unusual_is_left_to_the_sdks_encoder(data: Any) -> None:
    """It drops what it cannot encode and says so; we drop the same."""
    metrics = of(data)
    try:
        peer = peer_metrics(metrics)
    except Exception as error:
        with pytest.raises(type(error)):
            encode_metrics([metrics])
        return
    same(encode_metrics([metrics]), peer)


def test_metrics_that_nobody_can_encode_cost_only_themselves() -> None:
    """What was collected before and after goes."""
    encoded = METRICS.encode([of(point(1)), of(point("x")), of(point(2))])
    assert (encoded.items, encoded.refused) == (2, 1)


def test_a_truth_value_is_sent_as_the_number_that_it_is() -> None:
    """`gauge.set(True)` works; the SDK's encoder would give up all metrics for it."""
    request: Any = type(peer_metrics(of(point(1)))).FromString(encode_metrics([of(point(True))]))
    assert request == peer_metrics(of(point(1)))


def test_collections_of_one_resource_are_all_kept() -> None:
    """Two exports that wait are sent together, and both arrive."""
    encoded = METRICS.encode([of(point(1)), of(point(2))])
    request: Any = type(peer_metrics(of(point(1)))).FromString(encoded.payload)
    values = [
        one.gauge.data_points[0].as_int
        for group in request.resource_metrics
        for scope in group.scope_metrics
        for one in scope.metrics
    ]
    assert values == [1, 2]
