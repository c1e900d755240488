"""What an OTLP server must do, row by row, seen by opentelemetry-sdk's exporters and raw."""

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest
import zstandard

from rxotlp import sources
from rxotlp._core.outcomes import Kind, Outcome, failed, rejected
from rxotlp.admission import Admission
from rxotlp.testing import ids_of, logs
from rxotlp.testing import spans as spans_of
from rxotlp.wire.json import encode
from rxotlp.wire.signals import Signal
from tests.support.sdk_clients import FAILURE, SUCCESS, export, spans
from tests.support.senders import JSON, PROTOBUF, Heard, post, send

Serving = Callable[..., Any]

PAYLOAD = spans_of([1, 2, 3]).to_bytes()
LARGE = {"Content-Length": "70000"}


def send_json(server: Any, payload: bytes, signal: Signal = Signal.TRACES) -> Heard:
    """One request in JSON."""
    return post(
        server.addresses["http"],
        signal.names.http_path,
        payload,
        {"Content-Type": JSON},
        signal=signal,
    )


# -- what comes in ----------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_s1_every_compression_of_the_sdk_is_read(
    serving: Serving, transport: str, compression: str
) -> None:
    """A sender compresses when it is told to, and need not ask the server first."""
    with serving() as server:
        address = server.addresses[transport]
        assert export(transport, address, spans(3), compression=compression) is SUCCESS
        assert [span.name for span in server.memory.records()] == ["s0", "s1", "s2"]


def test_s1_zstd_is_read_where_the_library_is(serving: Serving) -> None:
    """Some senders (the Collector) use it over HTTP."""
    with serving() as server:
        heard = post(
            server.addresses["http"],
            "/v1/traces",
            zstandard.compress(PAYLOAD),
            {"Content-Type": PROTOBUF, "Content-Encoding": "zstd"},
        )
        assert heard.word == "success"
        assert ids_of(server.seen[0]) == [1, 2, 3]


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_s2_a_request_over_the_limit_is_refused_for_good(
    serving: Serving, transport: str, compression: str
) -> None:
    """Sent again it would be as large; so there must be no time to come back at."""
    large = spans_of(range(1000)).to_bytes()
    with serving(max_request_size=10_000) as server:
        heard = send(transport, server.addresses[transport], large, compression=compression)
        assert (heard.word, heard.wait) == ("exhausted", None)
        assert send(transport, server.addresses[transport], PAYLOAD).word == "success"
        assert [ids_of(data) for data in server.seen] == [[1, 2, 3]]


def test_s2_a_bomb_is_stopped_at_the_limit(serving: Serving, transport: str) -> None:
    """A few kilobytes that become many megabytes must not cost the memory of those."""
    with serving(max_request_size=1 << 20) as server:
        address = server.addresses[transport]
        heard = send(transport, address, bytes(64 << 20), compression="gzip")
        assert (heard.word, heard.wait) == ("exhausted", None)
        assert send(transport, address, PAYLOAD).word == "success"


def test_s2_the_limit_is_64_mib_unless_told_otherwise(serving: Serving) -> None:
    """OTLP's recommendation; what is declared larger is refused before a byte of it is read."""
    with serving() as server:
        heard = post(
            server.addresses["http"],
            "/v1/traces",
            b"",
            {"Content-Type": PROTOBUF, "Content-Length": str((64 << 20) + 1)},
        )
        assert heard.word == "exhausted"
    assert inspect.signature(sources.otlp).parameters["max_request_size"].default == 64 << 20


def test_s3_a_text_that_is_too_long_is_shortened(serving: Serving, transport: str) -> None:
    """A client may refuse a response over 4 MiB, and would take a success for a failure."""
    with serving() as server:
        server.outcome = rejected("x" * (5 << 20), items=1)
        heard = send(transport, server.addresses[transport], PAYLOAD)
    assert heard.word == "success"
    assert heard.size < 4 << 20
    assert heard.response.partial_success.rejected_spans == 1
    assert heard.response.partial_success.error_message.startswith("xxx")


def test_s4_an_empty_request_succeeds(serving: Serving, transport: str) -> None:
    """It holds nothing that could be lost, and a client must not try it again."""
    with serving() as server:
        heard = send(transport, server.addresses[transport], b"")
        assert heard.word == "success"
        assert not heard.response.HasField("partial_success")
        assert export(transport, server.addresses[transport], []) is SUCCESS
        assert server.seen == []


def test_s4_an_empty_request_in_json_succeeds(serving: Serving) -> None:
    """The same, as `{}`."""
    with serving() as server:
        assert send_json(server, b"{}").word == "success"
        assert server.seen == []


# -- what goes back ---------------------------------------------------------------------------


def test_s5_full_success_leaves_partial_success_unset(serving: Serving, transport: str) -> None:
    """A client that looks at the field takes its presence for something to report."""
    with serving() as server:
        heard = send(transport, server.addresses[transport], PAYLOAD)
        assert heard.word == "success"
        assert not heard.response.HasField("partial_success")
        assert export(transport, server.addresses[transport], spans(2)) is SUCCESS


@pytest.mark.parametrize(
    ("signal", "field"),
    [
        (Signal.TRACES, "rejected_spans"),
        (Signal.LOGS, "rejected_log_records"),
        (Signal.METRICS, "rejected_data_points"),
        (Signal.PROFILES, "rejected_profiles"),
    ],
)
def test_s6_partial_success_counts_what_was_refused(
    serving: Serving, transport: str, signal: Signal, field: str
) -> None:
    """The sender counts what it lost, and does not send the rest again."""
    with serving() as server:
        server.outcome = rejected("too old", items=1)
        heard = send(transport, server.addresses[transport], two_of(signal), signal=signal)
    assert heard.word == "success"
    assert getattr(heard.response.partial_success, field) == 1
    assert "too old" in heard.response.partial_success.error_message


def two_of(signal: Signal) -> bytes:
    """A request with two items."""
    if signal is Signal.TRACES:
        return spans_of([1, 2]).to_bytes()
    if signal is Signal.LOGS:
        return logs([1, 2]).to_bytes()
    request: Any = signal.names.request()
    if signal is Signal.METRICS:
        metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
        for number in (1, 2):
            metric.gauge.data_points.add(as_int=number)
    else:
        request.dictionary.string_table.append("")
        scope = request.resource_profiles.add().scope_profiles.add()
        for number in (1, 2):
            scope.profiles.add(profile_id=bytes([number]) * 16)
    payload: bytes = request.SerializeToString()
    return payload


def test_s6_one_bad_record_costs_one_record(serving: Serving, transport: str) -> None:
    """The good ones are taken; the text says where the bad one was."""
    request = spans_of([1, 2, 3]).message
    request.resource_spans[0].scope_spans[0].spans[1].trace_id = b"short"
    with serving() as server:
        heard = send(transport, server.addresses[transport], request.SerializeToString())
        assert [ids_of(data) for data in server.seen] == [[1, 3]]
    assert heard.response.partial_success.rejected_spans == 1
    assert "spans[1].trace_id" in heard.response.partial_success.error_message


def test_s6_the_sdk_takes_partial_success_for_success(serving: Serving, transport: str) -> None:
    """It sends once, and what was refused is refused."""
    with serving() as server:
        server.outcome = rejected("two are bad", items=2)
        assert export(transport, server.addresses[transport], spans(4)) is SUCCESS
        assert server.memory.attempts == 1


def test_s7_a_warning_rejects_nothing(serving: Serving, transport: str) -> None:
    """A destination may have something to say although it took everything."""
    with serving() as server:
        server.outcome = Outcome(Kind.DELIVERED, warning="use v2")
        heard = send(transport, server.addresses[transport], PAYLOAD)
        assert export(transport, server.addresses[transport], spans(2)) is SUCCESS
    assert heard.word == "success"
    partial = heard.response.partial_success
    assert (partial.rejected_spans, partial.error_message) == (0, "use v2")


def test_s8_a_failure_is_unavailable_with_a_time_when_known(
    serving: Serving, transport: str
) -> None:
    """RetryInfo and Retry-After keep senders from hammering who asked for a pause."""
    with serving() as server:
        server.outcome = failed("the backend is down", retry_after=7)
        heard = send(transport, server.addresses[transport], PAYLOAD)
        assert (heard.word, heard.wait) == ("unavailable", 7)
        assert heard.status is not None
        assert "the backend is down" in heard.status.message
        server.outcome = failed("the backend is down")
        heard = send(transport, server.addresses[transport], PAYLOAD)
        assert (heard.word, heard.wait) == ("unavailable", None)


def test_s8_the_sdk_sends_again_what_failed(serving: Serving, transport: str) -> None:
    """The same data comes again, without a word to the program that made it."""
    with serving() as server:
        outcomes = iter([failed("down", retry_after=1)])
        server.decide = lambda data: next(outcomes, server.outcome)
        assert export(transport, server.addresses[transport], spans(2)) is SUCCESS
        assert server.memory.attempts == 2
        assert [span.name for span in server.memory.records()] == ["s0", "s1"]


def test_s8_bad_data_is_invalid_and_says_which_field(serving: Serving, transport: str) -> None:
    """The sender's people must find the fault; a retry can never succeed."""
    request = spans_of([1]).message
    request.resource_spans[0].scope_spans[0].spans[0].trace_id = b"short"
    with serving() as server:
        heard = send(transport, server.addresses[transport], request.SerializeToString())
        assert (heard.word, heard.wait) == ("invalid", None)
        assert "spans[0].trace_id" in heard.violations[0].field
        heard = send(transport, server.addresses[transport], b"\xff\xff not OTLP")
        assert heard.word == "invalid"
        assert heard.violations
        assert server.seen == []


def test_s8_the_sdk_gives_up_what_is_bad(serving: Serving, transport: str) -> None:
    """One attempt, and FAILURE."""
    with serving() as server:
        server.outcome = rejected("unknown tenant")
        assert export(transport, server.addresses[transport], spans(2)) is FAILURE
        assert server.memory.attempts == 1


@pytest.mark.parametrize("outcome", [None, rejected("no"), rejected("some", items=1), failed("no")])
@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
def test_s9_the_answer_has_the_requests_type(
    serving: Serving, kind: str, outcome: Outcome | None
) -> None:
    """A client reads the answer with the decoder that it has, whatever the answer is."""
    request = spans_of([1, 2]).message
    body = encode(request).encode() if kind == JSON else request.SerializeToString()
    with serving() as server:
        server.outcome = outcome or server.outcome
        heard = post(
            server.addresses["http"], "/v1/traces", body, {"Content-Type": f"{kind}; charset=utf-8"}
        )
    assert heard.headers["content-type"] == kind


@pytest.mark.parametrize(
    ("method", "path", "given", "code", "answered_in"),
    [
        ("GET", "/v1/traces", {}, "405", PROTOBUF),
        ("PUT", "/v1/traces", {"Content-Type": JSON}, "405", PROTOBUF),
        ("POST", "/v1/nothing", {"Content-Type": PROTOBUF}, "404", PROTOBUF),
        ("POST", "/v1/traces", {"Content-Type": "text/plain"}, "415", PROTOBUF),
        ("POST", "/v1/traces", {}, "415", PROTOBUF),
        ("POST", "/v1/traces", {"Content-Type": JSON, "Content-Encoding": "br"}, "415", JSON),
        ("POST", "/v1/traces", {"Content-Type": JSON, "Content-Length": "70000"}, "413", JSON),
        (
            "POST",
            "/v1/traces",
            {"Content-Type": PROTOBUF, "Content-Length": "70000"},
            "413",
            PROTOBUF,
        ),
        ("POST", "/v1/traces", {"Content-Type": JSON}, "400", JSON),
        ("POST", "/v1/traces", {"Content-Type": PROTOBUF}, "400", PROTOBUF),
    ],
)
def test_s10_every_error_carries_a_status(
    serving: Serving, method: str, path: str, given: dict[str, str], code: str, answered_in: str
) -> None:
    """Plain text in an error is what clients cannot show to anybody."""
    with serving(max_request_size=60_000) as server:
        body = b"" if "Content-Length" in given else b"\xff no OTLP"
        heard = post(server.addresses["http"], path, body, given, method=method)
    assert (heard.code, heard.headers["content-type"]) == (code, answered_in)
    assert heard.status is not None
    assert heard.status.message
    assert heard.status.code


def test_s11_overload_is_told_with_a_time(serving: Serving, transport: str) -> None:
    """503 with Retry-After (UNAVAILABLE with RetryInfo): a sender knows when to come back."""
    with serving(
        admission=Admission(max_bytes=2 * len(PAYLOAD), retry_after=3), when_full="reject"
    ) as server:
        source = server.pipeline._assembly.sources[0]
        credit = source.admission.reserve(2 * len(PAYLOAD))
        heard = send(transport, server.addresses[transport], PAYLOAD)
        assert (heard.word, heard.wait) == ("unavailable", 3)
        assert heard.status is not None
        assert heard.status.message
        credit.release()
        assert send(transport, server.addresses[transport], PAYLOAD).word == "success"


def test_s11_the_sdk_comes_back_after_the_time(serving: Serving, transport: str) -> None:
    """The SDK's exporter gets its data in when there is room again, by itself."""
    with serving(
        admission=Admission(max_bytes=100_000, retry_after=1), when_full="reject"
    ) as server:
        source = server.pipeline._assembly.sources[0]
        credit = source.admission.reserve(100_000)
        server.pipeline.scheduler.schedule_relative(0.5, lambda *_: credit.release())
        assert export(transport, server.addresses[transport], spans(2)) is SUCCESS
        assert server.memory.items == 2


@pytest.mark.parametrize("signal", list(Signal))
def test_s12_every_signal_has_its_service_and_path(
    serving: Serving, transport: str, signal: Signal
) -> None:
    """A signal is known by its service or path and by nothing else."""
    paths = {
        Signal.TRACES: "/v1/traces",
        Signal.METRICS: "/v1/metrics",
        Signal.LOGS: "/v1/logs",
        Signal.PROFILES: "/v1development/profiles",
    }
    assert signal.names.http_path == paths[signal]
    with serving() as server:
        heard = send(transport, server.addresses[transport], two_of(signal), signal=signal)
        assert heard.word == "success"
        assert [(data.signal, data.items) for data in server.seen] == [(signal, 2)]


def test_s12_protobuf_and_json_share_a_port(serving: Serving) -> None:
    """One address to configure, whatever a sender speaks."""
    request = spans_of([1, 2, 3]).message
    with serving() as server:
        assert send("http", server.addresses["http"], request.SerializeToString()).word == "success"
        assert send_json(server, encode(request).encode()).word == "success"
        assert [ids_of(data) for data in server.seen] == [[1, 2, 3]] * 2
        assert json.loads(encode(server.seen[1].message)) == json.loads(encode(request))


def test_s12_it_listens_on_loopback_and_the_usual_ports_unless_told_otherwise() -> None:
    """Telemetry must not be open to a network by accident, and be where senders look for it."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(sources.otlp).parameters.items()
    }
    assert (defaults["grpc"], defaults["http"]) == ("127.0.0.1:4317", "127.0.0.1:4318")
