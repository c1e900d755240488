"""What a limit is, whatever a control loop sends."""

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.limits import Level, valid


@pytest.mark.parametrize(
    "value", [None, "8", True, False, math.nan, math.inf, -math.inf, -1, -0.5, 1j, [8], b"8"]
)
def test_what_is_no_number_of_0_or_more_is_ignored_and_counted(value: Any) -> None:
    """A control loop's slip must not stop the telemetry that it controls."""
    level = Level(8)
    assert not level.offer(value)
    assert (level.value, level.ignored) == (8, 1)


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        (0, 0),
        (0.0, 0),
        (-0.0, 0),
        (0.2, 1),
        (1, 1),
        (2.9, 2),
        (Fraction(7, 2), 3),
        (10**400, 10**400),
    ],
)
def test_fractions_are_rounded_down_but_only_0_pauses(value: float, limit: int) -> None:
    """A loop that halves a limit again and again means "as little as can be", not "stop"."""
    level = Level(8)
    assert level.offer(value)
    assert level.value == limit


@given(st.lists(st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none())))
def test_a_level_is_its_latest_valid_value(values: list[Any]) -> None:
    """What came before it, and what was no number, has no say."""
    level = Level(5)
    last: float = 5
    good = 0
    for value in values:
        level.offer(value)
        number = valid(value)
        if number is not None:
            last = number
            good += 1
    assert level.value == (1 if 0 < last < 1 else int(last)) >= 0
    assert level.ignored == len(values) - good
