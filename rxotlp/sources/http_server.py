"""An OTLP/HTTP server: accepts connections, counts them, and closes them all.

Connections are accepted here and not by asyncio's own server, so that they can be counted
from their handshake on, and each has the certificates of its day. One timer looks over all
of them; a request that comes in one piece costs none. uvicorn's own `Server` is not used: it
polls ten times a second and installs signal handlers.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable

import uvicorn

from rxotlp._core.text import clean
from rxotlp.certificates import Reloaded
from rxotlp.security import ServerKeys
from rxotlp.sources.accepting import Acceptor
from rxotlp.sources.addresses import format_address
from rxotlp.sources.http_body import Reader
from rxotlp.sources.http_connection import Body, Connection, Connections
from rxotlp.sources.limits import Limits

__all__ = ["HttpServer"]

logger = logging.getLogger("rxotlp")

BACKLOG = 2048
QUIET = 60.0  # seconds between two lines about connections that are refused


class HttpServer:
    """Serves an ASGI application on a bound socket, on the running loop.

    Args:
        app: the application.
        status_body: an HTTP status and a text as an encoded google.rpc.Status.
        limits: see there.
        keys: for TLS; None serves without.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        *,
        status_body: Body,
        limits: Limits,
        keys: Reloaded[ServerKeys] | None = None,
    ) -> None:
        self._limits = limits
        self._keys = keys
        patience = (limits.header_timeout, limits.body_timeout, limits.idle_timeout, 10.0)
        self._period = min(patience) / 4
        self._config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=limits.idle_timeout,  # type: ignore[arg-type]  # for call_later
        )
        self._config.load()
        self._state = Connections(status_body, limits)
        self._acceptor: Acceptor | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._refused = 0  # connections since the last line about them
        self._told = -QUIET

    async def start(self, bound: socket.socket) -> None:
        """Listen on `bound`, which is closed with the server."""
        loop = asyncio.get_running_loop()
        bound.listen(BACKLOG)
        self._acceptor = Acceptor(bound, self._arrived)
        self._timer = loop.call_later(self._period, self._check, loop)

    def _arrived(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        state = self._state
        if len(state.connections) + len(state.arriving) >= self._limits.max_connections:
            connection.close()
            self._tell_refused(loop.time())
            return
        protocol = Connection(self._config, state, {}, loop)
        task = loop.create_task(self._take(loop, connection, protocol))
        state.arriving[protocol] = task

        def taken(_task: object) -> None:  # even when cancelled before its first step
            if state.arriving.pop(protocol, None) is not None:
                connection.close()  # else it is the connection's own by now

        task.add_done_callback(taken)

    async def _take(
        self, loop: asyncio.AbstractEventLoop, connection: socket.socket, protocol: Connection
    ) -> None:
        """Make a connection of a socket; with TLS, after a handshake of bounded length."""
        keys = self._keys
        reader = Reader(protocol, self._state.buffer)
        try:
            peer = format_address(*connection.getpeername()[:2])
            if keys is None:
                await loop.connect_accepted_socket(lambda: reader, connection)
            else:
                await loop.connect_accepted_socket(
                    lambda: reader,
                    connection,
                    ssl=keys.get().context,
                    ssl_handshake_timeout=self._limits.header_timeout,
                )
        except ssl.SSLError as error:
            why = error.reason or str(error)
            logger.warning("TLS handshake with %s failed: %s", peer, clean(why))
        except OSError as error:  # the client is gone, or has kept us waiting for too long
            logger.debug("a connection was not made: %s", error)

    def _tell_refused(self, now: float) -> None:
        self._refused += 1
        if now - self._told >= QUIET:
            logger.warning(
                "HTTP: %d connection(s) refused: more than %d would be open",
                self._refused,
                self._limits.max_connections,
            )
            self._refused = 0
            self._told = now

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self._state.connections):
            assert isinstance(connection, Connection)
            connection.check(now)
        self._timer = loop.call_later(self._period, self._check, loop)

    async def close(self, grace: float) -> None:
        """Stop listening, let running requests be answered for `grace` seconds, then cut."""
        state = self._state
        if self._acceptor is not None:
            await self._acceptor.close()
        arriving = list(state.arriving.values())
        for task in arriving:
            task.cancel()
        if arriving:
            await asyncio.wait(arriving, timeout=grace)
        state.closing = True
        for connection in list(state.connections):
            connection.shutdown()
        await self._wait_until_gone(grace)
        for connection in list(state.connections):
            assert isinstance(connection, Connection)
            connection.cut()
        for task in list(state.tasks):
            task.cancel()
        if state.tasks:
            await asyncio.wait(list(state.tasks), timeout=grace)
        for connection in list(state.connections):
            connection.transport.abort()
        await self._wait_until_gone(grace)
        if self._timer is not None:
            self._timer.cancel()

    async def _wait_until_gone(self, grace: float) -> None:
        state = self._state
        state.gone.clear()
        if state.connections:
            try:
                await asyncio.wait_for(state.gone.wait(), grace)
            except TimeoutError:
                return
        if state.tasks:
            await asyncio.wait(list(state.tasks), timeout=grace)
