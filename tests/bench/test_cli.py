"""`rxotlp bench` as a user has it: a process, a module, tables and files."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import rxotlp.cli.bench as command
from rxotlp.cli import app

APP = """
import time
from rxotlp import operators as ops
from rxotlp.bench import Variant, variants

both = {"small": ops.batch(max_items=100), "large": ops.batch(max_items=1000)}
broken = {"fine": ops.batch(), "broken": lambda source: 1 / 0}
empty = {}
number = 7
one = ops.batch()

@variants(scheduler=["sync", "async"])
def grid(source):
    return source.pipe(ops.batch())

def slow(source):
    with open("calls", "a") as calls:
        calls.write("x")
    return source.pipe(ops.chain(lambda data: time.sleep(0.05) or data))

long = {"quick": ops.batch(), "slow": slow}
"""


def bench(
    folder: Path, target: str, *arguments: str, size: tuple[str, ...] = ("--items", "2000")
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, two rounds."""
    (folder / "app.py").write_text(APP)
    return subprocess.run(
        [sys.executable, "-m", "rxotlp", "bench", target, "--runs", "2", *size, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_it_prints_a_table_and_writes_files(tmp_path: Path) -> None:
    """JSON and pictures, as the endings say; nothing on stderr, which is no terminal here."""
    done = bench(tmp_path, "app:both", "-o", "a.json", "-o", "a.svg", "-o", "a.png", "--books")
    assert (done.returncode, done.stderr) == (0, "")
    assert "CPU µs/item" in done.stdout
    assert "books of large" in done.stdout
    assert "Not measured here:" in done.stdout
    read = json.loads((tmp_path / "a.json").read_text())
    assert {name: len(one["runs"]) for name, one in read["variants"].items()} == {
        "small": 2,
        "large": 2,
    }
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.svg").exists()


@pytest.mark.parametrize(
    ("target", "names"), [("app:grid", ["sync", "async"]), ("app:one", ["one"])]
)
def test_grids_and_single_functions_are_taken(
    tmp_path: Path, target: str, names: list[str]
) -> None:
    """What a module has, as it stands."""
    done = bench(tmp_path, target, "-o", "a.json", "-w", "logs", "-w", "metrics")
    assert done.returncode == 0
    assert list(json.loads((tmp_path / "a.json").read_text())["variants"]) == names
    assert done.stdout.startswith("logs + metrics, ")


def test_what_fails_is_told_and_the_rest_is_there(tmp_path: Path) -> None:
    """Status 1, for scripts."""
    done = bench(tmp_path, "app:broken")
    assert done.returncode == 1
    assert "! broken: failed: ZeroDivisionError: division by zero (" in done.stdout
    assert "\nfine " in done.stdout


def test_an_unknown_variant_is_told_and_the_known_ones_run(tmp_path: Path) -> None:
    """And the status says that not all was done."""
    done = bench(tmp_path, "app:both", "--only", "small", "--only", "huge")
    assert done.returncode == 1
    assert "no variant 'huge'; there are: 'small', 'large'" in done.stdout
    assert "\nsmall " in done.stdout


@pytest.mark.parametrize(
    ("target", "arguments", "says"),
    [
        ("app:number", (), "expected functions (source) -> stream by name"),
        ("app:empty", (), "it has no variants"),
        ("app:nothing", (), "has no attribute"),
        ("app:both", ("--only", "huge"), "no such variant"),
        ("app:both", ("-w", "spans.jsonl"), "no such file"),
        ("app:both", ("-o", "a.gif"), "ends in .json"),
        ("app:both", ("--rate", "0"), "rate=0"),
        ("app:both", ("--time", "0"), "time=0"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    """And status 2, before anything runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(command, "log_to_stderr", lambda *_: None)
    name = f"usage_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(APP)
    done = CliRunner().invoke(app, ["bench", target.replace("app", name), *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_matplotlib_the_rest_is_done(tmp_path: Path) -> None:
    """It is said at once, not after the minute that it takes."""
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not here')")
    done = bench(tmp_path, "app:one", "-o", "a.svg", "-o", "a.json")
    assert done.returncode == 1
    assert "a.svg: a picture needs matplotlib: pip install 'rxotlp[bench]'" in done.stderr
    assert (tmp_path / "a.json").exists()
    assert not (tmp_path / "a.svg").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_bench_writes_what_it_has(tmp_path: Path, number: int) -> None:
    """Ctrl-C, or a job that is out of time."""
    (tmp_path / "app.py").write_text(APP)
    process = subprocess.Popen(
        [sys.executable, "-m", "rxotlp", "bench", "app:long", "--runs", "1000", "--time", "600",
         "--items", "5000", "-o", "a.json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    with process:
        try:
            calls = tmp_path / "calls"
            until = time.monotonic() + 60  # the fifth call is in the second round
            while not calls.exists() or calls.stat().st_size < 5:
                assert time.monotonic() < until
                time.sleep(0.05)
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted; this is what there was" in err
    read = json.loads((tmp_path / "a.json").read_text())
    assert read["interrupted"]
    assert read["variants"]["quick"]["runs"]
    assert "interrupted in round" in out
