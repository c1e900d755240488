"""A TCP relay in front of a server: it can cut one connection mid-response, or be down.

    client -> relay.port -> the server's port

Servers that libraries bring (grpc, http.server) end a response properly whatever a test
wants; a relay between does not know what a response is.
"""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial

__all__ = ["Relay", "relay"]


class Relay:
    """Relays 127.0.0.1:port to 127.0.0.1:`target`, on a thread of its own.

    Attributes:
        port: where clients connect.
        accepted: connections so far.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._cuts: dict[int, int] = {}  # the server's peer port -> bytes it may still send
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._address = ("127.0.0.1", 0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay")
        self._thread.start()
        self.accepted = 0
        self.up()
        self.port: int = self._address[1]

    def cut(self, peer_port: int, *, after: int) -> None:
        """Forward `after` bytes more of what the server sends to this peer of it, then cut."""
        self._cuts[peer_port] = after

    def down(self) -> None:
        """Cut every connection and refuse new ones."""
        self._run(self._down())

    def up(self) -> None:
        """Listen again, on the same port."""
        self._run(self._up())

    def close(self) -> None:
        """Go down for good."""
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    async def _up(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(self._address)
            self._listener.setblocking(False)
            self._address = self._listener.getsockname()
            self._loop.add_reader(self._listener, self._accept)

    async def _down(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self) -> None:
        # By hand: what asyncio has accepted and not handed over yet is lost by a cancellation.
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # it has gone again
        client.setblocking(False)
        self.accepted += 1
        task = self._loop.create_task(self._relay(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(partial(_close, client))

    async def _relay(self, client: socket.socket) -> None:
        writer: asyncio.StreamWriter | None = None
        server: asyncio.StreamWriter | None = None
        try:
            reader, writer = await asyncio.open_connection(sock=client)
            answers, server = await asyncio.open_connection("127.0.0.1", self._target)
            port: int = server.get_extra_info("sockname")[1]
            pumps = [
                asyncio.ensure_future(self._pump(reader, server, None)),
                asyncio.ensure_future(self._pump(answers, writer, port)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # the server is gone
        finally:
            for end in (writer, server):
                if end is not None:
                    end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int | None
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65536):
                left = None if port is None else self._cuts.get(port)
                if left is not None and port is not None:
                    chunk, self._cuts[port] = chunk[:left], max(0, left - len(chunk))
                writer.write(chunk)
                await writer.drain()
                if left is not None and port is not None and not self._cuts[port]:
                    del self._cuts[port]
                    writer.write_eof()  # what was forwarded arrives before the end does
                    return


def _close(client: socket.socket, _task: object) -> None:
    client.close()


@contextmanager
def relay(target: int) -> Iterator[Relay]:
    """A relay for the time of a `with` block."""
    made = Relay(target)
    try:
        yield made
    finally:
        made.close()
