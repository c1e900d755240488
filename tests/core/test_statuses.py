"""Statuses: what is retried, how long to wait, and details that survive the trip."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.statuses import (
    JSON,
    PROTOBUF,
    Code,
    Status,
    answer_type,
    build_status,
    decode_status,
    encode_status,
    format_retry_after,
    grpc_retryable,
    http_retryable,
    parse_retry_after,
    retry_delay,
    shorten,
    violations,
)
from rxotlp.errors import DecodeError

RETRYABLE = {1, 4, 10, 11, 14, 15}  # OTLP specification, the table in "OTLP/gRPC Response"


def test_the_grpc_codes_that_are_retried_are_those_of_the_table() -> None:
    """C2: retrying others doubles data, not retrying these loses it."""
    assert {int(code) for code in Code if grpc_retryable(code, None)} == RETRYABLE
    assert len(Code) == 17


def test_a_server_out_of_resources_is_asked_again_only_when_it_says_when() -> None:
    """C2: RESOURCE_EXHAUSTED with RetryInfo is overload; without, the request is too large."""
    assert grpc_retryable(Code.RESOURCE_EXHAUSTED, 0.0)
    assert grpc_retryable(Code.RESOURCE_EXHAUSTED, 3.0)
    assert not grpc_retryable(Code.RESOURCE_EXHAUSTED, None)
    assert not grpc_retryable(Code.INVALID_ARGUMENT, 3.0)


def test_the_http_statuses_that_are_retried_are_four() -> None:
    """C3: 500 looks like a candidate and is none."""
    assert {s for s in range(100, 600) if http_retryable(s)} == {429, 502, 503, 504}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Thu, 01 Jan 1970 00:17:00 GMT", 20.0),
        ("Thursday, 01-Jan-70 00:17:00 GMT", 20.0),
        ("Thu Jan  1 00:17:00 1970", 20.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("9" * 5000, 1e9),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("\u0663", None),
        ("Thu, 99 Foo 1970 00:00:01 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    """C6: a header that cannot be read means that no time is known, never a crash."""
    assert parse_retry_after(value, now=1000.0) == seconds


@given(st.text(max_size=40), st.floats(0, 4e9))
def test_no_retry_after_header_can_crash_a_client(value: str, now: float) -> None:
    """C6: the header is whatever a proxy wrote."""
    seconds = parse_retry_after(value, now)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "0"), (0.2, "1"), (5.0, "5"), (-1.0, "0")])
def test_retry_after_never_asks_for_less(seconds: float, header: str) -> None:
    """S11: whole seconds only, so a fraction is rounded up."""
    assert format_retry_after(seconds) == header


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_details_survive_the_trip_in_both_encodings(content_type: str) -> None:
    """S8 S10: the time and the bad fields are what the sender acts upon."""
    status = build_status(
        Code.UNAVAILABLE, "try again", retry_after=1.5, bad_fields=[("spans[1].name", "no UTF-8")]
    )
    read = decode_status(encode_status(status, content_type), content_type)
    assert read == status
    assert (read.code, read.message) == (14, "try again")
    assert retry_delay(read) == 1.5
    assert violations(read) == [("spans[1].name", "no UTF-8")]


def test_a_status_in_json_is_what_other_clients_expect() -> None:
    """S10: the JSON mapping of google.rpc.Status, with typed details, on one line."""
    body = encode_status(build_status(14, "busy", retry_after=2.0), JSON)
    assert b"\n" not in body
    assert json.loads(body) == {
        "code": 14,
        "message": "busy",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"}],
    }


def test_a_status_without_details_asks_for_no_wait() -> None:
    """C2: "no time is known" and "at once" are two things."""
    assert retry_delay(build_status(14, "busy")) is None
    assert retry_delay(build_status(14, "busy", retry_after=0.0)) == 0.0
    assert violations(build_status(14, "busy")) == []


def test_details_that_cannot_be_read_do_not_hide_the_others() -> None:
    """C6: a server may send types of its own beside RetryInfo, or broken ones."""
    status = build_status(14, "busy", retry_after=2.0, bad_fields=[("a", "b")])
    broken: Any = Status(code=14)
    broken.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff")
    broken.details.add(type_url="type.googleapis.com/google.rpc.BadRequest", value=b"\xff")
    broken.details.add(type_url="example.org/their.own", value=b"?")
    broken.details.extend(status.details)
    assert retry_delay(broken) == 2.0
    assert violations(broken) == [("a", "b")]
    document = json.loads(encode_status(status, JSON))
    document["details"][:0] = [{"@type": "example.org/their.own", "x": 1}, 7, {"no": "type"}]
    read = decode_status(json.dumps(document).encode(), JSON)
    assert retry_delay(read) == 2.0


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>502 Bad Gateway</html>", "text/html"),
        (b"<html>502 Bad Gateway</html>", JSON),
        (b"<html>502 Bad Gateway</html>", PROTOBUF),
        (b"[]", JSON),
        (b'{"code":"fourteen"}', JSON),
        (b"[" * 100_000, JSON),
        (b"\xff", JSON),
        (b"\xff\xff", PROTOBUF),
        (b"", ""),
    ],
)
def test_an_error_body_that_is_no_status_is_told_apart(body: bytes, content_type: str) -> None:
    """C5: a proxy's page must not pass for the server's word."""
    with pytest.raises(DecodeError, match="error body"):
        decode_status(body, content_type)


@pytest.mark.parametrize(
    ("request_type", "answered_in"),
    [
        ("application/json", JSON),
        ("Application/JSON; charset=utf-8", JSON),
        ("application/x-protobuf", PROTOBUF),
        ("application/x-protobuf;v=1", PROTOBUF),
        ("text/plain", PROTOBUF),
        ("", PROTOBUF),
    ],
)
def test_errors_are_answered_in_the_requests_type(request_type: str, answered_in: str) -> None:
    """S9 S10: JSON to who sent JSON, protobuf to everybody else."""
    assert answer_type(request_type) == answered_in


def test_a_status_fits_into_grpc_metadata_whatever_is_in_it() -> None:
    """S3 S8: past 8 KiB of metadata gRPC breaks the call, and a clear error turns into noise."""
    many = [(f"resource_spans[{n}].name" * 50, "no UTF-8" * 100) for n in range(1000)]
    status = build_status(3, "m" * 100_000, retry_after=1.0, bad_fields=many)
    assert status.ByteSize() <= 3072
    assert len(status.message) <= 1024
    assert 1 <= len(violations(status)) < 10
    assert retry_delay(status) == 1.0


def test_absurd_waits_are_bounded() -> None:
    """C6: infinity fits no Duration."""
    assert retry_delay(build_status(14, "", retry_after=float("inf"))) == 1e9
    assert retry_delay(build_status(14, "", retry_after=-5.0)) == 0.0


@given(st.text(max_size=60), st.integers(0, 80))
def test_a_shortened_text_fits_and_is_text(text: str, limit: int) -> None:
    """S3: cut inside a character it would be no UTF-8, and the whole response unreadable."""
    short = shorten(text, limit)
    assert len(short.encode()) <= limit
    if len(text.encode()) <= limit:
        assert short == text
    elif limit >= 20:
        assert short.endswith(" [shortened]")
        assert text.startswith(short.removesuffix(" [shortened]"))


def test_half_a_surrogate_pair_does_not_break_a_message() -> None:
    """S3: a reason may quote a file name that is no Unicode."""
    assert shorten("a\udc80", 100) == "a?"
