"""The command line: `rxotlp run` and `rxotlp demo`.

`run` puts a stream or a Pipeline of a module of yours into a process: it loads it, runs it
until a signal or the stream's own end, drains it and prints the books. Whatever goes wrong
on the way is one line on stderr; the books are all that goes to stdout.

    exit status   0  everything that came in is accounted for and was answered
                  1  it could not start, or the stream ended with an error
                  2  the command line or MODULE:ATTR cannot be followed
                  3  something was undelivered at the drain's deadline, or given up
                  4  books do not balance: a defect of rxotlp or of a stage built on it
"""

import asyncio
import enum
import importlib
import json
import logging
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from reactivex import Observable

from rxotlp.drain import Report
from rxotlp.errors import OtlpError, UsageError
from rxotlp.pipeline import DEFAULT_DRAIN_TIMEOUT, Pipeline
from rxotlp.sources.addresses import parse_address

__all__ = ["app", "load", "main"]

logger = logging.getLogger("rxotlp")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reactive stream processing for OpenTelemetry data.",
)


class Status(enum.IntEnum):
    """How a run ended, for the shell."""

    GOOD = 0
    FAILED = 1
    USAGE = 2
    UNDELIVERED = 3
    UNBALANCED = 4


class Scheduler(enum.StrEnum):
    """Where a stream runs."""

    ASYNC = "async"
    SYNC = "sync"


class LogFormat(enum.StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


class LogLevel(enum.StrEnum):
    """What is logged, and everything worse."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@app.command()
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
    _log_to_stderr(log_level, log_format)
    try:
        pipeline = load(target)
        pipeline.listen.update(_addresses(listen or []))
        main(pipeline, in_threads=scheduler is Scheduler.SYNC, drain_timeout=drain_timeout)
    except UsageError as error:
        raise _exit(Status.USAGE, error) from None
    except (OtlpError, OSError, ValueError) as error:
        raise _exit(Status.FAILED, error) from None
    assert pipeline.report is not None
    typer.echo(pipeline.books)
    raise typer.Exit(_status(pipeline, pipeline.report))


@app.command()
def demo(
    seconds: Annotated[
        float, typer.Option(min=0.1, help="How long the instrumented program sends.")
    ] = 5.0,
    records: Annotated[
        int | None, typer.Option(min=1, help="End after so many records instead.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where everything goes; a temporary directory by default."
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Stay up on ports 4317 and 4318 for your own program.")
    ] = False,
) -> None:
    """Show a gateway at work on a real program, and account for every record by its id.

    Exit status: 0 when every record that was sent is where it belongs, else 1.
    """
    from rxotlp.demo import main as demo_main

    _log_to_stderr(LogLevel.WARNING, LogFormat.TEXT)
    try:
        good = demo_main.main(seconds=seconds, records=records, output=output, serve=serve)
    except (OtlpError, OSError, ValueError) as error:
        raise _exit(Status.FAILED, error) from None
    raise typer.Exit(Status.GOOD if good else Status.FAILED)


# -- loading ------------------------------------------------------------------------------


def load(target: str) -> Pipeline:
    """The pipeline that `MODULE:ATTR` names; the current directory is looked in first.

    Raises:
        UsageError: there is none.
    """
    name, _, attribute = target.partition(":")
    if not name or not attribute:
        raise UsageError(f"{target!r}: expected MODULE:ATTR, such as gateway:pipeline")
    if name.startswith("."):
        raise UsageError(f"{target!r}: expected a module's whole name, without a leading dot")
    if name.endswith(".py"):
        raise UsageError(
            f"{target!r}: expected a module's name; is it {name.removesuffix('.py')}:{attribute}?"
        )
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"{target}: no module {error.name!r}, neither here nor installed"
            ) from None
        raise UsageError(f"{target}: {name} needs the module {error.name!r}") from None
    except (Exception, SystemExit) as error:  # a script's `sys.exit()` is no good run
        logger.debug("importing %s", name, exc_info=True)
        raise UsageError(
            f"{target}: importing {name} raised {type(error).__name__}: {error}{_where(error)}"
        ) from None
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(f"{target}: {name} has no attribute {attribute!r}") from None
    if isinstance(found, Pipeline):
        return found
    if isinstance(found, Observable):
        return Pipeline(found)
    raise UsageError(
        f"{target}: expected a stream (an Observable) or a Pipeline, got {type(found).__name__}"
    )


def _where(error: BaseException) -> str:
    """The last line of the user's own that an error came by."""
    places = [
        f" ({frame.f_code.co_filename}:{line})"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0]
        not in ("rxotlp", "importlib", "_frozen_importlib", "_frozen_importlib_external")
    ]
    return places[-1] if places else ""


def _addresses(listen: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in listen:
        transport, _, address = text.partition("=")
        if transport not in ("grpc", "http") or not address:
            raise UsageError(
                f"--listen {text!r}: expected grpc=HOST:PORT or http=HOST:PORT, "
                "such as http=127.0.0.1:0"
            )
        try:
            parse_address("--listen", transport, address)
        except ValueError as error:
            raise UsageError(str(error)) from None
        found[transport] = address
    return found


# -- running ------------------------------------------------------------------------------


def main(pipeline: Pipeline, *, in_threads: bool, drain_timeout: float) -> None:
    """Run a pipeline to its end or to a signal, drained and stopped when this returns.

    Args:
        pipeline: not started yet.
        in_threads: run it on a SyncScheduler beside the loop that waits here.
        drain_timeout: seconds.
    """
    try:
        import uvloop
    except ImportError:
        factory = None  # there is none for Windows
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_run(pipeline, in_threads, drain_timeout))


async def _run(pipeline: Pipeline, in_threads: bool, drain_timeout: float) -> None:
    stop = asyncio.Event()
    with _Signals(asyncio.get_running_loop(), stop):
        if in_threads:
            await asyncio.to_thread(pipeline.start)
        else:
            await pipeline.astart()
        addresses = pipeline.addresses
        if addresses:
            logger.info(
                "listening on %s", " ".join(f"{name}={at}" for name, at in addresses.items())
            )
        ended = asyncio.create_task(pipeline.await_end())
        asked = asyncio.create_task(stop.wait())
        await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            logger.info("stopping: draining for up to %g s", drain_timeout)
        for task in (ended, asked):
            task.cancel()
        await pipeline.astop(drain_timeout=drain_timeout)


class _Signals:
    """Turns the first SIGINT or SIGTERM into an event and a second SIGINT into the end.

    Handlers of the `signal` module, not of the loop: a loop that is stuck in an action must
    not keep the second SIGINT waiting.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        self._loop = loop
        self._stop = stop
        self._before: dict[int, object] = {}
        self._asked = False

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._heard)

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            # Not through logging or stdout: this may have interrupted them, lock and all.
            os.write(2, b"rxotlp: interrupted again; what is in flight is lost to its senders\n")
            os._exit(128 + signal.SIGINT)
        self._asked = True
        self._loop.call_soon_threadsafe(self._stop.set)


def _status(pipeline: Pipeline, report: Report) -> Status:
    if pipeline.error is not None:
        return Status.FAILED
    if report.unbalanced:
        return Status.UNBALANCED
    if report.undelivered:
        _say(f"{report.undelivered} items undelivered")
        return Status.UNDELIVERED
    return Status.GOOD


# -- saying -------------------------------------------------------------------------------


def _say(text: object) -> None:
    typer.echo(f"rxotlp: {text}", err=True)


def _exit(status: Status, error: Exception) -> typer.Exit:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    _say(reason)
    return typer.Exit(status)


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def _log_to_stderr(level: LogLevel, form: LogFormat) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(
        _JsonFormatter()
        if form is LogFormat.JSON
        else logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
