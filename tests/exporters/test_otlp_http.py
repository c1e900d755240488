"""`OtlpHttp` against a server that misbehaves on request, over real sockets."""

import asyncio
import email.utils
import gzip
import logging
import os
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry import context
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from rxotlp._core.outcomes import DELIVERED, FILTERED, Kind, Outcome
from rxotlp.data import TelemetryData
from rxotlp.exporters import OtlpHttp
from rxotlp.wire.signals import Signal
from tests.support.otlp_http_server import Reply, Server, closed_port, serve

Make = Callable[..., TelemetryData]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that takes everything unless a test scripts it."""
    with serve() as server:
        yield server


def export(exporter: OtlpHttp, *elements: TelemetryData) -> list[Outcome]:
    """One attempt for each element, one after the other, then close."""

    async def main() -> list[Outcome]:
        try:
            return [await exporter.export(data) for data in elements]
        finally:
            await exporter.aclose()

    return asyncio.run(main())


def answered(server: Server, reply: Reply, data: TelemetryData, **arguments: Any) -> Outcome:
    """What one attempt comes to when the server answers `reply`."""
    server.script = lambda request: reply
    return export(OtlpHttp(server.url, **arguments), data)[0]


def partial(rejected: int, message: str) -> bytes:
    """A response with partial success."""
    response = trace_service_pb2.ExportTraceServiceResponse()
    response.partial_success.rejected_spans = rejected
    response.partial_success.error_message = message
    return response.SerializeToString()


# -- what is sent -----------------------------------------------------------------------


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


# -- what the answer means ----------------------------------------------------------------


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


def test_retry_after_that_makes_no_sense_is_ignored(server: Server, spans: Make) -> None:
    """The status alone says that it is retryable."""
    outcome = answered(server, Reply(503, headers={"Retry-After": "soon"}), spans(1))
    assert (outcome.kind, outcome.retry_after) == (Kind.FAILED, None)


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


# -- connections --------------------------------------------------------------------------


def test_c7_nobody_listening_is_retryable_and_named(spans: Make) -> None:
    """C7: backends restart; the message must say which."""
    port = closed_port()
    (outcome,) = export(OtlpHttp(f"http://127.0.0.1:{port}"), spans(1))
    assert outcome.kind is Kind.FAILED
    assert f"127.0.0.1:{port}" in outcome.reason
    assert "cannot connect" in outcome.reason


def test_c7_an_unknown_host_is_retryable_and_named(spans: Make) -> None:
    """C7: names come back, too."""
    (outcome,) = export(OtlpHttp("http://nowhere.invalid:4318"), spans(1))
    assert outcome.kind is Kind.FAILED
    assert "nowhere.invalid:4318" in outcome.reason


def test_c7_a_dropped_connection_is_retryable(server: Server, spans: Make) -> None:
    """C7: and the next attempt opens a new one."""
    replies = iter([Reply(drop=True), Reply()])
    server.script = lambda request: next(replies)
    dropped, delivered = export(OtlpHttp(server.url), spans(1), spans(1))
    assert dropped.kind is Kind.FAILED
    assert f"127.0.0.1:{server.port}" in dropped.reason
    assert delivered is DELIVERED


def test_a_silent_server_is_a_retryable_failure_in_time(server: Server, spans: Make) -> None:
    """An attempt must end, or its slot is lost."""
    server.script = lambda request: (server.release.wait(10), Reply())[1]
    (outcome,) = export(OtlpHttp(server.url, timeout=0.1), spans(1))
    assert outcome.kind is Kind.FAILED
    assert "did not answer within 0.1 s" in outcome.reason


def test_a_cancelled_export_gives_up_its_connection(server: Server, spans: Make) -> None:
    """`ops.export(timeout=)` cancels; the next request must not read the last one's answer."""
    server.script = lambda request: (server.release.wait(10), Reply())[1]
    exporter = OtlpHttp(server.url)

    async def main() -> Outcome:
        attempt = asyncio.ensure_future(exporter.export(spans(1)))
        while not server.requests:
            await asyncio.sleep(0.01)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        server.release.set()
        try:
            return await exporter.export(spans(1))
        finally:
            await exporter.aclose()

    assert asyncio.run(main()) is DELIVERED
    first, second = server.requests
    assert first.peer != second.peer


# -- size -----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_c8_what_is_too_large_leaves_in_portions(
    server: Server, spans: Make, protocol: Any
) -> None:
    """C8: a request over the limit is refused whole by most backends."""
    data = spans(100, padding=100)
    exporter = OtlpHttp(server.url, max_request_size=4000, protocol=protocol)
    assert export(exporter, data) == [DELIVERED]
    assert len(server.requests) > 2
    assert all(len(request.body) <= 4000 for request in server.requests)
    decode = TelemetryData.from_bytes if protocol == "http/protobuf" else TelemetryData.from_json
    parts = [decode(Signal.TRACES, request.body) for request in server.requests]
    names = [record.name for part in parts for record in part.records()]
    assert names == [record.name for record in data.records()]


def test_c8_what_cannot_be_split_is_rejected_alone(server: Server, spans: Make) -> None:
    """C8: one huge span must not take its neighbours with it; the counts add up."""
    request = spans(20).message
    request.resource_spans[0].scope_spans[0].spans[7].name = "x" * 5000
    data = TelemetryData.from_message(request)
    (outcome,) = export(OtlpHttp(server.url, max_request_size=2000), data)
    assert (outcome.kind, outcome.items) == (Kind.REJECTED, 1)
    assert "cannot be split" in outcome.reason
    sent = sum(
        TelemetryData.from_bytes(Signal.TRACES, request.body).items for request in server.requests
    )
    assert sent == 19


def test_c8_refusals_of_portions_add_up(server: Server, spans: Make) -> None:
    """The books count items, however many requests they left in."""
    server.script = lambda request: Reply(body=partial(1, "old"))
    exporter = OtlpHttp(server.url, max_request_size=4000)
    (outcome,) = export(exporter, spans(100, padding=100))
    assert (outcome.kind, outcome.items) == (Kind.REJECTED, len(server.requests))
    assert outcome.reason.count("old") == 1


def test_c8_a_failed_portion_ends_the_sending(server: Server, spans: Make) -> None:
    """All of it will be sent again: each portion sent meanwhile would only be doubled."""
    replies = iter([Reply(), Reply(503)])
    server.script = lambda request: next(replies)
    exporter = OtlpHttp(server.url, max_request_size=4000)
    (outcome,) = export(exporter, spans(100, padding=100))
    assert outcome.kind is Kind.FAILED
    assert len(server.requests) == 2


def test_a_large_body_leaves_without_a_warning(server: Server, spans: Make) -> None:
    """aiohttp warns of bodies above 1 MiB; ours are meant."""
    data = spans(3000, padding=1000)
    assert data.size > 3_000_000
    assert export(OtlpHttp(server.url), data) == [DELIVERED]


# -- configuration ----------------------------------------------------------------------------


def test_the_environment_configures_it(
    server: Server, spans: Make, logs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environment: the signal's own wins, a general endpoint is a base URL."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"{server.url}/my/logs")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    assert export(OtlpHttp(), spans(1), logs()) == [DELIVERED, DELIVERED]
    traces, records = server.requests
    assert (traces.path, records.path) == ("/v1/traces", "/my/logs")
    assert traces.headers["api-key"] == "a b"
    assert traces.headers["content-encoding"] == "gzip"


def test_arguments_win_over_the_environment(
    server: Server, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the code says is more deliberate than what the machine says."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    export(OtlpHttp(compression="none", headers={"x": "y"}), spans(1))
    export(OtlpHttp(protocol="http/protobuf"), spans(1))
    request, binary = server.requests
    assert "content-encoding" not in request.headers
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x"] == "y"
    assert binary.headers["content-type"] == "application/x-protobuf"
    assert binary.headers["content-encoding"] == "gzip"


def test_the_environments_protocol_does_not_unmake_the_exporter(
    server: Server, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes OtlpHttp has chosen HTTP: paths are added though PROTOCOL says grpc."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
    assert export(OtlpHttp(), spans(1)) == [DELIVERED]
    assert server.requests[0].path == "/v1/traces"


def test_an_explicit_endpoint_gets_none_of_the_environments_headers(
    server: Server, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold a credential for another destination."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
    export(OtlpHttp(server.url), spans(1))
    assert "api-key" not in server.requests[0].headers


def test_an_ipv6_address_is_written_with_brackets() -> None:
    """`::1:4318` in a message could be any address."""
    assert repr(OtlpHttp("http://[::1]:4318")) == "<OtlpHttp to [::1]:4318>"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"endpoint": "localhost:4318"}, "expected http://HOST"),
        ({"endpoint": "http://"}, "expected http://HOST"),
        ({"compression": "lzma"}, "compression='lzma'"),
        ({"protocol": "grpc"}, "protocol='grpc'"),
        ({"timeout": 0}, "timeout=0"),
        ({"max_request_size": 0}, "max_request_size=0"),
        ({"max_connections": 0}, "max_connections=0"),
        ({"headers": {"a b": "c"}}, "'a b' is no header name"),
        ({"headers": {"a": "c\r\nd"}}, "no line break"),
        ({"client_key": "key.pem"}, "client_certificate"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(arguments: dict[str, Any], text: str) -> None:
    """Where the pipeline is written, not with the first element."""
    with pytest.raises(ValueError, match=text):
        OtlpHttp(**arguments)


def test_no_secret_is_in_any_text(
    server: Server, spans: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Reprs, reasons and logs are read by many; the server even repeats the key."""
    caplog.set_level(logging.DEBUG)
    server.script = lambda request: Reply(
        403, f"bad {request.headers['authorization']}, really: sEcReT-1".encode()
    )
    url = server.url.replace("//", "//user:sEcReT-2@") + "?key=sEcReT-3"
    exporter = OtlpHttp(url, headers={"Authorization": "Bearer sEcReT-1"})
    (outcome,) = export(exporter, spans(1))
    texts = [repr(exporter), str(vars(exporter)), outcome.reason, caplog.text]
    texts.append(exporter.destination)
    assert not [text for text in texts if "sEcReT" in text]
    assert "bad ***" in outcome.reason


def test_credentials_in_a_url_become_a_header(server: Server, spans: Make) -> None:
    """And appear in the URL and the messages no more."""
    server.script = lambda request: Reply(403, request.headers["authorization"].encode())
    (outcome,) = export(OtlpHttp(server.url.replace("//", "//user:word@")), spans(1))
    assert server.requests[0].headers["authorization"] == "Basic dXNlcjp3b3Jk"
    assert outcome.reason.endswith("answered 403: Basic ***")


# -- TLS --------------------------------------------------------------------------------------


def test_tls_trusts_the_certificate_it_is_given(certificates: Any, spans: Make) -> None:
    """And nothing else: an unknown authority is a failure to connect."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.server.configure_cert(context)
    with serve(context=context) as server:
        trusted = OtlpHttp(server.url, certificate=certificates.ca_file)
        assert export(trusted, spans(1), spans(1)) == [DELIVERED, DELIVERED]
        (outcome,) = export(OtlpHttp(server.url), spans(1))
        assert outcome.kind is Kind.FAILED
        assert "certificate" in outcome.reason


def test_tls_shows_a_client_certificate(certificates: Any, spans: Make) -> None:
    """Mutual TLS; without one the server ends the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.server.configure_cert(context)
    certificates.authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with serve(context=context) as server:
        known = OtlpHttp(
            server.url,
            certificate=certificates.ca_file,
            client_certificate=certificates.client_file,
            client_key=certificates.client_key_file,
        )
        assert export(known, spans(1)) == [DELIVERED]
        unknown = OtlpHttp(server.url, certificate=certificates.ca_file)
        assert export(unknown, spans(1))[0].kind is Kind.FAILED


def test_an_unusable_certificate_file_is_named_at_once(tmp_path: Path) -> None:
    """Not with the first element, and not as `[X509] PEM lib`."""
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    with pytest.raises(OSError, match=r"ca\.pem"):
        OtlpHttp("https://localhost:4318", certificate=str(path))


# -- loops, forks, instrumentation ---------------------------------------------------------------


def test_one_exporter_serves_several_loops(server: Server, spans: Make) -> None:
    """A session belongs to a loop; an exporter does not. Closing is quiet and idempotent."""
    exporter = OtlpHttp(server.url)

    async def twice() -> None:
        assert await exporter.export(spans(1)) is DELIVERED
        await exporter.aclose()
        assert await exporter.export(spans(1)) is DELIVERED
        await exporter.aclose()

    asyncio.run(twice())
    asyncio.run(twice())
    exporter.close()
    exporter.close()
    assert len(server.requests) == 4


def test_close_works_from_another_thread_than_the_loops(server: Server, spans: Make) -> None:
    """A pipeline is stopped from the main thread while its loop runs elsewhere."""
    exporter = OtlpHttp(server.url)

    async def main() -> None:
        await exporter.export(spans(1))
        await asyncio.to_thread(exporter.close)
        session: dict[Any, aiohttp.ClientSession] = exporter._sessions._sessions
        assert session == {}

    asyncio.run(main())


def test_close_fails_requests_under_way(server: Server, spans: Make) -> None:
    """Nobody must wait for ever, and what was not confirmed is sent again."""
    server.script = lambda request: (server.release.wait(10), Reply())[1]
    exporter = OtlpHttp(server.url)

    async def main() -> Outcome:
        attempt = asyncio.ensure_future(exporter.export(spans(1)))
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(exporter.close)
        return await attempt

    assert asyncio.run(main()).kind is Kind.FAILED


def test_close_on_the_loop_itself_does_not_block_it(server: Server, spans: Make) -> None:
    """`close` is also called from actions that run on the loop."""
    exporter = OtlpHttp(server.url)

    async def main() -> None:
        await exporter.export(spans(1))
        exporter.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert not exporter._sessions._closing


def test_exports_run_uninstrumented(
    server: Server, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline that traced its own exports would feed itself for ever."""
    seen: list[object] = []
    exporter = OtlpHttp(server.url)
    original = exporter._post

    async def post(*arguments: Any) -> Outcome:
        keys = (
            context._SUPPRESS_INSTRUMENTATION_KEY,
            context._SUPPRESS_HTTP_INSTRUMENTATION_KEY,
            "suppress_instrumentation",
        )
        seen.extend(context.get_value(key) for key in keys)
        return await original(*arguments)

    monkeypatch.setattr(exporter, "_post", post)
    export(exporter, spans(1))
    assert seen == [True, True, True]
    assert context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY) is None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_connections_of_its_own(server: Server, spans: Make) -> None:
    """The inherited ones are the parent's: using or closing them would break its exports."""
    exporter = OtlpHttp(server.url)
    data = spans(1)

    async def once() -> bool:
        return await exporter.export(data) is DELIVERED

    with asyncio.Runner() as runner:
        assert runner.run(once())
        child = os.fork()
        if not child:
            delivered = False
            try:
                delivered = asyncio.new_event_loop().run_until_complete(once())
                exporter.close()
            finally:
                os._exit(0 if delivered else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert runner.run(once())
        runner.run(exporter.aclose())
    peers = [request.peer for request in server.requests]
    assert len(peers) == 3
    assert peers[0] == peers[2] != peers[1]
