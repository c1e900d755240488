"""A running receiver whose pipeline is one observer that answers as a test tells it to."""

import asyncio
import http.client
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import TelemetryData
from rxotlp.schedulers import AsyncScheduler, SerialScheduler, SyncScheduler
from rxotlp.sources import OtlpSource, otlp


class Harness:
    """A connected receiver, what it let in, and what becomes of it.

    `outcome` is what every element is reported as: an Outcome, a function of the element
    that gives one, or None: it is claimed and never reported.
    """

    def __init__(self, source: OtlpSource) -> None:
        self.source = source
        self.outcome: Outcome | Callable[[TelemetryData], Outcome | None] | None = DELIVERED
        self.seen: list[TelemetryData] = []
        self.claims: list[Any] = []
        self.completed = threading.Event()
        self.errors: list[Exception] = []
        self.scheduler: SerialScheduler

    def on_next(self, data: TelemetryData) -> None:
        self.seen.append(data.detached())
        share = data._share
        assert share is not None
        claim = share.claim()
        outcome = self.outcome(data) if callable(self.outcome) else self.outcome
        if outcome is None:
            self.claims.append(claim)
        else:
            claim.report(outcome)

    def report(self, outcome: Outcome) -> None:
        """Report every claim that was kept."""
        claims, self.claims = self.claims, []
        for claim in claims:
            claim.report(outcome)

    @property
    def grpc(self) -> str:
        return self.source.addresses["grpc"]

    @property
    def http(self) -> str:
        return self.source.addresses["http"]

    @property
    def http_port(self) -> int:
        return int(self.http.rpartition(":")[2])

    def post(
        self,
        path: str = "/v1/traces",
        body: bytes | Iterator[bytes] = b"",
        *,
        method: str = "POST",
        content_type: str | None = "application/x-protobuf",
        headers: dict[str, str] | None = None,
        timeout: float = 20.0,
    ) -> tuple[int, dict[str, str], bytes]:
        """One HTTP request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        try:
            given = dict(headers or {})
            if content_type is not None:
                given["Content-Type"] = content_type
            connection.request(method, path, body, given)
            response = connection.getresponse()
            return (
                response.status,
                {k.lower(): v for k, v in response.getheaders()},
                response.read(),
            )
        finally:
            connection.close()


@contextmanager
def running(kind: str, **arguments: Any) -> Iterator[Harness]:
    """A receiver on free ports, on a SyncScheduler or an AsyncScheduler."""
    arguments = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0"} | arguments
    harness = Harness(otlp(**arguments))

    def attach() -> None:
        harness.source.subscribe(harness.on_next, harness.errors.append, harness.completed.set)

    if kind == "sync":
        scheduler = harness.scheduler = SyncScheduler()
        attach()
        try:
            harness.source.connect(scheduler)
            yield harness
        finally:
            harness.source.close()
            harness.claims.clear()
            scheduler.close()
        return

    loop = asyncio.new_event_loop()
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: problems.append(context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> None:
        harness.scheduler = AsyncScheduler()
        attach()
        await harness.source.aconnect(harness.scheduler)

    async def stop() -> None:
        await harness.source.aclose()
        harness.claims.clear()
        harness.scheduler.close()

    try:
        asyncio.run_coroutine_threadsafe(start(), loop).result(20)
        yield harness
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        left = asyncio.all_tasks(loop)
        loop.close()
    assert not left, f"tasks left after close: {left}"
    assert not problems, f"the loop was told of {problems}"


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of scheduler that has sockets."""
    return str(request.param)


@pytest.fixture
def receiver(kind: str) -> Callable[..., Any]:
    """`with receiver(**arguments) as harness`, on each kind of scheduler."""
    return lambda **arguments: running(kind, **arguments)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What rxotlp has logged so far, at warning or worse."""
    caplog.set_level(logging.INFO)
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.name.partition(".")[0] == "rxotlp" and record.levelno >= logging.WARNING
    ]


def traces(count: int = 3, *, bad: int | None = None) -> bytes:
    """A request of `count` spans; span number `bad` has a trace id of 15 bytes."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(count):
        size = 15 if number == bad else 16
        spans.add(
            trace_id=bytes([number + 1]) * size, span_id=bytes([number + 1]) * 8, name=f"s{number}"
        )
    return request.SerializeToString()


def logs(count: int = 2) -> bytes:
    """A request of `count` log records."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for number in range(count):
        records.add().body.string_value = f"line {number}"
    return request.SerializeToString()


def metrics(count: int = 4) -> bytes:
    """A request of one gauge with `count` points."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    for number in range(count):
        metric.gauge.data_points.add(as_int=number)
    return request.SerializeToString()


@pytest.fixture
def payloads() -> dict[str, bytes]:
    """One small request a signal."""
    return {"traces": traces(), "logs": logs(), "metrics": metrics()}


@pytest.fixture
def make_traces() -> Callable[..., bytes]:
    """The function that makes trace requests."""
    return traces
