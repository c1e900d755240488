"""`rxotlp run` under a supervisor: its endpoint, a stream that dies, where items were left."""

import json
import signal
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpSpanExporter,
)
from opentelemetry.sdk.trace.export import SpanExportResult

from tests.support.command import DATA, FREE, GATEWAY, HANGING, Running, Start, send

ADMIN = ("--admin", "0")
DIES_ONCE = """
from pathlib import Path
from rxotlp import exporters, sources
from rxotlp import operators as ops

def dies_once(data):
    if not Path("died").exists():
        Path("died").touch()
        raise RuntimeError("out of cheese")
    return data

pipeline = sources.otlp().pipe(
    ops.chain(dies_once, on_error="stop"), ops.export(exporters.File("spans.jsonl"))
)
"""


def get(running: Running, path: str) -> tuple[int, Any]:
    """What its endpoint says."""
    address = running.heard("err", "admin endpoint on").rpartition(" ")[2]
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def post(address: str, timeout: float = 20.0) -> tuple[int, str | None]:
    """Send one span; status and Retry-After."""
    span = {"traceId": "1" * 32, "spanId": "2" * 16, "name": "x"}
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    request = urllib.request.Request(
        f"http://{address}/v1/traces",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Retry-After"]


@pytest.mark.parametrize("scheduler", ["async", "sync"])
def test_its_endpoint_says_ready_then_draining_and_its_books(start: Start, scheduler: str) -> None:
    """What a rollout looks at before it goes on to the next instance."""
    running = start(HANGING, *FREE, *ADMIN, "--scheduler", scheduler, "--drain-timeout", "2")
    at = running.addresses["http"]
    assert get(running, "/readyz")[0] == 200
    assert get(running, "/healthz") == (200, {"healthy": True})
    sender = threading.Thread(target=lambda: post(at))
    sender.start()
    running.heard("out", "has it")
    assert get(running, "/books")[1]["held"] == 1
    running.signal(signal.SIGTERM)
    running.heard("err", "draining")
    deadline = time.monotonic() + 10
    while (said := get(running, "/readyz"))[0] == 200 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (said[0], said[1]["reason"]) == (503, "draining")
    status, retry_after = post(at)
    assert status == 503
    assert retry_after is not None
    assert running.status() == 3, running.lines
    running.heard("err", "1 item undelivered: 1 in export")
    sender.join()


def test_a_stream_that_died_is_subscribed_anew_on_the_same_port(start: Start) -> None:
    """A sender tries again, as it is told, and notices no more than that."""
    running = start(DIES_ONCE, *FREE, *ADMIN, "--on-error", "restart")
    at = running.addresses["http"]
    assert post(at)[0] == 503
    status, said = get(running, "/readyz")
    assert (status, said["reason"]) == (503, "the stream died of RuntimeError: out of cheese")
    status, retry_after = post(at)
    assert status == 503
    assert retry_after is not None
    deadline = time.monotonic() + 20
    while post(at)[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    status, said = get(running, "/readyz")
    assert (status, said["restarts"]) == (200, 1)
    running.signal(signal.SIGTERM)
    assert running.status() == 0, running.lines


def test_a_stream_that_died_ends_the_process_where_that_is_asked(start: Start) -> None:
    """For those whose supervisor restarts processes; whatever the Pipeline itself says."""
    restarting = "from rxotlp import Pipeline\nwhole = Pipeline(pipeline, on_error='restart')\n"
    running = start(DIES_ONCE + restarting, *FREE, "--on-error", "exit", target="app:whole")
    assert post(running.addresses["http"])[0] == 503
    assert running.status() == 1
    running.heard("err", "RuntimeError: out of cheese")


def test_stopping_a_stream_that_is_dead_waits_for_nothing(start: Start) -> None:
    """It died of something; the status says so."""
    always = DATA + "import reactivex as rx\npipeline = rx.throw(RuntimeError('no cheese'))\n"
    running = start(always, "--on-error", "restart", "--drain-timeout", "600")
    running.heard("err", "subscribed anew in")
    running.signal(signal.SIGTERM)
    assert running.status() == 1


def test_memory_above_the_limit_refuses_senders_with_a_time(start: Start) -> None:
    """Better than being killed with everything that was acknowledged."""
    running = start(GATEWAY.format(delay=0.05), *FREE, *ADMIN, "--memory-limit", "1MiB,4GiB")
    at = running.addresses["http"]
    running.heard("err", "sources refuse")
    assert post(at) == (503, "5")
    assert "refuses: memory:" in get(running, "/readyz")[1]["reason"]
    running.signal(signal.SIGTERM)
    assert running.status() == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--admin", "nowhere"), "--admin: admin address 'nowhere': expected PORT"),
        (("--memory-limit", "much"), "--memory-limit: memory limit 'much': expected SOFT"),
    ],
)
def test_options_that_cannot_be_followed(
    start: Start, arguments: tuple[str, ...], says: str
) -> None:
    """One line and status 2."""
    running = start(GATEWAY.format(delay=1), *FREE, *arguments)
    assert running.status() == 2
    assert says in running.heard("err", "rxotlp:")


def test_its_port_for_probes_is_kept_until_the_end(start: Start) -> None:
    """Who asks while it drains must not read a refused connection as a crash."""
    running = start(GATEWAY.format(delay=600), *FREE, *ADMIN)
    exporter = HttpSpanExporter(endpoint=f"http://{running.addresses['http']}/v1/traces")
    answers: list[SpanExportResult] = []
    sender = threading.Thread(target=lambda: answers.append(send(exporter, "in flight")))
    sender.start()
    running.heard("out", "has it")
    assert get(running, "/healthz")[0] == 200
    running.signal(signal.SIGTERM)
    assert running.status() == 0
    sender.join()
    assert answers == [SpanExportResult.SUCCESS]
