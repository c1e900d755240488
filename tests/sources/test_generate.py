"""generate: what it sends is right OTLP, tells one story, and comes when it should."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rxotlp import exporters
from rxotlp import operators as ops
from rxotlp.data import TelemetryData
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import SyncScheduler, VirtualScheduler
from rxotlp.sources import generate
from rxotlp.wire.signals import Signal
from rxotlp.wire.validate import validate

START = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
SIGNALS = (Signal.TRACES, Signal.METRICS, Signal.LOGS)


def all_of(signals: Any = SIGNALS, **arguments: Any) -> list[TelemetryData]:
    """Everything that comes, in virtual time."""
    memory = exporters.Memory()
    stream = generate(signals, start=START, **arguments).pipe(ops.export(memory))
    with Pipeline(stream, scheduler=VirtualScheduler()) as pipeline:
        pipeline.wait()
    assert pipeline.error is None
    return list(memory.elements)


def records(data: list[TelemetryData], signal: Signal) -> Iterator[tuple[str, Any]]:
    """Service and record of everything of one signal."""
    groups, scopes, items = {
        Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
        Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
        Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
    }[signal]
    for element in data:
        if element.signal is signal:
            for group in getattr(element.message, groups):
                service = group.resource.attributes[0].value.string_value
                for scope in getattr(group, scopes):
                    for record in getattr(scope, items):
                        yield service, record


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("services", [1, 2, 100])
def test_what_it_sends_is_right_otlp(signal: Signal, services: int) -> None:
    """A load generator that a strict receiver refuses tests nothing."""
    for element in all_of(signal, items=1200, services=services, error_ratio=0.5):
        payload = element.to_bytes()
        checked = validate(signal, payload)
        assert (checked.accepted, checked.errors) == (element.items, ())
        assert signal.names.request.FromString(payload).ByteSize() == len(payload)


def test_the_same_seed_sends_the_same_bytes() -> None:
    """A failure under load is found again."""
    one, same, other = (
        [element.to_bytes() for element in all_of(items=3000, rate=500, seed=seed)]
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_a_trace_is_a_tree_within_its_parents_times_across_services() -> None:
    """What reads traces needs parents that exist and contain their children."""
    spans = [
        (service, span)
        for service, span in records(all_of(Signal.TRACES, items=5000), Signal.TRACES)
    ]
    by_id = {span.span_id: (service, span) for service, span in spans}
    assert len(by_id) == 5000
    orphans = Counter[bytes]()
    crossing = 0
    for service, span in spans:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if not span.parent_span_id:
            assert service == "frontend"
            continue
        if span.parent_span_id not in by_id:
            orphans[span.trace_id] += 1
            continue
        caller, parent = by_id[span.parent_span_id]
        assert parent.trace_id == span.trace_id
        assert parent.start_time_unix_nano <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= parent.end_time_unix_nano
        if caller != service:
            crossing += 1
            assert (parent.kind, span.kind) == (3, 2)  # client and server
    assert crossing
    assert not orphans  # spans come parents first, so even the last trace has them


def test_an_error_goes_up_to_the_root_and_errors_are_as_frequent_as_asked() -> None:
    """`error_ratio` is of traces, so a sampler by status can be tried."""
    spans = [span for _, span in records(all_of(items=40_000, error_ratio=0.25), Signal.TRACES)]
    failed = {span.span_id for span in spans if span.status.code == 2}
    roots = [span for span in spans if not span.parent_span_id]
    assert 0.2 < sum(root.span_id in failed for root in roots) / len(roots) < 0.3
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        if span.span_id in failed and span.parent_span_id in by_id:
            assert span.parent_span_id in failed
    for ratio, expected in ((0, 0), (1, 1)):
        spans = [
            span
            for _, span in records(
                all_of(Signal.TRACES, items=500, error_ratio=ratio), Signal.TRACES
            )
        ]
        codes = {span.status.code == 2 for span in spans if not span.parent_span_id}
        assert codes == {bool(expected)}


def test_log_records_belong_to_spans_of_the_same_load() -> None:
    """Correlation is what a backend shows first."""
    data = all_of(items=20_000)
    spans = {span.span_id: (name, span) for name, span in records(data, Signal.TRACES)}
    found = 0
    lines = list(records(data, Signal.LOGS))
    for service, line in lines:
        if line.span_id in spans:  # else its trace is still to come
            found += 1
            name, span = spans[line.span_id]
            assert (name, span.trace_id) == (service, line.trace_id)
            assert span.start_time_unix_nano <= line.time_unix_nano <= span.end_time_unix_nano
            assert (line.severity_number == 17) == (span.status.code == 2)
    assert found > len(lines) / 2


@pytest.mark.parametrize("temporality", ["cumulative", "delta"])
def test_metrics_keep_their_temporality(temporality: str) -> None:
    """A backend that sees a start move, or a counter fall, reports a reset."""
    data = all_of(Signal.METRICS, items=4000, rate=400, temporality=temporality)
    start = int(START.timestamp()) * 10**9 + 678_000
    kinds = set()
    before: dict[tuple[str, str, bytes], tuple[int, float]] = {}
    for service, metric in records(data, Signal.METRICS):
        kind = metric.WhichOneof("data")
        kinds.add(kind)
        content = getattr(metric, kind)
        for point in content.data_points:
            key = (service, metric.name, b"".join(a.SerializeToString() for a in point.attributes))
            at, value = before.get(key, (start, 0.0))
            assert point.time_unix_nano > at
            now = getattr(point, "count", 0) or point.as_int if kind != "gauge" else 0
            if kind == "gauge":
                assert not point.start_time_unix_nano
            elif kind == "sum" and not content.is_monotonic:
                assert (content.aggregation_temporality, point.start_time_unix_nano) == (2, start)
            elif temporality == "delta":
                assert (content.aggregation_temporality, point.start_time_unix_nano) == (1, at)
            else:
                assert (content.aggregation_temporality, point.start_time_unix_nano) == (2, start)
                assert now > value
            if kind == "histogram":
                assert sum(point.bucket_counts) == point.count
            if kind == "exponential_histogram":
                assert sum(point.positive.bucket_counts) == point.count
            before[key] = (point.time_unix_nano, now)
    assert kinds == {"gauge", "sum", "histogram", "exponential_histogram"}


def test_a_rate_is_exact_in_virtual_time() -> None:
    """Minutes of load take a moment, and a rate limit can be tested to the item."""
    time, memory = VirtualScheduler(), exporters.Memory()
    stream = generate(rate=50, duration=240).pipe(ops.export(memory))
    with Pipeline(stream, scheduler=time) as pipeline:
        for second in (1, 60, 239):
            time.advance_to(second)
            assert memory.items == 50 * second
        time.run()
        assert memory.items == 50 * 240
        assert time.clock == pytest.approx(240)
    assert pipeline.report is not None
    assert not pipeline.report.unbalanced


def test_telemetry_is_as_old_as_its_request() -> None:
    """A backend that drops what is late, or ahead of time, must take it."""
    data = all_of(Signal.TRACES, rate=100, duration=5, items_per_request=50)
    ends = []
    for number, element in enumerate(data, 1):
        now = START + timedelta(seconds=number / 2)
        latest = max(span.end_time_unix_nano for _, span in records([element], Signal.TRACES))
        ends.append(latest / 1e9 - now.timestamp())
    assert all(-1 < late <= 1e-6 for late in ends)


def test_items_are_counted_to_the_last_and_requests_are_of_the_size_asked_for() -> None:
    """`items=` is what a test compares with what arrived."""
    sizes = [element.items for element in all_of(items=1001, items_per_request=100)]
    assert sizes == [100] * 10 + [1]


def test_it_stops_at_once_while_it_waits_for_a_request_that_is_far_off() -> None:
    """Ctrl-C on a slow load."""
    with Pipeline(
        generate(rate=0.001).pipe(ops.export(exporters.Memory())), scheduler=VirtualScheduler()
    ) as virtual:
        pass
    assert virtual.scheduler.now < datetime(1970, 1, 2, tzinfo=UTC)
    with SyncScheduler() as scheduler:
        stream = generate(rate=0.001).pipe(ops.export(exporters.Memory()))
        with Pipeline(stream, scheduler=scheduler) as pipeline:
            pass
    assert pipeline.error is None
    assert virtual.error is None


def test_it_goes_to_a_second_pipeline_from_the_beginning() -> None:
    """A source is a recipe: the same stream serves the next test."""
    source = generate(items=500, start=START)
    seen = []
    for _ in range(2):
        memory = exporters.Memory()
        with Pipeline(source.pipe(ops.export(memory)), scheduler=VirtualScheduler()) as pipeline:
            pipeline.wait()
        seen.append([element.to_bytes() for element in memory.elements])
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"rate": 0}, r"generate\(rate=0\): expected more than 0"),
        ({"rate": float("nan")}, r"generate\(rate=nan\)"),
        ({"rate": float("inf")}, r"generate\(rate=inf\)"),
        ({"items": 0}, r"generate\(items=0\): expected 1 or more"),
        ({"duration": 5}, r"generate\(duration=5, rate=None\): expected a rate"),
        ({"duration": -1, "rate": 1}, r"generate\(duration=-1\)"),
        ({"items_per_request": 0}, r"generate\(items_per_request=0\)"),
        ({"services": 0}, r"generate\(services=0\): expected 1 to 100"),
        ({"error_ratio": 1.1}, r"generate\(error_ratio=1.1\): expected a ratio, 0 to 1"),
        ({"temporality": "up"}, r"generate\(temporality='up'\)"),
        ({"start": datetime(2026, 1, 1)}, "expected a time with a time zone"),
        ({"signals": ()}, "expected traces, metrics or logs"),
        ({"signals": Signal.PROFILES}, "expected traces, metrics or logs"),
        ({"max_attempts": 0}, r"generate\(max_attempts=0\)"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], says: str) -> None:
    """It fails where the pipeline is written."""
    with pytest.raises(ValueError, match=says):
        generate(**arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"rate": "5"}, r"generate\(rate='5'\): expected a number"),
        ({"items": 1.5}, r"generate\(items=1.5\): expected a whole number"),
        ({"services": True}, r"generate\(services=True\)"),
        ({"seed": "a"}, r"generate\(seed='a'\)"),
    ],
)
def test_an_argument_of_another_kind_is_named(arguments: dict[str, Any], says: str) -> None:
    """It fails where the pipeline is written, not when it runs."""
    with pytest.raises(TypeError, match=says):
        generate(**arguments)


def test_a_signal_that_is_none_is_named() -> None:
    """Names of signals are not signals."""
    with pytest.raises(TypeError, match="expected a Signal or several"):
        generate(["traces"])  # type: ignore[list-item]
