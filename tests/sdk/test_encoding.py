"""Spans and log records: whatever the SDK emits is encoded as its own encoder would."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs as peer_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as peer_spans
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from rxotlp.sdk import encoding_reference
from rxotlp.sdk.encoding import LOGS, TRACES
from rxotlp.sdk.encoding_logs import encode_logs
from rxotlp.sdk.encoding_spans import encode_spans

# Few keys, and values that are equal without being the same: what is kept must not mix them.
TWINS = st.sampled_from([0, 1, 2, -1, True, False, 0.0, -0.0, 1.0, 2.0, "1", "", b"1", None])
KEYS = st.sampled_from(["http.route", "a", "ключ"]) | st.text(min_size=1, max_size=8)
SCALARS = (
    TWINS
    | st.text(max_size=12)
    | st.sampled_from(["x" * 127, "x" * 128, "é" * 3000])
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.binary(max_size=12)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=6,
)
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=5)
BOUNDED = st.builds(
    lambda attributes, maxlen: BoundedAttributes(attributes=attributes, maxlen=maxlen),
    ATTRIBUTES,
    st.sampled_from([None, 2]),
)
TIMES = st.integers(0, 2**64 - 1)
STATES = st.lists(
    st.tuples(st.sampled_from(["ot", "vendor", "x@y"]), st.sampled_from(["th:8", "1"])),
    max_size=3,
    unique_by=lambda pair: pair[0],
).map(TraceState)
CONTEXTS = st.builds(
    SpanContext,
    trace_id=st.integers(0, 2**128 - 1),
    span_id=st.integers(0, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.sampled_from([TraceFlags(0), TraceFlags(1)]),
    trace_state=STATES,
)
URLS = st.sampled_from([None, "", "https://opentelemetry.io/schemas/1.40.0"])
RESOURCES = st.builds(Resource, st.just({"service.name": "shop"}) | ATTRIBUTES, URLS)
SCOPES = st.none() | st.builds(
    InstrumentationScope,
    st.sampled_from(["", "shop", "库"]),
    st.sampled_from([None, "", "1.2"]),
    URLS,
    st.none() | ATTRIBUTES,
)
STATUSES = st.builds(Status, st.sampled_from(StatusCode)) | st.builds(
    Status, st.just(StatusCode.ERROR), st.sampled_from(["", "broken", "sehr kaputt: ü"])
)


def bounded(values: Sequence[Any], most: int | None) -> Any:
    """As a span keeps its events and links."""
    return BoundedList.from_seq(most, values)


EVENTS = st.builds(Event, st.sampled_from(["exception", ""]), st.none() | BOUNDED, TIMES)
LINKS = st.builds(Link, CONTEXTS, st.none() | BOUNDED)
SPANS = st.builds(
    ReadableSpan,
    name=st.sampled_from(["GET /", ""]) | st.text(max_size=9),
    context=CONTEXTS,
    parent=st.none() | CONTEXTS,
    resource=RESOURCES,
    attributes=st.none() | BOUNDED | ATTRIBUTES,
    events=st.builds(bounded, st.lists(EVENTS, max_size=3), st.sampled_from([None, 1])),
    links=st.builds(bounded, st.lists(LINKS, max_size=3), st.sampled_from([None, 1])),
    kind=st.sampled_from(SpanKind),
    status=STATUSES,
    start_time=st.none() | TIMES,
    end_time=st.none() | TIMES,
    instrumentation_scope=SCOPES,
)
RECORDS = st.builds(
    LogRecord,
    timestamp=st.none() | TIMES,
    observed_timestamp=TIMES,
    context=CONTEXTS.map(lambda context: set_span_in_context(NonRecordingSpan(context))),
    severity_text=st.sampled_from([None, "", "WARN"]),
    severity_number=st.none() | st.sampled_from(SeverityNumber),
    body=VALUES,
    attributes=st.none() | BOUNDED | ATTRIBUTES,
    event_name=st.sampled_from([None, "", "login"]),
)
LOG_RECORDS = st.builds(ReadableLogRecord, RECORDS, RESOURCES, SCOPES)
QUICKLY = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def same(ours: bytes, peer: Any) -> None:
    """Equal messages; compared encoded, so that NaN is NaN and -0.0 is not 0.0."""
    message = type(peer).FromString(ours)
    if message.SerializeToString(deterministic=True) != peer.SerializeToString(deterministic=True):
        assert message == peer
        raise AssertionError(f"they differ by a float's sign: {message} {peer}")


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be encoded by the SDK's encoder."""

    def never(record: object) -> bytes:
        raise AssertionError(f"the SDK's encoder was asked for {record!r}")

    for name in encoding_reference.__all__:
        monkeypatch.setattr(encoding_reference, name, never)


@QUICKLY
@given(st.lists(SPANS, max_size=4), st.randoms())
def test_spans_are_encoded_as_the_sdk_encodes_them(spans: list[Any], random: Any) -> None:
    """Whoever reads them cannot tell which encoder it was."""
    spans += spans[:2]  # the same resource and scope again, after others
    random.shuffle(spans)
    same(encode_spans(spans), peer_spans(spans))


@QUICKLY
@given(st.lists(LOG_RECORDS, max_size=4), st.randoms())
def test_logs_are_encoded_as_the_sdk_encodes_them(records: list[Any], random: Any) -> None:
    """Whoever reads them cannot tell which encoder it was."""
    records += records[:2]
    random.shuffle(records)
    same(encode_logs(records), peer_logs(records))


def program(provider: TracerProvider) -> None:
    """Spans with all that a program can say of them."""
    tracer = provider.get_tracer("shop", "1.0", "https://schema", {"team": "checkout"})
    other = provider.get_tracer("bare")
    remote = SpanContext(5, 6, True, TraceFlags(1), TraceState([("ot", "th:8"), ("v", "1")]))
    context = set_span_in_context(NonRecordingSpan(remote))
    with tracer.start_as_current_span("server", context, kind=SpanKind.SERVER) as outer:
        outer.set_attributes({"n": 1, "yes": True, "share": 0.5, "list": ["a", "b"], "raw": b"\0"})
        outer.set_attributes({str(index): index for index in range(20)})
        with other.start_as_current_span("client", kind=SpanKind.CLIENT, links=[Link(remote)]):
            pass
        link = Link(outer.get_span_context(), {"why": "fan-in", "deep": {"a": [1, {"b": None}]}})
        with (
            contextlib.suppress(KeyError),
            tracer.start_as_current_span("failing", links=[link] * 3),
        ):
            failing = get_current_span()
            failing.add_event("first", {"order": 1})
            failing.add_event("second")
            raise KeyError("gone")
        other.start_span("done").set_status(StatusCode.OK)


def test_a_real_program_needs_no_message_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick way is the way of everything that the SDK makes, not of simple cases."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(
        resource=Resource.create({"service.name": "shop"}, "https://schema"),
        span_limits=SpanLimits(
            max_events=2, max_links=2, max_span_attributes=10, max_event_attributes=2
        ),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(SimpleSpanProcessor(memory))
    program(provider)
    spans = memory.get_finished_spans()
    peer = peer_spans(spans)
    forbid(monkeypatch)
    same(encode_spans(spans), peer)
    failing = next(span for span in spans if span.name == "failing")
    assert failing.dropped_events
    assert failing.dropped_links
    assert any(span.dropped_attributes for span in spans)


def test_a_real_programs_logs_need_no_message_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise: with and without a span around them, with every kind of body."""
    memory: Any = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
    log = provider.get_logger("shop", "1.0", "https://schema", {"team": "checkout"})
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("shop")
    bodies: list[Any] = ["text", 1, 1.5, True, None, b"raw", ["a", 1], {"a": {"b": [None]}}, "", {}]
    for body in bodies:
        log.emit(LogRecord(body=body, severity_number=SeverityNumber.WARN, event_name="e"))
        with tracer.start_as_current_span("around"):
            log.emit(LogRecord(timestamp=5, body=body, attributes={"n": 1, "d": {"x": [1, "y"]}}))
    records = memory.get_finished_logs()
    assert len(records) == 2 * len(bodies)
    peer = peer_logs(records)
    forbid(monkeypatch)
    same(encode_logs(records), peer)


NOTHING_KNOWN: Any = object()


class Fussy(str):
    """A text of a type of its own, as `StrEnum` makes them."""


class Lazy(Mapping[str, Any]):
    """Attributes that are no dict."""

    def __getitem__(self, key: str) -> Any:
        return {"a": 1}[key]

    def __iter__(self) -> Any:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


def span(**fields: Any) -> ReadableSpan:
    """A span with these fields."""
    usual: dict[str, Any] = {"name": "one", "context": SpanContext(1, 2, False)}
    usual |= {"resource": Resource({}), "start_time": 1, "end_time": 2}
    return ReadableSpan(**usual | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"attributes": {"a": Fussy("x"), "b": StatusCode}},
        {"attributes": Lazy()},
        {"attributes": {"big": 2**63, "fine": 1}},
        {"attributes": {"a": "\ud800", "fine": 1}},
        {"attributes": {"deep": [{"a": 2**80}], "fine": 1}},
        {"attributes": {"a": object(), "fine": True}},
        {"attributes": {1: "a key that is no text", "fine": 1}},
        {"attributes": {"a": range(3), "b": bytearray(b"12"), "fine": 1}},
        {"name": None},
        {"status": None},
        {"start_time": None, "end_time": None},
        {"events": [Event("e", {"a": NOTHING_KNOWN, "fine": 1}, 1)]},
        {"links": [Link(SpanContext(1, 2, True), {"a": 2**64, "fine": 1})]},
        {"resource": Resource({"fine": "1"}), "instrumentation_scope": None},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_what_is_unusual_is_left_to_the_sdks_encoder(
    fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It drops what it cannot encode and says so; we drop the same and say no less."""
    spans = [span(), span(**fields), span()]
    peer = peer_spans(spans)
    told = len(caplog.records)
    caplog.clear()
    same(encode_spans(spans), peer)
    assert len(caplog.records) == told


def test_a_resource_or_scope_that_is_unusual_is_left_to_it_too() -> None:
    """Of a resource's attributes, one that cannot be encoded costs only itself."""
    resource = Resource({"service.name": "shop", "big": 2**70})
    scope = InstrumentationScope("shop", attributes={"big": 2**70, "fine": 1})
    spans = [span(resource=resource, instrumentation_scope=scope)]
    same(encode_spans(spans), peer_spans(spans))


@pytest.mark.parametrize(
    "fields",
    [{"kind": 1}, {"name": 3}, {"context": None}, {"context": SpanContext(1, 2**65, True)}],
)
def test_a_span_that_nobody_can_encode_costs_only_itself(fields: dict[str, Any]) -> None:
    """Its batch goes, and it is counted as refused."""
    encoded = TRACES.encode([span(), span(**fields), span()])
    assert (encoded.items, encoded.refused) == (2, 1)
    request = peer_spans([span(), span()])
    read: Any = type(request).FromString(encoded.payload)
    assert sum(len(scopes.spans) for group in read.resource_spans for scopes in group.scope_spans)


def test_a_log_record_that_nobody_can_encode_costs_only_itself() -> None:
    """As for spans."""

    def record(body: Any) -> ReadableLogRecord:
        return ReadableLogRecord(LogRecord(body=body), Resource({}), None)

    encoded = LOGS.encode([record("a"), record(object()), record("b")])
    assert (encoded.items, encoded.refused) == (2, 1)


def test_an_empty_batch_is_an_empty_request() -> None:
    """Nothing is no resource."""
    assert encode_spans([]) == encode_logs([]) == b""


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The SDK logs each value that it cannot take."""
    caplog.set_level(logging.ERROR)
