"""What a run does when things go wrong, and what it writes."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import gateways
from benchmarks.goals import GOALS
from benchmarks.measures import Measure, Section, not_shown
from benchmarks.page import page


def _whole(_smoke: bool) -> Iterator[Measure]:
    yield Measure("a | b", 4.0, spread=(3.0, 5.0), runs=7, at_least=3.0, peer="peer 1.0")
    yield not_shown("c", "no peer", at_least=3.0)


def _interrupted(_smoke: bool) -> Iterator[Measure]:
    yield Measure("first", 4.0, at_least=3.0)
    raise KeyboardInterrupt


def _broken(_smoke: bool) -> Iterator[Measure]:
    yield Measure("first", 4.0, at_least=3.0)
    raise OSError("the disk is full\nreally")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for the results, with two goals and one other section."""
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(
        command,
        "GOALS",
        (Section("P1", "w", _interrupted, wanted="3x"), Section("P2", "w", _whole, wanted="3x")),
    )
    monkeypatch.setattr(command, "MORE", (Section("other", "w", _broken),))
    return tmp_path / "results"


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments])
    return command.main()


def test_an_interrupted_run_writes_what_it_has(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of measuring is not thrown away; and half a goal is not a goal that is met."""
    assert _run(monkeypatch) == 1
    (found,) = json.loads((results / "goals.json").read_text())
    assert found["name"] == "P1"
    assert found["verdict"] == "not shown"
    assert [part["work"] for part in found["measures"]] == ["first", "the rest"]
    assert found["measures"][0]["verdict"] == "met"
    assert "interrupted" in (results / "README.md").read_text()


def test_what_fails_stops_nothing_else_and_other_results_stay(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing library must not cost the rest of the run, nor what was measured before."""
    assert _run(monkeypatch, "P2") == 0
    assert _run(monkeypatch, "other", "P2") == 1
    assert [one["name"] for one in json.loads((results / "goals.json").read_text())] == ["P2"]
    (other,) = json.loads((results / "results.json").read_text())
    assert other["interrupted"] == "OSError: the disk is full"
    assert "1 passed, 1 failed other" in capsys.readouterr().out


def test_a_run_without_a_figure_leaves_the_figures_there_were(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the first second must not wipe out yesterday's hour."""
    assert _run(monkeypatch, "P2") == 0

    def at_once(_smoke: bool) -> Iterator[Measure]:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "GOALS", (Section("P2", "w", at_once),))
    assert _run(monkeypatch, "P2") == 1
    (found,) = json.loads((results / "goals.json").read_text())
    assert found["measures"][0]["figure"] == 4.0


def test_an_unknown_name_is_refused_with_those_there_are(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An hour later is too late to hear of it."""
    with pytest.raises(SystemExit, match="2"):
        _run(monkeypatch, "P11")
    assert "no benchmark P11; expected some of P1, P2, other" in capsys.readouterr().err
    assert not results.exists()


def test_a_smoke_run_writes_nothing(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured tiny must not look like a result."""
    assert _run(monkeypatch, "P2", "--smoke") == 0
    assert not results.exists()


def test_the_page_says_what_is_not_shown_and_why() -> None:
    """A reader sees verdicts first."""
    found, _ = command.run(Section("P2", "work", _whole, "peer", "3x"), smoke=True)
    text = page([found], [], ["x.svg"])
    assert "| [P2](#p2) | work | peer | 3x | **not shown** (1 of 2 parts) |" in text
    assert "| a \\| b | 4.00x | 3.00 to 5.00 | 7 | at least 3x | met |" in text
    assert "- c: no peer" in text
    assert "![x](x.svg)" in text


def test_there_are_ten_goals() -> None:
    """goals.json is read by name."""
    assert [goal.name for goal in GOALS] == [f"P{number}" for number in range(1, 11)]


def test_a_run_out_of_time_keeps_what_it_has(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an hour before the meeting is enough for some of it."""

    def endless(_smoke: bool) -> Iterator[Measure]:
        yield Measure("first", 4.0, at_least=3.0)
        time.sleep(100)

    monkeypatch.setattr(command, "GOALS", (Section("P1", "w", endless),))
    assert _run(monkeypatch, "--minutes", "0.005") == 1
    (found,) = json.loads((results / "goals.json").read_text())
    assert found["measures"][0]["figure"] == 4.0
    assert found["verdict"] == "not shown"


def test_too_little_memory_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that swaps measures its disk."""
    monkeypatch.setattr(gateways, "ROOM", 1e6)
    with pytest.raises(RuntimeError, match="GiB of memory are free, expected"):
        gateways.check_room()


def test_a_collector_that_cannot_be_run_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A typing error must not read as a Collector that was not there."""
    monkeypatch.setenv("OTELCOL", str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="expected the Collector's binary"):
        gateways.collector()
    monkeypatch.delenv("OTELCOL")
    assert gateways.collector() == []
