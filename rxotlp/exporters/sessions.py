"""One pooled HTTP session for each event loop that an exporter is used on.

An aiohttp session belongs to the loop it was opened on and to the process. So sessions are
opened when an export first runs on a loop, and again after a fork. What a fork inherited is
neither used nor closed: the sockets are the parent's, and closing them here would take them
out of the parent's selector.
"""

import asyncio
import functools
import logging
import os
from collections.abc import Callable
from concurrent.futures import CancelledError

import aiohttp
from aiohttp.client_proto import ResponseHandler

__all__ = ["Connector", "Sessions"]

logger = logging.getLogger("rxotlp")

_CLOSING = 5.0  # seconds to wait for another thread's loop to close its connections

_inherited: list[object] = []  # kept, so that no finalizer touches the parent's sockets


class Connector(aiohttp.TCPConnector):
    """aiohttp's, except that an attempt given up leaves nothing behind.

    Closing a connection waits until everything is written. A peer that has stopped reading
    would keep the socket and up to a whole request in memory, for every attempt it stalls.
    """

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit)
        factory = functools.partial(_Connection, loop=self._loop)
        self._factory = factory  # type: ignore[assignment]  # partial is invariant


class _Connection(ResponseHandler):
    def close(self) -> None:
        transport = self.transport
        if transport is not None and transport.get_write_buffer_size():
            self.abort()
        else:
            super().close()


class Sessions:
    """Opens, finds and closes them.

    Args:
        open_session: called on the loop that the session is for.
    """

    def __init__(self, open_session: Callable[[], aiohttp.ClientSession]) -> None:
        self._open_session = open_session
        self._process = os.getpid()
        # Only the loop's own thread opens its session, so no lock is needed.
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def current(self) -> aiohttp.ClientSession:
        """The running loop's session."""
        if self._process != os.getpid():
            self._forget_inherited()
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None or session.closed:
            self._forget_ended()
            session = self._sessions[loop] = self._open_session()
        return session

    async def aclose(self) -> None:
        """Close the running loop's session and wait for it; the others as `close` does."""
        mine = self._sessions.pop(asyncio.get_running_loop(), None)
        self.close()
        if mine is not None:
            await mine.close()
            # A TLS connection says goodbye in the loop's next turns.
            await asyncio.sleep(0)

    def close(self) -> None:
        """Close them all, from any thread; waits for loops that run on other threads."""
        if self._process != os.getpid():
            self._forget_inherited()
        while self._sessions:
            loop, session = self._sessions.popitem()
            if not session.closed:
                self._close(loop, session)

    def _close(self, loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession) -> None:
        if loop is _running_loop():
            task = loop.create_task(session.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        elif loop.is_running():
            done = asyncio.run_coroutine_threadsafe(session.close(), loop)
            try:
                done.result(_CLOSING)
            except (TimeoutError, CancelledError):  # the loop is busy, or ending
                logger.warning("an event loop did not close its HTTP connections in time")
        elif loop.is_closed():
            _close_without_loop(session)
        else:
            loop.run_until_complete(session.close())

    def _forget_inherited(self) -> None:
        _inherited.append(self._sessions)
        self._sessions = {}
        self._process = os.getpid()

    def _forget_ended(self) -> None:
        """Close what belongs to loops that are closed, so that they do not pile up."""
        for loop in [loop for loop in self._sessions if loop.is_closed()]:
            _close_without_loop(self._sessions.pop(loop))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _close_without_loop(session: aiohttp.ClientSession) -> None:
    """Close a session whose loop has ended: nobody is left to run its goodbyes."""
    coroutine = session.close()
    try:
        coroutine.send(None)
    except StopIteration:
        pass
    except RuntimeError as error:  # a transport that wants its loop once more
        logger.debug("closing a session after its event loop: %s", error)
    finally:
        coroutine.close()
