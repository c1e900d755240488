"""The SDK's spans to the bytes of a request, equal to what its own encoder makes of them."""

from collections.abc import Sequence
from struct import Struct
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from rxotlp.sdk import encoding_reference as reference
from rxotlp.sdk.encoding_groups import Groups, framed, plain
from rxotlp.wire.pairs import Pairs
from rxotlp.wire.writing import Texts, tag, varint

__all__ = ["encode_spans"]

_groups = Groups(ExportTraceServiceRequest, ("resource_spans", "scope_spans", "spans"))

_TRACE_ID = tag(Span, "trace_id") + b"\x10"
_SPAN_ID = tag(Span, "span_id") + b"\x08"
_PARENT_ID = tag(Span, "parent_span_id") + b"\x08"
_START = tag(Span, "start_time_unix_nano")
_END = tag(Span, "end_time_unix_nano")
_STATUS = tag(Span, "status")
_EVENT = tag(Span, "events")
_EVENT_TIME = tag(Span.Event, "time_unix_nano")
_EVENT_DROPPED = tag(Span.Event, "dropped_attributes_count")
_LINK = tag(Span, "links")
_LINK_TRACE_ID = tag(Span.Link, "trace_id") + b"\x10"
_LINK_SPAN_ID = tag(Span.Link, "span_id") + b"\x08"
_LINK_DROPPED = tag(Span.Link, "dropped_attributes_count")
_DROPPED_ATTRIBUTES = tag(Span, "dropped_attributes_count")
_DROPPED_EVENTS = tag(Span, "dropped_events_count")
_DROPPED_LINKS = tag(Span, "dropped_links_count")

# By the value of the SDK's enumeration; OTLP's kinds begin with one for "unspecified".
_KINDS = {kind.value: tag(Span, "kind") + varint(kind.value + 1) for kind in SpanKind}
_CODES = {code.value: tag(Status, "code") + varint(code.value) for code in StatusCode}
_STATUSES = {code: framed(_STATUS, body) for code, body in _CODES.items()}

_KNOWN = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE = _KNOWN | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_fixed32 = Struct("<I").pack
_FLAGS = tuple(tag(Span, "flags") + _fixed32(flags) for flags in (_KNOWN, _REMOTE))
_LINK_FLAGS = tuple(tag(Span.Link, "flags") + _fixed32(flags) for flags in (_KNOWN, _REMOTE))

_names = Texts(Span, "name")
_states = Texts(Span, "trace_state")
_event_names = Texts(Span.Event, "name")
_messages = Texts(Status, "message")
_attributes = Pairs(Span)
_event_attributes = Pairs(Span.Event)
_link_attributes = Pairs(Span.Link)

_fixed64 = Struct("<Q").pack
_times = Struct("<cQcQ").pack


def encode_spans(spans: Sequence[Any]) -> bytes:
    """An encoded `ExportTraceServiceRequest`.

    Raises:
        Exception: the SDK's encoder raised it for a span.
    """
    return _groups.encode(spans, _span, reference.span)


def _span(span: Any) -> bytes:
    if type(span) is ReadableSpan:  # whose properties copy; a subclass may say something else
        attributes, events, links = span._attributes, span._events, span._links
    else:
        attributes, events, links = span.attributes, span.events, span.links
    context = span.get_span_context()
    parent = span.parent
    status = span.status
    message = status.description
    code = status.status_code._value_
    parts = [
        _TRACE_ID,
        context.trace_id.to_bytes(16, "big"),
        _SPAN_ID,
        context.span_id.to_bytes(8, "big"),
        _names[span.name],
        _KINDS[span.kind._value_],
        _times(_START, span.start_time, _END, span.end_time),
        framed(_STATUS, _CODES[code] + _messages[message]) if message else _STATUSES[code],
    ]
    if attributes is not None:
        _attributes.add(plain(attributes), parts)
    if parent:
        parts += (_PARENT_ID, parent.span_id.to_bytes(8, "big"), _FLAGS[bool(parent.is_remote)])
    else:
        parts.append(_FLAGS[0])
    if state := context.trace_state:
        parts.append(_states[",".join([f"{key}={value}" for key, value in state.items()])])
    if events:
        parts += map(_event, events)
    if links:
        parts += map(_link, links)
    if dropped := span.dropped_attributes:
        parts += (_DROPPED_ATTRIBUTES, varint(dropped))
    if dropped := span.dropped_events:
        parts += (_DROPPED_EVENTS, varint(dropped))
    if dropped := span.dropped_links:
        parts += (_DROPPED_LINKS, varint(dropped))
    return b"".join(parts)


def _event(event: Any) -> bytes:
    parts = [_event_names[event.name], _EVENT_TIME, _fixed64(event.timestamp)]
    if (attributes := event.attributes) is not None:
        _event_attributes.add(plain(attributes), parts)
    if dropped := event.dropped_attributes:
        parts += (_EVENT_DROPPED, varint(dropped))
    return framed(_EVENT, b"".join(parts))


def _link(link: Any) -> bytes:
    context = link.context
    parts = [
        _LINK_TRACE_ID,
        context.trace_id.to_bytes(16, "big"),
        _LINK_SPAN_ID,
        context.span_id.to_bytes(8, "big"),
        _LINK_FLAGS[bool(context.is_remote)],
    ]
    if (attributes := link.attributes) is not None:
        _link_attributes.add(plain(attributes), parts)
    if dropped := link.dropped_attributes:
        parts += (_LINK_DROPPED, varint(dropped))
    return framed(_LINK, b"".join(parts))
