"""OTLP/gRPC: raw bytes in, raw bytes out, on an asyncio server.

gRPC shows a request only once it is whole and decompressed, and limits its size by itself
(RESOURCE_EXHAUSTED without RetryInfo, which senders do not retry), so credit is taken for
what has already arrived. What a connection may bring before we see it is bounded by the
number of its concurrent calls; more of them wait in the client.
"""

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol
from urllib.parse import unquote

import grpc
from grpc import aio

from rxotlp._core.answers import SUCCESS, Answer, grpc_answer
from rxotlp._core.statuses import DETAILS_KEY
from rxotlp.errors import RefusedError
from rxotlp.sources.addresses import format_address, probe
from rxotlp.sources.reception import Reception, log_bad, refusal
from rxotlp.wire.signals import Signal

__all__ = ["GrpcServer"]

logger = logging.getLogger("rxotlp")

CONCURRENT_CALLS = 256  # a connection; further ones wait in the client, they do not fail
CODES = {code.value[0]: code for code in grpc.StatusCode}

Handler = Callable[[bytes, "_Context"], Awaitable[bytes]]


class _Context(Protocol):
    """The part of grpc.aio.ServicerContext that is used here."""

    def peer(self) -> str: ...
    def time_remaining(self) -> float | None: ...
    def invocation_metadata(self) -> Any: ...
    async def abort(self, code: Any, details: str, trailing_metadata: Any) -> Any: ...


class GrpcServer(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs only
    """A server for the four services.

    Args:
        reception: what takes the requests.
        max_request_size: bytes, after decompression too.
        headers: names of call metadata to copy into an element's metadata.
    """

    def __init__(
        self, reception: Reception, *, max_request_size: int, headers: Collection[str]
    ) -> None:
        self._reception = reception
        self._limit = max_request_size
        self._headers = frozenset(name.lower() for name in headers)
        self._handlers = {
            signal.names.grpc_method: grpc.unary_unary_rpc_method_handler(self._handler(signal))
            for signal in Signal
        }
        self._server: aio.Server | None = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method."""
        method = handler_call_details.method
        return self._handlers.get(method) or _unknown(method)

    async def start(self, what: str, host: str, port: int) -> str:
        """Listen.

        Returns:
            The address, with the port that was taken.

        Raises:
            OSError: the address cannot be had.
        """
        host = probe(what, host, port)  # gRPC itself would only say that it failed
        server = aio.server(
            options=[
                ("grpc.max_receive_message_length", self._limit),
                ("grpc.max_concurrent_streams", CONCURRENT_CALLS),
                ("grpc.so_reuseport", 0),  # or a second process would take half of the calls
            ]
        )
        server.add_generic_rpc_handlers((self,))
        address = format_address(host, port)
        try:
            taken = server.add_insecure_port(address)
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
        async def export(request: bytes, context: "_Context") -> bytes:
            answer = await self._serve(signal, request, context)
            if answer is SUCCESS:  # the empty message
                return b""
            said = grpc_answer(signal, answer)
            if said.status is not None:
                details = said.status.SerializeToString()
                await context.abort(CODES[said.code], said.message, ((DETAILS_KEY, details),))
            assert said.response is not None
            return said.response.SerializeToString()

        return export

    async def _serve(self, signal: Signal, request: bytes, context: "_Context") -> Answer:
        reception = self._reception
        seconds = reception.patience(context.time_remaining())
        peer = _peer(context.peer())
        metadata = {"peer": peer}
        if self._headers:
            metadata |= {
                name: value
                for name, value in context.invocation_metadata() or ()
                if name in self._headers and isinstance(value, str)
            }
        try:
            reception.check_open()
            credit = await reception.credit(len(request), seconds)
            return await reception.receive(
                signal, request, credit=credit, seconds=seconds, peer=peer, metadata=metadata
            )
        except RefusedError as error:
            return refusal(signal, peer, error)


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
