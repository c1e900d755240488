"""`File(compression=)`: what it writes is read, appended to, rotated, and outlives a crash."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from rxotlp import Pipeline, exporters, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind
from rxotlp.data import TelemetryData
from rxotlp.exporters import File
from rxotlp.schedulers import VirtualScheduler
from rxotlp.wire.compression import end_of_packed
from rxotlp.wire.signals import Signal

Make = Callable[..., TelemetryData]
PACKED = pytest.mark.parametrize("compression", ["gzip", "zstd"])
FORMATS = pytest.mark.parametrize("format", ["json", "proto"])


def sizes(path: Path) -> list[int]:
    """Items of each request that `sources.file` reads in it."""
    memory = exporters.Memory()
    source = sources.file(path, signal=Signal.TRACES)
    with Pipeline(source.pipe(ops.export(memory)), scheduler=VirtualScheduler()) as pipeline:
        pipeline.wait()
    assert pipeline.error is None
    return [element.items for element in memory.elements]


@PACKED
@FORMATS
def test_what_several_runs_append_is_read_as_one_file(
    tmp_path: Path, spans: Make, compression: str, format: str
) -> None:
    """A restart must not need a new file."""
    path = tmp_path / "out"
    for run in range(3):
        file = File(path, compression=compression, format=format)
        for items in (1, 2):
            assert file.export(spans(items + run)) is DELIVERED
        file.close()
    assert sizes(path) == [1, 2, 2, 3, 3, 4]


@PACKED
@pytest.mark.parametrize("left", [1, 9, 30])
def test_half_a_record_of_a_crash_is_cut_off(
    tmp_path: Path, spans: Make, compression: str, left: int
) -> None:
    """Behind half a member nobody would find the next."""
    path = tmp_path / "out"
    file = File(path, compression=compression)
    file.export(spans(1))
    whole = path.stat().st_size
    file.export(spans(2))
    file.close()
    path.write_bytes(path.read_bytes()[: whole + left])
    again = File(path, compression=compression)
    assert again.export(spans(3)) is DELIVERED
    again.close()
    assert sizes(path) == [1, 3]


@PACKED
@pytest.mark.parametrize(
    "content", [b'{"resourceSpans":[]}\n', gzip.compress(b"{}\n", mtime=0)[:-8] + b"x" * 20]
)
def test_nothing_is_appended_to_what_is_something_else(
    tmp_path: Path, spans: Make, compression: str, content: bytes
) -> None:
    """A wrong path must not cost a file of somebody else's."""
    path = tmp_path / "out"
    path.write_bytes(content)
    outcome = File(path, compression=compression).export(spans(1))
    assert outcome.kind is Kind.FAILED
    assert "nothing is appended" in outcome.reason
    assert path.read_bytes() == content


@PACKED
def test_rotation_counts_the_bytes_on_disk(tmp_path: Path, spans: Make, compression: str) -> None:
    """`max_bytes` is of the disk."""
    path = tmp_path / "out"
    file = File(path, compression=compression, max_bytes=1)
    for items in (1, 2, 3):
        file.export(spans(items))
    file.close()
    assert [sizes(tmp_path / name) for name in ("out.2", "out.1", "out")] == [[1], [2], [3]]


def test_members_may_lie_across_what_is_read_at_once(tmp_path: Path) -> None:
    """The end is found in files of any size."""
    path = tmp_path / "out"
    member = gzip.compress(bytes(range(256)) * 100, 0)
    path.write_bytes(member * 20 + member[:5000])
    with path.open("rb") as file:
        assert end_of_packed("gzip", file) == len(member) * 20


def test_an_unknown_compression_is_named() -> None:
    """It fails where the pipeline is written."""
    with pytest.raises(ValueError, match=r"File\(compression='br'\): expected gzip, zstd or None"):
        File("x", compression="br")
