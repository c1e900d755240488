"""`rxotlp convert` as a user has it: a process, files, pipes and what is wrong with them."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

LINE = '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"%s"}}]}]}]}\n'
TRACES = '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"x"}]}]}]}\n'


def convert(
    folder: Path, *arguments: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "rxotlp", "convert", *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("ending", ["binpb", "pb.gz", "proto.zst"])
def test_there_and_back_is_the_same_file(tmp_path: Path, ending: str) -> None:
    """Whoever converts an archive deletes the original."""
    text = "".join(LINE % body for body in ("a", "b", "ü"))
    (tmp_path / "in.jsonl").write_text(text, encoding="utf-8")
    there = convert(tmp_path, "in.jsonl", f"x.{ending}")
    assert (there.returncode, there.stderr) == (0, b"")
    back = convert(tmp_path, f"x.{ending}", "back.jsonl.gz", "--signal", "logs")
    assert (back.returncode, back.stderr) == (0, b"")
    assert gzip.decompress((tmp_path / "back.jsonl.gz").read_bytes()).decode() == text


def test_a_broken_line_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    """One bad line of a million must not cost the others, nor pass unseen."""
    (tmp_path / "in.jsonl").write_text(LINE % "a" + "{nonsense\n" + LINE % "b")
    done = convert(tmp_path, "in.jsonl", "out.jsonl")
    assert done.returncode == 3
    assert b"in.jsonl: line 2: malformed JSON" in done.stderr
    assert b"1 records could not be read" in done.stderr
    assert (tmp_path / "out.jsonl").read_text() == LINE % "a" + LINE % "b"


def test_it_reads_stdin_and_writes_stdout(tmp_path: Path) -> None:
    """It is a filter in a shell's pipe, and says `stdin` when that is broken."""
    done = convert(tmp_path, "-", "-", "--to", "json", stdin=(LINE % "a" + "nonsense\n").encode())
    assert done.stdout.decode() == LINE % "a"
    assert done.stderr.startswith(b"rxotlp: stdin: line 2: ")


def test_a_reader_that_has_seen_enough_is_no_traceback(tmp_path: Path) -> None:
    """`| head` is how people look at a file."""
    (tmp_path / "in.jsonl").write_text(LINE % ("a" * 1000) * 1000)
    process = subprocess.Popen(
        [sys.executable, "-m", "rxotlp", "convert", "in.jsonl", "-", "--to", "json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_what_fails_leaves_the_old_output_and_nothing_beside_it(tmp_path: Path) -> None:
    """Half a file under the right name is worse than none."""
    (tmp_path / "in.jsonl").write_text(LINE % "a" + TRACES)
    (tmp_path / "out.pb").write_text("old")
    done = convert(tmp_path, "in.jsonl", "out.pb")
    assert done.returncode == 2
    assert b"record 2 has traces, those before it logs" in done.stderr
    assert (tmp_path / "out.pb").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.pb"]


def test_a_file_may_be_converted_onto_itself(tmp_path: Path) -> None:
    """Compressing in place is what an option for compression is for."""
    (tmp_path / "x.jsonl").write_text(LINE % "a")
    assert convert(tmp_path, "x.jsonl", "x.jsonl", "--compression", "gzip").returncode == 0
    assert gzip.decompress((tmp_path / "x.jsonl").read_bytes()).decode() == LINE % "a"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("nowhere", "x.pb"), 1, "nowhere: No such file or directory"),
        ((".", "x.pb"), 1, ".: Is a directory"),
        (("in.jsonl", "x.foo"), 2, "expected one of the endings .json,"),
        (("in.jsonl", "-"), 2, "or --to json or --to proto"),
        (("in.jsonl", "folder.pb"), 2, "expected a file, this is a directory"),
        (("in.jsonl", "no/x.pb"), 2, "convert no/x.pb: no directory"),
        (("text", "x.jsonl"), 2, "expected --signal"),
        (("text", "x.jsonl", "--signal", "logs"), 1, "text: record 1, at byte 0"),
    ],
)
def test_what_cannot_be_followed_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], status: int, says: str
) -> None:
    """Whoever typed it reads the reason, not our call stack, and finds no debris."""
    (tmp_path / "in.jsonl").write_text(LINE % "a")
    (tmp_path / "text").write_text("hello there, this is no telemetry")
    (tmp_path / "folder.pb").mkdir()
    done = convert(tmp_path, *arguments)
    assert done.returncode == status, done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("rxotlp: ")
    assert says in line
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "text", "folder.pb"}
