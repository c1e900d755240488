"""`OtlpHttp`: loops, threads, forks and the end."""

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest
from opentelemetry import context

from rxotlp._core.outcomes import DELIVERED, Kind, Outcome
from rxotlp.data import TelemetryData
from rxotlp.exporters import OtlpHttp
from tests.support.http_export import export
from tests.support.otlp_http_server import Reply, Server, serve

Make = Callable[..., TelemetryData]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that takes everything unless a test scripts it."""
    with serve() as server:
        yield server


def test_one_exporter_serves_several_loops(server: Server, spans: Make) -> None:
    """A session belongs to a loop; an exporter does not. Closing is quiet and idempotent."""
    exporter = OtlpHttp(server.url)

    async def twice() -> None:
        assert await exporter.export(spans(1)) is DELIVERED
        await exporter.aclose()
        assert await exporter.export(spans(1)) is DELIVERED
        await exporter.aclose()

    asyncio.run(twice())
    asyncio.run(twice())
    exporter.close()
    exporter.close()
    assert len(server.requests) == 4


def test_close_works_from_another_thread_than_the_loops(server: Server, spans: Make) -> None:
    """A pipeline is stopped from the main thread while its loop runs elsewhere."""
    exporter = OtlpHttp(server.url)

    async def main() -> None:
        await exporter.export(spans(1))
        await asyncio.to_thread(exporter.close)
        session: dict[Any, aiohttp.ClientSession] = exporter._sessions._sessions
        assert session == {}

    asyncio.run(main())


def test_close_fails_requests_under_way(server: Server, spans: Make) -> None:
    """Nobody must wait for ever, and what was not confirmed is sent again."""
    server.script = lambda request: (server.release.wait(10), Reply())[1]
    exporter = OtlpHttp(server.url)

    async def main() -> Outcome:
        attempt = asyncio.ensure_future(exporter.export(spans(1)))
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(exporter.close)
        return await attempt

    assert asyncio.run(main()).kind is Kind.FAILED


def test_close_on_the_loop_itself_does_not_block_it(server: Server, spans: Make) -> None:
    """`close` is also called from actions that run on the loop."""
    exporter = OtlpHttp(server.url)

    async def main() -> None:
        await exporter.export(spans(1))
        exporter.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert not exporter._sessions._closing


def test_exports_run_uninstrumented(
    server: Server, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline that traced its own exports would feed itself for ever."""
    seen: list[object] = []
    exporter = OtlpHttp(server.url)
    original = exporter._post

    async def post(*arguments: Any) -> Outcome:
        keys = (
            context._SUPPRESS_INSTRUMENTATION_KEY,
            context._SUPPRESS_HTTP_INSTRUMENTATION_KEY,
            "suppress_instrumentation",
        )
        seen.extend(context.get_value(key) for key in keys)
        return await original(*arguments)

    monkeypatch.setattr(exporter, "_post", post)
    export(exporter, spans(1))
    assert seen == [True, True, True]
    assert context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY) is None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_connections_of_its_own(server: Server, spans: Make) -> None:
    """The inherited ones are the parent's: using or closing them would break its exports."""
    exporter = OtlpHttp(server.url)
    data = spans(1)

    async def once() -> bool:
        return await exporter.export(data) is DELIVERED

    with asyncio.Runner() as runner:
        assert runner.run(once())
        child = os.fork()
        if not child:
            delivered = False
            try:
                delivered = asyncio.new_event_loop().run_until_complete(once())
                exporter.close()
            finally:
                os._exit(0 if delivered else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert runner.run(once())
        runner.run(exporter.aclose())
    peers = [request.peer for request in server.requests]
    assert len(peers) == 3
    assert peers[0] == peers[2] != peers[1]
