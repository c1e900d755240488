"""`rxotlp run --workers N`: real processes on shared ports, killed, drained and added up."""

import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpSpanExporter,
)
from opentelemetry.sdk.trace.export import SpanExportResult

from rxotlp.books import Account
from rxotlp.cli.status import Status, worst
from rxotlp.cli.sums import add_accounts
from tests.support.command import DATA, FREE, Running, Start, send

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ports are shared on Linux alone")

TWO = ("--workers", "2", "--admin", "0")
GATEWAY = """
import os
from rxotlp import exporters, sources
from rxotlp import operators as ops

def seen(data):
    print("has it", os.getpid(), flush=True)
    return data

pipeline = sources.otlp().pipe(
    ops.chain(seen),
    ops.batch(max_delay={delay}),
    ops.export(exporters.File(f"spans-{{os.getpid()}}.jsonl")),
)
"""
HANGING = """
import asyncio, os
from rxotlp import sources
from rxotlp import operators as ops

class Hanging:
    async def export(self, data):
        print("has it", os.getpid(), flush=True)
        await asyncio.sleep(3600)

pipeline = sources.otlp().pipe(ops.export(Hanging()))
"""


def get(running: Running, path: str) -> Any:
    """What the endpoint of all says."""
    address = running.heard("err", "admin endpoint on").rpartition(" ")[2]
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def ready(running: Running) -> dict[str, str]:
    """Where all of them listen, once they do."""
    line = running.heard("err", "workers are ready: ").partition("ready: ")[2]
    return dict(part.split("=") for part in line.split())


def pids(running: Running) -> set[int]:
    """The workers' processes."""
    children = Path(f"/proc/{running.process.pid}/task").glob("*/children")
    return {int(pid) for one in children for pid in one.read_text().split()}


def test_both_serve_one_port_and_their_books_are_one(start: Start, tmp_path: Path) -> None:
    """As if it were one process, only faster."""
    running = start(GATEWAY.format(delay=0.02), *FREE, *TWO)
    at = ready(running)
    count = 24
    for number in range(count):  # a connection each: the kernel deals them out
        exporter = HttpSpanExporter(endpoint=f"http://{at['http']}/v1/traces")
        assert send(exporter, f"span-{number}-") is SpanExportResult.SUCCESS
    grpc = GrpcSpanExporter(endpoint=f"http://{at['grpc']}", insecure=True)
    assert send(grpc, "over grpc") is SpanExportResult.SUCCESS
    assert get(running, "/readyz")["workers"] == {"1": "ready", "2": "ready"}
    assert get(running, "/healthz") == {"healthy": True}
    books = {one["name"]: one for one in get(running, "/books")["accounts"]}
    assert books["export"]["delivered"] == count + 1
    running.signal(signal.SIGTERM)
    assert running.status() == 0, running.lines
    files = sorted(tmp_path.glob("spans-*.jsonl"))
    assert len(files) == 2, "one worker got every connection"
    written = "".join(file.read_text() for file in files)
    assert all(written.count(f"span-{number}-") == 1 for number in range(count))
    assert f"export: received={count + 1} delivered={count + 1}" in running.lines["out"]


def test_a_worker_that_was_killed_is_started_again(start: Start) -> None:
    """The others go on; what it had acknowledged is said to be unknown."""
    running = start(GATEWAY.format(delay=0.02), *FREE, *TWO)
    at = ready(running)
    before = pids(running)
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    running.heard("err", "was killed by SIGKILL; started again in")
    assert get(running, "/readyz")["ready"], "the other one is there"
    deadline = time.monotonic() + 30
    while get(running, "/readyz")["workers"] != {"1": "ready", "2": "ready"}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert killed not in pids(running)
    assert len(pids(running)) == 2
    assert get(running, "/readyz")["restarts"] == 1
    exporter = HttpSpanExporter(endpoint=f"http://{at['http']}/v1/traces")
    assert send(exporter, "again") is SpanExportResult.SUCCESS
    running.signal(signal.SIGTERM)
    assert running.status() == 0, running.lines
    running.heard("err", "the books of 1 processes that were killed are lost")


def test_all_drain_together_and_the_worst_is_the_status(start: Start) -> None:
    """One that leaves something behind must not pass for two that did not."""
    running = start(HANGING, *FREE, *TWO, "--drain-timeout", "0.5")
    at = ready(running)
    exporter = HttpSpanExporter(endpoint=f"http://{at['http']}/v1/traces", timeout=2)
    sender = threading.Thread(target=lambda: send(exporter, "stuck"))
    sender.start()
    running.heard("out", "has it")
    running.signal(signal.SIGTERM)
    assert running.status() == 3, running.lines
    running.heard("err", "1 item undelivered: 1 in export")
    sender.join()


def test_a_second_sigint_ends_all_at_once(start: Start) -> None:
    """No worker may outlive the process that is known to the supervisor."""
    running = start(HANGING, *FREE, *TWO, "--drain-timeout", "3600")
    at = ready(running)
    exporter = HttpSpanExporter(endpoint=f"http://{at['http']}/v1/traces", timeout=2)
    sender = threading.Thread(target=lambda: send(exporter, "lost"))
    sender.start()
    running.heard("out", "has it")
    workers = pids(running)
    running.signal(signal.SIGINT)
    running.heard("err", "draining")
    running.signal(signal.SIGINT)
    assert running.process.wait(30) == 130
    assert gone(workers)
    sender.join()


def test_workers_end_when_their_parent_was_killed(start: Start) -> None:
    """Nobody would stop them, and a new instance would share the port with them."""
    running = start(GATEWAY.format(delay=0.02), *FREE, *TWO)
    ready(running)
    workers = pids(running)
    running.signal(signal.SIGKILL)
    assert gone(workers)


def gone(workers: set[int]) -> bool:
    """Whether all of them end soon."""
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in workers):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_they_end_with_their_streams(start: Start) -> None:
    """A batch job in several processes is odd, and must end all the same."""
    running = start(
        DATA
        + """
from rxotlp import exporters, sources
from rxotlp import operators as ops

pipeline = sources.from_iterable([logs("a")]).pipe(ops.export(exporters.Memory()))
""",
        "--workers",
        "2",
    )
    assert running.status() == 0, running.lines
    assert "export: received=2 delivered=2" in running.lines["out"]


def test_what_never_was_ready_is_not_tried_for_ever(start: Start) -> None:
    """A typing mistake is answered at once, and once."""
    running = start("pipeline = 3", *FREE, *TWO)
    assert running.status() == 2
    running.heard("err", "before it was ready")
    assert not any("started again" in line for line in running.lines["err"])


def test_ports_of_their_own_are_no_shared_port(start: Start) -> None:
    """A stream that asks for any free port gets another in each process."""
    source = GATEWAY.format(delay=0.02).replace("otlp()", "otlp(grpc=None, http='127.0.0.1:0')")
    running = start(source, *TWO)
    assert running.status() == 2, running.lines
    running.heard("err", "tell them one with --listen")


def test_a_streams_own_port_is_shared(start: Start) -> None:
    """Nobody has to repeat on the command line what the stream says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{probe.getsockname()[1]}"
    source = GATEWAY.format(delay=0.02).replace("otlp()", f"otlp(grpc=None, http='{at}')")
    running = start(source, *TWO)
    assert ready(running) == {"http": at}
    exporter = HttpSpanExporter(endpoint=f"http://{at}/v1/traces")
    assert send(exporter, "shared") is SpanExportResult.SUCCESS
    running.signal(signal.SIGTERM)
    assert running.status() == 0, running.lines


def test_a_port_in_use_is_told_before_anything_starts(start: Start) -> None:
    """Shared ports would let a second instance take half of the first one's senders."""
    first = start(GATEWAY.format(delay=0.02), *FREE, *TWO)
    at = ready(first)
    second = start(GATEWAY.format(delay=0.02), "--listen", f"http={at['http']}", *TWO)
    assert second.status() == 1
    second.heard("err", "address already in use")


def test_sums_of_books_keep_names_and_order() -> None:
    """One table, whoever did the work."""
    one = [Account("otlp", received=1, sent=1), Account("batch", closed={"items": 2})]
    other = [Account("otlp", received=2, sent=2), Account("batch", closed={"items": 1, "end": 1})]
    assert add_accounts([one, other, [Account("late", held=1)]]) == [
        Account("otlp", received=3, sent=3),
        Account("batch", closed={"items": 3, "end": 1}),
        Account("late", held=1),
    ]


def test_the_worst_status_counts() -> None:
    """A failure outweighs what is undelivered, whatever the numbers."""
    assert worst([]) is Status.GOOD
    assert worst([0, 3]) is Status.UNDELIVERED
    assert worst([3, 4]) is Status.UNBALANCED
    assert worst([4, 1, 0]) is Status.FAILED
    assert worst([0, -9]) is Status.FAILED
