"""When a destination's trouble is worth a line."""

from rxotlp._core.complaints import PERIOD, Complaints
from rxotlp._core.outcomes import DELIVERED, FILTERED, failed, rejected

DOWN = failed("cannot connect")


def test_the_first_failure_is_told_and_the_rest_are_counted() -> None:
    """A thousand lines a second would bury what they say."""
    complaints = Complaints()
    assert complaints.note(DOWN, 3, 0.0) == (
        "3 items not delivered, to be sent again: cannot connect"
    )
    assert [complaints.note(DOWN, 3, time) for time in (0.1, 0.2, PERIOD - 0.1)] == [None] * 3
    assert complaints.note(rejected("no", items=1), 3, PERIOD) == (
        "9 items not delivered, to be sent again and 1 items refused for good: no"
    )


def test_recovery_is_told_once() -> None:
    """Whoever read that it is down wants to read that it is not."""
    complaints = Complaints()
    assert complaints.note(DELIVERED, 3, 0.0) is None
    complaints.note(DOWN, 3, 1.0)
    assert complaints.note(DELIVERED, 3, 2.0) == "delivers again"
    assert complaints.note(DELIVERED, 3, 3.0) is None


def test_what_flaps_is_told_once_a_period() -> None:
    """One of two backends behind a balancer is down: half of everything fails."""
    complaints = Complaints()
    outcomes = [DOWN, DELIVERED] * 100
    said = [complaints.note(outcome, 1, step / 10) for step, outcome in enumerate(outcomes)]
    assert len([text for text in said if text]) == 4


def test_what_is_not_sent_says_nothing_about_the_destination() -> None:
    """An empty request succeeds without it."""
    complaints = Complaints()
    complaints.note(DOWN, 3, 0.0)
    assert complaints.note(FILTERED, 0, 1.0) is None
    assert complaints.failing
