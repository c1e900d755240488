"""`rxotlp run`: puts a stream or a Pipeline of a module of yours into a process.

It loads it, runs it until a signal or the stream's own end, drains it and prints the books,
which are all that goes to stdout.
"""

import enum
from typing import Annotated

import typer

from rxotlp.cli.loading import addresses_of, load
from rxotlp.cli.logs import LogFormat, LogLevel, log_to_stderr
from rxotlp.cli.running import main
from rxotlp.cli.status import Status, exit_with, status_of
from rxotlp.errors import OtlpError, UsageError
from rxotlp.pipeline import DEFAULT_DRAIN_TIMEOUT

__all__ = ["Scheduler", "run"]


class Scheduler(enum.StrEnum):
    """Where a stream runs."""

    ASYNC = "async"
    SYNC = "sync"


def run(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:ATTR",
            help="A stream or a Pipeline in a module, which may be in the current directory.",
            show_default=False,
        ),
    ],
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="grpc=HOST:PORT|http=HOST:PORT",
            help="Where its OTLP source listens instead; port 0 takes a free one. Repeatable.",
            show_default=False,
        ),
    ] = None,
    scheduler: Annotated[
        Scheduler, typer.Option(help="Where it runs; a Pipeline's own scheduler comes first.")
    ] = Scheduler.ASYNC,
    drain_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds that stopping waits for what is in flight.")
    ] = DEFAULT_DRAIN_TIMEOUT,
    log_level: Annotated[LogLevel, typer.Option(help="What is logged to stderr.")] = LogLevel.INFO,
    log_format: Annotated[LogFormat, typer.Option(help="How it is logged.")] = LogFormat.TEXT,
) -> None:
    """Run a pipeline until SIGINT, SIGTERM or its end; then drain it and print its books.

    A second SIGINT ends the process at once.

    Exit status: 0 good, 1 failed, 2 wrong usage, 3 something undelivered, 4 books do not
    balance.
    """
    log_to_stderr(log_level, log_format)
    try:
        pipeline = load(target)
        pipeline.listen.update(addresses_of(listen or []))
        main(pipeline, in_threads=scheduler is Scheduler.SYNC, drain_timeout=drain_timeout)
    except UsageError as error:
        raise exit_with(Status.USAGE, error) from None
    except (OtlpError, OSError, ValueError) as error:
        raise exit_with(Status.FAILED, error) from None
    assert pipeline.report is not None
    typer.echo(pipeline.books)
    raise typer.Exit(status_of(pipeline, pipeline.report))
