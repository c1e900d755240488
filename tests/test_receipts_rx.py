"""What a sender hears when native reactivex operators stand between us.

Nothing that was lost is acknowledged; nothing that a filter removed within the emission is
asked for again. Each test is one rule of that.
"""

import asyncio
import gc
import logging
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.scheduler import ImmediateScheduler
from reactivex.subject import Subject

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind, dropped, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs

DELIVERED, FILTERED, FAILED = Kind.DELIVERED, Kind.FILTERED, Kind.FAILED
DROPPED, REJECTED = Kind.DROPPED, Kind.REJECTED


def even(data: TelemetryData) -> bool:
    return ids_of(data)[0] % 2 == 0


def test_filter_answers_success_for_what_it_removes() -> None:
    """A filter is meant to remove; a sender that heard 'retry' would send for ever."""
    rig, sink = Rig(), Recorder()
    rig.run(rx_ops.filter(even), ops.export(sink))
    assert kind(rig.send([1])) is FILTERED
    assert kind(rig.send([2])) is DELIVERED
    assert sink.ids == [2]
    assert rig.books["feed ->"].filtered == 1
    rig.check_books()


@pytest.mark.parametrize("make", [lambda data: data, lambda data: data.detached()])
def test_map_carries_the_receipt_even_to_elements_made_by_hand(make: Any) -> None:
    """`map(lambda d: TelemetryData(...))` is what people write; it must not lose the sender."""
    rig, sink = Rig(), Recorder(failed("down", retry_after=2))
    rig.run(rx_ops.map(make), ops.export(sink, retry=None))
    receipt = rig.send([1])
    assert kind(receipt) is FAILED
    assert receipt.outcome is not None
    assert receipt.outcome.retry_after == 2
    rig.check_books()


def test_share_settles_when_every_branch_has_reported_and_the_worst_speaks() -> None:
    """Two destinations: one delivered, one refused, the sender must hear of the refusal."""
    rig, good, bad = Rig(), Recorder(), Recorder(rejected("no"))

    def stream(source: Observable[Any]) -> Observable[Any]:
        shared = source.pipe(rx_ops.share())
        return rx.merge(shared.pipe(ops.export(good)), shared.pipe(ops.export(bad)))

    rig.run(stream=stream)
    assert kind(rig.send([1, 2])) is REJECTED
    assert good.ids == bad.ids == [1, 2]
    assert rig.books["feed ->"].created == 2  # the second branch's copy
    rig.check_books()


def test_group_by_keeps_the_receipt_across_groups() -> None:
    """Grouping by tenant is routing; the sender hears what its group's exporter said."""
    rig, sink = Rig(), Recorder(lambda data: failed("down") if even(data) else rejected("no"))
    rig.run(
        rx_ops.group_by(even),
        rx_ops.flat_map(lambda group: group.pipe(ops.export(sink, retry=None))),
    )
    assert kind(rig.send([1])) is REJECTED
    assert kind(rig.send([2])) is FAILED
    rig.check_books()


def test_take_delivers_its_last_element_and_refuses_from_then_on() -> None:
    """A stream that has ended must never answer OK into the void."""
    rig, sink = Rig(), Recorder()
    rig.run(rx_ops.take(1), ops.export(sink))
    assert kind(rig.send([1])) is DELIVERED
    assert kind(rig.send([2])) is FAILED
    assert kind(rig.send([3])) is FAILED
    assert sink.ids == [1]
    rig.check_books()


def test_scan_answers_what_the_exporter_says_once_it_lets_go() -> None:
    """Accumulators keep the last element; the earlier ones must not wait for ever."""
    rig, sink = Rig(), Recorder()
    rig.run(rx_ops.scan(lambda _old, new: new), ops.export(sink))
    first, second = rig.send([1]), rig.send([2])
    assert kind(first) is DELIVERED
    assert kind(second) is None  # scan still holds it
    second.expire("deadline")
    assert kind(second) is DELIVERED  # every item is accounted for
    assert second.lingered


def test_distinct_until_changed_filters_repeats() -> None:
    """What it drops within the emission was meant to go; what it keeps lingers, delivered."""
    rig, sink = Rig(), Recorder()
    rig.run(rx_ops.distinct_until_changed(ids_of), ops.export(sink))
    first = rig.send([1])
    assert kind(rig.send([1])) is FILTERED
    rig.send([2])
    first.expire("deadline")
    assert kind(first) is DELIVERED
    assert sink.ids == [1, 2]


def test_delay_answers_only_after_delivery() -> None:
    """An element in a timer is not delivered, and not lost either."""
    rig, sink = Rig(), Recorder()
    rig.run(rx_ops.delay(5.0), ops.export(sink))
    receipt = rig.send([1])
    rig.wait(4)
    assert kind(receipt) is None
    assert rig.books.held == 1
    rig.wait(2)
    assert kind(receipt) is DELIVERED
    rig.check_books()


def test_a_filter_after_a_delay_costs_a_resend_never_a_loss() -> None:
    """Outside the emission nobody can tell a filter from a loss."""
    rig, sink = Rig(), Recorder()
    rig.run(rx_ops.delay(1.0), rx_ops.filter(even), ops.export(sink))
    receipt = rig.send([1])
    rig.wait(2)
    assert kind(receipt) is FAILED
    rig.check_books()


def test_what_debounce_supersedes_is_sent_again() -> None:
    """Unless the user declares the discard, a superseded element was lost."""
    rig, sink = Rig(), Recorder()
    rig.run(rx_ops.debounce(1.0), ops.export(sink))
    first, second = rig.send([1]), rig.send([2])
    assert kind(first) is FAILED
    rig.wait(2)
    second.expire("deadline")
    assert kind(second) is DELIVERED
    assert sink.ids == [2]


def test_what_a_wrapped_debounce_supersedes_is_dropped_on_purpose() -> None:
    """Its author said so; asking the sender for it again would bring it back for ever."""
    rig, sink = Rig(), Recorder()
    rig.run(ops.discarding("debounced", rx_ops.debounce(1.0)), ops.export(sink))
    first, second = rig.send([1]), rig.send([2])
    rig.wait(0)
    assert first.outcome == dropped("discarding: debounced")
    assert kind(second) is None
    rig.wait(1)
    second.expire("deadline")  # `debounce` keeps the last one
    assert kind(second) is DELIVERED
    assert sink.ids == [2]
    assert rig.books["discarding ->"].dropped == 1
    rig.end()
    rig.check_books()


def test_what_a_wrapped_sample_leaves_out_is_dropped_on_purpose() -> None:
    """As for `debounce`."""
    rig, sink = Rig(), Recorder()
    rig.run(ops.discarding("sampled", rx_ops.sample(10.0)), ops.export(sink))
    receipts = [rig.send([number]) for number in (1, 2, 3)]
    rig.wait(10)
    rig.send([4])  # `sample` keeps the last one until another comes
    rig.wait(10)
    assert [kind(receipt) for receipt in receipts] == [DROPPED, DROPPED, DELIVERED]
    assert sink.ids == [3, 4]


def test_a_filled_buffer_answers_what_the_exporter_reports() -> None:
    """The receipts of all that a merge joined settle together."""
    rig, sink = Rig(), Recorder(failed("down"))
    rig.run(
        rx_ops.buffer_with_count(2), rx_ops.map(TelemetryData.merge), ops.export(sink, retry=None)
    )
    first = rig.send([1])
    assert kind(first) is None
    second = rig.send([2])
    assert (kind(first), kind(second)) == (FAILED, FAILED)
    assert sink.calls == [[1, 2]]
    rig.check_books()


def test_merge_with_max_concurrent_keeps_receipts_while_elements_wait() -> None:
    """Elements in its waiting list are neither lost nor answered."""
    rig, sink = Rig(), Recorder()
    rig.run(
        rx_ops.map(lambda data: rx.timer(1.0).pipe(rx_ops.map(lambda _: data))),
        rx_ops.merge(max_concurrent=1),
        ops.export(sink),
    )
    first, second = rig.send([1]), rig.send([2])
    rig.wait(1.5)
    assert (kind(first) or DELIVERED, kind(second)) == (DELIVERED, None)
    rig.wait(1.5)
    gc.collect()
    rig.wait(0)
    assert sink.ids == [1, 2]
    for receipt in (first, second):
        receipt.expire("deadline")
        assert kind(receipt) is DELIVERED


def raising(data: TelemetryData) -> TelemetryData:
    if not even(data):
        raise ValueError("odd")
    return data


def test_a_map_that_raises_fails_its_element_and_the_source_refuses() -> None:
    """Rx ends the stream there; the element and all later ones must be sent again."""
    rig, sink = Rig(), Recorder()
    rig.run(rx_ops.map(raising), ops.export(sink))
    receipt = rig.send([1])
    gc.collect()
    rig.wait(0)
    assert kind(receipt) is FAILED
    assert kind(rig.send([2])) is FAILED
    assert [str(error) for error in rig.errors] == ["odd"]


def test_catch_after_a_raising_map_fails_the_element() -> None:
    """The stream goes on from elsewhere, but this element went nowhere."""
    rig, sink = Rig(), Recorder()
    rig.run(rx_ops.map(raising), rx_ops.catch(lambda _error, _source: rx.empty()), ops.export(sink))
    receipt = rig.send([1])
    gc.collect()
    rig.wait(0)
    assert kind(receipt) is FAILED
    assert rig.completed()


def test_retry_after_a_raising_map_fails_the_element_and_takes_the_next() -> None:
    """Resubscribing a hot source does not bring the element back.

    `retry` keeps the last exception, whose traceback keeps the element: the deadline answers.
    """
    rig, sink = Rig(), Recorder()
    rig.run(rx_ops.map(raising), rx_ops.retry(), ops.export(sink))
    receipt = rig.send([1])
    assert kind(receipt) is None
    receipt.expire("deadline")
    assert kind(receipt) is FAILED
    assert kind(rig.send([2])) is DELIVERED


def test_nobody_subscribed_is_a_refusal() -> None:
    """A source with no live subscription never answers success."""
    rig = Rig()
    rig.feed.connect(rig.clock)
    assert kind(rig.send([1])) is FAILED


def test_a_sink_that_raises_fails_its_element(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exception reaches the scheduler, is reported, and acknowledges nothing."""
    # pytest keeps log records, which keep the exception, whose traceback keeps the element.
    monkeypatch.setattr(logging.getLogger("rxotlp"), "propagate", False)
    rig = Rig()

    def sink(_data: TelemetryData) -> None:
        raise ValueError("no sink")

    rig.run(on_next=sink)
    receipt = rig.send([1])
    gc.collect()
    rig.wait(0)
    assert kind(receipt) is FAILED


def test_an_element_made_by_hand_after_a_delay_has_no_sender() -> None:
    """Outside any emission nothing says whose it is: a warning, and the sender sends again."""
    rig, sink = Rig(strict=False), Recorder()
    rig.run(rx_ops.delay(1.0), rx_ops.map(lambda data: data.detached()), ops.export(sink))
    receipt = rig.send([1])
    rig.wait(2)
    assert kind(receipt) is FAILED
    assert rig.books["export"].created == 1
    rig.check_books()


def test_an_element_made_by_hand_after_a_buffer_stands_for_the_last_one_only() -> None:
    """`data.derive` or `TelemetryData.merge` would have carried both."""
    rig, sink = Rig(), Recorder()
    rig.run(
        rx_ops.buffer_with_count(2),
        rx_ops.map(lambda both: logs([*ids_of(both[0]), *ids_of(both[1])])),
        ops.export(sink),
    )
    first, second = rig.send([1]), rig.send([2])
    assert (kind(first), kind(second)) == (FAILED, DELIVERED)
    assert sink.calls == [[1, 2]]
    rig.check_books()


def test_two_made_from_one_of_which_one_is_lost_is_a_failure() -> None:
    """Half a delivery is none, unless a filter dropped the other half at once."""
    rig, sink = Rig(), Recorder()
    later: Subject[TelemetryData] = Subject()
    kept: list[TelemetryData] = []

    def two(data: TelemetryData) -> TelemetryData:
        kept.append(data.derive(data.to_bytes()))
        return data.derive(data.to_bytes())

    rig.run(rx_ops.map(two), ops.export(sink))
    receipt = rig.send([1])
    assert kind(receipt) is None
    kept.clear()
    rig.wait(0)
    assert kind(receipt) is FAILED
    assert sink.ids == [1]
    later.dispose()


@pytest.mark.parametrize("inside", [True, False])
def test_a_part_of_a_split_may_be_filtered_inside_the_emission(inside: bool) -> None:
    """Parts that an inner observable emits in an action of its own are outside it.

    There nobody can tell a filter from a loss, so they are sent again; `chain` is the way to
    split, and this is why.
    """
    rig, sink = Rig(), Recorder()
    where = ImmediateScheduler() if inside else rig.clock
    rig.run(
        rx_ops.flat_map(lambda data: rx.from_iterable(data.split(max_items=1), where)),
        rx_ops.filter(even),
        ops.export(sink),
    )
    receipt = rig.send([1, 2])
    gc.collect()
    rig.wait(0)
    assert kind(receipt) is (FILTERED if inside else FAILED)
    assert sink.ids == [2]
    rig.check_books()


def test_an_exception_that_is_kept_keeps_the_element_until_the_deadline() -> None:
    """A traceback holds frames, and frames hold elements; the deadline answers then."""
    rig = Rig()
    kept: list[BaseException] = []

    def keep(error: Exception, _source: Any) -> Observable[Any]:
        kept.append(error)
        return rx.empty()

    rig.run(rx_ops.map(raising), rx_ops.catch(keep), ops.export(Recorder()))
    receipt = rig.send([1])
    assert kind(receipt) is None
    receipt.expire("deadline")
    assert kind(receipt) is FAILED
    assert receipt.withdrawn


def test_a_caller_that_keeps_a_local_delays_the_answer_and_changes_nothing_else() -> None:
    """Debuggers and notebooks keep references; delivery is delivery all the same."""
    rig, sink = Rig(), Recorder()
    kept: list[TelemetryData] = []
    rig.run(rx_ops.do_action(kept.append), ops.export(sink))
    receipt = rig.send([1])
    assert kind(receipt) is None
    receipt.expire("deadline")
    assert (kind(receipt), receipt.lingered, receipt.withdrawn) == (DELIVERED, True, False)


def test_a_task_started_inside_an_emission_does_not_inherit_it() -> None:
    """A task copies its context; the bracket is a thread-local so that it cannot keep a share."""
    rig, sink = Rig(), Recorder()
    loop = rig.clock.loop
    gate = asyncio.Event()
    seen: list[object] = []

    async def task() -> None:
        await gate.wait()
        from rxotlp._core.bracket import local

        seen.append(local.top)

    def start(_data: TelemetryData) -> None:
        rig.clock.run_coroutine(task(), lambda _result, error: seen.append(error))

    rig.run(rx_ops.do_action(start), ops.export(sink))
    assert kind(rig.send([1])) is DELIVERED
    loop.call_soon(gate.set)
    rig.clock.run()
    assert seen == [None, None]


def test_a_collection_in_the_middle_of_an_emission_harms_nothing() -> None:
    """The collector may run finalizers between any two instructions."""
    rig, sink = Rig(), Recorder()

    def collect(_data: TelemetryData) -> None:
        gc.collect()

    rig.run(rx_ops.do_action(collect), ops.batch(max_items=2), ops.export(sink))
    first, second = rig.send([1]), rig.send([2])
    assert (kind(first), kind(second)) == (DELIVERED, DELIVERED)
    rig.check_books()


def test_an_element_in_a_reference_cycle_settles_when_the_collector_finds_it() -> None:
    """Cycles are not counted down; the collector's finalizer speaks for them."""
    rig = Rig()

    def cycle(data: TelemetryData) -> None:
        ring: list[Any] = [data]
        ring.append(ring)

    gc.disable()
    try:
        rig.run(on_next=cycle)
        receipt = rig.send([1])
        assert kind(receipt) is None
    finally:
        gc.enable()
    gc.collect()
    rig.wait(0)
    assert kind(receipt) is FAILED
