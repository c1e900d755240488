"""Pauses between attempts: how they grow, what a destination may ask, when to give up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.retrying import Retry, Retrying


def pauses(
    policy: Retry, number: int, *, asked: float | None = None, hurried: bool = False
) -> list[float]:
    """The waits of successive failures, each of which takes no time."""
    retrying = Retrying(policy, lambda: 0.5)
    pause: float | None = None
    waits: list[float] = []
    since = 0.0
    for _ in range(number):
        again = retrying.again(
            pause, asked=asked, hurried=hurried, since=since, took=0.0, left=None
        )
        if again is None:
            break
        pause, seconds = again
        waits.append(seconds)
        since += seconds
    return waits


def test_pauses_grow_by_half_from_five_to_thirty_seconds() -> None:
    """The exporter specification wants exponential back-off; these are the Collector's."""
    assert pauses(Retry(jitter=0), 6) == [5.0, 7.5, 11.25, 16.875, 25.3125, 30.0]


def test_the_first_comes_soon_when_a_sender_waits() -> None:
    """In the nine seconds that a sender has, five would be most of them."""
    assert pauses(Retry(jitter=0), 3, hurried=True) == [0.5, 0.75, 1.125]


def test_c6_a_destination_is_given_what_it_asks_for_and_pauses_grow_from_there() -> None:
    """It knows better, also when it asks for more than we would ever wait."""
    assert pauses(Retry(jitter=0), 2, asked=60) == [60, 60]
    retrying = Retrying(Retry(jitter=0), lambda: 0.5)
    first = retrying.again(None, asked=12, hurried=False, since=0, took=0, left=None)
    second = retrying.again(12, asked=None, hurried=False, since=12, took=0, left=None)
    assert [first, second] == [(12, 12), (18, 18)]


@given(
    dice=st.floats(0, 0.999),
    jitter=st.floats(0, 1),
    asked=st.none() | st.floats(0, 1000),
    pause=st.none() | st.floats(0.5, 30),
)
def test_a_wait_is_never_shorter_than_asked_and_never_longer_than_most_unless_asked(
    dice: float, jitter: float, asked: float | None, pause: float | None
) -> None:
    """Jitter must not undercut the destination, nor exceed the policy's bound."""
    policy = Retry(jitter=jitter)
    again = Retrying(policy, lambda: dice).again(
        pause, asked=asked, hurried=False, since=0, took=0, left=None
    )
    assert again is not None
    _, seconds = again
    assert seconds >= (asked or 0)
    assert seconds <= max(policy.most * 1.000001, (asked or 0) * 2)


def test_what_was_asked_of_many_is_spread() -> None:
    """All clients of an overloaded server hear the same time."""
    waits = {
        Retrying(Retry(), lambda dice=dice: dice).again(  # type: ignore[misc]
            None, asked=40, hurried=False, since=0, took=0, left=None
        )
        for dice in (0.0, 0.3, 0.9)
    }
    assert len(waits) == 3


def test_no_attempt_begins_that_would_not_be_over_when_the_answer_is_due() -> None:
    """A sender that hears nothing in time sends again, and what we send then is doubled."""
    retrying = Retrying(Retry(jitter=0), lambda: 0.5)

    def again(took: float, left: float) -> object:
        return retrying.again(None, asked=None, hurried=True, since=1, took=took, left=left)

    assert again(took=1, left=1.5) is not None
    assert again(took=1.1, left=1.5) is None


def test_a_limit_counts_from_the_first_attempt() -> None:
    """Five, seven and a half, then the next would begin after 20 seconds."""
    assert pauses(Retry(jitter=0, limit=20), 9) == [5.0, 7.5]
    assert pauses(Retry(jitter=0, limit=0), 9) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"first": 0}, "first=0"),
        ({"soon": -1}, "soon=-1"),
        ({"most": float("inf")}, "most=inf"),
        ({"factor": 0.5}, "factor=0.5"),
        ({"jitter": 1.5}, "jitter=1.5"),
        ({"first": 40}, "most=30"),
        ({"limit": -1}, "limit=-1"),
        ({"limit": float("nan")}, "limit=nan"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, float], text: str) -> None:
    """With the value and the range."""
    with pytest.raises(ValueError, match=text):
        Retry(**arguments)
