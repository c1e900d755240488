"""`rxotlp convert`: files of OTLP/JSON lines into files of protobuf messages, and back.

One record is in memory at a time. The output is written beside its place and renamed once it
is whole, so nobody ever reads half of it, and a file may be converted onto itself.
"""

import asyncio
import contextlib
import enum
import gzip
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated

import typer

from rxotlp.cli.status import Status, exit_with, say
from rxotlp.errors import DecodeError, OtlpError, UsageError
from rxotlp.sources.file_reader import FileReader, UnknownSignal
from rxotlp.wire.framing import sized
from rxotlp.wire.signals import Signal

try:
    import zstandard
except ImportError:
    zstandard = None  # type: ignore[assignment]

__all__ = ["Compression", "Format", "convert"]

MAX_RECORD_SIZE = 64 * 1024 * 1024  # bytes, as sources.file has it


class Format(enum.StrEnum):
    """What a file's records are."""

    JSON = "json"
    PROTO = "proto"


class Compression(enum.StrEnum):
    """What a file is compressed with."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


_FORMATS = {
    ".json": Format.JSON,
    ".jsonl": Format.JSON,
    ".ndjson": Format.JSON,
    ".binpb": Format.PROTO,
    ".pb": Format.PROTO,
    ".proto": Format.PROTO,
}
_COMPRESSIONS = {".gz": Compression.GZIP, ".zst": Compression.ZSTD}


def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="The file to read; - is stdin.", show_default=False)
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="OUT", help="The file to write; - is stdout.", show_default=False),
    ],
    to: Annotated[
        Format | None,
        typer.Option(help="What to write, when OUT's ending does not say.", show_default=False),
    ] = None,
    compression: Annotated[
        Compression | None,
        typer.Option(
            help="How to compress OUT, when its ending (.gz, .zst) does not say.",
            show_default=False,
        ),
    ] = None,
    signal: Annotated[
        Signal | None,
        typer.Option(
            help="Whose requests IN has; needed when it is protobuf, which does not say.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Convert between lines of OTLP/JSON and length-delimited protobuf messages.

    What IN is, and whether it is compressed, is told by its first bytes. OUT's ending says
    what it becomes: .json, .jsonl or .ndjson for lines of JSON; .binpb, .pb or .proto for
    protobuf, each message behind a varint of its size; then .gz or .zst.

    Example: rxotlp convert spans.jsonl spans.binpb.zst

    Exit status: 0 good, 1 failed, 2 wrong usage, 3 some records could not be read; their
    numbers are on stderr, and OUT has all others.
    """
    try:
        form, packed = _wanted(target, to, compression)
        broken = asyncio.run(_convert(source, target, form, packed, signal))
    except UsageError as error:
        raise exit_with(Status.USAGE, error) from None
    except BrokenPipeError:
        # `| head` has seen enough. Python must not flush into the closed pipe as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise typer.Exit(Status.FAILED) from None
    except OSError as error:
        say(f"{error.filename or target}: {error.strerror or error}")
        raise typer.Exit(Status.FAILED) from None
    except UnknownSignal as error:
        raise exit_with(Status.USAGE, UsageError(f"{error.reason}; expected --signal")) from None
    except OtlpError as error:
        raise exit_with(Status.FAILED, error) from None
    if broken:
        say(f"{broken} records could not be read")
        raise typer.Exit(Status.UNDELIVERED)


def _wanted(
    target: str, to: Format | None, compression: Compression | None
) -> tuple[Format, Compression]:
    """What OUT is to be, by options first and by its ending otherwise."""
    endings = Path(target).suffixes
    by_ending = _COMPRESSIONS.get(endings[-1]) if endings else None
    if by_ending is not None:
        endings.pop()
    form = to or (_FORMATS.get(endings[-1]) if endings else None)
    if form is None:
        raise UsageError(
            f"convert {target}: expected one of the endings {', '.join(_FORMATS)}, "
            "or --to json or --to proto"
        )
    packed = compression or by_ending or Compression.NONE
    if packed is Compression.ZSTD and zstandard is None:
        raise UsageError("convert: zstd needs pip install 'rxotlp[gateway]'")
    return form, packed


async def _convert(
    source: str, target: str, form: Format, packed: Compression, signal: Signal | None
) -> int:
    """Convert all of it; how many records could not be read."""
    broken = 0

    def count(reason: str) -> None:
        nonlocal broken
        broken += 1
        say(reason.replace(str(path), name))

    name = "stdin" if source == "-" else source
    only: Signal | None = None
    with _input(source) as path:
        reader = FileReader(
            path,
            signal=signal,
            format="auto",
            follow=False,
            poll=1.0,
            max_record_size=MAX_RECORD_SIZE,
            start=None,
            broken=count,
        )
        path.open("rb").close()  # before anything is made beside OUT
        with contextlib.closing(reader), _output(target, packed) as out:
            async for data, mark in reader:
                if form is Format.PROTO:
                    if only is not None and only is not data.signal:
                        raise UsageError(
                            f"convert {name}: record {mark.number} has {data.signal.value}, "
                            f"those before it {only.value}; protobuf "
                            "does not say which, so one file has one"
                        )
                    only = data.signal
                    out.write(sized(data.to_bytes()))
                    continue
                try:
                    line = data.to_json()
                except DecodeError as error:
                    count(f"{name}: record {mark.number}: {error}")
                else:
                    out.write(line.encode() + b"\n")
    return broken


@contextlib.contextmanager
def _input(source: str) -> Iterator[Path]:
    """A path to read from; stdin goes to a file first, since it cannot be looked at twice."""
    if source != "-":
        yield Path(source)
        return
    with tempfile.NamedTemporaryFile(prefix="rxotlp-stdin-") as spooled:
        shutil.copyfileobj(sys.stdin.buffer, spooled)
        spooled.flush()
        yield Path(spooled.name)


@contextlib.contextmanager
def _output(target: str, packed: Compression) -> Iterator[IO[bytes]]:
    """A file to write to, which is at its place only once it is whole."""
    path = Path(target).resolve()  # a link stays a link
    if target == "-":
        with _packing(sys.stdout.buffer, packed) as out:
            yield out
        sys.stdout.buffer.flush()
        return
    if path.is_dir():
        raise UsageError(f"convert {target}: expected a file, this is a directory")
    if path.exists() and not path.is_file():  # a device or a pipe cannot be replaced
        with path.open("wb") as special, _packing(special, packed) as out:
            yield out
        return
    if not path.parent.is_dir():
        raise UsageError(f"convert {target}: no directory {path.parent}")
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with beside.open("xb") as file, _packing(file, packed) as out:
            yield out
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def _packing(file: IO[bytes], packed: Compression) -> Iterator[IO[bytes]]:
    if packed is Compression.NONE:
        yield file
    elif packed is Compression.GZIP:
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6) as out:
            yield out  # type: ignore[misc]
    else:
        with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as out:
            yield out
