"""Accepting connections until told to stop, without losing one that arrives just then.

`loop.sock_accept` is cancelled too late or too early: a connection that the loop has accepted
and not handed over yet is left open with nobody to close it (CPython 3.11, uvloop 0.23). So
where a loop watches file descriptors, a plain `accept` follows the event in the same step.
Windows' own loop watches none; its `sock_accept` closes what a cancellation leaves behind.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

__all__ = ["Acceptor"]

logger = logging.getLogger("rxotlp")

PAUSE = 0.2  # seconds, when the process has no file descriptor left


class Acceptor:
    """Accepts on a listening socket, on the running loop, and closes it in the end.

    Args:
        listener: non-blocking, and listening.
        arrived: called with every connection, which is non-blocking and the callee's now.
    """

    def __init__(self, listener: socket.socket, arrived: Callable[[socket.socket], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._arrived = arrived
        self._pause: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        try:
            self._watch()
        except NotImplementedError:
            self._task = self._loop.create_task(self._accept_all())

    async def close(self) -> None:
        """Accept nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        else:
            if self._pause is not None:
                self._pause.cancel()
            self._loop.remove_reader(self._listener)
        self._listener.close()

    def _watch(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # it has gone again
        except OSError as error:
            logger.error("HTTP: cannot accept a connection: %s", error)
            self._loop.remove_reader(self._listener)
            self._pause = self._loop.call_later(PAUSE, self._watch)
            return
        connection.setblocking(False)
        self._arrived(connection)

    async def _accept_all(self) -> None:
        while True:
            try:
                connection, _ = await self._loop.sock_accept(self._listener)
            except OSError as error:
                logger.error("HTTP: cannot accept a connection: %s", error)
                await asyncio.sleep(PAUSE)
                continue
            self._arrived(connection)
