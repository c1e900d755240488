"""`rxotlp run`: puts a stream or a Pipeline of a module of yours into a process, or several.

It loads it, runs it until a signal or the stream's own end, drains it and prints the books,
which are all that goes to stdout.
"""

import enum
import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from rxotlp import admin as endpoints
from rxotlp.cli.loading import addresses_of, load
from rxotlp.cli.logs import LogFormat, LogLevel, log_to_stderr
from rxotlp.cli.running import main
from rxotlp.cli.status import Status, exit_with, say, status_of
from rxotlp.cli.sums import write_report
from rxotlp.errors import OtlpError, UsageError
from rxotlp.memory_limit import MemoryLimit
from rxotlp.pipeline import DEFAULT_DRAIN_TIMEOUT, Pipeline

__all__ = ["OnError", "Scheduler", "run"]

logger = logging.getLogger("rxotlp")


class Scheduler(enum.StrEnum):
    """Where a stream runs."""

    ASYNC = "async"
    SYNC = "sync"


class OnError(enum.StrEnum):
    """What follows when a stream has died."""

    RESTART = "restart"
    EXIT = "exit"


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
    on_error: Annotated[
        OnError | None,
        typer.Option(
            help="When its stream has died: subscribe it anew after a pause, or end with status "
            "1. By default what the Pipeline says; a stream exits.",
            show_default=False,
        ),
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SOFT[,HARD]",
            help="Refuse senders above so much memory: 80% of what it may use, or 800MiB.",
            show_default=False,
        ),
    ] = None,
    admin: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Serve /healthz, /readyz and /books there; a port alone is on 127.0.0.1.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that share its ports (Linux).")
    ] = 1,
    log_level: Annotated[LogLevel, typer.Option(help="What is logged to stderr.")] = LogLevel.INFO,
    log_format: Annotated[LogFormat, typer.Option(help="How it is logged.")] = LogFormat.TEXT,
    worker: Annotated[
        str | None, typer.Option(hidden=True, help="What --workers starts each worker with.")
    ] = None,
) -> None:
    """Run a pipeline until SIGINT, SIGTERM or its end; then drain it and print its books.

    A second SIGINT ends the process at once.

    Exit status: 0 good, 1 failed, 2 wrong usage, 3 something undelivered, 4 books do not
    balance.
    """
    log_to_stderr(log_level, log_format)
    in_threads = scheduler is Scheduler.SYNC
    try:
        addresses = addresses_of(listen or [])
        limit = _limit(memory_limit)
        if admin is not None:
            _check(admin)
        if workers > 1:
            command = ["run", target, "--scheduler", scheduler, "--drain-timeout"]
            command += [str(drain_timeout), "--log-level", log_level, "--log-format", log_format]
            command += ["--on-error", on_error] if on_error is not None else []
            command += ["--memory-limit", memory_limit] if memory_limit is not None else []
            raise typer.Exit(_run_workers(command, addresses, workers, admin, drain_timeout))
        pipeline = load(target)
        pipeline.listen.update(addresses)
        if on_error is not None:
            pipeline.on_error = "restart" if on_error is OnError.RESTART else "stop"
        if limit is not None:
            pipeline.memory_limit = limit
        if worker is not None:
            raise typer.Exit(_run_worker(pipeline, worker, in_threads, drain_timeout))
        with ExitStack() as stack:
            if admin is not None:
                endpoint = stack.enter_context(endpoints.serve(pipeline, admin))
                logger.info("admin endpoint on %s", endpoint.address)
            main(pipeline, in_threads=in_threads, drain_timeout=drain_timeout)
    except UsageError as error:
        raise exit_with(Status.USAGE, error) from None
    except (OtlpError, OSError, ValueError) as error:
        raise exit_with(Status.FAILED, error) from None
    assert pipeline.report is not None
    typer.echo(pipeline.books)
    raise typer.Exit(status_of(pipeline, pipeline.report))


def _run_worker(pipeline: Pipeline, worker: str, in_threads: bool, drain_timeout: float) -> Status:
    """Run as one of several, for the process that started this; it prints what all did."""
    parent, start, socket = worker.split(":", 2)
    pipeline.reuse_port = True
    with endpoints.serve(pipeline, f"unix:{socket}"):
        main(
            pipeline,
            in_threads=in_threads,
            drain_timeout=drain_timeout,
            watch=lambda: os.getppid() != int(parent),  # it is gone: nobody would stop this
        )
    assert pipeline.report is not None
    write_report(Path(socket).with_suffix(f".{start}"), pipeline.report)
    return status_of(pipeline, pipeline.report, tell=False)


def _run_workers(
    command: list[str],
    addresses: dict[str, str],
    count: int,
    admin: str | None,
    drain_timeout: float,
) -> Status:
    from rxotlp.cli.workers import hold, supervise

    with ExitStack() as stack:
        for name, address in hold(addresses, stack).items():
            command += ["--listen", f"{name}={address}"]
        report, status = supervise(command, count=count, admin=admin, drain_timeout=drain_timeout)
    typer.echo("\n".join(map(str, report.accounts)))
    if report.undelivered:
        say(report)
    return status


def _limit(text: str | None) -> MemoryLimit | None:
    try:
        return None if text is None else MemoryLimit.parse(text)
    except ValueError as error:
        raise UsageError(f"--memory-limit: {error}") from None


def _check(admin: str) -> None:
    try:
        endpoints.parse(admin)
    except ValueError as error:
        raise UsageError(f"--admin: {error}") from None
