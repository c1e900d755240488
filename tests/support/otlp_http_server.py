"""A small HTTP server that misbehaves on request, on a thread, over a real socket."""

import gzip
import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Reply", "Request", "Server", "closed_port", "serve"]


@dataclass(frozen=True)
class Request:
    """What arrived: `body` as sent, `payload` after decompression."""

    path: str
    headers: dict[str, str]  # lower-case names
    body: bytes
    peer: tuple[str, int]

    @property
    def payload(self) -> bytes:
        """The body, decompressed when it says that it is gzip."""
        if self.headers.get("content-encoding") == "gzip":
            return gzip.decompress(self.body)
        return self.body


@dataclass(frozen=True)
class Reply:
    """What is answered. `declare` sends a Content-Length of that many, whatever follows."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    declare: int | None = None
    endless: bool = False  # keep sending until the client goes away
    drop: bool = False  # close the connection without an answer


Script = Callable[[Request], Reply]


class Server:
    """A running server; `script` may be replaced between requests."""

    def __init__(self, script: Script, context: ssl.SSLContext | None) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.release = threading.Event()  # for scripts that wait
        self.endless_sent = 0
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                owner._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # clients that go away are what the tests are about

        self._listener = Listener(("127.0.0.1", 0), Handler)
        if context is not None:
            self._listener.socket = context.wrap_socket(
                self._listener.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._listener.server_address[1]
        scheme = "http" if context is None else "https"
        host = "127.0.0.1" if context is None else "localhost"
        self.url = f"{scheme}://{host}:{self.port}"
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,))
        self._thread.start()

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        length = int(handler.headers["Content-Length"])
        body = handler.rfile.read(length)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.path, headers, body, handler.client_address)
        self.requests.append(request)
        reply = self.script(request)
        if reply.drop:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        handler.send_response(reply.status)
        handler.send_header("Content-Type", headers.get("content-type", ""))
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if reply.endless:
            handler.send_header("Connection", "close")
            handler.end_headers()
            self._pour(handler)
            return
        length = len(reply.body) if reply.declare is None else reply.declare
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(reply.body)

    def _pour(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        block = bytes(64 * 1024)
        try:
            while self.endless_sent < 256 * 1024 * 1024:
                handler.wfile.write(block)
                self.endless_sent += len(block)
        except OSError:
            return

    def close(self) -> None:
        """Stop listening; connections that are open end with their clients."""
        self.release.set()
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()


@contextmanager
def serve(
    script: Script = lambda request: Reply(), *, context: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """A server for the time of a `with` block."""
    server = Server(script, context)
    try:
        yield server
    finally:
        server.close()


def closed_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
