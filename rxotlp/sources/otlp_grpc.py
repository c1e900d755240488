"""OTLP/gRPC: raw bytes in, raw bytes out, on an asyncio server.

A call is taken as a stream of one request, so it is refused before its message is read: by
who sends it, when nobody listens, and when there is no room. gRPC shows a message only once it
is whole and decompressed, and limits its size by itself (RESOURCE_EXHAUSTED without RetryInfo,
which senders do not retry). So a message gets credit for the size that those before it had, is
read, and gets more if it needs more. Of one that is not read, no more than the connection's
flow-control window is in memory.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol
from urllib.parse import unquote

import grpc
from grpc import aio

from rxotlp._core.answers import SUCCESS, Answer, AnswerKind, grpc_answer
from rxotlp._core.statuses import DETAILS_KEY, Code, build_status
from rxotlp.admission import Credit, Refusal
from rxotlp.certificates import Reloaded
from rxotlp.errors import DecodeError, RefusedError
from rxotlp.security import ServerKeys
from rxotlp.sources.addresses import format_address, probe
from rxotlp.sources.callers import IDENTITY, PEER, Callers, UnknownCallerError
from rxotlp.sources.limits import Limits
from rxotlp.sources.reception import Reception, log_bad, refusal, undecodable
from rxotlp.wire.signals import Signal

__all__ = ["GrpcServer"]

logger = logging.getLogger("rxotlp")

CONCURRENT_CALLS = 256  # a connection; further ones wait in the client, they do not fail
CODES = {code.value[0]: code for code in grpc.StatusCode}

Handler = Callable[[object, "_Context"], Awaitable[bytes]]


class _Context(Protocol):
    """The part of grpc.aio.ServicerContext that is used here."""

    def peer(self) -> str: ...
    def auth_context(self) -> Mapping[str, Any]: ...
    async def read(self) -> Any: ...
    def time_remaining(self) -> float | None: ...
    def invocation_metadata(self) -> Any: ...
    async def abort(self, code: Any, details: str, trailing_metadata: Any) -> Any: ...


class _Size:
    """What the next message is taken to have, in bytes: about as many as those before it.

    Refusals make it smaller, for they teach nothing: after one very large message all others
    would be refused until there is room for another such.
    """

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = 1.0

    def among(self, most: int) -> int:
        """The guess, if a message may have `most`."""
        return min(max(int(self._bytes), 1), most)

    def learn(self, size: int) -> None:
        """A message had so many."""
        self._bytes += (size - self._bytes) / 4

    def refused(self) -> None:
        """A message was refused for it."""
        self._bytes -= self._bytes / 16


class GrpcServer(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs only
    """A server for the four services.

    Args:
        reception: what takes the requests.
        limits: see there.
        headers: names of call metadata to copy into an element's metadata.
        callers: knows who may send; None lets everybody.
        keys: for TLS; None listens without.
    """

    def __init__(
        self,
        reception: Reception,
        *,
        limits: Limits,
        headers: Collection[str],
        callers: Callers | None = None,
        keys: Reloaded[ServerKeys] | None = None,
    ) -> None:
        self._reception = reception
        self._limits = limits
        self._headers = frozenset(name.lower() for name in headers)
        self._callers = callers
        self._keys = keys
        self._handlers = {
            signal.names.grpc_method: grpc.stream_unary_rpc_method_handler(self._handler(signal))
            for signal in Signal
        }
        self._size = _Size()
        self._server: aio.Server | None = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method."""
        method = handler_call_details.method
        handler = self._handlers.get(method)
        shut = self._reception.source.admission.refusal
        if handler is not None and shut is not None and shut.unread:
            return _refused(shut)
        return handler or _unknown(method)

    async def start(self, what: str, host: str, port: int, *, reuse_port: bool = False) -> str:
        """Listen, on a port that other processes may share if `reuse_port` says so.

        Returns:
            The address, with the port that was taken.

        Raises:
            OSError: the address cannot be had.
        """
        host = probe(
            what, host, port, reuse_port=reuse_port
        )  # gRPC itself would only say that it failed
        limits = self._limits
        server = aio.server(
            options=[
                ("grpc.max_receive_message_length", limits.max_request_size),
                ("grpc.max_concurrent_streams", CONCURRENT_CALLS),
                ("grpc.max_allowed_incoming_connections", limits.max_connections),
                ("grpc.max_metadata_size", limits.max_header_size),
                ("grpc.absolute_max_metadata_size", limits.max_header_size),
                ("grpc.server_handshake_timeout_ms", _milliseconds(limits.header_timeout)),
                ("grpc.max_connection_idle_ms", _milliseconds(limits.idle_timeout)),
                # By default gRPC lets a second process take half of the calls.
                ("grpc.so_reuseport", int(reuse_port)),
            ]
        )
        server.add_generic_rpc_handlers((self,))
        address = format_address(host, port)
        try:
            if self._keys is None:
                taken = server.add_insecure_port(address)
            else:
                taken = server.add_secure_port(address, _credentials(self._keys))
        except RuntimeError as error:
            await server.stop(None)
            raise OSError(f"{what} cannot listen on {address}: {error}") from None
        await server.start()
        self._server = server
        return format_address(host, taken)

    async def close(self, grace: float) -> None:
        """Take no new calls, let running ones be answered for `grace` seconds, then cut."""
        if self._server is not None:
            await self._server.stop(grace)

    def _handler(self, signal: Signal) -> Handler:
        async def export(requests: object, context: "_Context") -> bytes:
            peer = _peer(context.peer())
            try:
                answer = await self._serve(signal, peer, context)
            except UnknownCallerError as error:
                log_bad(signal.value, peer, str(error))
                status = build_status(Code.UNAUTHENTICATED, str(error))
                details = ((DETAILS_KEY, status.SerializeToString()),)
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error), details)
            if answer is SUCCESS:  # the empty message
                return b""
            said = grpc_answer(signal, answer)
            if said.status is not None:
                details = ((DETAILS_KEY, said.status.SerializeToString()),)
                await context.abort(CODES[said.code], said.message, details)
            assert said.response is not None
            return said.response.SerializeToString()

        return export

    async def _serve(self, signal: Signal, peer: str, context: "_Context") -> Answer:
        reception = self._reception
        clock = asyncio.get_running_loop().time
        seconds = reception.patience(context.time_remaining())
        due = clock() + seconds
        metadata: dict[str, str] = {}
        if self._headers:
            given = _headers(context)
            metadata = {name: value for name, value in given.items() if name in self._headers}
        metadata[PEER] = peer  # last: no header stands for who it is
        try:
            if self._callers is not None:
                headers = _headers(context)
                metadata[IDENTITY] = await self._callers.identify(headers, peer, seconds)
            elif self._keys is not None:
                name = _certificate_name(context.auth_context())
                if name is not None:
                    metadata[IDENTITY] = name
            reception.check_open()
            credit, request = await self._read(signal, peer, context, due)
            return await reception.receive(
                signal,
                request,
                credit=credit,
                seconds=due - clock(),
                peer=peer,
                metadata=metadata,
            )
        except RefusedError as error:
            return refusal(signal, peer, error)
        except DecodeError as error:
            return undecodable(signal, peer, error)

    async def _read(
        self, signal: Signal, peer: str, context: "_Context", due: float
    ) -> tuple[Credit, bytes]:
        """The call's message, and credit for it."""
        reception, clock = self._reception, asyncio.get_running_loop().time
        guess = self._size.among(reception.source.admission.max_bytes)
        try:
            credit = await reception.credit(guess, due - clock())
        except RefusedError:
            self._size.refused()
            raise
        try:
            request = await self._message(signal, peer, context, due)
        except BaseException:
            credit.release()
            raise
        size = len(request)
        self._size.learn(size)
        if size > guess:
            credit.release()
            credit = await reception.credit(size, due - clock())
        return credit, request

    async def _message(self, signal: Signal, peer: str, context: "_Context", due: float) -> bytes:
        """The call's message; what its sender leaves half-way must not stay for ever."""
        try:
            async with asyncio.timeout_at(due):
                request = await context.read()
        except TimeoutError:
            late = "the message was not complete in time"
            log_bad(signal.value, peer, late)
            raise RefusedError(
                late, retry_after=self._reception.source.admission.retry_after
            ) from None
        if not isinstance(request, bytes):
            raise DecodeError("the call ended without a message")
        return request


def _milliseconds(seconds: float) -> int:
    """As gRPC takes them: 1 to what 31 bits hold, which stands for never."""
    return int(min(max(seconds * 1000, 1), 2**31 - 1))


def _credentials(keys: Reloaded[ServerKeys]) -> grpc.ServerCredentials:
    """Credentials that follow their files, at each new connection."""
    now = keys.get()
    used = [now]

    def fetch() -> Any:
        current = keys.get()
        if current is used[0]:
            return None
        used[0] = current
        return _configuration(current)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(now), fetch, require_client_authentication=now.client_ca is not None
    )


def _configuration(keys: ServerKeys) -> Any:
    pair = (keys.key, keys.certificate)
    return grpc.ssl_server_certificate_configuration([pair], keys.client_ca)


def _headers(context: "_Context") -> dict[str, str]:
    """A call's metadata, but for the binary; what is there twice is one, with a comma."""
    found: dict[str, str] = {}
    for name, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _certificate_name(auth: Mapping[str, Any]) -> str | None:
    """Whom the client's certificate was issued to."""
    for key in ("x509_subject_alternative_name", "x509_common_name"):
        for name in auth.get(key, ()):
            return str(name, "utf-8", "replace")
    return None


def _refused(shut: Refusal) -> Any:
    """Refuses a call before its message is read: nothing of it is buffered beyond the window."""

    async def refuse(requests: object, context: "_Context") -> None:
        answer = Answer(AnswerKind.UNAVAILABLE, message=shut.reason, retry_after=shut.retry_after)
        said = grpc_answer(Signal.TRACES, answer)  # no answer of this kind names the signal
        assert said.status is not None
        details = said.status.SerializeToString()
        await context.abort(CODES[said.code], said.message, ((DETAILS_KEY, details),))

    return grpc.stream_stream_rpc_method_handler(refuse)


def _unknown(method: str) -> Any:
    """Refuses a call unread; gRPC would do it without a word in the log."""

    async def refuse(requests: object, context: "_Context") -> None:
        log_bad(f"gRPC call {method:.60}", _peer(context.peer()), "no such method")
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method", ())

    return grpc.stream_stream_rpc_method_handler(refuse)


def _peer(peer: str) -> str:
    """`127.0.0.1:51322` from gRPC's `ipv4:127.0.0.1:51322`."""
    scheme, _, rest = peer.partition(":")
    return unquote(rest) if scheme in ("ipv4", "ipv6") else peer
