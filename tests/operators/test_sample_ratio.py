"""`sample_ratio`: the same spans as a decision on full messages, and their bytes."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from reactivex.subject import Subject

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp._core.sampling import decide, decide_all, threshold_of
from rxotlp.data import Signal, TelemetryData
from rxotlp.testing import Recorder, Rig, kind
from rxotlp.wire.traces import by_trace

KEPT, LOST = b"\xff" * 16, b"\xff" * 9 + b"\0" * 7

spans = st.tuples(
    st.binary(min_size=16, max_size=16) | st.sampled_from([b"", b"\xff", KEPT, LOST]),
    st.sampled_from(["", "vendor=x", "ot=th:c", "ot=rv:80000000000000", "v=" + "x" * 300]),
)


def request(*scopes: list[tuple[bytes, str]]) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    for members in scopes:
        scope = made.resource_spans.add().scope_spans.add()
        for trace_id, state in members:
            scope.spans.add(trace_id=trace_id, trace_state=state, name="s", kind=2)
    return made


def traces(*ids: bytes) -> TelemetryData:
    return TelemetryData.from_message(request([(one, "") for one in ids]))


class Traces:
    """An exporter that remembers requests."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []

    def export(self, data: TelemetryData) -> Any:
        self.requests.append(data.message)
        return Recorder().outcome


def send(rig: Rig, data: TelemetryData) -> Any:
    receipt = rig.feed.admit(data)
    rig.clock.advance_by(0)
    return receipt


def on_messages(made: ExportTraceServiceRequest, keep: Callable[[bytes, str], str | None]) -> None:
    """The same decision the plain way."""
    for group in list(made.resource_spans):
        for scope in list(group.scope_spans):
            for span in list(scope.spans):
                if len(span.trace_id) != 16:
                    continue
                state = keep(span.trace_id, span.trace_state)
                if state is None:
                    scope.spans.remove(span)
                else:
                    span.trace_state = state
            if not scope.spans:
                group.scope_spans.remove(scope)
        if not group.scope_spans:
            made.resource_spans.remove(group)


@given(
    st.lists(st.lists(spans, min_size=1, max_size=8), min_size=1, max_size=4),
    st.sampled_from([1e-6, 0.25, 0.5, 0.9, 1]),
)
def test_the_result_is_what_full_messages_give(
    scopes: list[list[tuple[bytes, str]]], ratio: float
) -> None:
    """Columns and appended fields must not change what is decided or what a backend reads."""

    def keep(trace_id: bytes, state: str) -> str | None:
        return decide(trace_id, state, threshold_of(ratio))

    whole = request(*scopes).SerializeToString()
    made = by_trace(whole, partial(decide_all, threshold=threshold_of(ratio)))
    expected = request(*scopes)
    on_messages(expected, keep)
    items = sum(
        len(scope.spans) for group in expected.resource_spans for scope in group.scope_spans
    )
    if made is None:
        assert items == 0
    else:
        assert made[1] == items
        assert ExportTraceServiceRequest.FromString(made[0]) == expected


@pytest.mark.parametrize(
    "payloads",
    [
        pytest.param([b"\n\x10" + LOST + b"\n\x10" + KEPT, b"*\x01x"], id="two ids and none"),
        pytest.param([b"*\x01x\n\x10" + KEPT, b"\n\x10" + LOST], id="id behind a name"),
        pytest.param([b"\n\x10" + KEPT + b"\x1a\x00", b"\n\x10" + LOST], id="empty tracestate"),
        pytest.param([b"\n\x08" + KEPT[:8], b"\n\x10" + LOST], id="short id"),
    ],
)
def test_ids_stay_with_their_spans_however_they_are_written(payloads: list[bytes]) -> None:
    """Any order and repetition is valid protobuf, and the shortcut for the usual is no excuse."""
    scope = b"".join(b"\x12" + bytes([len(span)]) + span for span in payloads)
    group = b"\x12" + bytes([len(scope)]) + scope
    whole = b"\n" + bytes([len(group)]) + group
    threshold = threshold_of(0.5)
    expected = ExportTraceServiceRequest.FromString(whole)
    on_messages(expected, lambda trace_id, state: decide(trace_id, state, threshold))
    made = by_trace(whole, partial(decide_all, threshold=threshold))
    assert made is not None
    assert ExportTraceServiceRequest.FromString(made[0]) == expected


def test_about_the_ratio_is_kept_and_says_so() -> None:
    """Of 2,000 traces a quarter, give or take five standard deviations."""
    chance = random.Random(1)
    backend = Traces()
    rig = Rig().run(ops.sample_ratio(0.25), ops.export(backend))
    send(rig, traces(*(chance.randbytes(16) for _ in range(2000))))
    (made,) = backend.requests
    kept = made.resource_spans[0].scope_spans[0].spans
    assert 400 < len(kept) < 600
    assert {span.trace_state for span in kept} == {"ot=th:c"}
    assert rig.books["sample_ratio"].filtered == 2000 - len(kept)
    rig.check_books()


def test_an_element_of_which_nothing_is_left_is_filtered() -> None:
    """Its sender hears success: it was meant to go."""
    rig = Rig().run(ops.sample_ratio(0.5), ops.export(Traces()))
    assert kind(send(rig, traces(LOST))) is Kind.FILTERED
    assert kind(send(rig, traces(KEPT, LOST))) is Kind.DELIVERED
    rig.check_books()


def test_what_it_does_not_change_keeps_its_bytes() -> None:
    """A second sampler of one ratio costs a look."""
    payload = request([(KEPT, "ot=th:8")]).SerializeToString()
    made = by_trace(payload, partial(decide_all, threshold=threshold_of(0.5)))
    assert made is not None
    assert made[0] is payload


def test_other_signals_pass() -> None:
    """A trace's logs are not sampled by a sampler of spans."""
    sink = Recorder()
    rig = Rig().run(ops.sample_ratio(0.001), ops.export(sink))
    assert kind(rig.send([1])) is Kind.DELIVERED
    assert sink.ids == [1]
    rig.check_books()


def test_an_element_that_cannot_be_read_is_rejected() -> None:
    """The stream goes on."""
    bad = request([(KEPT, "")]).SerializeToString()[:-1]
    rig = Rig().run(ops.sample_ratio(0.5), ops.export(Traces()))
    broken = TelemetryData._new(Signal.TRACES, (bad,), 1, {}, None)
    assert kind(send(rig, broken)) is Kind.REJECTED
    assert kind(send(rig, traces(KEPT))) is Kind.DELIVERED
    rig.check_books()


def test_completion_error_dispose_and_a_second_subscription_find_nothing_held() -> None:
    """It is one plain processor."""
    operator = ops.sample_ratio(0.5)
    one, two = Rig().run(operator, ops.export(Traces())), Rig()
    two.run(operator, ops.export(Traces()))
    send(one, traces(KEPT))
    one.end()
    assert one.completed()
    one.check_books()
    assert kind(send(two, traces(KEPT))) is Kind.DELIVERED
    two.dispose()
    assert kind(send(two, traces(KEPT))) is Kind.FAILED
    two.check_books()
    three, gate = Rig(), Subject[Any]()
    three.run(stream=lambda feed: rx.merge(feed, gate).pipe(operator, ops.export(Traces())))
    gate.on_error(ValueError("upstream"))
    three.wait(0)
    assert [str(error) for error in three.errors] == ["upstream"]


@pytest.mark.parametrize("ratio", [0, -0.5, 1.5, float("nan"), "half", True])
def test_a_wrong_argument_fails_where_the_pipeline_is_written(ratio: Any) -> None:
    """Not at the first element."""
    with pytest.raises((ValueError, TypeError), match=r"sample_ratio\("):
        ops.sample_ratio(ratio)
