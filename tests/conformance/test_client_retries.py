"""What an OTLP client must do when a backend fails, row by row, over real sockets."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from rxotlp import Pipeline
from rxotlp import operators as ops
from tests.support.scripted import (
    CUT,
    DROP,
    HANG,
    HUGE,
    TAKE,
    Request,
    Step,
    backend,
    refuse,
)
from tests.support.sdk_clients import FAILURE, SUCCESS, export, spans

Gateway = Callable[..., Any]
Lines = Callable[[], list[str]]

QUICK = ops.Retry(first=0.05, soon=0.02, most=0.2, jitter=0.0)


def received(pipeline: Pipeline) -> int:
    """Items that came in, every resend of the SDK's included."""
    return pipeline.books["otlp"].received


def gaps(requests: list[Request]) -> list[float]:
    """Seconds between them."""
    times = [request.at for request in requests]
    return [later - sooner for sooner, later in itertools.pairwise(times)]


RETRIED = [
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
]
GIVEN_UP = [
    code
    for code in grpc.StatusCode
    if code not in (*RETRIED, grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED)
]


def attempts(
    gateway: Gateway, transport: str, step: Step, **arguments: Any
) -> tuple[Any, int, int]:
    """What the SDK hears when a backend answers `step` once and then takes everything."""
    with (
        backend(transport, step, TAKE) as there,
        gateway(there.exporter(**arguments), retry=QUICK) as pipeline,
    ):
        result = export(transport, pipeline.addresses[transport], spans(2))
    return result, len(there.requests), received(pipeline)


@pytest.mark.parametrize("code", RETRIED, ids=lambda code: code.name)
def test_c2_the_codes_that_are_retried(gateway: Gateway, code: grpc.StatusCode) -> None:
    """Each may be over in a moment; the sender need not hear of it."""
    assert attempts(gateway, "grpc", refuse(code)) == (SUCCESS, 2, 2)


@pytest.mark.parametrize("code", GIVEN_UP, ids=lambda code: code.name)
def test_c2_no_other_code_is_retried(gateway: Gateway, code: grpc.StatusCode) -> None:
    """Retrying what can never succeed blocks what could."""
    assert attempts(gateway, "grpc", refuse(code)) == (FAILURE, 1, 2)


def test_c2_out_of_resources_is_retried_only_when_told_when(gateway: Gateway) -> None:
    """Without a time it may mean a quota that is used up, or a request that is too large."""
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    assert attempts(gateway, "grpc", refuse(exhausted, wait=0.1)) == (SUCCESS, 2, 2)
    assert attempts(gateway, "grpc", refuse(exhausted)) == (FAILURE, 1, 2)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_c3_the_statuses_that_are_retried(gateway: Gateway, status: int) -> None:
    """Overload and a proxy that misses its server."""
    assert attempts(gateway, "http", refuse(status=status)) == (SUCCESS, 2, 2)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 415, 418, 500, 501, 505])
def test_c3_no_other_status_is_retried(gateway: Gateway, status: int) -> None:
    """OTLP names four."""
    assert attempts(gateway, "http", refuse(status=status)) == (FAILURE, 1, 2)


@pytest.mark.parametrize(
    ("transport", "date"),
    [("grpc", False), ("http", False), ("http", True)],
    ids=["grpc", "http-seconds", "http-date"],
)
def test_c6_the_wait_is_at_least_what_the_server_asks_and_grows_from_there(
    gateway: Gateway, transport: str, date: bool
) -> None:
    """RetryInfo, or Retry-After in either form; a client that comes sooner is throttled more."""
    # A date has no fractions of a second, so it asks for a little less.
    steps = (refuse(wait=2.0 if date else 1.0, date=date), refuse(), TAKE)
    patient = ops.Retry(soon=0.02, factor=1.5, most=5.0, jitter=0.0)
    with (
        backend(transport, *steps) as there,
        gateway(there.exporter(), retry=patient) as pipeline,
    ):
        assert export(transport, pipeline.addresses[transport], spans(2)) is SUCCESS
    first, second = gaps(there.requests)
    assert first >= 0.95
    assert second >= 1.45
    assert received(pipeline) == 2


def test_c6_pauses_grow_from_one_to_the_next(gateway: Gateway, transport: str) -> None:
    """A backend that is down is not helped by being asked as often as before."""
    growing = ops.Retry(soon=0.1, factor=2.0, most=5.0, jitter=0.0)
    with (
        backend(transport, refuse(), refuse(), refuse(), TAKE) as there,
        gateway(there.exporter(), retry=growing) as pipeline,
    ):
        assert export(transport, pipeline.addresses[transport], spans(2)) is SUCCESS
    for gap, least in zip(gaps(there.requests), (0.1, 0.2, 0.4), strict=True):
        assert gap >= least - 0.005
    assert ops.Retry().jitter > 0
    assert ops.Retry().factor > 1


@pytest.mark.parametrize("step", [DROP, CUT], ids=["no answer", "half an answer"])
def test_c7_a_dropped_connection_is_retried(gateway: Gateway, transport: str, step: Step) -> None:
    """Nobody knows whether it was taken; lost is worse than doubled."""
    assert attempts(gateway, transport, step) == (SUCCESS, 2, 2)


@pytest.mark.parametrize("step", [DROP, CUT], ids=["no answer", "half an answer"])
def test_c7_a_dropped_connection_is_told_in_words(
    gateway: Gateway, transport: str, step: Step, lines: Lines
) -> None:
    """An operator reads the line, and must find the destination and what happened in it."""
    attempts(gateway, transport, step)
    (line,) = [line for line in lines() if "not delivered" in line]
    assert "127.0.0.1:" in line
    assert "<" not in line  # no object's repr


def test_c7_no_answer_in_time_is_retried(gateway: Gateway, transport: str) -> None:
    """The same, for a backend that hangs."""
    assert attempts(gateway, transport, HANG, timeout=0.3) == (SUCCESS, 2, 2)


def test_c7_a_failed_connect_is_tried_again(gateway: Gateway, transport: str) -> None:
    """Backends restart; their senders are not told."""
    with (
        backend(transport) as there,
        gateway(there.exporter(), retry=QUICK) as pipeline,
    ):
        there.wire.down()
        up = threading.Timer(0.5, there.wire.up)
        up.start()
        assert export(transport, pipeline.addresses[transport], spans(2)) is SUCCESS
        up.join()
    assert (len(there.requests), received(pipeline)) == (1, 2)


def test_c9_a_response_over_4_mib_is_refused_and_not_retried(
    gateway: Gateway, transport: str
) -> None:
    """A broken backend must not fill our memory, once or again and again."""
    assert attempts(gateway, transport, HUGE) == (FAILURE, 1, 2)
