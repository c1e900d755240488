"""Overload: a refused request costs no memory, and its sender hears that it was refused."""

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import grpc
import psutil
import pytest
from grpc_status import rpc_status

from rxotlp._core.statuses import retry_delay
from rxotlp.admission import Admission
from tests.support.tls import Keys, keys_in

Receiver = Callable[..., Any]
Log = Callable[[], list[str]]

HEAD = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MIB = 1 << 20


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Without the garbage collector: what waits for it is memory that is not there."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def resident() -> float:
    """MiB of this process, the receiver's."""
    return float(psutil.Process().memory_info().rss) / MIB


def head(size: int, more: bytes = b"") -> bytes:
    """Of a request with a body of so many bytes."""
    return HEAD + more + b"content-length: %d\r\n\r\n" % size


def wait_until(true: Callable[[], object]) -> None:
    """Wait until something is so; the test's timeout ends it."""
    while not true():
        time.sleep(0.005)


def connect(server: Any) -> socket.socket:
    """A client's socket, whose reads end."""
    return socket.create_connection(("127.0.0.1", server.http_port), timeout=20)


def full(server: Any) -> Any:
    """Take all the credit."""
    admission = server.source.admission
    return admission.reserve(admission.max_bytes)


def answer(connection: socket.socket) -> bytes:
    """One answer's head, in lower case; its body has been read."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    said, _, body = received.lower().partition(b"\r\n\r\n")
    length = int(said.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return said


def pour(connection: socket.socket, block: bytes) -> None:
    """Send 200 MiB in such blocks, whatever the server says."""
    for _ in range(200 * MIB // len(block)):
        connection.sendall(block)


def test_memory_stays_flat_while_requests_are_refused(
    receiver: Receiver, uncollected: None
) -> None:
    """Overload is when there is none to spare, and senders do not stop because of it."""
    piece, rest = memoryview(bytes(64 << 10)), memoryview(bytes(MIB - (64 << 10)))
    answers: list[bytes] = []

    def send(server: Any) -> None:
        with ExitStack() as stack:
            mine = [stack.enter_context(connect(server)) for _ in range(25)]
            for _ in range(3):
                for connection in mine:
                    connection.sendall(head(MIB))
                    connection.sendall(piece)
                for connection in mine:
                    connection.sendall(rest)
                    answers.append(answer(connection))

    with receiver(admission=Admission(max_bytes=8 * MIB), when_full="reject") as server:
        full(server)
        before = resident()
        threads = [threading.Thread(target=send, args=(server,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        most = before
        while any(thread.is_alive() for thread in threads):
            most = max(most, resident())
            time.sleep(0.01)
        assert len(answers) == 600
        assert all(said.startswith(b"http/1.1 503") for said in answers)
        assert most - before < 40  # of 600 MiB that were sent


def test_senders_that_wait_for_room_cost_little(receiver: Receiver, uncollected: None) -> None:
    """What they have sent is in nobody's account, and there may be a thousand of them."""
    piece = bytes(256 << 10)
    with (
        receiver(admission=Admission(max_bytes=8 * MIB), max_connections=300) as server,
        ExitStack() as stack,
    ):
        held = full(server)
        before = resident()
        connections = [stack.enter_context(connect(server)) for _ in range(200)]
        for connection in connections:
            connection.sendall(head(MIB))
            connection.setblocking(False)
        wait_until(lambda: server.source.admission.waiting == len(connections))
        for _ in range(4):
            for connection in connections:
                with suppress(BlockingIOError):
                    connection.send(piece)
            time.sleep(0.05)  # if nothing is read in that time, this proves less
        assert resident() - before < 15  # MiB; it was 64 KiB of each, or 256
        stack.close()
        held.release()


def test_a_refused_sender_hears_when_to_come_again_and_stays_connected(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """S11: many small requests on a connection each; a new one for each would cost more."""
    body = bytes(MIB)
    admission = Admission(max_bytes=2 * MIB, retry_after=3)
    with (
        receiver(admission=admission, when_full="reject") as server,
        connect(server) as connection,
    ):
        held = full(server)
        for _ in range(2):
            connection.sendall(head(MIB))
            connection.sendall(body)
            said = answer(connection)
            assert said.startswith(b"http/1.1 503")
            assert b"retry-after: 3" in said
            assert b"connection: close" not in said
        held.release()
        connection.sendall(head(len(payloads["traces"])) + payloads["traces"])
        assert answer(connection).startswith(b"http/1.1 200")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    ("size", "more"), [(8 * MIB, b""), (MIB - 1, b"connection: close\r\n")], ids=["large", "asked"]
)
def test_a_refused_sender_whose_connection_ends_hears_of_it(
    receiver: Receiver, keys: Keys, tls: bool, size: int, more: bytes
) -> None:
    """S11: closed while its body is on its way, it would be reset, and know nothing."""
    arguments: dict[str, Any] = {"tls": keys.tls()} if tls else {}
    admission = Admission(max_bytes=9 * MIB, retry_after=3)
    with (
        receiver(admission=admission, when_full="reject", **arguments) as server,
        ExitStack() as stack,
    ):
        full(server)
        connection = stack.enter_context(connect(server))
        if tls:
            connection = stack.enter_context(
                keys.context().wrap_socket(connection, server_hostname="localhost")
            )
        connection.sendall(head(size, more))
        connection.sendall(bytes(size))
        said = answer(connection)
        assert said.startswith(b"http/1.1 503")
        assert b"retry-after: 3" in said
        assert b"connection: close" in said
        assert connection.recv(1) == b""


def test_what_is_refused_is_not_read_without_end(receiver: Receiver) -> None:
    """A sender that does not listen would keep us busy with it."""
    with receiver(max_request_size=MIB) as server, connect(server) as connection:
        connection.sendall(head(1 << 40))
        assert answer(connection).startswith(b"http/1.1 413")
        with pytest.raises(ConnectionError):
            pour(connection, bytes(MIB))


def test_a_refused_body_of_undeclared_length_is_not_read_without_end(
    receiver: Receiver, log: Log
) -> None:
    """As above, and nobody can know when it ends."""
    chunk = b"40000\r\n%s\r\n" % bytes(0x40000)
    with receiver(max_request_size=MIB) as server, connect(server) as connection:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        with pytest.raises(ConnectionError):
            pour(connection, chunk)
        said = answer(connection)
        assert said.startswith(b"http/1.1 413")
        assert b"connection: close" in said
        assert len(log()) == 1


def test_a_refused_sender_that_stops_half_way_is_not_waited_for(receiver: Receiver) -> None:
    """It has its answer; its connection is one that others could have."""
    with (
        receiver(max_request_size=MIB, body_timeout=0.2) as server,
        connect(server) as connection,
    ):
        connection.sendall(head(8 * MIB) + b"x")
        assert answer(connection).startswith(b"http/1.1 413")
        assert connection.recv(1) == b""
        wait_until(lambda: not server.source._servers[0]._state.connections)


# -- gRPC -------------------------------------------------------------------------------------


def call(server: Any, messages: Iterator[bytes]) -> Any:
    """One call; its error, or None."""
    with grpc.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            channel.stream_unary(EXPORT, None, None)(messages, timeout=20)
        except grpc.RpcError as error:
            return error
        return None


def unread(server: Any, ended: threading.Event) -> bool:
    """Whether a call is refused although its message never comes."""

    def messages() -> Iterator[bytes]:
        ended.wait(20)
        yield b""

    error = call(server, messages())
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert retry_delay(rpc_status.from_call(error)) == 3
    return "are in flight" in error.details()


def test_a_grpc_call_is_refused_before_its_message_is_read(receiver: Receiver) -> None:
    """S11: a thousand messages that were read to be refused are the memory that is not there."""
    admission = Admission(max_bytes=8 * MIB, retry_after=3)
    ended = threading.Event()
    try:
        with receiver(admission=admission, when_full="reject") as server:
            full(server)
            assert unread(server, ended)
    finally:
        ended.set()


def test_a_grpc_message_is_taken_to_be_as_large_as_those_before_it(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """There is always room for a byte; and one large message must not shut out small ones."""
    large, small = bytes(MIB), payloads["traces"]  # the large one is no request, but is read
    admission = Admission(max_bytes=4 * MIB, retry_after=3)
    ended = threading.Event()
    try:
        with receiver(admission=admission, when_full="reject") as server:
            for _ in range(4):
                assert call(server, iter((large,))).code() is grpc.StatusCode.INVALID_ARGUMENT
            held = admission.reserve(4 * MIB - (64 << 10))
            assert unread(server, ended)
            for _ in range(200):
                if call(server, iter((small,))) is None:
                    break
            assert len(server.seen) == 1
            held.release()
            wait_until(lambda: not admission.bytes)
    finally:
        ended.set()


def test_a_grpc_message_that_is_larger_than_those_before_it_waits_for_more_room(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """when_full="wait": it is read already, and so nobody hears anything but what became of it."""
    size = len(payloads["traces"])
    admission = Admission(max_bytes=2 * size)
    with receiver(admission=admission) as server:
        held = admission.reserve(2 * size - 1)  # a byte is what the first is taken to have
        errors: list[Any] = []
        thread = threading.Thread(
            target=lambda: errors.append(call(server, iter((payloads["traces"],))))
        )
        thread.start()
        wait_until(lambda: admission.waiting)
        assert not server.seen
        held.release()
        thread.join(20)
        assert errors == [None]
        wait_until(lambda: not admission.bytes)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """They do not change here."""
    return keys_in(tmp_path_factory.mktemp("tls"))
