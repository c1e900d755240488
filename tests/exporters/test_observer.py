"""Exporters in streams: `ops.export(exporter)` and `stream.subscribe(exporter)`."""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxotlp import exporters
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.exporters import Exporter, File, Memory, OtlpGrpc, OtlpHttp
from rxotlp.operators.export import export
from rxotlp.receipt import Receipt
from rxotlp.schedulers import AsyncScheduler, SyncScheduler, VirtualScheduler
from rxotlp.testing import no_leaks
from tests.support import otlp_grpc_server, otlp_http_server

Make = Callable[..., TelemetryData]


@pytest.fixture
def scheduler() -> Iterator[SyncScheduler]:
    """A scheduler of the test's own, so that its threads end with it."""
    with SyncScheduler() as scheduler:
        yield scheduler


def settled(stream: Subject[TelemetryData], data: TelemetryData) -> Outcome:
    """Send one element in and wait for what its sender hears."""
    heard: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
    receipt = Receipt(on_settle=lambda receipt: heard.put(receipt.outcome))
    stream.on_next(receipt.attach(data))
    outcome = heard.get(timeout=10)
    assert outcome is not None
    return outcome


def test_public_names_are_sorted_and_there() -> None:
    """`__all__` is what the documentation lists."""
    assert list(exporters.__all__) == sorted(exporters.__all__)
    assert all(hasattr(exporters, name) for name in exporters.__all__)


def test_a_stream_subscribes_an_exporter(spans: Make, scheduler: SyncScheduler) -> None:
    """The shortest pipeline there is; and the sender hears of the delivery."""
    memory = Memory(scheduler=scheduler)
    stream: Subject[TelemetryData] = Subject()
    stream.subscribe(memory)
    assert settled(stream, spans(3)).kind is Kind.DELIVERED
    assert memory.items == 3


def test_a_subscribed_exporters_refusal_reaches_the_sender(
    spans: Make, scheduler: SyncScheduler
) -> None:
    """Nothing is lost silently (L4)."""
    stream: Subject[TelemetryData] = Subject()
    stream.subscribe(Memory(outcome=rejected("no"), scheduler=scheduler))
    outcome = settled(stream, spans(3))
    assert (outcome.kind, outcome.reason) == (Kind.REJECTED, "no")


def test_an_exporter_can_be_subscribed_again_after_a_streams_end(
    spans: Make, scheduler: SyncScheduler
) -> None:
    """The end of one stream is not the exporter's."""
    memory = Memory(scheduler=scheduler)
    for _ in range(2):
        stream: Subject[TelemetryData] = Subject()
        stream.subscribe(memory)
        assert settled(stream, spans(1)).kind is Kind.DELIVERED
        stream.on_completed()
    assert memory.items == 2


def test_a_streams_error_is_logged_with_the_exporters_name(
    spans: Make, scheduler: SyncScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    """An observer has nobody to pass an error on to."""
    memory = Memory(scheduler=scheduler)
    with caplog.at_level(logging.ERROR, logger="rxotlp"):
        rx.throw(RuntimeError("boom")).subscribe(memory)
    assert "<Memory to memory> failed: RuntimeError: boom" in caplog.text


def test_an_exporter_holds_no_element(spans: Make, scheduler: SyncScheduler) -> None:
    """An element that anything can reach never settles."""

    class Discard(Exporter):
        destination = "nowhere"

        def export(self, data: TelemetryData) -> Outcome:
            return DELIVERED

    assert scheduler.inbox is not None  # its worker runs from here on, and is no leak
    with no_leaks():
        stream: Subject[TelemetryData] = Subject()
        stream.subscribe(Discard(scheduler=scheduler))
        settled(stream, spans(1))


def test_a_blocking_exporter_runs_in_the_pool(
    spans: Make, scheduler: SyncScheduler, tmp_path: Any
) -> None:
    """A slow disk must not stop the pipeline's turn."""
    threads: list[str] = []

    class Slow(File):
        def export(self, data: TelemetryData) -> Outcome:
            threads.append(threading.current_thread().name)
            return super().export(data)

    file = Slow(tmp_path / "out.jsonl", scheduler=scheduler)
    stream: Subject[TelemetryData] = Subject()
    stream.subscribe(file)
    assert settled(stream, spans(1)).kind is Kind.DELIVERED
    assert threads != [threading.current_thread().name]
    file.close()


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_network_exporters_run_on_the_sync_scheduler(
    spans: Make, scheduler: SyncScheduler, kind: str
) -> None:
    """Its coroutines have a private loop; the exporter is closed from another thread."""
    with otlp_http_server.serve() as http, otlp_grpc_server.serve() as grpc:
        exporter = OtlpHttp(http.url) if kind == "http" else OtlpGrpc(grpc.url)
        stream: Subject[TelemetryData] = Subject()
        deliveries: list[Any] = []
        stream.pipe(export(exporter, scheduler=scheduler)).subscribe(deliveries.append)
        for _ in range(3):
            assert settled(stream, spans(2)).kind is Kind.DELIVERED
        exporter.close()
        assert len(http.requests) + len(grpc.calls) == 3
    assert [delivery.items for delivery in deliveries] == [2, 2, 2]


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_network_exporters_run_on_the_asyncio_scheduler(spans: Make, kind: str) -> None:
    """Everything on the one loop of the application."""
    with otlp_http_server.serve() as http, otlp_grpc_server.serve() as grpc:
        exporter = OtlpHttp(http.url) if kind == "http" else OtlpGrpc(grpc.url)

        async def main() -> list[Any]:
            deliveries: list[Any] = []
            done = asyncio.Event()
            with AsyncScheduler() as scheduler:
                rx.from_iterable([spans(1), spans(2)]).pipe(
                    export(exporter, scheduler=scheduler)
                ).subscribe(deliveries.append, on_completed=done.set)
                await asyncio.wait_for(done.wait(), 10)
            await exporter.aclose()
            return deliveries

        deliveries = asyncio.run(main())
    assert {delivery.outcome.kind for delivery in deliveries} == {Kind.DELIVERED}
    assert sorted(delivery.items for delivery in deliveries) == [1, 2]


def test_close_stops_what_is_tried_again(spans: Make) -> None:
    """Else a program's exporter knocks at a dead backend for ever, on connections opened anew."""
    with VirtualScheduler() as clock:
        memory = Memory(outcome=failed("down"), scheduler=clock)
        stream: Subject[TelemetryData] = Subject()
        stream.subscribe(memory)
        receipt = Receipt(inbox=clock.inbox)
        stream.on_next(receipt.attach(spans(1)))
        clock.advance_by(0)
        stream.on_completed()
        memory.close()
        tried = memory.attempts
        clock.advance_by(100)
        assert memory.attempts == tried
        assert receipt.outcome is not None
        assert receipt.outcome.kind is Kind.FAILED
        assert not clock.statistics().timers


def test_a_closed_exporter_takes_more_of_its_stream(spans: Make) -> None:
    """`close` releases, it does not end."""
    with VirtualScheduler() as clock:
        memory = Memory(scheduler=clock)
        stream: Subject[TelemetryData] = Subject()
        stream.subscribe(memory)
        for _ in range(2):
            receipt = Receipt(inbox=clock.inbox)
            stream.on_next(receipt.attach(spans(1)))
            clock.advance_by(0)
            memory.close()
            assert receipt.outcome is DELIVERED
        assert memory.items == 2
