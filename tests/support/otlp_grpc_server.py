"""A small gRPC server that misbehaves on request, over a real socket."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

__all__ = ["Call", "Server", "serve"]


@dataclass(frozen=True)
class Call:
    """What arrived, and the context to answer in."""

    method: str
    body: bytes
    metadata: dict[str, str]
    context: grpc.ServicerContext


Script = Callable[[Call], bytes]


class Server:
    """A running server; `script` answers bytes or uses `context.abort`."""

    def __init__(
        self, script: Script, credentials: grpc.ServerCredentials | None, address: str
    ) -> None:
        self.script = script
        self.calls: list[Call] = []
        self.release = threading.Event()  # for scripts that wait
        self._pool = ThreadPoolExecutor(4)
        self._server = grpc.server(self._pool, options=[("grpc.max_receive_message_length", -1)])
        self._server.add_generic_rpc_handlers((_Handler(self),))
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
            self.url = f"http://127.0.0.1:{self.port}"
        else:
            self.port = self._server.add_secure_port(address, credentials)
            self.url = f"https://localhost:{self.port}"
        self._server.start()

    def close(self) -> None:
        """Stop at once."""
        self.release.set()
        self._server.stop(None).wait()
        self._pool.shutdown()


class _Handler(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # not generic at run time
    def __init__(self, owner: Server) -> None:
        self._owner = owner

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        details = handler_call_details

        def answer(body: bytes, context: grpc.ServicerContext) -> bytes:
            metadata = {key: str(value) for key, value in details.invocation_metadata}
            call = Call(details.method, body, metadata, context)
            self._owner.calls.append(call)
            return self._owner.script(call)

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def serve(
    script: Script = lambda call: b"",
    *,
    credentials: grpc.ServerCredentials | None = None,
    address: str = "127.0.0.1:0",
) -> Iterator[Server]:
    """A server for the time of a `with` block."""
    server = Server(script, credentials, address)
    try:
        yield server
    finally:
        server.close()
