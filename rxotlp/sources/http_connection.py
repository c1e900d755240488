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
    bodies              see `http_body`
    the last answer     the connection is closed when the request's body has come, too, for at
                        most `body_timeout` and `max_request_size` (uvicorn closes at once, and
                        the reset that follows can take the answer with it)
"""

import asyncio
import logging
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
from rxotlp.sources.http_body import Buffer, RequestBody, drop_body
from rxotlp.sources.limits import Limits

__all__ = ["Body", "Connection", "Connections"]

logger = logging.getLogger("rxotlp")
# What uvicorn has to say; its warnings are about requests, and we have a line for each.
uvicorn_logger = guard(logging.getLogger("rxotlp.uvicorn"))
uvicorn_logger.setLevel(logging.ERROR)

Body = Callable[[int, str], bytes]


class Connections(ServerState):
    """What the connections of one server share."""

    def __init__(self, status_body: Body, limits: Limits) -> None:
        super().__init__()
        self.status_body = status_body
        self.limits = limits
        self.arriving: dict[Connection, asyncio.Task[None]] = {}  # accepted, and not made yet
        self.buffer = Buffer()
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
        self.lingers: int | None = None  # bytes that are read yet after the last answer
        self.body: RequestBody
        self.answers: _Answers

    @property
    def hungry(self) -> bool:
        """Whether as much as possible is to be read at once."""
        return self.in_body and (self.body.asked or self.cycle.response_complete)

    @property
    def peer(self) -> str:
        """For log lines."""
        return "an unknown peer" if self.client is None else format_address(*self.client[:2])

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.server_state.arriving.pop(self, None)
        super().connection_made(transport)
        self.answers = _Answers(transport, self.finish)
        self.since = self.loop.time()  # the handshake had a time of its own
        self.in_headers = True  # a connection that sends nothing at all counts as slow
        name = _certificate_name(transport.get_extra_info("peercert"))
        if name is not None:
            self.app_state["certificate"] = name

    def connection_lost(self, exc: Exception | None) -> None:
        for cycle in (self.running, self.cycle, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None:
                self._disconnect(cycle)  # uvicorn tells the last of several requests alone
        self.answers.finish = self.transport.close  # no cycle for the garbage collector
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
        if self.lingers is not None:
            self.lingers -= len(data)
            if self.lingers <= 0:
                self.transport.close()
            return
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
        self.body = RequestBody(self.cycle)
        self.cycle.transport = self.answers  # type: ignore[assignment]
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
            drop_body(self.running)
        if self.lingers is not None:
            return  # the connection ends with this answer
        super().on_response_complete()
        self._refuse_in_turn()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def _disconnect(self, cycle: RequestResponseCycle) -> None:
        if not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        drop_body(cycle)

    def finish(self) -> None:
        """Close after the last answer, once its request has come to its end or a limit."""
        running = self.running
        most = left = 0
        if running is not None and running.more_body and not self.transport.is_closing():
            most = self.server_state.limits.max_request_size
            left = most if self.body.left is None else self.body.left
        if not left:
            self.transport.close()
            return
        self.lingers = min(left, most)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

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
        if self.transport.is_closing() or self.lingers is not None:
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


class _Answers:
    """A connection's transport as uvicorn's answers see it: closing waits for their requests."""

    __slots__ = ("_transport", "finish")

    def __init__(self, transport: asyncio.Transport, finish: Callable[[], None]) -> None:
        self._transport = transport
        self.finish = finish

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self.finish()


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
