"""Hostile input: nothing crashes, hangs or takes memory without bound; errors are conformant.

A second or two here, derandomized; with RXOTLP_SOAK=1 (`make soak`) two hundred times as
many examples, at random. What they found is below, each as a test of its own.
"""

import gzip
import json
import os
import resource
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rxotlp import Pipeline, Signal, SyncScheduler, exporters, sources
from rxotlp import operators as ops
from rxotlp.errors import DecodeError
from rxotlp.sources import OtlpSource
from rxotlp.wire import compression
from rxotlp.wire.validate import MAX_BAD, validate
from tests.support import fuzz
from tests.support.requests import length, requests

SOAK = os.environ.get("RXOTLP_SOAK") == "1"
EVERY = pytest.mark.parametrize("signal", list(Signal), ids=lambda signal: signal.value)

pytestmark = pytest.mark.timeout(3600 if SOAK else 120)


def many(examples: int) -> settings:
    """So many examples; in a soak two hundred times as many, and others each time."""
    return settings(
        max_examples=examples * (200 if SOAK else 1),
        deadline=None,
        derandomize=not SOAK,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Something good with a few bytes changed, cut out, doubled or put in."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        stop = min(len(data), at + draw(st.integers(0, 12)))
        match draw(st.integers(0, 4)):
            case 0:
                data[at:stop] = draw(st.binary(max_size=12))
            case 1:
                data[at:at] = data[at:stop] * draw(st.sampled_from([1, 2, 50]))
            case 2:
                del data[at:]
            case 3:
                data[at:stop] = draw(st.sampled_from(INTERESTING))
            case _:
                if at < len(data):
                    data[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


# Varints at their limits, lengths beyond the end, groups, field 0, bad UTF-8, numbers.
INTERESTING = [
    b"\xff" * 9 + b"\x01",
    b"\xff" * 10,
    b"\x80" * 10 + b"\x01",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\x07",
    b"\x0b\x0c",
    b"\x00",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"NaN",
    b"-1e999",
    b'"\\ud800"',
    b"\\u0000",
    b"null",
    b"{}",
    b"[]",
    b"[" * 200,
    b"9" * 5000,
    b"18446744073709551616",
    b"1.5",
    b"\x00" * 64,
]


NAMES = (
    *("resourceSpans", "scopeSpans", "spans", "resourceLogs", "scopeLogs", "logRecords"),
    *("resourceMetrics", "scopeMetrics", "metrics", "gauge", "sum", "dataPoints", "resource"),
    *("attributes", "key", "value", "stringValue", "intValue", "arrayValue", "kvlistValue"),
    *("values", "traceId", "spanId", "startTimeUnixNano", "kind", "status", "code", "asInt"),
    *("asDouble", "severityNumber", "body", "flags", "name", "bucketCounts", "quantileValues"),
    *("trace_id", "timeUnixNano", "unknownField"),
)


def json_requests() -> st.SearchStrategy[bytes]:
    """JSON of the right shape with the wrong things in it."""
    leaf: st.SearchStrategy[Any] = (
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats()
        | st.text(max_size=8)
        | st.sampled_from(["5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "AQ==", "1e3"])
    )
    names = st.sampled_from(NAMES)
    tree = st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
        max_leaves=25,
    )
    return tree.map(lambda value: json.dumps(value).encode())


@EVERY
def test_bytes_that_may_be_a_request_are_read_or_refused(signal: Signal) -> None:
    """Bit flips, cuts, repetitions; and what was let in can be processed."""

    @many(40)
    @given(mutated(requests(signal)) | st.binary(max_size=60))
    def check(payload: bytes) -> None:
        fuzz.wire(signal, payload)

    check()


@EVERY
def test_text_that_may_be_json_is_read_or_refused(signal: Signal) -> None:
    """The same in JSON, of the right shape or of none."""

    @many(40)
    @given(json_requests() | mutated(json_requests()) | st.binary(max_size=60))
    def check(data: bytes) -> None:
        fuzz.json_text(signal, data)

    check()


@pytest.mark.parametrize("encoding", fuzz.ENCODINGS)
def test_compressed_bodies_are_read_or_refused(encoding: str) -> None:
    """Broken frames, wrong sizes and checksums, several members, garbage behind them."""
    good = st.binary(max_size=300).map(lambda data: compression.compress(encoding, data))

    @many(60)
    @given(mutated(good) | st.binary(max_size=60))
    def check(data: bytes) -> None:
        fuzz.compressed(encoding, data)

    check()


def test_files_are_cut_or_refused() -> None:
    """Lines and sizes; the reader of a file is a receiver too."""

    @many(60)
    @given(st.binary(max_size=300) | mutated(requests(Signal.LOGS)))
    def check(data: bytes) -> None:
        fuzz.framed(data)

    check()


@EVERY
def test_what_a_backend_answers_is_read_or_refused(signal: Signal) -> None:
    """It is no friend either."""
    good = st.builds(
        lambda code, message: Status(code=code, message=message).SerializeToString(),
        st.integers(0, 20),
        st.text(max_size=20),
    )

    @many(40)
    @given(mutated(good) | json_requests() | st.binary(max_size=40) | st.text().map(str.encode))
    def check(data: bytes) -> None:
        fuzz.responses(signal, data)

    check()


# -- over sockets -------------------------------------------------------------------------------


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
    """S1: OK or INVALID_ARGUMENT with details; never UNKNOWN, which hides a defect."""
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


# -- what was found -----------------------------------------------------------------------------


def peak_of(function: Callable[[], object]) -> int:
    """Bytes by which the process's peak grew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    function()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


@pytest.mark.timeout(60)
@pytest.mark.parametrize("record", [b"", b"\x0a\x01x\x12\x01x" + b"\x2a\x20" + b"n" * 32])
def test_a_request_of_nothing_but_bad_records_is_refused_whole(record: bytes) -> None:
    """Taken apart record by record, 64 MiB (65 kB when compressed) took 33 GB and minutes."""
    payload = length(1, length(2, length(2, record) * (10 * MAX_BAD)))

    def check() -> None:
        with pytest.raises(DecodeError, match="bad") as caught:
            validate(Signal.TRACES, payload)
        assert caught.value.path.startswith("resource_spans[0].scope_spans[0]")

    assert peak_of(check) < 150 << 20


def test_some_bad_records_among_many_are_still_picked_out() -> None:
    """The rule above is for the absurd."""
    good = length(2, length(1, b"\1" * 16) + length(2, b"\1" * 8))
    bad = length(2, length(1, b"\1" * 15))
    payload = length(1, length(2, good * 5000 + bad * 5000 + good))
    checked = validate(Signal.TRACES, payload)
    assert (checked.accepted, checked.rejected) == (5001, 5000)


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


def test_protobuf_itself_refuses_what_it_cannot_read() -> None:
    """The assumption below all of it: an exception of its own, and no other."""
    for signal in Signal:
        with pytest.raises(ProtobufDecodeError):
            signal.names.request.FromString(b"\x0a\xff")
