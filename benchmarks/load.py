"""Load from a process of its own: numbered requests over OTLP/HTTP or gRPC.

Bodies are made before anything is measured. Two loops:

    closed   `senders` requests are always under way; says what a gateway can take
    open     one request every 1/rate seconds, whatever the answers; says how it bears it.
             Latency counts from when a request was due, so a queue that builds up here
             because the gateway is slow is the gateway's.

Nothing is sent twice: what is refused is named in the answer, and loss is judged by ids.

    python -m benchmarks.load          steered over its standard input, see `control`

    prepare(name, requests, items, gzip, json)        make bodies 0 to `requests`
    run(transport, address, requests, senders, rate, gzip)
"""

import asyncio
import time
from collections import Counter, deque
from typing import Any, Protocol

import grpc

from benchmarks.bodies import Bodies
from benchmarks.control import serve

__all__ = ["Http", "Load"]

PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
CHANNELS = 4  # gRPC connections; one alone would make its one window the limit
ALLOWANCE = 30.0  # seconds to wait for the last answers of an open loop


class Client(Protocol):
    """A connection: the answer is an empty string when the request was acknowledged."""

    async def send(self, body: bytes) -> str: ...


class Http(asyncio.Protocol):
    """One HTTP/1.1 connection, one request at a time."""

    def __init__(self, address: str, *, gzip: bool, json: bool) -> None:
        encoding = "Content-Encoding: gzip\r\n" if gzip else ""
        kind = "json" if json else "x-protobuf"
        self._head = (
            f"POST /v1/traces HTTP/1.1\r\nHost: {address}\r\n{encoding}"
            f"Content-Type: application/{kind}\r\nContent-Length: %d\r\n\r\n"
        )
        self._answer: asyncio.Future[str] | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def send(self, body: bytes) -> str:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines([(self._head % len(body)).encode(), body])
        return await self._answer

    @property
    def closed(self) -> bool:
        """Whether it can send nothing any more."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, rest = self._read.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        if len(rest) < length:
            return
        self._read = b""
        status = head[9:12].decode()
        self._done("" if status == "200" else status)

    def connection_lost(self, _error: Exception | None) -> None:
        self._done("connection lost")

    def _done(self, answer: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)


class _Grpc:
    """A share of a few gRPC connections."""

    def __init__(self, channel: Any) -> None:
        self._call = channel.unary_unary(PATH, None, None)

    async def send(self, body: bytes) -> str:
        try:
            await self._call(body, timeout=ALLOWANCE)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return ""


class Load:
    """What is sent, and how it went."""

    def __init__(self) -> None:
        self._bodies: list[bytes] = []
        self._gzip = self._json = False

    async def prepare(
        self,
        *,
        name: str,
        requests: int,
        items: int | None = None,
        gzip: bool = False,
        json: bool = False,
    ) -> dict[str, int]:
        """Make the bodies."""
        made = Bodies(name, items=items, gzip=gzip, json=json)
        self._gzip, self._json = gzip, json
        self._bodies = [made.numbered(number) for number in range(requests)]
        return {"items": made.items, "size": made.size, "sent": len(self._bodies[0])}

    async def run(
        self,
        *,
        transport: str,
        address: str,
        requests: int,
        senders: int = 32,
        rate: float | None = None,
        gzip: bool = False,
    ) -> dict[str, Any]:
        """Send bodies 0 to `requests`.

        Args:
            transport: "http" or "grpc".
            address: where to.
            requests: as many.
            senders: under way at most; in an open loop, connections.
            rate: requests a second; None is a closed loop.
            gzip: have gRPC compress; over HTTP, bodies come compressed.

        Returns:
            `answers` by what they were ("" is acknowledged), `refused` numbers, `seconds`
            from the first request until the last answer, `latency` quantiles in seconds.
        """
        channels = []
        if transport == "http":
            loop = asyncio.get_running_loop()
            host, port = address.rsplit(":", 1)

            def connection() -> Http:
                return Http(address, gzip=self._gzip, json=self._json)

            clients: list[Client] = [
                (await loop.create_connection(connection, host, int(port)))[1]
                for _ in range(senders)
            ]
        else:
            options = [
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_send_message_length", -1),
                ("grpc.default_compression_algorithm", grpc.Compression.Gzip if gzip else 0),
            ]
            channels = [
                grpc.aio.insecure_channel(address, options=options) for _ in range(CHANNELS)
            ]
            for channel in channels:
                await asyncio.wait_for(channel.channel_ready(), 10)
            clients = [_Grpc(channels[number % CHANNELS]) for number in range(senders)]
        try:
            return await self._send(clients, requests, rate)
        finally:
            for client in clients:
                if isinstance(client, Http):
                    client.close()
            for channel in channels:
                await channel.close(None)

    async def _send(
        self, clients: list[Client], requests: int, rate: float | None
    ) -> dict[str, Any]:
        answers: Counter[str] = Counter()
        refused: list[int] = []
        waits: list[float] = []
        due: deque[tuple[int, float]] = deque()
        there = asyncio.Condition()
        closed = False
        clock = time.perf_counter

        async def one(client: Client, number: int, at: float) -> None:
            answer = await client.send(self._bodies[number])
            waits.append(clock() - at)
            answers[answer] += 1
            if answer:
                refused.append(number)

        async def closed_loop(client: Client) -> None:
            while due:
                number, _ = due.popleft()
                await one(client, number, clock())

        async def open_loop(client: Client) -> None:
            while True:
                async with there:
                    while not due:
                        if closed:
                            return
                        await there.wait()
                    number, at = due.popleft()
                await one(client, number, at)

        began = clock()
        if rate is None:
            due.extend((number, began) for number in range(requests))
            await asyncio.gather(*map(closed_loop, clients))
        else:
            workers = [asyncio.create_task(open_loop(client)) for client in clients]
            for number in range(requests):
                at = began + number / rate
                if (early := at - clock()) > 0:
                    await asyncio.sleep(early)
                async with there:
                    due.append((number, at))
                    there.notify()
            async with there:
                closed = True
                there.notify_all()
            await asyncio.gather(*workers)
        seconds = clock() - began
        waits.sort()
        return {
            "answers": dict(answers),
            "refused": sorted(refused),
            "seconds": seconds,
            "latency": {
                f"p{percent}": waits[min(len(waits) - 1, len(waits) * percent // 100)]
                for percent in (50, 90, 99)
            },
        }


async def main() -> None:
    """Serve until standard input ends."""
    load = Load()
    await serve({}, {"prepare": load.prepare, "run": load.run})


if __name__ == "__main__":
    asyncio.run(main())
