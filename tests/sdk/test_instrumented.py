"""A program whose libraries are instrumented: exports make no spans of their own."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest
import requests
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.trace import TracerProvider

from rxotlp import Pipeline, exporters, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import TelemetryData
from rxotlp.sdk import BatchSpanProcessor
from tests.support.otlp_http_server import closed_port, serve

Provide = Callable[[BatchSpanProcessor], TracerProvider]


@pytest.fixture(name="instrument")
def _instrument() -> Iterator[Callable[[Any, TracerProvider], None]]:
    used: list[Any] = []

    def instrument(instrumentor: Any, provider: TracerProvider) -> None:
        instrumentor.instrument(tracer_provider=provider)
        used.append(instrumentor)

    yield instrument
    for instrumentor in used:
        instrumentor.uninstrument()


def test_an_instrumented_grpc_makes_no_span_of_an_export(
    instrument: Callable[[Any, TracerProvider], None], provide: Provide
) -> None:
    """Each export would otherwise make a span, which is exported, for ever."""
    memory = exporters.Memory()
    with Pipeline(sources.otlp(grpc="127.0.0.1:0", http=None).pipe(ops.export(memory))) as receiver:
        processor = BatchSpanProcessor(
            exporter=exporters.OtlpGrpc(f"http://{receiver.addresses['grpc']}")
        )
        provider = provide(processor)
        instrument(GrpcInstrumentorClient(), provider)  # type: ignore[no-untyped-call]
        provider.get_tracer("test").start_span("one").end()
        assert provider.force_flush()
        provider.shutdown()
    assert [record.name for record in memory.records()] == ["one"]
    assert processor.statistics().received == 1


class ByRequests(exporters.Memory):
    """An exporter of somebody's own; it runs in the pool."""

    blocking = True

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def export(self, data: TelemetryData) -> Outcome:
        requests.post(self._url, data=data.to_bytes(), timeout=30).raise_for_status()
        return DELIVERED


def test_an_instrumented_library_makes_no_span_in_an_exporter_of_ones_own(
    instrument: Callable[[Any, TracerProvider], None], provide: Provide
) -> None:
    """On a thread of the pool, where a context has to be taken along; outside it does."""
    with serve() as server:
        processor = BatchSpanProcessor(exporter=ByRequests(server.url))
        provider = provide(processor)
        instrument(RequestsInstrumentor(), provider)
        provider.get_tracer("test").start_span("one").end()
        assert provider.force_flush()
        assert processor.statistics().received == 1
        requests.get(server.url, timeout=30)
        assert processor.statistics().received == 2
        provider.shutdown()


def test_the_http_exporter_asks_with_instrumentation_off(
    monkeypatch: pytest.MonkeyPatch, provide: Provide
) -> None:
    """What aiohttp's instrumentation asks before it makes a span, asked where it asks."""
    enabled: list[bool] = []
    original = aiohttp.ClientSession._request

    async def asking(self: Any, *args: Any, **kwargs: Any) -> Any:
        enabled.append(is_instrumentation_enabled())
        return await original(self, *args, **kwargs)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", asking)
    with serve() as server:
        provider = provide(BatchSpanProcessor(exporter=exporters.OtlpHttp(server.url)))
        provider.get_tracer("test").start_span("one").end()
        assert provider.force_flush()
        provider.shutdown()
    assert enabled == [False]


def test_a_retry_after_an_outage_makes_no_span_either(
    instrument: Callable[[Any, TracerProvider], None], provide: Provide
) -> None:
    """A timer's turn and a receipt's thread have contexts of their own."""
    posted = threading.Semaphore(0)

    class Failing(ByRequests):
        def export(self, data: TelemetryData) -> Outcome:
            posted.release()
            return super().export(data)

    with serve() as server:
        exporter = Failing(f"http://127.0.0.1:{closed_port()}")
        processor = BatchSpanProcessor(exporter=exporter, schedule_delay=0.01)
        provider = provide(processor)
        instrument(RequestsInstrumentor(), provider)
        provider.get_tracer("test").start_span("one").end()
        for _ in range(2):
            assert posted.acquire(timeout=60)
        exporter._url = server.url
        assert provider.force_flush()
        assert processor.statistics()[:2] == (1, 1)
        provider.shutdown()
