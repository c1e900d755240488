"""Which answers are worth a retry, and the `google.rpc.Status` that carries the details.

Tables and small functions, no I/O and no clock. gRPC codes are their numbers,
so that nothing here needs a gRPC library.

A Status travels three ways: as `grpc-status-details-bin` in gRPC's trailing metadata, and
as the protobuf or JSON body of an HTTP error. gRPC peers limit metadata to 8 KiB by
default and break the call past it, so what `build_status` makes is short: a message of at
most 1 KiB, and as many field violations as fit.
"""

import enum
import json
import math
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.rpc.error_details_pb2 import (
    BadRequest,
    RetryInfo,
)
from google.rpc.status_pb2 import Status

from rxotlp.errors import DecodeError

__all__ = [
    "DETAILS_KEY",
    "JSON",
    "MAX_RESPONSE_BYTES",
    "PROTOBUF",
    "Code",
    "Status",
    "answer_type",
    "build_status",
    "decode_status",
    "encode_status",
    "format_retry_after",
    "grpc_retryable",
    "grpc_too_large",
    "http_retryable",
    "parse_date",
    "parse_retry_after",
    "retry_delay",
    "shorten",
    "violations",
]

PROTOBUF = "application/x-protobuf"  # OTLP specification, "Binary Protobuf Encoding"
JSON = "application/json"  # OTLP specification, "JSON Protobuf Encoding"
DETAILS_KEY = "grpc-status-details-bin"  # where gRPC carries an encoded Status
MAX_RESPONSE_BYTES = 4 * 1024 * 1024  # OTLP specification: the default limit of a response


class Code(enum.IntEnum):
    """gRPC's status codes (google/rpc/code.proto)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_RETRYABLE_CODES = frozenset(  # OTLP specification, "OTLP/gRPC Response"
    {
        Code.CANCELLED,
        Code.DEADLINE_EXCEEDED,
        Code.ABORTED,
        Code.OUT_OF_RANGE,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    }
)
# OTLP specification, "Retryable Response Codes"
_RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
_TOO_LARGE = ("larger than max", "exceeds maximum size", "too large: found")
_MAX_MESSAGE_BYTES = 1024
_MAX_STATUS_BYTES = 3072  # 4 KiB as base64, which leaves room for the message beside it
_LONGEST_WAIT = 1e9  # seconds; what a Duration can hold is not much more
_SHORTENED = " [shortened]"


def grpc_retryable(code: int, retry_after: float | None) -> bool:
    """Whether a gRPC call that ended with `code` may be tried again.

    Args:
        code: the status code's number.
        retry_after: what the server's RetryInfo said, None without one. A server out of
            resources that names no time will not recover by our waiting.
    """
    return code in _RETRYABLE_CODES or (code == Code.RESOURCE_EXHAUSTED and retry_after is not None)


def grpc_too_large(code: int, message: str) -> bool:
    """Whether a gRPC call ended because its message was too large for the server.

    No code says so alone; these are the words of gRPC's C core, Go, Java and of tonic. The C
    core says the same of a response that is too large for us, and then a smaller request
    would only be delivered twice (C9).
    """
    return (
        code in (Code.RESOURCE_EXHAUSTED, Code.OUT_OF_RANGE)
        and any(words in message for words in _TOO_LARGE)
        and "CLIENT: " not in message
    )


def http_retryable(status: int) -> bool:
    """Whether an HTTP request that was answered with `status` may be tried again."""
    return status in _RETRYABLE_STATUSES


def parse_retry_after(value: str, now: float) -> float | None:
    """Seconds to wait by a Retry-After header.

    Args:
        value: the header: whole seconds, or an HTTP date.
        now: the wall clock of whoever wrote it, in seconds since 1970.

    Returns:
        Seconds, 0 or more (a date in the past means now); None when it is neither.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_WAIT)
    date = parse_date(value)
    return None if date is None else max(0.0, date - now)


def parse_date(value: str) -> float | None:
    """An HTTP date in seconds since 1970; None when it is none."""
    try:
        date = parsedate_to_datetime(value)
        if date.tzinfo is None:  # "-0000" and asctime's form: HTTP dates are always in UTC
            date = date.replace(tzinfo=UTC)
        return date.timestamp()
    except (ValueError, OverflowError):
        return None


def format_retry_after(seconds: float) -> str:
    """A Retry-After header: whole seconds, never less than asked for."""
    return str(max(0, math.ceil(seconds)))


def build_status(
    code: int,
    message: str,
    *,
    retry_after: float | None = None,
    bad_fields: Iterable[tuple[str, str]] = (),
) -> Status:
    """Build a Status, short enough for gRPC's metadata.

    Args:
        code: the gRPC status code's number.
        message: what happened, in English.
        retry_after: seconds, as RetryInfo; None for none.
        bad_fields: paths and what is wrong there, as BadRequest; those that do not fit are
            left out.
    """
    status = Status(code=code, message=shorten(message, _MAX_MESSAGE_BYTES))
    if retry_after is not None:
        info = RetryInfo()
        info.retry_delay.FromNanoseconds(round(min(max(0.0, retry_after), _LONGEST_WAIT) * 1e9))
        status.details.add().Pack(info)
    bad_request = BadRequest()
    room = _MAX_STATUS_BYTES - status.ByteSize() - 100  # 100: the type's name and lengths
    for path, description in bad_fields:
        violation = BadRequest.FieldViolation(
            field=shorten(path, 512), description=shorten(description, 512)
        )
        room -= violation.ByteSize() + 3
        if room < 0:
            break
        bad_request.field_violations.append(violation)
    if bad_request.field_violations:
        status.details.add().Pack(bad_request)
    return status


def retry_delay(status: Status) -> float | None:
    """Seconds that a Status asks to wait (RetryInfo); None when it does not."""
    info = RetryInfo()
    for detail in status.details:
        try:
            if detail.Unpack(info):
                return max(0.0, float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9))
        except ProtobufDecodeError:
            continue  # a detail that cannot be read says nothing
    return None


def violations(status: Status) -> list[tuple[str, str]]:
    """The paths and descriptions in a Status (BadRequest)."""
    found: list[tuple[str, str]] = []
    bad_request = BadRequest()
    for detail in status.details:
        try:
            if detail.Unpack(bad_request):
                found += [(v.field, v.description) for v in bad_request.field_violations]
        except ProtobufDecodeError:
            continue  # a detail that cannot be read says nothing
    return found


def answer_type(content_type: str) -> str:
    """The media type to answer in: the request's own, or protobuf when it is neither."""
    return JSON if _media_type(content_type) == JSON else PROTOBUF


def encode_status(status: Status, content_type: str) -> bytes:
    """A Status as the body of an HTTP error, in `answer_type(content_type)`."""
    if answer_type(content_type) == JSON:
        return json_format.MessageToJson(status, indent=None, ensure_ascii=False).encode()
    body: bytes = status.SerializeToString()
    return body


def decode_status(body: bytes, content_type: str) -> Status:
    """Read the body of an HTTP error.

    Details of types that are not known here are left out.

    Raises:
        DecodeError: the body is no Status (a proxy's HTML page, for example).
    """
    kind = _media_type(content_type)
    try:
        if kind == JSON:
            return _status_from_json(body)
        if kind == PROTOBUF:
            return Status.FromString(body)
    except (ProtobufDecodeError, json_format.ParseError, ValueError, RecursionError) as error:
        raise DecodeError(f"error body is no google.rpc.Status: {error}") from None
    raise DecodeError(f"error body of type {content_type[:80]!r}, expected {PROTOBUF} or {JSON}")


def shorten(text: str, max_bytes: int) -> str:
    """A text cut to `max_bytes` of UTF-8, with a note at its end when it was cut."""
    data = text.encode(errors="replace")  # half a surrogate pair cannot be sent
    if len(data) <= max_bytes:
        return data.decode()
    keep = max(0, max_bytes - len(_SHORTENED))
    return (data[:keep].decode(errors="ignore") + _SHORTENED)[:max_bytes]


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _status_from_json(body: bytes) -> Status:
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("expected an object")
    details = document.pop("details", None)
    status = json_format.ParseDict(document, Status(), ignore_unknown_fields=True)
    for detail in details if isinstance(details, list) else ():
        try:
            status.details.append(json_format.ParseDict(detail, Any(), ignore_unknown_fields=True))
        except (json_format.ParseError, AttributeError, TypeError):
            continue  # of a type that is not known here, or no detail at all
    return status
