"""`sources.file`: every record at least once, and none before its turn is over."""

import asyncio
import gzip
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from rxotlp import Pipeline, exporters
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome, failed
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError, PipelineError
from rxotlp.schedulers import AsyncScheduler, SyncScheduler, VirtualScheduler
from rxotlp.sources import file
from rxotlp.wire.signals import Signal


def line(*names: str) -> bytes:
    """A request with a span for each name, as a line."""
    spans = [{"name": name} for name in names]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode() + b"\n"


def message(*names: str) -> bytes:
    """The same as protobuf behind its size."""
    data = TelemetryData.from_json(Signal.TRACES, line(*names)).to_bytes()
    assert len(data) < 128
    return bytes([len(data)]) + data


def names(memory: exporters.Memory) -> list[str]:
    """What arrived, in order."""
    return [record.name for element in memory.elements for record in element.records()]


class Run:
    """A pipeline from a file to memory in virtual time."""

    def __init__(self, source: Any, outcome: Callable[[TelemetryData], Outcome] | None = None):
        self.time = VirtualScheduler()
        self.source = source
        self.memory = exporters.Memory(outcome=outcome or DELIVERED)
        self.pipeline = Pipeline(source.pipe(ops.export(self.memory)), scheduler=self.time)

    def __enter__(self) -> "Run":
        self.pipeline.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pipeline.stop()

    def names(self, until: float) -> list[str]:
        """What arrived by then."""
        self.time.advance_to(until)
        return names(self.memory)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
@pytest.mark.parametrize("format", ["json", "proto"])
def test_every_record_arrives_in_order(
    tmp_path: Path, pack: Callable[[bytes], bytes], format: str
) -> None:
    """What a file is told by its first bytes, whatever its name says."""
    path = tmp_path / "in"
    make = line if format == "json" else message
    path.write_bytes(pack(b"".join(make(f"span {number}") for number in range(50))))
    with Run(file(path, signal=Signal.TRACES if format == "proto" else None)) as run:
        assert run.names(60) == [f"span {number}" for number in range(50)]


def test_lines_of_all_signals_may_be_mixed(tmp_path: Path) -> None:
    """The OTLP file format says of each line what it is, by its key."""
    path = tmp_path / "in.jsonl"
    log = b'{"x":1,"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityText":"a"}]}]}]}\n'
    path.write_bytes(line("a") + log + line("b"))
    with Run(file(path)) as run:
        run.time.advance_to(10)
        signals = [element.signal for element in run.memory.elements]
        assert signals == [Signal.TRACES, Signal.LOGS, Signal.TRACES]


def test_a_broken_line_is_named_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The line number is all one needs to find it, and one bad line is no reason to stop."""
    path = tmp_path / "in.jsonl"
    broken = [
        b'{"resourceSpans":[{"scopeS\n',
        b"[]\n",
        b'{"resourceSpans":7}\n',
        b"x" * 900 + b"\n",
    ]
    path.write_bytes(line("a") + broken[0] + b"\n" + b"".join(broken[1:]) + line("b"))
    source = file(path, max_record_size=500)
    with Run(source) as run:
        assert run.names(10) == ["a", "b"]
    assert source.broken == 4
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 4
    for number, text in zip((2, 4, 5, 6), told, strict=True):
        assert f"{path}: line {number}: " in text


def test_a_last_line_without_a_line_break_counts(tmp_path: Path) -> None:
    """Editors and crashed writers leave one; whole JSON is whole JSON."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(line("a") + line("b").rstrip())
    with Run(file(path)) as run:
        assert run.names(10) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (message("a") + message("b")[:-1], "record 2, at byte .*: the file ends inside it"),
        (gzip.compress(line("a") * 9, mtime=0)[:-9], "damaged"),
        (b"\x1f\x8b\x08rubbish", "damaged"),
    ],
)
def test_what_nobody_can_read_past_fails_the_stream(
    tmp_path: Path, content: bytes, says: str
) -> None:
    """A quiet end would look like success."""
    path = tmp_path / "in"
    path.write_bytes(content)
    errors: list[Exception] = []
    time, source = VirtualScheduler(), file(path, signal=Signal.TRACES)
    source.subscribe(lambda data: None, errors.append)
    source.connect(time)
    time.advance_to(10)
    source.close()
    assert isinstance(errors[0], DecodeError)
    assert re.search(f"{path}: .*{says}", str(errors[0]))


def test_protobuf_without_a_signal_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Its bytes are as good as those of any other signal."""
    path = tmp_path / "in"
    path.write_bytes(message("a"))
    errors: list[Exception] = []
    time, source = VirtualScheduler(), file(path)
    source.subscribe(lambda data: None, errors.append)
    source.connect(time)
    time.advance_to(1)
    source.close()
    assert isinstance(errors[0], PipelineError)
    assert "expected signal=" in str(errors[0])


def test_what_failed_is_offered_again_until_it_is_taken(tmp_path: Path) -> None:
    """A backend that is down for a minute costs time, not data."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(line("a") + line("b"))
    run: Run

    def down(_data: TelemetryData) -> Outcome:
        return DELIVERED if run.time.clock > 60 else failed("down")

    run = Run(file(path), down)
    with run:
        assert run.names(60) == []
        assert sorted(run.names(100)) == ["a", "b"]
    assert run.source.given_up == 0


def test_a_checkpoint_moves_past_settled_records_only(tmp_path: Path) -> None:
    """A crash after it was written must not skip a record that nobody has."""
    path, checkpoint = tmp_path / "in.jsonl", tmp_path / "at"
    path.write_bytes(line("a") + line("bad") + line("c"))

    def one_fails(data: TelemetryData) -> Outcome:
        return failed("no") if b"bad" in data.to_bytes() else DELIVERED

    with Run(file(path, checkpoint=checkpoint), one_fails) as run:
        run.time.advance_to(5)
        assert json.loads(checkpoint.read_text())["offset"] == len(line("a"))
    with Run(file(path, checkpoint=checkpoint)) as run:
        assert run.names(5) == ["bad", "c"]
    path.write_bytes(path.read_bytes() + line("d"))
    with Run(file(path, checkpoint=checkpoint)) as run:
        assert run.names(5) == ["d"]
    assert json.loads(checkpoint.read_text())["number"] == 4


def test_a_checkpoint_holds_inside_compressed_files_too(tmp_path: Path) -> None:
    """Its offset is one of decompressed bytes."""
    path, checkpoint = tmp_path / "in.gz", tmp_path / "at"
    path.write_bytes(gzip.compress(line("a") + line("b")))

    def first_only(data: TelemetryData) -> Outcome:
        return DELIVERED if b"a" in data.to_bytes() else failed("no")

    with Run(file(path, checkpoint=checkpoint), first_only) as run:
        run.time.advance_to(5)
    with Run(file(path, checkpoint=checkpoint)) as run:
        assert run.names(5) == ["b"]


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    """Overwriting whatever it is, or reading from the start, would both be a guess."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(line("a"))
    for content in (
        "[]",
        '{"offset": 1}',
        "x",
        '{"device":1,"inode":1,"offset":-1,"number":0,"head":0}',
    ):
        (tmp_path / "at").write_text(content)
        with pytest.raises(DecodeError, match="no checkpoint"):
            file(path, checkpoint=tmp_path / "at").connect(VirtualScheduler())


def test_following_goes_on_with_what_is_appended(tmp_path: Path) -> None:
    """Half a line is left until the rest is there; the file itself may come later."""
    path = tmp_path / "in.jsonl"
    with Run(file(path, follow=True)) as run:
        assert run.names(3) == []
        path.write_bytes(line("a") + line("b")[:10])
        assert run.names(6) == ["a"]
        with path.open("ab") as more:
            more.write(line("b")[10:])
        assert run.names(9) == ["a", "b"]


def test_following_survives_rotation_and_truncation(tmp_path: Path) -> None:
    """The end of the old file is read before the new one begins."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(line("a"))
    with Run(file(path, follow=True)) as run:
        assert run.names(3) == ["a"]
        with path.open("ab") as old:
            old.write(line("b"))
        path.rename(tmp_path / "in.jsonl.1")
        assert run.names(6) == ["a", "b"]
        path.write_bytes(line("c") + line("d").rstrip())
        assert run.names(9) == ["a", "b", "c"]
        path.rename(tmp_path / "in.jsonl.2")
        path.write_bytes(line("e") + line("f"))  # both between two looks
        assert run.names(12) == ["a", "b", "c", "d", "e", "f"]
        path.write_bytes(line("g"))  # the same file, shorter
        assert run.names(15) == ["a", "b", "c", "d", "e", "f", "g"]


def test_a_checkpoint_of_a_rotated_file_does_not_skip_the_new_one(tmp_path: Path) -> None:
    """An offset means nothing in another file."""
    path, checkpoint = tmp_path / "in.jsonl", tmp_path / "at"
    path.write_bytes(line("a") + line("b"))
    with Run(file(path, checkpoint=checkpoint)) as run:
        assert run.names(5) == ["a", "b"]
    path.write_bytes(line("c") + line("d") + line("e"))  # the same inode
    with Run(file(path, checkpoint=checkpoint)) as run:
        assert run.names(5) == ["c", "d", "e"]
    path.rename(tmp_path / "old")
    path.write_bytes(line("f") * 9)
    with Run(file(path, checkpoint=checkpoint)) as run:
        assert run.names(5) == ["f"] * 9


def test_a_missing_file_is_told_where_the_pipeline_starts(tmp_path: Path) -> None:
    """Unless it is followed, there is nothing to wait for."""
    with pytest.raises(FileNotFoundError):
        file(tmp_path / "missing").connect(VirtualScheduler())


@pytest.mark.parametrize("follow", [False, True])
def test_a_sync_scheduler_reads_files(tmp_path: Path, follow: bool) -> None:
    """The same source for a script, with real threads and real time."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(line(str(number)) for number in range(20)))
    memory, arrived = exporters.Memory(), threading.Event()

    def look(_data: TelemetryData) -> Outcome:
        if len(memory.elements) >= 19:
            arrived.set()
        return DELIVERED

    memory = exporters.Memory(outcome=look)
    source = file(path, follow=follow, poll=0.01)
    with Pipeline(source.pipe(ops.export(memory)), scheduler=SyncScheduler()):
        assert arrived.wait(30)
    assert names(memory) == [str(number) for number in range(20)]


def test_an_async_scheduler_reads_files(tmp_path: Path) -> None:
    """And for an asyncio program."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(line(str(number)) for number in range(20)))
    memory = exporters.Memory()

    async def main() -> None:
        done = asyncio.Event()
        source = file(path, follow=True, poll=0.01)
        scheduler = AsyncScheduler()
        source.pipe(ops.export(memory)).subscribe(scheduler=scheduler)
        source.connect(scheduler)
        for _ in range(3000):
            if len(memory.elements) == 20:
                done.set()
                break
            await asyncio.sleep(0.01)
        source.close()
        assert done.is_set()

    asyncio.run(main())
    assert names(memory) == [str(number) for number in range(20)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"format": "xml"}, r"file\(format='xml'\): expected one of auto, json, proto"),
        ({"format": "proto"}, "expected a Signal"),
        ({"poll": 0}, r"file\(poll=0\): expected more than 0 seconds"),
        ({"max_record_size": 0}, r"file\(max_record_size=0\): expected 1 or more"),
        ({"max_attempts": 0}, r"file\(max_attempts=0\): expected 1 or more"),
    ],
)
def test_wrong_arguments_fail_where_they_are_written(arguments: dict[str, Any], says: str) -> None:
    """A pipeline that fails on its first day is cheaper than on its tenth."""
    with pytest.raises(ValueError, match=says):
        file("in.jsonl", **arguments)


@pytest.mark.parametrize("format", ["json", "proto"])
def test_what_comes_before_broken_compression_arrives(tmp_path: Path, format: str) -> None:
    """A process died while it wrote, and what it wrote before is wanted."""
    path = tmp_path / "in"
    make = line if format == "json" else message
    whole = gzip.compress(b"".join(make(f"span {number}") for number in range(50)), 0)
    path.write_bytes(whole[: len(whole) // 2])
    with Run(file(path, signal=Signal.TRACES, format=format)) as run:
        arrived = run.names(until=10)
        assert arrived == [f"span {number}" for number in range(len(arrived))]
        assert len(arrived) >= 22
        assert isinstance(run.pipeline.error, DecodeError)
        assert f"{len(arrived)} records before byte " in str(run.pipeline.error)
