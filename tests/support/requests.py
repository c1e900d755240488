"""Requests as somebody else's encoder may write them, for property tests.

Written field by field and not by protobuf, so that they have what no encoder of ours would
produce and every decoder must take: fields out of order, a singular message twice, empty
messages, unknown fields at every level, records and texts of no bytes, a metric with two
members of its oneof.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from google.protobuf.descriptor import Descriptor
from hypothesis import strategies as st

from rxotlp.wire.signals import Signal

__all__ = ["PATHS", "field", "length", "lists", "records_of", "requests"]

PATHS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.PROFILES: ("resource_profiles", "scope_profiles", "profiles"),
}
_UNKNOWN = 900  # a field number that no OTLP message has
_WORDS = st.sampled_from(["", "a", "b", "GET /é", "x" * 130])


def varint(number: int) -> bytes:
    """A number as it is on the wire."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def length(number: int, value: bytes) -> bytes:
    """A field that has a length: text, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def field(descriptor: Descriptor, name: str, value: bytes) -> bytes:
    """The same, by the field's name."""
    return length(descriptor.fields_by_name[name].number, value)


def below(descriptor: Any, name: str) -> Any:
    """The message type of a field."""
    return descriptor.fields_by_name[name].message_type


@st.composite
def shuffled(draw: st.DrawFn, *parts: st.SearchStrategy[list[bytes]]) -> bytes:
    """A message of these lists of fields and some unknown ones, in any order."""
    fields = [item for part in parts for item in draw(part)]
    fields += draw(
        st.lists(st.binary(max_size=3).map(lambda value: length(_UNKNOWN, value)), max_size=1)
    )
    return b"".join(draw(st.permutations(fields)))


def attributes(descriptor: Any, name: str = "attributes") -> st.SearchStrategy[list[bytes]]:
    """Up to two attributes."""
    pair = below(descriptor, name)
    value = below(pair, "value")
    one = st.tuples(st.sampled_from(["service.name", "k"]), st.sampled_from(["a", "b", ""])).map(
        lambda both: field(
            descriptor,
            name,
            field(pair, "key", both[0].encode())
            + field(pair, "value", field(value, "string_value", both[1].encode())),
        )
    )
    return st.lists(one, max_size=2)


def headers(descriptor: Any, name: str) -> st.SearchStrategy[list[bytes]]:
    """A resource or scope: absent, empty, once or twice; and a schema URL, likewise."""
    message = shuffled(attributes(below(descriptor, name)))
    return st.tuples(
        st.lists(message.map(lambda value: field(descriptor, name, value)), max_size=2),
        texts(descriptor, "schema_url"),
    ).map(lambda both: both[0] + both[1])


def texts(descriptor: Any, name: str) -> st.SearchStrategy[list[bytes]]:
    """A text: absent, empty, once or twice."""
    return st.lists(_WORDS.map(lambda text: field(descriptor, name, text.encode())), max_size=2)


def status(span: Any) -> st.SearchStrategy[list[bytes]]:
    """A status in up to two pieces, which must merge."""
    message = below(span, "status")
    tag = varint(message.fields_by_name["code"].number << 3)
    code = st.integers(0, 2).map(lambda number: tag + varint(number))
    text = _WORDS.map(lambda word: field(message, "message", word.encode()))
    return st.lists((code | text).map(lambda piece: field(span, "status", piece)), max_size=2)


def number(descriptor: Any, name: str) -> st.SearchStrategy[list[bytes]]:
    """A fixed64 field or an enum: absent, once or twice."""
    found = descriptor.fields_by_name[name]
    if found.type in (found.TYPE_ENUM, found.TYPE_INT32):
        values = st.integers(0, 5).map(lambda value: varint(found.number << 3) + varint(value))
    else:
        values = st.binary(min_size=8, max_size=8).map(
            lambda value: varint(found.number << 3 | 1) + value
        )
    return st.lists(values, max_size=2)


def record(descriptor: Any) -> st.SearchStrategy[bytes]:
    """A span, data point, log record or profile."""
    names = descriptor.fields_by_name
    parts = []
    if "attributes" in names:
        parts.append(attributes(descriptor))
    for name in names:
        if name in ("name", "severity_text", "event_name", "original_payload_format"):
            parts.append(texts(descriptor, name))
        elif name in ("kind", "severity_number", "time_unix_nano", "as_int"):
            parts.append(number(descriptor, name))
    if "as_double" in names:
        doubles = st.sampled_from([bytes(8), b"\0\0\0\0\0\0\xf0?"])  # 0.0 and 1.0
        start = varint(names["as_double"].number << 3 | 1)
        parts.append(st.lists(doubles.map(lambda value: start + value), max_size=1))
    for name in ("trace_id", "profile_id"):
        if name in names:
            tag = descriptor.fields_by_name[name].number
            ids = st.binary(max_size=2).map(partial(length, tag))
            parts.append(st.lists(ids, max_size=2))
    if "status" in names:
        parts.append(status(descriptor))
    return st.just(b"") | shuffled(*parts)


@st.composite
def metric(draw: st.DrawFn, descriptor: Any) -> bytes:
    """A metric: no data, or a member of the oneof in up to three pieces, or two members."""
    pieces = []
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(["gauge", "sum", "sum", "histogram", "summary"]))
        data = below(descriptor, name)
        points = st.lists(
            record(below(data, "data_points")).map(partial(field, data, "data_points")),
            max_size=4,
        )
        flags = (
            number(data, "aggregation_temporality")
            if "aggregation_temporality" in data.fields_by_name
            else st.just([])
        )
        pieces.append(field(descriptor, name, draw(shuffled(points, flags))))
    return draw(
        shuffled(
            st.just(pieces),
            texts(descriptor, "name"),
            texts(descriptor, "unit"),
            attributes(descriptor, "metadata"),
        )
    )


@st.composite
def requests(draw: st.DrawFn, signal: Signal) -> bytes:
    """One export request."""
    groups, scopes, records = PATHS[signal]
    request: Any = signal.names.request.DESCRIPTOR
    group = below(request, groups)
    scope = below(group, scopes)
    single = below(scope, records)
    one = metric(single) if signal is Signal.METRICS else record(single)

    def children(parent: Any, name: str, child: st.SearchStrategy[bytes], most: int) -> Any:
        return st.lists(child.map(lambda value: field(parent, name, value)), max_size=most)

    one_scope = shuffled(headers(scope, "scope"), children(scope, records, one, 5))
    one_group = shuffled(headers(group, "resource"), children(group, scopes, one_scope, 3))
    beside: st.SearchStrategy[list[bytes]] = st.just([])
    if signal is Signal.PROFILES:
        dictionary = below(request, "dictionary")
        table = st.just([field(dictionary, "string_table", text) for text in (b"", b"cpu")])
        beside = table.map(lambda entries: [field(request, "dictionary", b"".join(entries))])
    return draw(shuffled(children(request, groups, one_group, 3), beside))


def lists(signal: Signal, request: Any) -> Iterable[tuple[Any, Any, Any, Any]]:
    """Group, scope, metric or None, and list of records, of a full message."""
    groups, scopes, records = PATHS[signal]
    for group in getattr(request, groups):
        for scope in getattr(group, scopes):
            if signal is not Signal.METRICS:
                yield group, scope, None, getattr(scope, records)
                continue
            for one in scope.metrics:
                kind = one.WhichOneof("data")
                yield group, scope, one, getattr(one, kind).data_points if kind else []


def records_of(signal: Signal, payload: bytes) -> list[tuple[Any, ...]]:
    """Every record with all that stands above it, by full messages: what nothing may change.

    Encoded, so that unknown fields count too.
    """
    request = signal.names.request.FromString(payload)
    found = []
    for group, scope, one, records in list(lists(signal, request)):
        above = []
        for node, children in ((group, PATHS[signal][1]), (scope, PATHS[signal][2])):
            header = type(node)()
            header.CopyFrom(node)
            header.ClearField(children)
            above.append(header.SerializeToString(deterministic=True))
        if one is not None:
            header = type(one)()
            header.CopyFrom(one)
            kind = one.WhichOneof("data")
            if kind:
                getattr(header, kind).ClearField("data_points")
            above.append(header.SerializeToString(deterministic=True))
        found += [(*above, item.SerializeToString(deterministic=True)) for item in records]
    return found
