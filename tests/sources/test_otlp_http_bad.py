"""Bad input over HTTP: the right answer, one log line, and nobody else harmed."""

import gzip
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from rxotlp.admission import Admission

Receiver = Callable[..., Any]
Log = Callable[[], list[str]]


def still_works(server: Any, body: bytes) -> None:
    """Another client is served as if nothing had happened, and no credit is lost."""
    status, _, _ = server.post(body=body)
    assert status == 200
    while server.source.admission.bytes:  # the receipt settles after its answer was given
        time.sleep(0.005)


def raw(server: Any, data: bytes, *, shut: bool = False) -> bytes:
    """Send bytes as they are and read until the server closes."""
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
        connection.sendall(data)
        if shut:
            return b""
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def one_line(log: Log, *parts: str) -> None:
    """Exactly one line was logged, and it names all of `parts`."""
    lines = log()
    assert len(lines) == 1, lines
    for part in ("127.0.0.1:", *parts):
        assert part in lines[0]


@pytest.mark.parametrize("validate", ["full", "shape"])
def test_undecodable_bytes_are_a_bad_request(
    receiver: Receiver, payloads: dict[str, bytes], log: Log, validate: str
) -> None:
    """S8: a frame that cannot be read can never be delivered."""
    with receiver(validate=validate) as server:
        status, headers, body = server.post(body=b"\xff\xff\xff\xff not OTLP")
        assert (status, headers["content-type"]) == (400, "application/x-protobuf")
        assert Status.FromString(body).message
        one_line(log, "traces")
        assert "not OTLP" not in log()[0]
        still_works(server, payloads["traces"])


def test_malformed_json_says_where(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """S10: the Status is in JSON as the request was (J6)."""
    with receiver() as server:
        status, headers, body = server.post(
            body=b'{"resourceSpans": [', content_type="application/json"
        )
        assert (status, headers["content-type"]) == (400, "application/json")
        assert b"message" in body
        one_line(log, "JSON")
        still_works(server, payloads["traces"])


@pytest.mark.parametrize("content_type", ["text/plain", "application/grpc", None])
def test_another_content_type_is_refused(
    receiver: Receiver, payloads: dict[str, bytes], log: Log, content_type: str | None
) -> None:
    """S10: 415 with a Status in protobuf, where the request's type is neither."""
    with receiver() as server:
        status, headers, body = server.post(body=payloads["traces"], content_type=content_type)
        assert (status, headers["content-type"]) == (415, "application/x-protobuf")
        assert "application/json" in Status.FromString(body).message
        one_line(log, "content-type")
        still_works(server, payloads["traces"])


def test_another_content_encoding_is_refused(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """S1, S10: what we cannot decompress we cannot deliver."""
    with receiver() as server:
        status, _, body = server.post(body=payloads["traces"], headers={"Content-Encoding": "br"})
        assert status == 415
        assert "gzip" in Status.FromString(body).message
        one_line(log, "content-encoding")
        still_works(server, payloads["traces"])


def test_truncated_gzip_is_a_bad_request(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """Half a body must never be taken for a whole one."""
    with receiver() as server:
        body = gzip.compress(payloads["traces"])[:-9]
        status, _, _ = server.post(body=body, headers={"Content-Encoding": "gzip"})
        assert status == 400
        one_line(log, "gzip")
        still_works(server, payloads["traces"])


def test_a_gzip_bomb_stops_at_the_limit(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """S2: a few kilobytes must not become gigabytes of memory."""
    with receiver(max_request_size=100_000) as server:
        bomb = gzip.compress(bytes(50_000_000), 9)
        assert len(bomb) < 100_000
        status, _, _ = server.post(body=bomb, headers={"Content-Encoding": "gzip"})
        assert status == 413
        one_line(log, "100000")
        still_works(server, payloads["traces"])


def test_a_declared_size_over_the_limit_is_refused_unread(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """S2, S10: the answer comes before the body, which need not be sent at all."""
    with receiver(max_request_size=1000) as server:
        answer = raw(
            server,
            b"POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            b"content-type: application/x-protobuf\r\ncontent-length: 100000000\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"application/x-protobuf" in answer
        one_line(log, "100000000")
        still_works(server, payloads["traces"])


def test_an_undeclared_size_over_the_limit_is_refused(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """S2: a chunked body is counted while it is read."""

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield bytes(1000)

    with receiver(max_request_size=5000) as server:
        status, _, _ = server.post(body=chunks())
        assert status == 413
        one_line(log, "5000")
        still_works(server, payloads["traces"])


def test_a_chunked_body_within_the_limit_is_taken(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """Some clients stream what they send and never say how long it is."""
    whole = payloads["traces"]
    with receiver() as server:
        status, _, _ = server.post(body=iter([whole[:10], whole[10:]]))
        assert status == 200
        assert server.seen[0].to_bytes() == whole


def test_more_than_the_whole_credit_is_refused_for_good(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """What can never be let in must not be retried for ever."""
    with receiver(admission=Admission(max_bytes=len(payloads["traces"]))) as server:
        assert server.post(body=payloads["traces"] * 2)[0] == 413
        one_line(log, "traces")
        still_works(server, payloads["traces"])


def test_an_unknown_path_is_not_found(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """S10: 404 has a Status body too."""
    with receiver() as server:
        status, headers, body = server.post("/v1/spans", payloads["traces"])
        assert (status, headers["content-type"]) == (404, "application/x-protobuf")
        assert "/v1/traces" in Status.FromString(body).message
        one_line(log, "/v1/spans")
        still_works(server, payloads["traces"])


def test_a_path_with_a_line_break_in_it_is_one_line(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """A client must not be able to write lines of its own into our log."""
    with receiver() as server:
        assert server.post("/v1/%0aERROR%20all%20is%20lost", payloads["traces"])[0] == 404
        one_line(log, "/v1/%0aERROR%20all")
        assert "\n" not in log()[0]


def test_what_has_no_items_to_reject_is_still_a_bad_request(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """S8: traces sent to the metrics' path, say; 200 would be an acknowledged loss."""
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.add(name="ab")
    unreadable = request.SerializeToString().replace(b"ab", b"\xff\xff")
    with receiver() as server:
        status, _, body = server.post("/v1/metrics", unreadable)
        assert status == 400
        assert "metrics[0].name" in Status.FromString(body).message
        one_line(log, "metrics[0].name")
        still_works(server, payloads["traces"])


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_another_method_is_not_allowed(
    receiver: Receiver, payloads: dict[str, bytes], log: Log, method: str
) -> None:
    """S10: 405 says which method is, as HTTP demands."""
    with receiver() as server:
        status, headers, body = server.post(method=method)
        assert (status, headers["allow"]) == (405, "POST")
        assert Status.FromString(body).message
        one_line(log, method)
        still_works(server, payloads["traces"])


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",  # gRPC to the wrong port
        b"POST /v1/traces HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
        b"content-type: application/json\r\n\r\nzz\r\n",
        b"POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
        b"content-type: application/x-protobuf\r\ncontent-length: 2\r\n\r\n{}",
    ],
    ids=["tls", "http2", "length", "chunk", "upgrade"],
)
def test_malformed_http_is_answered_with_a_status(
    receiver: Receiver, payloads: dict[str, bytes], log: Log, data: bytes
) -> None:
    """S10: even what is no HTTP at all gets a body that an OTLP client can read."""
    with receiver() as server:
        head, _, body = raw(server, data).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400")
        assert b"content-type: application/x-protobuf" in head
        assert Status.FromString(body).message
        one_line(log)
        still_works(server, payloads["traces"])


BEGUN = b"POST /v1/traces HTTP/1.1\r\ncontent-type: application/x-protobuf\r\n"
CHUNKED = BEGUN + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("before", "endless"),
    [
        (b"POST /", b"a" * 10_000),
        (BEGUN + b"x: ", b"a" * 10_000),
        (BEGUN, b"x: y\r\n" * 1000),
        (CHUNKED + b"5;x=", b"a" * 10_000),
    ],
    ids=["url", "header", "headers", "chunk"],
)
def test_headers_without_end_are_refused(
    receiver: Receiver, payloads: dict[str, bytes], log: Log, before: bytes, endless: bytes
) -> None:
    """S2: they are not counted by the limit of the body, and cost memory all the same."""
    with receiver() as server:
        with (
            socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection,
            suppress(OSError),  # the server has closed it
        ):
            connection.sendall(before)
            while not log():
                connection.sendall(endless)
        one_line(log, "65536 bytes of headers")
        still_works(server, payloads["traces"])


def test_a_body_that_takes_longer_than_its_answer_may_is_refused(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """A sender that dribbles holds credit that others wait for; it may send it again."""
    size = len(payloads["traces"])
    with (
        receiver(ack_timeout=0.3, admission=Admission(max_bytes=size)) as server,
        socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection,
    ):
        connection.sendall(BEGUN + b"content-length: %d\r\n\r\nhalf" % size)
        assert connection.recv(12) == b"HTTP/1.1 503"
        one_line(log, "not complete after 0.3 s")
        still_works(server, payloads["traces"])


def test_a_client_that_leaves_half_way_costs_one_line(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """Clients crash; their credit must come back and nothing may be emitted."""
    with receiver() as server:
        raw(
            server,
            b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
            b"content-length: 1000\r\n\r\nhalf",
            shut=True,
        )
        while not log():
            time.sleep(0.005)
        one_line(log, "half-way")
        assert server.seen == []
        still_works(server, payloads["traces"])


def test_a_client_that_leaves_within_its_headers_costs_one_line(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """One that connects and says nothing is a probe, and costs none."""
    with receiver() as server:
        raw(server, b"", shut=True)
        raw(server, b"POST /v1/tra", shut=True)
        while not log():
            time.sleep(0.005)
        still_works(server, payloads["traces"])
        one_line(log, "half-way through its headers")


@pytest.mark.parametrize(
    ("data", "word"),
    [(b"", "headers"), (b"POST /v1/tra", "headers"), (b"POST / HTTP/1.1\r\nhost", "headers")],
)
def test_slow_headers_are_cut_off(
    receiver: Receiver, payloads: dict[str, bytes], log: Log, data: bytes, word: str
) -> None:
    """A connection that never says what it wants must not stay for ever."""
    with receiver(header_timeout=0.2) as server:
        head, _, body = raw(server, data).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        assert word in Status.FromString(body).message
        one_line(log, word)
        still_works(server, payloads["traces"])


def test_a_stalled_body_is_cut_off(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """A body that stops holds credit that others wait for."""
    with receiver(body_timeout=0.2) as server:
        answer = raw(
            server,
            b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
            b"content-length: 1000\r\n\r\nhalf",
        )
        assert answer.startswith(b"HTTP/1.1 408")
        one_line(log, "body")
        still_works(server, payloads["traces"])
