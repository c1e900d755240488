"""When answers are due, in virtual time."""

import pytest

from rxotlp.receipt import Receipt
from rxotlp.schedulers import VirtualScheduler
from rxotlp.sources.deadlines import Deadlines, patience


@pytest.mark.parametrize(
    ("deadline", "ack_timeout", "expected"),
    [
        (None, None, 9.0),  # the usual 10 s less a second
        (60.0, None, 9.0),
        (5.0, None, 4.0),
        (1.0, None, 0.5),  # a second less would leave nothing
        (None, 30.0, 30.0),
        (10.0, 30.0, 9.0),  # a caller's own deadline always counts
        (60.0, 30.0, 30.0),
    ],
)
def test_patience_is_shorter_than_the_callers(
    deadline: float | None, ack_timeout: float | None, expected: float
) -> None:
    """An answer after the caller's deadline is no answer: the data would be doubled."""
    assert patience(deadline, ack_timeout) == expected


def test_a_receipt_expires_within_a_tick_of_its_time() -> None:
    """Never early, and late by the promised tick at most."""
    scheduler = VirtualScheduler()
    deadlines = Deadlines(scheduler, scheduler.post, reason="late", tick=0.25)
    settled: list[float] = []
    for seconds in (0.1, 1.0, 1.1, 9.0):
        receipt = Receipt(
            inbox=scheduler.inbox, on_settle=lambda _: settled.append(scheduler.clock)
        )
        deadlines.add(receipt, seconds)
    scheduler.run()
    for at, seconds in zip(settled, (0.1, 1.0, 1.1, 9.0), strict=True):
        assert seconds <= at <= seconds + 0.25


def test_nothing_runs_while_nothing_is_open() -> None:
    """An idle receiver must not wake up four times a second."""
    scheduler = VirtualScheduler()
    deadlines = Deadlines(scheduler, scheduler.post, reason="late", tick=0.25)
    for _ in range(2):  # and the timer starts again after a pause
        receipt = Receipt(inbox=scheduler.inbox)
        deadlines.add(receipt, 5.0)
        scheduler.run()  # comes to an end
        assert receipt.settled
    assert 10.0 <= scheduler.clock <= 10.5


def test_a_settled_receipt_is_forgotten() -> None:
    """Ten thousand answered requests a second must not be kept for ten seconds each."""
    scheduler = VirtualScheduler()
    deadlines = Deadlines(scheduler, scheduler.post, reason="late", tick=0.25)
    receipt = Receipt(inbox=scheduler.inbox)
    due = deadlines.add(receipt, 5.0)
    deadlines.discard(receipt, due)
    scheduler.run()
    assert not receipt.settled
