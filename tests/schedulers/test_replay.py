"""What would have been decided: a recorded series in virtual time, and its picture."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from rxotlp.schedulers import (
    AdjustmentController,
    AdjustmentSettings,
    Metrics,
    VirtualScheduler,
    plot_decisions,
    read_series,
    replay,
    write_series,
)

PEAK = [
    Metrics(100.0 + 10 * at, 0.9 if 3 <= at < 8 else 0.3, 0.5, 0.02, {"alerts": 0.02})
    for at in range(40)
]


def test_a_series_replays_at_its_own_times() -> None:
    """An hour of production in a millisecond, and the same twice."""
    times: list[float] = []

    def follow(controller: AdjustmentController, clock: VirtualScheduler) -> None:
        controller.decisions.subscribe(lambda _: times.append(clock.clock))

    decisions = replay(PEAK, follow=follow)
    assert decisions == replay(PEAK)
    assert [one.action for one in decisions[:3]] == [
        "reduce_concurrency",
        "reduce_concurrency",
        "restore_concurrency",
    ]
    assert times[:3] == [40.0, 60.0, 100.0]
    assert decisions[-1].after == 8


def test_other_settings_decide_otherwise() -> None:
    """That is what a replay is for."""
    assert replay(PEAK, settings=AdjustmentSettings(cpu_high=0.95)) == []


def test_a_series_can_be_kept_in_a_file(tmp_path: Path) -> None:
    """What happened last night is looked at in the morning, elsewhere."""
    path = tmp_path / "series.jsonl"
    write_series(path, PEAK)
    assert read_series(path) == PEAK
    for line in (
        '{"at": 1}',
        "[1]",
        '{"at": "x", "cpu_usage": 1, "memory_usage": 1}',
        '{"at": 1, "cpu_usage": null, "memory_usage": 1}',
        '{"at": 1, "cpu_usage": 1, "memory_usage": 1, "latency": "slow"}',
        '{"at": 1, "cpu_usage": 1, "memory_usage": 1, "latencies": {"a": null}}',
        '{"at": 1, "cpu_usage": 1, "memory_usage": 1, "latencies": [1]}',
    ):
        path.write_text(f"{line}\n", encoding="utf-8")
        with pytest.raises(ValueError, match=r"series\.jsonl:1: expected a sample"):
            read_series(path)


def test_a_series_that_goes_back_in_time_is_refused() -> None:
    """Two files joined in the wrong order would be replayed as nonsense."""
    with pytest.raises(ValueError, match="in order of time"):
        replay(PEAK[::-1])
    assert replay([]) == []


def test_the_picture_shows_measurements_and_decisions() -> None:
    """It is looked at by people, in any browser, so it must be well-formed and complete."""
    decisions = replay(PEAK)
    text = plot_decisions(PEAK, decisions, title="A peak <of CPU>")
    root = ElementTree.fromstring(text)
    lines = [one for one in root.iter() if one.tag.endswith("polyline")]
    assert len(lines) == 5
    assert "A peak &lt;of CPU&gt;" in text
    for decision in decisions:
        assert f"{decision.action} to {decision.after}" in text
    assert ElementTree.fromstring(plot_decisions([], [])) is not None
