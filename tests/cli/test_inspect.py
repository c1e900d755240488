"""`rxotlp inspect` as a user has it: a process and a file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rxotlp.cli.inspect import MAX_KEYS, OTHERS, _Keys

SPAN = (
    '{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name",'
    '"value":{"stringValue":"%s"}}]},"scopeSpans":[{"spans":[{"name":"%s",'
    '"startTimeUnixNano":"%d"}]}]}]}\n'
)
LOG = '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityText":"INFO"}]}]}]}\n'
POINT = (
    '{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"load","gauge":'
    '{"dataPoints":[{"timeUnixNano":"5","asDouble":1}]}}]}]}]}\n'
)
TEXT = (
    SPAN % ("shop", "GET /", 1_000_000_000)
    + SPAN % ("shop", "GET /", 3_000_000_000)
    + "{nonsense\n"
    + SPAN % ("pay", "POST /", 2_000_000_000)
    + LOG
    + POINT
)


def inspect(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "rxotlp", "inspect", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_counts_what_is_in_a_file(tmp_path: Path) -> None:
    """The first question to a file from somebody else."""
    (tmp_path / "x.jsonl").write_text(TEXT)
    done = inspect(tmp_path, "x.jsonl", "--json", "--top", "1")
    assert done.returncode == 3
    assert done.stderr.startswith("rxotlp: x.jsonl: line 3: malformed JSON")
    found = json.loads(done.stdout)
    assert found["broken"] == 1
    assert list(found["signals"]) == ["traces", "metrics", "logs"]
    traces = found["signals"]["traces"]
    assert (traces["requests"], traces["records"]) == (3, 3)
    assert traces["services"] == {"shop": 2, OTHERS: 1}
    assert traces["names"] == {"GET /": 2, OTHERS: 1}
    assert traces["first"] == "1970-01-01T00:00:01.000000000Z"
    assert traces["last"] == "1970-01-01T00:00:03.000000000Z"
    parts = traces["bytes_of_records"] + traces["bytes_of_resources_and_scopes"]
    assert parts == traces["bytes"] > 0
    assert found["signals"]["logs"]["names"] == {"INFO": 1}
    assert found["signals"]["logs"]["first"] is None
    assert found["signals"]["metrics"]["names"] == {"load": 1}


def test_it_is_a_table_for_people(tmp_path: Path) -> None:
    """Somebody at a terminal reads it."""
    (tmp_path / "x.jsonl").write_text(TEXT)
    out = inspect(tmp_path, "x.jsonl").stdout
    assert "1970-01-01T00:00:03.000000000Z" in out
    assert ["services", "shop", "2"] in [line.split() for line in out.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("nowhere",), 1, "nowhere: No such file or directory"),
        ((".",), 1, ".: Is a directory"),
        (("text",), 2, "expected --signal"),
        (("text", "--signal", "logs"), 1, "text: record 1, at byte 0"),
    ],
)
def test_what_cannot_be_followed_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], status: int, says: str
) -> None:
    """Whoever typed it reads the reason, not our call stack."""
    (tmp_path / "text").write_text("hello there, this is no telemetry")
    done = inspect(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    (line,) = done.stderr.splitlines()
    assert says in line


def test_names_without_number_are_counted_together() -> None:
    """A file with an id in every span name must not fill the memory."""
    keys = _Keys()
    for number in range(MAX_KEYS + 5):
        keys.add(str(number))
    assert keys.top(2) == {"0": 1, "1": 1, OTHERS: MAX_KEYS + 3}
