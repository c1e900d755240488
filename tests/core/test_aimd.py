"""The limit that learns: bounds, what counts and what does not, whatever is heard."""

from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.aimd import Aimd, Heard

answers = st.lists(
    st.tuples(st.sampled_from(Heard), st.floats(0.0, 100.0), st.floats(0.0, 10.0), st.booleans()),
    max_size=300,
)


@given(answers, st.integers(1, 5), st.integers(5, 40))
def test_no_answers_lead_out_of_the_bounds(
    heard: list[tuple[Heard, float, float, bool]], least: int, most: int
) -> None:
    """A destination can answer anything; at least one attempt goes out, or nothing is learnt."""
    aimd = Aimd(initial=least, least=least, most=most)
    now = 0.0
    for what, seconds, pause, full in heard:
        now += pause
        limit = aimd.heard(what, seconds, now=now, full=full)
        assert least <= limit <= most
        assert limit == aimd.limit


def rounds(aimd: Aimd, seconds: float, *, count: int, now: float, full: bool = True) -> float:
    """So many successes, one after the other's start; the time afterwards."""
    for _ in range(count):
        now += seconds
        aimd.heard(Heard.SUCCESS, seconds, now=now, full=full)
    return now


def test_it_doubles_until_a_refusal_and_then_adds_one_a_round() -> None:
    """From one to a hundred must not take a hundred rounds, nor a hundred refusals."""
    aimd = Aimd()
    seen = [aimd.limit]
    now = 0.0
    while aimd.limit < 32:
        now = rounds(aimd, 1.0, count=1, now=now)
        if seen[-1] != aimd.limit:
            seen.append(aimd.limit)
    assert seen == [1, 2, 4, 8, 16, 32]
    now += 5.0
    assert aimd.heard(Heard.REFUSED, 0.1, now=now, full=True) == 27
    rounds(aimd, 1.0, count=30, now=now)
    assert aimd.limit == 28


def test_refusals_of_one_moment_count_once() -> None:
    """They were all begun under the old limit; a thousand of them say one thing."""
    aimd = Aimd(initial=100)
    for _ in range(100):
        aimd.heard(Heard.REFUSED, 0.5, now=10.0, full=True)
    assert aimd.limit == 85


def test_a_limit_that_is_not_used_up_does_not_grow() -> None:
    """A quiet night would end in a limit that the morning's rush finds unlearnt."""
    aimd = Aimd(initial=4)
    rounds(aimd, 1.0, count=500, now=0.0, full=False)
    assert aimd.limit == 4


def test_what_is_about_the_data_changes_nothing() -> None:
    """A sender of garbage must not slow down everybody."""
    aimd = Aimd(initial=4)
    for now in range(1000):
        aimd.heard(Heard.NEITHER, 0.1, now=float(now), full=True)
    assert aimd.limit == 4


def test_a_destination_that_is_slower_for_good_is_not_throttled_for_ever() -> None:
    """Where less load does not help, the cause is not ours."""
    aimd = Aimd(initial=20)
    now = rounds(aimd, 0.1, count=400, now=0.0)
    now = rounds(aimd, 1.0, count=200, now=now)
    low = aimd.limit
    rounds(aimd, 1.0, count=2000, now=now)
    assert aimd.limit > low
