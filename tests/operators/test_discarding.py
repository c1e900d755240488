"""`discarding`: what a native operator lets go of on purpose, and nothing else, is dropped."""

import gc
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED as delivered
from rxotlp._core.outcomes import Kind, failed
from rxotlp.data import TelemetryData
from rxotlp.testing import Recorder, Rig, ids_of, kind

DELIVERED, DROPPED, FAILED = Kind.DELIVERED, Kind.DROPPED, Kind.FAILED
FILTERED = Kind.FILTERED
FLAT_MAP: Any = rx_ops.flat_map


def even(data: TelemetryData) -> bool:
    return ids_of(data)[0] % 2 == 0


def raising(data: TelemetryData) -> TelemetryData:
    raise ValueError("a selector's fault")


def test_parts_that_a_wrapped_operator_makes_are_discarded_on_purpose_too() -> None:
    """A part inherits what is said of the whole."""
    rig, sink = Rig(), Recorder()
    rig.run(
        ops.discarding(
            "debounced",
            rx.compose(
                FLAT_MAP(lambda data: rx.of(*data.split(max_items=1))), rx_ops.debounce(1.0)
            ),
        ),
        ops.export(sink),
    )
    receipt = rig.send([1, 2, 3])
    rig.wait(1)
    assert kind(receipt) is DROPPED
    assert sink.ids == [3]
    rig.end()
    rig.check_books()


@pytest.mark.parametrize("wrapped", [rx_ops.debounce(1.0), rx_ops.sample(1.0)])
def test_a_sender_does_not_wait_for_a_wrapped_operator_to_let_go(wrapped: Any) -> None:
    """They refer to what they have sent until another comes, and none may come for hours."""
    rig, sink = Rig(), Recorder()
    rig.run(ops.discarding("thinned", wrapped), ops.export(sink))
    receipt = rig.send([1])
    rig.wait(1.5)
    assert kind(receipt) is DELIVERED
    rig.check_books()


def test_what_a_wrapped_operator_sends_twice_is_judged_by_both() -> None:
    """A copy that fails is not hidden by one that was delivered."""
    rig = Rig()
    outcomes = [failed("down"), delivered]
    rig.run(
        ops.discarding("x", FLAT_MAP(lambda data: rx.of(data, data))),
        ops.export(Recorder(lambda _data: outcomes.pop()), retry=None),
    )
    receipt = rig.send([1])
    rig.wait(0)
    assert kind(receipt) is FAILED
    rig.check_books()


def test_what_dies_after_a_wrapped_operator_is_no_business_of_it() -> None:
    """The mark is taken off what comes out, or it would hide real losses further on."""
    rig, sink = Rig(), Recorder()
    rig.run(
        ops.discarding("debounced", rx_ops.debounce(1.0)),
        rx_ops.delay(1.0),
        rx_ops.filter(even),
        ops.export(sink),
    )
    receipt = rig.send([1])
    rig.wait(2)
    assert kind(receipt) is FAILED
    rig.end()
    rig.check_books()


@pytest.mark.parametrize("how", ["dispose", "error"])
def test_what_a_wrapped_operator_holds_when_the_stream_is_over_fails(how: str) -> None:
    """Nobody meant that to go: it was merely there when the stream ended."""
    rig = Rig()
    gate: Any = Subject()
    rig.run(
        rx_ops.merge(gate),
        ops.discarding("debounced", rx_ops.debounce(9.0)),
        ops.export(Recorder()),
    )
    receipt = rig.send([1])
    if how == "dispose":
        rig.dispose()
    else:
        gate.on_error(ValueError("upstream"))
    rig.subscription = None
    gc.collect()
    rig.wait(1)
    assert kind(receipt) in (FAILED, None)  # None: a closure of reactivex still holds it
    if receipt.outcome is None:
        receipt.expire("deadline")
        assert kind(receipt) is FAILED


def test_a_wrapped_operator_that_raises_discards_nothing_on_purpose() -> None:
    """A fault is a fault, wherever it happens."""
    rig = Rig()
    rig.run(ops.discarding("debounced", rx_ops.map(raising)), ops.export(Recorder()))
    receipt = rig.send([1])
    rig.errors.clear()
    gc.collect()
    rig.wait(0)
    assert kind(receipt) is FAILED


def test_what_a_wrapped_filter_removes_is_filtered() -> None:
    """Inside the emission nothing changes."""
    rig = Rig()
    rig.run(ops.discarding("odd", rx_ops.filter(even)), ops.export(Recorder()))
    assert kind(rig.send([1])) is FILTERED
    rig.check_books()


def test_on_completion_the_operator_decides_what_becomes_of_what_it_holds() -> None:
    """`debounce` sends it."""
    rig, sink = Rig(), Recorder()
    rig.run(ops.discarding("debounced", rx_ops.debounce(9.0)), ops.export(sink))
    receipts = [rig.send([1]), rig.send([2])]
    rig.end()
    assert [kind(receipt) for receipt in receipts] == [DROPPED, DELIVERED]
    assert sink.ids == [2]
    assert rig.completed()
    rig.check_books()


def test_on_error_the_error_is_passed_on() -> None:
    """It holds nothing itself."""
    rig = Rig()
    gate: Any = Subject()
    rig.run(rx_ops.merge(gate), ops.discarding("x", rx_ops.debounce(9.0)), ops.export(Recorder()))
    gate.on_error(ValueError("upstream"))
    rig.wait(0)
    assert [str(error) for error in rig.errors] == ["upstream"]


def test_a_second_subscription_shares_nothing() -> None:
    """A disposal of one stream must not change what the other discards."""
    operator = ops.discarding("debounced", rx_ops.debounce(9.0))
    one, two = (
        Rig().run(operator, ops.export(Recorder())),
        Rig().run(operator, ops.export(Recorder())),
    )
    one.dispose()
    receipt = two.send([1])
    two.send([2])
    two.wait(0)
    assert kind(receipt) is DROPPED


def test_its_stages_have_the_name_it_is_given() -> None:
    """So that the books say which discard lost how many."""
    rig = Rig().run(
        ops.discarding("sampled", rx_ops.sample(1.0), name="thin"), ops.export(Recorder())
    )
    rig.send([1])
    assert rig.books["thin"].received == 1
    assert rig.books["thin out"].received == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", rx_ops.debounce(1.0)), "expected a reason; the books need one"),
        ((3, rx_ops.debounce(1.0)), r"discarding\(3\): expected a reason, got int"),
        (("x", "y"), "expected an operator, got str"),
    ],
)
def test_a_wrong_argument_fails_where_the_pipeline_is_written(
    arguments: tuple[Any, ...], message: str
) -> None:
    """Not at the first element."""
    with pytest.raises((ValueError, TypeError), match=message):
        ops.discarding(*arguments)


def test_what_leaves_an_inner_operator_is_still_inside_the_outer_one() -> None:
    """Else what the outer one supersedes would fail, and its senders would send it for ever."""
    inner = ops.discarding("inner", rx_ops.debounce(0.1))
    rig = Rig().run(
        ops.discarding("outer", rx.compose(inner, rx_ops.debounce(1))), ops.export(Recorder())
    )
    first = rig.send([1])
    second = rig.send([2])
    rig.wait(0.5)
    rig.send([3])
    rig.wait(5)
    assert first.outcome is not None
    assert first.outcome.reason.endswith("inner")
    assert kind(second) is Kind.DROPPED
    assert second.outcome is not None
    assert second.outcome.reason.endswith("outer")
    assert rig.books.unbalanced == []
