"""`File`."""

import errno
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rxotlp import Pipeline, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, FILTERED, Kind
from rxotlp.data import TelemetryData
from rxotlp.exporters import File, Memory
from rxotlp.schedulers import VirtualScheduler
from rxotlp.wire.signals import Signal

Make = Callable[..., TelemetryData]


def read(path: Path, signal: Signal = Signal.TRACES) -> list[TelemetryData]:
    """Every line of a file, decoded."""
    return [TelemetryData.from_json(signal, line) for line in path.read_text().splitlines()]


def test_each_element_is_one_line_of_otlp_json(tmp_path: Path, spans: Make) -> None:
    """Other tools read the OTLP file format line by line."""
    path = tmp_path / "out.jsonl"
    file = File(path)
    assert not path.exists()
    data = spans(2)
    assert file.export(data) is DELIVERED
    file.export(spans(1))
    first, second = read(path)
    assert first.message == data.message
    assert second.items == 1
    file.close()
    file.close()


def test_an_export_after_close_opens_again(tmp_path: Path, spans: Make) -> None:
    """A pipeline that is started again finds its exporter in working order."""
    path = tmp_path / "out.jsonl"
    file = File(path, append=False)
    file.export(spans(1))
    file.close()
    file.export(spans(1))
    file.close()
    assert len(read(path)) == 2


def test_append_false_empties_the_file_once(tmp_path: Path, spans: Make) -> None:
    """A run's output should not be mixed with the last one's, when so asked."""
    path = tmp_path / "out.jsonl"
    path.write_text("{}\n")
    kept, emptied = File(path), File(path, append=False)
    kept.export(spans(1))
    kept.close()
    assert len(read(path)) == 2
    emptied.export(spans(1))
    emptied.close()
    assert len(read(path)) == 1


def test_signal_in_the_path_makes_a_file_a_signal(tmp_path: Path, spans: Make, logs: Make) -> None:
    """Readers of the file format expect one kind of request a file."""
    file = File(tmp_path / "{signal}.jsonl")
    file.export(spans(1))
    file.export(logs())
    file.close()
    assert len(read(tmp_path / "traces.jsonl")) == 1
    assert len(read(tmp_path / "logs.jsonl", Signal.LOGS)) == 1


def test_c14_an_empty_request_writes_nothing(tmp_path: Path, spans: Make) -> None:
    """C14: a line with nothing in it is noise."""
    path = tmp_path / "out.jsonl"
    assert File(path).export(spans(0)) is FILTERED
    assert not path.exists()


def test_a_full_disk_leaves_no_half_line(
    tmp_path: Path, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short write followed by ENOSPC is what a full disk does; the retry stands alone."""
    path = tmp_path / "out.jsonl"
    file = File(path)
    file.export(spans(1))
    write = os.write
    calls = 0

    def full(descriptor: int, data: bytes | memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return write(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    outcome = file.export(spans(1))
    monkeypatch.undo()
    assert outcome.kind is Kind.FAILED
    assert "No space left" in outcome.reason
    assert len(read(path)) == 1
    assert file.export(spans(1)) is DELIVERED
    assert len(read(path)) == 2
    file.close()


def test_a_half_line_that_cannot_be_cut_off_spoils_no_other(
    tmp_path: Path, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When even truncating fails, the next line must not be glued to the half one."""
    path = tmp_path / "out.jsonl"
    file = File(path)
    write = os.write
    calls = 0

    def full(descriptor: int, data: bytes | memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return write(descriptor, data[:10])
        raise OSError(errno.EIO, "Input/output error")

    def stuck(descriptor: int, length: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(os, "ftruncate", stuck)
    assert file.export(spans(1)).kind is Kind.FAILED
    monkeypatch.undo()
    assert file.export(spans(1)) is DELIVERED
    file.close()
    half, whole = path.read_bytes().splitlines()
    assert len(half) == 10
    json.loads(whole)


def test_a_short_write_is_continued(
    tmp_path: Path, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may take a line in pieces without anything being wrong."""
    path = tmp_path / "out.jsonl"
    file = File(path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    assert file.export(spans(1)) is DELIVERED
    file.close()
    assert len(read(path)) == 1


def test_a_crashs_half_line_is_closed_before_the_next(tmp_path: Path, spans: Make) -> None:
    """Glued to it, an acknowledged line would be unreadable, which is a loss."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"resourceSp')
    file = File(path)
    file.export(spans(1))
    file.close()
    half, whole = path.read_bytes().splitlines()
    assert half == b'{"resourceSp'
    json.loads(whole)


def test_a_file_that_was_moved_away_is_followed_by_a_new_one(tmp_path: Path, spans: Make) -> None:
    """Log rotation moves files; writing on into a deleted one would lose data silently."""
    path = tmp_path / "out.jsonl"
    file = File(path)
    file.export(spans(1))
    path.rename(tmp_path / "out.jsonl.1")
    file.export(spans(2))
    file.close()
    assert [data.items for data in read(path)] == [2]


def test_a_path_that_cannot_be_written_is_a_retryable_failure(tmp_path: Path, spans: Make) -> None:
    """The folder may be made, or the disk mounted, a moment later."""
    outcome = File(tmp_path / "missing" / "out.jsonl").export(spans(1))
    assert outcome.kind is Kind.FAILED
    assert "missing/out.jsonl: No such file or directory" in outcome.reason


def test_unreadable_bytes_are_rejected(tmp_path: Path) -> None:
    """No retry makes JSON of bytes that are no OTLP."""
    data = TelemetryData.from_bytes(Signal.TRACES, b"\x0a\x02\x12\x05")
    outcome = File(tmp_path / "out.jsonl").export(data)
    assert outcome.kind is Kind.REJECTED


def test_lines_of_many_threads_stay_whole(tmp_path: Path, spans: Make) -> None:
    """The pool runs several exports at once."""
    path = tmp_path / "out.jsonl"
    file = File(path)
    elements = [spans(1) for _ in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(file.export, elements)) == {DELIVERED}
    file.close()
    assert len(read(path)) == 200


def test_delimited_protobuf_is_what_sources_file_reads(tmp_path: Path, spans: Make) -> None:
    """A third of the size of JSON, and no cost of decoding on either side."""
    path = tmp_path / "out.pb"
    file = File(path, format="proto")
    elements = [spans(number) for number in (1, 2, 500)]
    for data in elements:
        assert file.export(data) is DELIVERED
    file.close()
    memory = Memory()
    time = VirtualScheduler()
    stream = sources.file(path, signal=Signal.TRACES).pipe(ops.export(memory, max_concurrent=1))
    with Pipeline(stream, scheduler=time):
        time.advance_to(10)
    assert [data.to_bytes() for data in memory.elements] == [data.to_bytes() for data in elements]


def test_a_crashs_half_message_is_cut_off_before_the_next(tmp_path: Path, spans: Make) -> None:
    """Nothing behind it could be found, and nobody was told that it is there."""
    path = tmp_path / "out.pb"
    whole = File(path, format="proto")
    whole.export(spans(3))
    whole.close()
    first = path.read_bytes()
    path.write_bytes(first + first[:-1])
    file = File(path, format="proto")
    file.export(spans(3))
    file.close()
    assert path.read_bytes() == first + first


def test_a_file_is_rotated_before_it_is_too_large(tmp_path: Path, spans: Make) -> None:
    """A collector that runs for a year must not fill the disk."""
    path = tmp_path / "out.jsonl"
    size = len(spans(1).to_json()) + 1
    file = File(path, max_bytes=2 * size, max_files=2)
    for number in range(7):
        assert file.export(spans(1)) is DELIVERED
        assert len(read(path)) == number % 2 + 1
    file.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.jsonl",
        "out.jsonl.1",
        "out.jsonl.2",
    ]
    assert [len(read(tmp_path / f"out.jsonl.{number}")) for number in (1, 2)] == [2, 2]


def test_an_element_larger_than_a_file_has_one_of_its_own(tmp_path: Path, spans: Make) -> None:
    """It was accepted, so it must be kept somewhere; and an empty file is not rotated."""
    path = tmp_path / "out.jsonl"
    file = File(path, max_bytes=1)
    for _ in range(3):
        assert file.export(spans(1)) is DELIVERED
    file.close()
    assert len(read(path)) == len(read(tmp_path / "out.jsonl.1")) == 1
    assert not (tmp_path / "out.jsonl.3").exists()


def test_a_rotation_that_fails_loses_nothing(
    tmp_path: Path, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The element is offered again, and the rotation is done then."""
    path = tmp_path / "out.jsonl"
    file = File(path, max_bytes=1)
    file.export(spans(1))

    def stuck(path: Path, target: Path) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", stuck)
    assert file.export(spans(2)).kind is Kind.FAILED
    monkeypatch.undo()
    assert len(read(path)) == 1
    assert file.export(spans(2)) is DELIVERED
    file.close()
    assert [data.items for data in read(path)] == [2]


@pytest.mark.parametrize("argument", [{"format": "xml"}, {"max_bytes": 0}, {"max_files": 0}])
def test_wrong_arguments_fail_where_they_are_written(argument: dict[str, Any]) -> None:
    """With the call, the value and what was expected."""
    (name,) = argument
    with pytest.raises(ValueError, match=rf"File\({name}=.*\): expected"):
        File("out.jsonl", **argument)


def test_a_pipe_that_nobody_reads_any_more_is_told(tmp_path: Path, logs: Make) -> None:
    """`rxotlp generate -o /dev/stdout | head` ends instead of waiting for itself to read."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    exporter = File(pipe)
    assert exporter.export(logs()) == DELIVERED
    os.close(reader)
    assert exporter.export(logs()).kind is Kind.FAILED
    exporter.close()
