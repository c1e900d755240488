"""Deciding about spans by their trace ids and tracestates, without decoding them.

Both are read from a projection, which holds nothing else of a span. A span that is kept with
another tracestate gets that as one more occurrence of the field at its end: of a text that
comes twice on the wire the last counts, so nothing before it needs to be touched, and a span
that does not change keeps its bytes.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from google.protobuf.message import DecodeError as ProtobufDecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from rxotlp.wire import records
from rxotlp.wire.rows import Rows, Source
from rxotlp.wire.shapes import LAYOUTS, _Builder, read
from rxotlp.wire.signals import Signal

__all__ = ["Decide", "by_trace"]

# Of a span each: its trace id and tracestate; the tracestate it is kept with, or None.
Decide = Callable[[Sequence[tuple[bytes, str]]], list[str | None]]

_LAYOUT = LAYOUTS[Signal.TRACES]
_TAG = _LAYOUT.columns[""]["trace_state"].tag


def by_trace(payload: bytes, decide: Decide) -> tuple[bytes, int] | None:
    """The request with the spans that `decide` keeps, and their number.

    Args:
        payload: an encoded traces request.
        decide: asked of a whole list of spans.

    Returns:
        `payload` itself, the same object, when nothing changes; None when no span stays.

    Raises:
        DecodeError: the request, or a span, cannot be read.
    """
    shape = read(_LAYOUT.shape, Signal.TRACES, payload)
    try:
        projection = _PROJECTION.FromString(payload)
    except ProtobufDecodeError:
        projection = None  # the columns say which span it is
    suffixes: dict[str, bytes] = {}
    emptied: set[tuple[int, ...]] = set()
    items = 0
    changed = False
    for rows in Source(Signal.TRACES, payload, shape).walk():
        spans = _read(projection, rows)
        states = decide(spans)
        made: list[bytes] = []
        for raw, state, (_, before) in zip(rows.raw, states, spans, strict=True):
            if state == before:
                made.append(raw)
            elif state is not None:
                suffix = suffixes.get(state)
                if suffix is None:
                    suffixes[state] = suffix = _occurrence(state)
                made.append(raw + suffix)
        items += len(made)
        if made != rows.raw:
            changed = True
            if not made:
                emptied.add(rows.place)
            rows.put(made)
    if not changed:
        return payload, items
    if not items:
        return None
    if emptied:
        records._prune(shape, (), _LAYOUT.depth, emptied)
    return shape.SerializeToString(), items


def _read(projection: Any, rows: Rows) -> list[tuple[bytes, str]]:
    """Trace id and tracestate of every span of a list."""
    if projection is None:
        return list(zip(rows.column("trace_id"), rows.column("trace_state"), strict=True))
    group, scope = rows.place
    return list(map(_FIELDS, projection.groups[group].scopes[scope].records))


_FIELDS = attrgetter("trace_id", "trace_state")


def _projection() -> Any:
    """The message type of a request of which only these fields are read."""
    span, scope, group = Span.DESCRIPTOR, ScopeSpans.DESCRIPTOR, ResourceSpans.DESCRIPTOR
    request: Any = Signal.TRACES.names.request.DESCRIPTOR
    builder = _Builder("traces")
    record = builder.add("Record")
    record.scalar(span.fields_by_name["trace_id"])
    record.scalar(span.fields_by_name["trace_state"])
    scopes = builder.add("Scope").messages(scope.fields_by_name["spans"], record, "records")
    groups = builder.add("Group").messages(group.fields_by_name["scope_spans"], scopes, "scopes")
    builder.add("Request").messages(request.fields_by_name["resource_spans"], groups, "groups")
    return builder.classes("Request")[0]


_PROJECTION = _projection()


def _occurrence(state: str) -> bytes:
    """The field as it is on the wire."""
    value = state.encode()
    size = len(value)
    length = bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return _TAG + bytes(length) + bytes([size]) + value
