"""The token bucket: bursts, debts, and the rate that is kept whatever comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.pacing import Bucket


def test_a_burst_passes_at_once_and_what_follows_waits() -> None:
    """After a silence there is room."""
    bucket = Bucket(2, 4)
    assert bucket.wait(4, 0) == 0
    bucket.spend(4)
    assert bucket.wait(1, 0) == 0.5
    assert bucket.wait(1, 0.5) == 0


def test_a_silence_saves_no_more_than_the_burst() -> None:
    """A night without traffic must not pay for a morning's flood."""
    bucket = Bucket(1, 2)
    bucket.spend(2)
    assert bucket.wait(2, 0) == 2
    assert bucket.wait(2, 100) == 0
    bucket.spend(2)
    assert bucket.wait(1, 100) == 1


def test_what_costs_more_than_the_burst_passes_when_it_is_full() -> None:
    """It would wait for ever; what follows pays for it."""
    bucket = Bucket(1, 2)
    assert bucket.wait(10, 0) == 0
    bucket.spend(10)
    assert bucket.wait(1, 0) == 9


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    """And takes nothing."""
    bucket = Bucket(1, 1)
    assert bucket.wait(1, 5) == 0
    bucket.spend(1)
    assert bucket.wait(1, 4) == pytest.approx(1)


@given(st.lists(st.tuples(st.integers(1, 20), st.floats(0, 3)), min_size=1, max_size=50))
def test_the_rate_is_kept_whatever_comes(arrivals: list[tuple[int, float]]) -> None:
    """No more than the burst, one element and the rate's share of the time."""
    bucket, now, passed = Bucket(5, 10), 0.0, 0
    for cost, pause in arrivals:
        now += pause
        now += bucket.wait(cost, now)
        assert bucket.wait(cost, now) == 0
        assert passed <= 10 + 20 + 5 * now + 1e-3
        bucket.spend(cost)
        passed += cost
