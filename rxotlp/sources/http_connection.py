"""One HTTP/1.1 connection: uvicorn's protocol, mended where OTLP asks for more.

What is mended:

    malformed HTTP      answered with a google.rpc.Status in protobuf (uvicorn: plain text),
                        after the answers to what the connection had sent before it
    endless headers     431 after `max_header_size` bytes that get the request nowhere (uvicorn
                        has no limit, and takes quadratic time)
    slow headers        408 after `header_timeout` from the connection's or request's first byte
    stalled bodies      408 after `body_timeout` without a byte, unless we paused the reading
    unread answers      the connection is cut after `body_timeout` in which none was read
    Upgrade             refused at once (uvicorn would wait for a body that never comes)
    bodies              their pieces are kept as they come and joined once (uvicorn grows an
                        array and copies it: eight times the CPU at 260 kB)
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from rxotlp.lines import guard
from rxotlp.sources.addresses import format_address
from rxotlp.sources.limits import Limits

__all__ = ["Body", "Connection", "Connections"]

logger = logging.getLogger("rxotlp")
# What uvicorn has to say; its warnings are about requests, and we have a line for each.
uvicorn_logger = guard(logging.getLogger("rxotlp.uvicorn"))
uvicorn_logger.setLevel(logging.ERROR)

UNASKED = 64 << 10  # bytes of a body that are read before the application asks for it
PORTION = 256 << 10  # bytes of a body of undeclared length that are given at once, about

Body = Callable[[int, str], bytes]


class _RequestBody:
    """The pieces of one request's body, until the application asks for them.

    A body of declared length is given whole: the application knew what it asked for. One of
    undeclared length is given in portions, so that its size can be limited.
    """

    __slots__ = ("asked", "cycle", "pieces", "portion", "size")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self.cycle = cycle
        self.pieces: list[bytes] = []
        self.size = 0
        self.asked = False
        declared = any(name == b"content-length" for name, _ in cycle.scope["headers"])
        self.portion = sys.maxsize if declared else PORTION
        cycle.body = self  # type: ignore[assignment]  # nobody else uses it
        cycle.receive = self.receive  # type: ignore[method-assign, assignment]

    def drop(self) -> None:
        """The request is over: keep nothing, and leave no cycle for the garbage collector."""
        self.pieces.clear()
        vars(self.cycle).pop("receive", None)
        self.cycle.body = bytearray()

    def feed(self, piece: bytes) -> None:
        """Keep one piece; wake the application or pause the sender when there is enough."""
        cycle = self.cycle
        if cycle.response_complete:
            return  # refused before it was read
        self.pieces.append(piece)
        self.size += len(piece)
        if self.asked:
            if self.size >= self.portion:
                cycle.message_event.set()
        elif self.size >= UNASKED:
            cycle.flow.pause_reading()

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive."""
        cycle = self.cycle
        if cycle.waiting_for_100_continue and not cycle.transport.is_closing():
            cycle.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
        if not (cycle.disconnected or cycle.response_complete):
            self.asked = True
            cycle.flow.resume_reading()
            if cycle.more_body and self.size < self.portion:
                cycle.message_event.clear()
                await cycle.message_event.wait()
            self.asked = False
        pieces, self.pieces = self.pieces, []
        self.size = 0
        if cycle.disconnected or cycle.response_complete:
            return {"type": "http.disconnect"}
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": cycle.more_body}


class Connections(ServerState):
    """What the connections of one server share."""

    def __init__(self, status_body: Body, limits: Limits) -> None:
        super().__init__()
        self.status_body = status_body
        self.limits = limits
        self.arriving: dict[Connection, asyncio.Task[None]] = {}  # accepted, and not made yet
        self.closing = False
        self.gone = asyncio.Event()


class Connection(HttpToolsProtocol):
    """One connection; `since` is when it last made progress in what it is doing."""

    server_state: Connections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False
        self.logger = uvicorn_logger
        self.since = self.loop.time()
        self.in_headers = False
        self.in_body = False
        self.head = 0  # bytes since the request last got on
        self.unread_since: float | None = None  # the client takes no answer
        self.closing_since: float | None = None
        self.running: RequestResponseCycle | None = None  # whose answer is next
        self.refusal: bytes | None = None  # the last answer, once its turn has come
        self.body: _RequestBody

    @property
    def peer(self) -> str:
        """For log lines."""
        return "an unknown peer" if self.client is None else format_address(*self.client[:2])

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.server_state.arriving.pop(self, None)
        super().connection_made(transport)
        self.since = self.loop.time()  # the handshake had a time of its own
        self.in_headers = True  # a connection that sends nothing at all counts as slow
        name = _certificate_name(transport.get_extra_info("peercert"))
        if name is not None:
            self.app_state["certificate"] = name

    def connection_lost(self, exc: Exception | None) -> None:
        if self.running is not None and self.running is not self.cycle:
            self._disconnect(self.running)  # uvicorn tells the last of several requests alone
        begun = self.in_headers and (self.head or self.cycle is not None)
        if begun and self.refusal is None and not self.server_state.closing:
            logger.warning(
                "HTTP request from %s: the client disconnected half-way through its headers",
                self.peer,
            )
        super().connection_lost(exc)
        if not self.server_state.connections:
            self.server_state.gone.set()

    def data_received(self, data: bytes) -> None:
        if self.refusal is not None:
            return  # the parser has given up
        if not self.in_headers:
            self.since = self.loop.time()
        self.head += len(data)
        super().data_received(data)
        most = self.server_state.limits.max_header_size
        if self.head > most and not self.transport.is_closing():
            self.refuse(431, f"more than {most} bytes of headers")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self.in_headers:
            self.in_headers = True
            self.since = self.loop.time()

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.server_state.limits.max_header_size:  # and all came in one read
            self.scope["state"]["large_head"] = True  # refused by the application, in its turn
        super().on_headers_complete()
        self.in_headers = False
        self.in_body = True
        self.head = 0
        self.since = self.loop.time()
        self.body = _RequestBody(self.cycle)
        if self.parser.should_upgrade():
            # The parser stops here; the application refuses it, in its turn.
            self.scope["state"]["upgrade"] = True
            self.cycle.keep_alive = False
        if self.server_state.closing:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self.head = 0
        self.body.feed(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.in_body = False
        self.head = 0

    def on_response_complete(self) -> None:
        if self.running is not None:
            _drop_body(self.running)
        super().on_response_complete()
        self._refuse_in_turn()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def _disconnect(self, cycle: RequestResponseCycle) -> None:
        if not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.unread_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.unread_since = None

    def check(self, now: float) -> None:
        """Close the connection if its request does not get on."""
        limits = self.server_state.limits
        if self.unread_since is not None and now - self.unread_since >= limits.body_timeout:
            self.transport.abort()  # closing waits until everything is written
            return
        if self.transport.is_closing():
            if self.closing_since is None:
                self.closing_since = now
            elif now - self.closing_since >= limits.body_timeout:
                self.transport.abort()
            return
        waited = now - self.since
        if self.in_headers:
            if waited >= limits.header_timeout:
                self.refuse(408, f"the request's headers were not complete after {waited:.1f} s")
        elif self.in_body:
            if self.flow.read_paused:  # our doing: the sender must not suffer for it
                self.since = now
            elif waited >= limits.body_timeout:
                self.refuse(408, f"the request's body stopped for {waited:.1f} s")
        elif waited >= limits.idle_timeout and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def refuse(self, status: int, message: str) -> None:
        """Answer what never became a whole request, in its turn, and close the connection."""
        if self.refusal is not None or self.transport.is_closing():
            return
        if self.in_body:
            cycle = self.cycle
            if cycle.response_started:  # it has its answer, and its line
                self.transport.close()
                return
            if self.pipeline:
                self.pipeline.popleft()  # the last that came: it is never begun
            else:
                self.scope["state"]["refused"] = True  # what the application sees is our doing
                self._disconnect(cycle)
                self.running = None
        logger.warning("HTTP request from %s: %s", self.peer, message)
        body = self.server_state.status_body(status, message)
        self.refusal = (
            b"%scontent-type: application/x-protobuf\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%s"
            % (STATUS_LINE[status], len(body), body)
        )
        self._refuse_in_turn()

    def cut(self) -> None:
        """Answer for the application what it had no time for, and close the connection."""
        running = self.running
        if running is None or running.response_started or self.transport.is_closing():
            return
        running.scope["state"]["refused"] = True
        self._disconnect(running)
        self.running = None
        self.pipeline.clear()
        self.in_body = False
        self.refuse(503, "the receiver is stopping")

    def _refuse_in_turn(self) -> None:
        if self.refusal is None or self.transport.is_closing():
            return
        if self.running is None or self.running.response_complete:
            self.transport.write(self.refusal)
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self.refuse(400, "malformed HTTP/1.1 request")

    def _unsupported_upgrade_warning(self) -> None:
        """See on_headers_complete."""


def _drop_body(cycle: RequestResponseCycle) -> None:
    body: object = cycle.body
    if isinstance(body, _RequestBody):
        body.drop()


def _certificate_name(certificate: Any) -> str | None:
    """Whom a client's certificate was issued to."""
    if not certificate:
        return None
    for _, name in certificate.get("subjectAltName", ()):
        return str(name)
    for part in certificate.get("subject", ()):
        for key, name in part:
            if key == "commonName":
                return str(name)
    return None
