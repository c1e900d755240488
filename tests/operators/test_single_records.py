"""`records` and `collect`: spans in the stream, for those who want them."""

from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, failed
from rxotlp.data import Signal, TelemetryData
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs, spans
from rxotlp.wire.singles import apart, together


def metrics() -> TelemetryData:
    """Two services with two metrics of different kinds each, three points a metric."""
    made = ExportMetricsServiceRequest()
    for service in "ab":
        group = made.resource_metrics.add(schema_url="here")
        group.resource.attributes.add(key="service.name").value.string_value = service
        scope = group.scope_metrics.add()
        for number in range(3):
            scope.metrics.add(name="size", unit="By") if not number else None
            scope.metrics[0].gauge.data_points.add(as_int=number)
        total = scope.metrics.add(name="total")
        total.sum.is_monotonic = True
        for number in range(3):
            total.sum.data_points.add(as_int=number)
    return TelemetryData.from_message(made)


def test_a_record_that_reactivex_filters_is_filtered() -> None:
    """The rest of its request is delivered, and its sender hears success once all settled."""
    sink = Recorder()
    rig = Rig().run(
        ops.records(),
        rx_ops.filter(lambda one: one.record.body % 2 == 0),
        rx_ops.map(lambda one: one),
        ops.collect(max_delay=1),
        ops.export(sink),
    )
    receipt = rig.send(range(6))
    assert kind(receipt) is None
    rig.wait(2)
    assert sink.calls == [[0, 2, 4]]
    assert kind(receipt) is Kind.FILTERED  # the least of its records' successes
    assert receipt.outcome is not None
    assert receipt.outcome.success
    rig.check()


def test_an_element_all_of_whose_records_are_filtered_is_filtered() -> None:
    """As if it had been filtered whole: nobody sends it again."""
    rig = Rig().run(ops.records(), rx_ops.filter(lambda one: False), ops.export(Recorder()))
    assert kind(rig.send([1, 2, 3])) is Kind.FILTERED
    rig.check()


def test_a_record_that_fails_fails_its_sender_alone() -> None:
    """Two senders' records in one stream keep their own answers."""
    sink = Recorder(lambda data: failed("down") if 2 in ids_of(data) else DELIVERED)
    rig = Rig().run(ops.records(), ops.export(sink, retry=None))
    assert kind(rig.send([1, 2])) is Kind.FAILED
    assert kind(rig.send([3, 4])) is Kind.DELIVERED
    rig.check()


def test_collected_records_stand_under_one_resource_and_scope() -> None:
    """A thousand records of one service carry its resource once, not a thousand times."""
    seen: list[bytes] = []
    rig = Rig().run(
        ops.records(),
        ops.collect(max_records=60, max_delay=1),
        ops.wire_tap(lambda data: seen.append(data.to_bytes())),
        ops.export(Recorder()),
    )
    whole = logs(range(30), service="a")
    other = logs(range(30, 60), service="b")
    expected = whole.message
    expected.MergeFrom(other.message)
    for data in (whole, other):
        rig.send(data)
    (payload,) = seen
    assert ExportLogsServiceRequest.FromString(payload) == expected
    rig.check()


def test_apart_and_together_again_is_the_same_request() -> None:
    """Every field above and in the records, metrics' kinds among them."""
    for data in (metrics(), logs(range(5)), spans(range(5))):
        whole = data.to_bytes()
        parts = list(apart(data.signal, whole))
        assert len(parts) == data.items
        joined = together(data.signal, b"".join(parts))
        assert TelemetryData.from_bytes(data.signal, joined).message == data.message


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.sampled_from("xy"), st.lists(st.integers(0, 9), max_size=4)
        ),
        max_size=6,
    )
)
def test_no_record_is_lost_or_moved_to_another_scope(
    groups: list[tuple[str, str, list[int]]],
) -> None:
    """For any nesting, with empty scopes and resources that come twice."""
    made = ExportLogsServiceRequest()
    for service, name, numbers in groups:
        group = made.resource_logs.add()
        group.resource.attributes.add(key="service.name").value.string_value = service
        scope = group.scope_logs.add()
        scope.scope.name = name
        for number in numbers:
            scope.log_records.add().body.int_value = number

    def table(payload: bytes) -> list[tuple[Any, str, Any]]:
        views = TelemetryData.from_bytes(Signal.LOGS, payload).records()
        return [
            (view.resource.attributes["service.name"], view.scope.name, view.body) for view in views
        ]

    whole = made.SerializeToString()
    parts = list(apart(Signal.LOGS, whole))
    assert [row for part in parts for row in table(part)] == table(whole)
    joined = together(Signal.LOGS, b"".join(parts))
    assert sorted(table(joined)) == sorted(table(whole))
    for key in {row[:2] for row in table(whole)}:  # order is kept within a scope
        assert [r for r in table(joined) if r[:2] == key] == [
            r for r in table(whole) if r[:2] == key
        ]
    message = ExportLogsServiceRequest.FromString(joined)
    assert len(message.resource_logs) == len({row[0] for row in table(whole)})


def test_other_signals_pass_as_they_are() -> None:
    """Spans one by one, logs at full speed."""
    sink = Recorder()
    rig = Rig().run(ops.records(signal=Signal.TRACES), ops.export(sink))
    rig.send([1, 2])
    rig.send(spans([3, 4]))
    assert sink.calls == [[1, 2], [3], [4]]
    rig.check()


def test_what_has_no_record_passes_as_it_is() -> None:
    """It is a request all the same, and its sender wants an answer."""
    rig = Rig().run(ops.records(), ops.collect(max_delay=1), ops.export(Recorder()))
    receipt = rig.send(TelemetryData.from_bytes(Signal.LOGS, b""))
    rig.wait(2)
    assert kind(receipt) is not None
    rig.check()


def test_metadata_keep_records_apart_where_asked() -> None:
    """A tenant's records are not sent with another tenant's header."""
    sink = Recorder()
    rig = Rig().run(ops.records(), ops.collect(max_delay=1, metadata=["tenant"]), ops.export(sink))
    for tenant in ("red", "blue"):
        rig.send(logs([1, 2]).replace(metadata={"tenant": tenant}))
    rig.wait(2)
    assert sink.calls == [[1, 2], [1, 2]]
    rig.check()


@pytest.mark.parametrize("ending", ["completion", "error"])
def test_what_is_collected_leaves_before_the_end(ending: str) -> None:
    """Nothing is lost because a stream ends."""
    sink = Recorder()
    rig = Rig().run(ops.records(), ops.collect(), ops.export(sink))
    receipt = rig.send([1, 2])
    if ending == "completion":
        rig.end()
    else:
        rig.fail()
    assert sink.calls == [[1, 2]]
    assert kind(receipt) is Kind.DELIVERED


def test_what_is_collected_fails_on_dispose() -> None:
    """Its senders may send it again."""
    rig = Rig().run(ops.records(), ops.collect(), ops.export(Recorder()))
    receipt = rig.send([1, 2])
    rig.dispose()
    assert kind(receipt) is Kind.FAILED


def test_a_second_subscription_collects_for_itself() -> None:
    """An operator is a description; its state belongs to a subscription."""
    operator = ops.collect(max_records=2)
    first, second = Recorder(), Recorder()
    rigs = [Rig().run(operator, ops.export(first)), Rig().run(operator, ops.export(second))]
    for rig in rigs:
        rig.send([1])
    assert (first.calls, second.calls) == ([], [])
    for rig in rigs:
        rig.send([2])
    assert (first.calls, second.calls) == ([[1, 2]], [[1, 2]])


def test_only_a_single_record_has_a_view_of_its_own() -> None:
    """The mistake of a missing `records()` says its name."""
    assert logs([7]).record.body == 7
    with pytest.raises(ValueError, match=r"expected one record; ops.records\(\)"):
        _ = logs([1, 2]).record


WRONG: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (ops.records, {"signal": "traces"}, r"records\(signal='traces'\): expected a Signal"),
    (ops.collect, {"max_records": 0}, r"collect\(max_records=0\): expected 1 or more"),
    (ops.collect, {"max_bytes": "4"}, r"collect\(max_bytes='4'\): expected a whole number"),
    (ops.collect, {"max_delay": 0}, r"collect\(max_delay=0\): expected seconds above 0"),
    (ops.collect, {"metadata": "tenant"}, "sequence of names"),
]


@pytest.mark.parametrize(("make", "options", "message"), WRONG)
def test_a_wrong_argument_fails_where_it_is_written(
    make: Callable[..., Any], options: dict[str, Any], message: str
) -> None:
    """Not at the first element."""
    with pytest.raises((TypeError, ValueError), match=message):
        make(**options)


def test_two_of_them_go_into_one_pipeline() -> None:
    """Each has a book of its own, as every stage that nobody named."""
    one = rx.compose(ops.records(), ops.collect(max_delay=1), ops.export(Recorder()))
    rig = Rig().run(ops.broadcast(one, one))
    rig.send([1])
    rig.end()
    assert rig.books["collect"].received == 1
    assert rig.books["collect#2"].received == 1
    rig.check_books()
