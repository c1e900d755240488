"""What decides whether a goal is met is no benchmark, and is tested."""

import pytest

from benchmarks.measures import Measure, alternating, named, not_shown, verdict


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (Measure("w", 3.0, at_least=3.0), "met"),
        (Measure("w", 2.99, at_least=3.0), "missed"),
        (Measure("w", 3.0, at_most=3.0), "met"),
        (Measure("w", 3.01, at_most=3.0), "missed"),
        (Measure("w", 3.0), "reported"),
        (not_shown("w", "no peer", at_least=3.0), "not shown"),
        (not_shown("w", "no peer"), "not shown"),
    ],
)
def test_a_verdict_is_what_the_figure_says(measure: Measure, expected: str) -> None:
    """A reader trusts this one word."""
    assert measure.verdict == expected


def test_a_goal_is_met_only_when_every_part_of_it_is() -> None:
    """An absent peer must never read as passed, and a missed part is not hidden by it."""
    met, missed = Measure("w", 4.0, at_least=3.0), Measure("w", 2.0, at_least=3.0)
    absent = not_shown("w", "no peer", at_least=3.0)
    reported = Measure("w", 0.1)
    assert verdict([met, reported]) == "met"
    assert verdict([met, absent]) == "not shown"
    assert verdict([met, absent, missed]) == "missed"
    assert verdict([reported]) == verdict([]) == "not shown"
    assert verdict([met], complete=False) == "not shown"


def test_the_median_counts_and_never_the_best_run() -> None:
    """One lucky run proves nothing."""
    measure = alternating("w", [1.0, 9.0, 2.0], at_least=3.0)
    assert (measure.figure, measure.spread, measure.runs) == (2.0, (1.0, 9.0), 3)
    assert measure.verdict == "missed"
    assert measure.wanted == "at least 3x"


def test_a_package_that_is_not_there_says_so() -> None:
    """A version that nobody could have is worse than none."""
    assert named("no-such-package-at-all") == "no-such-package-at-all, not installed"
