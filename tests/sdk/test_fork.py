"""A fork: the parent's spans are the parent's, the child has a bridge that works."""

import os
import signal
import time
import traceback
from collections.abc import Callable
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
