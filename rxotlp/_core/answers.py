"""What a sender hears: one `Answer`, said in gRPC's words or in HTTP's.

    kind         gRPC                                    HTTP
    SUCCESS      OK, partial_success unset               200, the same message
    PARTIAL      OK, partial_success set; rejected 0     200, the same message
                 with a text is a warning
    INVALID      INVALID_ARGUMENT, BadRequest            400, Status
    UNAVAILABLE  UNAVAILABLE, RetryInfo when known       503, Status, Retry-After when known
    EXHAUSTED    RESOURCE_EXHAUSTED without RetryInfo,   413, Status
                 so that nobody sends the same again

(OTLP specification, "OTLP/gRPC Response" and "OTLP/HTTP Response".) Nothing here does I/O:
a source builds an Answer, and this says what to put on the wire; an exporter gives a
response's bytes, and this says what the server meant.
"""

import enum
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import Message

from rxotlp._core.outcomes import Kind, Outcome
from rxotlp._core.statuses import (
    JSON,
    MAX_RESPONSE_BYTES,
    Code,
    Status,
    answer_type,
    build_status,
    encode_status,
    format_retry_after,
    shorten,
)
from rxotlp.errors import DecodeError, ExportError
from rxotlp.wire import json
from rxotlp.wire.signals import Signal

__all__ = [
    "SUCCESS",
    "Answer",
    "AnswerKind",
    "GrpcAnswer",
    "HttpAnswer",
    "from_outcome",
    "grpc_answer",
    "http_answer",
    "http_error",
    "read_response",
    "response",
]


class AnswerKind(enum.Enum):
    """What became of a request, as OTLP tells it apart."""

    SUCCESS = "success"
    PARTIAL = "partial"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender hears.

    Attributes:
        kind: see the module's table.
        rejected: items that were not taken; only with PARTIAL, 0 there means a warning.
        message: in English, for the sender's people; empty only with SUCCESS.
        retry_after: seconds; only with UNAVAILABLE, None when unknown.
        bad_fields: with INVALID: paths and what is wrong there.
    """

    kind: AnswerKind
    rejected: int = 0
    message: str = ""
    retry_after: float | None = None
    bad_fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class GrpcAnswer:
    """How a call ends: a response for code 0, otherwise a text and a Status with details."""

    code: int
    message: str
    response: Message | None
    status: Status | None


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes


SUCCESS = Answer(AnswerKind.SUCCESS)

# kind -> gRPC code, HTTP status
_FAILURES = {
    AnswerKind.INVALID: (Code.INVALID_ARGUMENT, 400),
    AnswerKind.UNAVAILABLE: (Code.UNAVAILABLE, 503),
    AnswerKind.EXHAUSTED: (Code.RESOURCE_EXHAUSTED, 413),
}
# The Status code inside the body of an HTTP error that no Answer stands behind, after
# google.rpc.code's own mapping to HTTP.
_HTTP_CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.UNIMPLEMENTED,
    408: Code.DEADLINE_EXCEEDED,
    411: Code.INVALID_ARGUMENT,
    413: Code.RESOURCE_EXHAUSTED,
    415: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    431: Code.RESOURCE_EXHAUSTED,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
# JSON writes a control character in six bytes, and a response has some around its text.
_MAX_TEXT_BYTES = MAX_RESPONSE_BYTES // 6 - 100


def from_outcome(outcome: Outcome, items: int) -> Answer:
    """What the sender of a request hears, by what became of it.

    Args:
        outcome: the worst of everything that became of its items.
        items: items in the request.
    """
    if outcome.kind is Kind.FAILED:
        return Answer(
            AnswerKind.UNAVAILABLE,
            message=outcome.reason or "not delivered",
            retry_after=outcome.retry_after,
        )
    if outcome.kind is Kind.REJECTED:
        rejected = items if outcome.items is None else min(outcome.items, items)
        reason = outcome.reason or "rejected"
        if items and rejected >= items:
            return Answer(AnswerKind.INVALID, message=reason)
        return Answer(AnswerKind.PARTIAL, rejected, reason)
    if outcome.warning:
        return Answer(AnswerKind.PARTIAL, 0, outcome.warning)
    return SUCCESS


def response(signal: Signal, answer: Answer) -> Message:
    """The export response of a SUCCESS or PARTIAL answer.

    A text is shortened so that the response stays under 4 MiB in either encoding.
    """
    if answer.kind in _FAILURES:
        raise ValueError(
            f"response({answer.kind.name}): expected SUCCESS or PARTIAL; the others are errors"
        )
    message: Any = signal.names.response()
    if answer.kind is AnswerKind.PARTIAL:
        partial = message.partial_success
        setattr(partial, signal.names.rejected_field, answer.rejected)
        partial.error_message = shorten(answer.message, _MAX_TEXT_BYTES)
    filled: Message = message
    return filled


def grpc_answer(signal: Signal, answer: Answer) -> GrpcAnswer:
    """Say an answer in gRPC's words."""
    if answer.kind not in _FAILURES:
        return GrpcAnswer(Code.OK, "", response(signal, answer), None)
    status = _status(answer)
    return GrpcAnswer(status.code, status.message, None, status)


def http_answer(signal: Signal, answer: Answer, content_type: str) -> HttpAnswer:
    """Say an answer in HTTP's words.

    Args:
        signal: whose request it was.
        answer: what to say.
        content_type: the request's; the response is of the same type.
    """
    if answer.kind in _FAILURES:
        _, code = _FAILURES[answer.kind]
        return _error(code, _status(answer), content_type, answer.retry_after)
    message = response(signal, answer)
    kind = answer_type(content_type)
    body = json.encode(message).encode() if kind == JSON else message.SerializeToString()
    return HttpAnswer(200, {"Content-Type": kind}, body)


def http_error(
    status: int, message: str, content_type: str, *, retry_after: float | None = None
) -> HttpAnswer:
    """An HTTP error that concerns the request's form rather than its data: 405, 415, 429 ...

    Args:
        status: 400 to 599.
        message: in English.
        content_type: the request's; "" or another type is answered in protobuf.
        retry_after: seconds, when a retry may succeed and the time is known.
    """
    if not 400 <= status <= 599:
        raise ValueError(f"http_error({status}): expected 400 to 599")
    code = _HTTP_CODES.get(status, Code.INTERNAL if status >= 500 else Code.INVALID_ARGUMENT)
    return _error(
        status, build_status(code, message, retry_after=retry_after), content_type, retry_after
    )


def read_response(signal: Signal, body: bytes, content_type: str) -> tuple[int, str]:
    """What a server said with its OK or 200.

    Args:
        signal: whose request it was.
        body: the response's bytes.
        content_type: the response's; anything but JSON is read as protobuf.

    Returns:
        How many items it rejected, and its text; (0, "") for full success. A text with 0
        rejected is a warning. Whatever it says, the request must not be sent again.

    Raises:
        ExportError: more than 4 MiB (C9).
        DecodeError: the bytes are no export response.
    """
    if len(body) > MAX_RESPONSE_BYTES:
        raise ExportError(f"response of {len(body)} bytes, expected at most {MAX_RESPONSE_BYTES}")
    cls = signal.names.response
    message: Any
    if answer_type(content_type) == JSON:
        message = json.decode_message(cls, body)
    else:
        try:
            message = cls.FromString(body)
        except ProtobufDecodeError as error:
            raise DecodeError(f"response is no {cls.DESCRIPTOR.name}: {error}") from None
    partial = message.partial_success
    return max(0, getattr(partial, signal.names.rejected_field)), partial.error_message


def _status(answer: Answer) -> Status:
    code, _ = _FAILURES[answer.kind]
    return build_status(
        code,
        answer.message or answer.kind.value,
        retry_after=answer.retry_after if answer.kind is AnswerKind.UNAVAILABLE else None,
        bad_fields=answer.bad_fields,
    )


def _error(code: int, status: Status, content_type: str, retry_after: float | None) -> HttpAnswer:
    headers = {"Content-Type": answer_type(content_type)}
    if retry_after is not None:
        headers["Retry-After"] = format_retry_after(retry_after)
    return HttpAnswer(code, headers, encode_status(status, content_type))
