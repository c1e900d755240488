"""`OtlpHttp`: peers that are not there, hang up or take too little."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rxotlp._core.outcomes import DELIVERED, Kind, Outcome
from rxotlp.data import TelemetryData
from rxotlp.exporters import OtlpHttp
from rxotlp.wire.signals import Signal
from tests.support.http_export import deliver, export, partial
from tests.support.otlp_http_server import Reply, Server, closed_port, serve

Make = Callable[..., TelemetryData]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that takes everything unless a test scripts it."""
    with serve() as server:
        yield server


# -- connections --------------------------------------------------------------------------


def test_c7_nobody_listening_is_retryable_and_named(spans: Make) -> None:
    """C7: backends restart; the message must say which."""
    port = closed_port()
    (outcome,) = export(OtlpHttp(f"http://127.0.0.1:{port}"), spans(1))
    assert outcome.kind is Kind.FAILED
    assert f"127.0.0.1:{port}" in outcome.reason
    assert "cannot connect" in outcome.reason


def test_c7_an_unknown_host_is_retryable_and_named(spans: Make) -> None:
    """C7: names come back, too."""
    (outcome,) = export(OtlpHttp("http://nowhere.invalid:4318"), spans(1))
    assert outcome.kind is Kind.FAILED
    assert "nowhere.invalid:4318" in outcome.reason


def test_c7_a_dropped_connection_is_retryable(server: Server, spans: Make) -> None:
    """C7: and the next attempt opens a new one."""
    replies = iter([Reply(drop=True), Reply()])
    server.script = lambda request: next(replies)
    dropped, delivered = export(OtlpHttp(server.url), spans(1), spans(1))
    assert dropped.kind is Kind.FAILED
    assert f"127.0.0.1:{server.port}" in dropped.reason
    assert delivered is DELIVERED


def test_a_silent_server_is_a_retryable_failure_in_time(server: Server, spans: Make) -> None:
    """An attempt must end, or its slot is lost."""
    server.script = lambda request: (server.release.wait(10), Reply())[1]
    (outcome,) = export(OtlpHttp(server.url, timeout=0.1), spans(1))
    assert outcome.kind is Kind.FAILED
    assert "did not answer within 0.1 s" in outcome.reason


def test_a_cancelled_export_gives_up_its_connection(server: Server, spans: Make) -> None:
    """`ops.export(timeout=)` cancels; the next request must not read the last one's answer."""
    server.script = lambda request: (server.release.wait(10), Reply())[1]
    exporter = OtlpHttp(server.url)

    async def main() -> Outcome:
        attempt = asyncio.ensure_future(exporter.export(spans(1)))
        while not server.requests:
            await asyncio.sleep(0.01)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        server.release.set()
        try:
            return await exporter.export(spans(1))
        finally:
            await exporter.aclose()

    assert asyncio.run(main()) is DELIVERED
    first, second = server.requests
    assert first.peer != second.peer


# -- size -----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_c8_what_is_too_large_leaves_in_portions(
    server: Server, spans: Make, protocol: Any
) -> None:
    """C8: a request over the limit is refused whole by most backends."""
    data = spans(100, padding=100)
    exporter = OtlpHttp(server.url, max_request_size=4000, protocol=protocol)
    assert deliver(exporter, data).outcome == DELIVERED
    assert len(server.requests) > 2
    assert all(len(request.body) <= 4000 for request in server.requests)
    decode = TelemetryData.from_bytes if protocol == "http/protobuf" else TelemetryData.from_json
    parts = [decode(Signal.TRACES, request.body) for request in server.requests]
    names = [record.name for part in parts for record in part.records()]
    assert sorted(names) == sorted(record.name for record in data.records())


def test_c8_what_cannot_be_split_is_rejected_alone(server: Server, spans: Make) -> None:
    """C8: one huge span must not take its neighbours with it; the counts add up."""
    request = spans(20).message
    request.resource_spans[0].scope_spans[0].spans[7].name = "x" * 5000
    data = TelemetryData.from_message(request)
    receipt = deliver(OtlpHttp(server.url, max_request_size=2000), data)
    assert receipt.outcome is not None
    assert (receipt.outcome.kind, receipt.rejected) == (Kind.REJECTED, 1)
    assert "1 span in a request of" in receipt.outcome.reason
    sent = sum(
        TelemetryData.from_bytes(Signal.TRACES, request.body).items for request in server.requests
    )
    assert sent == 19


def test_c8_refusals_of_portions_add_up(server: Server, spans: Make) -> None:
    """The books count items, however many requests they left in."""
    server.script = lambda request: Reply(body=partial(1, "old"))
    receipt = deliver(OtlpHttp(server.url, max_request_size=4000), spans(100, padding=100))
    assert receipt.rejected == len(server.requests)


def test_c8_only_the_portion_that_failed_is_sent_again(server: Server, spans: Make) -> None:
    """The others have arrived: sent again, they would be doubled."""
    replies = iter([Reply(), Reply(503)])
    server.script = lambda request: next(replies, Reply())
    exporter = OtlpHttp(server.url, max_request_size=4000)
    data = spans(100, padding=100)
    assert deliver(exporter, data).outcome == DELIVERED
    bodies = [request.body for request in server.requests]
    assert len(bodies) == len(set(bodies)) + 1
    items = [TelemetryData.from_bytes(Signal.TRACES, body).items for body in set(bodies)]
    assert sum(items) == 100


@pytest.mark.parametrize("status", [413])
def test_c8_what_a_backend_calls_too_large_is_cut(server: Server, spans: Make, status: int) -> None:
    """Its limit may be smaller than the one that we were told of."""
    server.script = lambda request: Reply(status) if len(request.body) > 5000 else Reply()
    assert deliver(OtlpHttp(server.url), spans(100, padding=100)).outcome == DELIVERED
    taken = [request for request in server.requests if len(request.body) <= 5000]
    items = [TelemetryData.from_bytes(Signal.TRACES, request.body).items for request in taken]
    assert sum(items) == 100


def test_a_large_body_leaves_without_a_warning(server: Server, spans: Make) -> None:
    """aiohttp warns of bodies above 1 MiB; ours are meant."""
    data = spans(3000, padding=1000)
    assert data.size > 3_000_000
    assert export(OtlpHttp(server.url), data) == [DELIVERED]
