"""The circuit breaker's decisions."""

from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.breaker import PROBING, Breaker, State


def breaker(failures: int = 2, *, open_for: float = 10.0, probes: int = 1) -> Breaker:
    return Breaker(failures=failures, open_for=open_for, probes=probes)


def opened(one: Breaker, now: float = 0.0) -> Breaker:
    """After failures enough."""
    while one.state is not State.OPEN:
        assert one.ask(now) is None
        one.heard(one.ticket, False, now)
    return one


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    """One bad answer in a good hour is no outage."""
    one = breaker()
    for success in (False, True, False):
        assert one.ask(0.0) is None
        one.heard(one.ticket, success, 0.0)
    assert one.ask(0.0) is None
    one.heard(one.ticket, False, 0.0)
    assert one.state is State.OPEN


def test_what_nobody_asked_the_destination_about_counts_for_nothing() -> None:
    """A filter's success says nothing about a backend."""
    one = breaker()
    for success in (False, None, False):
        one.heard(one.ticket, success, 0.0)
    assert one.state is State.OPEN


def test_while_open_it_says_how_long_it_stays_so() -> None:
    """A sender that knows comes back when it is worth it."""
    one = opened(breaker())
    assert one.ask(0.0) == 10.0
    assert one.ask(7.0) == 3.0


def test_it_stays_open_as_long_as_the_destination_asked() -> None:
    """OTLP has a client wait at least what the server says."""
    one = breaker(1)
    one.heard(one.ticket, False, 0.0, asked=60.0)
    assert one.ask(20.0) == 40.0


def test_half_open_lets_its_probes_through_and_nobody_else() -> None:
    """A backend that comes back is not run down at once."""
    one = opened(breaker(probes=2))
    assert [one.ask(10.0) for _ in range(3)] == [None, None, PROBING]
    assert one.state is State.HALF_OPEN


def test_a_probe_decides() -> None:
    """Back, or down for another while."""
    one = opened(breaker())
    assert one.ask(10.0) is None
    one.heard(one.ticket, False, 11.0)
    assert one.ask(12.0) == 9.0
    assert one.ask(21.0) is None
    one.heard(one.ticket, True, 22.0)
    assert one.state is State.CLOSED


def test_a_probe_that_reached_nobody_gives_its_place_back() -> None:
    """Else a filter in the branch would keep it half open for ever."""
    one = opened(breaker())
    assert one.ask(10.0) is None
    one.heard(one.ticket, None, 10.0)
    assert one.ask(10.0) is None


def test_a_probe_that_hangs_is_forgotten() -> None:
    """Else one lost answer would be an outage without end."""
    one = opened(breaker())
    assert one.ask(10.0) is None
    hanging = one.ticket
    assert one.ask(19.5) == 0.5
    assert one.ask(20.0) is None
    one.heard(hanging, False, 20.0)
    assert one.state is State.HALF_OPEN


def test_what_was_let_in_before_is_no_news() -> None:
    """Eight attempts under way must not open it eight times, or close it."""
    one = breaker()
    before = one.ticket
    opened(one)
    for success in (True, False):
        one.heard(before, success, 9.0)
    assert one.ask(9.0) == 1.0


steps = st.lists(
    st.tuples(st.sampled_from(["ask", "success", "failure", "nothing", "wait"]), st.integers(0, 9)),
    max_size=60,
)


@given(steps, st.integers(1, 4), st.integers(1, 3))
def test_whatever_happens_its_promises_hold(
    story: list[tuple[str, int]], failures: int, probes: int
) -> None:
    """Against what can be said from outside, for every order of events."""
    one = breaker(failures, open_for=10.0, probes=probes)
    now = 0.0
    out: list[int] = []  # the tickets of what is under way
    row = 0  # failures in a row while closed
    for what, number in story:
        state, ticket = one.state, one.ticket
        if what == "wait":
            now += number
            continue
        if what == "ask":
            wait = one.ask(now)
            if wait is None:
                assert one.state is not State.OPEN
                out.append(one.ticket)
            else:
                assert 0 < wait <= 10.0
                assert one.state is not State.CLOSED
            if one.state is State.HALF_OPEN:
                assert out.count(one.ticket) <= probes
        elif out:
            ticket = out.pop(number % len(out))
            current = ticket == one.ticket
            one.heard(ticket, {"success": True, "failure": False}.get(what), now)
            if not current or what == "nothing":
                assert one.state is state
            elif state is State.CLOSED:
                row = row + 1 if what == "failure" else 0
                assert (one.state is State.OPEN) == (row == failures)
            else:
                assert one.state is (State.CLOSED if what == "success" else State.OPEN)
        if one.state is not state:
            row = 0
            assert one.ticket > ticket
    assert one.ask(now + 10.0) is None  # never shut for longer than it said
