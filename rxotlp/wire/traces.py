"""Deciding about spans by their trace ids and tracestates, without decoding them.

Trace ids are read from a projection in which a scope has *one* span: protobuf merges a message
that comes again, so all spans' trace ids are one list there, and no object is made for a span.
When each span begins with its trace id, as encoders write it, and there are as many as there
are spans, then each span has one, in order. Otherwise, or when a span has a tracestate, both
fields are read as columns.

A span that is kept with another tracestate gets that as one more occurrence of the field at
its end: of a text that comes twice on the wire the last counts, so nothing before it needs to
be touched, and a span that does not change keeps its bytes.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from google.protobuf.message import DecodeError as ProtobufDecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from rxotlp.wire import records
from rxotlp.wire.rows import Rows, Source
from rxotlp.wire.shapes import LAYOUTS, _Builder, read
from rxotlp.wire.signals import Signal

__all__ = ["Decide", "by_trace"]

# The trace ids and tracestates of a list of spans; what each is kept with, or None.
Decide = Callable[[Sequence[bytes], Sequence[str]], list[str | None]]

_LAYOUT = LAYOUTS[Signal.TRACES]
_ID_FIRST = bytes([Span.TRACE_ID_FIELD_NUMBER << 3 | 2, 16])  # a trace id of 16 bytes follows
_HEAD = itemgetter(slice(2))
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
        ids, before = _read(projection, rows)
        made: list[bytes] = []
        for raw, state, old in zip(rows.raw, decide(ids, before), before, strict=True):
            if state is None:
                continue
            if state == old:
                made.append(raw)
                continue
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


def _read(projection: Any, rows: Rows) -> tuple[Sequence[bytes], Sequence[str]]:
    """Trace id and tracestate of every span of a list."""
    if projection is not None:
        group, scope = rows.place
        merged = projection.groups[group].scopes[scope].merged
        count = len(rows.raw)
        if (
            len(merged.trace_id) == count
            and not merged.trace_state
            and set(map(_HEAD, rows.raw)) == {_ID_FIRST}
        ):
            return list(merged.trace_id), [""] * count
    return rows.column("trace_id"), rows.column("trace_state")


def _projection() -> Any:
    """The message type of a request of which only these fields are read."""
    span, scope, group = Span.DESCRIPTOR, ScopeSpans.DESCRIPTOR, ResourceSpans.DESCRIPTOR
    request: Any = Signal.TRACES.names.request.DESCRIPTOR
    builder = _Builder("traces")
    record = builder.add("Record")
    record.bytes(span.fields_by_name["trace_id"]).bytes(span.fields_by_name["trace_state"])
    scopes = builder.add("Scope").merged(scope.fields_by_name["spans"], record, "merged")
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
