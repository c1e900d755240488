"""Ranks: who is next, and that nobody waits for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.priorities import Priorities, rank

AGEING = 2.0
arrivals = st.lists(st.tuples(st.integers(0, 50), st.integers(-3, 3)), max_size=60)


def test_the_larger_priority_is_next() -> None:
    """As one says it: high priority first."""
    waiting: Priorities[str] = Priorities()
    for entry, priority in (("low", 0), ("high", 2), ("middle", 1)):
        waiting.add(entry, rank(priority, since=0, ageing=AGEING))
    assert waiting.first() == "high"
    assert list(waiting) == ["high", "middle", "low"]
    assert [waiting.pop() for _ in range(3)] == ["high", "middle", "low"]


def test_waiting_outweighs_priority() -> None:
    """What came long enough before goes first, whatever comes now."""
    old = rank(0, since=0, ageing=AGEING)
    assert old > rank(1, since=1.9, ageing=AGEING)
    assert old < rank(1, since=2.1, ageing=AGEING)


@given(arrivals, st.data())
def test_equal_priorities_keep_their_order(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Whatever is taken in between, and whoever comes at the same instant."""
    waiting: Priorities[tuple[int, int]] = Priorities()
    taken: list[tuple[int, int]] = []
    for number, (moment, priority) in enumerate(sorted(steps, key=lambda step: step[0])):
        waiting.add((number, priority), rank(priority, since=moment, ageing=AGEING))
        if data.draw(st.booleans()):
            taken.append(waiting.pop())
    while waiting:
        taken.append(waiting.pop())
    assert sorted(number for number, _priority in taken) == list(range(len(steps)))
    for level in range(-3, 4):
        mine = [number for number, priority in taken if priority == level]
        assert mine == sorted(mine)


@given(arrivals)
def test_nobody_is_overtaken_by_who_comes_too_long_after(steps: list[tuple[int, int]]) -> None:
    """The bound on starvation: ageing times the difference of priorities, under any load."""
    waiting: Priorities[tuple[int, int]] = Priorities()
    for moment, priority in steps:
        waiting.add((moment, priority), rank(priority, since=moment, ageing=AGEING))
    taken = [waiting.pop() for _ in steps]
    for at, (moment, priority) in enumerate(taken):
        for earlier, other in taken[:at]:
            assert earlier - moment <= max(0, other - priority) * AGEING


def test_the_lowest_starts_in_time_under_saturation() -> None:
    """Two important ones come for each that is served, for ever, and the lowest has its turn."""
    waiting: Priorities[str] = Priorities()
    waiting.add("lowest", rank(0, since=0, ageing=AGEING))
    served = []
    for second in range(20):
        for _ in range(2):
            waiting.add("important", rank(3, since=second, ageing=AGEING))
        served.append(waiting.pop())
    # Those of the first six seconds, and of the instant in which it has aged enough, are not
    # more than 2 * 7; whoever comes later stands behind it.
    assert served.index("lowest") <= 14


@pytest.mark.parametrize(
    ("priority", "message"),
    [
        ("1", "priority '1': expected a number, got str"),
        (None, "expected a number, got NoneType"),
        (float("nan"), "priority nan: expected a finite number"),
        (float("-inf"), "expected a finite number"),
        (10**400, "expected a finite number"),
    ],
)
def test_what_is_no_finite_number_is_no_priority(priority: float, message: str) -> None:
    """NaN in a heap would disorder everybody else; infinity could not be waited for."""
    with pytest.raises((ValueError, TypeError), match=message):
        rank(priority, since=0, ageing=AGEING)
