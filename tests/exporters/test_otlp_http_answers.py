"""`OtlpHttp`: what a server's answer means."""

import asyncio
import email.utils
import gzip
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from google.rpc.status_pb2 import Status

from rxotlp._core.outcomes import Kind, Outcome
from rxotlp._core.statuses import PROTOBUF, build_status
from rxotlp.data import TelemetryData
from rxotlp.exporters import OtlpHttp, otlp_http
from tests.support.http_export import answered, partial
from tests.support.otlp_http_server import Reply, Server, serve

Make = Callable[..., TelemetryData]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that takes everything unless a test scripts it."""
    with serve() as server:
        yield server


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_c3_overload_is_retryable(server: Server, spans: Make, status: int) -> None:
    """C3: exactly these statuses say that a retry may help."""
    outcome = answered(server, Reply(status), spans(1))
    assert outcome.kind is Kind.FAILED
    assert outcome.reason.startswith(f"127.0.0.1:{server.port}/v1/traces answered {status}")


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 405, 408, 413, 415, 500, 501])
def test_c3_c5_other_statuses_are_final(server: Server, spans: Make, status: int) -> None:
    """C3, C5: retrying what can never succeed blocks what could; redirects are not followed."""
    reply = Reply(status, headers={"Location": f"{server.url}/elsewhere"})
    outcome = answered(server, reply, spans(1))
    assert outcome.kind is Kind.REJECTED
    assert f"answered {status}" in outcome.reason
    assert len(server.requests) == 1


def test_c6_retry_after_in_seconds_is_passed_on(server: Server, spans: Make) -> None:
    """C6: the server knows best when it will have room."""
    outcome = answered(server, Reply(503, headers={"Retry-After": "17"}), spans(1))
    assert outcome.retry_after == 17


def test_c6_retry_after_as_a_date_is_passed_on(server: Server, spans: Make) -> None:
    """C6: HTTP has two forms, and both occur."""
    date = email.utils.formatdate(time.time() + 1000, usegmt=True)
    outcome = answered(server, Reply(429, headers={"Retry-After": date}), spans(1))
    assert outcome.retry_after is not None
    assert 900 < outcome.retry_after <= 1001


@pytest.mark.parametrize("hours", [-1, 1])
def test_c6_a_date_is_read_by_the_servers_own_clock(
    server: Server, spans: Make, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks differ and jump: by ours a client would wait an hour, or not at all."""
    ours = SimpleNamespace(time=lambda: time.time() + hours * 3600)
    monkeypatch.setattr(otlp_http, "time", ours)
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    outcome = answered(server, Reply(503, headers={"Retry-After": date}), spans(1))
    assert outcome.retry_after is not None
    assert 58 <= outcome.retry_after <= 61


def test_retry_after_that_makes_no_sense_is_ignored(server: Server, spans: Make) -> None:
    """The status alone says that it is retryable."""
    outcome = answered(server, Reply(503, headers={"Retry-After": "soon"}), spans(1))
    assert (outcome.kind, outcome.retry_after) == (Kind.FAILED, None)


def test_retry_after_that_makes_no_sense_leaves_what_the_body_asks(
    server: Server, spans: Make
) -> None:
    """A proxy's header and the backend's RetryInfo may come together."""
    status = build_status(14, "busy", retry_after=7.0).SerializeToString()
    reply = Reply(503, body=status, headers={"Retry-After": "soon", "Content-Type": PROTOBUF})
    assert answered(server, reply, spans(1)).retry_after == 7


@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {"Content-Encoding": "br"}])
def test_an_answer_that_cannot_be_decompressed_is_what_its_status_says(
    server: Server, spans: Make, headers: dict[str, str]
) -> None:
    """A broken proxy must not make an outage a loss, nor a delivery a refusal."""
    down = answered(server, Reply(503, body=b"x", headers=headers), spans(1))
    assert down.kind is Kind.FAILED
    taken = answered(server, Reply(200, body=b"x", headers=headers), spans(1))
    assert (taken.kind, bool(taken.warning)) == (Kind.DELIVERED, True)


def test_a_refusals_status_message_is_told_in_one_line(server: Server, spans: Make) -> None:
    """S10's bodies say what was wrong; a log line must stay one."""
    body = Status(message="span 3:\n bad \x1b[31mid").SerializeToString()
    outcome = answered(server, Reply(400, body), spans(1))
    assert outcome.reason.endswith("answered 400: span 3: bad \N{REPLACEMENT CHARACTER}[31mid")


def test_a_refusal_in_plain_text_is_told_too(server: Server, spans: Make) -> None:
    """The Collector answers some errors in plain text."""
    reply = Reply(405, b"405 method not allowed, supported: [POST]")
    assert answered(server, reply, spans(1)).reason.endswith("supported: [POST]")


def test_a_refusal_in_json_is_told_too(server: Server, spans: Make) -> None:
    """J6's answer, from the client's side."""
    reply = Reply(400, b'{"code":3,"message":"line 1 column 7"}')
    outcome = answered(server, reply, spans(1), protocol="http/json")
    assert outcome.reason.endswith("answered 400: line 1 column 7")


def test_c4_partial_success_rejects_its_count(server: Server, spans: Make) -> None:
    """C4: never retried; the count goes into the books."""
    outcome = answered(server, Reply(body=partial(2, "too old")), spans(5))
    assert (outcome.kind, outcome.items) == (Kind.REJECTED, 2)
    assert "too old" in outcome.reason


def test_c4_more_rejected_than_sent_counts_as_all(server: Server, spans: Make) -> None:
    """A backend that miscounts must not unbalance our books."""
    outcome = answered(server, Reply(body=partial(2**40, "all")), spans(5))
    assert (outcome.kind, outcome.items) == (Kind.REJECTED, 5)


def test_c4_a_warning_is_a_delivery_with_a_text(server: Server, spans: Make) -> None:
    """C4: rejected 0 with a message is for people to read."""
    outcome = answered(server, Reply(body=partial(0, "use v2")), spans(5))
    assert outcome.kind is Kind.DELIVERED
    assert "use v2" in outcome.warning


def test_an_unreadable_success_is_a_delivery_with_a_warning(server: Server, spans: Make) -> None:
    """200 says that it was taken; sending it again would double it."""
    outcome = answered(server, Reply(body=b"\xff\xff"), spans(1))
    assert outcome.kind is Kind.DELIVERED
    assert outcome.warning


def test_a_compressed_answer_is_read(server: Server, spans: Make) -> None:
    """Not asked for, but some proxies compress whatever they like."""
    reply = Reply(body=gzip.compress(partial(1, "old")), headers={"Content-Encoding": "gzip"})
    assert answered(server, reply, spans(2)).items == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(declare=4 * 1024 * 1024 + 1),
        Reply(endless=True),
        Reply(400, endless=True),
        Reply(body=gzip.compress(bytes(5 * 1024 * 1024)), headers={"Content-Encoding": "gzip"}),
    ],
    ids=["declared", "endless", "endless refusal", "bomb"],
)
def test_c9_a_response_over_4_mib_is_refused_and_not_read(
    server: Server, spans: Make, reply: Reply
) -> None:
    """C9: a broken backend must not fill our memory; not retryable."""
    outcome = answered(server, reply, spans(1))
    assert outcome.kind is Kind.REJECTED
    assert "4194304 bytes" in outcome.reason
    assert server.endless_sent < 64 * 1024 * 1024


def test_a_refusal_before_the_body_was_read_is_heard(spans: Make) -> None:
    """Servers answer 413 to a header alone; taken for a broken line it would be retried."""

    peers: list[asyncio.Transport] = []

    class Peer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            peers.append(transport)
            transport.pause_reading()
            transport.write(
                b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig"
            )

    async def main() -> Outcome:
        peer = await asyncio.get_running_loop().create_server(Peer, "127.0.0.1", 0)
        exporter = OtlpHttp(f"http://127.0.0.1:{peer.sockets[0].getsockname()[1]}")
        try:
            return await exporter.export(spans(20_000, padding=1000))
        finally:
            await exporter.aclose()
            peer.close()
            for transport in peers:
                transport.abort()

    outcome = asyncio.run(main())
    assert outcome.kind is Kind.REJECTED
    assert outcome.reason.endswith("answered 413: big")


def test_a_peer_that_stops_reading_holds_nothing(spans: Make) -> None:
    """Each attempt it stalls would leave a socket and a request's bytes behind."""
    data = spans(20_000, padding=1000)

    async def main() -> tuple[Outcome, int]:
        stalled = asyncio.Event()
        received = asyncio.get_running_loop().create_future()

        async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await stalled.wait()
            received.set_result(len(await reader.read()))
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(peer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        exporter = OtlpHttp(f"http://127.0.0.1:{port}", timeout=0.2)
        outcome = await exporter.export(data)
        stalled.set()
        size: int = await received
        await exporter.aclose()
        server.close()
        return outcome, size

    outcome, size = asyncio.run(main())
    assert outcome.kind is Kind.FAILED
    assert size < data.size  # what was still in our memory never left it
