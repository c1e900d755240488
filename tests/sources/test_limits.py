"""Limits: what slow, large and many clients can cost, and that others are served meanwhile."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_status import rpc_status

from rxotlp._core.outcomes import DELIVERED, rejected
from rxotlp._core.statuses import retry_delay
from rxotlp.pipeline import Pipeline
from rxotlp.sources import otlp
from tests.support.tls import Keys, keys_in

Receiver = Callable[..., Any]
Log = Callable[[], list[str]]

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HEAD = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
MIB = 1 << 20


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """They do not change here."""
    return keys_in(tmp_path_factory.mktemp("tls"))


def connect(address: str) -> socket.socket:
    """A client's socket, whose reads end."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def until_closed(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def wait_until(true: Callable[[], object]) -> None:
    """Wait until something is so; the test's timeout ends it."""
    while not true():
        time.sleep(0.005)


def call(server: Any, body: bytes, *metadata: tuple[str, str]) -> Any:
    """One call on a connection of its own; its error, or None."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(server.grpc, options) as channel:
        try:
            channel.unary_unary(EXPORT, None, None)(body, timeout=20, metadata=metadata)
        except grpc.RpcError as error:
            return error
        return None


# -- connections ------------------------------------------------------------------------------


def test_connections_over_the_limit_are_closed_at_once(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """Whoever opens thousands must not take the files that others need; one line tells of it."""
    with receiver(max_connections=3) as server, ExitStack() as opened:
        held = [opened.enter_context(connect(server.http)) for _ in range(3)]
        for connection in held:  # so that it is known to be taken
            connection.sendall(HEAD + b"content-length: 0\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
        for _ in range(5):
            with connect(server.http) as refused:
                assert until_closed(refused) == b""
        (line,) = log()
        assert "more than 3 would be open" in line
        held[0].close()
        wait_until(lambda: _answered(server, payloads["traces"]))


def _answered(server: Any, body: bytes) -> bool:
    try:
        return bool(server.post(body=body)[0] == 200)
    except OSError:
        return False


def test_grpc_connections_over_the_limit_are_refused(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """The same; gRPC's clients see a connection that fails, which they try again."""
    with receiver(max_connections=2) as server, ExitStack() as opened:
        body = payloads["traces"]
        options = [("grpc.use_local_subchannel_pool", 1)]
        for _ in range(2):
            channel = opened.enter_context(grpc.insecure_channel(server.grpc, options))
            channel.unary_unary(EXPORT, None, None)(body, timeout=20)
        assert call(server, body).code() is grpc.StatusCode.UNAVAILABLE
        channel.close()
        wait_until(lambda: call(server, body) is None)


def test_handshakes_under_way_count(keys: Keys, receiver: Receiver, log: Log) -> None:
    """A client that never speaks TLS holds a file as any other."""
    with receiver(tls=keys.tls(), max_connections=2) as server, ExitStack() as opened:
        for _ in range(2):
            opened.enter_context(connect(server.http))
        with connect(server.http) as refused:
            assert until_closed(refused) == b""
        wait_until(log)
        assert "more than 2 would be open" in log()[0]


# -- slow clients -----------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["grpc", "http"])
@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["silent", "half"])
def test_a_handshake_that_does_not_end_is_cut_off(
    receiver: Receiver, keys: Keys, transport: str, said: bytes
) -> None:
    """Slow clients must not collect, with TLS neither."""
    with receiver(tls=keys.tls(), header_timeout=0.3) as server:
        with connect(server.source.addresses[transport]) as connection:
            connection.sendall(said)
            until_closed(connection)
        if transport == "http":
            wait_until(lambda: not server.source._servers[0]._state.arriving)


def test_a_grpc_connection_that_says_nothing_is_cut_off(receiver: Receiver) -> None:
    """It has neither sent its settings nor begun a call."""
    with receiver(header_timeout=0.3) as server, connect(server.grpc) as connection:
        until_closed(connection)


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_an_idle_connection_is_closed(
    receiver: Receiver, payloads: dict[str, bytes], transport: str
) -> None:
    """After a request as before one; its client opens another when it needs it."""
    with receiver(idle_timeout=0.4) as server:
        if transport == "http":
            with connect(server.http) as connection:
                connection.sendall(HEAD + b"content-length: 0\r\n\r\n")
                assert until_closed(connection).startswith(b"HTTP/1.1 200")
            return
        with grpc.insecure_channel(server.grpc) as channel:
            export = channel.unary_unary(EXPORT, None, None)
            export(payloads["traces"], timeout=20)
            port = int(server.grpc.rpartition(":")[2])
            wait_until(lambda: not _connections_to(port))
            export(payloads["traces"], timeout=20)  # it comes back by itself
        assert len(server.seen) == 2


def _connections_to(port: int) -> list[Any]:
    return [
        found
        for found in psutil.Process().net_connections("tcp")
        if found.laddr.port == port and found.status == psutil.CONN_ESTABLISHED
    ]


def test_a_grpc_message_that_is_left_half_way_is_refused_in_time(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """Its call would stay for ever: gRPC has no limit of time for a message."""
    ended = threading.Event()

    def never() -> Iterator[bytes]:
        ended.wait()
        yield from ()

    with receiver(ack_timeout=0.3) as server:
        with grpc.insecure_channel(server.grpc) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                channel.stream_unary(EXPORT, None, None)(never(), timeout=20)
            ended.set()
            error: Any = caught.value
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert retry_delay(rpc_status.from_call(error)) is not None
        assert "not complete in time" in log()[0]
        assert call(server, payloads["traces"]) is None


def test_a_call_without_a_message_is_a_bad_request(receiver: Receiver, log: Log) -> None:
    """It can be no request, so it must not be sent again."""
    with receiver() as server, grpc.insecure_channel(server.grpc) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary(EXPORT, None, None)(iter(()), timeout=20)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "without a message" in log()[0]


@pytest.mark.timeout(60)
def test_a_client_that_reads_no_answer_is_cut_off(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """Its answers would pile up here, and its requests with them."""
    body = payloads["traces"]
    with receiver(body_timeout=0.5) as server:
        server.outcome = rejected("x" * 500_000, items=1)  # a long text for each answer
        with connect(server.http) as connection:
            connection.sendall((HEAD + b"content-length: %d\r\n\r\n%s" % (len(body), body)) * 50)
            wait_until(lambda: server.seen)
            wait_until(lambda: not server.source._servers[0]._state.connections)
        server.outcome = DELIVERED
        assert server.post(body=body)[0] == 200
        assert len(server.seen) < 50


# -- large requests ---------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_headers_have_a_limit(
    receiver: Receiver, payloads: dict[str, bytes], transport: str
) -> None:
    """They count for nobody's credit."""
    body = payloads["traces"]
    with receiver(max_header_size=4096) as server:
        for size, good in ((2000, True), (6000, False)):
            if transport == "http":
                status = server.post(body=body, headers={"x": "y" * size})[0]
                assert status == (200 if good else 431)
            else:
                error = call(server, body, ("x", "y" * size))
                assert error is None or error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert (error is None) is good
        assert len(server.seen) == 1


def test_a_large_request_is_refused_before_it_is_sent(receiver: Receiver, log: Log) -> None:
    """S2: by what it declares; nothing of it is in memory."""
    with receiver(max_request_size=MIB) as server, connect(server.http) as connection:
        connection.sendall(HEAD + b"expect: 100-continue\r\ncontent-length: 99999999\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 413"
        assert server.source.admission.bytes == 0
        assert "99999999" in log()[0]


def test_a_large_message_is_refused_by_its_length(receiver: Receiver) -> None:
    """S2: gRPC reads its length first, and ends the call at once and for good."""
    with receiver(max_request_size=MIB) as server:
        error = call(server, bytes(MIB + 1))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert rpc_status.from_call(error) is None  # no RetryInfo: it is not sent again
        assert server.source.admission.bytes == 0


# -- addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        ({}, ["HTTP", "gRPC"]),
        ({"grpc": "127.0.0.1:0"}, ["HTTP"]),
        ({"grpc": None, "http": "[::1]:0"}, []),
        ({"authenticator": lambda headers, peer: "x"}, []),
        ({"tls": True}, []),
    ],
    ids=["open", "http", "loopback", "authenticated", "tls"],
)
def test_listening_to_everybody_without_protection_is_told(
    receiver: Receiver, keys: Keys, log: Log, arguments: dict[str, Any], warned: list[str]
) -> None:
    """It is a choice, but it must not be made by an oversight."""
    given = {"grpc": "0.0.0.0:0", "http": "0.0.0.0:0"} | arguments
    if "tls" in given:
        given["tls"] = keys.tls()
    with receiver(**given):
        lines = log()
        assert len(lines) == len(warned)
        for line, transport in zip(sorted(lines), warned, strict=True):
            assert f"OTLP/{transport} on 0.0.0.0:" in line
            assert "anybody" in line


def test_an_address_given_from_outside_is_told_too(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """As `rxotlp run --listen` gives it."""
    caplog.set_level(logging.WARNING)
    stream = otlp(grpc=None, http="127.0.0.1:0")
    with Pipeline(stream, listen={"http": "0.0.0.0:0"}):
        pass
    assert [line for line in caplog.messages if "anybody" in line]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_connections": 0}, r"otlp\(max_connections=0\): expected 1 or more"),
        ({"max_header_size": 1023}, r"otlp\(max_header_size=1023\): expected 1024 bytes"),
        ({"idle_timeout": 0.0}, r"otlp\(idle_timeout=0.0\): expected more than 0 seconds"),
        ({"body_timeout": -1}, r"otlp\(body_timeout=-1\)"),
        ({"header_timeout": float("nan")}, r"otlp\(header_timeout=nan\)"),
    ],
)
def test_limits_out_of_range_are_named(arguments: dict[str, Any], message: str) -> None:
    """Where the pipeline is written."""
    with pytest.raises(ValueError, match=message):
        otlp(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_connections": "5"}, r"max_connections='5'\): expected a whole number, got str"),
        ({"max_request_size": 1e6}, "max_request_size=1000000.0.: expected a whole number"),
        ({"idle_timeout": None}, "idle_timeout=None.: expected seconds, got NoneType"),
        ({"body_timeout": True}, "expected seconds, got bool"),
    ],
)
def test_limits_of_another_kind_are_named(arguments: dict[str, Any], message: str) -> None:
    """A text from a configuration file is a likely mistake."""
    with pytest.raises(TypeError, match=message):
        otlp(**arguments)


def test_no_limit_of_time_may_be_said(
    receiver: Receiver, keys: Keys, payloads: dict[str, bytes]
) -> None:
    """`inf` is a way to say never; gRPC has a largest number of milliseconds."""
    never = float("inf")
    with receiver(tls=keys.tls(), header_timeout=never, idle_timeout=never) as server:
        context = keys.context()
        with (
            connect(server.http) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(HEAD + b"content-length: 0\r\n\r\n")
            assert secure.recv(12) == b"HTTP/1.1 200"
    with receiver(header_timeout=never, body_timeout=never, idle_timeout=never) as server:
        assert server.post(body=payloads["traces"])[0] == 200
        assert call(server, payloads["traces"]) is None
