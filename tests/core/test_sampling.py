"""Consistent probability sampling, against the specification's arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.sampling import ALL, decide, text_of, threshold_of

states = st.sampled_from(
    ["", "vendor=x", "ot=th:8", "ot=rv:ffffffffffffff", "ot=th:c;rv:d0000000000000"]
)
ratios = st.floats(min_value=1e-6, max_value=1)


def trace(randomness: int) -> bytes:
    """A trace id with that randomness; the first nine bytes say nothing."""
    return b"\xff" * 9 + randomness.to_bytes(7)


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(1, "0"), (0.5, "8"), (0.25, "c"), (0.75, "4"), (1 / 4096, "fff"), (1 / ALL, "f" * 14)],
)
def test_thresholds_are_written_as_the_specification_writes_them(ratio: float, text: str) -> None:
    """Its table of examples; a backend multiplies by what stands here."""
    assert text_of(threshold_of(ratio)) == text


def test_randomness_is_the_last_seven_bytes() -> None:
    """Everybody who samples must look at the same bits."""
    half = threshold_of(0.5)
    assert decide(trace(ALL // 2), "", half) == "ot=th:8"
    assert decide(trace(ALL // 2 - 1), "", half) is None


def test_explicit_randomness_counts_before_the_id() -> None:
    """For ids that are not random."""
    half = threshold_of(0.5)
    assert decide(trace(0), "ot=rv:80000000000000", half) == "ot=th:8;rv:80000000000000"
    assert decide(trace(ALL - 1), "ot=rv:7fffffffffffff", half) is None


@pytest.mark.parametrize("value", ["8", "8000000000000g", "+8000000000000", "80000000000000000"])
def test_malformed_randomness_says_nothing(value: str) -> None:
    """The id decides, as if it were not there."""
    assert decide(trace(0), f"ot=rv:{value}", threshold_of(0.5)) is None


def test_what_was_sampled_lower_before_keeps_what_it_says() -> None:
    """Its count stays right: it still stands for four."""
    state = "ot=th:c,vendor=x"
    assert decide(trace(ALL - 1), state, threshold_of(0.5)) is state


def test_what_was_sampled_higher_before_says_the_new_ratio() -> None:
    """And what else the entry and others say stays."""
    state = "vendor=x,ot=th:8;x:y"
    assert decide(trace(ALL - 1), state, threshold_of(0.25)) == "ot=th:c;x:y,vendor=x"


def test_a_threshold_that_contradicts_the_randomness_is_taken_off() -> None:
    """Such a span cannot have been kept at that ratio, so nobody may multiply by it."""
    assert decide(trace(ALL // 2), "ot=th:c", threshold_of(0.5)) == "ot=th:8"


def test_no_more_entries_than_w3c_allows() -> None:
    """Receivers may throw a longer tracestate away altogether."""
    state = ",".join(f"v{number}=x" for number in range(32))
    made = decide(trace(ALL - 1), state, threshold_of(0.5))
    assert made is not None
    assert made.count(",") == 31
    assert made.startswith("ot=th:8,v0=x")


@given(st.integers(0, ALL - 1), states, ratios, ratios)
def test_a_lower_ratio_keeps_some_of_the_same_traces(
    randomness: int, state: str, first: float, second: float
) -> None:
    """So traces are complete though their spans pass samplers of different ratios."""
    low, high = sorted([first, second])
    if decide(trace(randomness), state, threshold_of(low)) is not None:
        assert decide(trace(randomness), state, threshold_of(high)) is not None


@given(st.integers(0, ALL - 1), states, ratios)
def test_sampling_twice_at_one_ratio_changes_nothing(
    randomness: int, state: str, ratio: float
) -> None:
    """Two gateways in a row with one configuration are as one."""
    once = decide(trace(randomness), state, threshold_of(ratio))
    if once is not None:
        assert decide(trace(randomness), once, threshold_of(ratio)) == once
