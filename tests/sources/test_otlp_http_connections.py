"""Connections that carry several requests, or half of one: each has its answer."""

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from rxotlp._core.outcomes import DELIVERED
from rxotlp.admission import Admission

Receiver = Callable[..., Any]
Log = Callable[[], list[str]]

HEAD = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"


def request(payload: bytes) -> bytes:
    """One whole request, on a connection that stays."""
    return HEAD + b"content-length: %d\r\n\r\n%s" % (len(payload), payload)


def wait_until(true: Callable[[], object]) -> None:
    """Wait until something is so; the test's timeout ends it."""
    while not true():
        time.sleep(0.005)


def rest(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


@pytest.mark.parametrize(
    "malformed",
    [b"GARBAGE\r\n\r\n", HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n"],
    ids=["head", "body"],
)
def test_a_malformed_request_does_not_cost_the_one_before_it_its_answer(
    receiver: Receiver, payloads: dict[str, bytes], log: Log, malformed: bytes
) -> None:
    """S10: its data is delivered; without an answer it would be sent again, and doubled."""
    with receiver() as server:
        server.outcome = None
        with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
            connection.sendall(request(payloads["traces"]) + malformed)
            wait_until(lambda: server.claims and log())
            server.report(DELIVERED)
            answers = rest(connection)
        assert answers.count(b"HTTP/1.1 200") == 1
        assert answers.index(b"HTTP/1.1 200") < answers.index(b"HTTP/1.1 400")
        assert len(log()) == 1
        assert "malformed" in log()[0]
        assert len(server.seen) == 1


def test_a_client_that_leaves_with_two_requests_in_flight_is_no_defect(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """The answer to the first has nowhere to go; that is not worth a traceback."""
    with receiver() as server:
        server.outcome = None
        with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
            connection.sendall(request(payloads["traces"]) * 2)
            wait_until(lambda: server.claims)
        time.sleep(0.1)  # the server sees it go; if it does not, this proves less
        server.report(DELIVERED)
        server.outcome = DELIVERED
        assert server.post(body=payloads["traces"])[0] == 200
        assert log() == []


def test_a_request_that_is_half_sent_when_the_receiver_stops_is_to_be_sent_again(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """A restart is no defect, and its sender must hear that it should try once more."""
    with receiver() as server:
        connection = socket.create_connection(("127.0.0.1", server.http_port), timeout=20)
        connection.sendall(request(payloads["traces"])[:-1])
        wait_until(lambda: server.source.admission.bytes)
    with connection:
        assert rest(connection).startswith(b"HTTP/1.1 503")
    (line,) = log()
    assert "127.0.0.1:" in line
    assert "stopping" in line
    assert server.source.admission.bytes == 0


def test_a_request_that_waits_for_room_when_the_receiver_stops_is_to_be_sent_again(
    receiver: Receiver, payloads: dict[str, bytes], log: Log
) -> None:
    """As one that is half sent: it may wait for longer than the stop takes."""
    size = len(payloads["traces"])
    with receiver(admission=Admission(max_bytes=size)) as server:
        held = server.source.admission.reserve(size)
        connection = socket.create_connection(("127.0.0.1", server.http_port), timeout=20)
        connection.sendall(request(payloads["traces"]))
        wait_until(lambda: server.source.admission.waiting)
    with connection:
        assert rest(connection).startswith(b"HTTP/1.1 503")
    assert len(log()) == 1
    held.release()
    assert server.source.admission.bytes == 0
