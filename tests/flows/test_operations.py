"""Operations are values: checked where they are made, and the same for every flow."""

from collections.abc import Callable
from typing import Any

import pytest

import rxotlp.flows as typed
from rxotlp.flows import (
    Call,
    ComplexTrace,
    EndTrace,
    Metric,
    NestedTrace,
    RecordMetric,
    StartTrace,
)

flows: Any = typed  # what a type checker would refuse


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: flows.StartTrace(""), ValueError, "StartTrace(name='')"),
        (lambda: flows.StartTrace(3), TypeError, "StartTrace(name=3)"),
        (
            lambda: flows.StartTrace("a", {"k": object()}),
            TypeError,
            "StartTrace('a', attributes['k']",
        ),
        (lambda: flows.StartTrace("a", {1: "x"}), TypeError, "StartTrace('a', attributes[1]"),
        (lambda: flows.StartTrace("a", kind="server"), TypeError, "kind='server'"),
        (lambda: flows.StartTrace("a", span_id="12"), ValueError, "16 lower-case hex digits"),
        (lambda: flows.StartTrace("a", span_id="0" * 16), ValueError, "not all zero"),
        (lambda: flows.StartTrace("a", trace_id="A" * 32), ValueError, "32 lower-case hex digits"),
        (
            lambda: flows.StartTrace("a", parent_span_id="1" * 16),
            ValueError,
            "its trace_id as well",
        ),
        (lambda: flows.AddSpan(7, "a"), TypeError, "AddSpan(parent=7)"),
        (lambda: flows.EndTrace(status=2), TypeError, "EndTrace(status=2)"),
        (lambda: flows.EndTrace(message=b"x"), TypeError, "EndTrace(message=b'x')"),
        (lambda: flows.Metric("", 1), ValueError, "Metric(name='')"),
        (lambda: flows.Metric("m", True), TypeError, "Metric('m', value=True)"),
        (lambda: flows.Metric("m", float("nan")), ValueError, "expected a finite number"),
        (lambda: flows.Metric("m", -1), ValueError, "never shrinks"),
        (lambda: flows.Metric("m", 1, "sum"), TypeError, "kind='sum'"),
        (
            lambda: flows.Metric("m", 1, flows.MetricKind.HISTOGRAM, bounds=(2, 1)),
            ValueError,
            "increasing edges",
        ),
        (lambda: flows.RecordMetric(3), TypeError, "RecordMetric(metric=3)"),
        (
            lambda: flows.RecursiveMetric(flows.Metric("m", 1), "2"),
            TypeError,
            "recursion_factor='2'",
        ),
        (lambda: flows.RecursiveMetric(flows.Metric("m", 1), float("inf")), ValueError, "finite"),
        (lambda: flows.Call("print"), TypeError, "Call(function='print')"),
        (lambda: flows.ComplexTrace(flows.StartTrace("a")), TypeError, "critical_parts"),
        (
            lambda: flows.NestedTrace([flows.StartTrace("a"), "b"]),
            TypeError,
            "child_operations[1]='b'",
        ),
        (lambda: flows.HighLatency([]), TypeError, "HighLatency(operation=[])"),
        (lambda: flows.NonBlocking(None), TypeError, "NonBlocking(operation=None)"),
        (lambda: flows.BatchProcessing(5), TypeError, "BatchProcessing(operations=5)"),
    ],
)
def test_a_wrong_argument_fails_where_the_operation_is_written(
    make: Callable[[], Any], error: type[Exception], text: str
) -> None:
    """Executed later, on another thread, it would be a puzzle."""
    with pytest.raises(error) as caught:
        make()
    assert text in str(caught.value)


def test_operations_cannot_be_changed() -> None:
    """One operation is executed by many flows at once."""
    attributes = {"k": "v"}
    operation = StartTrace("a", attributes)
    attributes["k"] = "changed"
    assert operation.attributes == {"k": "v"}
    with pytest.raises(AttributeError):
        operation.name = "b"  # type: ignore[misc]
    with pytest.raises(TypeError):
        operation.attributes["k"] = "w"  # type: ignore[index]


def test_equal_operations_are_equal_and_hash_alike() -> None:
    """They are put into sets and compared in tests of programs that make them."""
    one, two = StartTrace("a", {"k": [1, 2]}), StartTrace("a", {"k": [1, 2]})
    assert one == two
    assert hash(one) == hash(two)
    assert one != StartTrace("a")


def test_a_tree_of_any_depth_has_a_repr() -> None:
    """Error messages quote operations; one that cannot be printed hides its error."""
    tree = NestedTrace([EndTrace()], name="leaf")
    for _ in range(5_000):
        tree = NestedTrace([tree])
    assert repr(tree) == "NestedTrace(1 operations, name='')"
    assert repr(ComplexTrace([tree])).startswith("ComplexTrace(critical_parts=(NestedTrace(1")


def test_labels_are_short_names() -> None:
    """Paths and log lines are made of them."""
    assert StartTrace("order").label == "StartTrace(order)"
    assert RecordMetric(Metric("orders", 1)).label == "RecordMetric(orders)"
    assert EndTrace().label == "EndTrace"
    assert Call(len).label == "Call(len)"
