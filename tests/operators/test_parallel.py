"""`parallel`: several at once, never more, in the order promised."""

import asyncio
import threading
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.data import TelemetryData
from rxotlp.pipeline import Pipeline
from rxotlp.sources.iterable import from_iterable
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs


async def slowly(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(ids_of(data)[0])
    return data


def run(function: Any, sink: Recorder, **options: Any) -> Rig:
    return Rig().run(ops.parallel(function, **options), ops.export(sink))


def test_no_more_than_max_concurrent_run_at_once() -> None:
    """The bound protects whatever the function calls."""
    running, most = 0, 0

    async def count(data: TelemetryData) -> TelemetryData:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1
        return data

    sink = Recorder()
    rig = run(count, sink, max_concurrent=3)
    receipts = [rig.send([number]) for number in range(10)]
    assert rig.books["parallel"].held == 10
    rig.clock.run()
    assert most == 3
    assert sorted(sink.ids) == list(range(10))
    assert {kind(receipt) for receipt in receipts} == {Kind.DELIVERED}
    rig.check_books()


def test_results_leave_as_they_are_ready() -> None:
    """A slow one holds nobody up, unless order was asked for."""
    sink = Recorder()
    rig = run(slowly, sink)
    for number in (3, 1, 2):
        rig.send([number])
    rig.clock.run()
    assert sink.ids == [1, 2, 3]


def test_ordered_results_leave_in_order_of_arrival() -> None:
    """And a finished one that waits keeps its slot."""
    sink = Recorder()
    rig = run(slowly, sink, ordered=True, max_concurrent=2)
    for number in (3, 1, 2):
        rig.send([number])
    rig.wait(2)
    assert rig.books["parallel"].held == 3
    rig.clock.run()
    assert sink.ids == [3, 1, 2]
    rig.check_books()


def test_elements_of_one_key_keep_their_order() -> None:
    """Order per tenant, concurrency across tenants."""
    sink = Recorder()
    rig = run(slowly, sink, key=lambda data: ids_of(data)[0] % 2)
    for number in (5, 2, 1):
        rig.send([number])
    rig.clock.run()
    assert sink.ids == [2, 5, 1]


async def one_second(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(1)
    return data


def test_the_more_important_starts_sooner_and_equal_ones_in_order() -> None:
    """What a user looks at now must not wait for last night's backlog."""
    sink = Recorder()
    rig = run(one_second, sink, max_concurrent=1, priority=lambda data: ids_of(data)[0] // 10)
    for number in (1, 2, 10, 11, 20, 3):
        rig.send([number])
    rig.clock.run()
    assert sink.ids == [1, 20, 10, 11, 2, 3]
    rig.check_books()


def test_what_is_least_important_runs_under_saturation() -> None:
    """It is overtaken for as long as was said, however many important ones keep coming."""
    sink = Recorder()
    rig = run(
        one_second,
        sink,
        max_concurrent=1,
        priority=lambda data: 0 if ids_of(data) == [0] else 2,
        ageing=4,
    )
    rig.send([100])
    rig.send([0])
    for number in range(30):
        rig.send([101 + number])
        rig.wait(1)
    assert sink.ids.index(0) <= 2 * 4 + 1
    rig.clock.run()
    rig.check_books()


def test_elements_of_one_key_keep_their_order_whatever_their_priorities() -> None:
    """Importance must not undo what the key is for."""
    sink = Recorder()
    rig = run(
        one_second,
        sink,
        max_concurrent=1,
        key=lambda data: ids_of(data)[0] % 2,
        priority=lambda data: ids_of(data)[0],
    )
    for number in (1, 4, 3, 2, 5):
        rig.send([number])
    rig.clock.run()
    assert sink.ids == [1, 4, 3, 5, 2]
    rig.check_books()


@pytest.mark.parametrize(
    ("priority", "reason"),
    [
        (lambda data: data.nothing, "AttributeError"),
        (lambda data: "urgent", "TypeError: priority 'urgent': expected a number, got str"),
        (lambda data: float("nan"), "ValueError: priority nan: expected a finite number"),
    ],
)
def test_an_element_without_a_valid_priority_is_rejected(priority: Any, reason: str) -> None:
    """It never had a place in the line; the others keep theirs."""
    sink = Recorder()
    rig = run(one_second, sink, priority=lambda data: 0 if ids_of(data) == [2] else priority(data))
    bad, good = rig.send([1]), rig.send([2])
    rig.clock.run()
    assert (kind(bad), kind(good)) == (Kind.REJECTED, Kind.DELIVERED)
    assert bad.outcome is not None
    assert reason in bad.outcome.reason
    rig.check_books()


def test_more_than_max_waiting_fail_as_retryable() -> None:
    """Without a bound, waiting is memory."""
    sink = Recorder()
    rig = run(slowly, sink, max_concurrent=1, max_waiting=1)
    receipts = [rig.send([number]) for number in (1, 2, 3)]
    assert [kind(receipt) for receipt in receipts] == [None, None, Kind.FAILED]
    rig.clock.run()
    assert sink.ids == [1, 2]
    rig.check_books()


def test_a_raise_rejects_its_element_and_the_others_go_on() -> None:
    """One failing inner disposing its siblings is what reactivex's merge does."""

    async def fails(data: TelemetryData) -> TelemetryData:
        await asyncio.sleep(1)
        if data.items > 1:
            raise ValueError("two")
        return data

    sink = Recorder()
    rig = run(fails, sink)
    first, second = rig.send([1, 2]), rig.send([3])
    rig.wait(1)
    assert (kind(first), kind(second)) == (Kind.REJECTED, Kind.DELIVERED)
    rig.check_books()


def test_none_filters_and_a_list_splits() -> None:
    """The function is a processor like any other."""

    async def apart(data: TelemetryData) -> Any:
        return [logs([number]) for number in ids_of(data)] if data.items > 1 else None

    sink = Recorder()
    rig = run(apart, sink)
    first, second = rig.send([1]), rig.send([2, 3])
    rig.clock.run()
    assert (kind(first), kind(second)) == (Kind.FILTERED, Kind.DELIVERED)
    assert sink.calls == [[2], [3]]
    rig.check_books()


def test_plain_functions_run_in_a_pool_and_may_block() -> None:
    """Two that wait for each other prove that both run."""
    meet = threading.Barrier(2)

    def block(data: TelemetryData) -> TelemetryData:
        meet.wait(30)
        return data

    sink = Recorder()
    stream = from_iterable([logs([1]), logs([2])]).pipe(
        ops.parallel(block, max_concurrent=2), ops.export(sink)
    )
    with Pipeline(stream) as pipeline:
        assert pipeline.wait(60)
    assert sorted(sink.ids) == [1, 2]
    assert pipeline.report is not None
    assert pipeline.report.unbalanced == []


def test_on_completion_what_runs_and_waits_is_finished_first() -> None:
    """Completion overtakes nothing."""
    sink = Recorder()
    rig = run(slowly, sink, max_concurrent=1)
    rig.send([2])
    rig.send([1])
    rig.feed.stop()
    rig.wait(2)
    assert not rig.completed()
    rig.clock.run()
    assert sink.ids == [2, 1]
    assert rig.completed()
    rig.check_books()


def test_on_error_of_the_source_what_runs_and_waits_is_finished_first() -> None:
    """What was received before a fault is still good data."""
    sink = Recorder()
    rig = Rig()
    gate: Any = rx.subject.Subject()
    rig.run(rx_ops.merge(gate), ops.parallel(slowly, max_concurrent=1), ops.export(sink))
    rig.send([2])
    rig.send([1])
    gate.on_error(ValueError("upstream"))
    rig.clock.run()
    assert sink.ids == [2, 1]
    assert [str(error) for error in rig.errors] == ["upstream"]
    rig.check_books()


@pytest.mark.parametrize("ordered", [False, True])
def test_on_dispose_everything_fails_whether_it_ran_waited_or_was_done(ordered: bool) -> None:
    """Nothing of it was delivered, so all of it is sent again."""
    sink = Recorder()
    rig = run(slowly, sink, max_concurrent=2, ordered=ordered)
    receipts = [rig.send([number]) for number in (9, 1, 8)]
    rig.wait(1)
    rig.dispose()
    rig.clock.run()
    kinds = [kind(receipt) for receipt in receipts]
    assert kinds == [Kind.FAILED, Kind.FAILED if ordered else Kind.DELIVERED, Kind.FAILED]
    rig.check_books()


def test_a_second_subscription_has_slots_of_its_own() -> None:
    """Two streams through one operator do not share a bound."""
    operator = ops.parallel(slowly, max_concurrent=1)
    first, second = Recorder(), Recorder()
    one, two = Rig(), Rig()
    one.run(operator, ops.export(first))
    two.run(operator, ops.export(second))
    one.send([9])
    two.send([1])
    two.wait(1)
    assert second.ids == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_concurrent": 0}, r"parallel\(max_concurrent=0\): expected 1 or more"),
        ({"max_waiting": -1}, r"parallel\(max_waiting=-1\): expected 0 or more"),
        ({"key": 3}, "a function of an element"),
        ({"priority": 3}, r"parallel\(priority=3\): expected a function of an element"),
        ({"ageing": 0}, r"parallel\(ageing=0\): expected seconds above 0"),
        ({"priority": len, "ordered": True}, r"parallel\(ordered=True, priority="),
        ({"on_error": "x"}, r"parallel\(on_error='x'\)"),
    ],
)
def test_a_wrong_argument_fails_where_the_pipeline_is_written(
    options: dict[str, Any], message: str
) -> None:
    """Not at the first element."""
    with pytest.raises((ValueError, TypeError), match=message):
        ops.parallel(slowly, **options)
