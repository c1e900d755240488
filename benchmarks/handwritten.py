"""The gateway of P2 to P4 as one writes it by hand: asyncio, aiohttp or grpc.aio, and messages.

In its best configuration: uvloop, isal for gzip, requests decoded straight into the open
batch, several exports at once, pooled connections, and a sender is answered when its spans
have arrived, as rxotlp's are. It has no retry, no bounds, no books and no drain.

    BENCH_TRANSPORT=http BENCH_COMPRESSION=none BENCH_BACKEND=URL BENCH_ADDRESS=HOST:PORT \\
        python -m benchmarks.handwritten
"""

import asyncio
import os
from typing import Any

import aiohttp
import grpc
import uvloop
from aiohttp import web
from isal import igzip_lib, isal_zlib
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.load import PATH

_MAX_ITEMS = 8192
_MAX_DELAY = 0.2  # seconds
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Batcher:
    """Joins requests; `add` returns when the batch they went into has been delivered."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self._slots = asyncio.Semaphore(8)
        self._sending: set[asyncio.Task[None]] = set()
        self._open()

    def _open(self) -> None:
        self._batch: Any = ExportTraceServiceRequest()
        self._items = 0
        self._delivered = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None

    async def add(self, body: bytes) -> None:
        """Decode a request into the open batch."""
        groups = self._batch.resource_spans
        before = len(groups)
        self._batch.MergeFromString(body)
        added = sum(len(scope.spans) for group in groups[before:] for scope in group.scope_spans)
        self._items += added
        delivered = self._delivered
        if self._items + added > _MAX_ITEMS:
            self._close()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_MAX_DELAY, self._close)
        await asyncio.shield(delivered)

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        task = asyncio.create_task(self._deliver(self._batch, self._delivered))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        self._open()

    async def _deliver(self, batch: Any, delivered: asyncio.Future[None]) -> None:
        async with self._slots:
            try:
                await self._send(batch.SerializeToString())
            except Exception as error:
                delivered.set_exception(error)
            else:
                delivered.set_result(None)


async def serve_http(address: str, backend: str, *, gzip: bool) -> None:
    """OTLP/HTTP in and out."""
    headers = {"Content-Type": "application/x-protobuf"}
    if gzip:
        headers["Content-Encoding"] = "gzip"
    session = aiohttp.ClientSession()

    async def send(body: bytes) -> None:
        if gzip:
            body = igzip_lib.compress(body, flag=igzip_lib.COMP_GZIP)
        async with session.post(f"{backend}/v1/traces", data=body, headers=headers) as answer:
            answer.raise_for_status()
            await answer.read()

    batcher = Batcher(send)

    async def take(request: web.Request) -> web.Response:
        await batcher.add(await request.read())
        return web.Response(content_type="application/x-protobuf")

    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    host, port = address.rsplit(":", 1)
    await web.TCPSite(runner, host, int(port)).start()
    await asyncio.Event().wait()


async def serve_grpc(address: str, backend: str) -> None:
    """OTLP/gRPC in and out; the bodies are bytes, as the batcher decodes them."""
    channel = grpc.aio.insecure_channel(backend.removeprefix("http://"), options=_UNLIMITED)
    call: Any = channel.unary_unary(PATH, None, None)

    async def send(body: bytes) -> None:
        await call(body)

    batcher = Batcher(send)

    async def take(body: bytes, _context: Any) -> bytes:
        await batcher.add(body)
        return b""

    service, method = PATH[1:].split("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(take)}
    server = grpc.aio.server(options=_UNLIMITED)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    """Serve until killed."""
    address, backend = os.environ["BENCH_ADDRESS"], os.environ["BENCH_BACKEND"]
    if os.environ["BENCH_TRANSPORT"] == "http":
        aiohttp.set_zlib_backend(isal_zlib)
        serving = serve_http(address, backend, gzip=os.environ["BENCH_COMPRESSION"] == "gzip")
    else:
        serving = serve_grpc(address, backend)
    uvloop.run(serving)


if __name__ == "__main__":
    main()
