"""`rxotlp generate`: telemetry of an imagined shop, to an endpoint or into a file."""

import enum
from pathlib import Path
from typing import Annotated

import typer
from reactivex import Observable

from rxotlp import exporters, sources
from rxotlp import operators as ops
from rxotlp.cli.logs import LogFormat, LogLevel, log_to_stderr, tell_the_first_given_up
from rxotlp.cli.running import main
from rxotlp.cli.status import Status, exit_with, status_of
from rxotlp.errors import OtlpError
from rxotlp.exporters.base import Exporter
from rxotlp.pipeline import DEFAULT_DRAIN_TIMEOUT, Pipeline
from rxotlp.wire.signals import Signal

__all__ = ["Protocol", "Temporality", "generate"]


class Protocol(enum.StrEnum):
    """How an endpoint is spoken to."""

    HTTP = "http"
    GRPC = "grpc"


class Temporality(enum.StrEnum):
    """What histograms and monotonic sums count from."""

    CUMULATIVE = "cumulative"
    DELTA = "delta"


def generate(
    rate: Annotated[
        float | None,
        typer.Option(
            help="Spans, log records and data points a second; as fast as they go without.",
            show_default=False,
        ),
    ] = None,
    items: Annotated[
        int | None,
        typer.Option(help="How many in all; without end otherwise.", show_default=False),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(help="Seconds of load; needs --rate.", show_default=False),
    ] = None,
    signal: Annotated[
        list[Signal] | None,
        typer.Option(
            help="Traces, metrics or logs; all three by default. Repeatable.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A file of OTLP/JSON lines instead of an endpoint; what was in it goes. With "
            "an ending .binpb, .pb or .proto it has protobuf messages, each behind its size, "
            "and one signal; with .gz or .zst behind that it is compressed.",
            show_default=False,
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Where to; OTEL_EXPORTER_OTLP_* and then this machine otherwise.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[Protocol, typer.Option(help="How the endpoint speaks.")] = Protocol.HTTP,
    services: Annotated[int, typer.Option(help="Services of the shop, 1 to 100.")] = 6,
    error_ratio: Annotated[
        float, typer.Option(help="Part of the traces that fail, 0 to 1.")
    ] = 0.02,
    items_per_request: Annotated[
        int | None,
        typer.Option(help="Items of a request; 512, or fewer at low rates.", show_default=False),
    ] = None,
    temporality: Annotated[
        Temporality, typer.Option(help="Of histograms and monotonic sums.")
    ] = Temporality.CUMULATIVE,
    seed: Annotated[int, typer.Option(help="The same seed makes the same telemetry.")] = 0,
    drain_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds that stopping waits for what is in flight.")
    ] = DEFAULT_DRAIN_TIMEOUT,
    log_level: Annotated[
        LogLevel, typer.Option(help="What is logged to stderr.")
    ] = LogLevel.WARNING,
) -> None:
    """Send realistic telemetry of an imagined shop, until its end or Ctrl-C.

    Traces through a graph of services, log records that belong to their spans, and sums,
    gauges and histograms. Prints the books when it is done.

    Example: rxotlp generate --rate 1000 --duration 60 --endpoint http://localhost:4318

    Exit status: 0 good, 1 failed, 2 wrong usage, 3 something undelivered, 4 books do not
    balance.
    """
    log_to_stderr(log_level, LogFormat.TEXT)
    tell_the_first_given_up()
    try:
        source = sources.generate(
            signal or (Signal.TRACES, Signal.METRICS, Signal.LOGS),
            rate=rate,
            items=items,
            duration=duration,
            items_per_request=items_per_request,
            services=services,
            error_ratio=error_ratio,
            temporality=temporality.value,
            seed=seed,
        )
        exporter = _exporter(output, endpoint, protocol, signal or [])
    except ValueError as error:
        raise exit_with(Status.USAGE, error) from None
    # The source tries again what failed, and gives up.
    stream: Observable[object] = source.pipe(
        ops.export(exporter, max_concurrent=1 if output is not None else 8, retry=None)
    )
    pipeline = Pipeline(stream)
    try:
        main(pipeline, in_threads=False, drain_timeout=drain_timeout)
    except (OtlpError, OSError, ValueError) as error:
        raise exit_with(Status.FAILED, error) from None
    assert pipeline.report is not None
    typer.echo(pipeline.books)
    status = status_of(pipeline, pipeline.report)
    if status is Status.GOOD and source.given_up:
        status = Status.UNDELIVERED
    raise typer.Exit(status)


def _exporter(
    output: Path | None, endpoint: str | None, protocol: Protocol, signals: list[Signal]
) -> Exporter:
    if output is None:
        kind = exporters.OtlpHttp if protocol is Protocol.HTTP else exporters.OtlpGrpc
        return kind() if endpoint is None else kind(endpoint)
    if endpoint is not None:
        raise ValueError("generate: expected --output or --endpoint, not both")
    if output.is_dir():
        raise ValueError(f"generate --output {output}: expected a file, this is a directory")
    if not output.parent.is_dir():
        raise ValueError(f"generate --output {output}: no directory {output.parent}")
    compression = {".gz": "gzip", ".zst": "zstd"}.get(output.suffix)
    form = (output if compression is None else output.with_suffix("")).suffix
    if form in (".binpb", ".pb", ".proto"):
        if len(set(signals)) != 1:
            raise ValueError(
                f"generate --output {output}: expected one --signal; protobuf does not say "
                "which it is, so one file has one"
            )
        return exporters.File(output, append=False, format="proto", compression=compression)
    return exporters.File(output, append=False, compression=compression)
