"""Results: tables, JSON, pictures."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from rxotlp.bench import Comparison, Measured, Run
from rxotlp.bench.results import FIGURES, NOT_MEASURED
from rxotlp.bench.table import books, number


def run(round: int, *, scale: float = 1.0, memory: int | None = 3 << 20) -> Run:
    """A run that never was; `scale` makes it slower."""
    noise = 1 + round / 1000
    return Run(
        items=1000,
        requests=10,
        seconds=0.5 * scale * noise,
        cpu_seconds=0.25 * scale * noise,
        latency={"p50": 0.001 * scale, "p90": 0.002, "p99": 0.003 * noise, "max": 0.004},
        memory=memory,
        exports=2,
        export_items=500,
        closed={"batch": {"items": 1, "end": 1}},
        outcomes={"delivered": 990, "filtered": 10, "dropped": 0, "rejected": 0, "failed": 0},
        books=["batch: received=1000 sent=1000"],
        logged=[],
        round=round,
    )


def comparison() -> Comparison:
    """Three variants, one of them slower and one that failed."""
    return Comparison(
        "traces, made up",
        {"machine": "Linux x86_64, 2 CPUs", "rxotlp": "0"},
        {
            "first & best": Measured("sync", [run(at) for at in range(10)]),
            "slow": Measured("async", [run(at, scale=1.5) for at in range(10)]),
            "same": Measured("sync", [run(at) for at in range(10)]),
            "broken": Measured("sync", [], "it <broke>"),
        },
        ["a note"],
    )


def test_the_table_has_medians_spread_verdicts_and_what_went_wrong() -> None:
    """Everything that a reader needs, where `print` puts it."""
    text = str(comparison())
    for part in (
        "traces, made up",
        "10 rounds, medians and quartiles",
        "1991 (1987 to 1996)",
        "items 1, end 1",
        "- slow: 33% slower (0.67 to 0.67 times), 50% more CPU (1.50 to 1.50 times)",
        "- same: no difference shown",
        "! broken: failed: it <broke>",
        "! a note",
        *NOT_MEASURED,
    ):
        assert part in text
    assert "books of slow\n  batch: received=1000 sent=1000" in books(comparison())


def test_json_can_be_read_back() -> None:
    """A picture or a verdict can be made again without running anything."""
    found = comparison()
    read = json.loads(found.to_json())
    again = Comparison.from_json(found.to_json())
    assert again == found
    assert again.differences == found.differences
    slow = read["variants"]["slow"]
    assert slow["figures"]["cpu"]["median"] == pytest.approx(376.7, abs=0.1)
    assert len(slow["runs"]) == 10
    assert slow["runs"][0]["closed"] == {"batch": {"items": 1, "end": 1}}
    assert read["not_measured"] == list(NOT_MEASURED)
    assert [one["called"] for one in read["differences"] if one["variant"] == "slow"][:3] == [
        True
    ] * 3


def test_pictures_are_png_and_svg(tmp_path: Path) -> None:
    """Every run is drawn, and text stays text."""
    found = comparison()
    png = found.save(tmp_path / "a.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    svg = found.save(tmp_path / "a.svg").read_text()
    ET.fromstring(svg)
    assert svg.count("<use ") > 3 * 10 * len(FIGURES)
    for name in ("slow", "first &amp; best", *(figure.title for figure in FIGURES)):
        assert f">{name}<" in svg


@pytest.mark.parametrize("variants", [{}, {"a": Measured("sync")}])
def test_nothing_can_be_written_too(variants: dict[str, Measured], tmp_path: Path) -> None:
    """Interrupted before the first run, or none worked."""
    found = Comparison("traces", {}, variants, interrupted=True)
    for ending in ("json", "txt", "png", "svg"):
        assert found.save(tmp_path / f"a.{ending}").stat().st_size
    assert found.differences == []
    assert found.baseline is None


def test_one_run_without_memory_can_be_drawn(tmp_path: Path) -> None:
    """The smallest result, on a system that tells no memory."""
    found = Comparison("traces", {}, {"a": Measured("sync", [run(0, memory=None)])})
    assert found.save(tmp_path / "a.svg").exists()
    assert str(found).count("2000 (2000 to 2000)") == 1


def test_without_matplotlib_only_pictures_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    found = comparison()
    for ending in ("png", "svg"):
        with pytest.raises(ImportError, match=r"pip install 'rxotlp\[bench\]'"):
            found.save(tmp_path / f"a.{ending}")
    assert found.save(tmp_path / "a.json").exists()
    assert found.save(tmp_path / "a.txt").exists()


@pytest.mark.parametrize(
    ("path", "says"), [("a.gif", "ends in .json, .txt, .png, .svg"), ("x/a.json", "no directory")]
)
def test_where_it_cannot_be_written_is_said(path: str, says: str, tmp_path: Path) -> None:
    """Before anything is drawn."""
    with pytest.raises(ValueError, match=says):
        comparison().save(tmp_path / path)


def test_a_difference_is_asked_for_by_name() -> None:
    """As in a test of one's own; a slip is told with the names that there are."""
    found = comparison()
    slow = found.difference("slow", "cpu")
    assert (slow.baseline, slow.called, round(slow.ratio, 2)) == ("first & best", True, 1.5)
    with pytest.raises(KeyError, match=r"there are 'items_per_second', 'cpu'.* of 'slow', 'same'"):
        found.difference("fast")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0447, "0.0447"), (0.0, "0"), (999.0, "999"), (1991.4, "1991"), (45_210.0, "45.2 k"),
     (999_999.0, "1000 k"), (4.49e6, "4.49 M"), (123.4e6, "123 M")],
)  # fmt: skip
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    """Nobody measures more of them."""
    assert number(value) == shown


def test_rich_shows_what_print_does() -> None:
    """A name in brackets is no markup."""
    from rich.console import Console

    from rxotlp.bench.table import rich_text

    found = comparison()
    found.variants["[red]slow"] = found.variants.pop("slow")
    console: Any = Console(width=240, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(rich_text(found))
    console.file.close()
    shown = console.export_text()
    for part in ("[red]slow", "1991 (1987 to 1996)", "no difference shown", NOT_MEASURED[0]):
        assert part in shown


def test_only_core_dependencies_are_needed_to_compare() -> None:
    """Tables and JSON for everybody; rich and matplotlib come with extras."""
    code = (
        "import sys\n"
        "for name in ('rich', 'typer', 'matplotlib', 'uvloop'): sys.modules[name] = None\n"
        "from rxotlp import operators as ops\n"
        "from rxotlp.bench import Variant, compare, workload\n"
        "work = workload(items=1000)\n"
        "found = compare({'a': Variant(ops.batch(), 'async')}, work, runs=1, progress=True)\n"
        "print(found)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "CPU µs/item" in done.stdout
    assert "2/2" in done.stderr
