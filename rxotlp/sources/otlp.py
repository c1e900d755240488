"""`sources.otlp()`: the OTLP receiver, gRPC and HTTP, as one hot stream.

Both servers run as coroutines on the scheduler's loop: on an AsyncScheduler the pipeline's
own, on a SyncScheduler its private one. Every sender's answer is what became of its data
(see `reception`). HTTP needs the `[gateway]` extra; it is imported when it is used.
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from reactivex import abc

from rxotlp.admission import Admission
from rxotlp.errors import PipelineError
from rxotlp.security import Authenticator, Tls
from rxotlp.sources.addresses import bind, format_address, is_loopback, parse_address
from rxotlp.sources.base import Source, State
from rxotlp.sources.callers import IDENTITY, PEER, Callers
from rxotlp.sources.limits import Limits
from rxotlp.sources.memory import keep_freed_memory
from rxotlp.sources.otlp_grpc import GrpcServer
from rxotlp.sources.otlp_http import HttpReceiver, status_body
from rxotlp.sources.reception import Reception

if TYPE_CHECKING:
    from rxotlp.certificates import Reloaded
    from rxotlp.schedulers import SerialScheduler
    from rxotlp.security import ServerKeys
    from rxotlp.sources.http_server import HttpServer

__all__ = ["OtlpSource", "otlp"]

logger = logging.getLogger("rxotlp")

DEFAULT_GRPC = "127.0.0.1:4317"  # OTLP specification, "OTLP/gRPC Default Port"
DEFAULT_HTTP = "127.0.0.1:4318"  # OTLP specification, "OTLP/HTTP Default Port"
DEFAULT_MAX_REQUEST_SIZE = 64 << 20  # bytes; what OTLP recommends as a limit
DEFAULT_MAX_HEADER_SIZE = 64 << 10  # bytes
DEFAULT_MAX_CONNECTIONS = 1000  # what the usual limit of 1024 open files leaves room for
GRACE = 1.0  # seconds in which the last answers must have left when everything is closed


class OtlpSource(Source):
    """The receiver; made by `otlp`.

    Attributes:
        addresses: "grpc" and "http" to "host:port", with the ports really taken; empty
            while it is not connected.
        reuse_port: other processes share its ports, all with this set before they connect;
            the kernel gives each new connection to one of them. Not where the system has no
            SO_REUSEPORT.
    """

    def __init__(
        self,
        *,
        grpc: str | None,
        http: str | None,
        validate: str,
        limits: Limits,
        admission: Admission | None,
        when_full: str,
        ack_timeout: float | None,
        headers: Sequence[str],
        tls: Tls | None,
        authenticator: Authenticator | None,
        name: str | None,
    ) -> None:
        super().__init__(
            name or "otlp", given=name is not None, admission=admission, ack_timeout=ack_timeout
        )
        if grpc is None and http is None:
            raise ValueError("otlp(grpc=None, http=None): expected an address for one of them")
        if validate not in ("full", "shape"):
            raise ValueError(f"otlp(validate={validate!r}): expected 'full' or 'shape'")
        if when_full not in ("wait", "reject"):
            raise ValueError(f"otlp(when_full={when_full!r}): expected 'wait' or 'reject'")
        if isinstance(headers, str):
            raise TypeError(f"otlp(headers={headers!r}): expected a sequence of header names")
        for header in headers:
            if header.lower() in (PEER, IDENTITY):
                raise ValueError(
                    f"otlp(headers=[{header!r}]): expected another name; in the metadata it stands "
                    "for what the receiver itself has found out"
                )
        if tls is not None and not isinstance(tls, Tls):
            raise TypeError(f"otlp(tls=…): expected a Tls, got {type(tls).__name__}")
        if authenticator is not None and not callable(authenticator):
            raise TypeError(
                "otlp(authenticator=…): expected a BearerAuth, a BasicAuth or a function of "
                f"headers and peer, got {type(authenticator).__name__}"
            )
        self._grpc = None if grpc is None else parse_address("otlp", "grpc", grpc)
        self._http = None if http is None else parse_address("otlp", "http", http)
        self._full = validate == "full"
        self._wait = when_full == "wait"
        self._limits = limits
        self._headers = tuple(headers)
        self._tls = tls
        self._callers = None if authenticator is None else Callers(authenticator)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._servers: list[GrpcServer | HttpServer] = []
        self._closing: asyncio.Task[None] | None = None
        self.addresses: dict[str, str] = {}
        self.reuse_port = False

    def listen_on(self, *, grpc: str | None = None, http: str | None = None) -> None:
        """Listen elsewhere the next time it connects; None keeps what it has.

        Raises:
            ValueError: an address that is none.
        """
        if grpc is not None:
            self._grpc = parse_address("listen", "grpc", grpc)
        if http is not None:
            self._http = parse_address("listen", "http", http)

    async def aconnect(self, scheduler: abc.SchedulerBase) -> None:
        """As `connect`, from a coroutine on the scheduler's loop."""
        ours = self._prepare(scheduler)
        try:
            await self._start(ours.loop)
        except BaseException:
            self.state = State.CLOSED
            raise

    async def aclose(self) -> None:
        """As `close`, from a coroutine on the scheduler's loop; returns when it is done."""
        self.close()
        if self._closing is not None:
            await self._closing

    def _begin(self, scheduler: "SerialScheduler") -> None:
        loop = scheduler.loop
        if _is_current(loop):
            raise PipelineError(
                f"{self.name}: connect() would block the loop it runs on; use "
                "`async with Pipeline(...)` or `await source.aconnect(scheduler)`"
            )
        if not loop.is_running():
            raise PipelineError(
                f"{self.name}: its scheduler's loop does not run; a receiver needs a SyncScheduler "
                "or the AsyncScheduler of a running loop (virtual time has no sockets)"
            )
        asyncio.run_coroutine_threadsafe(self._start(loop), loop).result()

    def _release(self) -> None:
        loop = self._loop
        if loop is None:
            return
        if _is_current(loop):
            self._closing = loop.create_task(self._shut())
        elif loop.is_running():
            asyncio.run_coroutine_threadsafe(self._shut(), loop).result()

    async def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._closing = None
        keep_freed_memory()
        reception = Reception(self, full=self._full, wait=self._wait)
        bound: socket.socket | None = None
        try:
            keys = None if self._tls is None else self._tls.load(self.name)
            if self._http is not None:
                http = self._http_server(reception, keys)
                bound = bind(f"{self.name}: OTLP/HTTP", *self._http, reuse_port=self.reuse_port)
                self._servers.append(http)
                self.addresses["http"] = format_address(*bound.getsockname()[:2])
                await http.start(bound)
                bound = None  # it is the server's now
            if self._grpc is not None:
                server = GrpcServer(
                    reception,
                    limits=self._limits,
                    headers=self._headers,
                    callers=self._callers,
                    keys=keys,
                )
                self._servers.append(server)
                self.addresses["grpc"] = await server.start(
                    f"{self.name}: OTLP/gRPC", *self._grpc, reuse_port=self.reuse_port
                )
        except BaseException:
            if bound is not None:
                bound.close()
            await self._shut()
            raise
        self._warn_if_open()

    def _warn_if_open(self) -> None:
        """Say so when anybody on the network may send, and anybody between may read it."""
        if self._tls is not None or self._callers is not None:
            return
        for transport, address in self.addresses.items():
            if not is_loopback(address):
                logger.warning(
                    "%s: OTLP/%s on %s takes telemetry from anybody who can reach it, without "
                    "TLS; see otlp(tls=, authenticator=)",
                    self.name,
                    {"grpc": "gRPC", "http": "HTTP"}[transport],
                    address,
                )

    def _http_server(
        self, reception: Reception, keys: "Reloaded[ServerKeys] | None"
    ) -> "HttpServer":
        try:
            from rxotlp.sources.http_server import HttpServer
        except ImportError as error:
            raise PipelineError(
                f"{self.name}: OTLP/HTTP needs {error.name}: pip install 'rxotlp[gateway]', or "
                "receive gRPC alone with otlp(http=None)"
            ) from None
        return HttpServer(
            HttpReceiver(
                reception,
                max_request_size=self._limits.max_request_size,
                headers=self._headers,
                callers=self._callers,
            ),
            status_body=status_body,
            limits=self._limits,
            keys=keys,
        )

    async def _shut(self) -> None:
        servers, self._servers = self._servers, []
        self.addresses = {}
        self._loop = None
        results = await asyncio.gather(
            *(server.close(GRACE) for server in servers), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                logger.error("%s: closing a server failed", self.name, exc_info=result)


def otlp(
    *,
    grpc: str | None = DEFAULT_GRPC,
    http: str | None = DEFAULT_HTTP,
    validate: Literal["full", "shape"] = "full",
    max_request_size: int = DEFAULT_MAX_REQUEST_SIZE,
    admission: Admission | None = None,
    when_full: Literal["wait", "reject"] = "wait",
    ack_timeout: float | None = None,
    headers: Sequence[str] = (),
    tls: Tls | None = None,
    authenticator: Authenticator | None = None,
    max_header_size: int = DEFAULT_MAX_HEADER_SIZE,
    max_connections: int = DEFAULT_MAX_CONNECTIONS,
    header_timeout: float = 10.0,
    body_timeout: float = 30.0,
    idle_timeout: float = 75.0,
    name: str | None = None,
) -> OtlpSource:
    """Receive OTLP over gRPC and HTTP; each sender is answered by what happened to its data.

    Args:
        grpc: "host:port", or None for no gRPC. Port 0 takes a free one; see `addresses`.
        http: likewise for HTTP, protobuf and JSON on one port.
        validate: "full" checks every record and rejects the bad ones alone; "shape" only
            counts items, for a hop that is trusted.
        max_request_size: bytes a request may have, before and after decompression.
        admission: bounds what is in flight; 64 MiB of its own by default.
        when_full: "wait" delays senders while there is no credit, "reject" answers
            retryable with a time.
        ack_timeout: seconds after which a sender is answered whatever has become of its
            data; None for its own deadline (10 s at most) less a margin.
        headers: names of request headers that are copied into an element's metadata, beside
            "peer" and, where somebody found it out, "identity".
        tls: the receiver's certificate, and whose clients' it asks for. Without an
            authenticator a client's certificate is its identity.
        authenticator: tells who sends, or that they may not: `BearerAuth`, `BasicAuth` or a
            function (plain or async) of headers and peer that gives an identity or None. It
            is asked before a body is read, for each request.
        max_header_size: bytes of an HTTP request's line and headers, or of a gRPC call's
            metadata; 1024 or more.
        max_connections: open at once, over each transport; more are closed at once.
        header_timeout: seconds for a TLS handshake, and for an HTTP request's headers.
        body_timeout: seconds an HTTP request's body, or the reading of an answer, may make no
            progress. A gRPC message has until its answer is due.
        idle_timeout: seconds that a connection may stay without a request.
        name: in the books; "otlp" by default.

    Returns:
        A hot source. Its stream completes when its pipeline stops, and never fails.

    Raises:
        ValueError: an argument out of its range.
        TypeError: an argument of another kind.
    """
    limits = Limits(
        max_request_size=max_request_size,
        max_header_size=max_header_size,
        max_connections=max_connections,
        header_timeout=header_timeout,
        body_timeout=body_timeout,
        idle_timeout=idle_timeout,
    )
    return OtlpSource(
        grpc=grpc,
        http=http,
        validate=validate,
        limits=limits,
        admission=admission,
        when_full=when_full,
        ack_timeout=ack_timeout,
        headers=headers,
        tls=tls,
        authenticator=authenticator,
        name=name,
    )


def _is_current(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
