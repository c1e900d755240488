"""`rate_limit`: a promise to what follows, kept without losing anything by default."""

import logging
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.data import TelemetryData
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs


def run(sink: Recorder, **options: Any) -> Rig:
    return Rig().run(ops.rate_limit(1, **{"burst": 2, **options}), ops.export(sink))


def test_what_is_too_early_waits_in_order_with_its_sender() -> None:
    """Nothing is lost, and the backend sees its two at once and then one a second."""
    sink = Recorder()
    rig = run(sink)
    receipts = [rig.send([number]) for number in range(4)]
    assert sink.ids == [0, 1]
    assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED] * 2 + [None] * 2
    assert rig.books["rate_limit"].held == 2
    rig.wait(1)
    assert sink.ids == [0, 1, 2]
    rig.wait(1)
    assert sink.ids == [0, 1, 2, 3]
    assert kind(receipts[3]) is Kind.DELIVERED
    rig.check_books()


def test_a_small_element_does_not_overtake_a_large_one() -> None:
    """Order is kept, though the small one would fit."""
    sink = Recorder()
    rig = run(sink)
    rig.send([0])
    rig.send([1, 2])
    rig.send([3])
    assert sink.ids == [0]
    rig.wait(1)
    assert sink.ids == [0, 1, 2]
    rig.wait(1)
    assert sink.ids == [0, 1, 2, 3]
    rig.check_books()


def test_an_element_larger_than_the_burst_passes_and_the_next_waits_for_it() -> None:
    """It is never cut and never locked out."""
    sink = Recorder()
    rig = run(sink)
    rig.send(range(5))
    rig.send([5])
    assert sink.calls == [[0, 1, 2, 3, 4]]
    rig.wait(3.9)
    assert len(sink.calls) == 1
    rig.wait(0.1)
    assert sink.calls[1] == [5]
    rig.check_books()


def test_reject_says_when_to_come_again() -> None:
    """For senders that can wait better than we."""
    sink = Recorder()
    rig = run(sink, when_over="reject")
    rig.send([1, 2])
    receipt = rig.send([3])
    assert receipt.outcome is not None
    assert (kind(receipt), receipt.outcome.retry_after) == (Kind.FAILED, 1)
    rig.wait(1)
    assert kind(rig.send([3])) is Kind.DELIVERED
    assert rig.books["rate_limit"].failed == 1
    rig.check_books()


def test_drop_loses_what_is_too_much_and_books_it() -> None:
    """Success upstream, since the user said so."""
    sink = Recorder()
    rig = run(sink, when_over="drop")
    rig.send([1, 2])
    assert kind(rig.send([3])) is Kind.DROPPED
    assert sink.ids == [1, 2]
    assert rig.books["rate_limit"].dropped == 1
    rig.check_books()


def test_a_sender_that_gave_up_takes_no_share_of_the_rate() -> None:
    """It has been told to send again; its element must not leave, nor cost anything."""
    sink = Recorder()
    rig = run(sink)
    rig.send([1, 2])
    impatient, patient = rig.send([3]), rig.send([4])
    impatient.expire("out of patience")
    assert impatient.withdrawn
    rig.wait(1)
    assert kind(patient) is Kind.DELIVERED
    assert sink.ids == [1, 2, 4]
    rig.check_books()


def test_an_observer_that_raises_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others leave in their time."""
    # Log records keep exceptions, whose tracebacks keep elements.
    monkeypatch.setattr(logging.getLogger("rxotlp"), "disabled", True)
    seen: list[int] = []

    def on_next(data: TelemetryData) -> None:
        seen.extend(ids_of(data))
        if seen[-1] == 3:
            raise ValueError("a subscriber's fault")

    rig = Rig().run(ops.rate_limit(1, burst=2), on_next=on_next)
    rig.send([1, 2])
    for number in (3, 4):
        rig.feed.admit(logs([number]))
    rig.wait(2)
    assert seen == [1, 2, 3, 4]
    rig.check_books()


def test_on_completion_what_waits_leaves_in_its_time() -> None:
    """The promise holds to the end."""
    sink = Recorder()
    rig = run(sink)
    for number in range(3):
        rig.send([number])
    rig.feed.stop()
    rig.wait(0.9)
    assert not rig.completed()
    rig.wait(0.1)
    assert sink.ids == [0, 1, 2]
    assert rig.completed()
    rig.check_books()


def test_on_error_what_waits_leaves_in_its_time() -> None:
    """What was received before a fault is still good data."""
    sink, rig = Recorder(), Rig()
    gate: Any = rx.subject.Subject()
    rig.run(rx_ops.merge(gate), ops.rate_limit(1, burst=1), ops.export(sink))
    rig.send([1])
    rig.send([2])
    gate.on_error(ValueError("upstream"))
    assert rig.errors == []
    rig.wait(1)
    assert sink.ids == [1, 2]
    assert [str(error) for error in rig.errors] == ["upstream"]
    rig.check_books()


def test_on_dispose_what_waits_fails() -> None:
    """So its sender sends again."""
    sink = Recorder()
    rig = run(sink)
    rig.send([1, 2])
    receipt = rig.send([3])
    rig.dispose()
    assert kind(receipt) is Kind.FAILED
    rig.wait(10)
    assert sink.ids == [1, 2]
    rig.check_books()


def test_a_second_subscription_has_a_rate_of_its_own() -> None:
    """A bucket belongs to a stream."""
    operator = ops.rate_limit(1, burst=1)
    sink = Recorder()
    one, two = Rig().run(operator, ops.export(sink)), Rig().run(operator, ops.export(sink))
    one.send([1])
    two.send([2])
    assert sink.ids == [1, 2]


def test_without_a_burst_a_second_of_items_passes_at_once() -> None:
    """And at least one, or a slow rate would let nothing begin."""
    sink = Recorder()
    rig = Rig().run(ops.rate_limit(3), ops.export(sink))
    for number in range(4):
        rig.send([number])
    assert sink.ids == [0, 1, 2]
    slow = Recorder()
    Rig().run(ops.rate_limit(0.1), ops.export(slow)).send([1])
    assert slow.ids == [1]


@pytest.mark.parametrize(
    ("rate", "options", "message"),
    [
        (0, {}, r"rate_limit\(0\): expected items a second above 0"),
        (float("inf"), {}, r"rate_limit\(inf\): expected items a second above 0"),
        ("fast", {}, r"rate_limit\('fast'\): expected a number, got str"),
        (1, {"burst": 0}, r"rate_limit\(burst=0\): expected 1 or more"),
        (1, {"when_over": "panic"}, "expected one of 'wait', 'reject', 'drop'"),
    ],
)
def test_a_wrong_argument_fails_where_the_pipeline_is_written(
    rate: Any, options: dict[str, Any], message: str
) -> None:
    """Not at the first element."""
    with pytest.raises((ValueError, TypeError), match=message):
        ops.rate_limit(rate, **options)
