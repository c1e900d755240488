"""When a difference is called, on recorded runs and on made ones."""

import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from rxotlp.bench.results import FIGURES
from rxotlp.bench.verdicts import ALPHA, NEEDED, Difference, compared, interval, signed_rank

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())


def judged(pair: dict[str, Any]) -> list[Difference]:
    """All figures of a recorded comparison."""
    return [
        compared(
            figure.name,
            "b",
            "a",
            dict(enumerate(pair["b"][figure.name])),
            dict(enumerate(pair["a"][figure.name])),
            least=figure.least,
        )
        for figure in FIGURES
    ]


def test_a_variant_is_told_from_itself_once_in_twenty_comparisons_at_most() -> None:
    """Recorded on a busy machine: whoever tries what changes nothing must not be told it does."""
    alike = [pair for pair in RECORDED if pair["same"]]
    assert len(alike) == 20
    wrong = [pair["name"] for pair in alike if any(one.called for one in judged(pair))]
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize(
    "pair", [one for one in RECORDED if not one["same"]], ids=lambda one: str(one["name"])
)
def test_real_differences_are_called(pair: dict[str, Any]) -> None:
    """A test that never calls anything would pass the one above; recorded beside it."""
    assert next(one for one in judged(pair) if one.figure == "cpu").called


def test_noise_is_called_as_rarely_as_it_says() -> None:
    """Heavy tails and a drift that both share, many times over."""
    rolled = random.Random(7)
    wrong = 0
    for _ in range(2000):
        drift = [rolled.uniform(1, 2) for _ in range(10)]
        sides = [
            {at: slow * math.exp(rolled.gauss(0, 0.05) ** 3 * 20) for at, slow in enumerate(drift)}
            for _ in range(2)
        ]
        wrong += compared("cpu", "b", "a", sides[0], sides[1]).called
    assert wrong <= 2000 * ALPHA * 1.5


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_the_chance_is_what_counting_all_signs_says(size: int) -> None:
    """The quick way and the obvious one agree, ties and all."""
    rolled = random.Random(size)
    for _ in range(20):
        values = [rolled.choice((-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)) for _ in range(size)]
        sizes = sorted(map(abs, values))
        rank = {one: sizes.index(one) + (sizes.count(one) + 1) / 2 for one in sizes}
        total = sum(rank[abs(one)] for one in values)

        def smaller(signs: tuple[bool, ...], values: list[float] = values) -> float:
            up = sum(rank[abs(v)] for s, v in zip(signs, values, strict=True) if s)  # noqa: B023
            return min(up, total - up)  # noqa: B023

        ours = smaller(tuple(value > 0 for value in values))
        every = list(itertools.product((True, False), repeat=size))
        expected = sum(smaller(signs) <= ours for signs in every) / len(every)
        assert signed_rank(values) == pytest.approx(min(1.0, expected), abs=1e-9) or (
            2 * ours == total  # the middle is counted on both sides
        )


def test_the_interval_has_the_median_in_95_of_100_cases() -> None:
    """Of order statistics, so no shape is assumed."""
    assert interval([3.0]) == (3.0, 3.0)
    assert interval([1.0, 5.0, 2.0]) == (1.0, 5.0)
    assert interval([float(one) for one in range(10)]) == (1.0, 8.0)  # 97.9 %; (2, 7) has 89 %
    assert interval([float(one) for one in range(20)]) == (5.0, 14.0)  # 95.9 %


def test_too_few_rounds_call_nothing() -> None:
    """However clear: eight coins fall the same way more often than that."""
    for rounds in range(NEEDED + 1):
        ours, theirs = dict.fromkeys(range(rounds), 2.0), dict.fromkeys(range(rounds), 1.0)
        ours = {at: value + at / 100 for at, value in ours.items()}
        assert compared("cpu", "b", "a", ours, theirs).called is (rounds >= NEEDED)


@pytest.mark.parametrize(("ratio", "called"), [(1.01, False), (0.99, False), (1.1, True)])
def test_a_difference_that_is_not_worth_a_change_is_none(ratio: float, called: bool) -> None:
    """One per cent, shown without doubt, is still one per cent."""
    theirs = {at: 1 + at / 100 for at in range(12)}
    ours = {at: value * ratio for at, value in theirs.items()}
    assert compared("cpu", "b", "a", ours, theirs).called is called
    assert not compared("memory", "b", "a", ours, theirs, least=1.0).called


def test_rounds_that_only_one_side_has_are_left_out() -> None:
    """A variant that failed half-way is compared by what it has."""
    found = compared("cpu", "b", "a", {0: 2.0, 1: 2.0}, {1: 1.0, 2: 1.0})
    assert (found.ratio, found.rounds) == (2.0, 1)
    nothing = compared("cpu", "b", "a", {0: 2.0}, {1: 1.0})
    assert (nothing.chance, nothing.rounds, nothing.called) == (1.0, 0, False)
    zero = compared("cpu", "b", "a", {0: 0.0, 1: 1.0}, {0: 0.0, 1: 1.0})
    assert (zero.ratio, zero.rounds) == (1.0, 1)
