"""OTLP/HTTP: what a sender hears, rule by rule (conformance S1 to S12)."""

import gzip
import json
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed, rejected
from rxotlp.admission import Admission
from rxotlp.wire.json import encode
from rxotlp.wire.signals import Signal

Receiver = Callable[..., Any]


def test_full_success_has_no_partial_success(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """S5, S9: a sender that looks at partial_success must not find one after a success."""
    with receiver() as server:
        status, headers, body = server.post(body=payloads["traces"])
    assert (status, headers["content-type"], body) == (200, "application/x-protobuf", b"")
    assert server.seen[0].to_bytes() == payloads["traces"]


@pytest.mark.parametrize(
    ("signal", "path"),
    [("traces", "/v1/traces"), ("metrics", "/v1/metrics"), ("logs", "/v1/logs")],
)
def test_every_signal_has_its_path(
    receiver: Receiver, payloads: dict[str, bytes], signal: str, path: str
) -> None:
    """S12: a signal is known by its path and by nothing else."""
    with receiver() as server:
        status, _, _ = server.post(path, payloads[signal])
        assert status == 200
        assert server.seen[0].signal is Signal(signal)
        assert server.seen[0].to_bytes() == payloads[signal]


def test_profiles_have_a_path_of_their_own(receiver: Receiver) -> None:
    """S12: profiles are still under a development path."""
    with receiver() as server:
        assert server.post("/v1development/profiles")[0] == 200


def test_json_and_protobuf_share_a_port(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """S9, S12: the answer is in the request's own type."""
    request = Signal.TRACES.names.request.FromString(payloads["traces"])
    with receiver() as server:
        status, headers, body = server.post(
            body=encode(request).encode(), content_type="application/json; charset=utf-8"
        )
        assert (status, headers["content-type"]) == (200, "application/json")
        assert json.loads(body) == {}
        assert server.seen[0].message == request
        assert server.post(body=payloads["traces"])[0] == 200


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("identity", bytes), ("gzip", gzip.compress), ("deflate", zlib.compress)],
)
def test_compressed_bodies_are_read(
    receiver: Receiver, payloads: dict[str, bytes], encoding: str, compress: Callable[..., bytes]
) -> None:
    """S1: exporters compress when told to, and need not ask first."""
    with receiver() as server:
        status, _, _ = server.post(
            body=compress(payloads["logs"]), path="/v1/logs", headers={"Content-Encoding": encoding}
        )
        assert status == 200
        assert server.seen[0].to_bytes() == payloads["logs"]


def test_an_empty_request_succeeds_and_goes_nowhere(receiver: Receiver) -> None:
    """S4: an element without items would be work for nobody."""
    with receiver() as server:
        assert server.post(body=b"")[0] == 200
        assert server.post(body=b"{}", content_type="application/json")[0] == 200
        assert server.seen == []


def test_a_partial_rejection_says_how_many(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """S6: the sender counts what it lost, and does not send the rest again."""
    with receiver() as server:
        server.outcome = rejected("too old", items=2)
        status, _, body = server.post(body=payloads["traces"])
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    assert (status, partial.rejected_spans) == (200, 2)
    assert "too old" in partial.error_message


def test_a_warning_rejects_nothing(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """S7: a destination may have something to say although it took everything."""
    with receiver() as server:
        server.outcome = Outcome(Kind.DELIVERED, warning="deprecated attribute")
        status, _, body = server.post(body=payloads["traces"])
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    assert (status, partial.rejected_spans, partial.error_message) == (
        200,
        0,
        "deprecated attribute",
    )


def test_a_rejection_of_everything_is_a_bad_request(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """S8: a sender must not retry what can never succeed."""
    with receiver() as server:
        server.outcome = rejected("unknown tenant")
        status, headers, body = server.post(body=payloads["traces"])
    assert (status, headers["content-type"]) == (400, "application/x-protobuf")
    assert "unknown tenant" in Status.FromString(body).message


def test_a_failure_is_retryable_after_the_backends_time(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """S8, S11: Retry-After keeps senders from hammering a backend that asked for a pause."""
    with receiver() as server:
        server.outcome = failed("backend is down", retry_after=7)
        status, headers, body = server.post(body=payloads["traces"])
    assert (status, headers["retry-after"]) == (503, "7")
    assert "backend is down" in Status.FromString(body).message


def test_a_long_text_is_shortened(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """S3: a client may refuse a response over 4 MiB, and would resend for ever."""
    with receiver() as server:
        server.outcome = rejected("x" * (5 << 20), items=1)
        status, _, body = server.post(body=payloads["traces"])
    assert status == 200
    assert len(body) < 4 << 20
    assert ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans == 1


def test_no_answer_in_time_is_retryable(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """A sender that hears nothing resends on its own; it must be told before that."""
    with receiver(ack_timeout=0.2) as server:
        server.outcome = None
        status, _, _ = server.post(body=payloads["traces"])
        assert status == 503
        assert server.source.open_receipts() == []
        server.report(DELIVERED)


def test_the_default_patience_is_shorter_than_a_senders(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """An answer that comes in time is worth waiting for; deadlines must not cut it off early."""
    with receiver() as server:
        server.outcome = None
        answers: list[int] = []
        thread = threading.Thread(
            target=lambda: answers.append(server.post(body=payloads["traces"])[0])
        )
        thread.start()
        wait_until(lambda: server.claims)
        server.report(DELIVERED)
        thread.join(20)
    assert answers == [200]


def test_senders_wait_for_credit(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """when_full="wait": a burst is delayed, not refused."""
    body = payloads["traces"]
    with receiver(admission=Admission(max_bytes=len(body))) as server:
        server.outcome = None
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(server.post(body=body)[0]))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: server.claims and server.source.admission.waiting == 2)
        server.outcome = DELIVERED
        server.report(DELIVERED)
        for thread in threads:
            thread.join(20)
        assert answers == [200, 200, 200]
        assert server.source.admission.bytes == 0


def test_senders_are_refused_without_credit(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """S11: when_full="reject" answers 503 with a time instead of holding the connection."""
    body = payloads["traces"]
    with receiver(
        admission=Admission(max_bytes=len(body), retry_after=3), when_full="reject"
    ) as server:
        server.outcome = None
        thread = threading.Thread(target=lambda: server.post(body=body))
        thread.start()
        wait_until(lambda: server.claims)
        status, headers, _ = server.post(body=body)
        assert (status, headers["retry-after"]) == (503, "3")
        server.report(DELIVERED)
        thread.join(20)


def test_waiting_for_credit_ends_in_time(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """A sender in the queue has the same deadline as one that was let in."""
    body = payloads["traces"]
    with receiver(admission=Admission(max_bytes=len(body)), ack_timeout=0.2) as server:
        credit = server.source.admission.reserve(len(body))
        assert server.post(body=body)[0] == 503
        credit.release()
        assert server.post(body=body)[0] == 200
        assert server.source.admission.bytes == 0


def test_metadata_is_the_peer_and_the_allowed_headers(
    receiver: Receiver, payloads: dict[str, bytes]
) -> None:
    """Metadata is written to disks and logs; a header nobody asked for stays outside."""
    with receiver(headers=["X-Tenant", "x-absent"]) as server:
        server.post(
            body=payloads["traces"], headers={"X-TENANT": "blue", "Authorization": "secret"}
        )
        metadata = dict(server.seen[0].metadata)
    assert metadata.pop("peer").startswith("127.0.0.1:")
    assert metadata == {"x-tenant": "blue"}


def test_a_bad_record_is_rejected_alone(
    receiver: Receiver, make_traces: Callable[..., bytes], log: Callable[[], list[str]]
) -> None:
    """S6: one bad span among good ones costs one span, and the sender is told which."""
    with receiver() as server:
        status, _, body = server.post(body=make_traces(3, bad=1))
        assert [data.items for data in server.seen] == [2]
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    assert (status, partial.rejected_spans) == (200, 1)
    assert "spans[1].trace_id" in partial.error_message
    (line,) = log()
    assert "traces from 127.0.0.1:" in line
    assert "spans[1].trace_id" in line


def test_a_request_of_bad_records_alone_is_a_bad_request(
    receiver: Receiver, make_traces: Callable[..., bytes]
) -> None:
    """S8: nothing of it was good, so nothing of it need come again."""
    with receiver() as server:
        assert server.post(body=make_traces(1, bad=0))[0] == 400
        assert server.seen == []


def test_the_books_balance_with_rejected_records(
    receiver: Receiver, make_traces: Callable[..., bytes]
) -> None:
    """What validation refuses was received too, and is in the source's own book."""
    with receiver() as server:
        server.post(body=make_traces(3, bad=1))
        server.post(body=make_traces(1, bad=0))
        wait_until(lambda: server.source._stage.book.rejected == 2)
        account = server.source._stage.book.account
    assert (account.received, account.sent, account.rejected) == (4, 2, 2)
    assert account.balanced


def test_a_trusted_hop_is_not_checked(
    receiver: Receiver, make_traces: Callable[..., bytes]
) -> None:
    """validate="shape" passes on what it was given, untouched."""
    with receiver(validate="shape") as server:
        body = make_traces(3, bad=1)
        assert server.post(body=body)[0] == 200
        assert server.seen[0].to_bytes() == body


def test_senders_hear_of_a_stop(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """S11: between stop and close a late sender is told to come back."""
    with receiver() as server:
        server.source.stop()
        assert server.completed.wait(20)
        status, headers, _ = server.post(body=payloads["traces"])
        assert status == 503
        assert "retry-after" in headers


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for another thread; the test's own timeout is the limit."""
    while not condition():
        time.sleep(0.005)
