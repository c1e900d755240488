"""`export`: claims, bounds, timeouts, books; bytes and a claim, never the element."""

import asyncio
import logging
import threading
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.operators import Delivery
from rxotlp.pipeline import Pipeline
from rxotlp.sources.iterable import from_iterable
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs


class Slow:
    """An async destination: an element takes as many seconds as its first id says."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.running = self.most = 0

    async def export(self, data: TelemetryData) -> Outcome:
        self.running += 1
        self.most = max(self.most, self.running)
        ids = ids_of(data)
        try:
            await asyncio.sleep(ids[0])
        finally:
            self.running -= 1
        self.ids += ids
        return DELIVERED


def test_a_delivery_says_what_happened_and_holds_no_telemetry() -> None:
    """Deliveries may be kept; elements may not."""
    rig = Rig().run(ops.export(Slow()))
    receipt = rig.send([2, 3])
    rig.wait(2)
    (delivery,) = rig.results
    assert (delivery.items, delivery.attempts, delivery.seconds) == (2, 1, 2)
    assert delivery.bytes == logs([2, 3]).size
    assert delivery.outcome is DELIVERED
    assert kind(receipt) is Kind.DELIVERED
    rig.check_books()


@pytest.mark.parametrize(
    ("outcome", "heard", "account"),
    [
        (DELIVERED, Kind.DELIVERED, {"delivered": 3}),
        (rejected("bad"), Kind.REJECTED, {"rejected": 3}),
        (rejected("bad", items=1), Kind.REJECTED, {"rejected": 1, "delivered": 2}),
        (failed("down"), Kind.FAILED, {"failed": 3}),
        (rejected("only a warning", items=0), Kind.DELIVERED, {"delivered": 3}),
    ],
)
def test_outcomes_reach_the_sender_and_the_books(
    outcome: Outcome, heard: Kind, account: dict[str, int]
) -> None:
    """What the exporter reports is what the sender hears and the books say."""
    rig = Rig().run(ops.export(Recorder(outcome), retry=None))
    receipt = rig.send([1, 2, 3])
    assert kind(receipt) is heard
    assert receipt.rejected == account.get("rejected", 0)
    for name, count in account.items():
        assert getattr(rig.books["export"], name) == count
    rig.check_books()


@pytest.mark.parametrize("made", [None, "ok", 3])
def test_an_exporter_that_returns_nonsense_has_delivered_nothing(made: Any) -> None:
    """Forgetting `return` must not acknowledge."""
    rig = Rig().run(ops.export(Recorder(made), retry=None))
    assert kind(rig.send([1])) is Kind.FAILED
    rig.check_books()


@pytest.mark.parametrize("how", ["plain", "async", "blocking"])
def test_an_exporter_that_raises_has_failed(how: str) -> None:
    """A bug in an exporter costs a resend, and the stream goes on."""

    class Raises:
        blocking = how == "blocking"

        def export(self, data: TelemetryData) -> Any:
            if how == "async":
                return self.later()
            raise ValueError("no socket")

        async def later(self) -> Outcome:
            raise ValueError("no socket")

    rig = Rig().run(ops.export(Raises(), retry=None))
    for _ in range(2):
        receipt = rig.send([1])
        rig.wait(1)
        assert kind(receipt) is Kind.FAILED
        assert receipt.outcome is not None
        assert "no socket" in receipt.outcome.reason
    assert [type(result) for result in rig.results] == [Delivery, Delivery]
    rig.check_books()


def test_an_exporter_that_asks_a_cancelled_future_keeps_no_slot() -> None:
    """What that raises is no Exception: the slot would be gone for ever, and then all of them."""

    def cancelled(data: TelemetryData) -> Outcome:
        if 1 in ids_of(data):
            raise asyncio.CancelledError
        return DELIVERED

    with Rig(ops.export(Recorder(cancelled), max_concurrent=1, retry=None)) as rig:
        assert kind(rig.send([1])) is Kind.FAILED
        assert kind(rig.send([2])) is Kind.DELIVERED
        rig.end()
        assert rig.completed()
        rig.check()


def test_no_more_than_max_concurrent_attempts_at_once() -> None:
    """A backend must not see more than it was promised."""
    slow = Slow()
    rig = Rig().run(ops.export(slow, max_concurrent=2))
    for _ in range(5):
        rig.send([1])
    assert rig.books["export"].held == 5
    rig.clock.run()
    assert slow.most == 2
    assert len(slow.ids) == 5
    rig.check_books()


def test_an_attempt_that_takes_longer_than_timeout_is_cancelled_and_failed() -> None:
    """A hanging backend must not hold a slot for ever."""
    slow = Slow()
    rig = Rig().run(ops.export(slow, timeout=3, max_concurrent=1, retry=None))
    late, quick = rig.send([10]), rig.send([1])
    rig.wait(3)
    assert kind(late) is Kind.FAILED
    rig.wait(1)
    assert slow.running == 0
    assert kind(quick) is Kind.DELIVERED
    assert slow.ids == [1]
    rig.check_books()


def test_a_blocking_exporter_runs_in_the_pool() -> None:
    """Two that wait for each other prove that neither holds up the scheduler."""
    meet = threading.Barrier(2)

    class Blocking:
        blocking = True

        def export(self, data: TelemetryData) -> Outcome:
            meet.wait(30)
            return DELIVERED

    stream = from_iterable([logs([1]), logs([2])]).pipe(ops.export(Blocking()))
    with Pipeline(stream) as pipeline:
        assert pipeline.wait(60)
    assert pipeline.books["export"].delivered == 2


def test_what_was_withdrawn_before_the_attempt_is_not_sent() -> None:
    """Its sender has been told to send again; sending it too would double it."""
    slow = Slow()
    rig = Rig().run(ops.export(slow, max_concurrent=1))
    rig.send([5])
    waiting = rig.send([1])
    waiting.expire("out of patience")
    assert waiting.withdrawn
    rig.clock.run()
    assert slow.ids == [5]
    assert rig.results[-1].attempts == 0
    rig.check_books()


def test_a_withdrawn_part_of_a_batch_is_left_out_at_the_first_attempt() -> None:
    """The others of its batch are delivered all the same."""
    sink = Recorder()
    rig = Rig().run(ops.batch(max_delay=5), ops.export(sink))
    first, second = rig.send([1, 2]), rig.send([3])
    first.expire("out of patience")
    rig.wait(5)
    assert sink.calls == [[3]]
    assert (kind(first), kind(second)) == (Kind.FAILED, Kind.DELIVERED)
    rig.check_books()


def test_bytes_on_their_way_are_not_withdrawn() -> None:
    """From the first attempt on, the batch is one request; a resend may double it."""
    slow = Slow()
    rig = Rig().run(ops.export(slow))
    receipt = rig.send([5])
    receipt.expire("out of patience")
    rig.clock.run()
    assert slow.ids == [5]
    assert kind(receipt) is Kind.FAILED
    rig.check_books()


def test_on_completion_everything_is_delivered_first() -> None:
    """The end is passed on when running work has finished."""
    slow = Slow()
    rig = Rig().run(ops.export(slow, max_concurrent=1))
    rig.send([2])
    rig.send([1])
    rig.feed.stop()
    rig.wait(2)
    assert not rig.completed()
    rig.clock.run()
    assert slow.ids == [2, 1]
    assert rig.completed()
    rig.check_books()


def test_on_error_of_the_source_everything_is_delivered_first() -> None:
    """What was received before a fault is still good data."""
    slow = Slow()
    rig = Rig()
    gate: Any = rx.subject.Subject()
    rig.run(rx_ops.merge(gate), ops.export(slow, max_concurrent=1))
    rig.send([2])
    rig.send([1])
    gate.on_error(ValueError("upstream"))
    assert rig.errors == []
    rig.clock.run()
    assert slow.ids == [2, 1]
    assert [str(error) for error in rig.errors] == ["upstream"]
    rig.check_books()


def test_on_dispose_what_runs_is_reported_and_what_waits_fails() -> None:
    """Cancelling a request that has been sent would leave its fate unknown."""
    slow = Slow()
    rig = Rig().run(ops.export(slow, max_concurrent=1))
    running, waiting = rig.send([2]), rig.send([1])
    rig.dispose()
    assert kind(running) is None
    assert kind(waiting) is Kind.FAILED
    rig.clock.run()
    assert kind(running) is Kind.DELIVERED
    assert slow.ids == [2]
    rig.check_books()


def test_a_stage_behind_an_export_is_told_what_it_gets() -> None:
    """An export emits deliveries: wiring telemetry operators behind it is a mistake."""
    rig = Rig().run(ops.export(Recorder()), ops.batch())
    told: list[BaseException] = []
    rig.clock.on_error = told.append
    rig.send([1])
    assert [type(error) for error in told] == [TypeError]
    assert "batch: expected TelemetryData, got Delivery" in str(told[0])


def test_a_second_subscription_has_slots_of_its_own_and_shares_the_exporter() -> None:
    """Two streams to one backend."""
    slow = Slow()
    operator = ops.export(slow, max_concurrent=1)
    one, two = Rig().run(operator), Rig().run(operator)
    one.send([1])
    two.send([1])
    one.wait(1)
    two.wait(1)
    assert slow.ids == [1, 1]


@pytest.mark.parametrize(
    ("exporter", "options", "message"),
    [
        (object(), {}, "expected an exporter with an `export` method"),
        (Slow(), {"max_concurrent": 0}, r"export\(max_concurrent=0\): expected 1 or more"),
        (Slow(), {"timeout": 0}, r"export\(timeout=0\): expected seconds above 0"),
    ],
)
def test_a_wrong_argument_fails_where_the_pipeline_is_written(
    exporter: Any, options: dict[str, Any], message: str
) -> None:
    """Not at the first element."""
    with pytest.raises((ValueError, TypeError), match=message):
        ops.export(exporter, **options)


def test_a_destination_that_is_down_is_one_line_until_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever runs a gateway must not have to ask its senders."""
    caplog.set_level(logging.INFO, logger="rxotlp")
    down = failed("cannot connect")
    answers = [down, down, down, DELIVERED, DELIVERED]

    class Backend:
        def export(self, data: TelemetryData) -> Outcome:
            return answers.pop(0)

    rig = Rig().run(ops.export(Backend(), name="backend"))
    for number in range(5):
        rig.send([number])
    assert [record.getMessage() for record in caplog.records] == [
        "backend: 1 items not delivered, to be sent again: cannot connect",
        "backend: delivers again",
    ]
