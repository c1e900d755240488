"""The fixture, in suites that are none of ours: pytest runs as processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
from rxotlp import operators as ops

def test_speed(compare_pipelines):
    found = compare_pipelines({"a": ops.batch(), "b": ops.batch(max_items=512)}, time=60, runs=2)
    assert found.baseline == "a"
"""
BROKEN = """
def test_speed(compare_pipelines):
    both = {"broken": lambda source: 1 / 0, "fine": lambda source: source}
    compare_pipelines(both, time=1, runs=1)
"""


def run(folder: Path, *arguments: str, suite: str = SUITE) -> subprocess.CompletedProcess[str]:
    """Run a suite of one test with warnings as errors."""
    (folder / "conftest.py").write_text('pytest_plugins = ["rxotlp.bench.pytest_plugin"]\n')
    (folder / "test_speed.py").write_text(suite)
    # Of these tests' own run, should it be spread over processes.
    environment = {name: text for name, text in os.environ.items() if "XDIST" not in name}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=environment,
    )


def test_it_compares_and_prints_the_table_at_the_end(tmp_path: Path) -> None:
    """With pytest-benchmark the figures are in its JSON."""
    done = run(tmp_path, "--benchmark-json=out.json")
    assert done.returncode == 0, done.stdout
    assert "compare_pipelines: test_speed.py::test_speed" in done.stdout
    assert "CPU µs/item" in done.stdout
    (row,) = json.loads((tmp_path / "out.json").read_text())["benchmarks"]
    found = row["extra_info"]["compare_pipelines"]
    assert len(found["variants"]["a"]["runs"]) == 2


def test_it_works_without_pytest_benchmark(tmp_path: Path) -> None:
    """Which is no dependency of anybody's pipeline."""
    done = run(tmp_path, "-p", "no:benchmark")
    assert done.returncode == 0, done.stdout
    assert "CPU µs/item" in done.stdout


@pytest.mark.parametrize(
    ("switch", "says", "rounds"),
    [("--benchmark-disable", "1 passed", 1), ("--benchmark-skip", "1 skipped", 0)],
)
def test_the_switches_of_pytest_benchmark_hold(
    tmp_path: Path, switch: str, says: str, rounds: int
) -> None:
    """CI runs it once, at tiny size, so that it does not rot; or leaves it out."""
    done = run(tmp_path, switch)
    assert done.returncode == 0, done.stdout
    assert says in done.stdout
    assert ("1 round, medians" in done.stdout) is bool(rounds)


def test_a_variant_that_fails_fails_the_test(tmp_path: Path) -> None:
    """In a line, without our frames."""
    done = run(tmp_path, suite=BROKEN)
    assert done.returncode == 1
    assert "broken: ZeroDivisionError: division by zero" in done.stdout
    assert "fine" in done.stdout


def test_without_asking_for_it_nothing_is_loaded() -> None:
    """No entry point: a suite that never heard of rxotlp must not import it."""
    from importlib.metadata import entry_points

    assert not [one for one in entry_points(group="pytest11") if "rxotlp" in one.value]
