"""`rxotlp run` as a user has it: a process, a module in a folder, signals, a real client."""

import signal
import threading
import time
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpSpanExporter,
)
from opentelemetry.sdk.trace.export import SpanExportResult

from tests.support.command import DATA, FREE, GATEWAY, HANGING, Start, send


@pytest.mark.parametrize("scheduler", ["async", "sync"])
def test_a_real_client_is_delivered_on_either_scheduler(
    start: Start, tmp_path: Path, scheduler: str
) -> None:
    """The same file runs on both; what was acknowledged is in the output, and in the books."""
    running = start(GATEWAY.format(delay=0.05), *FREE, "--scheduler", scheduler)
    at = running.addresses
    http = HttpSpanExporter(endpoint=f"http://{at['http']}/v1/traces")
    grpc = GrpcSpanExporter(endpoint=f"http://{at['grpc']}", insecure=True)
    assert send(http, "over http") is SpanExportResult.SUCCESS
    assert send(grpc, "over grpc") is SpanExportResult.SUCCESS
    running.signal(signal.SIGTERM)
    assert running.status() == 0, running.lines
    written = (tmp_path / "spans.jsonl").read_text()
    assert written.count("over http") == 1
    assert written.count("over grpc") == 1
    assert "export: received=2 delivered=2" in running.lines["out"]
    assert "otlp: received=2 sent=2" in running.lines["out"]


@pytest.mark.parametrize("scheduler", ["async", "sync"])
def test_sigterm_answers_the_request_in_flight(
    start: Start, tmp_path: Path, scheduler: str
) -> None:
    """A rolling restart must not cost a sender its data or its patience."""
    running = start(GATEWAY.format(delay=600), *FREE, "--scheduler", scheduler)
    exporter = HttpSpanExporter(endpoint=f"http://{running.addresses['http']}/v1/traces")
    answers: list[SpanExportResult] = []
    sender = threading.Thread(target=lambda: answers.append(send(exporter, "in flight")))
    sender.start()
    running.heard("out", "has it")
    running.signal(signal.SIGTERM)
    assert running.status() == 0, running.lines
    sender.join()
    assert answers == [SpanExportResult.SUCCESS]
    assert "in flight" in (tmp_path / "spans.jsonl").read_text()
    assert any("draining" in line for line in running.lines["err"])


def test_a_second_sigint_ends_it_at_once(start: Start) -> None:
    """Someone at a terminal who presses Ctrl-C twice has decided."""
    running = start(HANGING, *FREE, "--drain-timeout", "3600")
    exporter = HttpSpanExporter(endpoint=f"http://{running.addresses['http']}/v1/traces", timeout=2)
    sender = threading.Thread(target=lambda: send(exporter, "lost"))
    sender.start()
    running.heard("out", "has it")
    running.signal(signal.SIGINT)
    running.heard("err", "draining")
    running.signal(signal.SIGINT)
    assert running.status() == 130
    running.heard("err", "interrupted again")
    sender.join()


def test_a_second_sigint_ends_it_even_when_its_loop_is_stuck(start: Start) -> None:
    """The very case in which somebody presses it twice."""
    running = start(
        DATA
        + """
import time
from rxotlp import exporters, sources
from rxotlp import operators as ops

def stuck(data):
    print("has it", flush=True)
    time.sleep(3600)

pipeline = sources.from_iterable([logs("a")]).pipe(
    ops.chain(stuck), ops.export(exporters.Memory())
)
"""
    )
    running.heard("out", "has it")
    running.signal(signal.SIGINT)
    time.sleep(0.2)  # two signals that are pending at once are one
    running.signal(signal.SIGINT)
    assert running.status() == 130


def test_what_is_undelivered_at_the_deadline_is_a_status(start: Start) -> None:
    """A supervisor must see that something was left behind."""
    running = start(HANGING, *FREE, "--drain-timeout", "0.2")
    exporter = HttpSpanExporter(endpoint=f"http://{running.addresses['http']}/v1/traces", timeout=2)
    sender = threading.Thread(target=lambda: send(exporter, "stuck"))
    sender.start()
    running.heard("out", "has it")
    running.signal(signal.SIGTERM)
    assert running.status() == 3, running.lines
    running.heard("err", "1 item undelivered: 1 in")
    sender.join()


def test_it_ends_with_its_stream(start: Start, tmp_path: Path) -> None:
    """A batch job is a pipeline too."""
    running = start(
        DATA
        + """
from rxotlp import exporters, sources
from rxotlp import operators as ops

pipeline = sources.from_iterable([logs("a"), logs("b")]).pipe(
    ops.batch(), ops.export(exporters.File("logs.jsonl"))
)
"""
    )
    assert running.status() == 0, running.lines
    assert len((tmp_path / "logs.jsonl").read_text().splitlines()) == 1


def test_what_an_iterable_gave_up_is_undelivered(start: Start) -> None:
    """No sender will offer it again, so nobody but the exit status tells."""
    running = start(
        DATA
        + """
from rxotlp import exporters, failed, sources
from rxotlp import operators as ops

down = exporters.Memory(outcome=failed("down"))
pipeline = sources.from_iterable([logs("a")], max_attempts=2, backoff=0.01).pipe(ops.export(down))
"""
    )
    assert running.status() == 3, running.lines
    running.heard("err", "1 item undelivered: 1 in")


def test_a_stream_that_fails_is_a_status_and_one_line(start: Start) -> None:
    """`on_error="stop"` is for those whose supervisor restarts them."""
    running = start(
        DATA
        + """
from rxotlp import exporters, sources
from rxotlp import operators as ops

def broken(data):
    raise RuntimeError("out of cheese")

pipeline = sources.from_iterable([logs("a")], max_attempts=1).pipe(
    ops.chain(broken, on_error="stop"), ops.export(exporters.Memory())
)
"""
    )
    assert running.status() == 1, running.lines
    running.heard("err", "RuntimeError: out of cheese")
    assert not any("Traceback" in line for line in running.lines["err"])


def test_books_that_do_not_balance_are_a_status(start: Start) -> None:
    """That is a defect, and must not pass for a good run."""
    running = start(
        DATA
        + """
import reactivex as rx
from rxotlp import assembly, exporters, sources
from rxotlp import operators as ops

def leaky(_):
    assembly.current().books.open("leaky").received += 1
    return sources.from_iterable([logs("a")]).pipe(ops.export(exporters.Memory()))

pipeline = rx.defer(leaky)
"""
    )
    assert running.status() == 4, running.lines
    running.heard("err", "books do not balance: leaky")


def test_a_pipeline_brings_its_own_settings(start: Start, tmp_path: Path) -> None:
    """A module may say more than a stream can: strict, a scheduler, a drain timeout."""
    source = GATEWAY.format(delay=0.05) + (
        "from rxotlp import Pipeline, SyncScheduler\n"
        "whole = Pipeline(pipeline, scheduler=SyncScheduler(), strict=True)\n"
    )
    running = start(source, *FREE, target="app:whole")
    exporter = HttpSpanExporter(endpoint=f"http://{running.addresses['http']}/v1/traces")
    assert send(exporter, "strict") is SpanExportResult.SUCCESS
    running.signal(signal.SIGINT)
    assert running.status() == 0, running.lines
