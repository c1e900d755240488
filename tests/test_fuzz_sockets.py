"""Hostile input over real sockets: HTTP, calls and frames that no client would send.

As in `test_fuzz`, with RXOTLP_SOAK=1 for longer.
"""

import gzip
import json
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

from rxotlp import Pipeline, Signal, SyncScheduler, exporters, sources
from rxotlp import operators as ops
from rxotlp.sources import OtlpSource
from tests.support.hostile import SOAK, json_requests, many, mutated, peak_of
from tests.support.requests import length, requests

pytestmark = pytest.mark.timeout(3600 if SOAK else 120)


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpSource]:
    """A receiver that lives through all of it."""
    source = sources.otlp(
        grpc="127.0.0.1:0",
        http="127.0.0.1:0",
        max_request_size=1 << 20,
        header_timeout=1.0,
        body_timeout=1.0,
        ack_timeout=2.0,
    )
    with Pipeline(source.pipe(ops.export(exporters.Memory())), scheduler=SyncScheduler()):
        yield source
        assert source.admission.bytes == 0


GOOD = b"\x0a\x08\x12\x06\x12\x04\x2a\x02\x0a\x00"  # one log record with an empty body
ANSWERS = {200, 400, 401, 404, 405, 408, 413, 415, 431, 503}


def talk(address: str, data: bytes) -> bytes:
    """Send, say that it is all, and read until the other side has closed or says nothing."""
    host, _, port = address.rpartition(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        try:
            connection.sendall(data)
            connection.settimeout(0.3)
            while chunk := connection.recv(65536):
                received += chunk
        except OSError:
            pass
    return received


def check_answers(received: bytes) -> None:
    """Everything that came is whole HTTP answers, each with a body that OTLP knows."""
    while received:
        head, found, rest = received.partition(b"\r\n\r\n")
        assert found, received
        lines = head.split(b"\r\n")
        version, status, _ = lines[0].split(b" ", 2)
        assert version == b"HTTP/1.1"
        if status == b"100":
            received = rest
            continue
        assert int(status) in ANSWERS, head
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
        size = int(fields[b"content-length"])
        body, received = rest[:size], rest[size:]
        if fields[b"content-type"] == b"application/json":
            json.loads(body)
        else:
            assert fields[b"content-type"] == b"application/x-protobuf"
            if status != b"200":
                assert Status.FromString(body).code


def still_works(receiver: OtlpSource) -> None:
    """Somebody else is served."""
    answer = talk(
        receiver.addresses["http"],
        b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
        b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(GOOD), GOOD),
    )
    assert answer.startswith(b"HTTP/1.1 200"), answer


@st.composite
def http_requests(draw: st.DrawFn) -> bytes:
    """One request, or two on one connection, more or less as HTTP has them."""
    pieces = []
    for _ in range(draw(st.integers(1, 2))):
        body = draw(mutated(requests(Signal.LOGS)) | json_requests())
        encoding = draw(st.sampled_from(["", "gzip", "deflate", "br", "x" * 200]))
        if encoding == "gzip":
            body = gzip.compress(body)
        elif encoding == "deflate":
            body = zlib.compress(body)
        method = draw(st.sampled_from(["POST", "POST", "POST", "GET", "OPTIONS", "PRI", "\x16"]))
        path = draw(st.sampled_from(["/v1/logs", "/v1/logs", "/v1/traces", "/", "*", "/%00%0a"]))
        kind = draw(
            st.sampled_from(["application/x-protobuf", "application/json", "text/plain", ""])
        )
        head = [f"{method} {path} HTTP/{draw(st.sampled_from(['1.1', '1.0', '2.0', '9']))}"]
        head += ["host: x", f"content-type: {kind}"]
        if encoding:
            head.append(f"content-encoding: {encoding}")
        match draw(st.integers(0, 5)):
            case 0:
                head.append("transfer-encoding: chunked")
                body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            case 1:
                head.append(f"content-length: {draw(st.integers(-1, 2**64))}")
            case 2:
                head += ["content-length: 3", "transfer-encoding: chunked"]
            case _:
                head.append(f"content-length: {len(body)}")
        head += draw(
            st.lists(
                st.sampled_from(
                    [
                        "expect: 100-continue",
                        "connection: close",
                        "connection: upgrade\r\nupgrade: h2c",
                        "x: " + "y" * 3000,
                        " folded",
                        ": empty",
                        "x\x00: y",
                    ]
                ),
                max_size=2,
            )
        )
        pieces.append("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)
    return b"".join(pieces)


def test_whatever_comes_over_http_is_answered_in_otlps_words_or_not_at_all(
    receiver: OtlpSource,
) -> None:
    """S8, S10: over a raw socket, for no client would send this."""

    @many(30)
    @given(http_requests() | mutated(http_requests()) | st.binary(max_size=80))
    def check(data: bytes) -> None:
        check_answers(talk(receiver.addresses["http"], data))

    check()
    still_works(receiver)


def test_whatever_a_call_brings_is_answered_with_a_code_of_otlps(receiver: OtlpSource) -> None:
    """S8: OK or INVALID_ARGUMENT with details; never UNKNOWN, which hides a defect."""
    paths = {signal: signal.names.grpc_method for signal in Signal}
    with grpc.insecure_channel(receiver.addresses["grpc"]) as channel:

        @many(30)
        @given(st.sampled_from(list(Signal)), st.data())
        def check(signal: Signal, data: st.DataObject) -> None:
            body = data.draw(mutated(requests(signal)) | st.binary(max_size=40))
            call = channel.unary_unary(paths[signal], None, None)
            try:
                answer = call(body, timeout=20)
            except grpc.RpcError as error:
                failed: Any = error
                assert failed.code() is grpc.StatusCode.INVALID_ARGUMENT, failed.details()
                assert rpc_status.from_call(failed) is not None
            else:
                signal.names.response.FromString(answer)

        check()
    still_works(receiver)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame."""
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")


def test_no_frames_bring_the_grpc_server_down(receiver: OtlpSource) -> None:
    """gRPC's core reads them, below anything of ours; it must stay up, and we with it."""
    frames = st.builds(
        frame,
        st.integers(0, 12),
        st.sampled_from([0, 1, 4, 5, 0x25, 0xFF]),
        st.sampled_from([0, 1, 2, 3, 2**31 - 1]),
        st.binary(max_size=40),
    )

    @many(10)
    @given(st.lists(frames, max_size=5).map(b"".join), st.booleans())
    def check(data: bytes, greeted: bool) -> None:
        talk(receiver.addresses["grpc"], PREFACE * greeted + data)

    check()
    with grpc.insecure_channel(receiver.addresses["grpc"]) as channel:
        assert (
            channel.unary_unary(Signal.LOGS.names.grpc_method, None, None)(GOOD, timeout=20) == b""
        )


def test_requests_are_decoded_one_at_a_time(receiver: OtlpSource) -> None:
    """Decoded, a request may be a hundred times its bytes; many at once would add that up."""
    payload = length(1, length(2, length(2, b"") * 200_000))
    address = receiver.addresses["http"]
    body = gzip.compress(payload)
    request = (
        b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
        b"connection: close\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%s"
    ) % (len(body), body)

    def send(times: int) -> None:
        threads = [
            threading.Thread(target=talk_long, args=(address, request)) for _ in range(times)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    one = peak_of(lambda: send(1))
    assert peak_of(lambda: send(8)) < max(2 * one, 64 << 20)


def talk_long(address: str, data: bytes) -> None:
    """One request, however long its answer takes."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(data)
        assert connection.recv(12) == b"HTTP/1.1 200"
