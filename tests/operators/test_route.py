"""`route`: one branch each, isolated, merged."""

from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind, failed
from rxotlp.data import Signal, TelemetryData
from rxotlp.testing import Recorder, Rig, ids_of, kind


def parity(data: TelemetryData) -> str:
    return "even" if ids_of(data)[0] % 2 == 0 else "odd"


def test_each_element_goes_to_the_branch_of_its_key() -> None:
    """And its sender hears what that branch did."""
    even, odd = Recorder(), Recorder(failed("down"))
    rig = Rig().run(
        ops.route(
            parity, {"even": ops.export(even, retry=None), "odd": ops.export(odd, retry=None)}
        )
    )
    assert kind(rig.send([2])) is Kind.DELIVERED
    assert kind(rig.send([1])) is Kind.FAILED
    assert (even.ids, odd.ids) == ([2], [1])
    assert len(rig.results) == 2
    rig.check_books()


def test_signal_is_a_selector_of_its_own() -> None:
    """The most common routing needs no function."""
    archive, rest = Recorder(), Recorder()
    rig = Rig().run(
        ops.route("signal", {Signal.LOGS: ops.export(archive)}, default=ops.export(rest))
    )
    rig.send([1])
    assert (archive.ids, rest.ids) == ([1], [])


def test_what_no_branch_wants_is_dropped_as_unrouted() -> None:
    """A policy of the pipeline's author: success upstream, visible in the books."""
    rig = Rig().run(ops.route(parity, {"even": ops.export(Recorder())}))
    receipt = rig.send([1])
    assert kind(receipt) is Kind.DROPPED
    assert receipt.outcome is not None
    assert receipt.outcome.reason == "unrouted"
    assert rig.books["route"].dropped == 1
    rig.check_books()


def test_a_selector_that_raises_rejects_its_element() -> None:
    """A bad element must not end a stream."""

    def select(data: TelemetryData) -> Any:
        raise ValueError("no key")

    rig = Rig().run(ops.route(select, {"even": ops.export(Recorder())}))
    assert kind(rig.send([1])) is Kind.REJECTED
    rig.check_books()


def test_a_branch_that_ends_only_fails_what_is_sent_to_it() -> None:
    """`take` in one branch must not take the other branch's stream down."""
    even, odd = Recorder(), Recorder()
    rig = Rig().run(
        ops.route(
            parity,
            {"even": ops.export(even), "odd": rx.compose(rx_ops.take(1), ops.export(odd))},
        )
    )
    assert kind(rig.send([1])) is Kind.DELIVERED
    receipt = rig.send([3])
    assert kind(receipt) is Kind.FAILED
    assert receipt.outcome is not None
    assert "branch ended: odd" in receipt.outcome.reason
    assert kind(rig.send([2])) is Kind.DELIVERED
    rig.check_books()


def test_a_branch_that_fails_is_isolated_too() -> None:
    """Its error is logged, and the result stream goes on."""

    def breaks(data: TelemetryData) -> TelemetryData:
        raise ValueError("broken branch")

    even = Recorder()
    rig = Rig().run(
        ops.route(
            parity,
            {
                "even": ops.export(even),
                "odd": rx.compose(ops.chain(breaks, on_error="stop"), ops.export(Recorder())),
            },
        )
    )
    assert kind(rig.send([1])) is Kind.FAILED
    assert kind(rig.send([3])) is Kind.FAILED
    assert kind(rig.send([2])) is Kind.DELIVERED
    assert rig.errors == []
    rig.check_books()


def test_on_completion_every_branch_flushes_before_the_end() -> None:
    """A batch in a branch is not forgotten."""
    even, odd = Recorder(), Recorder()
    rig = Rig().run(
        ops.route(
            parity,
            {"even": rx.compose(ops.batch(), ops.export(even)), "odd": ops.export(odd)},
        )
    )
    receipt = rig.send([2])
    rig.send([1])
    rig.end()
    assert even.ids == [2]
    assert kind(receipt) is Kind.DELIVERED
    assert rig.completed()
    rig.check_books()


def test_on_error_every_branch_flushes_before_the_error() -> None:
    """And the error is passed on once."""
    even = Recorder()
    rig = Rig()
    gate: Any = rx.subject.Subject()
    rig.run(
        rx_ops.merge(gate),
        ops.route(parity, {"even": rx.compose(ops.batch(), ops.export(even))}),
    )
    rig.send([2])
    gate.on_error(ValueError("upstream"))
    rig.wait(0)
    assert even.ids == [2]
    assert [str(error) for error in rig.errors] == ["upstream"]
    rig.check_books()


def test_on_dispose_every_branch_is_disposed() -> None:
    """What a branch held fails, so its sender sends again."""
    even = Recorder()
    rig = Rig().run(ops.route(parity, {"even": rx.compose(ops.batch(), ops.export(even))}))
    receipt = rig.send([2])
    rig.dispose()
    assert kind(receipt) is Kind.FAILED
    assert even.ids == []
    rig.check_books()


def test_a_second_subscription_has_branches_of_its_own() -> None:
    """Two streams through one operator do not share a batch."""
    sink = Recorder()
    operator = ops.route(parity, {"even": ops.batch(max_items=2)})
    one, two = Rig(), Rig()
    one.run(operator, ops.export(sink))
    two.run(operator, ops.export(sink))
    one.send([2])
    two.send([4])
    assert sink.calls == []
    one.send([6])
    assert sink.calls == [[2, 6]]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("resource", {}), {}, "expected 'signal', a selector"),
        ((parity, {}), {}, "expected one branch or more, or a default"),
        ((parity, {"even": Recorder()}), {}, "ops.export"),
        ((3, {"even": ops.batch()}), {}, "expected 'signal', a selector"),
    ],
)
def test_a_wrong_argument_fails_where_the_pipeline_is_written(
    arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    """Not at the first element."""
    with pytest.raises((ValueError, TypeError), match=message):
        ops.route(*arguments, **options)
