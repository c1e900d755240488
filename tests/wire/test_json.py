"""OTLP/JSON: the specification's examples, its rules J1-J6, and what a hostile sender may try."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList
from opentelemetry.proto.metrics.v1.metrics_pb2 import SummaryDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from rxotlp.errors import DecodeError
from rxotlp.wire.json import decode, decode_message, encode
from rxotlp.wire.json_build import Unusual, build
from rxotlp.wire.json_read import read_message
from rxotlp.wire.signals import Signal

CORPUS = Path(__file__).parent.parent / "corpus"
EXAMPLES = {
    "trace.json": Signal.TRACES,
    "metrics.json": Signal.METRICS,
    "logs.json": Signal.LOGS,
    "events.json": Signal.LOGS,
}
SPAN = '{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}'
AT_SPAN = "resource_spans[0].scope_spans[0].spans[0]"


def span_of(json_span: str) -> Any:
    message: Any = decode(Signal.TRACES, SPAN % json_span)
    return message.resource_spans[0].scope_spans[0].spans[0]


def integers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high) | st.sampled_from([low, high])


SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(allow_nan=False),  # NaN equals nothing
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 5),
    FieldDescriptor.CPPTYPE_STRING: st.text(max_size=5),
}


@st.composite
def messages(draw: st.DrawFn, cls: type[Message]) -> Message:
    """Any message of a class: every field may be absent, odd or repeated."""

    def fill(message: Message, depth: int) -> None:
        fields = [f for f in message.DESCRIPTOR.fields if depth < 8 or f.message_type is None]
        if not fields:
            return
        for field in draw(st.lists(st.sampled_from(fields), max_size=4, unique=True)):
            value = getattr(message, field.name)
            if field.message_type is not None:
                if field.is_repeated:
                    for _ in range(draw(st.integers(1, 2))):
                        fill(value.add(), depth + 1)
                else:
                    value.SetInParent()
                    fill(value, depth + 1)
                continue
            scalar = (
                st.binary(max_size=17)
                if field.type == FieldDescriptor.TYPE_BYTES
                else SCALARS[field.cpp_type]
            )
            if field.is_repeated:
                value.extend(draw(st.lists(scalar, max_size=3)))
            else:
                setattr(message, field.name, draw(scalar))

    message = cls()
    fill(message, 0)
    return message


@pytest.mark.parametrize("signal", Signal)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_message_survives_the_round_trip_on_one_line(
    signal: Signal, data: st.DataObject
) -> None:
    """Whatever one hop writes the next must read as the same, and a line is a record in a file."""
    message = data.draw(messages(signal.names.request))
    text = encode(message)
    assert "\n" not in text
    assert decode(signal, text) == message
    assert decode(signal, text.encode()) == message


@pytest.mark.parametrize("signal", Signal)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_fast_reader_reads_as_the_careful_one_or_not_at_all(
    signal: Signal, data: st.DataObject
) -> None:
    """Two readers that differ would make what a sender says depend on how it is spelled."""
    tree = json.loads(encode(data.draw(messages(signal.names.request))))
    spoil(tree, data.draw)
    try:
        fast = build(signal.names.request, copy.deepcopy(tree))
    except Unusual:
        return
    careful = signal.names.request()
    read_message(careful, tree)
    assert fast == careful


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_fast_reader_reads_what_senders_write(name: str) -> None:
    """Otherwise it would be there for nothing."""
    build(EXAMPLES[name].names.request, json.loads((CORPUS / name).read_text()))


ODD: list[Any] = [None, True, False, 0, 1, -1, 2**31, 2**64, 1.0, 1e400, "", "1", "٣", "1_0", " 1"]
ODD += ["NaN", "ff", "AA==", "\ud800", "SPAN_KIND_SERVER", [], {}, [None], [1], [[]], {"key": 1}]
ODD += [{"stringValue": "a", "intValue": "1"}, {"value": {"boolValue": 1}, "key": "k", "x": 1}]


def spoil(tree: Any, draw: Callable[..., Any]) -> None:
    """Put something odd into a JSON tree, in one place or none."""
    while isinstance(tree, dict | list) and tree:
        at = draw(st.sampled_from(sorted(tree) if isinstance(tree, dict) else range(len(tree))))
        if not isinstance(tree[at], dict | list) or draw(st.integers(0, 9)) == 0:
            tree[at] = draw(st.sampled_from(ODD))
            return
        tree = tree[at]


def test_unknown_fields_are_left_out_wherever_they_are() -> None:
    """J4: they have no JSON name; a newer sender's request must still be written."""
    span = ExportTraceServiceRequest.FromString(
        b"\x0a\x0b\x12\x09\x12\x07\x2a\x01n\xfa\xff\x07\x00" + b"\xa3\x06\xa4\x06"
    )
    assert encode(span) == '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"n"}]}]}]}'


def test_a_zero_below_zero_is_written() -> None:
    """protobuf takes -0.0 for set, and so does the next hop."""
    point = SummaryDataPoint(sum=-0.0)
    assert encode(point) == '{"sum":-0.0}'
    assert encode(SummaryDataPoint(sum=0.0)) == "{}"


def test_long_and_repeated_attributes_are_written_whole() -> None:
    """Attributes take a short cut by their size, and are written once for equal bytes."""
    for size in (0, 1, 60, 119, 120, 127, 128, 300, 20000):
        pair = KeyValue(key="k" * size, value=AnyValue(string_value="\n" * size))
        nested = KeyValue(key="n", value=AnyValue(kvlist_value=KeyValueList(values=[pair, pair])))
        bare = [KeyValue(), KeyValue(key="k" * size), KeyValue(key="v", value=AnyValue())]
        resource = Resource(attributes=[pair, nested, *bare, pair])
        assert decode_message(Resource, encode(resource)) == resource


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_specification_are_read_and_written_alike(name: str) -> None:
    """J1 J2 J3 J5: the specification's own text is the first thing a sender tries.

    Apart from the case of ids, what we write equals the example key for key.
    """
    text = (CORPUS / name).read_text()
    message = decode(EXAMPLES[name], text)
    assert message.ByteSize() > 100
    assert decode(EXAMPLES[name], encode(message)) == message
    assert normal(json.loads(encode(message))) == normal(json.loads(text))


def normal(value: Any) -> Any:
    """JSON in one spelling: ids in lower case, numbers as floats, no zeros."""
    if isinstance(value, list):
        return [normal(item) for item in value]
    if isinstance(value, dict):
        lowered = {
            key: item.lower() if key.endswith(("traceId", "SpanId", "spanId")) else normal(item)
            for key, item in value.items()
        }
        return {key: item for key, item in lowered.items() if item != 0}
    if isinstance(value, str) and value.lstrip("-").isdigit():
        return float(value)
    return float(value) if type(value) is int else value


def test_ids_are_hex_in_either_case_and_other_bytes_base64() -> None:
    """J1: base64 ids are what every general protobuf JSON library gets wrong."""
    span = span_of(
        '{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174",'
        '"parentSpanId":"EEE19b7ec3c1b173","links":[{"traceId":"00ff","spanId":"FF00"}],'
        '"attributes":[{"key":"k","value":{"bytesValue":"+/+/AA=="}}]}'
    )
    assert span.trace_id == bytes.fromhex("5b8efff798038103d269b633813fc60c")
    assert span.span_id.hex() == "eee19b7ec3c1b174"
    assert span.parent_span_id.hex() == "eee19b7ec3c1b173"
    assert span.links[0].trace_id == b"\x00\xff"
    assert span.links[0].span_id == b"\xff\x00"
    assert span.attributes[0].value.bytes_value == b"\xfb\xff\xbf\x00"
    written = encode(span)
    assert '"traceId":"5b8efff798038103d269b633813fc60c"' in written
    assert '"bytesValue":"+/+/AA=="' in written


def test_ids_of_log_records_and_exemplars_are_hex_too() -> None:
    """J1: the rule holds for trace_id and span_id in every message."""
    logs: Any = decode(
        Signal.LOGS,
        '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"0a","spanId":"0B"}]}]}]}',
    )
    record = logs.resource_logs[0].scope_logs[0].log_records[0]
    assert (record.trace_id, record.span_id) == (b"\n", b"\x0b")
    metrics: Any = decode(
        Signal.METRICS,
        '{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":'
        '[{"exemplars":[{"traceId":"0a","spanId":"0B"}]}]}}]}]}]}',
    )
    point = metrics.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    assert point.exemplars[0].trace_id == b"\n"


def test_base64_is_read_url_safe_and_without_padding() -> None:
    """J1: protobuf's JSON mapping allows both spellings, and senders use both."""
    span = span_of('{"attributes":[{"value":{"bytesValue":"-_-_AA"}}]}')
    assert span.attributes[0].value.bytes_value == b"\xfb\xff\xbf\x00"


def test_enums_are_integers_and_names_are_refused() -> None:
    """J2: a name accepted here would make us write what others must refuse."""
    assert span_of('{"kind":2}').kind == 2
    assert span_of('{"kind":77}').kind == 77  # a newer protocol's value is kept
    assert '"kind":2' in encode(span_of('{"kind":2}'))
    for name in ('"SPAN_KIND_SERVER"', '"2"'):
        with pytest.raises(DecodeError, match="expected an integer; OTLP/JSON has no names"):
            span_of(f'{{"kind":{name}}}')


def test_only_lower_camel_case_keys_are_known_and_unknown_ones_are_ignored() -> None:
    """J3 J4: original field names are not valid keys, and a newer sender must not fail."""
    span = span_of('{"trace_id":"ff","name":"a","noSuchField":{"x":[1]},"start_time_unix_nano":5}')
    assert span.name == "a"
    assert span.trace_id == b""
    assert span.start_time_unix_nano == 0


def test_64_bit_integers_are_written_as_strings_and_read_as_both() -> None:
    """J5: JavaScript cannot hold them as numbers."""
    assert span_of('{"startTimeUnixNano":"18446744073709551615"}').start_time_unix_nano == 2**64 - 1
    span = span_of('{"startTimeUnixNano":1544712660000000000,"droppedLinksCount":3}')
    assert span.start_time_unix_nano == 1544712660000000000
    assert encode(span) == '{"startTimeUnixNano":"1544712660000000000","droppedLinksCount":3}'


@pytest.mark.parametrize(("text", "value"), [('"NaN"', math.nan), ('"-Infinity"', -math.inf)])
def test_numbers_that_json_lacks_are_strings(text: str, value: float) -> None:
    """A gauge that is NaN must not make a document that no parser reads."""
    read: Any = decode_message(AnyValue, f'{{"doubleValue":{text}}}')
    assert str(read.double_value) == str(value)
    assert encode(AnyValue(double_value=value)) == f'{{"doubleValue":{text}}}'


def test_a_value_that_is_set_to_nothing_stays_set() -> None:
    """An empty string attribute is a string, not a missing value; null is a missing field."""
    read: Any = decode_message(AnyValue, '{"stringValue":""}')
    assert read.WhichOneof("value") == "string_value"
    assert encode(read) == '{"stringValue":""}'
    empty: Any = decode_message(AnyValue, '{"arrayValue":{}}')
    assert empty.WhichOneof("value") == "array_value"
    null: Any = decode_message(AnyValue, '{"stringValue":null,"intValue":"1"}')
    assert null.int_value == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1 column 1"),
        ('{"resourceSpans":\n [}', "line 2 column 3"),
        ("{} {}", "line 1 column 4"),
        ("[]", "a list, expected an object"),
        ('{"x":NaN}', "NaN is no JSON"),
        ('{"x":' + "1" * 5000 + "}", "malformed JSON"),
        ("[" * 200_000, "nested too deeply"),
    ],
)
def test_malformed_json_says_where(text: str, says: str) -> None:
    """J6: "bad request" without a place is a debugging session at the sender's."""
    with pytest.raises(DecodeError) as caught:
        decode(Signal.TRACES, text)
    assert says in str(caught.value)
    assert caught.value.path == ""


def test_bytes_that_are_no_utf8_say_where() -> None:
    """J6: JSON is UTF-8; guessing another encoding would corrupt text silently."""
    with pytest.raises(DecodeError, match="invalid UTF-8 at byte 2"):
        decode(Signal.TRACES, b'{"\xff":1}')


@pytest.mark.parametrize(
    ("span", "path"),
    [
        ('{"traceId":"abc"}', "trace_id"),
        ('{"traceId":7}', "trace_id"),
        ('{"name":7}', "name"),
        ('{"name":"\\ud800"}', "name"),
        ('{"startTimeUnixNano":"-1"}', "start_time_unix_nano"),
        ('{"startTimeUnixNano":1.5}', "start_time_unix_nano"),
        ('{"startTimeUnixNano":"1_0"}', "start_time_unix_nano"),
        ('{"startTimeUnixNano":true}', "start_time_unix_nano"),
        ('{"droppedLinksCount":4294967296}', "dropped_links_count"),
        ('{"kind":2147483648}', "kind"),
        ('{"status":[]}', "status"),
        ('{"events":{}}', "events"),
        ('{"events":[{},null]}', "events[1]"),
        ('{"events":[{},{"name":1}]}', "events[1].name"),
        ('{"attributes":[{"value":{"bytesValue":"a"}}]}', "attributes[0].value.bytes_value"),
        ('{"attributes":[{"value":{"boolValue":1}}]}', "attributes[0].value.bool_value"),
        ('{"attributes":[{"value":{"doubleValue":1e999}}]}', "attributes[0].value.double_value"),
        ('{"attributes":[{"value":{"doubleValue":"x"}}]}', "attributes[0].value.double_value"),
        (
            '{"attributes":[{"value":{"stringValue":"a","intValue":"1"}}]}',
            "attributes[0].value.int_value",
        ),
    ],
)
def test_a_bad_field_is_named_with_its_path(span: str, path: str) -> None:
    """J6: among 500 spans only the path finds the one at fault."""
    with pytest.raises(DecodeError) as caught:
        span_of(span)
    assert caught.value.path == f"{AT_SPAN}.{path}"
    assert str(caught.value).startswith(f"{AT_SPAN}.{path}: ")
    assert (
        "expected" in str(caught.value)
        or "surrogate" in str(caught.value)
        or ("range" in str(caught.value))
    )


def test_what_json_lets_in_protobuf_can_read() -> None:
    """A value nested deeper than protobuf's limit would be a poison for every hop after us."""

    def nested(levels: int) -> str:
        value = '{"arrayValue":{"values":[' * levels + "{}" + "]}}" * levels
        return SPAN % f'{{"attributes":[{{"value":{value}}}]}}'

    deepest = max(n for n in range(60) if _reads(nested(n)))
    message = decode(Signal.TRACES, nested(deepest))
    assert ExportTraceServiceRequest.FromString(message.SerializeToString()) == message
    with pytest.raises(DecodeError, match="nested deeper than 100 levels"):
        decode(Signal.TRACES, nested(deepest + 1))
    assert deepest > 40


def _reads(text: str) -> bool:
    try:
        decode(Signal.TRACES, text)
    except DecodeError:
        return False
    return True


def test_an_empty_object_is_an_empty_request() -> None:
    """S4: an empty request succeeds, so it must be readable."""
    assert decode(Signal.LOGS, "{}") == ExportLogsServiceRequest()
    assert decode(Signal.METRICS, b"{}") == ExportMetricsServiceRequest()
    assert encode(ExportMetricsServiceRequest()) == "{}"
