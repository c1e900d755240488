"""`rxotlp send`: the requests of a file to an endpoint, on from where it stopped the last time."""

import enum
import os
import shlex
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from reactivex import Observable
from reactivex import operators as rx_ops
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from rxotlp import exporters, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.cli.generate import Protocol
from rxotlp.cli.logs import LogFormat, LogLevel, log_to_stderr, tell_the_first_given_up
from rxotlp.cli.running import main
from rxotlp.cli.status import Status, exit_with, say, status_of
from rxotlp.errors import OtlpError, UsageError
from rxotlp.exporters.base import Exporter
from rxotlp.pipeline import DEFAULT_DRAIN_TIMEOUT, Pipeline
from rxotlp.sources.file import FileSource
from rxotlp.sources.file_reader import UnknownSignal
from rxotlp.wire.signals import Signal

__all__ = ["send"]

EVERY = 5.0  # seconds between two lines of progress where there is no terminal


class Compression(enum.StrEnum):
    """How requests are compressed."""

    GZIP = "gzip"
    NONE = "none"


class Tally:
    """What became of the items, from the exporter's Deliveries."""

    def __init__(self) -> None:
        self.delivered = self.rejected = self.requests = 0
        self.reasons: Counter[str] = Counter()

    def note(self, delivery: Any) -> None:
        """One attempt."""
        outcome, items = delivery.outcome, delivery.items
        if outcome.kind is Kind.FAILED:
            return  # offered again
        refused = 0
        if outcome.kind is Kind.REJECTED:
            refused = items if outcome.items is None else outcome.items
            self.reasons[outcome.reason] += refused
        self.requests += 1
        self.rejected += refused
        self.delivered += items - refused


def send(
    file: Annotated[
        Path,
        typer.Argument(
            help="Lines of OTLP/JSON or length-delimited protobuf; plain, gzip or zstd.",
            show_default=False,
        ),
    ],
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Where to; OTEL_EXPORTER_OTLP_* and then this machine otherwise.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[Protocol, typer.Option(help="How the endpoint speaks.")] = Protocol.HTTP,
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Sent with each request. Repeatable.", show_default=False
        ),
    ] = None,
    compression: Annotated[
        Compression | None,
        typer.Option(help="Of requests; as the environment says otherwise.", show_default=False),
    ] = None,
    signal: Annotated[
        Signal | None,
        typer.Option(
            help="Whose requests the file has; needed for protobuf, JSON says it.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Spans, log records and data points a second at most.", show_default=False
        ),
    ] = None,
    max_in_flight: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 8,
    max_attempts: Annotated[
        int,
        typer.Option(min=1, help="How often a request is tried before it ends; with back-off."),
    ] = 8,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on behind what the last time was taken.")
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="What remembers how far it is; FILE.sent by default, gone when all is sent.",
            show_default=False,
        ),
    ] = None,
    drain_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds that Ctrl-C waits for what is in flight.")
    ] = DEFAULT_DRAIN_TIMEOUT,
    log_level: Annotated[
        LogLevel, typer.Option(help="What is logged to stderr.")
    ] = LogLevel.WARNING,
) -> None:
    """Send the requests of a file to an OTLP endpoint.

    Small requests are joined, failed ones are tried again. When it is stopped or gives up, it
    says how to go on; every record arrives at least once.

    Example: rxotlp send spans.jsonl.gz --endpoint http://localhost:4318 --rate 10000

    Exit status: 0 all of it was taken, 1 failed, 2 wrong usage, 3 something was refused, could
    not be read, or is not sent yet.
    """
    log_to_stderr(log_level, LogFormat.TEXT)
    tell_the_first_given_up()
    mark = Path(f"{file}.sent") if checkpoint is None else checkpoint
    tally = Tally()
    try:
        if not resume:
            mark.unlink(missing_ok=True)
        source = sources.file(file, signal=signal, checkpoint=mark, max_attempts=max_attempts)
        exporter = _exporter(endpoint, protocol, _headers(header or []), compression)
        stages: list[Any] = [] if rate is None else [ops.rate_limit(rate)]
        # The source tries again what failed, and counts.
        stages += [ops.batch(), ops.export(exporter, max_concurrent=max_in_flight, retry=None)]
        stages.append(rx_ops.do_action(tally.note))
        stream: Observable[Any] = source.pipe(*stages)
    except (ValueError, UsageError) as error:
        raise exit_with(Status.USAGE, error) from None
    pipeline = Pipeline(stream)
    try:
        with _Bar(source, tally, file) as bar:
            main(pipeline, in_threads=False, drain_timeout=drain_timeout, watch=bar.look)
        if isinstance(pipeline.error, UnknownSignal):
            reason = f"{pipeline.error.reason}; expected --signal"
            raise exit_with(Status.USAGE, UsageError(reason))
    except OSError as error:
        said = f"{error.filename or file}: {error.strerror or error}"
        raise exit_with(Status.FAILED, OtlpError(said)) from None
    except (OtlpError, ValueError) as error:
        raise exit_with(Status.FAILED, error) from None
    raise typer.Exit(_end(pipeline, source, tally, mark))


def _end(pipeline: Pipeline, source: FileSource, tally: Tally, mark: Path) -> Status:
    """Say what was done and what is left; the status it comes to."""
    assert pipeline.report is not None
    status = status_of(pipeline, pipeline.report)
    typer.echo(
        f"sent {tally.delivered:,} items in {tally.requests:,} requests to the endpoint; "
        f"{tally.rejected:,} refused, {source.broken:,} records could not be read"
    )
    for reason, items in tally.reasons.most_common(5):
        say(f"{items:,} items refused: {reason}")
    complete = source.progress.ended and not source.given_up and status is Status.GOOD
    if complete:
        mark.unlink(missing_ok=True)
        return Status.UNDELIVERED if tally.rejected or source.broken else Status.GOOD
    if pipeline.error is not None:
        say(pipeline.error)
    again = [*sys.argv[1:], *([] if "--resume" in sys.argv else ["--resume"])]
    say(f"not all of it is sent; go on with: rxotlp {shlex.join(again)}")
    return Status.UNDELIVERED if status is Status.GOOD else status


def _exporter(
    endpoint: str | None,
    protocol: Protocol,
    headers: dict[str, str],
    compression: Compression | None,
) -> Exporter:
    kind = exporters.OtlpHttp if protocol is Protocol.HTTP else exporters.OtlpGrpc
    return kind(
        endpoint,
        headers=headers or None,
        compression=None if compression is None else compression.value,
    )


def _headers(given: list[str]) -> dict[str, str]:
    headers = {}
    for number, pair in enumerate(given, 1):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            # Neither name nor value: what stands in the wrong place may be the credential.
            raise UsageError(f"--header number {number}: expected NAME=VALUE")
        headers[name.strip()] = value.strip()
    return headers


class _Bar:
    """A bar on a terminal, a line now and then elsewhere; on stderr."""

    def __init__(self, source: FileSource, tally: Tally, file: Path) -> None:
        self._source = source
        self._tally = tally
        console = Console(stderr=True)
        self._terminal = console.is_terminal
        self._said = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%"),
            TransferSpeedColumn(),
            TextColumn("{task.fields[items]:,} items"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not self._terminal,
        )
        total = os.path.getsize(file) if file.exists() else None
        self._task = self._progress.add_task(file.name, total=total, items=0)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def look(self) -> bool:
        """Show how far it is; True ends it, when a request has failed as often as it may."""
        read, size, _ = self._source.progress
        self._progress.update(
            self._task, completed=read, total=size or None, items=self._tally.delivered
        )
        now = time.monotonic()
        if not self._terminal and size and now - self._said >= EVERY:
            self._said = now
            say(f"{read / size:.0%} read, {self._tally.delivered:,} items sent")
        return bool(self._source.given_up)
