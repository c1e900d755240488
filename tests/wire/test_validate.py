"""Validation: good requests pass untouched, bad records go alone and are named."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from rxotlp.errors import DecodeError
from rxotlp.wire.json import decode
from rxotlp.wire.signals import Signal
from rxotlp.wire.validate import Validated, validate
from rxotlp.wire.walker import encode_field

CORPUS = Path(__file__).parent.parent / "corpus"
BAD_TEXT = b"caf\xe9"  # Latin-1, the usual culprit


def trace_request(*, scopes: int = 2, spans: int = 3) -> Any:
    request: Any = ExportTraceServiceRequest()
    number = itertools.count(1)
    for resource_number in range(2):
        resource = request.resource_spans.add()
        resource.resource.attributes.add(key="host").value.string_value = f"host-{resource_number}"
        for _ in range(scopes):
            scope = resource.scope_spans.add()
            scope.scope.name = "lib"
            for _ in range(spans):
                n = next(number)
                span = scope.spans.add(
                    trace_id=bytes([n] * 16), span_id=bytes([n] * 8), name=f"span-{n:02}"
                )
                span.events.add(name="event")
                span.links.add(trace_id=b"l" * 16, span_id=b"l" * 8)
    return request


def metric_request() -> Any:
    request: Any = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    for name in ("a", "b"):
        metric = scope.metrics.add(name=f"metric-{name}", unit="ms")
        for value in range(3):
            point = metric.sum.data_points.add(as_int=value)
            point.attributes.add(key=f"key-{name}{value}")
            point.exemplars.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    return request


def spans_of(payload: bytes) -> list[str]:
    request: Any = ExportTraceServiceRequest.FromString(payload)
    return [s.name for r in request.resource_spans for c in r.scope_spans for s in c.spans]


def spoil(message: Message, text: bytes) -> bytes:
    """Encode, and break one text without changing any length."""
    payload = message.SerializeToString()
    assert payload.count(text) == 1
    return payload.replace(text, (BAD_TEXT + b"x" * len(text))[: len(text)])


@pytest.mark.parametrize(
    ("name", "signal", "items"),
    [
        ("trace.json", Signal.TRACES, 1),
        ("metrics.json", Signal.METRICS, 4),
        ("logs.json", Signal.LOGS, 1),
        ("events.json", Signal.LOGS, 1),
    ],
)
def test_the_examples_of_the_specification_are_good(name: str, signal: Signal, items: int) -> None:
    """A validator that refuses the specification's own data is no validator."""
    payload = decode(signal, (CORPUS / name).read_text()).SerializeToString()
    result = validate(signal, payload)
    assert result == Validated(payload, items)
    assert result.payload is payload


@pytest.mark.parametrize("signal", Signal)
def test_an_empty_request_is_good(signal: Signal) -> None:
    """S4: an empty request succeeds."""
    assert validate(signal, b"") == Validated(b"", 0)


def test_a_good_request_comes_back_as_the_object_it_was() -> None:
    """The common case must not copy a payload, let alone encode one."""
    payload = trace_request().SerializeToString()
    result = validate(Signal.TRACES, payload)
    assert result.payload is payload
    assert (result.accepted, result.rejected, result.errors) == (12, 0, ())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"trace_id": b"x" * 15}, "trace_id: 15 bytes, expected 16"),
        ({"trace_id": b""}, "trace_id: 0 bytes, expected 16"),
        ({"trace_id": bytes(16)}, "trace_id: 16 zero bytes, expected an id"),
        ({"span_id": b"x"}, "span_id: 1 byte, expected 8"),
        ({"span_id": bytes(8)}, "span_id: 8 zero bytes, expected an id"),
        ({"parent_span_id": b"x" * 9}, "parent_span_id: 9 bytes, expected 8 or none"),
        ({"links": [Span.Link(trace_id=b"x")]}, "links[1].trace_id: 1 byte, expected 16 or none"),
        ({"links": [Span.Link(span_id=b"xy")]}, "links[1].span_id: 2 bytes, expected 8 or none"),
    ],
)
def test_a_span_with_a_bad_id_goes_alone(change: dict[str, Any], says: str) -> None:
    """S6: one bad span must not cost its sender the 511 others."""
    request = trace_request()
    span = request.resource_spans[1].scope_spans[0].spans[2]
    good = [
        record.SerializeToString()
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for record in scope.spans
        if record is not span and record.name != span.name
    ]
    span.MergeFrom(Span(**change))
    for field, value in change.items():
        if value in (b"", None):
            span.ClearField(field)
    result = validate(Signal.TRACES, request.SerializeToString())
    assert (result.accepted, result.rejected, result.error_count) == (11, 1, 1)
    assert "resource_spans[1].scope_spans[0].spans[2]." + says in str(result.errors[0])
    assert result.errors[0].path == str(result.errors[0]).split(": ")[0]
    kept: Any = ExportTraceServiceRequest.FromString(result.payload)
    assert [
        record.SerializeToString()
        for resource in kept.resource_spans
        for scope in resource.scope_spans
        for record in scope.spans
    ] == good
    assert validate(Signal.TRACES, result.payload).payload is result.payload


def test_links_of_other_systems_are_let_through() -> None:
    """The tracing API keeps links with empty ids for their attributes; so do we."""
    request = trace_request()
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.links.add()
    span.links.add(trace_id=bytes(16), span_id=bytes(8))
    payload = request.SerializeToString()
    assert validate(Signal.TRACES, payload).payload is payload


def test_text_that_is_no_utf8_rejects_its_record_with_the_path() -> None:
    """S6: without the path the sender searches 12 spans, or 12,000."""
    request = trace_request()
    result = validate(Signal.TRACES, spoil(request, b"span-09"))
    assert (result.accepted, result.rejected) == (11, 1)
    path = "resource_spans[1].scope_spans[0].spans[2].name"
    assert result.errors[0].path == path
    assert str(result.errors[0]) == f"{path}: invalid UTF-8 at byte 3, expected UTF-8 text"
    assert "span-09" not in spans_of(result.payload)


def test_what_is_kept_is_kept_byte_for_byte() -> None:
    """Fields that we do not know belong to somebody, in records and around them."""
    unknown = encode_field(900, b"from the future")
    span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="n").SerializeToString() + unknown
    bad = Span(trace_id=b"t").SerializeToString()
    scope = encode_field(2, span) + unknown + encode_field(2, bad) + encode_field(2, span)
    payload = encode_field(1, encode_field(2, scope) + unknown) + unknown
    result = validate(Signal.TRACES, payload)
    scope = encode_field(2, span) + unknown + encode_field(2, span)
    assert result.payload == encode_field(1, encode_field(2, scope) + unknown) + unknown
    assert (result.accepted, result.rejected) == (2, 1)


@pytest.mark.parametrize(
    ("record", "path", "says"),
    [
        (b"\x2a\x05abc", "", "ends 2 bytes early"),
        (b"\x2a", "", "ends inside a number"),
        (b"\x07", "", "no field starts"),
        (encode_field(11, b"\x12\x09x"), "events[0]", "ends 8 bytes early"),
        (encode_field(9, encode_field(2, b"\x0a\x01\xff")), "attributes[0].value.string_value",
         "invalid UTF-8"),
    ],
)  # fmt: skip
def test_a_broken_record_is_rejected_as_deep_as_it_can_be_named(
    record: bytes, path: str, says: str
) -> None:
    """S6: its length is known, so its neighbours are safe, whatever is inside."""
    good = Span(trace_id=b"t" * 16, span_id=b"s" * 8).SerializeToString()
    scope = encode_field(2, good) + encode_field(2, good + record) + encode_field(2, good)
    result = validate(Signal.TRACES, encode_field(1, encode_field(2, scope)))
    assert (result.accepted, result.rejected) == (2, 1)
    where = "resource_spans[0].scope_spans[0].spans[1]" + (f".{path}" if path else "")
    assert result.errors[0].path == where
    assert says in str(result.errors[0])


def test_a_record_too_deep_only_inside_its_request_is_found() -> None:
    """Alone it parses; where it will be read next, inside a request, nobody can read it."""
    deep = b""
    for _ in range(48):  # an attribute value of lists of lists, 97 levels with the span
        deep = encode_field(5, encode_field(1, deep))
    bad = encode_field(9, encode_field(2, deep))
    Span.FromString(bad)
    scope = encode_field(2, bad)
    with pytest.raises(Exception, match="pars"):
        ExportTraceServiceRequest.FromString(encode_field(1, encode_field(2, scope)))
    result = validate(Signal.TRACES, encode_field(1, encode_field(2, scope)))
    assert (result.accepted, result.rejected) == (0, 1)
    assert "nested deeper than 100 levels" in str(result.errors[0])


def test_a_group_that_nobody_can_read_loses_its_records() -> None:
    """Spans of an unknown resource cannot be delivered; those of the next one can."""
    result = validate(Signal.TRACES, spoil(trace_request(), b"host-0"))
    assert (result.accepted, result.rejected, result.error_count) == (6, 6, 1)
    path = "resource_spans[0].resource.attributes[0].value.string_value"
    assert result.errors[0].path == path
    assert len(spans_of(result.payload)) == 6


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (b"\x0a\x05abc", ""),
        (b"\xff\xff", ""),
        (encode_field(1, b"\x12\x7f"), "resource_spans[0]"),
        (encode_field(1, encode_field(2, b"\x12\x7f")), "resource_spans[0].scope_spans[0]"),
    ],
)
def test_a_frame_that_cannot_be_cut_up_is_refused_whole(payload: bytes, path: str) -> None:
    """S8: nobody can say how much it held, so nobody may say that the rest was accepted."""
    with pytest.raises(DecodeError) as caught:
        validate(Signal.TRACES, payload)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path or 'the request'}: ")


def test_a_bad_data_point_is_rejected_alone() -> None:
    """S6: its metric keeps its name, its unit and its other points."""
    result = validate(Signal.METRICS, spoil(metric_request(), b"key-b1"))
    assert (result.accepted, result.rejected) == (5, 1)
    path = "resource_metrics[0].scope_metrics[0].metrics[1].sum.data_points[1].attributes[0].key"
    assert result.errors[0].path == path
    kept: Any = ExportMetricsServiceRequest.FromString(result.payload)
    metrics = kept.resource_metrics[0].scope_metrics[0].metrics
    assert [point.as_int for point in metrics[1].sum.data_points] == [0, 2]
    assert metrics[1].name == "metric-b"
    assert metrics[1].unit == "ms"


def test_an_exemplar_with_a_bad_id_rejects_its_point() -> None:
    """S6: exemplars carry trace ids too."""
    request = metric_request()
    metrics = request.resource_metrics[0].scope_metrics[0].metrics
    metrics[0].sum.data_points[2].exemplars[0].span_id = b"x" * 7
    result = validate(Signal.METRICS, request.SerializeToString())
    assert (result.accepted, result.rejected) == (5, 1)
    assert str(result.errors[0]).endswith(
        "metrics[0].sum.data_points[2].exemplars[0].span_id: 7 bytes, expected 8 or none"
    )


def test_a_bad_metric_header_rejects_its_points() -> None:
    """S6: a point without its metric's name says nothing."""
    result = validate(Signal.METRICS, spoil(metric_request(), b"metric-a"))
    assert (result.accepted, result.rejected) == (3, 3)
    assert result.errors[0].path == "resource_metrics[0].scope_metrics[0].metrics[0].name"
    kept: Any = ExportMetricsServiceRequest.FromString(result.payload)
    assert [m.name for m in kept.resource_metrics[0].scope_metrics[0].metrics] == ["metric-b"]


def test_a_metric_that_cannot_be_cut_up_is_rejected_with_what_was_found() -> None:
    """S6: its length is known, so the other metrics are safe."""
    request = metric_request()
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0].SerializeToString()
    for broken, found in ((metric + b"\x0a\x7f", 3), (b"\x0a\x7f", 1)):
        scope = encode_field(2, broken) + encode_field(2, metric)
        result = validate(Signal.METRICS, encode_field(1, encode_field(2, scope)))
        assert (result.accepted, result.rejected) == (3, found)
        assert result.errors[0].path == "resource_metrics[0].scope_metrics[0].metrics[0]"


def test_points_that_a_later_kind_of_data_replaces_were_never_sent() -> None:
    """A oneof on the wire twice: parsers keep the last, and so must the count."""
    gauge = encode_field(5, encode_field(1, b""))
    total = encode_field(7, encode_field(1, b"") + encode_field(1, b"\x0a\x7f"))
    metric = encode_field(1, b"m") + gauge + total
    result = validate(Signal.METRICS, encode_field(1, encode_field(2, encode_field(2, metric))))
    assert (result.accepted, result.rejected) == (1, 1)
    kept: Any = ExportMetricsServiceRequest.FromString(result.payload)
    assert len(kept.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points) == 1


def test_log_records_may_lack_ids_but_not_half_of_one() -> None:
    """Most logs belong to no trace; a cut-off id belongs to none that anybody can find."""
    request: Any = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.add(event_name="none")
    records.add(trace_id=b"t" * 15)
    records.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    result = validate(Signal.LOGS, request.SerializeToString())
    assert (result.accepted, result.rejected) == (2, 1)
    assert str(result.errors[0]) == (
        "resource_logs[0].scope_logs[0].log_records[1].trace_id: 15 bytes, expected 16 or none"
    )


def profile_request() -> Any:
    request: Any = ExportProfilesServiceRequest()
    request.dictionary.string_table.extend(["", "cpu"])
    profiles = request.resource_profiles.add().scope_profiles.add().profiles
    for _ in range(3):
        profiles.add(profile_id=b"p" * 16).sample_type.type_strindex = 1
    return request


def test_a_profile_that_refers_to_nothing_is_rejected_alone() -> None:
    """Accepted, it would fail the merge with other senders' profiles later on."""
    request = profile_request()
    payload = request.SerializeToString()
    assert validate(Signal.PROFILES, payload).payload is payload
    profiles = request.resource_profiles[0].scope_profiles[0].profiles
    profiles[1].samples.add().stack_index = 4
    profiles[2].profile_id = b"p"
    result = validate(Signal.PROFILES, request.SerializeToString())
    assert (result.accepted, result.rejected) == (1, 2)
    prefix = "resource_profiles[0].scope_profiles[0].profiles"
    assert [error.path for error in result.errors] == [
        f"{prefix}[1].samples[0].stack_index",
        f"{prefix}[2].profile_id",
    ]
    kept: Any = ExportProfilesServiceRequest.FromString(result.payload)
    assert kept.dictionary == request.dictionary


def test_a_bad_dictionary_refuses_the_request() -> None:
    """S8: every profile in it may refer to what is broken."""
    request = profile_request()
    with pytest.raises(DecodeError) as caught:
        validate(Signal.PROFILES, request.SerializeToString().replace(b"cpu", BAD_TEXT[1:]))
    assert caught.value.path == "dictionary.string_table[1]"
    request.dictionary.link_table.add()
    request.dictionary.link_table.add(trace_id=b"x")
    with pytest.raises(DecodeError, match=r"dictionary.link_table\[1\].trace_id: 1 byte"):
        validate(Signal.PROFILES, request.SerializeToString())


def test_errors_are_described_up_to_a_limit_and_counted_beyond_it() -> None:
    """S3: a million bad spans must not become an answer of a hundred megabytes."""
    request = trace_request()
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                span.trace_id = b"x"
    result = validate(Signal.TRACES, request.SerializeToString(), max_errors=3)
    assert (result.accepted, result.rejected, result.error_count) == (0, 12, 12)
    assert len(result.errors) == 3
    assert result.payload == b""
    with pytest.raises(ValueError, match=r"validate\(max_errors=0\): expected 1 or more"):
        validate(Signal.TRACES, b"", max_errors=0)


@pytest.mark.parametrize(
    ("signal", "request_"),
    [
        (Signal.TRACES, trace_request(scopes=1, spans=2)),
        (Signal.METRICS, metric_request()),
        (Signal.PROFILES, profile_request()),
    ],
)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_arrives_what_is_kept_is_good(
    signal: Signal, request_: Message, data: st.DataObject
) -> None:
    """A receiver passes on only what the next hop can read, and fails with one kind of error."""
    payload = bytearray(request_.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload) - 1))
        if data.draw(st.booleans()):
            payload[at] = data.draw(st.integers(0, 255))
        else:
            del payload[at : at + data.draw(st.integers(1, 3))]
    try:
        result = validate(signal, bytes(payload))
    except DecodeError:
        return
    assert len(result.errors) == result.error_count
    assert validate(signal, result.payload) == Validated(result.payload, result.accepted)


def test_groups_of_old_protobuf_are_skipped_and_kept() -> None:
    """An unknown field may be of any wire type, groups within groups included."""
    group = b"\xa3\x06\x08\x01\xab\x06\xac\x06\xa4\x06"  # 100 { 1: 1, 101 { } }
    good = Span(trace_id=b"t" * 16, span_id=b"s" * 8).SerializeToString() + group
    scope = group + encode_field(2, good) + encode_field(2, b"")
    result = validate(Signal.TRACES, encode_field(1, encode_field(2, scope)))
    assert (result.accepted, result.rejected) == (1, 1)
    assert result.payload == encode_field(1, encode_field(2, group + encode_field(2, good)))
    for broken in (b"\xa3\x06", b"\xa3\x06\xac\x06"):  # never ends; ends as another
        with pytest.raises(DecodeError):
            validate(Signal.TRACES, encode_field(1, broken))


@pytest.mark.parametrize(
    ("number", "name", "value", "says"),
    [
        (6, "bucket_counts", b"x" * 9, "9 bytes, expected a multiple of 8"),
        (7, "explicit_bounds", b"x" * 4, "4 bytes, expected a multiple of 8"),
    ],
)
def test_packed_numbers_that_are_cut_off_are_named(
    number: int, name: str, value: bytes, says: str
) -> None:
    """S6: half a bucket would shift every bucket after it."""
    histogram = encode_field(1, encode_field(number, value))
    metric = encode_field(9, histogram + encode_field(1, b""))
    result = validate(Signal.METRICS, encode_field(1, encode_field(2, encode_field(2, metric))))
    assert (result.accepted, result.rejected) == (1, 1)
    assert str(result.errors[0]).endswith(f"histogram.data_points[0].{name}: {says}")


def test_packed_numbers_of_varying_length_are_named_too() -> None:
    """S6: an exponential histogram's buckets are varints."""
    buckets = encode_field(2, b"\x01\xff")
    metric = encode_field(10, encode_field(1, encode_field(8, buckets)))
    result = validate(Signal.METRICS, encode_field(1, encode_field(2, encode_field(2, metric))))
    assert (result.accepted, result.rejected) == (0, 1)
    assert result.errors[0].path.endswith("exponential_histogram.data_points[0].positive"
                                          ".bucket_counts")  # fmt: skip
