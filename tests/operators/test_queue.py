"""`queue`: takes responsibility, bounded, and mends what it can."""

import asyncio
import gc
import logging
import threading
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError
from rxotlp.pipeline import Pipeline
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SyncScheduler
from rxotlp.sources.iterable import from_iterable
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs


class Slow(Recorder):
    """An async destination: an element takes ten seconds."""

    async def export(self, data: TelemetryData) -> Outcome:  # type: ignore[override]
        await asyncio.sleep(10)
        return super().export(data)


class Flaky(Recorder):
    """A destination that fails so many times before it takes anything."""

    def __init__(self, failures: int, outcome: Outcome | None = None) -> None:
        super().__init__(self.answer)
        self.failures = failures
        self.failure = outcome or failed("down")

    def answer(self, data: TelemetryData) -> Outcome:
        self.failures -= 1
        return DELIVERED if self.failures < 0 else self.failure


def test_a_sender_hears_success_as_soon_as_its_element_is_in() -> None:
    """That is what an acknowledgement point is for: a slow backend holds no sender up."""
    slow = Slow()
    rig = Rig().run(ops.queue(), ops.export(slow))
    receipt = rig.send([1, 2])
    assert kind(receipt) is Kind.DELIVERED
    assert slow.ids == []
    rig.wait(10)
    assert slow.ids == [1, 2]
    rig.check_books()


def test_reject_tells_the_sender_to_come_again() -> None:
    """A full queue that says so costs a resend, and no memory."""
    slow = Slow()
    rig = Rig().run(ops.queue(max_items=2, when_full="reject"), ops.export(slow))
    assert kind(rig.send([1, 2])) is Kind.DELIVERED
    refused = rig.send([3])
    assert refused.outcome is not None
    assert (kind(refused), refused.outcome.retry_after) == (Kind.FAILED, 1)
    rig.wait(10)
    assert kind(rig.send([4])) is Kind.DELIVERED
    rig.wait(10)
    assert slow.ids == [1, 2, 4]
    assert rig.books["queue"].failed == 1
    rig.check_books()


def test_drop_newest_loses_what_came_last_and_books_it() -> None:
    """Success upstream, since the user said so; the books know."""
    slow = Slow()
    rig = Rig().run(ops.queue(max_items=1, when_full="drop_newest"), ops.export(slow))
    receipts = [rig.send([1]), rig.send([2])]
    rig.wait(10)
    assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED, Kind.DROPPED]
    assert slow.ids == [1]
    assert rig.books["queue"].dropped == 1
    rig.check_books()


def test_drop_oldest_loses_what_waited_longest() -> None:
    """For telemetry whose worth fades: the newest is worth most."""
    slow = Slow()
    rig = Rig().run(ops.queue(max_items=3, max_out=1, when_full="drop_oldest"), ops.export(slow))
    receipts = [rig.send([number]) for number in range(5)]
    rig.wait(30)
    assert {kind(receipt) for receipt in receipts} == {Kind.DELIVERED}
    assert slow.ids == [0, 3, 4]
    assert rig.books["queue"].dropped == 2
    rig.check_books()


def test_wait_keeps_the_sender_waiting_and_its_credit_until_there_is_room() -> None:
    """Nothing is lost and nothing is unbounded: the source's admission is the bound."""
    slow = Slow()
    rig = Rig().run(ops.queue(max_items=1, when_full="wait"), ops.export(slow))
    rig.send([1])
    credit = rig.feed.admission.reserve(100)
    second = rig.feed.admit(logs([2]), credit=credit)
    third = rig.send([3])
    assert (kind(second), kind(third)) == (None, None)
    assert rig.feed.admission.bytes == 100
    assert rig.books["queue"].held == 2
    rig.wait(10)
    assert (kind(second), kind(third)) == (Kind.DELIVERED, None)
    assert rig.feed.admission.bytes == 0
    rig.wait(20)
    assert slow.ids == [1, 2, 3]
    rig.check_books()


def test_a_sender_that_gave_up_waiting_outside_is_not_let_in() -> None:
    """It has been told to send again; letting it in would double its data."""
    slow = Slow()
    rig = Rig().run(ops.queue(max_items=1), ops.export(slow))
    rig.send([1])
    impatient, patient = rig.send([2]), rig.send([3])
    impatient.expire("out of patience")
    assert impatient.withdrawn
    rig.wait(20)
    assert kind(patient) is Kind.DELIVERED
    assert slow.ids == [1, 3]
    rig.check_books()


def test_a_failed_element_is_handed_over_again_after_a_rest() -> None:
    """A backend that restarts costs time and no data, and no sender hears of it."""
    flaky = Flaky(2)
    rig = Rig().run(ops.queue(backoff=1), ops.export(flaky, retry=None))
    receipt = rig.send([1, 2])
    assert len(flaky.calls) == 1
    assert rig.books["queue"].held == 2
    rig.wait(0.9)
    assert len(flaky.calls) == 1
    rig.wait(0.1)
    assert len(flaky.calls) == 2
    rig.wait(2)
    assert len(flaky.calls) == 3
    assert kind(receipt) is Kind.DELIVERED
    assert rig.books["export"].delivered == 2
    assert rig.books["queue"].created == 4
    rig.check_books()


def test_a_backend_that_asks_for_time_gets_it() -> None:
    """Retry-After is a request, not a hint."""
    flaky = Flaky(1, failed("busy", retry_after=60))
    rig = Rig().run(ops.queue(), ops.export(flaky, retry=None))
    rig.send([1])
    rig.wait(59)
    assert len(flaky.calls) == 1
    rig.wait(1)
    assert len(flaky.calls) == 2
    rig.check_books()


def test_after_max_attempts_an_element_is_dropped_and_booked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The sender heard success, so the loss must be in the books and in the log."""
    flaky = Flaky(9)
    rig = Rig().run(ops.queue(max_attempts=3, max_items=2), ops.export(flaky, retry=None))
    rig.send([1, 2])
    rig.wait(100)
    assert len(flaky.calls) == 3
    assert rig.books["queue"].dropped == 2
    assert "queue dropped 2 items after 3 attempts" in caplog.text
    rig.send([3, 4])  # its room is free again
    assert len(flaky.calls) == 4
    rig.wait(100)
    rig.check_books()


def test_what_can_never_be_delivered_is_not_handed_over_again() -> None:
    """A rejection is final; its stage has booked it."""
    sink = Recorder(rejected("bad"))
    rig = Rig().run(ops.queue(), ops.export(sink))
    assert kind(rig.send([1])) is Kind.DELIVERED
    rig.wait(100)
    assert len(sink.calls) == 1
    rig.check_books()


@pytest.mark.parametrize(
    ("policy", "heard"),
    [
        ("wait", Kind.REJECTED),
        ("reject", Kind.REJECTED),
        ("drop_newest", Kind.DROPPED),
        ("drop_oldest", Kind.DROPPED),
    ],
)
def test_what_is_larger_than_the_queue_is_refused_for_good(policy: str, heard: Kind) -> None:
    """It would wait for ever."""
    rig = Rig().run(ops.queue(max_items=2, when_full=policy), ops.export(Recorder()))
    assert kind(rig.send([1, 2, 3])) is heard
    rig.check_books()


def test_a_batch_behind_it_is_one_attempt_of_each() -> None:
    """A failed batch comes back as its elements, and they are batched again."""
    flaky = Flaky(1)
    rig = Rig().run(ops.queue(), ops.batch(max_delay=1), ops.export(flaky))
    rig.send([1])
    rig.send([2])
    rig.wait(10)
    assert [sorted(call) for call in flaky.calls] == [[1, 2], [1, 2]]
    rig.check_books()


def test_on_completion_everything_is_settled_first() -> None:
    """Also what rests after a failure, and what waits outside."""
    flaky = Flaky(1)
    rig = Rig().run(ops.queue(max_items=1, backoff=7), ops.export(flaky, retry=None))
    receipts = [rig.send([1]), rig.send([2])]
    rig.feed.stop()
    rig.wait(6)
    assert not rig.completed()
    rig.wait(1)
    assert flaky.ids == [1, 1, 2]
    assert rig.completed()
    assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED] * 2
    rig.check_books()


def test_what_follows_may_hold_until_the_end() -> None:
    """A batch that waits a minute is not waited for: it is told that the stream ends."""
    sink = Recorder()
    rig = Rig().run(ops.queue(linger=2), ops.batch(max_delay=60), ops.export(sink))
    rig.send([1])
    rig.feed.stop()
    rig.wait(1)
    assert not rig.completed()
    rig.wait(1)
    assert sink.ids == [1]
    assert rig.completed()
    rig.check_books()


def test_what_fails_after_the_end_is_dropped() -> None:
    """There is nowhere to hand it over again, and its sender has heard success."""
    rig = Rig().run(
        ops.queue(linger=2), ops.batch(max_delay=60), ops.export(Recorder(failed("no")), retry=None)
    )
    rig.send([1])
    rig.end()
    assert rig.completed()
    assert rig.books["queue"].dropped == 1
    rig.check_books()


def test_on_error_of_the_source_everything_is_settled_first() -> None:
    """What was acknowledged before a fault must not be lost by it."""
    flaky = Flaky(1)
    rig = Rig()
    gate: Any = rx.subject.Subject()
    rig.run(rx_ops.merge(gate), ops.queue(), ops.export(flaky))
    rig.send([1])
    gate.on_error(ValueError("upstream"))
    assert rig.errors == []
    rig.clock.run()
    assert flaky.ids == [1, 1]
    assert [str(error) for error in rig.errors] == ["upstream"]
    rig.check_books()


def test_on_dispose_what_waits_outside_fails_and_what_was_acknowledged_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who was not answered sends again; what was answered can only be booked as lost."""
    slow = Slow()
    rig = Rig().run(ops.queue(max_items=2, max_out=1), ops.export(slow))
    running, inside, outside = rig.send([1]), rig.send([2]), rig.send([3])
    rig.dispose()
    assert [kind(receipt) for receipt in (running, inside)] == [Kind.DELIVERED] * 2
    assert kind(outside) is Kind.FAILED
    assert rig.books["queue"].dropped == 1
    assert "dropped 1 items that it had acknowledged" in caplog.text
    rig.clock.run()
    assert slow.ids == [1]
    assert kind(rig.send([4])) is Kind.FAILED
    rig.check_books()


def test_a_rest_that_ends_after_a_disposal_hands_nothing_over() -> None:
    """Its timer is cancelled, and what rested is booked as dropped."""
    flaky = Flaky(1)
    rig = Rig().run(ops.queue(), ops.export(flaky))
    rig.send([1])
    rig.dispose()
    rig.wait(100)
    assert len(flaky.calls) == 1
    assert rig.books["queue"].dropped == 1
    rig.check_books()


def test_a_second_subscription_has_a_queue_of_its_own() -> None:
    """One stream's backlog must not fill another's queue."""
    operator = ops.queue(max_items=1, when_full="reject")
    one, two = Rig().run(operator, ops.export(Slow())), Rig().run(operator, ops.export(Slow()))
    assert kind(one.send([1])) is Kind.DELIVERED
    assert kind(one.send([2])) is Kind.FAILED
    assert kind(two.send([3])) is Kind.DELIVERED


def test_an_observer_that_raises_costs_the_attempt_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its element is handed over again; those behind it do not wait for its sake."""
    # Log records keep exceptions, whose tracebacks keep elements.
    monkeypatch.setattr(logging.getLogger("rxotlp"), "disabled", True)
    seen: list[int] = []

    def on_next(data: TelemetryData) -> None:
        seen.extend(ids_of(data))
        if seen == [1]:
            raise ValueError("a subscriber's fault")

    rig = Rig().run(ops.queue(), on_next=on_next)
    rig.feed.admit(logs([1]))
    rig.send([2])
    assert seen == [1, 2]
    rig.wait(1)
    assert seen == [1, 2, 1]
    rig.check_books()


def test_it_hands_over_to_another_scheduler() -> None:
    """Slow work behind it must not hold up the receiver's scheduler."""
    threads: set[int] = set()
    taken: list[int] = []
    front: set[int] = set()

    def here(data: TelemetryData) -> TelemetryData:
        front.add(threading.get_ident())
        return data

    def there(data: TelemetryData) -> TelemetryData:
        threads.add(threading.get_ident())
        taken.extend(ids_of(data))
        return data

    other = SyncScheduler()
    try:
        stream = from_iterable([logs([number]) for number in range(500)]).pipe(
            ops.chain(here),
            ops.queue(max_items=20, scheduler=other),
            ops.chain(there),
            ops.export(Recorder(), scheduler=other),
        )
        with Pipeline(stream) as pipeline:
            assert pipeline.wait(60)
        assert taken == list(range(500))
        assert threads.isdisjoint(front)
        assert pipeline.books.unbalanced == []
        assert pipeline.books["export"].delivered == 500
    finally:
        other.close()


def tens(data: TelemetryData) -> int:
    return ids_of(data)[0] // 10


def test_the_more_important_leaves_sooner_and_equal_ones_in_order() -> None:
    """What somebody looks at now must not wait behind a backlog."""
    slow = Slow()
    rig = Rig().run(ops.queue(max_out=1, priority=tens, ageing=1000), ops.export(slow))
    for number in (1, 2, 10, 11, 20, 3):
        rig.send([number])
    rig.clock.run()
    assert slow.ids == [1, 20, 10, 11, 2, 3]
    rig.check_books()


def test_the_least_important_leaves_under_saturation() -> None:
    """It is overtaken for as long as was said, however many important ones keep coming."""
    slow = Slow()
    rig = Rig().run(ops.queue(max_out=1, priority=tens, ageing=15), ops.export(slow))
    rig.send([20])
    rig.send([1])
    for number in range(21, 30):
        rig.send([number])
        rig.wait(5)
    rig.clock.run()
    # Only those that came within two steps of 15 s after it went first.
    assert slow.ids == [20, *range(21, 27), 1, 27, 28, 29]
    rig.check_books()


def test_the_more_important_comes_in_sooner_from_outside() -> None:
    """Else a full queue would undo what the priority is for."""
    slow = Slow()
    rig = Rig().run(ops.queue(max_items=1, priority=tens, ageing=1000), ops.export(slow))
    receipts = {number: rig.send([number]) for number in (1, 2, 10)}
    rig.wait(10)
    assert [kind(receipts[number]) for number in (2, 10)] == [None, Kind.DELIVERED]
    rig.clock.run()
    assert slow.ids == [1, 10, 2]
    rig.check_books()


def test_what_failed_is_handed_over_again_in_its_own_place() -> None:
    """A fault of the backend makes nobody less important."""
    flaky = Flaky(1)
    rig = Rig().run(
        ops.queue(max_out=1, priority=tens, ageing=1000, backoff=1),
        ops.parallel(seconds(3)),
        ops.export(flaky, retry=None),
    )
    for number in (10, 1, 2, 3):
        rig.send([number])
    rig.clock.run()
    assert flaky.ids == [10, 1, 10, 2, 3]
    rig.check_books()


def seconds(number: float) -> Any:
    async def takes(data: TelemetryData) -> TelemetryData:
        await asyncio.sleep(number)
        return data

    return takes


def no_priority(data: TelemetryData) -> Any:
    number = ids_of(data)[0]
    if number == 1:
        raise LookupError("no such class")
    return "urgent" if number == 2 else number


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (1, "queue: LookupError: no such class"),
        (2, "queue: TypeError: priority 'urgent': expected a number, got str"),
    ],
)
def test_an_element_without_a_valid_priority_is_rejected(number: int, reason: str) -> None:
    """Before it is acknowledged, so its sender hears of it."""
    sink = Recorder()
    rig = Rig().run(ops.queue(priority=no_priority), ops.export(sink))
    bad, good = rig.send([number]), rig.send([3])
    assert (kind(bad), kind(good)) == (Kind.REJECTED, Kind.DELIVERED)
    assert bad.outcome is not None
    assert bad.outcome.reason == reason
    assert rig.books["queue"].rejected == 1
    rig.check_books()


def test_what_comes_when_its_scheduler_is_closed_fails_and_says_so() -> None:
    """It cannot be handed over any more, and must not be held for ever either."""
    other = SyncScheduler()
    subject: Any = rx.subject.Subject()
    subject.pipe(ops.queue(scheduler=other)).subscribe()
    other.close()
    receipt = Receipt()
    with pytest.raises(PipelineError, match="close"):
        subject.on_next(receipt.attach(logs([1])))
    settled = threading.Event()
    receipt.on_settle(lambda _: settled.set())
    gc.collect()  # the exception's frames held it; a thread of its own hears of its death
    assert settled.wait(30)
    assert kind(receipt) is Kind.FAILED


@pytest.mark.parametrize("ranked", [False, True])
def test_many_threads_lose_nothing_and_each_keeps_its_order(ranked: bool) -> None:
    """A receiver's threads hand over at once, and none of them waits for another."""
    senders_count, each = 5, 400
    taken: list[int] = []
    ended = threading.Event()
    other = SyncScheduler()
    subject: Any = rx.subject.Subject()
    options: dict[str, Any] = {"priority": lambda data: 1} if ranked else {}
    subject.pipe(ops.queue(scheduler=other, **options)).subscribe(
        lambda data: taken.extend(ids_of(data)), on_completed=ended.set
    )
    receipts = [Receipt() for _ in range(senders_count * each)]

    def send(thread: int) -> None:
        for number in range(thread * each, (thread + 1) * each):
            subject.on_next(receipts[number].attach(logs([number])))

    senders = [threading.Thread(target=send, args=(thread,)) for thread in range(senders_count)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    subject.on_completed()
    assert ended.wait(60)
    other.close()
    assert sorted(taken) == list(range(senders_count * each))
    for thread in range(senders_count):
        mine = [number for number in taken if number // each == thread]
        assert mine == sorted(mine)
    assert {kind(receipt) for receipt in receipts} == {Kind.DELIVERED}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_items": 0}, r"queue\(max_items=0\): expected 1 or more"),
        ({"max_bytes": 1.5}, r"queue\(max_bytes=1.5\): expected a whole number"),
        ({"when_full": "panic"}, "expected one of 'wait', 'reject', 'drop_newest', 'drop_oldest'"),
        ({"max_out": 0}, r"queue\(max_out=0\): expected 1 or more"),
        ({"max_attempts": 0}, r"queue\(max_attempts=0\): expected 1 or more"),
        ({"backoff": 0}, r"queue\(backoff=0\): expected seconds above 0"),
        ({"backoff": 9, "max_backoff": 3}, r"expected backoff=9 or more"),
        ({"linger": -1}, r"queue\(linger=-1\): expected seconds above 0"),
        ({"priority": "high"}, r"queue\(priority='high'\): expected a function of an element"),
        ({"ageing": -1}, r"queue\(ageing=-1\): expected seconds above 0"),
        ({"priority": len, "when_full": "drop_oldest"}, "the oldest may be the most important"),
    ],
)
def test_a_wrong_argument_fails_where_the_pipeline_is_written(
    options: dict[str, Any], message: str
) -> None:
    """Not at the first element."""
    with pytest.raises((ValueError, TypeError), match=message):
        ops.queue(**options)
