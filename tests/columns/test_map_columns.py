"""`ops.map_columns`: what is written back, and what keeps its bytes."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxotlp import Signal, TelemetryData
from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.columns_changes import change_columns
from rxotlp.testing import Recorder, Rig, kind, logs, spans
from tests.support.requests import records_of, requests


def changed(
    data: TelemetryData, function: Callable[[Any], Any], columns: list[str] | None
) -> TelemetryData:
    """An element changed by columns."""
    payload = change_columns(data.signal, data.to_bytes(), function, columns)
    return TelemetryData.from_bytes(data.signal, payload)


@settings(max_examples=40, deadline=None)
@given(requests(Signal.TRACES))
def test_only_what_changed_is_written_again(data: bytes) -> None:
    """Of whatever an encoder may write; resources, scopes and unknown fields stay."""
    element = TelemetryData.from_bytes(Signal.TRACES, data)

    def shout(batch: Any) -> Any:
        return {
            "name": pc.if_else(pc.equal(batch["name"], "a"), "A", batch["name"]),
            "attributes.new": pc.if_else(pc.equal(batch["kind"], 3), "three", None),
            "attributes.k": pc.if_else(pc.equal(batch["kind"], 3), None, batch["attributes.k"]),
        }

    def shout_one(span: Any) -> None:
        if span.name == "a":
            span.name = "A"
        if span.kind == 3:
            for index in reversed(range(len(span.attributes))):
                if span.attributes[index].key == "k":
                    del span.attributes[index]
            span.attributes.add(key="new").value.string_value = "three"

    made = changed(element, shout, ["name", "kind", "attributes.k"])
    wanted = element.map_records(shout_one)
    assert records_of(Signal.TRACES, made.to_bytes()) == records_of(
        Signal.TRACES, wanted.to_bytes()
    )
    for before, after in zip(element.records(), made.records(), strict=True):
        if before.name != "a" and before.kind != 3:
            assert after.to_bytes() == before.to_bytes()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(Signal).flatmap(
        lambda signal: requests(signal).map(lambda made: (signal, made))
    )
)
def test_what_is_returned_as_it_was_changes_nothing(request: tuple[Signal, bytes]) -> None:
    """The very same bytes object, whatever the columns are."""
    signal, data = request
    names = ["attributes.k", "resource.service.name", "scope.name"]
    assert change_columns(signal, data, lambda batch: batch, None) is data
    assert change_columns(signal, data, lambda batch: batch, names) is data
    assert change_columns(signal, data, lambda batch: {}, names) is data


@pytest.mark.parametrize(
    ("made", "value"),
    [
        (["a", "b"], "a"),
        ([1, 2], 1),
        (pa.array([1, 2], pa.int8()), 1),
        ([0.5, 1], 0.5),
        ([True, False], True),
        ([b"\0", b""], b"\0"),
        ([["a", "b"], []], ["a", "b"]),
        (pa.array(["a", "b"]).dictionary_encode(), "a"),
        (pa.chunked_array([["a"], ["b"]]), "a"),
        (pa.scalar("x"), "x"),
        ("xy", "xy"),
        (b"xy", b"xy"),
        (7, 7),
        (0.5, 0.5),
        (True, True),
    ],
)
def test_attributes_of_every_type_are_written(made: Any, value: Any) -> None:
    """And take the place of what was there under that key, of whatever type."""
    data = spans([1, 2])
    fresh = changed(data, lambda batch: {"attributes.new": made}, ["kind"])
    again = changed(fresh, lambda batch: {"attributes.new": ["before", 1][:1] * 2}, [])
    back = changed(again, lambda batch: {"attributes.new": made}, ["attributes.new"])
    for element in (fresh, back):
        first = next(iter(element.records()))
        assert first.attributes["new"] == value
        assert [pair.key for pair in first.message.attributes].count("new") == 1


@pytest.mark.parametrize(
    ("name", "made", "wanted"),
    [
        ("kind", [3, 3], 3),
        ("kind", [None, None], 0),
        ("kind", None, 0),
        ("name", ["x", "y"], "x"),
        ("start_time_unix_nano", [5, 6], 5),
        ("trace_id", [b"1" * 16, b"2" * 16], b"1" * 16),
        ("status.code", [2, 1], 2),
        ("status.message", ["bad", None], "bad"),
    ],
)
def test_fields_are_written(name: str, made: Any, wanted: Any) -> None:
    """Under the same names as they are read."""
    element = changed(spans([1, 2]), lambda batch: {name: made}, ["name"])
    assert element.to_arrow([name])[name].to_pylist()[0] == wanted


def test_a_body_is_written() -> None:
    """As any value."""
    assert changed(logs([1, 2]), lambda batch: {"body": ["a", None]}, []).to_arrow(["body"])[
        "body"
    ].to_pylist() == ["a", None]


def test_an_attribute_that_is_there_without_a_value_is_not_doubled() -> None:
    """It reads as null, and yet the key is taken."""
    data = spans([1]).map_records(lambda span: span.attributes.add(key="k") and None)
    made = changed(data, lambda batch: {"attributes.k": ["a"]}, ["attributes.k"])
    (span,) = made.records()
    assert [pair.key for pair in span.message.attributes].count("k") == 1
    assert span.attributes["k"] == "a"


def test_as_an_operator_it_keeps_the_receipt() -> None:
    """What was made stands for what came."""
    sink = Recorder()
    plus_ten = ops.map_columns(lambda batch: {"body": pc.add(batch["body"], 10)}, columns=["body"])
    rig = Rig().run(plus_ten, ops.export(sink))
    assert kind(rig.send([1, 2])) is Kind.DELIVERED
    assert sink.calls == [[11, 12]]
    rig.check_books()


def test_other_signals_pass_as_they_are() -> None:
    """`signal=` says which one is meant."""

    def never(batch: Any) -> Any:
        raise AssertionError("log records")

    rig = Rig().run(ops.map_columns(never, signal=Signal.TRACES), ops.export(Recorder()))
    assert kind(rig.send([1])) is Kind.DELIVERED


@pytest.mark.parametrize(
    ("returns", "says"),
    [
        (None, "returned NoneType, expected a mapping of columns"),
        ({"name": ["x"]}, "'name' has 1 rows, expected 2: one for each record"),
        ({"nope": ["x", "y"]}, "traces have no column 'nope'"),
        ({"resource.service.name": ["x", "y"]}, "stands above the records"),
        ({"scope.name": ["x", "y"]}, "stands above the records"),
        ({"name": [1, 2]}, None),
        ({"kind": ["x", "y"]}, "'kind': Failed to parse"),
        ({"kind": [2**40, 1]}, "'kind'"),
        ({"name": object()}, "'name' is no column"),
        ({"attributes.a": pa.array([{"a": 1}, None])}, None),
    ],
)
def test_what_does_not_fit_is_rejected_with_its_name(returns: Any, says: str | None) -> None:
    """The stream goes on, and the sender is told."""
    rig = Rig().run(ops.map_columns(lambda batch: returns), ops.export(Recorder()))
    outcome = rig.send(spans([1, 2])).outcome
    assert outcome is not None
    if says is None:
        assert outcome.kind is Kind.DELIVERED
        return
    assert outcome.kind is Kind.REJECTED
    assert says in outcome.reason
    assert kind(rig.send(logs([]))) is not Kind.FAILED


def test_a_count_on_a_gauge_is_refused() -> None:
    """A data point has the fields of its kind only."""
    from benchmarks.workloads import payload

    signal, data = payload("metrics", items=6)
    with pytest.raises(ValueError, match="'count'"):
        change_columns(signal, data, lambda batch: {"count": [1] * batch.num_rows}, ["as_int"])
    element = TelemetryData.from_bytes(signal, data)
    counts = element.to_arrow(["count"])["count"]
    more = changed(element, lambda batch: {"count": pc.add(batch["count"], 1)}, ["count"])
    wanted = [None if count is None else count + 1 for count in counts.to_pylist()]
    assert more.to_arrow(["count"])["count"].to_pylist() == wanted


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda: ops.map_columns(3), "map_columns(3): expected a function of a RecordBatch"),  # type: ignore[arg-type]
        (lambda: ops.map_columns(len, signal="logs"), "map_columns(signal='logs')"),  # type: ignore[arg-type]
        (lambda: ops.map_columns(len, columns="body"), "map_columns(columns): expected a seq"),
        (lambda: ops.map_columns(len, columns=["nope"]), "map_columns(columns): no records have"),
        (
            lambda: ops.map_columns(len, columns=["body"], signal=Signal.TRACES),
            "map_columns(columns): traces have no column 'body'",
        ),
    ],
)
def test_bad_arguments_are_refused_where_they_are_written(
    write: Callable[[], object], says: str
) -> None:
    """Not when the first element comes."""
    with pytest.raises((TypeError, ValueError)) as raised:
        write()
    assert str(raised.value).startswith(says)
