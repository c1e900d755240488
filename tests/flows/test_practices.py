"""The practices of the analysis (its 7.2), end to end: what no unit test of one stage shows."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from rxotlp import exporters, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed
from rxotlp.data import TelemetryData
from rxotlp.errors import RefusedError
from rxotlp.flows import AsyncDataFlow, BatchProcessing, NestedTrace, SyncControlFlow
from rxotlp.operators import Retry
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import SyncScheduler, VirtualScheduler
from rxotlp.testing import ids_of, logs

BATCHES = 60
AT_ONCE = 4


class Counting:
    """A TCP forwarder in front of a real server, which counts the connections it is asked for."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._behind = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, function: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=function, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(self._behind)
            self._open += [client, server]
            self._start(self._forward, client, server)
            self._start(self._forward, server, client)

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End all threads and close all sockets."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        for one in self._open:
            one.close()


@pytest.fixture(params=["grpc", "http"])
def backend(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Counting, exporters.Memory]]:
    """An exporter, the connections that it opened, and what a real receiver got from it."""
    protocol: Literal["grpc", "http"] = request.param
    free = "127.0.0.1:0"
    kept = exporters.Memory()
    receiver = sources.otlp(
        grpc=free if protocol == "grpc" else None, http=free if protocol == "http" else None
    )
    running = Pipeline(receiver.pipe(ops.export(kept)))
    running.start()
    counting = Counting(receiver.addresses[protocol])
    make = exporters.OtlpGrpc if protocol == "grpc" else exporters.OtlpHttp
    yield make(counting.url), counting, kept
    running.stop()
    counting.close()


def test_connections_are_opened_once_and_used_for_every_batch(
    backend: tuple[Any, Counting, exporters.Memory],
) -> None:
    """A gRPC channel has one, HTTP as many as requests are under way at once; none is a batch's."""
    exporter, counting, kept = backend
    with SyncScheduler() as scheduler:
        flow = SyncControlFlow(scheduler=scheduler)
        program = Pipeline(
            flow.telemetry.pipe(ops.export(exporter, max_concurrent=AT_ONCE)), scheduler=scheduler
        )
        program.start()
        for _ in range(BATCHES):
            flow.execute(BatchProcessing([NestedTrace([], name="order")]))
        assert program.stop().unbalanced == []
        assert flow.statistics().undelivered == 0
    assert sum(data.items for data in kept.elements) == BATCHES
    most = 1 if isinstance(exporter, exporters.OtlpGrpc) else AT_ONCE
    assert 1 <= counting.connections <= most


def test_a_batch_leaves_by_size_or_by_age_whichever_comes_first() -> None:
    """A size without an age keeps the last few for ever; an age without a size has no bound."""
    left: list[tuple[float, int]] = []
    with VirtualScheduler() as clock:
        flow = AsyncDataFlow(batch_size=3, flush_interval=0.5, scheduler=clock)
        flow.output.subscribe(lambda batch: left.append((clock.clock, batch.items)))
        for number in range(4):
            flow.process(logs([number]))
        clock.advance_by(1)
        flow.stop()
    assert left == [(0.0, 3), (0.5, 1)]


def test_memory_is_bounded_whatever_the_backend_does() -> None:
    """A backend that stops taking makes senders wait or hear so, and nothing grows."""

    class Stuck:
        async def export(self, _: TelemetryData) -> Outcome:
            await asyncio.sleep(1e6)
            return DELIVERED

    with VirtualScheduler() as clock:
        flow = AsyncDataFlow(batch_size=10, max_items=100, scheduler=clock)
        flow.output.pipe(ops.export(Stuck(), max_concurrent=1)).subscribe(scheduler=clock)
        again: list[float | None] = []
        for number in range(1_000):
            try:
                flow.process(logs([number]))
            except RefusedError as error:
                again.append(error.retry_after)
            clock.advance_by(0.01)
        assert flow.admission.items <= 100
        assert len(again) == 900
        assert None not in again
        flow.stop(timeout=1)
    assert flow.admission.items == 0


def test_what_fails_is_tried_again_and_told_when_that_was_in_vain() -> None:
    """An error that may pass costs a delay; one that stays is heard of by who sent it."""
    tries: list[int] = []

    class Shaky:
        def export(self, data: TelemetryData) -> Outcome:
            tries.append(ids_of(data)[0])
            recovers = tries.count(ids_of(data)[0]) > 2 and ids_of(data) == [1]
            return DELIVERED if recovers else failed("not now")

    with VirtualScheduler() as clock:
        flow = AsyncDataFlow(batch_size=1, scheduler=clock)
        retry = Retry(limit=60)
        flow.output.pipe(ops.export(Shaky(), retry=retry)).subscribe(scheduler=clock)
        passes, stays = flow.process(logs([1])), flow.process(logs([2]))
        clock.advance_by(600)
        flow.stop()
    assert passes.outcome is not None
    assert stays.outcome is not None
    assert (passes.outcome.kind, stays.outcome.kind) == (Kind.DELIVERED, Kind.FAILED)
    assert tries.count(1) == 3
    assert tries.count(2) > 3
