"""`OtlpHttp`: what it sends, over real sockets."""

import asyncio
import gzip
from collections.abc import Callable, Iterator

import pytest

from rxotlp._core.outcomes import DELIVERED, FILTERED, Cause, Kind, Outcome
from rxotlp.data import TelemetryData
from rxotlp.exporters import OtlpHttp
from rxotlp.wire.signals import Signal
from tests.support.http_export import export
from tests.support.otlp_http_server import Reply, Server, serve

Make = Callable[..., TelemetryData]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that takes everything unless a test scripts it."""
    with serve() as server:
        yield server


def test_bytes_leave_as_they_are_under_our_name(server: Server, spans: Make) -> None:
    """C12, C15: nothing is decoded or encoded again on the way out."""
    data = spans(3)
    assert export(OtlpHttp(server.url), data) == [DELIVERED]
    (request,) = server.requests
    assert request.path == "/v1/traces"
    assert request.body == data.to_bytes()
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["user-agent"].startswith("OTel-OTLP-Exporter-Python-rxotlp/")
    assert "content-encoding" not in request.headers
    assert int(request.headers["content-length"]) == len(request.body)


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("padding", [4, 3000])
def test_what_was_joined_arrives_in_order_whatever_its_size(
    server: Server, spans: Make, padding: int, compression: str
) -> None:
    """Large pieces are written one after the other, never copied into one; small ones are."""
    parts = [spans(40, padding=padding, service=name) for name in "abc"]
    data = TelemetryData.merge(parts)
    assert export(OtlpHttp(server.url, compression=compression), data) == [DELIVERED]
    (request,) = server.requests
    sent = b"".join(part.to_bytes() for part in parts)
    assert (gzip.decompress(request.body) if compression == "gzip" else request.body) == sent
    assert int(request.headers["content-length"]) == len(request.body)


def test_pieces_that_failed_are_sent_again_whole(server: Server, spans: Make) -> None:
    """C15: the element still has them, so no attempt keeps a body of its own."""
    server.script = lambda request: Reply(503 if len(server.requests) == 1 else 200)
    data = TelemetryData.merge([spans(40, padding=3000), spans(40, padding=3000)])
    failure, success = export(OtlpHttp(server.url), data, data)
    assert (failure.kind, success) == (Kind.FAILED, DELIVERED)
    first, second = server.requests
    assert first.body == second.body == data.to_bytes()


def test_pieces_are_together_what_the_limit_is_for(server: Server, spans: Make) -> None:
    """C8: it is the request that a server refuses, not a part of it."""
    one = spans(40, padding=3000)
    data = TelemetryData.merge([one, spans(40, padding=3000)])
    (refused,) = export(OtlpHttp(server.url, max_request_size=one.size + 1000), data)
    assert (refused.kind, refused.cause) == (Kind.REJECTED, Cause.TOO_LARGE)
    assert not server.requests


def test_each_signal_has_its_path(server: Server, spans: Make, logs: Make) -> None:
    """S12's paths, from the client's side, and a base URL's own path in front."""
    exporter = OtlpHttp(f"{server.url}/otlp/?tenant=a")
    assert export(exporter, spans(1), logs()) == [DELIVERED, DELIVERED]
    assert [request.path for request in server.requests] == [
        "/otlp/v1/traces?tenant=a",
        "/otlp/v1/logs?tenant=a",
    ]


def test_a_mapping_gives_complete_urls(server: Server, spans: Make, logs: Make) -> None:
    """Backends that ingest each signal elsewhere; a signal without one is refused for good."""
    exporter = OtlpHttp({Signal.TRACES: f"{server.url}/ingest"})
    delivered, refused = export(exporter, spans(1), logs())
    assert delivered is DELIVERED
    assert refused.kind is Kind.REJECTED
    assert "logs" in refused.reason
    assert [request.path for request in server.requests] == ["/ingest"]


def test_c15_every_attempt_sends_the_same_bytes(server: Server, spans: Make) -> None:
    """C15: compressed too, or a server could not recognise the retry."""
    data = spans(50)
    export(OtlpHttp(server.url, compression="gzip"), data, data)
    first, second = server.requests
    assert first.body == second.body


@pytest.mark.parametrize("count", [3, 2000])
def test_gzip_is_announced_and_complete(server: Server, spans: Make, count: int) -> None:
    """Small bodies are compressed on the loop, large ones on a thread."""
    data = spans(count, padding=200)
    assert export(OtlpHttp(server.url, compression="gzip"), data) == [DELIVERED]
    (request,) = server.requests
    assert request.headers["content-encoding"] == "gzip"
    assert request.payload == data.to_bytes()


def test_json_is_sent_and_its_answer_read(server: Server, spans: Make) -> None:
    """Some backends read nothing else."""
    server.script = lambda request: Reply(
        body=b'{"partialSuccess":{"rejectedSpans":"1","errorMessage":"old"}}'
    )
    data = spans(2)
    (outcome,) = export(OtlpHttp(server.url, protocol="http/json"), data)
    (request,) = server.requests
    assert request.headers["content-type"] == "application/json"
    assert TelemetryData.from_json(Signal.TRACES, request.body).message == data.message
    assert (outcome.kind, outcome.items) == (Kind.REJECTED, 1)


def test_c14_an_empty_request_is_not_sent(server: Server, spans: Make) -> None:
    """C14: and nothing was lost, so its sender hears success."""
    assert export(OtlpHttp(server.url), spans(0)) == [FILTERED]
    assert server.requests == []


def test_unreadable_bytes_are_rejected_and_not_sent(server: Server) -> None:
    """An exporter never raises for what its element holds."""
    data = TelemetryData.from_bytes(Signal.TRACES, b"\x0a\x02\x12\x05")
    (outcome,) = export(OtlpHttp(server.url), data)
    assert outcome.kind is Kind.REJECTED
    assert server.requests == []


def test_c11_one_connection_serves_request_after_request(server: Server, spans: Make) -> None:
    """C11: a connection a request would cost more than the request."""
    export(OtlpHttp(server.url), *(spans(1) for _ in range(5)))
    assert len({request.peer for request in server.requests}) == 1


def test_c1_requests_run_concurrently_up_to_the_connections(server: Server, spans: Make) -> None:
    """C1: latency must not bound throughput; and the pool is bounded."""
    exporter = OtlpHttp(server.url, max_connections=3)
    server.script = lambda request: (server.release.wait(10), Reply())[1]

    async def main() -> list[Outcome]:
        attempts = [asyncio.ensure_future(exporter.export(spans(1))) for _ in range(6)]
        while len(server.requests) < 3:
            await asyncio.sleep(0.01)
        assert len({request.peer for request in server.requests}) == 3
        server.release.set()
        outcomes = await asyncio.gather(*attempts)
        await exporter.aclose()
        return outcomes

    assert asyncio.run(main()) == [DELIVERED] * 6
    assert len({request.peer for request in server.requests}) == 3


def test_a_request_leaves_in_one_write(spans: Make) -> None:
    """Head and body in one packet where they fit: a second write can wait for an ACK."""
    writes: list[int] = []

    class Peer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            writes.append(len(data))
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def main() -> Outcome:
        peer = await asyncio.get_running_loop().create_server(Peer, "127.0.0.1", 0)
        exporter = OtlpHttp(f"http://127.0.0.1:{peer.sockets[0].getsockname()[1]}")
        try:
            return await exporter.export(spans(3))
        finally:
            await exporter.aclose()
            peer.close()
            await peer.wait_closed()

    assert asyncio.run(main()) is DELIVERED
    assert len(writes) == 1
