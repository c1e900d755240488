"""`broadcast`: every branch gets everything; senders hear of those that are required."""

import asyncio
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.testing import Recorder, Rig, kind


class Slow(Recorder):
    """An async destination: an element takes ten seconds."""

    async def export(self, data: TelemetryData) -> Outcome:  # type: ignore[override]
        await asyncio.sleep(10)
        return super().export(data)


def halves(data: TelemetryData) -> list[TelemetryData]:
    return data.split(max_items=1)


def as_it_is(data: TelemetryData) -> TelemetryData:
    return data


def test_every_branch_gets_every_element_and_the_worst_is_heard() -> None:
    """Two backends: the sender must know when either did not take its data."""
    good, bad = Recorder(), Recorder(rejected("no"))
    rig = Rig().run(ops.broadcast(ops.export(good), ops.export(bad)))
    receipt = rig.send([1, 2])
    assert kind(receipt) is Kind.REJECTED
    assert receipt.rejected == 2
    assert good.ids == bad.ids == [1, 2]
    assert rig.books["broadcast"].created == 2
    assert len(rig.results) == 2
    rig.check_books()


def test_a_sender_waits_for_the_slowest_required_branch() -> None:
    """An answer after the first of two would promise what nobody knows yet."""
    rig = Rig().run(ops.broadcast(ops.export(Recorder()), ops.export(Slow())))
    receipt = rig.send([1])
    assert kind(receipt) is None
    rig.wait(10)
    assert kind(receipt) is Kind.DELIVERED
    rig.check_books()


def test_a_branch_that_is_done_at_once_settles_nothing_for_the_others() -> None:
    """It has reported every part before the next branch, a native delay, has the element."""
    late = Recorder(failed("down"))
    rig = Rig().run(
        ops.broadcast(
            rx.compose(ops.chain(halves), ops.export(Recorder(), retry=None)),
            rx.compose(rx_ops.delay(5), ops.export(late, retry=None)),
        )
    )
    receipt = rig.send([1, 2])
    assert kind(receipt) is None
    rig.wait(5)
    assert kind(receipt) is Kind.FAILED
    rig.check_books()


def test_branches_that_are_not_required_are_not_heard() -> None:
    """A trial backend that fails or hangs must cost production nothing."""
    trial, slow = Recorder(failed("down")), Slow()
    rig = Rig().run(
        ops.broadcast(
            ops.export(Recorder(), retry=None),
            ops.export(trial, retry=None),
            ops.export(slow, retry=None),
            required=[0],
        )
    )
    receipt = rig.send([1, 2])
    assert kind(receipt) is Kind.DELIVERED
    assert trial.ids == [1, 2]
    assert rig.books["export#2"].failed == 2
    assert rig.books["broadcast"].created == 4
    rig.wait(10)
    assert slow.ids == [1, 2]
    rig.check_books()


def test_a_queue_begins_a_branch_that_mends_its_own_failures() -> None:
    """Each branch at its own pace, with its own bound."""
    sinks = [
        Recorder(),
        Recorder(lambda data: failed("down") if len(sinks[1].calls) < 3 else DELIVERED),
    ]
    rig = Rig().run(
        ops.broadcast(
            ops.export(sinks[0], retry=None),
            rx.compose(ops.queue(), ops.export(sinks[1], retry=None)),
        )
    )
    assert kind(rig.send([1])) is Kind.DELIVERED
    rig.wait(10)
    assert (sinks[0].calls, sinks[1].calls) == ([[1]], [[1]] * 3)
    rig.check_books()


def test_a_required_branch_that_ended_fails_what_is_sent() -> None:
    """The others still get it; the sender is told that not all did."""
    first, second = Recorder(), Recorder()
    rig = Rig().run(
        ops.broadcast(rx.compose(rx_ops.take(1), ops.export(first)), ops.export(second))
    )
    assert kind(rig.send([1])) is Kind.DELIVERED
    receipt = rig.send([2])
    assert receipt.outcome is not None
    assert "branch ended: 0" in receipt.outcome.reason
    assert (first.ids, second.ids) == ([1], [1, 2])
    rig.check_books()


def test_any_other_branch_that_failed_is_left_out() -> None:
    """Its error is logged; nobody else notices."""

    def breaks(data: TelemetryData) -> TelemetryData:
        raise ValueError("broken branch")

    sink = Recorder()
    rig = Rig().run(
        ops.broadcast(ops.export(sink), ops.chain(breaks, on_error="stop"), required=[0])
    )
    assert [kind(rig.send([number])) for number in (1, 2)] == [Kind.DELIVERED] * 2
    assert sink.ids == [1, 2]
    assert rig.errors == []
    assert rig.books["broadcast"].created == 1
    rig.check_books()


def test_a_subscriber_that_raises_at_one_copy_keeps_none_from_the_others() -> None:
    """The copies of an element have nothing to do with each other."""
    sink = Recorder()

    def on_next(value: Any) -> None:
        if isinstance(value, TelemetryData):
            raise ValueError("a subscriber's fault")

    rig = Rig().run(ops.broadcast(ops.chain(as_it_is), ops.export(sink)), on_next=on_next)
    rig.send([1])
    assert sink.ids == [1]
    assert rig.clock.errors == 1


def test_withdrawn_parts_are_left_out_behind_it_too() -> None:
    """A copy of a batch knows its senders as the batch does."""
    sink = Recorder()
    rig = Rig().run(
        ops.batch(max_delay=1),
        ops.broadcast(rx.compose(rx_ops.delay(5), ops.export(sink)), ops.export(Recorder())),
    )
    first = rig.send([1])
    rig.send([2])
    rig.wait(2)
    first.expire("out of patience")
    rig.wait(5)
    assert sink.calls == [[2]]
    rig.check_books()


def test_on_completion_every_branch_flushes_before_the_end() -> None:
    """A batch in a branch is not forgotten."""
    sinks = [Recorder(), Recorder()]
    rig = Rig().run(
        ops.broadcast(rx.compose(ops.batch(), ops.export(sinks[0])), ops.export(sinks[1]))
    )
    receipt = rig.send([1])
    rig.end()
    assert sinks[0].ids == [1]
    assert kind(receipt) is Kind.DELIVERED
    assert rig.completed()
    rig.check_books()


def test_on_error_every_branch_flushes_before_the_error() -> None:
    """And the error is passed on once."""
    sink = Recorder()
    rig = Rig()
    gate: Any = rx.subject.Subject()
    rig.run(
        rx_ops.merge(gate),
        ops.broadcast(rx.compose(ops.batch(), ops.export(sink)), ops.export(Recorder())),
    )
    rig.send([1])
    gate.on_error(ValueError("upstream"))
    rig.wait(0)
    assert sink.ids == [1]
    assert [str(error) for error in rig.errors] == ["upstream"]
    rig.check_books()


def test_on_dispose_every_branch_is_disposed() -> None:
    """What a branch held fails, so its sender sends again."""
    sink = Recorder()
    rig = Rig().run(
        ops.broadcast(rx.compose(ops.batch(), ops.export(sink)), ops.export(Recorder()))
    )
    receipt = rig.send([1])
    rig.dispose()
    assert kind(receipt) is Kind.FAILED
    assert sink.ids == []
    rig.check_books()


def test_a_second_subscription_has_branches_of_its_own() -> None:
    """Two streams through one operator do not share a batch."""
    operator = ops.broadcast(ops.batch(max_items=2))
    sink = Recorder()
    one, two = Rig().run(operator, ops.export(sink)), Rig().run(operator, ops.export(sink))
    one.send([1])
    two.send([2])
    assert sink.calls == []
    one.send([3])
    assert sink.calls == [[1, 3]]


@pytest.mark.parametrize(
    ("branches", "options", "message"),
    [
        ((), {}, r"broadcast\(\): expected one branch or more"),
        ((Recorder(),), {}, "ops.export"),
        ((ops.batch(),), {"required": []}, "senders must hear of one"),
        ((ops.batch(),), {"required": [1]}, "expected positions from 0 to 0"),
    ],
)
def test_a_wrong_argument_fails_where_the_pipeline_is_written(
    branches: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    """Not at the first element."""
    with pytest.raises((ValueError, TypeError), match=message):
        ops.broadcast(*branches, **options)
