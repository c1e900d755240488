"""`rxotlp graph` as a user has it: a process, a module, text for Mermaid."""

import subprocess
import sys
from pathlib import Path

import pytest

APP = """
import reactivex as rx
from rxotlp import Pipeline, exporters, sources
from rxotlp import operators as ops

stream = sources.otlp().pipe(ops.batch(), ops.export(exporters.File("spans.jsonl")))
pipeline = Pipeline(stream)
twice = sources.otlp().pipe(ops.batch(name="x"), ops.batch(name="x"))
number = 7
"""


def graph(folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    (folder / "app.py").write_text(APP)
    return subprocess.run(
        [sys.executable, "-m", "rxotlp", "graph", target],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("target", ["app:stream", "app:pipeline"])
def test_it_prints_a_flowchart_and_starts_nothing(tmp_path: Path, target: str) -> None:
    """It is run beside the gateway that has the ports, and in documentation builds."""
    done = graph(tmp_path, target)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("flowchart LR\n")
    for label in ('(["otlp"])', '["batch"]', '["export"]', '[("File to spans.jsonl")]'):
        assert label in done.stdout
    assert not (tmp_path / "spans.jsonl").exists()


@pytest.mark.parametrize(
    ("target", "status", "says"),
    [
        ("app:number", 2, "expected a stream"),
        ("nowhere:stream", 2, "no module 'nowhere'"),
        ("app:twice", 1, "two stages are named 'x'"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(
    tmp_path: Path, target: str, status: int, says: str
) -> None:
    """No call stack for a slip."""
    done = graph(tmp_path, target)
    assert done.returncode == status
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
