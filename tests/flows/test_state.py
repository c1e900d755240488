"""Operations make real OTLP: ids, parents, times, scope, resource, temporality."""

import threading
from typing import Any

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from rxotlp import DELIVERED
from rxotlp import operators as ops
from rxotlp.admission import Admission
from rxotlp.data import Signal
from rxotlp.errors import TooManySpans, UnknownSpan, UnsupportedOperation
from rxotlp.flows import (
    AddSpan,
    BatchProcessing,
    ControlState,
    EndTrace,
    Metric,
    MetricKind,
    Operation,
    RecordMetric,
    RecursiveMetric,
    SpanKind,
    SpanStatus,
    StartTrace,
    SyncControlFlow,
)
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import VirtualScheduler
from rxotlp.wire.validate import validate
from tests.support.spans import record

A, B = "a" * 16, "b" * 16
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def flow_on(clock: VirtualScheduler, **settings: Any) -> SyncControlFlow:
    return SyncControlFlow(state=ControlState(scheduler=clock, **settings))


def run(flow: SyncControlFlow, *operations: Operation) -> None:
    flow.execute(BatchProcessing(operations))


# -- traces --------------------------------------------------------------------------------------


def test_a_trace_leaves_when_its_root_ends(clock: VirtualScheduler) -> None:
    """A receiver wants a trace whole; until then its spans wait."""
    flow = flow_on(clock)
    seen = record(flow)
    run(flow, StartTrace("order", span_id=A), AddSpan(A, "pay", span_id=B), EndTrace(B))
    assert seen.elements == []
    run(flow, EndTrace(A))
    assert seen.tree() == [("order", None), ("pay", "order")]
    assert len(seen.trace_ids()) == 1
    assert flow.statistics().open_spans == 0


def test_spans_say_what_the_operations_said(clock: VirtualScheduler) -> None:
    """Times are the scheduler's, so tests and replays are exact."""
    flow = flow_on(clock, resource={"service.name": "shop", "host.cores": 8})
    seen = record(flow)
    began = clock.timestamp_ns()
    run(flow, StartTrace("order", {"order.id": 7}, SpanKind.SERVER, span_id=A))
    clock.advance_by(2.5)
    ending = EndTrace(A, SpanStatus.ERROR, "no money", {"paid": False, "order.id": 8})
    run(flow, ending)
    (data,) = seen.elements
    (group,) = data.message.resource_spans
    assert {pair.key: pair.value.string_value for pair in group.resource.attributes}[
        "service.name"
    ] == "shop"
    assert group.scope_spans[0].scope.name == "rxotlp.flows"
    (span,) = group.scope_spans[0].spans
    assert span.kind == 2
    assert span.start_time_unix_nano == began
    assert span.end_time_unix_nano == began + 2_500_000_000
    assert (span.status.code, span.status.message) == (2, "no money")
    (view,) = data.records()
    assert view.attributes == {"order.id": 8, "paid": False}


def test_what_leaves_is_valid_otlp(clock: VirtualScheduler) -> None:
    """Receivers check ids and nesting; ours does too."""
    flow = flow_on(clock)
    seen = record(flow)
    run(flow, StartTrace("a"), AddSpan(None, "b"), EndTrace(), EndTrace())
    run(flow, RecordMetric(Metric("m", 1)))
    flow.complete()
    assert [data.signal for data in seen.elements] == [Signal.TRACES, Signal.METRICS]
    for data in seen.elements:
        assert validate(data.signal, data.to_bytes()).rejected == 0


def test_without_ids_the_current_span_is_meant() -> None:
    """Most programs never need to name one."""
    flow = flow_on(VirtualScheduler())
    seen = record(flow)
    run(
        flow,
        StartTrace("order"),
        AddSpan(None, "pay"),
        AddSpan(None, "card"),
        EndTrace(),
        EndTrace(),
        AddSpan(None, "ship"),
        EndTrace(),
        EndTrace(),
    )
    assert seen.tree() == [("card", "pay"), ("order", None), ("pay", "order"), ("ship", "order")]


def test_a_trace_may_continue_one_from_elsewhere(clock: VirtualScheduler) -> None:
    """The request that caused it came with a traceparent."""
    flow = flow_on(clock)
    seen = record(flow)
    run(flow, StartTrace("in", trace_id="c" * 32, parent_span_id=B), EndTrace())
    assert seen.trace_ids() == {"c" * 32}
    assert seen.tree() == [("in", B)]


def test_a_seed_makes_ids_repeatable(clock: VirtualScheduler) -> None:
    """And without one no two flows make the same."""

    def ids(**settings: Any) -> set[str]:
        flow = flow_on(clock, **settings)
        seen = record(flow)
        run(flow, StartTrace("a"), EndTrace())
        return seen.trace_ids()

    assert ids(seed=1) == ids(seed=1)
    assert ids() != ids()


@pytest.mark.parametrize(
    ("operations", "text"),
    [
        ([EndTrace(A)], f"span {A} was never opened here"),
        ([AddSpan(A, "x")], f"span {A} was never opened here"),
        ([StartTrace("a", span_id=A), EndTrace(A), EndTrace(A)], f"span {A} has ended already"),
        (
            [StartTrace("a", span_id=A), EndTrace(A), AddSpan(A, "x")],
            f"span {A} has ended already",
        ),
        ([StartTrace("a", span_id=A), StartTrace("b", span_id=A)], "is open or has ended"),
        ([EndTrace()], "there is no current span"),
        ([AddSpan(None, "x")], "there is no current span"),
    ],
)
def test_an_id_that_is_not_open_is_a_clear_error(
    clock: VirtualScheduler, operations: list[Operation], text: str
) -> None:
    """A span that ends twice or hangs in the air is a bug of the program's; it is told."""
    flow = flow_on(clock)
    with pytest.raises(UnknownSpan) as caught:
        run(flow, *operations)
    assert text in str(caught.value)
    assert caught.value.operation == operations[-1]
    assert caught.value.path == ("BatchProcessing",)


def test_open_spans_are_bounded(clock: VirtualScheduler) -> None:
    """Spans that nobody ends must not take all memory; what is open goes on."""
    flow = flow_on(clock, max_open_spans=2)
    seen = record(flow)
    run(flow, StartTrace("a", span_id=A), AddSpan(A, "b", span_id=B))
    with pytest.raises(TooManySpans, match="2 spans are open"):
        run(flow, AddSpan(A, "c"))
    run(flow, EndTrace(B), AddSpan(A, "d"), EndTrace(), EndTrace(A))
    assert seen.tree() == [("a", None), ("b", "a"), ("d", "a")]


def test_a_root_that_never_ends_holds_little(clock: VirtualScheduler) -> None:
    """Its ended children leave ahead, and the trace is whole at the receiver all the same."""
    flow = flow_on(clock, max_waiting_spans=10)
    seen = record(flow)
    run(flow, StartTrace("root", span_id=A))
    for number in range(25):
        run(flow, AddSpan(A, f"child {number:02}"), EndTrace())
    assert [data.items for data in seen.elements] == [11, 11]
    run(flow, EndTrace(A))
    assert len(seen.tree()) == 26
    assert len(seen.trace_ids()) == 1


def test_what_is_open_when_its_root_ends_ends_with_it_and_says_so(clock: VirtualScheduler) -> None:
    """Nobody should take it for having ended well."""
    flow = flow_on(clock)
    seen = record(flow)
    run(flow, StartTrace("root", span_id=A), AddSpan(A, "forgotten"), EndTrace(A))
    spans = {span.name: span for span in seen.spans()}
    assert spans["root"].status == 0
    assert spans["forgotten"].status == 2
    assert spans["forgotten"].message == "the span was not ended before its trace's root"
    assert flow.statistics().unended == 1


def test_what_is_open_at_completion_leaves_with_a_status_that_says_so(
    clock: VirtualScheduler,
) -> None:
    """A program that stops in the middle of something still shows what that was."""
    flow = flow_on(clock)
    seen = record(flow)
    run(flow, StartTrace("one"), AddSpan(None, "child"))
    run(flow, StartTrace("two"))
    flow.complete()
    assert seen.tree() == [("child", "one"), ("one", None), ("two", None)]
    assert {span.message for span in seen.spans()} == {
        "the span was not ended before its flow was completed"
    }
    statistics = flow.statistics()
    assert (statistics.unended, statistics.open_spans, statistics.open_traces) == (3, 0, 0)


# -- metrics -------------------------------------------------------------------------------------


def test_a_sum_adds_up_by_attributes(clock: VirtualScheduler) -> None:
    """Measurements with equal attributes share a data point."""
    flow = flow_on(clock)
    seen = record(flow)
    began = clock.timestamp_ns()
    for value, where in [(1, "x"), (2, "y"), (4, "x"), (0.5, "y")]:
        run(flow, RecordMetric(Metric("orders", value, unit="1", attributes={"at": where})))
    clock.advance_by(10)
    flow.state.collect()
    metric = seen.metrics()["orders"]
    assert metric.unit == "1"
    assert metric.sum.is_monotonic
    assert metric.sum.aggregation_temporality == CUMULATIVE
    points = {point.attributes[0].value.string_value: point for point in metric.sum.data_points}
    assert points["x"].as_int == 5
    assert points["y"].as_double == 2.5
    assert points["x"].start_time_unix_nano == began
    assert points["x"].time_unix_nano == began + 10_000_000_000


def test_a_gauge_keeps_the_last_and_has_no_start(clock: VirtualScheduler) -> None:
    """OTLP's gauges have no temporality."""
    flow = flow_on(clock)
    seen = record(flow)
    for value in (5, -3, 2.5):
        run(flow, RecordMetric(Metric("depth", value, MetricKind.GAUGE)))
    flow.state.collect()
    (point,) = seen.metrics()["depth"].gauge.data_points
    assert point.as_double == 2.5
    assert point.start_time_unix_nano == 0


def test_a_histogram_counts_by_its_bounds(clock: VirtualScheduler) -> None:
    """An edge belongs to the bucket below it (OTLP: upper bounds are inclusive)."""
    flow = flow_on(clock)
    seen = record(flow)
    for value in (0, 1, 1.5, 2, 9):
        run(flow, RecordMetric(Metric("size", value, MetricKind.HISTOGRAM, bounds=(1, 2))))
    flow.state.collect()
    (point,) = seen.metrics()["size"].histogram.data_points
    assert list(point.bucket_counts) == [2, 2, 1]
    assert list(point.explicit_bounds) == [1, 2]
    assert (point.count, point.sum, point.min, point.max) == (5, 13.5, 0, 9)


def test_delta_metrics_begin_anew_when_they_have_left(clock: VirtualScheduler) -> None:
    """Each interval's start is the one before's end, without a gap."""
    flow = flow_on(clock, temporality="delta")
    seen = record(flow)
    run(flow, RecordMetric(Metric("n", 3)))
    clock.advance_by(5)
    flow.state.collect()
    (first,) = seen.metrics()["n"].sum.data_points
    run(flow, RecordMetric(Metric("n", 4)))
    clock.advance_by(5)
    flow.state.collect()
    (second,) = seen.metrics()["n"].sum.data_points
    assert (first.as_int, second.as_int) == (3, 4)
    assert second.start_time_unix_nano == first.time_unix_nano
    assert seen.metrics()["n"].sum.aggregation_temporality == DELTA
    flow.state.collect()
    assert len(seen.elements) == 2  # nothing new, nothing sent


def test_metrics_leave_by_themselves_once_an_interval(clock: VirtualScheduler) -> None:
    """And an idle flow has no timer."""
    flow = flow_on(clock, metric_interval=10)
    seen = record(flow)
    clock.advance_by(100)
    run(flow, RecordMetric(Metric("n", 1)))
    clock.advance_by(9)
    assert seen.elements == []
    clock.advance_by(1)
    assert len(seen.elements) == 1
    clock.advance_by(100)
    assert len(seen.elements) == 1


def test_a_factor_of_at_most_one_leaves_the_value(clock: VirtualScheduler) -> None:
    """As the analysis has it."""
    flow = flow_on(clock)
    values = []
    for factor in (0.5, 1.0, 2.0):
        result = flow.execute(RecursiveMetric(Metric("m", 3), factor))
        values.append(result.metric.value)  # type: ignore[attr-defined]
    assert values == [3, 3, 6]


def test_one_name_has_one_meaning(clock: VirtualScheduler) -> None:
    """A receiver cannot undo a sum that was partly a gauge."""
    flow = flow_on(clock)
    run(flow, RecordMetric(Metric("m", 1)))
    with pytest.raises(UnsupportedOperation, match="m is a gauge in s; expected a sum in no unit"):
        run(flow, RecordMetric(Metric("m", 1, MetricKind.GAUGE, unit="s")))


def test_attributes_without_bound_share_a_point(clock: VirtualScheduler) -> None:
    """A user id as an attribute must not take all memory; the total stays right."""
    flow = flow_on(clock, max_points=2)
    seen = record(flow)
    for user in range(5):
        run(flow, RecordMetric(Metric("n", 1, attributes={"user": user})))
    flow.state.collect()
    points = seen.metrics()["n"].sum.data_points
    assert [point.as_int for point in points] == [1, 1, 3]
    assert points[2].attributes[0].key == "otel.metric.overflow"
    assert flow.statistics().overflowed == 3


# -- threads, bounds, pipelines ------------------------------------------------------------------


def test_eight_threads_lose_nothing(clock: VirtualScheduler) -> None:
    """One state serves all threads of a program."""
    flow = flow_on(clock)
    seen = record(flow)

    def work() -> None:
        for _ in range(250):
            run(flow, StartTrace("root"), AddSpan(None, "child"), EndTrace(), EndTrace())
            run(flow, RecordMetric(Metric("n", 1)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    flow.complete()
    clock.advance_by(0)
    assert len(seen.trace_ids()) == 2_000
    assert seen.tree().count(("child", "root")) == 2_000
    (point,) = seen.metrics()["n"].sum.data_points
    assert point.as_int == 2_000
    assert flow.statistics().performed == {
        "StartTrace": 2_000,
        "AddSpan": 2_000,
        "EndTrace": 4_000,
        "RecordMetric": 2_000,
    }


def test_what_nobody_listens_to_is_counted(
    clock: VirtualScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is lost silently."""
    flow = flow_on(clock)
    run(flow, StartTrace("a"), AddSpan(None, "b"), EndTrace(), EndTrace())
    run(flow, StartTrace("a"), EndTrace())
    assert flow.statistics().unobserved == 3
    assert [record.message for record in caplog.records] == [
        "telemetry: a flow makes telemetry and nobody is subscribed to it; it is counted as "
        "unobserved and gone"
    ]


def test_what_has_no_room_is_counted(clock: VirtualScheduler) -> None:
    """A slow destination must not make a flow hold without bound."""
    flow = flow_on(clock, admission=Admission(max_bytes=1))
    record(flow)
    run(flow, StartTrace("a"), EndTrace())
    assert flow.statistics().refused == 1


def test_a_pipeline_gets_what_is_open_when_it_stops(clock: VirtualScheduler) -> None:
    """Stopping drains a flow like any other source, and its books balance."""
    flow = flow_on(clock)
    names: list[str] = []

    class Names:
        def export(self, data: Any) -> Any:
            names.extend(view.name for view in data.records())
            return DELIVERED

    pipeline = Pipeline(flow.telemetry.pipe(ops.export(Names())), scheduler=clock)
    pipeline.start()
    run(flow, StartTrace("done"), EndTrace())
    run(flow, StartTrace("open"))
    report = pipeline.stop()
    assert names == ["done", "open"]
    assert report.unbalanced == []
    assert flow.statistics().undelivered == 0


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"max_open_spans": 0}, "ControlState(max_open_spans=0)"),
        ({"max_points": -1}, "ControlState(max_points=-1)"),
        ({"temporality": "both"}, "temporality='both'"),
        ({"metric_interval": 0}, "ControlState(metric_interval=0)"),
    ],
)
def test_wrong_settings_fail_where_they_are_written(settings: Any, text: str) -> None:
    """With call, value and range."""
    with pytest.raises(ValueError, match="expected") as caught:
        ControlState(**settings)
    assert text in str(caught.value)


def test_only_plain_operations_reach_the_state(clock: VirtualScheduler) -> None:
    """Whoever performs by hand is told which."""
    state = ControlState(scheduler=clock)
    with pytest.raises(UnsupportedOperation, match="expected a StartTrace, AddSpan"):
        state.perform(BatchProcessing(()), state.new_context())
