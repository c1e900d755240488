"""`scatter_gather`: one element through all processors at once, and one element on."""

import asyncio
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind, failed
from rxotlp.data import TelemetryData
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs


def ten_more(data: TelemetryData) -> TelemetryData:
    return data.derive(logs(number + 10 for number in ids_of(data)).message)


def nothing(data: TelemetryData) -> None:
    return None


def apart(data: TelemetryData) -> list[TelemetryData]:
    return data.split(max_items=1)


def breaks(data: TelemetryData) -> TelemetryData:
    raise ValueError("a processor's fault")


async def ten_more_later(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(3)
    return ten_more(data)


async def same_later(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(2)
    return data


def last(made: list[TelemetryData]) -> TelemetryData:
    return made[-1]


def run(*processors: Any, sink: Recorder, merge: Any = TelemetryData.merge) -> Rig:
    return Rig().run(ops.scatter_gather(*processors, merge=merge), ops.export(sink, retry=None))


def test_merge_gets_what_all_gave_in_the_order_of_the_processors() -> None:
    """Lists are taken apart, and None gives nothing."""
    sink = Recorder()
    rig = run(ten_more, nothing, apart, sink=sink)
    receipt = rig.send([1, 2])
    assert sink.calls == [[11, 12, 1, 2]]
    assert kind(receipt) is Kind.DELIVERED
    assert rig.books["scatter_gather"].created == 2
    rig.check_books()


def test_async_processors_run_at_the_same_time() -> None:
    """Three lookups take as long as the slowest, and order is that of the arguments."""
    sink = Recorder()
    rig = run(ten_more_later, ten_more, same_later, sink=sink)
    receipt = rig.send([1])
    rig.wait(2.9)
    assert kind(receipt) is None
    assert rig.books["scatter_gather"].held == 1
    rig.wait(0.1)
    assert sink.calls == [[11, 11, 1]]
    assert kind(receipt) is Kind.DELIVERED
    rig.check_books()


@pytest.mark.parametrize("processors", [(ten_more, apart), (ten_more_later, same_later, apart)])
def test_what_merge_leaves_out_settles_nothing_and_fails_nothing(processors: Any) -> None:
    """Only what goes on speaks for the element, whatever the processors made."""
    sink = Recorder(failed("down", retry_after=7))
    rig = run(*processors, sink=sink, merge=last)
    receipt = rig.send([1, 2])
    rig.wait(5)
    assert receipt.outcome == failed("down", retry_after=7)
    assert sink.calls == [[2]]
    rig.check_books()


@pytest.mark.parametrize("processors", [(ten_more,), (ten_more_later,)])
def test_none_of_merge_filters(processors: Any) -> None:
    """Its sender hears success."""
    rig = run(*processors, sink=Recorder(), merge=nothing)
    receipt = rig.send([1])
    rig.wait(5)
    assert kind(receipt) is Kind.FILTERED
    rig.check_books()


def test_merge_is_not_asked_about_nothing() -> None:
    """Merging no elements is an error for `TelemetryData.merge`, and a filter here."""
    rig = run(nothing, nothing, sink=Recorder())
    assert kind(rig.send([1])) is Kind.FILTERED
    rig.check_books()


@pytest.mark.parametrize("processors", [(ten_more, breaks), (ten_more_later, breaks)])
def test_any_raise_rejects_the_whole_element(processors: Any) -> None:
    """Half of what was asked for must not look like all of it; the stream goes on."""
    sink = Recorder()
    rig = run(*processors, sink=sink)
    receipts = [rig.send([1]), rig.send([2])]
    rig.wait(10)
    assert [kind(receipt) for receipt in receipts] == [Kind.REJECTED] * 2
    assert receipts[0].outcome is not None
    assert "ValueError: a processor's fault" in receipts[0].outcome.reason
    assert sink.ids == []
    rig.check_books()


def test_an_async_raise_cancels_the_others_and_says_what_was_wrong() -> None:
    """Nobody waits for a lookup whose result is of no use any more."""
    cancelled: list[bool] = []

    async def hangs(data: TelemetryData) -> TelemetryData:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return data

    async def fails(data: TelemetryData) -> TelemetryData:
        await asyncio.sleep(1)
        return breaks(data)

    rig = run(hangs, fails, sink=Recorder())
    receipt = rig.send([1])
    rig.wait(1)
    assert kind(receipt) is Kind.REJECTED
    assert receipt.outcome is not None
    assert "ValueError: a processor's fault" in receipt.outcome.reason
    assert cancelled == [True]
    rig.check_books()


def test_a_merge_that_raises_rejects() -> None:
    """As a processor that does."""
    rig = run(ten_more, sink=Recorder(), merge=breaks)
    assert kind(rig.send([1])) is Kind.REJECTED
    rig.check_books()


def test_on_completion_what_runs_and_waits_is_finished_first() -> None:
    """Completion overtakes nothing."""
    sink = Recorder()
    rig = run(same_later, sink=sink)
    rig.send([1])
    rig.send([2])
    rig.end()
    assert sink.ids == [1, 2]
    assert rig.completed()
    rig.check_books()


def test_on_error_what_runs_and_waits_is_finished_first() -> None:
    """What was received before a fault is still good data."""
    sink, rig = Recorder(), Rig()
    gate: Any = rx.subject.Subject()
    operator = ops.scatter_gather(same_later, merge=TelemetryData.merge)
    rig.run(rx_ops.merge(gate), operator, ops.export(sink))
    rig.send([1])
    gate.on_error(ValueError("upstream"))
    rig.clock.run()
    assert sink.ids == [1]
    assert [str(error) for error in rig.errors] == ["upstream"]
    rig.check_books()


def test_on_dispose_what_runs_and_waits_fails() -> None:
    """So its senders send again."""
    rig = run(same_later, sink=Recorder())
    receipts = [rig.send([1]), rig.send([2])]
    rig.dispose()
    rig.clock.run()
    assert [kind(receipt) for receipt in receipts] == [Kind.FAILED] * 2
    rig.check_books()


def test_a_second_subscription_has_a_queue_of_its_own() -> None:
    """Two streams through one operator must not take each other's turns."""
    operator = ops.scatter_gather(same_later, merge=TelemetryData.merge)
    first, second = Recorder(), Recorder()
    one, two = Rig().run(operator, ops.export(first)), Rig().run(operator, ops.export(second))
    one.send([1])
    two.send([2])
    two.wait(2)
    assert (first.ids, second.ids) == ([], [2])


@pytest.mark.parametrize(
    ("processors", "merge", "message"),
    [
        ((), last, r"scatter_gather\(\): expected one processor or more"),
        ((3,), last, r"scatter_gather\(3\): expected a function of an element"),
        ((ten_more,), None, r"scatter_gather\(merge=None\): expected a plain function"),
        ((ten_more,), same_later, "expected a plain function of a list"),
    ],
)
def test_a_wrong_argument_fails_where_the_pipeline_is_written(
    processors: tuple[Any, ...], merge: Any, message: str
) -> None:
    """Not at the first element."""
    with pytest.raises((ValueError, TypeError), match=message):
        ops.scatter_gather(*processors, merge=merge)
