"""What an OTLP client must do, row by row: SDK -> gateway -> our exporter -> a bad backend.

The SDK's exporter sends once and waits; `received` in the gateway's books says whether it had
to send again, the backend's `requests` what our exporter did.
"""

import inspect
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import grpc
import pytest
import reactivex as rx

from rxotlp import Pipeline, exporters
from rxotlp import operators as ops
from rxotlp.testing import spans as spans_of
from tests.support.scripted import (
    DROP,
    GARBAGE,
    HANG,
    TAKE,
    Request,
    Step,
    backend,
    partial,
    refuse,
)
from tests.support.sdk_clients import FAILURE, SUCCESS, export, spans
from tests.support.senders import send

Gateway = Callable[..., Any]
Lines = Callable[[], list[str]]

QUICK = ops.Retry(first=0.05, soon=0.02, most=0.2, jitter=0.0)
FINAL = refuse(grpc.StatusCode.INVALID_ARGUMENT, 400, message="no such tenant")


def received(pipeline: Pipeline) -> int:
    """Items that came in, every resend of the SDK's included."""
    return pipeline.books["otlp"].received


# -- one attempt ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3])
def test_c1_requests_run_at_once_up_to_a_number(
    gateway: Gateway, transport: str, limit: int
) -> None:
    """More would overload a backend, fewer waste its time."""
    running: list[int] = []
    most: list[int] = []
    full = threading.Event()

    def slow(_request: Request) -> Step:
        running.append(1)
        most.append(len(running))
        if len(running) >= limit:
            full.set()
        full.wait(5)
        time.sleep(0.02)
        running.pop()
        return TAKE

    with (
        backend(transport, script=slow) as there,
        gateway(there.exporter(), max_concurrent=limit) as pipeline,
        ThreadPoolExecutor(6) as pool,
    ):
        address = pipeline.addresses[transport]
        results = pool.map(lambda n: export(transport, address, spans(1, first=n)), range(6))
        assert list(results) == [SUCCESS] * 6
    assert max(most) == limit
    assert len(there.requests) == 6


@pytest.mark.parametrize(
    ("step", "rejected"),
    [(partial(2, "too old"), 2), (partial(0, "use v2"), 0), (partial(-3, "odd"), 0)],
)
def test_c4_partial_success_is_not_retried_and_its_count_is_booked(
    gateway: Gateway, transport: str, step: Step, rejected: int
) -> None:
    """It was taken as far as it ever will be; sending it again would double the rest."""
    with backend(transport, step) as there, gateway(there.exporter()) as pipeline:
        assert export(transport, pipeline.addresses[transport], spans(4)) is SUCCESS
    book = pipeline.books["export"]
    assert (book.rejected, book.delivered) == (rejected, 4 - rejected)
    assert len(there.requests) == 1


def test_c4_more_rejected_than_was_sent_is_all_of_it(gateway: Gateway, transport: str) -> None:
    """A backend that counts wrongly must not unbalance our books."""
    with backend(transport, partial(2**40, "all")) as there:
        with gateway(there.exporter()) as pipeline:
            assert export(transport, pipeline.addresses[transport], spans(4)) is FAILURE
        assert (pipeline.books["export"].rejected, len(there.requests)) == (4, 1)


def test_c4_a_warning_is_reported_to_the_sender(gateway: Gateway, transport: str) -> None:
    """It is meant for the people who made the telemetry."""
    payload = spans_of([1, 2]).to_bytes()
    with (
        backend(transport, partial(0, "use v2")) as there,
        gateway(there.exporter()) as pipeline,
    ):
        heard = send(transport, pipeline.addresses[transport], payload)
    assert heard.word == "success"
    assert heard.response.partial_success.rejected_spans == 0
    assert "use v2" in heard.response.partial_success.error_message


def test_c4_a_success_that_cannot_be_read_is_not_retried(gateway: Gateway, transport: str) -> None:
    """OK says that it was taken; sending it again would double it."""
    with backend(transport, GARBAGE) as there, gateway(there.exporter()) as pipeline:
        assert export(transport, pipeline.addresses[transport], spans(2)) is SUCCESS
    assert (pipeline.books["export"].delivered, len(there.requests)) == (2, 1)


def test_c5_what_cannot_be_retried_is_given_up_and_counted(
    gateway: Gateway, transport: str, lines: Lines
) -> None:
    """At once, with the backend's reason where an operator looks."""
    with backend(transport, FINAL) as there, gateway(there.exporter()) as pipeline:
        assert export(transport, pipeline.addresses[transport], spans(2)) is FAILURE
    assert (pipeline.books["export"].rejected, received(pipeline)) == (2, 2)
    assert len(there.requests) == 1
    assert any("no such tenant" in line for line in lines())


# -- size -------------------------------------------------------------------------------------


def test_c8_a_request_over_the_limit_leaves_in_parts(gateway: Gateway, transport: str) -> None:
    """Sent whole, most backends refuse it whole."""
    with (
        backend(transport) as there,
        gateway(there.exporter(max_request_size=1500, compression="gzip")) as pipeline,
    ):
        assert export(transport, pipeline.addresses[transport], spans(100)) is SUCCESS
    assert len(there.requests) > 2
    assert all(len(request.body) <= 1500 for request in there.requests)
    names = sorted(name for request in there.requests for name in request.names)
    assert names == sorted(f"s{number}" for number in range(100))


def test_c8_what_a_backend_refuses_for_its_size_is_split(gateway: Gateway, transport: str) -> None:
    """Its limit is its own, and it is the only one that knows; each half is tried once."""
    large = refuse(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        413,
        message="Received message larger than max (9 vs. 8)",
    )

    def limited(request: Request) -> Step:
        return TAKE if len(request.names) <= 4 else large

    with (
        backend(transport, script=limited) as there,
        gateway(there.exporter()) as pipeline,
    ):
        assert export(transport, pipeline.addresses[transport], spans(12)) is SUCCESS
    names = sorted(name for request in there.taken for name in request.names)
    assert names == sorted(f"s{number}" for number in range(12))
    assert received(pipeline) == 12


def test_c8_what_cannot_be_split_is_rejected_alone(gateway: Gateway, transport: str) -> None:
    """One huge span must not take its neighbours with it; it is counted."""
    batch = [*spans(5), *spans(1, first=5, text="x" * 5000), *spans(5, first=6)]
    with (
        backend(transport) as there,
        gateway(there.exporter(max_request_size=2000)) as pipeline,
    ):
        assert export(transport, pipeline.addresses[transport], batch) is SUCCESS
    names = sorted(name for request in there.requests for name in request.names)
    assert names == sorted(f"s{number}" for number in range(11) if number != 5)
    book = pipeline.books["export"]
    assert (book.rejected, book.delivered) == (1, 10)


def test_c8_the_limit_is_64_mib_or_what_grpc_servers_take() -> None:
    """OTLP's recommendation; gRPC servers accept 4 MiB unless told otherwise."""

    def default(kind: Any) -> Any:
        return inspect.signature(kind).parameters["max_request_size"].default

    assert default(exporters.OtlpHttp) == 64 << 20
    assert default(exporters.OtlpGrpc) == 4 << 20


# -- lifecycle and form -----------------------------------------------------------------------


def test_c10_shutdown_waits_as_long_as_it_is_told_and_reports_what_is_left(
    gateway: Gateway, transport: str
) -> None:
    """An operator must know what a stop has cost, and may say how long it may take."""
    with (
        backend(transport, HANG) as there,
        ThreadPoolExecutor(1) as pool,
        gateway(there.exporter(timeout=30)) as pipeline,
    ):
        sent = pool.submit(export, transport, pipeline.addresses[transport], spans(3), timeout=2)
        while not there.requests:
            time.sleep(0.005)
        began = time.monotonic()
        report = pipeline.stop(drain_timeout=0.3)
        assert 0.3 <= time.monotonic() - began < 4.5  # it does not wait for the answer
        assert (report.undelivered, dict(report.left)) == (3, {"export": 3})
        assert sent.result() is FAILURE


def test_c10_shutdown_waits_for_what_is_under_way(gateway: Gateway, transport: str) -> None:
    """With time, nothing is left."""
    asked = threading.Event()

    def slow(_request: Request) -> Step:
        asked.set()
        time.sleep(0.3)
        return TAKE

    with (
        backend(transport, script=slow) as there,
        ThreadPoolExecutor(1) as pool,
        gateway(there.exporter()) as pipeline,
    ):
        sent = pool.submit(export, transport, pipeline.addresses[transport], spans(3))
        assert asked.wait(10)
        assert pipeline.stop(drain_timeout=10).undelivered == 0
        assert sent.result() is SUCCESS


def test_c11_a_connection_is_used_again(gateway: Gateway, transport: str) -> None:
    """A handshake a request would cost more than the request."""
    with backend(transport) as there, gateway(there.exporter()) as pipeline:
        for number in range(3):
            result = export(transport, pipeline.addresses[transport], spans(1, first=number))
            assert result is SUCCESS
    assert len(there.requests) == 3
    assert there.wire.accepted == 1


def test_c12_the_user_agent_says_who_sends(gateway: Gateway, transport: str) -> None:
    """Backends find out by it which client misbehaves."""
    with backend(transport) as there, gateway(there.exporter()) as pipeline:
        assert export(transport, pipeline.addresses[transport], spans(1)) is SUCCESS
    agent = there.requests[0].headers["user-agent"]
    ours = f"OTel-OTLP-Exporter-Python-rxotlp/{version('rxotlp')}"
    assert agent.split(" ")[0] == ours
    assert agent == ours or transport == "grpc"  # which adds its own name


def test_c13_each_destination_has_its_own_answer_and_retries(
    gateway: Gateway, transport: str
) -> None:
    """A dead backend slows no other; once it is back it gets the same bytes."""
    with backend(transport) as good, backend(transport) as dead:
        dead.wire.down()
        both = ops.broadcast(
            ops.export(good.exporter(), name="good"),
            rx.compose(ops.queue(), ops.export(dead.exporter(), retry=QUICK, name="dead")),
        )
        with gateway(exporters.Memory(), both) as pipeline:
            for number in range(3):
                what = spans(1, first=number)
                assert export(transport, pipeline.addresses[transport], what) is SUCCESS
            assert [request.names for request in good.requests] == [["s0"], ["s1"], ["s2"]]
            assert dead.requests == []
            dead.wire.up()
        assert sorted(request.body for request in dead.requests) == sorted(
            request.body for request in good.requests
        )
        assert (pipeline.books["good"].delivered, pipeline.books["dead"].delivered) == (3, 3)


def test_c14_an_empty_request_is_not_sent(gateway: Gateway, transport: str) -> None:
    """It would be work for a backend and news for nobody."""
    nothing = spans_of([]).message
    with (
        backend(transport) as there,
        gateway(there.exporter(), ops.chain(lambda data: data.derive(nothing))) as pipeline,
    ):
        assert export(transport, pipeline.addresses[transport], spans(2)) is SUCCESS
    assert there.requests == []


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_c15_a_retry_sends_the_same_bytes(
    gateway: Gateway, transport: str, compression: str
) -> None:
    """A backend that knows what it has seen can only tell by them."""
    with (
        backend(transport, refuse(), DROP, TAKE) as there,
        gateway(there.exporter(compression=compression), retry=QUICK) as pipeline,
    ):
        assert export(transport, pipeline.addresses[transport], spans(20)) is SUCCESS
    assert len(there.requests) == 3
    assert len({request.body for request in there.requests}) == 1
