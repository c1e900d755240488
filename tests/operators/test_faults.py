"""What goes wrong around an operator concerns one element, and none is lost over it."""

import asyncio
import gc
import logging
import threading
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed
from rxotlp.data import TelemetryData
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SyncScheduler
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs


class Slow:
    """An async destination that takes a second."""

    async def export(self, data: TelemetryData) -> Outcome:
        await asyncio.sleep(1)
        return DELIVERED


async def same_later(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(5 - ids_of(data)[0])
    return data


def raising(_value: Any) -> None:
    raise ValueError("an observer's fault")


def same(data: TelemetryData) -> TelemetryData:
    return data


@pytest.fixture
def unkept_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest keeps log records, which keep exceptions, whose tracebacks keep elements."""
    monkeypatch.setattr(logging.getLogger("rxotlp"), "disabled", True)


# -- the end, while elements wait for the turn -----------------------------------------------


@pytest.mark.parametrize(
    "make",
    [lambda sink: ops.export(sink), lambda sink: rx.compose(ops.parallel(same), ops.export(sink))],
)
def test_an_end_does_not_overtake_elements_that_wait_for_the_turn(make: Any) -> None:
    """A source on its own thread ends while the scheduler is busy: all it sent still goes."""
    sink, done, busy, go = Recorder(), threading.Event(), threading.Event(), threading.Event()
    receipts = []

    def occupy() -> None:
        busy.set()
        go.wait(10)

    with SyncScheduler() as scheduler:
        subject: Subject[TelemetryData] = Subject()
        subject.pipe(make(sink)).subscribe(on_completed=done.set, scheduler=scheduler)
        scheduler.post(occupy)
        assert busy.wait(10)
        for at in range(3):
            receipt = Receipt(inbox=scheduler.inbox)
            receipts.append(receipt)
            subject.on_next(receipt.attach(logs([at])))
        subject.on_completed()
        go.set()
        assert done.wait(10)
        assert scheduler.wait_for(lambda: all(map(kind_known, receipts)), timeout=10)
    assert sink.ids == [0, 1, 2]
    assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED] * 3


def kind_known(receipt: Receipt) -> bool:
    return kind(receipt) is not None


# -- an observer that raises -----------------------------------------------------------------


def test_an_observer_of_deliveries_that_raises_stops_no_delivery() -> None:
    """The element that waited for the slot is started all the same, and the slot is not lost."""
    rig = Rig().run(ops.export(Slow(), max_concurrent=1), on_next=raising)
    receipts = [rig.send([at]) for at in range(3)]
    rig.clock.run()
    assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED] * 3
    rig.check_books()


@pytest.mark.parametrize(
    "operator",
    [
        ops.batch(max_items=2),
        ops.chain(lambda data: data.split(max_items=1)),
        ops.parallel(same_later, ordered=True),
        ops.chain(same_later),
    ],
)
@pytest.mark.usefixtures("unkept_logs")
def test_an_observer_that_raises_loses_no_other_element(operator: Any) -> None:
    """Parts, batches and results that leave together each have their turn, and are booked."""
    rig, seen = Rig(), []

    def observe(data: TelemetryData) -> None:
        seen.extend(ids_of(data))
        raising(data)

    rig.run(operator, on_next=observe)
    receipts = [rig.send([1, 2, 3]), rig.send([4])]
    rig.clock.run()
    gc.collect()
    rig.clock.run()
    assert seen == [1, 2, 3, 4]
    assert [kind(receipt) for receipt in receipts] == [Kind.FAILED] * 2
    rig.check_books()


@pytest.mark.usefixtures("unkept_logs")
def test_an_observer_of_what_was_rejected_cannot_stop_the_stream() -> None:
    """A dead-letter exporter that is down is no reason to hold the good elements back."""
    rig, sink = Rig(), Recorder()

    async def odd_only(data: TelemetryData) -> TelemetryData:
        if ids_of(data)[0] % 2 == 0:
            raise ValueError("even")
        return data

    rig.assembly.rejected.subscribe(raising)
    rig.run(ops.chain(odd_only), ops.export(sink))
    receipts = [rig.send([at]) for at in range(4)]
    rig.clock.run()
    assert sink.ids == [1, 3]
    assert [kind(receipt) for receipt in receipts] == [Kind.REJECTED, Kind.DELIVERED] * 2
    rig.check_books()


# -- references of ours ----------------------------------------------------------------------


async def same_now(data: TelemetryData) -> TelemetryData:
    return data


def faulty(_data: TelemetryData) -> TelemetryData:
    raise ValueError("faulty")


async def faulty_async(data: TelemetryData) -> TelemetryData:
    return faulty(data)


@pytest.mark.parametrize(
    "operator",
    [
        ops.chain(same_now),
        ops.parallel(same_now),
        ops.parallel(same_now, ordered=True),
        ops.parallel(same),
        ops.parallel(lambda data: [data]),
        ops.chain(faulty, on_error=lambda data, _error: data),
        ops.chain(faulty_async, on_error=lambda data, _error: data),
        ops.parallel(faulty_async, on_error=lambda data, _error: data),
        ops.parallel(faulty, on_error=lambda data, _error: data),
    ],
)
def test_no_frame_task_or_future_of_ours_keeps_an_element_that_a_filter_removes(
    operator: Any,
) -> None:
    """A filter after a stage that waited is still a filter, not a loss to be sent again."""
    rig = Rig().run(operator, rx_ops.filter(lambda _data: False), ops.export(Recorder()))
    receipt = rig.send([1])
    rig.wait(1)
    assert kind(receipt) is Kind.FILTERED
    rig.check_books()


def test_an_error_that_ends_a_stream_keeps_no_element_through_its_cause() -> None:
    """`raise ... from` gives an error two tracebacks, and `Pipeline.error` is kept."""
    rig = Rig()

    def wrap(data: TelemetryData) -> TelemetryData:
        try:
            return faulty(data)
        except ValueError as error:
            raise RuntimeError("wrapped") from error

    rig.run(ops.chain(wrap, on_error="stop"), ops.export(Recorder()))
    receipt = rig.send([1])
    assert kind(receipt) is Kind.FAILED
    assert [str(error) for error in rig.errors] == ["wrapped"]


# -- a deadline while one of two branches holds the element -----------------------------------


@pytest.mark.parametrize(
    "operator", [ops.batch(max_delay=60), ops.chain(same_later), ops.parallel(same_later)]
)
def test_what_one_branch_delivered_and_another_holds_is_not_answered_as_delivered(
    operator: Any,
) -> None:
    """The second destination has not got it; only a resend can bring it there."""
    rig, good, late = Rig(), Recorder(), Recorder(failed("down"))

    def stream(source: Observable[Any]) -> Observable[Any]:
        shared = source.pipe(rx_ops.share())
        return rx.merge(shared.pipe(ops.export(good)), shared.pipe(operator, ops.export(late)))

    rig.run(stream=stream)
    receipt = rig.send([1])
    receipt.expire("deadline")
    assert (kind(receipt), receipt.withdrawn) == (Kind.FAILED, True)
    assert good.ids == [1]
    rig.clock.run()
    assert late.ids == []  # withdrawn before the attempt
    rig.check_books()


# -- one element in two branches --------------------------------------------------------------


async def half_a_second(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(0.5)
    return data


async def a_second(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(1)
    return data


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (rx.compose(ops.chain(half_a_second), rx_ops.filter(lambda _: False)), ops.chain(a_second)),
        (rx.compose(ops.chain(same), rx_ops.delay(5.0)), ops.batch(max_delay=1)),
        (rx.compose(ops.chain(same), rx_ops.delay(5.0)), ops.batch(max_items=1)),
        (rx.compose(ops.chain(same), rx_ops.delay(5.0)), ops.parallel(a_second)),
        (ops.chain(lambda data: [data, data]), rx_ops.filter(lambda _: False)),
    ],
)
def test_the_books_know_every_edge_on_which_two_branches_left_an_element(
    first: Any, second: Any
) -> None:
    """Both emit the same element; what one's edge loses must not count as held for ever."""
    rig, sink = Rig(), Recorder()

    def stream(source: Observable[Any]) -> Observable[Any]:
        shared = source.pipe(rx_ops.share())
        return rx.merge(shared.pipe(first, ops.export(sink)), shared.pipe(second, ops.export(sink)))

    rig.run(stream=stream)
    receipts = [rig.send([1, 2]), rig.send([3])]
    rig.clock.run()
    gc.collect()
    rig.clock.run()
    assert all(map(kind_known, receipts))
    rig.check_books()
    assert sum(account.failed for account in rig.books) == 0
