"""Connecting, stopping and closing a receiver; and the SDK's own exporters as clients."""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpSpanExporter,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from reactivex import operators as rx_ops

from rxotlp._core.outcomes import failed
from rxotlp.errors import PipelineError
from rxotlp.schedulers import AsyncScheduler, SyncScheduler, VirtualScheduler
from rxotlp.sources import otlp

Receiver = Callable[..., Any]


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_the_sdks_exporters_are_served(receiver: Receiver, transport: str) -> None:
    """S12: an unmodified SDK sends to it and takes its answer for what it is."""
    with receiver() as server:
        exporter = (
            GrpcSpanExporter(endpoint=f"http://{server.grpc}", insecure=True)
            if transport == "grpc"
            else HttpSpanExporter(endpoint=f"http://{server.http}/v1/traces")
        )
        results: list[SpanExportResult] = []
        export = exporter.export
        exporter.export = lambda spans: results.append(export(spans)) or results[-1]  # type: ignore
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with provider.get_tracer("t").start_as_current_span("hello"):
            pass
        provider.shutdown()
        assert results == [SpanExportResult.SUCCESS]
        (data,) = server.seen
        assert data.message.resource_spans[0].scope_spans[0].spans[0].name == "hello"


def test_it_binds_loopback_unless_told_otherwise() -> None:
    """S12: a receiver that is open to the network by accident is a leak."""
    source = otlp()
    assert source._grpc == ("127.0.0.1", 4317)
    assert source._http == ("127.0.0.1", 4318)


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_port_in_use_is_one_clear_error(transport: str) -> None:
    """The address and the reason, and nothing left half open."""
    with socket.socket() as taken, SyncScheduler() as scheduler:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        addresses = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0"} | {transport: address}
        source = otlp(grpc=addresses["grpc"], http=addresses["http"])
        with pytest.raises(OSError, match=f"{address}: address already in use"):
            source.connect(scheduler)
        assert source.addresses == {}
        source.close()


def test_ports_are_free_after_close(receiver: Receiver) -> None:
    """A restart takes the same ports again."""
    with receiver() as server:
        addresses = dict(server.source.addresses)
    for address in addresses.values():
        host, _, port = address.rpartition(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=20)


def test_a_source_starts_again_after_close(payloads: dict[str, bytes]) -> None:
    """A supervised pipeline is restarted with the source that its module made."""
    source = otlp(grpc=None, http="127.0.0.1:0")
    for _ in range(2):
        with SyncScheduler() as scheduler:
            source.subscribe(lambda data: None)
            source.connect(scheduler)
            assert set(source.addresses) == {"http"}
            source.close()


def test_close_answers_who_waits(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """A sender whose data is in flight at the end hears that it must send again."""
    answers: list[int] = []
    with receiver() as server:
        server.outcome = None
        thread = threading.Thread(
            target=lambda: answers.append(server.post(body=payloads["traces"])[0])
        )
        thread.start()
        while not server.claims:
            time.sleep(0.005)
    thread.join(20)
    assert answers == [503]


def test_close_leaves_no_thread(payloads: dict[str, bytes], receiver: Receiver) -> None:
    """Threads that stay keep a process from ending."""
    before = set(threading.enumerate())
    with receiver() as server:
        server.post(body=payloads["traces"])
    left = [
        thread
        for thread in set(threading.enumerate()) - before
        if "_poll_wrapper" not in thread.name  # grpc's own, shared by the process
    ]
    assert left == []


def test_close_cuts_a_client_that_does_not_finish(receiver: Receiver) -> None:
    """A half-sent request must not hold up the end for ever."""
    with receiver() as server:
        connection = socket.create_connection(("127.0.0.1", server.http_port), timeout=20)
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
            b"content-length: 1000\r\n\r\nhalf"
        )
    with connection, suppress(ConnectionResetError):  # a cut is an end or a reset
        while connection.recv(1000):
            pass


def test_nothing_is_accepted_without_a_subscriber(payloads: dict[str, bytes]) -> None:
    """Nobody could deliver it, so nobody may be told that it was."""
    import http.client

    source = otlp(grpc=None, http="127.0.0.1:0")
    with SyncScheduler() as scheduler:
        source.connect(scheduler)
        connection = http.client.HTTPConnection(source.addresses["http"], timeout=20)
        connection.request(
            "POST", "/v1/traces", payloads["traces"], {"Content-Type": "application/x-protobuf"}
        )
        assert connection.getresponse().status == 503
        connection.close()
        source.close()


def test_it_refuses_once_its_subscriber_is_done(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """After `take(1)` the next sender is told to try again, not that all is well."""
    with receiver() as server:
        source = server.source
        source._observers.on_completed()
        seen: list[Any] = []

        def take(data: Any) -> None:
            seen.append(data.detached())
            data._share.claim().report(failed("scripted"))

        source.pipe(rx_ops.take(1)).subscribe(take)
        server.post(body=payloads["traces"])
        assert server.post(body=payloads["traces"])[0] == 503
        assert len(seen) == 1


def test_http_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC alone must work without uvicorn, and HTTP must say what it lacks."""
    monkeypatch.delitem(sys.modules, "rxotlp.sources.http_server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with SyncScheduler() as scheduler:
        source = otlp(grpc=None, http="127.0.0.1:0")
        with pytest.raises(PipelineError, match=r"pip install 'rxotlp\[gateway\]'"):
            source.connect(scheduler)
        source = otlp(grpc="127.0.0.1:0", http=None)
        source.connect(scheduler)
        source.close()


def test_connecting_on_the_loop_itself_says_the_way_out() -> None:
    """Blocking the loop for the loop's own work would never end."""

    async def main() -> None:
        scheduler = AsyncScheduler()
        source = otlp(grpc=None, http="127.0.0.1:0")
        with pytest.raises(PipelineError, match="aconnect"):
            source.connect(scheduler)
        await source.aconnect(scheduler)
        with pytest.raises(PipelineError, match="connected already"):
            await source.aconnect(scheduler)
        await source.aclose()
        scheduler.close()

    asyncio.run(main())


def test_virtual_time_has_no_sockets() -> None:
    """A clear error beats a receiver that never answers."""
    source = otlp(grpc=None, http="127.0.0.1:0")
    with pytest.raises(PipelineError, match="virtual"):
        source.connect(VirtualScheduler())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grpc": None, "http": None}, "expected an address"),
        ({"grpc": "localhost"}, r"otlp\(grpc='localhost'\): expected 'host:port'"),
        ({"http": ":4318"}, "0.0.0.0"),
        ({"http": "127.0.0.1:70000"}, "0 to 65535"),
        ({"http": "::1:4318"}, "host:port"),
        ({"validate": "some"}, "'full' or 'shape'"),
        ({"when_full": "drop"}, "'wait' or 'reject'"),
        ({"max_request_size": 0}, "1 byte or more"),
        ({"ack_timeout": 0}, "more than 0"),
        ({"header_timeout": 0}, "more than 0"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict[str, Any], message: str) -> None:
    """A typo in an address must show when the pipeline is written."""
    with pytest.raises(ValueError, match=message):
        otlp(**arguments)


def test_what_a_native_filter_drops_is_answered_at_once(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """No frame of the receiver holds an element: else this would be abandoned, or linger."""
    with receiver() as server:
        server.source._observers.on_completed()
        server.source.pipe(rx_ops.filter(lambda _: False)).subscribe(server.on_next)
        assert server.post(body=payloads["traces"])[0] == 200
        assert server.seen == []
