"""What it is time to do, and that no series of measurements leads out of the bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.adjusting import Adjuster, AdjustmentSettings, Decision, Metrics, PriorityClass

shares = st.floats(0.0, 1.2)
latencies = st.none() | st.floats(0.0, 5.0)
series = st.lists(st.tuples(shares, shares, latencies), max_size=60)
CLASSES = {"critical": PriorityClass(3, 0.05), "bulk": PriorityClass(0, 1.0)}
BUSY, FULL, SLOW, FINE = (0.9, 0.5, 0.01), (0.5, 0.92, 0.01), (0.5, 0.5, 0.2), (0.1, 0.1, 0.01)


def feed(
    adjuster: Adjuster, samples: list[tuple[float, float, float | None]]
) -> list[list[Decision]]:
    """What each sample led to."""
    return [
        adjuster.sample(
            Metrics(
                float(at), cpu, memory, latency, {} if latency is None else {"critical": latency}
            )
        )
        for at, (cpu, memory, latency) in enumerate(samples)
    ]


def actions(decisions: list[list[Decision]]) -> list[str]:
    """Their names, `-` for a sample that led to nothing."""
    return ["+".join(one.action for one in made) or "-" for made in decisions]


@pytest.mark.parametrize(
    ("sample", "action"),
    [
        (BUSY, "reduce_concurrency"),
        (FULL, "increase_batch_size"),
        (SLOW, "optimize_priorities"),
        ((0.9, 0.92, 0.2), "reduce_concurrency"),
        ((0.5, 0.92, 0.2), "increase_batch_size"),
    ],
)
def test_two_samples_act_and_then_two_more(sample: tuple[float, float, float], action: str) -> None:
    """The table of the analysis, in its order; one sample may be an accident."""
    adjuster = Adjuster(AdjustmentSettings(), CLASSES)
    assert actions(feed(adjuster, [sample] * 4)) == ["-", action, "-", action]


@pytest.mark.parametrize("sample", [BUSY, FULL, SLOW])
def test_one_sample_between_starts_the_count_again(sample: tuple[float, float, float]) -> None:
    """What comes and goes would otherwise throttle a healthy process bit by bit."""
    adjuster = Adjuster(AdjustmentSettings(), CLASSES)
    assert actions(feed(adjuster, [sample, FINE] * 5)) == ["-"] * 10


@pytest.mark.parametrize(
    ("sample", "back"),
    [
        (BUSY, "restore_concurrency"),
        (FULL, "restore_batch_size"),
        (SLOW, "restore_priorities"),
    ],
)
def test_three_calm_samples_go_a_step_back(sample: tuple[float, float, float], back: str) -> None:
    """A limit that never recovers turns every peak into a permanent loss."""
    adjuster = Adjuster(AdjustmentSettings(), CLASSES)
    feed(adjuster, [sample] * 2)
    assert actions(feed(adjuster, [FINE] * 3)) == ["-", "-", back]
    feed(adjuster, [FINE] * 60)
    assert (adjuster.concurrency, adjuster.batch_size) == (8, 8192)
    assert set(adjuster.boosts.values()) == {0.0}


def test_nothing_is_restored_between_the_thresholds_or_while_cpu_or_memory_is_over() -> None:
    """More concurrency because CPU is idle would make a full memory fuller."""
    adjuster = Adjuster(AdjustmentSettings())
    feed(adjuster, [BUSY] * 2)
    feed(adjuster, [(0.7, 0.1, None)] * 9)
    assert adjuster.concurrency == 4
    feed(adjuster, [(0.1, 0.92, None)] * 9)
    assert adjuster.concurrency == 4


def test_latency_that_is_over_keeps_nothing_from_going_back() -> None:
    """A backend that always takes longer would turn one peak of CPU into a permanent loss."""
    adjuster = Adjuster(AdjustmentSettings())
    feed(adjuster, [BUSY] * 2)
    assert adjuster.concurrency == 4
    feed(adjuster, [(0.1, 0.1, 9.0)] * 12)
    assert adjuster.concurrency == 8


def test_a_class_that_misses_its_target_gains_by_how_far_and_no_other_does() -> None:
    """Weighted: twice the target is one step, three times and more is two."""
    adjuster = Adjuster(AdjustmentSettings(), CLASSES)
    made = adjuster.optimize_priorities({"critical": 0.1, "bulk": 0.9})
    assert made is not None
    assert made.before == {"critical": 0.0, "bulk": 0.0}
    assert made.after == {"critical": 1.0, "bulk": 0.0}
    adjuster.optimize_priorities({"critical": 50.0})
    assert adjuster.boosts["critical"] == 3.0


def test_memory_that_is_nearly_gone_refuses_at_once_and_admits_after_three() -> None:
    """Ten more seconds of intake are what it takes to be killed."""
    adjuster = Adjuster(AdjustmentSettings())
    full = (0.9, 0.95, None)
    assert actions(feed(adjuster, [full])) == ["refuse"]
    assert adjuster.refusing
    assert "admit" not in actions(feed(adjuster, [(0.1, 0.93, None)] * 9))
    assert actions(feed(adjuster, [(0.7, 0.8, None)] * 3)) == ["-", "-", "admit"]
    assert not adjuster.refusing


def test_a_decision_carries_the_figures_that_led_to_it() -> None:
    """Who reads it a week later has nothing else."""
    adjuster = Adjuster(AdjustmentSettings())
    (decision,) = feed(adjuster, [BUSY, BUSY])[1]
    assert decision.metrics == Metrics(1.0, 0.9, 0.5, 0.01, {"critical": 0.01})
    assert (decision.before, decision.after) == (8, 4)
    assert decision.reason == "CPU 0.9 > 0.8 in 2 samples"


@given(series, st.integers(1, 4), st.integers(1, 4))
def test_no_series_leads_out_of_the_bounds(
    samples: list[tuple[float, float, float | None]], to_act: int, to_relax: int
) -> None:
    """Whatever is measured, the limits stay usable, and each change is told exactly once."""
    settings = AdjustmentSettings(
        to_act=to_act, to_relax=to_relax, min_concurrency=2, max_batch_size=20000, max_boost=2.5
    )
    adjuster = Adjuster(settings, CLASSES)
    known: dict[str, Any] = {"concurrency": 8, "batch_size": 8192, "priorities": adjuster.boosts}
    for made in feed(adjuster, samples):
        against = [one for one in made if one.action.startswith(("reduce", "increase"))]
        back = [one for one in made if one.action.startswith("restore")]
        assert len(against) <= 1
        assert not (against and back)
        for one in made:
            name = one.action.partition("_")[2]
            if name:
                assert known[name] == one.before != one.after
                known[name] = one.after
    assert known["concurrency"] == adjuster.concurrency
    assert known["batch_size"] == adjuster.batch_size
    assert known["priorities"] == adjuster.boosts
    assert 2 <= adjuster.concurrency <= 8
    assert 8192 <= adjuster.batch_size <= 20000
    assert all(0 <= boost <= 2.5 for boost in adjuster.boosts.values())


@given(series)
def test_calm_ends_where_it_began(samples: list[tuple[float, float, float | None]]) -> None:
    """The way back is complete, from anywhere."""
    adjuster = Adjuster(AdjustmentSettings(), CLASSES)
    feed(adjuster, samples)
    feed(adjuster, [FINE] * 200)
    assert (adjuster.concurrency, adjuster.batch_size, adjuster.refusing) == (8, 8192, False)
    assert set(adjuster.boosts.values()) == {0.0}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"to_act": 0}, r"to_act=0\): expected a whole number of 1 or more"),
        ({"concurrency": 2.5}, "expected a whole number"),
        ({"cpu_high": float("nan")}, "expected a number above 0"),
        ({"retry_after": True}, "expected a number above 0"),
        ({"cpu_low": 0.9}, "expected cpu_low to be at most cpu_high"),
        ({"min_concurrency": 9}, "expected min_concurrency to be at most concurrency"),
        ({"concurrency_factor": 1.0}, "it would reduce nothing"),
        ({"batch_factor": 1.0}, "it would increase nothing"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], text: str) -> None:
    """A threshold below its way back would swing for ever."""
    with pytest.raises(ValueError, match=text):
        AdjustmentSettings(**settings)


@pytest.mark.parametrize("arguments", [{"priority": float("inf")}, {"target": 0}, {"target": "1"}])
def test_a_class_that_cannot_work_is_refused(arguments: dict[str, Any]) -> None:
    """It would be found out when the first latency is late."""
    with pytest.raises(ValueError, match="PriorityClass"):
        PriorityClass(**arguments)
