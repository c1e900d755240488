"""Limits that an Observable changes: from a control loop, from another thread, and wrong ones."""

import asyncio
import logging
import math
import threading
import time
from typing import Any, cast

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.subject import BehaviorSubject, Subject

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import AsyncScheduler
from rxotlp.sources.iterable import from_iterable
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs


class Slow:
    """One second an element; counts how many are under way."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.ids: list[int] = []

    async def export(self, data: TelemetryData) -> Outcome:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(1)
        finally:
            self.running -= 1
        self.ids += ids_of(data)
        return DELIVERED


# -- batch -----------------------------------------------------------------------------------


def test_a_lowered_limit_closes_an_over_full_batch_at_once_and_counts_from_then_on() -> None:
    """A controller that lowers the batch size wants it lower now."""
    sink, limits = Recorder(), Subject[float]()
    rig = Rig().run(ops.batch(max_items=ops.Limit(limits, 10), max_delay=60), ops.export(sink))
    for number in range(4):
        rig.send([number])
    limits.on_next(2)
    rig.wait(0)
    assert sink.calls == [[0, 1, 2, 3]]
    rig.send([4])
    rig.send([5])
    assert sink.calls[1:] == [[4, 5]]
    account = rig.books["batch"]
    assert account.closed == {"lowered": 1, "items": 1}
    assert account.limits == {"max_items": 2}
    rig.check_books()


def test_a_bare_observable_starts_with_the_default() -> None:
    """`initial` is for those who want another."""
    sink, limits = Recorder(), Subject[float]()
    rig = Rig().run(ops.batch(max_items=limits, max_bytes=limits), ops.export(sink))
    assert rig.books["batch"].limits == {"max_items": 8192, "max_bytes": 4 << 20}


def test_a_value_at_subscription_counts_before_the_first_element() -> None:
    """A BehaviorSubject knows its value; `initial` is for those that do not yet."""
    sink = Recorder()
    limits = BehaviorSubject[float](2)
    rig = Rig().run(ops.batch(max_items=ops.Limit(limits, 100)), ops.export(sink))
    rig.send([1])
    rig.send([2])
    assert sink.calls == [[1, 2]]


def test_0_pauses_a_batch_and_all_that_waited_leaves_when_it_is_over() -> None:
    """In order, within the limit of the day, whatever the timers wanted meanwhile."""
    sink, limits = Recorder(), Subject[float]()
    rig = Rig().run(
        ops.batch(max_items=ops.Limit(limits, 10), max_delay=1, max_idle=0.5), ops.export(sink)
    )
    first = rig.send([0])
    limits.on_next(0)
    receipts = [rig.send([1, 2, 3, 4, 5]), rig.send([6])]
    rig.wait(100)
    assert sink.calls == []
    assert rig.books["batch"].held == 7
    limits.on_next(3)
    rig.wait(0)
    assert sink.calls == [[0], [1, 2, 3], [4, 5, 6]]
    assert [kind(receipt) for receipt in [first, *receipts]] == [Kind.DELIVERED] * 3
    assert rig.clock.statistics().timers == 0
    rig.check_books()


def test_an_end_in_a_pause_lets_a_batch_go_within_the_last_limit_above_0() -> None:
    """A drain must not wait for a control loop."""
    sink, limits = Recorder(), Subject[float]()
    rig = Rig().run(ops.batch(max_items=ops.Limit(limits, 2)), ops.export(sink))
    rig.send([1])
    limits.on_next(0)
    rig.send([2, 3, 4])
    rig.end()
    assert sink.calls == [[1], [2, 3], [4]]
    assert rig.completed()
    assert not limits.observers
    rig.check_books()


def test_a_dispose_in_a_pause_fails_what_waits_and_follows_no_limit() -> None:
    """A disposed stage must not be kept alive by the loop that controls it."""
    sink, limits = Recorder(), Subject[float]()
    rig = Rig().run(ops.batch(max_items=ops.Limit(limits, 0)), ops.export(sink))
    receipt = rig.send([1])
    rig.dispose()
    assert kind(receipt) is Kind.FAILED
    assert not limits.observers
    limits.on_next(5)
    rig.wait(1)
    assert sink.calls == []
    rig.check_books()


def test_what_cannot_be_cut_after_a_pause_is_rejected_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broken element is its sender's trouble; the others waited as long."""
    sink, limits = Recorder(), Subject[float]()
    rig = Rig().run(ops.batch(max_items=ops.Limit(limits, 0)), ops.export(sink))
    receipts = [rig.send([1]), rig.send([2, 3, 4]), rig.send([5])]

    def broken(*_args: Any, **_options: Any) -> Any:
        raise DecodeError("unreadable")

    monkeypatch.setattr(TelemetryData, "split", broken)
    limits.on_next(2)
    rig.wait(0)
    assert [kind(receipt) for receipt in receipts] == [
        Kind.DELIVERED,
        Kind.REJECTED,
        Kind.DELIVERED,
    ]
    assert sink.calls == [[1, 5]]
    rig.check_books()


# -- export ----------------------------------------------------------------------------------


def test_a_raised_limit_starts_what_waits_and_a_lowered_one_cancels_nothing() -> None:
    """What runs has been paid for."""
    slow, limits = Slow(), Subject[float]()
    rig = Rig().run(ops.export(slow, max_concurrent=ops.Limit(limits, 1)))
    for number in range(8):
        rig.send([number])
    assert slow.running == 1
    limits.on_next(3)
    rig.wait(0)
    assert slow.running == 3
    limits.on_next(1)
    rig.wait(0.5)
    assert slow.running == 3
    rig.wait(0.5)
    assert slow.running == 1
    rig.end()
    assert sorted(slow.ids) == list(range(8))
    rig.check_books()


def test_a_pause_is_kept_after_the_end_of_the_source_until_it_is_over() -> None:
    """A file is read in no time; a pause that did not outlast that would be none."""
    sink, limits = Recorder(), Subject[float]()
    rig = Rig().run(ops.export(sink, max_concurrent=ops.Limit(limits, 0)))
    rig.send([1])
    rig.end()
    assert sink.calls == []
    assert not rig.completed()
    limits.on_next(1)
    rig.wait(0)
    assert sink.calls == [[1]]
    assert rig.completed()
    rig.check_books()


@pytest.mark.parametrize("ends_first", [True, False])
def test_a_pause_that_nothing_can_end_fails_what_waits_when_the_source_ends(
    ends_first: bool,
) -> None:
    """A stream that can never complete would hang whoever waits for it."""
    sink, limits = Recorder(), Subject[float]()
    rig = Rig().run(ops.export(sink, max_concurrent=ops.Limit(limits, 0)))
    receipt = rig.send([1])
    if ends_first:
        limits.on_completed()
    rig.end()
    if not ends_first:
        assert kind(receipt) is None
        limits.on_completed()
        rig.wait(0)
    assert kind(receipt) is Kind.FAILED
    assert rig.completed()
    assert [result.attempts for result in rig.results] == [0]
    rig.check_books()


def test_a_drain_does_not_wait_for_a_pause_longer_than_it_may() -> None:
    """Whoever stops a process gets it stopped; the senders are told to send again."""
    sink, limits = Recorder(), Subject[float]()
    pipeline = Pipeline(
        from_iterable([logs([1, 2])]).pipe(ops.export(sink, max_concurrent=ops.Limit(limits, 0)))
    )
    pipeline.start()
    while not pipeline.books["export"].held:
        time.sleep(0.001)
    report = pipeline.stop(drain_timeout=0.05)
    assert report.undelivered == 2
    assert report.unbalanced == []
    assert not limits.observers


def test_many_that_start_at_once_are_all_started_though_an_observer_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a pause thousands may wait; their stack must not grow with them."""
    sink, limits = Recorder(), Subject[float]()

    def raising(_delivery: Any) -> None:
        raise ValueError("observer")

    rig = Rig().run(ops.export(sink, max_concurrent=ops.Limit(limits, 0)), on_next=raising)
    for number in range(2000):
        rig.send([number])
    limits.on_next(5)
    rig.wait(0)
    assert sink.ids == list(range(2000))
    rig.check_books()
    caplog.clear()


def test_an_observer_that_disposes_stops_what_had_not_begun() -> None:
    """What was about to begin has sent nothing yet, so its sender may send it elsewhere."""
    sink, limits = Recorder(), Subject[float]()
    rig = Rig()

    def dispose() -> None:
        assert rig.subscription is not None
        rig.subscription.dispose()

    rig.run(ops.export(sink, max_concurrent=ops.Limit(limits, 0)), on_next=lambda _: dispose())
    receipts = [rig.send([number]) for number in range(4)]
    limits.on_next(3)
    rig.wait(0)
    assert sink.ids == [0]
    assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED] + [Kind.FAILED] * 3
    rig.check_books()


# -- parallel --------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [False, True])
def test_parallel_pauses_starts_again_and_fails_what_waits_for_good(ordered: bool) -> None:
    """The same limits mean the same, whatever they limit."""

    async def slow(data: TelemetryData) -> TelemetryData:
        await asyncio.sleep(1)
        return data

    sink, limits = Recorder(), Subject[float]()
    rig = Rig().run(
        ops.parallel(slow, max_concurrent=ops.Limit(limits, 0), ordered=ordered), ops.export(sink)
    )
    receipts = [rig.send([number]) for number in range(3)]
    rig.wait(5)
    assert sink.calls == []
    limits.on_next(2)
    rig.wait(0.5)
    limits.on_next(0)
    rig.wait(5)
    assert sink.calls == [[0], [1]]
    limits.on_completed()
    rig.end()
    assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED] * 2 + [Kind.FAILED]
    assert rig.completed()
    rig.check_books()


# -- what a stream of limits may do ----------------------------------------------------------


def test_invalid_values_are_ignored_counted_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A control loop's slip must not stop telemetry, nor fill a log."""
    slow, limits = Slow(), Subject[Any]()
    rig = Rig().run(ops.export(slow, max_concurrent=ops.Limit(limits, 2)))
    with caplog.at_level(logging.WARNING, "rxotlp"):
        for value in ["3", None, True, -1, math.nan, math.inf]:
            limits.on_next(value)
    rig.wait(0)
    account = rig.books["export"]
    assert (account.ignored, account.limits) == (6, {"max_concurrent": 2})
    (record,) = caplog.records
    assert record.getMessage() == (
        "export: ignored '3' (str) as max_concurrent: expected a finite number of 0 or more; "
        "more of these are only counted"
    )


def test_the_last_value_stays_when_the_limits_end_or_fail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A control loop that breaks leaves a pipeline that goes on as it was."""
    slow, limits = Slow(), Subject[float]()
    rig = Rig().run(ops.export(slow, max_concurrent=ops.Limit(limits, 1)))
    limits.on_next(2)
    with caplog.at_level(logging.WARNING, "rxotlp"):
        limits.on_error(ZeroDivisionError("no latency yet"))
    for number in range(4):
        rig.send([number])
    assert slow.running == 2
    assert [record.getMessage() for record in caplog.records] == [
        "export: the limits of max_concurrent failed, so it stays 2: "
        "ZeroDivisionError: no latency yet"
    ]
    rig.end()
    rig.check_books()


def test_a_second_subscription_follows_the_limits_by_itself() -> None:
    """State in the operator would let one stream's end stop the other's loop."""
    limits = Subject[float]()
    operator = ops.export(Recorder(), max_concurrent=ops.Limit(limits, 1))
    one, two = Rig().run(operator), Rig().run(operator)
    assert len(limits.observers) == 2
    one.dispose()
    assert len(limits.observers) == 1
    limits.on_next(7)
    two.wait(0)
    assert two.books["export"].limits == {"max_concurrent": 7}
    assert one.books["export"].limits == {"max_concurrent": 1}


def test_limits_from_within_an_emission_count_after_it() -> None:
    """The natural control loop is fed by the deliveries of the stage that it controls."""
    limits = Subject[float]()
    order: list[str] = []

    def on_next(_delivery: Any) -> None:
        order.append("in")
        limits.on_next(5)
        order.append("out")

    sink = Recorder(lambda _data: order.append("attempt") or DELIVERED)  # type: ignore[func-returns-value]
    rig = Rig().run(ops.export(sink, max_concurrent=ops.Limit(limits, 1)), on_next=on_next)
    rig.send([1])
    rig.send([2])
    assert order == ["attempt", "in", "out"] * 2
    assert rig.books["export"].limits == {"max_concurrent": 5}


def test_a_control_loop_on_the_stages_clock_turns_the_limit() -> None:
    """A pipeline of rx.interval is how adaptive concurrency is written and tested."""
    slow = Slow()

    def faster(tick: int) -> float:
        return tick + 2

    loop: Observable[float] = rx.interval(2).pipe(rx_ops.map(faster))
    rig = Rig().run(ops.export(slow, max_concurrent=ops.Limit(loop, 1)))
    for number in range(30):
        rig.send([number])
    seen = []
    for _ in range(4):
        seen.append(slow.running)
        rig.wait(2)
    assert seen == [1, 2, 3, 4]
    rig.feed.stop()
    rig.wait(20)
    assert sorted(slow.ids) == list(range(30))
    assert rig.completed()
    rig.wait(10)
    assert rig.clock.statistics().timers == 0, "the loop goes with its stage"
    rig.check_books()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_limits_from_other_threads_lose_nothing(asynchronous: bool) -> None:
    """Whoever measures a backend does it on a thread of his own."""
    limits = Subject[float]()
    sink = Recorder()
    done = threading.Event()

    def turn_knobs() -> None:
        value = 0
        while not done.wait(0.0001):
            value += 1
            limits.on_next(value % 7)

    def pipeline(scheduler: Any) -> Pipeline:
        return Pipeline(
            from_iterable([logs([number]) for number in range(1000)]).pipe(
                ops.batch(max_items=ops.Limit(limits, 2), max_delay=0.001),
                ops.export(sink, max_concurrent=ops.Limit(limits, 2)),
            ),
            scheduler=scheduler,
        )

    async def run() -> Pipeline:
        async with pipeline(AsyncScheduler()) as running:
            await running.await_end()
        return running

    thread = threading.Thread(target=turn_knobs)
    thread.start()
    try:
        if asynchronous:
            ran = asyncio.run(run())
        else:
            with pipeline(None) as ran:
                assert ran.wait(30)
    finally:
        done.set()
        thread.join()
    assert sorted(sink.ids) == list(range(1000))
    assert not limits.observers
    assert ran.report is not None
    assert ran.report.unbalanced == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ops.Limit(cast(Any, 5), 1),
            r"Limit\(5\): expected an Observable of numbers, got int",
        ),
        (lambda: ops.Limit(rx.never(), -1), r"Limit\(initial=-1\): expected 0 or more; 0 pauses"),
        (
            lambda: ops.Limit(rx.never(), cast(Any, 1.5)),
            r"Limit\(initial=1.5\): expected a whole number",
        ),
        (lambda: ops.Limit(rx.never(), True), r"Limit\(initial=True\): expected a whole number"),
        (
            lambda: ops.export(Recorder(), max_concurrent=0),
            r"export\(max_concurrent=0\): expected 1",
        ),
        (
            lambda: ops.export(Recorder(), max_concurrent=cast(Any, "8")),
            r"export\(max_concurrent='8'\): expected a whole number, an Observable of numbers",
        ),
        (lambda: ops.batch(max_bytes=True), r"batch\(max_bytes=True\): expected a whole number"),
    ],
)
def test_a_wrong_limit_fails_where_the_pipeline_is_written(make: Any, message: str) -> None:
    """Not at the first value, on a server, at night."""
    with pytest.raises((ValueError, TypeError), match=message):
        make()
