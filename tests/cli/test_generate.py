"""`rxotlp generate` as a user has it: a process, a file, an endpoint."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rxotlp import Pipeline, Signal, exporters, sources
from rxotlp import operators as ops
from tests.support.otlp_http_server import closed_port


def command(*arguments: str) -> list[str]:
    """What a shell would run."""
    return [sys.executable, "-m", "rxotlp", "generate", *arguments]


def generate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_file_has_as_many_items_as_asked_for(tmp_path: Path) -> None:
    """A sample to try things with, whose numbers are known."""
    done = generate(tmp_path, "--items", "2000", "-o", "x.jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    assert "export: received=2000 delivered=2000" in done.stdout
    inspected = subprocess.run(
        [sys.executable, "-m", "rxotlp", "inspect", "x.jsonl", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    signals = json.loads(inspected.stdout)["signals"]
    assert sum(one["records"] for one in signals.values()) == 2000


def test_an_endpoint_gets_it(tmp_path: Path) -> None:
    """What a load test is."""
    memory = exporters.Memory()
    receiver = sources.otlp(grpc=None, http="127.0.0.1:0").pipe(ops.export(memory))
    with Pipeline(receiver) as backend:
        endpoint = f"http://{backend.addresses['http']}"
        done = generate(tmp_path, "--rate", "5000", "--duration", "0.4", "--endpoint", endpoint)
        assert done.returncode == 0, done.stderr
        assert memory.items == 2000


def test_ctrl_c_ends_a_load_without_an_end(tmp_path: Path) -> None:
    """Nothing that was counted is missing, though it was interrupted."""
    with subprocess.Popen(
        command("--rate", "100", "-o", "x.jsonl"), cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        file = tmp_path / "x.jsonl"
        while not file.exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    lines = len(file.read_text().splitlines())
    assert f"export: received={lines * 10} delivered={lines * 10}" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--items", "0"], "generate(items=0): expected 1 or more"),
        (["--duration", "1"], "expected a rate"),
        (["--signal", "profiles"], "expected traces, metrics or logs"),
        (["--items", "1", "-o", "x.pb"], "expected one --signal"),
        (["--items", "1", "-o", "x.pb.zst"], "expected one --signal"),
        (["--items", "1", "-o", "no/such/x.jsonl"], "x.jsonl: no directory no/such"),
        (["--items", "1", "-o", "."], "expected a file, this is a directory"),
        (["-o", "x", "--endpoint", "http://x"], "expected --output or --endpoint, not both"),
        (["--endpoint", "ftp://x"], "expected http://HOST"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    """No call stack for a slip."""
    done = generate(tmp_path, *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_cannot_be_written_is_said_and_the_status_tells(tmp_path: Path) -> None:
    """A script must not take an empty disk for a sample."""
    done = generate(tmp_path, "--items", "10", "-o", "/dev/full")
    assert done.returncode == 3
    assert "/dev/full: No space left on device" in done.stderr


@pytest.mark.parametrize("ending", ["jsonl.gz", "binpb.zst"])
def test_a_file_is_compressed_as_its_ending_says(tmp_path: Path, ending: str) -> None:
    """A plain file with the name of a compressed one is of no use to other tools."""
    done = generate(tmp_path, "--items", "1000", "--signal", "logs", "-o", f"x.{ending}")
    assert (done.returncode, done.stderr) == (0, "")
    magic = {"jsonl.gz": b"\x1f\x8b", "binpb.zst": b"\x28\xb5\x2f\xfd"}[ending]
    assert (tmp_path / f"x.{ending}").read_bytes().startswith(magic)
    memory = exporters.Memory()
    source = sources.file(tmp_path / f"x.{ending}", signal=Signal.LOGS)
    with Pipeline(source.pipe(ops.export(memory))) as reading:
        assert reading.wait(30)
    assert memory.items == 1000


def test_an_endpoint_that_is_down_ends_it_with_a_status(tmp_path: Path) -> None:
    """A load test against nothing must not run for ever after its last item."""
    endpoint = f"http://127.0.0.1:{closed_port()}"
    done = generate(tmp_path, "--items", "100", "--endpoint", endpoint)
    assert done.returncode == 3, done.stderr
    assert "cannot connect" in done.stderr
    assert "given up after 5 attempts" in done.stderr
