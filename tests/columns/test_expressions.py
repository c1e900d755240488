"""`filter_records` with an expression of pyarrow: what stays, and what it says when it cannot."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxotlp import Signal, TelemetryData
from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.columns_expression import Expression
from rxotlp.testing import Recorder, Rig, kind, logs, spans
from rxotlp.wire import values
from tests.support.requests import requests

field = pc.field
SAME: list[tuple[Signal, Any, Callable[[Any], object]]] = [
    (Signal.TRACES, field("status.code") == 2, lambda span: span.status.code == 2),
    (Signal.TRACES, field("name") != "a", lambda span: span.name != "a"),
    (
        Signal.TRACES,
        (field("attributes.k") == "a") | (field("kind") > 2),
        lambda span: span.attributes.get("k") == "a" or span.kind > 2,
    ),
    (
        Signal.LOGS,
        pc.starts_with(field("severity_text"), "GET") & field("attributes.nowhere").is_null(),
        lambda record: record.severity_text.startswith("GET"),
    ),
    (
        Signal.LOGS,
        field("resource.service.name").isin(["a", ""]),
        lambda record: record.resource.attributes.get("service.name") in ("a", ""),
    ),
    (
        Signal.METRICS,
        (field("metric.name") == "a") | (field("as_double") == 1.0),
        lambda point: (
            point.metric.name == "a"
            or (
                "as_double" in point.DESCRIPTOR.fields_by_name
                and point.WhichOneof("value") == "as_double"
                and point.as_double == 1.0
            )
        ),
    ),
    (Signal.PROFILES, field("attributes.k").is_null(), lambda profile: True),
]


@pytest.mark.parametrize(
    ("signal", "expression", "predicate"),
    SAME,
    ids=lambda each: None if callable(each) else str(each),
)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_it_keeps_what_the_predicate_keeps(
    signal: Signal, expression: Any, predicate: Callable[[Any], object], data: st.DataObject
) -> None:
    """To the byte, whatever an encoder wrote."""
    element = TelemetryData.from_bytes(signal, data.draw(requests(signal)))
    wanted = element.filter_records(predicate)
    found = Expression("test", expression, signal).select(signal, element.to_bytes())
    if wanted is None:
        assert found is None
    else:
        assert found == (wanted.to_bytes(), wanted.items)


def test_as_an_operator_it_filters_and_the_rest_keeps_its_bytes() -> None:
    """The sender hears success, the books count what went."""
    sink = Recorder()
    rig = Rig().run(ops.filter_records(field("body") >= 3), ops.export(sink))
    assert kind(rig.send([1, 3, 2, 4])) is Kind.DELIVERED
    assert kind(rig.send([1, 2])) is Kind.FILTERED
    assert kind(rig.send([5])) is Kind.DELIVERED
    assert sink.calls == [[3, 4], [5]]
    assert rig.books["filter_records"].filtered == 4
    rig.check_books()


def test_an_element_of_which_all_stays_is_passed_on_itself() -> None:
    """Nothing is encoded again for nothing."""
    data = logs([1, 2])
    chosen = Expression("test", field("body") > 0, None).select(Signal.LOGS, data.to_bytes())
    assert chosen is not None
    assert chosen[0] is data.to_bytes()


def test_other_signals_pass_and_without_signal_they_are_rejected() -> None:
    """A log record has no `kind`: with `signal=` that is meant, without it is a mistake."""
    sink = Recorder()
    only = ops.filter_records(field("kind") == 3, signal=Signal.TRACES)
    rig = Rig().run(only, ops.export(sink))
    assert kind(rig.send(logs([1]))) is Kind.DELIVERED
    rig = Rig().run(ops.filter_records(field("kind") == 3), ops.export(sink))
    outcome = rig.send(logs([1])).outcome
    assert outcome is not None
    assert outcome.kind is Kind.REJECTED
    assert "logs have no column 'kind'" in outcome.reason
    assert kind(rig.send(spans([1]))) is Kind.FILTERED


def with_values(*found: Any) -> TelemetryData:
    """Log records with an attribute `k`."""
    data = logs(list(range(len(found))))

    def change(record: Any) -> None:
        value = found[record.body.int_value]
        if value is not ...:
            record.attributes.add(key="k").value.CopyFrom(values.any_value(value))

    return data.map_records(change)


@pytest.mark.parametrize(
    ("expression", "found", "kept"),
    [
        (field("attributes.k") >= 500, [500, 200, ..., 503], [0, 3]),
        (field("attributes.k") >= 500, [500, 200.5, 500.5], [0, 2]),
        (field("attributes.k") >= 500, [..., ...], []),
        (field("attributes.k") >= 500, ["500", "x"], []),
        (field("attributes.k") >= 500, ["500", 600], [1]),
        (
            field("attributes.k") >= 500,
            [..., 500, "x", True, 2**60, 0.5, [600], b"9", 7e9],
            [1, 4, 8],
        ),
        (field("attributes.k") == 2**53 + 1, [0.5, 2**53 + 1, 2**53, "x"], [1]),
        (field("attributes.k") == "[1]", [[1], "[1]", 1, {"a": 1}], [0, 1]),
        (field("attributes.k") == field("body"), ["0", 1, 2.0, ..., 4], [1, 2, 4]),
        (field("attributes.k").cast("int64") >= 500, ["500", 600], [0, 1]),
        (field("attributes.k") == "500", ["500", 500], [0]),
        (pc.starts_with(field("attributes.k"), "5"), [500, 200], []),
        (~pc.starts_with(field("attributes.k"), "5"), [..., "4"], [1]),
        (field("attributes.k").is_null(), [1, ...], [1]),
        (field("attributes.k"), [True, False, ...], [0]),
        (field("attributes.k") == field("body"), [0, 5, 2], [0, 2]),
        (pc.if_else(field("body") > 0, field("attributes.k"), False), [True, True], [1]),
    ],
    ids=lambda each: str(each),
)
def test_what_an_attribute_is_and_what_the_expression_takes(
    expression: Any, found: list[Any], kept: list[int]
) -> None:
    """Null is false, and so is a value of a type that the expression cannot take."""
    data = with_values(*found)
    chosen = Expression("test", expression, Signal.LOGS).select(Signal.LOGS, data.to_bytes())
    left = [] if chosen is None else TelemetryData.from_bytes(Signal.LOGS, chosen[0]).records()
    assert [record.body for record in left] == kept


def _has_body(number: int, record: Any) -> bool:
    return bool(record.body == number)


VALUES = st.sampled_from([..., 7, 2**53 + 1, 0.5, 7.0, "7", "x", True, b"7", [7], {"a": 7}])
ABOUT = [
    field("attributes.k") >= 7,
    field("attributes.k") == "7",
    ~(field("attributes.k") == 7) | field("attributes.k").is_null(),
    field("attributes.k") == field("body"),
    (field("attributes.k") > 1) | (field("resource.service.name") == "x"),
]


@pytest.mark.parametrize("expression", ABOUT, ids=lambda each: str(each))
@settings(max_examples=25, deadline=None)
@given(found=st.lists(VALUES, min_size=2, max_size=6))
def test_what_is_kept_does_not_depend_on_the_neighbours(expression: Any, found: list[Any]) -> None:
    """Who sends one text where others send numbers must not hide their errors."""
    chosen = Expression("test", expression, Signal.LOGS)

    def kept(data: TelemetryData) -> list[Any]:
        left = chosen.select(Signal.LOGS, data.to_bytes())
        if left is None:
            return []
        return [one.body for one in TelemetryData.from_bytes(Signal.LOGS, left[0]).records()]

    data = with_values(*found)
    alone: list[TelemetryData] = []
    for number in range(len(found)):
        one = data.filter_records(partial(_has_body, number))
        assert one is not None
        alone.append(one)
    assert kept(data) == [body for one in alone for body in kept(one)]


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        (field("nope") == 1, "no records have a column 'nope'"),
        (field("name") > 1, "no kernel matching input types"),
        (field("kind"), "expected a truth value"),
        (field("status", "code") == 2, "expected columns by one name each"),
        (field(6) == 2, "expected columns by one name each"),
        (pc.scalar(True), "expected an expression about some column"),
        (field("attributes.a") + field("attributes.b"), "no kernel"),
    ],
    ids=lambda each: str(each),
)
def test_what_can_never_work_is_refused_where_it_is_written(expression: Any, says: str) -> None:
    """Not when the first element comes."""
    with pytest.raises(ValueError, match=says):
        ops.filter_records(expression)


def test_a_column_that_only_another_signal_has_is_refused_with_signal() -> None:
    """Here it is known at once."""
    with pytest.raises(ValueError, match="filter_records: traces have no column 'body'"):
        ops.filter_records(field("body") == 1, signal=Signal.TRACES)


@pytest.mark.parametrize("given", [pa.array([1]), pa.scalar(True), "kind == 3"])
def test_what_is_neither_function_nor_expression_is_refused(given: Any) -> None:
    """An array is no expression, even if both are pyarrow's."""
    with pytest.raises(TypeError, match="expected a function of a record"):
        ops.filter_records(given)


def test_many_columns_without_a_type_are_bound_too() -> None:
    """All combinations of types would take for ever."""
    expression = field("attributes.a") > 1
    for name in "bcdefghi":
        expression = expression | (field(f"attributes.{name}") > 1)
    made = Expression("test", expression, None)
    assert sorted(made.columns) == [f"attributes.{name}" for name in "abcdefghi"]


def test_a_record_that_cannot_be_read_is_rejected() -> None:
    """As by a predicate."""
    rig = Rig().run(ops.filter_records(field("name") == "x"), ops.export(Recorder()))
    bad = TelemetryData.from_bytes(Signal.TRACES, b"\x0a\x08\x12\x06\x12\x04\x2a\x02\xff\xff")
    assert bad.items == 1
    assert kind(rig.send(bad)) is Kind.REJECTED
