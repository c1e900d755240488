"""More than can be taken, over real sockets: bounded, answered with a time, and over by itself."""

import asyncio
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub

from benchmarks.overload import overload
from rxotlp import Admission, MemoryLimit, Pipeline, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import Signal, TelemetryData
from rxotlp.testing import logs

LIMIT = 100_000  # bytes in flight
SENDERS = 16
BODY = TelemetryData.merge([logs([number]) for number in range(400)]).to_bytes()


class Backend:
    """Takes nothing until it is told to, and looks at what is in flight."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._well = threading.Event()
        self.began = threading.Event()
        self.most = 0

    async def export(self, data: TelemetryData) -> Outcome:
        self.began.set()
        while not self._well.is_set():
            self.most = max(self.most, self._admission.bytes)
            await asyncio.sleep(0.005)
        return DELIVERED

    def recover(self) -> None:
        """Take everything from now on."""
        self._well.set()


@contextmanager
def gateway(**options: Any) -> Iterator[tuple[Pipeline, Backend, Admission]]:
    """A receiver before a backend that hangs."""
    memory_limit = options.pop("memory_limit", None)
    admission = Admission(max_bytes=LIMIT, retry_after=3)
    backend = Backend(admission)
    source = sources.otlp(grpc="127.0.0.1:0", http="127.0.0.1:0", admission=admission, **options)
    stream = source.pipe(ops.batch(max_items=1), ops.export(backend, max_concurrent=64))
    with Pipeline(stream, drain_timeout=5, memory_limit=memory_limit) as pipeline:
        try:
            yield pipeline, backend, admission
        finally:
            backend.recover()


def post(pipeline: Pipeline) -> tuple[int, str | None]:
    """Status and Retry-After."""
    connection = http.client.HTTPConnection(pipeline.addresses["http"], timeout=60)
    try:
        connection.request("POST", "/v1/logs", BODY, {"Content-Type": "application/x-protobuf"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Retry-After")
    finally:
        connection.close()


def test_senders_are_refused_with_a_time_while_there_is_no_room() -> None:
    """Bounded memory, and a sender that knows when to come back."""
    assert SENDERS * len(BODY) > 2 * LIMIT
    with gateway(when_full="reject") as (pipeline, backend, _), ThreadPoolExecutor(SENDERS) as pool:
        first = [pool.submit(post, pipeline) for _ in range(SENDERS)]
        refused = await_some(first, lambda answers: len(answers) >= 4)
        assert set(refused) == {(503, "3")}
        backend.recover()
        answers = [one.result(60) for one in first]
        assert answers.count((200, None)) >= 1
        assert set(answers) == {(200, None), (503, "3")}
        assert 0 < backend.most <= LIMIT
        assert post(pipeline) == (200, None), "it recovers by itself"


def test_senders_wait_where_that_is_configured() -> None:
    """Those who can wait lose nothing, and nobody's memory is filled."""
    with gateway(when_full="wait") as (pipeline, backend, admission):
        with ThreadPoolExecutor(SENDERS) as pool:
            first = [pool.submit(post, pipeline) for _ in range(SENDERS)]
            assert backend.began.wait(30)
            while admission.waiting < 4:
                assert threading.active_count()
            backend.recover()
            assert [one.result(60) for one in first] == [(200, None)] * SENDERS
        assert 0 < backend.most <= LIMIT
        assert admission.bytes == 0


def test_a_sender_that_waited_too_long_is_told_when_to_come_back() -> None:
    """A backend that is dead must not keep anybody for ever."""
    with gateway(when_full="wait", ack_timeout=0.3) as (pipeline, backend, admission):
        with ThreadPoolExecutor(SENDERS) as pool:
            under_way = [pool.submit(post, pipeline) for _ in range(SENDERS)]
            answers = [one.result(60) for one in under_way]
        assert {status for status, _ in answers} == {503}
        assert (503, "3") in answers, "those for whom there was no room know when"
        backend.recover()
        while post(pipeline)[0] != 200:
            assert threading.active_count()
        assert admission.bytes == 0


def await_some(
    futures: list[Any], enough: Callable[[list[Any]], bool], timeout: float = 30.0
) -> list[Any]:
    """The results that are there once they are enough."""
    come = threading.Event()
    for one in futures:
        one.add_done_callback(
            lambda _: come.set() if enough([f.result() for f in futures if f.done()]) else None
        )
    assert come.wait(timeout)
    return [one.result() for one in futures if one.done()]


class Scripted:
    """Memory in use, as a test says."""

    def __init__(self, used: float) -> None:
        self.used = used

    def __call__(self) -> float:
        return self.used


def test_a_large_request_is_refused_before_its_body_is_there() -> None:
    """What is not read takes no memory."""
    limit = MemoryLimit(every=0.01, retry_after=7, measure=Scripted(0.9))
    with gateway(memory_limit=limit) as (pipeline, _, admission):
        pipeline.scheduler.wait_for(lambda: admission.refusal is not None)
        host, port = pipeline.addresses["http"].rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(
                b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
                b"Content-Length: 90000\r\n\r\n"
            )
            head = connection.recv(4096)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 7\r\n" in head.lower()
        assert admission.bytes == 0


@pytest.mark.parametrize("used", [0.9, 0.99])
def test_grpc_senders_are_refused_with_a_time_and_let_in_again(used: float) -> None:
    """Over the soft limit once they are read, over the hard one before."""
    memory = Scripted(used)
    limit = MemoryLimit(every=0.01, retry_after=7, measure=memory)
    with gateway(memory_limit=limit) as (pipeline, backend, admission):
        backend.recover()
        pipeline.scheduler.wait_for(lambda: admission.refusal is not None)
        request = Signal.LOGS.names.request.FromString(BODY)
        with grpc.insecure_channel(pipeline.addresses["grpc"]) as channel:
            export = LogsServiceStub(channel).Export  # type: ignore[no-untyped-call]
            with pytest.raises(grpc.RpcError) as refused:
                export(request, timeout=30)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            call: Any = refused.value
            assert "memory: " in call.details()
            details = dict(call.trailing_metadata())["grpc-status-details-bin"]
            assert b"google.rpc.RetryInfo" in details
            memory.used = 0.1
            pipeline.scheduler.wait_for(lambda: admission.refusal is None)
            export(request, timeout=30)
        assert pipeline.books["export"].delivered == 400


def test_twice_the_knee_loses_nothing_that_was_acknowledged() -> None:
    """The short form of P6: real processes, ids counted; figures are the benchmark's."""
    row = overload("reject", 1.0, items=16, knee=0.3)
    assert (row["lost"], row["doubled"]) == (0, 0)
    assert row["answers"][""] > 0
    assert set(row["answers"]) <= {"", "503"}
    assert row["most_mib"] - row["idle_mib"] <= 150
