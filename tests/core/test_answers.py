"""Answers: what each transport puts on the wire, and what a client reads from it."""

import json
from pathlib import Path
from typing import Any

import pytest

from rxotlp._core.answers import (
    SUCCESS,
    Answer,
    AnswerKind,
    from_outcome,
    grpc_answer,
    http_answer,
    http_error,
    read_response,
    response,
)
from rxotlp._core.outcomes import (
    DELIVERED,
    FILTERED,
    Kind,
    Outcome,
    dropped,
    failed,
    rejected,
)
from rxotlp._core.statuses import (
    JSON,
    MAX_RESPONSE_BYTES,
    PROTOBUF,
    Code,
    decode_status,
    grpc_retryable,
    http_retryable,
    retry_delay,
    violations,
)
from rxotlp.errors import DecodeError, ExportError
from rxotlp.wire.json import decode
from rxotlp.wire.signals import Signal
from rxotlp.wire.validate import validate

CORPUS = Path(__file__).parent.parent / "corpus"
TYPES = [PROTOBUF, JSON]
PARTIAL = Answer(AnswerKind.PARTIAL, 3, "3 spans without an id")
WARNING = Answer(AnswerKind.PARTIAL, 0, "please use a newer protocol")
INVALID = Answer(AnswerKind.INVALID, message="bad", bad_fields=(("spans[0].name", "no UTF-8"),))
BUSY = Answer(AnswerKind.UNAVAILABLE, message="busy", retry_after=2.5)
TOO_LARGE = Answer(AnswerKind.EXHAUSTED, message="more than 64 MiB")


@pytest.mark.parametrize("name", ["trace.json", "metrics.json", "logs.json", "events.json"])
def test_the_examples_of_the_specification_are_answered(name: str) -> None:
    """S4 S5 S9: read, checked and answered in the type they came in."""
    signal = {"trace": Signal.TRACES, "metrics": Signal.METRICS}.get(name[:-5], Signal.LOGS)
    payload = decode(signal, (CORPUS / name).read_bytes()).SerializeToString()
    result = validate(signal, payload)
    answer = http_answer(signal, from_outcome(DELIVERED, result.accepted), JSON)
    assert (answer.status, answer.headers, answer.body) == (200, {"Content-Type": JSON}, b"{}")


@pytest.mark.parametrize("signal", Signal)
def test_full_success_leaves_partial_success_unset(signal: Signal) -> None:
    """S5: clients take a set partial_success for bad news."""
    assert response(signal, SUCCESS).SerializeToString() == b""
    assert http_answer(signal, SUCCESS, PROTOBUF).body == b""
    grpc = grpc_answer(signal, SUCCESS)
    assert (grpc.code, grpc.status) == (Code.OK, None)
    assert grpc.response == signal.names.response()


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("answer", [PARTIAL, WARNING])
def test_partial_success_and_warnings_come_through_to_the_client(
    signal: Signal, content_type: str, answer: Answer
) -> None:
    """S6 S7 C4: the count under its signal's own name, and a warning is a count of 0."""
    http = http_answer(signal, answer, content_type)
    assert (http.status, http.headers) == (200, {"Content-Type": content_type})
    assert read_response(signal, http.body, content_type) == (answer.rejected, answer.message)
    grpc = grpc_answer(signal, answer)
    assert grpc.code == Code.OK
    assert grpc.response is not None
    assert grpc.response.HasField("partial_success")
    assert read_response(signal, grpc.response.SerializeToString(), PROTOBUF) == (
        answer.rejected,
        answer.message,
    )


def test_partial_success_in_json_is_spelled_as_the_specification_does() -> None:
    """S6 J3 J5: a 64-bit count is a string."""
    body = http_answer(Signal.TRACES, PARTIAL, JSON).body
    assert json.loads(body) == {
        "partialSuccess": {"rejectedSpans": "3", "errorMessage": "3 spans without an id"}
    }


def test_bad_data_says_which_field() -> None:
    """S8: INVALID_ARGUMENT with BadRequest, 400; and no client may retry it (C2 C3 C5)."""
    grpc = grpc_answer(Signal.TRACES, INVALID)
    assert (grpc.code, grpc.message, grpc.response) == (Code.INVALID_ARGUMENT, "bad", None)
    assert grpc.status is not None
    assert violations(grpc.status) == [("spans[0].name", "no UTF-8")]
    assert not grpc_retryable(grpc.code, retry_delay(grpc.status))
    http = http_answer(Signal.TRACES, INVALID, JSON)
    assert http.status == 400
    assert not http_retryable(http.status)
    assert violations(decode_status(http.body, JSON)) == [("spans[0].name", "no UTF-8")]
    assert "Retry-After" not in http.headers


@pytest.mark.parametrize("content_type", TYPES)
def test_what_may_be_retried_says_when(content_type: str) -> None:
    """S8 S11: UNAVAILABLE with RetryInfo, 503 with Retry-After, rounded up."""
    grpc = grpc_answer(Signal.LOGS, BUSY)
    assert grpc.code == Code.UNAVAILABLE
    assert grpc.status is not None
    assert retry_delay(grpc.status) == 2.5
    http = http_answer(Signal.LOGS, BUSY, content_type)
    assert http.status == 503
    assert http.headers == {"Content-Type": content_type, "Retry-After": "3"}
    status = decode_status(http.body, content_type)
    assert (status.code, status.message, retry_delay(status)) == (14, "busy", 2.5)


def test_an_unknown_time_is_not_made_up() -> None:
    """S8 S11: RetryInfo and Retry-After only when a time is known."""
    answer = Answer(AnswerKind.UNAVAILABLE, message="busy")
    grpc = grpc_answer(Signal.LOGS, answer)
    assert grpc.status is not None
    assert retry_delay(grpc.status) is None
    assert "Retry-After" not in http_answer(Signal.LOGS, answer, PROTOBUF).headers


def test_a_request_that_is_too_large_is_never_asked_for_again() -> None:
    """S2: RetryInfo beside RESOURCE_EXHAUSTED would make every client send it once more."""
    answer = Answer(AnswerKind.EXHAUSTED, message="more than 64 MiB", retry_after=5.0)
    for too_large in (TOO_LARGE, answer):
        grpc = grpc_answer(Signal.METRICS, too_large)
        assert grpc.status is not None
        assert grpc.code == Code.RESOURCE_EXHAUSTED
        assert not grpc_retryable(grpc.code, retry_delay(grpc.status))
    http = http_answer(Signal.METRICS, TOO_LARGE, JSON)
    assert (http.status, decode_status(http.body, JSON).code) == (413, Code.RESOURCE_EXHAUSTED)


@pytest.mark.parametrize("status", [405, 413, 415, 429, 404, 400, 500, 503])
@pytest.mark.parametrize("content_type", [*TYPES, "text/plain", ""])
def test_every_http_error_carries_a_status(status: int, content_type: str) -> None:
    """S10: in the request's type, and in protobuf where that is neither."""
    answer = http_error(status, "no", content_type)
    kind = content_type if content_type in TYPES else PROTOBUF
    assert (answer.status, answer.headers) == (status, {"Content-Type": kind})
    body = decode_status(answer.body, kind)
    assert body.message == "no"
    assert body.code in set(Code) - {Code.OK}


def test_overload_may_be_told_with_429() -> None:
    """S11: 429 or 503, with the time in the header and in the body."""
    answer = http_error(429, "slow down", JSON, retry_after=1.0)
    assert answer.headers["Retry-After"] == "1"
    assert retry_delay(decode_status(answer.body, JSON)) == 1.0


def test_a_200_is_no_error() -> None:
    """A mix-up of arguments must not reach a sender."""
    with pytest.raises(ValueError, match=r"http_error\(200\): expected 400 to 599"):
        http_error(200, "", JSON)
    with pytest.raises(ValueError, match=r"response\(INVALID\): expected SUCCESS or PARTIAL"):
        response(Signal.LOGS, INVALID)


@pytest.mark.parametrize("text", ["x", "\x00", "\N{OLD PERSIAN SIGN A}", '"'])
@pytest.mark.parametrize("content_type", TYPES)
def test_a_response_never_exceeds_its_own_limit(content_type: str, text: str) -> None:
    """S3 C9: a longer one is refused by clients, and the count in it is lost."""
    answer = Answer(AnswerKind.PARTIAL, 2**62, text * (6 * 1024 * 1024))
    body = http_answer(Signal.TRACES, answer, content_type).body
    assert 100_000 < len(body) <= MAX_RESPONSE_BYTES
    count, message = read_response(Signal.TRACES, body, content_type)
    assert count == 2**62
    assert message.endswith("[shortened]")


def test_a_response_over_the_limit_is_refused() -> None:
    """C9: refused, and not retryable; it is the destination that is wrong."""
    with pytest.raises(ExportError, match="expected at most 4194304"):
        read_response(Signal.TRACES, bytes(MAX_RESPONSE_BYTES + 1), PROTOBUF)


@pytest.mark.parametrize(("body", "content_type"), [(b"\xff", PROTOBUF), (b"{", JSON)])
def test_a_response_that_cannot_be_read_says_so(body: bytes, content_type: str) -> None:
    """C4: "nothing rejected" must not be read out of garbage."""
    with pytest.raises(DecodeError):
        read_response(Signal.TRACES, body, content_type)


def test_an_empty_body_is_full_success() -> None:
    """C4: an empty protobuf message has no bytes, and is what most servers send."""
    assert read_response(Signal.TRACES, b"", PROTOBUF) == (0, "")
    assert read_response(Signal.TRACES, b"{}", JSON + "; charset=utf-8") == (0, "")


def test_a_negative_count_is_no_count() -> None:
    """C4: the books must not run backwards because a server has a bug."""
    message: Any = Signal.TRACES.names.response()
    message.partial_success.rejected_spans = -5
    assert read_response(Signal.TRACES, message.SerializeToString(), PROTOBUF) == (0, "")


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (DELIVERED, SUCCESS),
        (FILTERED, SUCCESS),
        (dropped("drop_oldest"), SUCCESS),
        (rejected("bad ids"), Answer(AnswerKind.INVALID, message="bad ids")),
        (rejected("bad ids", items=10), Answer(AnswerKind.INVALID, message="bad ids")),
        (rejected("bad ids", items=4), Answer(AnswerKind.PARTIAL, 4, "bad ids")),
        (rejected("merged", items=0), Answer(AnswerKind.PARTIAL, 0, "merged")),
        (Outcome(Kind.DELIVERED, warning="old"), Answer(AnswerKind.PARTIAL, 0, "old")),
        (failed("down"), Answer(AnswerKind.UNAVAILABLE, message="down")),
        (
            failed("down", retry_after=7.0),
            Answer(AnswerKind.UNAVAILABLE, message="down", retry_after=7.0),
        ),
    ],
)
def test_an_outcome_becomes_the_answer_that_its_sender_must_hear(
    outcome: Outcome, answer: Answer
) -> None:
    """S5 S6 S7 S8: failed is retryable, all rejected is invalid, some is partial."""
    assert from_outcome(outcome, 10) == answer


def test_an_empty_request_succeeds_whatever_the_count() -> None:
    """S4: 0 of 0 rejected must not read as "all rejected"."""
    assert from_outcome(DELIVERED, 0) == SUCCESS
    assert from_outcome(rejected("odd", items=0), 0) == Answer(AnswerKind.PARTIAL, 0, "odd")
