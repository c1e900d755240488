"""Where a benchmark's telemetry arrives: OTLP over HTTP and gRPC, counted by id.

It answers first and counts then, so its counting delays nobody's answer; what it costs is
its own process's. Ids are found in the bytes (see `bodies`); nothing is decoded, unless
bodies are kept to be compared.

    python -m benchmarks.sink          steered over its standard input, see `control`

    reset(delay=0)           forget everything; wait `delay` seconds before each answer
    report(requests, items, refused)     what became of the ids of requests 0 to `requests`
    keep(path)               write the spans of every body into a file, to be compared
"""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import grpc

from benchmarks.bodies import IDS, expected_ids, gunzip
from benchmarks.control import Command, serve
from rxotlp.wire.signals import Signal

__all__ = ["Sink", "listen"]

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]


class Sink:
    """What has arrived."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.bodies: list[bytes] | None = None
        self._ids: set[bytes] = set()
        self._arrived = 0
        self._requests = 0

    def take(self, body: bytes) -> None:
        """Count one body."""
        found = IDS(body)
        self._requests += 1
        self._arrived += len(found)
        self._ids.update(found)
        if self.bodies is not None:
            self.bodies.append(body)

    async def reset(self, *, delay: float = 0.0) -> None:
        """Forget what has arrived."""
        self.delay = delay
        self.bodies = None
        self._ids = set()
        self._arrived = self._requests = 0

    async def arrived(self) -> int:
        """Spans that have arrived, twice when they have twice."""
        return self._arrived

    async def keep(self) -> None:
        """Keep the bodies that come from now on."""
        self.bodies = []

    async def write(self, *, path: str) -> None:
        """Write every span that was kept, in an order that does not depend on the way."""
        assert self.bodies is not None
        spans: Counter[str] = Counter()
        for body in self.bodies:
            message: Any = Signal.TRACES.names.request.FromString(body)
            for group in message.resource_spans:
                resource = group.resource.SerializeToString(deterministic=True).hex()
                for scope in group.scope_spans:
                    name = scope.scope.SerializeToString(deterministic=True).hex()
                    for span in scope.spans:
                        text = span.SerializeToString(deterministic=True).hex()
                        spans[f"{resource} {name} {text}"] += 1
        lines = [f"{text} {times}\n" for text, times in sorted(spans.items())]
        Path(path).write_text("".join(lines))

    async def report(self, *, requests: int, items: int, refused: list[int]) -> dict[str, int]:
        """What became of the ids.

        Returns:
            `arrived` spans; `lost`, which were acknowledged and never came; `doubled`;
            `strange`, which nobody sent; `bodies` they came in.
        """
        sent = expected_ids(range(requests), items)
        acknowledged = sent
        if refused:
            gone = {number.to_bytes(6, "big") for number in refused}
            acknowledged = {identity for identity in sent if identity[:6] not in gone}
        return {
            "arrived": len(self._ids),
            "lost": len(acknowledged - self._ids),
            "doubled": self._arrived - len(self._ids),
            "strange": len(self._ids - sent),
            "bodies": self._requests,
        }


class _Http(asyncio.Protocol):
    """HTTP/1.1 as far as OTLP exporters use it: one request at a time, kept alive."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._head = b""
        self._pieces: list[bytes] = []
        self._missing = -1  # bytes of the body; -1 while the head is read
        self._gzip = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = b""
            self._begin(head)
        self._pieces.append(data)
        self._missing -= len(data)
        if self._missing == 0:
            body = b"".join(self._pieces)
            self._pieces, self._missing = [], -1
            self._answer(gunzip(body) if self._gzip else body)

    def _begin(self, head: bytes) -> None:
        headers = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
        )
        length = headers.get(b"content-length")
        if length is None:
            raise AssertionError("the benchmark's sink reads bodies of declared length only")
        self._missing = int(length)
        self._gzip = headers.get(b"content-encoding") == b"gzip"
        if headers.get(b"expect") == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _answer(self, body: bytes) -> None:
        if self._sink.delay:
            asyncio.get_running_loop().call_later(self._sink.delay, self._transport.write, _ANSWER)
        else:
            self._transport.write(_ANSWER)
        self._sink.take(body)


class _Grpc(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Every method takes bytes and answers nothing, which is an export response."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._handler = grpc.unary_unary_rpc_method_handler(self._take)

    def service(self, _details: Any) -> Any:
        return self._handler

    async def _take(self, body: bytes, _context: Any) -> bytes:
        if self._sink.delay:
            await asyncio.sleep(self._sink.delay)
        asyncio.get_running_loop().call_soon(self._sink.take, body)
        return b""


async def listen(sink: Sink) -> asyncio.Server:
    """Take OTLP/HTTP on a free port of 127.0.0.1."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _Http(sink), "127.0.0.1", 0, backlog=1024)


async def main() -> None:
    """Listen on two free ports of 127.0.0.1 until standard input ends."""
    sink = Sink()
    http = await listen(sink)
    server = grpc.aio.server(options=_UNLIMITED)
    server.add_generic_rpc_handlers((_Grpc(sink),))
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    hello = {
        "http": f"127.0.0.1:{http.sockets[0].getsockname()[1]}",
        "grpc": f"127.0.0.1:{grpc_port}",
    }
    commands: dict[str, Command] = {
        "reset": sink.reset,
        "arrived": sink.arrived,
        "keep": sink.keep,
        "write": sink.write,
        "report": sink.report,
    }
    await serve(hello, commands)
    http.close()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
