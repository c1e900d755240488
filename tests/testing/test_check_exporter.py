"""Ours keep the rules, over real sockets and files; broken ones are told by the rule."""

import asyncio
import gzip
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from rxotlp._core.outcomes import DELIVERED, Outcome, rejected
from rxotlp.data import Signal, TelemetryData
from rxotlp.exporters import Console, Exporter, File, Memory, OtlpGrpc, OtlpHttp
from rxotlp.testing import ConformanceError, Recorder, check_exporter
from tests.support import otlp_grpc_server, otlp_http_server

RESPONSES = {
    "traces": ExportTraceServiceResponse(),
    "metrics": ExportMetricsServiceResponse(),
    "logs": ExportLogsServiceResponse(),
}
HTTP_PATHS = {"/v1/traces": Signal.TRACES, "/v1/metrics": Signal.METRICS, "/v1/logs": Signal.LOGS}
GRPC_METHODS = {signal.names.grpc_method: signal for signal in HTTP_PATHS.values()}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine, and no log records that keep exceptions."""
    monkeypatch.setattr(logging.getLogger("rxotlp"), "disabled", True)
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def test_memory_keeps_every_rule() -> None:
    """The exporter that most tests look into."""
    kept: list[Memory] = []

    def make() -> Memory:
        kept.append(Memory())
        return kept[-1]

    def received() -> Iterator[TelemetryData]:
        for memory in kept:
            yield from memory.elements

    check_exporter(make, received=received)


def test_console_keeps_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    """It writes to whatever stdout is at the time."""
    check_exporter(Console)


@pytest.mark.parametrize("format_", ["json", "proto"])
def test_file_keeps_every_rule(tmp_path: Path, format_: Any) -> None:
    """Several exporters of one file may be open one after the other."""
    path, number = tmp_path, iter(range(100))
    check_exporter(
        lambda: File(path / f"{next(number)}.{format_}", format=format_),
        down=lambda: File(tmp_path / "no" / "such" / "folder" / "x.jsonl", format=format_),
        signals=[Signal.TRACES, Signal.METRICS, Signal.LOGS],
    )


def test_otlp_http_keeps_every_rule() -> None:
    """Over a real socket; what the server has is compared."""

    def script(request: otlp_http_server.Request) -> otlp_http_server.Reply:
        body = RESPONSES[request.path.rpartition("/")[2]].SerializeToString()
        return otlp_http_server.Reply(body=body, headers={"Content-Type": "application/x-protobuf"})

    with otlp_http_server.serve(script) as server:

        def received() -> Iterator[TelemetryData]:
            for request in list(server.requests):
                yield TelemetryData.from_bytes(HTTP_PATHS[request.path], request.payload)

        check_exporter(
            lambda: OtlpHttp(server.url),
            received=received,
            down=lambda: OtlpHttp(f"http://127.0.0.1:{otlp_http_server.closed_port()}"),
        )


def test_otlp_grpc_keeps_every_rule() -> None:
    """The same over gRPC."""
    with otlp_grpc_server.serve(lambda call: b"") as server:

        def received() -> Iterator[TelemetryData]:
            for call in list(server.calls):
                body = call.body
                if body[:2] == b"\x1f\x8b":
                    body = gzip.decompress(body)
                yield TelemetryData.from_bytes(GRPC_METHODS[call.method], body)

        check_exporter(
            lambda: OtlpGrpc(server.url),
            received=received,
            down=lambda: OtlpGrpc(f"http://127.0.0.1:{otlp_http_server.closed_port()}", timeout=1),
        )


def test_a_plain_class_with_one_method_can_keep_them_too() -> None:
    """That is all an exporter of one's own has to be."""

    class Plain:
        def export(self, data: TelemetryData) -> Outcome:
            return DELIVERED

        def __repr__(self) -> str:
            return "<Plain>"

    check_exporter(Plain)


class Good(Exporter):
    """What the broken ones are made of."""

    destination = "nowhere"

    async def export(self, data: TelemetryData) -> Outcome:
        await asyncio.sleep(0)
        return DELIVERED


class SaysTrue(Good):
    async def export(self, data: TelemetryData) -> Any:
        return True


class KeepsElements(Good):
    kept: list[TelemetryData] = []  # noqa: RUF012

    async def export(self, data: TelemetryData) -> Outcome:
        self.kept.append(data)
        return DELIVERED


class BlocksTheLoop(Good):
    blocked = False

    async def export(self, data: TelemetryData) -> Outcome:
        if not self.blocked:
            self.blocked = True
            time.sleep(0.55)  # it connects, say, and only the first time
        return DELIVERED


class OneAtATime(Good):
    busy = False

    async def export(self, data: TelemetryData) -> Outcome:
        if self.busy:
            raise RuntimeError("busy")
        self.busy = True
        await asyncio.sleep(0.001)
        self.busy = False
        return DELIVERED


class OneLoopOnly(Good):
    future: Any = None

    async def export(self, data: TelemetryData) -> Outcome:
        here = asyncio.get_running_loop()
        if self.future is None:
            self.future = here
        if self.future is not here:
            raise RuntimeError("attached to a different loop")
        return DELIVERED


class ClosedForGood(Good):
    closed = False

    async def export(self, data: TelemetryData) -> Outcome:
        if self.closed:
            raise RuntimeError("closed")
        return DELIVERED

    def close(self) -> None:
        self.closed = True


class ClosesOnce(Good):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class BreaksWhenEmpty(Good):
    async def export(self, data: TelemetryData) -> Outcome:
        next(iter(data.records()))
        return DELIVERED


class RefusesLogs(Good):
    async def export(self, data: TelemetryData) -> Outcome:
        return rejected("no logs") if data.signal is Signal.LOGS else DELIVERED


class IgnoresCancellation(Good):
    async def export(self, data: TelemetryData) -> Outcome:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            try:
                await asyncio.sleep(0.05)
                if not self.cancelled:
                    return DELIVERED
            except asyncio.CancelledError:
                self.cancelled = True
        return DELIVERED

    cancelled = False


class Anonymous:
    def export(self, data: TelemetryData) -> Outcome:
        return DELIVERED


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (SaysTrue, "answers"),
        (KeepsElements, "lets go"),
        (BlocksTheLoop, "loop"),
        (OneAtATime, "concurrent"),
        (OneLoopOnly, "threads"),
        (ClosedForGood, "close"),
        (ClosesOnce, "close"),
        (BreaksWhenEmpty, "empty, large"),
        (RefusesLogs, "signals"),
        (IgnoresCancellation, "cancel"),
        (Anonymous, "repr"),
    ],
)
def test_a_broken_exporter_is_found_by_the_rule_it_breaks(
    make: Callable[[], Any], rule: str
) -> None:
    """A suite that cannot fail says nothing about those that pass."""
    with pytest.raises(ConformanceError) as caught:
        check_exporter(make, seconds=1.0)
    assert rule in caught.value.rules, str(caught.value)
    KeepsElements.kept.clear()


def test_what_never_arrived_is_found() -> None:
    """An exporter that acknowledges what it loses is the worst kind."""
    with pytest.raises(ConformanceError, match="delivers: of 6 records that were acknowledged 0"):
        check_exporter(Good, received=list)


def test_a_raise_for_a_destination_that_is_down_is_found() -> None:
    """`ops.export` survives it, but nobody is told what was wrong."""

    class Raises(Good):
        async def export(self, data: TelemetryData) -> Outcome:
            raise ConnectionRefusedError("down")

    with pytest.raises(ConformanceError, match="down: raised ConnectionRefusedError"):
        check_exporter(Good, down=Raises)


def test_the_recorder_is_an_exporter() -> None:
    """Its own rules hold for it, but for metrics, which have no ids."""
    with pytest.raises(ConformanceError) as caught:
        check_exporter(Recorder, signals=[Signal.LOGS, Signal.TRACES])
    assert set(caught.value.rules) <= {"signals", "repr"}
