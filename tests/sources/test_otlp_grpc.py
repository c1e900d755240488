"""OTLP/gRPC: what a sender hears, rule by rule (conformance S1 to S12)."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed, rejected
from rxotlp.admission import Admission
from rxotlp.wire.signals import Signal

Receiver = Callable[..., Any]
Log = Callable[[], list[str]]
TRACES = Signal.TRACES.names.grpc_method


@contextmanager
def client(server: Any, **options: Any) -> Iterator[Callable[..., bytes]]:
    """A raw client: bytes in, bytes out."""
    with grpc.insecure_channel(
        server.grpc, options=[("grpc.use_local_subchannel_pool", 1), *options.items()]
    ) as channel:

        def export(payload: bytes, method: str = TRACES, **call: Any) -> bytes:
            answer = method_of(channel, method)(payload, timeout=call.pop("timeout", 20), **call)
            assert isinstance(answer, bytes)
            return answer

        yield export


def method_of(channel: grpc.Channel, method: str = TRACES) -> Any:
    """A method without (de)serialisers."""
    return channel.unary_unary(method)  # type: ignore[call-arg]


def details(error: grpc.RpcError, kind: Any) -> list[Any]:
    """The details of one kind in the status of a failed call."""
    status = rpc_status.from_call(cast(grpc.Call, error))
    found = []
    for detail in status.details if status is not None else ():
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_full_success_has_no_partial_success(
    receiver: Receiver, payloads: dict[str, bytes], signal: str
) -> None:
    """S5, S12: every signal has its service, and success is an empty message."""
    with receiver() as server, client(server) as export:
        assert export(payloads[signal], Signal(signal).names.grpc_method) == b""
        assert server.seen[0].signal is Signal(signal)
        assert server.seen[0].to_bytes() == payloads[signal]


def test_profiles_have_a_service(receiver: Receiver) -> None:
    """S12: profiles are the fourth service."""
    with receiver() as server, client(server) as export:
        assert export(b"", Signal.PROFILES.names.grpc_method) == b""


@pytest.mark.parametrize("payload", [b"", b"not OTLP"])
def test_another_method_is_unimplemented(receiver: Receiver, log: Log, payload: bytes) -> None:
    """What gRPC answers itself; not retried by senders, and seen in the log as over HTTP."""
    with receiver() as server, client(server) as export:
        with pytest.raises(grpc.RpcError) as caught:
            export(payload, "/opentelemetry.proto.collector.trace.v1.TraceService/Import")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        (line,) = log()
        assert "TraceService/Import from 127.0.0.1:" in line


def test_gzip_is_read(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """S1: exporters compress when told to, and need not ask first."""
    with receiver() as server, client(server) as export:
        assert export(payloads["traces"], compression=grpc.Compression.Gzip) == b""
        assert server.seen[0].to_bytes() == payloads["traces"]


def test_an_empty_request_succeeds_and_goes_nowhere(receiver: Receiver) -> None:
    """S4: an element without items would be work for nobody."""
    with receiver() as server, client(server) as export:
        assert export(b"") == b""
        assert server.seen == []


def test_a_partial_rejection_says_how_many(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """S6: the sender counts what it lost, and does not send the rest again."""
    with receiver() as server, client(server) as export:
        server.outcome = rejected("too old", items=2)
        answer = ExportTraceServiceResponse.FromString(export(payloads["traces"]))
        assert answer.partial_success.rejected_spans == 2
        assert "too old" in answer.partial_success.error_message


def test_a_warning_rejects_nothing(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """S7: a destination may have something to say although it took everything."""
    with receiver() as server, client(server) as export:
        server.outcome = Outcome(Kind.DELIVERED, warning="deprecated attribute")
        answer = ExportTraceServiceResponse.FromString(export(payloads["traces"]))
        assert answer.partial_success.rejected_spans == 0
        assert answer.partial_success.error_message == "deprecated attribute"


def test_a_rejection_of_everything_is_an_invalid_argument(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """S8: with a BadRequest detail, as OTLP asks."""
    with receiver() as server, client(server) as export:
        server.outcome = rejected("unknown tenant")
        with pytest.raises(grpc.RpcError) as caught:
            export(payloads["traces"])
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "unknown tenant" in str(caught.value.details())
        assert details(caught.value, BadRequest)


def test_a_failure_is_unavailable_after_the_backends_time(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """S8: RetryInfo keeps senders from hammering a backend that asked for a pause."""
    with receiver() as server, client(server) as export:
        server.outcome = failed("backend is down", retry_after=7)
        with pytest.raises(grpc.RpcError) as caught:
            export(payloads["traces"])
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        (info,) = details(caught.value, RetryInfo)
        assert info.retry_delay.seconds == 7


def test_the_callers_deadline_is_kept(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """A caller with little time hears UNAVAILABLE from us, not DEADLINE_EXCEEDED from itself."""
    with receiver() as server, client(server) as export:
        server.outcome = None
        with pytest.raises(grpc.RpcError) as caught:
            export(payloads["traces"], timeout=2)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_request_over_the_limit_is_exhausted_without_retry_info(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """S2: with RetryInfo a sender would try it again, in vain."""
    with receiver(max_request_size=1000) as server, client(server) as export:
        with pytest.raises(grpc.RpcError) as caught:
            export(bytes(2000))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not details(caught.value, RetryInfo)
        assert export(payloads["traces"]) == b""


def test_a_bomb_is_stopped_at_the_limit(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """S2: the limit holds for what a message decompresses to."""
    with receiver(max_request_size=100_000) as server, client(server) as export:
        with pytest.raises(grpc.RpcError) as caught:
            export(bytes(20_000_000), compression=grpc.Compression.Gzip)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert export(payloads["traces"]) == b""


@pytest.mark.parametrize("validate", ["full", "shape"])
def test_undecodable_bytes_are_an_invalid_argument(
    receiver: Receiver, payloads: dict[str, bytes], log: Log, validate: str
) -> None:
    """S8: one line names the peer, and nobody else is harmed."""
    with receiver(validate=validate) as server, client(server) as export:
        with pytest.raises(grpc.RpcError) as caught:
            export(b"\xff\xff\xff\xff not OTLP")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert export(payloads["traces"]) == b""
    (line,) = log()
    assert line.startswith("traces from 127.0.0.1:")
    assert "not OTLP" not in line


def test_a_bad_record_is_rejected_alone(
    receiver: Receiver, make_traces: Callable[..., bytes], log: Log
) -> None:
    """S6: one bad span among good ones costs one span, and the sender is told which."""
    with receiver() as server, client(server) as export:
        answer = ExportTraceServiceResponse.FromString(export(make_traces(3, bad=1)))
        assert answer.partial_success.rejected_spans == 1
        assert "spans[1].trace_id" in answer.partial_success.error_message
        assert [data.items for data in server.seen] == [2]
    (line,) = log()
    assert "spans[1].trace_id" in line


def test_senders_are_refused_without_credit(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """S8: when_full="reject" answers UNAVAILABLE with a time."""
    body = payloads["traces"]
    admission = Admission(max_bytes=len(body), retry_after=3)
    with (
        receiver(admission=admission, when_full="reject") as server,
        client(server) as export,
    ):
        credit = admission.reserve(len(body))
        with pytest.raises(grpc.RpcError) as caught:
            export(body)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert details(caught.value, RetryInfo)[0].retry_delay.seconds == 3
        credit.release()
        with pytest.raises(grpc.RpcError) as caught:
            export(body * 2)  # read, as there is room
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not details(caught.value, RetryInfo)
        assert export(body) == b""


def test_a_sender_that_gives_up_leaves_no_credit_behind(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """A cancelled call that waits for credit must not take it when its turn comes."""
    body = payloads["traces"]
    admission = Admission(max_bytes=len(body))
    with receiver(admission=admission) as server, client(server) as export:
        credit = admission.reserve(len(body))
        with grpc.insecure_channel(server.grpc) as channel:
            call = method_of(channel).future(body)
            while not admission.waiting:
                time.sleep(0.005)
            call.cancel()
        credit.release()
        assert export(body) == b""
        while admission.bytes:
            time.sleep(0.005)


def test_metadata_is_the_peer_and_the_allowed_headers(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """The same keys as over HTTP, so that a pipeline need not know the transport."""
    with receiver(headers=["X-Tenant"]) as server, client(server) as export:
        export(payloads["traces"], metadata=[("x-tenant", "blue"), ("authorization", "secret")])
        metadata = dict(server.seen[0].metadata)
    assert metadata.pop("peer").startswith("127.0.0.1:")
    assert metadata == {"x-tenant": "blue"}


def test_senders_hear_of_a_stop(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """S8: between stop and close a late sender is told to come back."""
    with receiver() as server, client(server) as export:
        server.source.stop()
        with pytest.raises(grpc.RpcError) as caught:
            export(payloads["traces"])
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert details(caught.value, RetryInfo)


def test_many_calls_at_once_are_each_answered(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """Answers wait for outcomes, not for a pool of threads."""
    with receiver() as server, grpc.insecure_channel(server.grpc) as channel:
        server.outcome = None
        calls = [method_of(channel).future(payloads["traces"]) for _ in range(200)]
        while len(server.claims) < 200:
            time.sleep(0.005)
        server.report(DELIVERED)
        assert {call.result(timeout=20) for call in calls} == {b""}


def test_several_loops_in_one_process_are_quiet(
    receiver: Receiver, payloads: dict[str, bytes], log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """grpc.aio shares one poller between all loops; older ones logged a BlockingIOError each."""
    with receiver() as first, receiver() as second:
        failures: list[BaseException] = []

        def send(server: Any) -> None:
            try:
                with client(server) as export:
                    for _ in range(30):
                        export(payloads["traces"])
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=send, args=(server,)) for server in (first, second) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not failures
        assert len(first.seen) == len(second.seen) == 60
    assert not [record for record in caplog.records if record.name == "asyncio"]
