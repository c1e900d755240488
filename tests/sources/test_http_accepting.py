"""A connection that arrives while the HTTP server closes is closed too, and nobody complains."""

import asyncio
import errno
import gc
import socket
from typing import Any

import pytest
import uvloop

from rxotlp.sources.accepting import Acceptor
from rxotlp.sources.addresses import bind
from rxotlp.sources.http_server import HttpServer
from rxotlp.sources.limits import Limits

LIMITS = Limits(
    max_request_size=1000,
    max_header_size=1024,
    max_connections=10,
    header_timeout=10.0,
    body_timeout=10.0,
    idle_timeout=10.0,
)


class NoReaders(asyncio.SelectorEventLoop):
    """A loop that watches no file descriptors for others, as Windows' own."""

    def add_reader(self, *_: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


async def nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    """An application that is never asked."""


@pytest.mark.parametrize("pauses", range(4))
@pytest.mark.parametrize("factory", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_a_connection_that_arrives_as_it_closes_is_closed(factory: Any, pauses: int) -> None:
    """Accepted and forgotten, it would be a socket that is left and a trace in the log."""
    problems: list[dict[str, Any]] = []

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: problems.append(context))
        server = HttpServer(nothing, status_body=lambda *_: b"", limits=LIMITS)
        bound = bind("test", "127.0.0.1", 0)
        await server.start(bound)
        await asyncio.sleep(0.01)
        with socket.create_connection(bound.getsockname(), timeout=10) as client:
            for _ in range(pauses):
                await asyncio.sleep(0)
            await server.close(1.0)
            await asyncio.sleep(0)
            return await asyncio.to_thread(_rest, client)

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(main()) == b""
    gc.collect()
    assert problems == []


def _rest(client: socket.socket) -> bytes:
    try:
        return client.recv(1)
    except ConnectionResetError:  # it was never accepted
        return b""


@pytest.mark.parametrize("factory", [asyncio.SelectorEventLoop, uvloop.new_event_loop, NoReaders])
def test_connections_are_accepted_on_every_loop(factory: Any) -> None:
    """Windows' own watches no file descriptors, and has a way of its own."""

    def ask(address: Any) -> bytes:
        with socket.create_connection(address, timeout=10) as client:
            client.sendall(b"GARBAGE\r\n\r\n")
            return client.recv(1000)

    async def main() -> list[bytes]:
        server = HttpServer(nothing, status_body=lambda *_: b"", limits=LIMITS)
        bound = bind("test", "127.0.0.1", 0)
        await server.start(bound)
        address = bound.getsockname()
        answers = [await asyncio.to_thread(ask, address) for _ in range(2)]
        await server.close(1.0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(ask, address)
        return answers

    with asyncio.Runner(loop_factory=factory) as runner:
        for answer in runner.run(main()):
            assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("factory", [asyncio.SelectorEventLoop, uvloop.new_event_loop, NoReaders])
def test_out_of_file_descriptors_it_pauses_and_goes_on(
    factory: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Asked again at once, it would fail again at once, and fill the log and a core."""
    arrived: list[socket.socket] = []

    class Listener(socket.socket):
        refusals = 2

        def accept(self) -> Any:
            if self.refusals:
                self.refusals -= 1
                raise OSError(errno.EMFILE, "no file descriptor is left")
            return super().accept()

    async def main() -> None:
        with Listener() as listener:
            listener.setblocking(False)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            acceptor = Acceptor(listener, arrived.append)
            with socket.create_connection(listener.getsockname(), timeout=10):
                while not arrived:
                    await asyncio.sleep(0.01)
                await acceptor.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    arrived.pop().close()
    assert len([line for line in caplog.messages if "no file descriptor is left" in line]) == 2
