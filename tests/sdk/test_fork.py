"""A fork: the parent's spans are the parent's, the child has a bridge that works."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from rxotlp import Pipeline, exporters, sources
from rxotlp import operators as ops
from rxotlp.sdk import BatchSpanProcessor

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]

Provide = Callable[[BatchSpanProcessor], TracerProvider]


def in_child(work: Callable[[], bool]) -> int:
    """Fork, work in the child, and return its exit status: 0 when `work` returned True."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if work() else 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")


@pytest.mark.parametrize("warm", [False, True], ids=["unused", "in use"])
def test_each_process_delivers_its_own_spans_once(warm: bool, provide: Provide) -> None:
    """Prefork servers: a provider made before the fork works in parent and child."""
    memory = exporters.Memory()
    with Pipeline(sources.otlp(grpc=None, http="127.0.0.1:0").pipe(ops.export(memory))) as receiver:
        processor = BatchSpanProcessor(
            exporter=exporters.OtlpHttp(f"http://{receiver.addresses['http']}"),
            schedule_delay=3600.0,
        )
        provider = provide(processor)
        tracer = provider.get_tracer("test")
        expected = ["parent before", "child", "parent after"]
        if warm:
            tracer.start_span("first").end()
            assert provider.force_flush()
            expected.append("first")
        tracer.start_span("parent before").end()

        def child() -> bool:
            before = processor.statistics().held == 0
            tracer.start_span("child").end()
            flushed = provider.force_flush()
            provider.shutdown()
            return before and flushed and processor.statistics().succeeded == 1

        assert in_child(child) == 0
        tracer.start_span("parent after").end()
        assert provider.force_flush()
        assert sorted(record.name for record in memory.records()) == sorted(expected)
        provider.shutdown()


def test_a_child_of_a_parent_whose_backend_hangs_is_not_kept_waiting(
    backend: Any, provide: Provide
) -> None:
    """What hangs is the parent's; the child's worker starts anew."""
    backend.gate.clear()
    processor = BatchSpanProcessor(exporter=backend, schedule_delay=0.01)
    provider = provide(processor)
    provider.get_tracer("test").start_span("parent").end()
    assert backend.asked.acquire(timeout=60)

    def child() -> bool:
        backend.gate.set()
        provider.get_tracer("test").start_span("child").end()
        return provider.force_flush() and backend.names == ["child"]

    assert in_child(child) == 0
    backend.gate.set()
    assert provider.force_flush()
    assert backend.names == ["parent"]


def test_a_child_of_a_processor_that_was_shut_down_stays_shut(
    backend: Any, provide: Provide
) -> None:
    """A fork does not undo a shutdown."""
    processor = BatchSpanProcessor(exporter=backend)
    provider = provide(processor)
    processor.shutdown()

    def child() -> bool:
        provider.get_tracer("test").start_span("late").end()
        return processor.statistics().dropped == 1

    assert in_child(child) == 0


def test_processes_forked_under_load_deliver_every_span_once(provide: Provide) -> None:
    """By name: a fork may hit any moment, and a lock that some thread held stays held."""
    memory = exporters.Memory()
    with Pipeline(sources.otlp(grpc=None, http="127.0.0.1:0").pipe(ops.export(memory))) as receiver:
        processor = BatchSpanProcessor(
            exporter=exporters.OtlpHttp(f"http://{receiver.addresses['http']}"),
            schedule_delay=0.001,
            max_queue_size=100_000,
        )
        provider = provide(processor)
        tracer = provider.get_tracer("test")
        done = threading.Event()
        expected: list[str] = []

        def load() -> None:
            while not done.is_set():
                expected.append(f"parent {len(expected)}")
                tracer.start_span(expected[-1]).end()
                done.wait(0.0005)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            for number in range(8):

                def child(name: str = f"child {number}") -> bool:
                    tracer.start_span(name).end()
                    return provider.force_flush()

                assert in_child(child) == 0
        finally:
            done.set()
            thread.join()
        assert provider.force_flush()
        names = sorted(record.name for record in memory.records())
        assert names == sorted(expected + [f"child {number}" for number in range(8)])


IMPORTS = """
import sys
from opentelemetry.sdk.trace import TracerProvider
from rxotlp import exporters
from rxotlp.sdk import BatchSpanProcessor

kind, address = sys.argv[1:]
processor = BatchSpanProcessor(exporter=getattr(exporters, kind)(f"http://{address}"))
provider = TracerProvider()
provider.add_span_processor(processor)
span = provider.get_tracer("test").start_span("one")
before = set(sys.modules)
span.end()
assert provider.force_flush()
print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize(("kind", "transport"), [("OtlpHttp", "http"), ("OtlpGrpc", "grpc")])
def test_an_export_imports_nothing(kind: str, transport: str) -> None:
    """A child forked while the worker imports a module has half of that module for ever."""
    with Pipeline(
        sources.otlp(grpc="127.0.0.1:0", http="127.0.0.1:0").pipe(ops.export(exporters.Memory()))
    ) as receiver:
        done = subprocess.run(
            [sys.executable, "-c", IMPORTS, kind, receiver.addresses[transport]],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.stdout.split(), done.stderr, done.returncode) == ([], "", 0)


WORKERS = """
import multiprocessing, os, sys, threading
from opentelemetry.sdk.trace import TracerProvider
from rxotlp.sdk import BatchSpanProcessor

processor = BatchSpanProcessor(schedule_delay=3600)
provider = TracerProvider()
provider.add_span_processor(processor)

def work(name):
    provider.get_tracer("test").start_span(name).end()

if __name__ == "__main__":
    how = multiprocessing.get_context(sys.argv[1])
    work("parent")
    done = threading.Event()
    idle = [threading.Thread(target=done.wait) for _ in range(20)]
    for thread in idle:
        thread.start()
    workers = [how.Process(target=work, args=(f"worker {n}",)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with how.Pool(2) as pool:
        pool.map(work, [f"pool {n}" for n in range(4)], chunksize=1)
        pool.close()
        pool.join()
    done.set()
    print([worker.exitcode for worker in workers])
"""


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing_deliver_as_they_end(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They end without atexit, and what they had not sent by then would be gone."""
    memory = exporters.Memory()
    program = tmp_path / "program.py"
    program.write_text(WORKERS, encoding="utf-8")
    with Pipeline(sources.otlp(grpc=None, http="127.0.0.1:0").pipe(ops.export(memory))) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{receiver.addresses['http']}")
        done = subprocess.run(
            [sys.executable, "-W", "error", str(program), how],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    assert (done.stdout, done.stderr) == ("[0, 0, 0]\n", "")
    expected = ["parent", *(f"pool {n}" for n in range(4)), *(f"worker {n}" for n in range(3))]
    assert sorted(record.name for record in memory.records()) == expected


def test_a_worker_that_made_its_processor_itself_delivers_too(tmp_path: Path) -> None:
    """As a worker does that sets itself up after the fork."""
    memory = exporters.Memory()
    with Pipeline(sources.otlp(grpc=None, http="127.0.0.1:0").pipe(ops.export(memory))) as receiver:
        url = f"http://{receiver.addresses['http']}"

        def work() -> None:
            processor = BatchSpanProcessor(exporter=exporters.OtlpHttp(url), schedule_delay=3600.0)
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(processor)
            provider.get_tracer("test").start_span("of a worker").end()

        worker = multiprocessing.get_context("fork").Process(target=work)
        worker.start()
        worker.join(60)
        assert worker.exitcode == 0
    assert [record.name for record in memory.records()] == ["of a worker"]
