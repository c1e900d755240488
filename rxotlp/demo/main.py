"""Runs the demo: starts everything, stops it in order, and says what came of it.

The order of stopping is the point of a gateway: first the program, which waits for its
answers; then the pipeline, which drains; then the receiver behind it.
"""

import contextlib
import importlib.util
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console

from rxotlp.demo import accounting, program
from rxotlp.demo.pipeline import gateway
from rxotlp.demo.processes import FREE_PORTS, Backend, start
from rxotlp.demo.show import Show, books_table
from rxotlp.drain import Report
from rxotlp.errors import PipelineError
from rxotlp.pipeline import Pipeline

__all__ = ["main"]

NEEDED = (
    "opentelemetry.sdk",
    "opentelemetry.exporter.otlp.proto.grpc",
    "opentelemetry.exporter.otlp.proto.http",
)
PLACES = {"traces": "backend/traces", "metrics": "backend/metrics", "logs": "gateway/logs"}
RESOURCE = ("deployment.environment.name", "demo")


def main(*, seconds: float, records: int | None, output: Path | None, serve: bool) -> bool:
    """Run the demo.

    Args:
        seconds: how long the program sends.
        records: how many records it sends instead, at least.
        output: an empty or new folder; None makes a temporary one.
        serve: instead of the program, wait for the user's own, until SIGINT or SIGTERM.

    Returns:
        Whether everything is accounted for.

    Raises:
        PipelineError: something the demo needs is missing.
        OSError: a folder or a port that cannot be had.
    """
    if not serve:
        _need_the_sdk()
    folder = _folder(output)
    for name in ("gateway", "backend", "program"):
        (folder / name).mkdir()
    console = Console()
    console.print(f"output: {folder}", soft_wrap=True, highlight=False)
    with _terminable(), Backend(folder / "backend") as backend:
        pipeline = Pipeline(
            gateway(folder / "gateway", backend.endpoint), listen={} if serve else FREE_PORTS
        )
        with pipeline:
            if serve:
                _serve(console, pipeline)
                ended = 0
            else:
                ended = _run_program(console, pipeline, folder / "program", seconds, records)
        faults = backend.stop()
    if ended:
        faults.append(f"the program ended with status {ended}; see {folder / 'program'}")
    report = pipeline.report
    assert report is not None
    console.print(books_table(report.accounts))
    faults += _faults_of(pipeline, report)
    if not serve:
        faults += _check(console, folder, report)
    for fault in faults:
        console.print(f"FAULT  {fault}", soft_wrap=True, highlight=False, markup=False)
    return not faults


# -- the parts ----------------------------------------------------------------------------


def _need_the_sdk() -> None:
    for name in NEEDED:
        try:
            there = importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            there = False
        if not there:
            raise PipelineError(
                f"the demo's program needs {name}: pip install opentelemetry-sdk "
                "opentelemetry-exporter-otlp-proto-grpc opentelemetry-exporter-otlp-proto-http "
                "(or `make demo` in a checkout)"
            )


def _folder(output: Path | None) -> Path:
    if output is None:
        return Path(tempfile.mkdtemp(prefix="rxotlp-demo-"))
    output.mkdir(parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise PipelineError(f"--output {output}: expected an empty folder; what is in it would mix")
    return output.resolve()


def _run_program(
    console: Console, pipeline: Pipeline, folder: Path, seconds: float, records: int | None
) -> int:
    """Run the instrumented program beside a live view. Returns its exit status."""
    at = pipeline.addresses
    arguments = [
        at["grpc"],
        at["http"],
        str(folder / "sent.jsonl"),
        str(seconds),
        str(records or 0),
    ]
    console.print(
        "an instrumented program -> this gateway -> files here and a second receiver\n"
        f"gateway: gRPC {at['grpc']}, HTTP {at['http']}",
        highlight=False,
    )
    with open(folder / "stderr.txt", "w", encoding="utf-8") as errors:
        process = start([str(Path(program.__file__)), *arguments], stderr=errors)
    try:
        with Show(console, pipeline.books) as show:
            while process.poll() is None:
                time.sleep(0.25)
                show.tick()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return process.returncode


def _serve(console: Console, pipeline: Pipeline) -> None:
    at = pipeline.addresses
    port = at["http"].rpartition(":")[2]
    with contextlib.suppress(KeyboardInterrupt):  # from the moment that it says how to end it
        console.print(
            f"point your program at http://localhost:{port} (gRPC: {at['grpc']}); Ctrl-C ends it",
            highlight=False,
            soft_wrap=True,  # one line, whatever reads it
        )
        with Show(console, pipeline.books) as show:
            while True:
                time.sleep(0.5)
                show.tick()


def _faults_of(pipeline: Pipeline, report: Report) -> list[str]:
    faults = [f"the books do not balance: {account}" for account in report.unbalanced]
    if report.undelivered:
        faults.append(f"{report.undelivered} items undelivered when the gateway stopped")
    if pipeline.error is not None:
        faults.append(f"the stream ended with {pipeline.error!r}")
    return faults


def _check(console: Console, folder: Path, report: Report) -> list[str]:
    files = {place: folder / f"{place}.jsonl" for place in PLACES.values()}
    result = accounting.account(
        accounting.read_sent(folder / "program" / "sent.jsonl", PLACES),
        accounting.read_outputs(files, secret=program.SECRET, resource=RESOURCE),
        resends_reported=any(account.failed for account in report.accounts),
    )
    console.print(
        f"by id: {result.sent:,} sent = {result.delivered:,} delivered "
        f"+ {result.filtered:,} health checks filtered; {result.resent:,} delivered again "
        "after a reported failure; the secret is in no output"
        if not result.faults
        else f"by id: {result.sent:,} sent, {result.delivered:,} delivered, "
        f"{result.filtered:,} filtered, and not all is well:",
        highlight=False,
        soft_wrap=True,
    )
    return result.faults


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into KeyboardInterrupt, so that no process of ours outlives us."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
