"""How much of an HTTP connection is read at once, and what is kept of a request's body.

What a connection has brought before its request has credit is in nobody's account, and there
are a thousand connections. So a little is read until the application asks for the body, and
much at once from then on; what an answered request still brings is read and kept nowhere.

    headers, and a body that nobody has asked for   `FIRST` bytes at once, and no more than
                                                    that before the sender is paused
    a body that was asked for                       `AT_ONCE` bytes at once, in pieces that are
                                                    joined once (uvicorn grows an array and
                                                    copies it: eight times the CPU at 260 kB)
    the rest of a body whose request is answered    `AT_ONCE` bytes at once, dropped; where more
                                                    than `DROPPED` are to come, the answer is
                                                    the connection's last
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

__all__ = ["Buffer", "Reader", "Reading", "RequestBody", "drop_body"]

FIRST = 16 << 10  # bytes
UNASKED = 14 << 10  # bytes of a body among the first; the others are headers
AT_ONCE = 256 << 10  # bytes
PORTION = 256 << 10  # bytes of a body of undeclared length that are given at once, about
DROPPED = 1 << 20  # bytes; reading more costs both ends more than a new connection


class Buffer:
    """What the connections of one loop are read into, one after the other.

    One is enough, as the parser copies what it passes on.
    """

    __slots__ = ("first", "whole")

    def __init__(self) -> None:
        self.whole = memoryview(bytearray(AT_ONCE))
        self.first = self.whole[:FIRST]


class Reading(Protocol):
    """What a `Reader` feeds."""

    def connection_made(self, transport: Any) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def data_received(self, data: Any) -> None: ...
    def eof_received(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    @property
    def hungry(self) -> bool:
        """Whether as much as possible is to be read at once."""
        ...


class Reader(asyncio.BufferedProtocol):
    """Reads a connection in steps of a size that its protocol chooses.

    It stands between loop and protocol: uvicorn's is an `asyncio.Protocol`, and uvloop asks
    none of those for a buffer.
    """

    __slots__ = ("_buffer", "_protocol")

    def __init__(self, protocol: Reading, buffer: Buffer) -> None:
        self._protocol = protocol
        self._buffer = buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer.whole if self._protocol.hungry else self._buffer.first

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(self._buffer.whole[:nbytes])

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


class RequestBody:
    """The pieces of one request's body, until the application asks for them.

    A body of declared length is given whole: the application knew what it asked for. One of
    undeclared length is given in portions, so that its size can be limited.

    Attributes:
        asked: the application waits for it.
        left: bytes that have not come yet; None where its length was not declared.
    """

    __slots__ = ("_cycle", "_pieces", "_size", "asked", "left")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._pieces: list[bytes] = []
        self._size = 0
        self.asked = False
        self.left: int | None = None
        declared = chunked = False
        for name, value in cycle.scope["headers"]:
            if name == b"content-length":  # the parser has checked that it is a number
                declared, self.left = True, int(value)
            elif name == b"transfer-encoding":
                chunked = True
        if not declared and not chunked:
            self.left = 0
        cycle.body = self  # type: ignore[assignment]  # nobody else uses it
        cycle.receive = self.receive  # type: ignore[method-assign, assignment]
        if self.left is None or self.left > DROPPED:
            cycle.send = self._send  # type: ignore[method-assign, assignment]

    def drop(self) -> None:
        """The request is over: keep nothing, and leave no cycle for the garbage collector."""
        self._pieces.clear()
        cycle = self._cycle
        own = vars(cycle)
        own.pop("receive", None)
        own.pop("send", None)
        cycle.body = bytearray()

    def feed(self, piece: bytes) -> None:
        """Keep one piece; wake the application or pause the sender when there is enough."""
        cycle = self._cycle
        if self.left is not None:
            self.left -= len(piece)
        if cycle.response_complete or cycle.disconnected:
            return  # refused before it was read
        self._pieces.append(piece)
        self._size += len(piece)
        if self.asked:
            if self.left is None and self._size >= PORTION:
                cycle.message_event.set()
        elif self._size >= UNASKED:
            cycle.flow.pause_reading()

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive."""
        cycle = self._cycle
        if cycle.waiting_for_100_continue and not cycle.transport.is_closing():
            cycle.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
        if not (cycle.disconnected or cycle.response_complete):
            self.asked = True
            cycle.flow.resume_reading()
            if cycle.more_body and (self.left is not None or self._size < PORTION):
                cycle.message_event.clear()
                await cycle.message_event.wait()
            self.asked = False
        pieces, self._pieces = self._pieces, []
        self._size = 0
        if cycle.disconnected or cycle.response_complete:
            return {"type": "http.disconnect"}
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": cycle.more_body}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        """ASGI's send: what answers before a large body is there says that it is the last."""
        cycle = self._cycle
        if cycle.more_body and (self.left is None or self.left > DROPPED):
            cycle.keep_alive = False
        await type(cycle).send(cycle, message)  # type: ignore[arg-type]


def drop_body(cycle: RequestResponseCycle) -> None:
    """Forget what a request has brought and nobody has asked for."""
    body: object = cycle.body
    if isinstance(body, RequestBody):
        body.drop()
