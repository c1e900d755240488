"""The decisions of a failover: which level is next."""

from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.levels import Choice, Levels


def at(choice: Choice | None) -> int | None:
    return None if choice is None else choice[0]


def down(levels: Levels, now: float = 0.0) -> Levels:
    """With its first level failed."""
    choice = levels.choose(now)
    assert choice is not None
    levels.heard(choice, False, now)
    return levels


def test_the_first_level_that_is_up_gets_all() -> None:
    """A secondary costs money, or is far away."""
    levels = Levels(3, 10.0)
    assert [at(levels.choose(0.0)) for _ in range(3)] == [0, 0, 0]
    assert at(down(levels).choose(0.0)) == 1
    assert levels.first_up == 1


def test_a_level_that_is_down_is_probed_by_one() -> None:
    """What comes meanwhile goes where it is taken."""
    levels = down(Levels(2, 10.0))
    assert at(levels.choose(9.0)) == 1
    assert [at(levels.choose(10.0)) for _ in range(3)] == [0, 1, 1]


def test_a_probe_that_succeeds_brings_it_back() -> None:
    """The primary is primary again."""
    levels = down(Levels(2, 10.0))
    probe = levels.choose(10.0)
    assert probe is not None
    levels.heard(probe, True, 11.0)
    assert levels.first_up == 0
    assert at(levels.choose(11.0)) == 0


def test_a_probe_that_fails_puts_it_off() -> None:
    """For as long again, or for as long as it asks."""
    levels = down(Levels(2, 10.0))
    probe = levels.choose(10.0)
    assert probe is not None
    levels.heard(probe, False, 11.0, asked=30.0)
    assert at(levels.choose(40.0)) == 1
    assert at(levels.choose(41.0)) == 0


def test_a_probe_that_hangs_is_followed_by_another() -> None:
    """Else one lost answer would leave the primary out for ever."""
    levels = down(Levels(2, 10.0))
    assert at(levels.choose(10.0)) == 0
    assert at(levels.choose(19.0)) == 1
    assert at(levels.choose(20.0)) == 0


def test_a_probe_that_reached_nobody_is_followed_by_another() -> None:
    """A filter in the level says nothing about its backend."""
    levels = down(Levels(2, 10.0))
    probe = levels.choose(10.0)
    assert probe is not None
    levels.heard(probe, None, 10.0)
    assert at(levels.choose(10.0)) == 0


def test_when_all_are_down_each_is_tried() -> None:
    """To refuse what somebody may take would be a guess."""
    levels = down(down(Levels(2, 10.0)))
    assert levels.first_up is None
    first = levels.choose(1.0)
    assert at(first) == 0
    assert at(levels.choose(1.0, {0})) == 1
    assert levels.choose(1.0, {0, 1}) is None
    assert first is not None
    levels.heard(first, True, 1.0)
    assert levels.first_up == 0


def test_what_was_sent_before_it_went_down_is_no_news() -> None:
    """Of eight attempts under way one fails: the other seven must not bring it back."""
    levels = Levels(2, 10.0)
    late = levels.choose(0.0)
    assert late is not None
    down(levels)
    levels.heard(late, True, 5.0)
    assert not levels.up(0)
    levels.heard(late, False, 5.0)
    assert at(levels.choose(10.0)) == 0


stories = st.lists(
    st.tuples(st.sampled_from(["choose", "heard", "wait"]), st.integers(0, 12), st.booleans()),
    max_size=60,
)


@given(stories, st.integers(2, 4))
def test_an_element_finds_every_level_once_and_the_best_is_preferred(
    story: list[tuple[str, int, bool]], count: int
) -> None:
    """Whatever happened before: nothing is given up while a level is left."""
    levels = Levels(count, 10.0)
    now = 0.0
    out: list[Choice] = []
    for what, number, flag in story:
        if what == "wait":
            now += number
        elif what == "choose":
            best = levels.first_up
            choice = levels.choose(now)
            assert choice is not None
            if best is not None:
                assert choice[0] <= best  # only a probe goes before what is up
            out.append(choice)
        elif out:
            levels.heard(out.pop(number % len(out)), flag, now)
    tried: set[int] = set()
    while (choice := levels.choose(now, tried)) is not None:
        assert choice[0] not in tried
        tried.add(choice[0])
    assert tried == set(range(count))
    for _ in range(count):  # and nothing is left out for ever
        now += 10.0
        first = levels.choose(now)
        assert first is not None
        levels.heard(first, True, now)
        if first[0] == 0:
            break
    assert levels.up(0)
