"""The folder's README is executed."""

import re
from pathlib import Path
from typing import Any

import pytest

import rxotlp.bench
from rxotlp.bench import Variants, compare, workload
from rxotlp.bench.results import FIGURES

README = Path(rxotlp.bench.__file__).with_name("README.md").read_text(encoding="utf-8")
PYTHON = {
    text.splitlines()[0].removeprefix("# "): text
    for text in re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
}


def test_the_first_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a tenth of the time."""
    monkeypatch.chdir(tmp_path)
    exec(PYTHON["batches.py"].replace("time=20", "time=2"), {})
    assert "CPU µs/item" in capsys.readouterr().out
    assert (tmp_path / "batches.svg").exists()


def test_the_grid_is_one() -> None:
    """Every combination runs, and drops what it says."""
    scope: dict[str, Any] = {}
    exec(PYTHON["grid.py"], scope)
    grid = scope["gateway"]
    assert isinstance(grid, Variants)
    assert len(grid) == 8
    only = "sync, max_items=512, fused=True"
    assert f'--only "{only}"' in README
    found = compare(grid, workload("traces", items=2000), runs=1, only=[only], progress=False)
    assert found.variants[only].problem is None


def test_the_fixture_s_example_is_a_test() -> None:
    """What it asserts about is there."""
    scope: dict[str, Any] = {}
    exec(PYTHON["test_speed.py"], scope)

    def small(variants: Any, time: float) -> Any:
        return compare(variants, workload(items=20_000), runs=3, progress=False)

    scope["test_large_batches_pay"](small)


def test_numbers_and_names_are_those_of_the_code() -> None:
    """Text and code part ways quietly."""
    from rxotlp.bench import verdicts, work

    assert f"{verdicts.ALPHA:.1%}".replace("%", " %") in README
    assert f"{verdicts.LEAST:.0%}".replace("%", " %") in README
    assert f"fewer than {verdicts.NEEDED} rounds" in README
    assert f"{work.MOST_BYTES >> 20} MiB" in README
    for figure in FIGURES:
        assert f"`{figure.name}`" in README
