"""Each trap of working on bytes, as one fixed example.

Every one of these corrupts data when a shallow decoder is written the obvious way.
"""

from collections.abc import Callable
from itertools import cycle
from typing import Any

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from rxotlp.errors import DecodeError
from rxotlp.wire import group, profiles, records, split
from rxotlp.wire.signals import Signal
from tests.support.requests import field, length, lists

SPANS: Any = Signal.TRACES.names.request.DESCRIPTOR
GROUP: Any = SPANS.fields_by_name["resource_spans"].message_type
SCOPE: Any = GROUP.fields_by_name["scope_spans"].message_type
SPAN: Any = SCOPE.fields_by_name["spans"].message_type
METRIC: Any = Metric.DESCRIPTOR
RESOURCE: Any = GROUP.fields_by_name["resource"].message_type
UNKNOWN = length(900, b"from a later version")


def full(payload: bytes, signal: Signal = Signal.TRACES) -> Any:
    """The request as a full message."""
    return signal.names.request.FromString(payload)


def span(name: str) -> bytes:
    """A span as a field of its scope."""
    return field(SCOPE, "spans", field(SPAN, "name", name.encode()))


def resource(**attributes: str) -> bytes:
    """A resource as a field of its group."""
    message = Resource()
    for key, value in attributes.items():
        message.attributes.add(key=key).value.string_value = value
    return field(GROUP, "resource", message.SerializeToString())


def request(*inside: bytes, spans: bytes = span("a") + span("b")) -> bytes:
    """One group with these fields and one scope."""
    scope = field(GROUP, "scope_spans", spans)
    return field(SPANS, "resource_spans", b"".join(inside) + scope)


def halves(payload: bytes, signal: Signal = Signal.TRACES) -> list[Any]:
    """Both parts of a request of two records."""
    parts = split.split(signal, payload, max_items=1)
    assert [items for _, items in parts] == [1, 1]
    return [full(part, signal) for part, _ in parts]


def alternate() -> Callable[[Any], bool]:
    """A predicate that keeps every other record, beginning with the first."""
    flags = cycle([True, False])
    return lambda view: next(flags)


def by_service(payload: bytes) -> list[Any]:
    """Keys of a request, by the attribute "service"."""
    parts = group.group_by(Signal.TRACES, payload, lambda found: found.attributes.get("service"))
    return [key for key, _ in parts]


def test_a_resource_that_is_sent_twice_is_merged() -> None:
    """Protobuf merges a singular message that comes twice; taking the last loses attributes."""
    payload = request(resource(service="shop"), resource(host="node-1"))
    whole = full(payload).resource_spans[0].resource
    assert len(whole.attributes) == 2
    for part in halves(payload):
        assert part.resource_spans[0].resource == whole
    assert by_service(payload) == ["shop"]
    assert [dict(found.attributes) for found in group.resources(Signal.TRACES, payload)] == [
        {"service": "shop", "host": "node-1"}
    ]
    view = next(records.views(Signal.TRACES, payload))
    assert dict(view.resource.attributes) == {"service": "shop", "host": "node-1"}


def test_a_scope_that_is_sent_twice_is_merged() -> None:
    """The same one level down."""
    scope: Any = SCOPE.fields_by_name["scope"].message_type
    twice = field(SCOPE, "scope", field(scope, "name", b"lib")) + field(
        SCOPE, "scope", field(scope, "version", b"2")
    )
    payload = request(spans=span("a") + twice + span("b"))
    for part in halves(payload):
        found = part.resource_spans[0].scope_spans[0].scope
        assert (found.name, found.version) == ("lib", "2")
    view = next(records.views(Signal.TRACES, payload))
    assert (view.scope.name, view.scope.version) == ("lib", "2")


def test_a_resource_that_is_empty_but_there_stays_there() -> None:
    """A field copied when it has a value is lost when it has none, and presence is data."""
    payload = request(field(GROUP, "resource", b""))
    kept = records.filter_records(Signal.TRACES, payload, lambda view: view.name == "a")
    assert kept is not None
    for part in [*halves(payload), full(kept[0])]:
        assert part.resource_spans[0].HasField("resource")
    for part in halves(request()):
        assert not part.resource_spans[0].HasField("resource")


def test_unknown_fields_stay_at_every_level() -> None:
    """A gateway that is older than its senders must not cut off what it does not know."""
    message = field(RESOURCE, "attributes", b"") + UNKNOWN
    payload = (
        request(
            UNKNOWN,
            field(GROUP, "resource", message),
            spans=UNKNOWN + field(SCOPE, "spans", UNKNOWN) + span("b"),
        )
        + UNKNOWN
    )
    kept = records.filter_records(Signal.TRACES, payload, lambda view: not view.name)
    mapped, _ = records.map_records(Signal.TRACES, payload, lambda message: None)
    assert kept is not None
    first, second = (part for part, _ in split.split(Signal.TRACES, payload, max_items=1))
    assert first.count(UNKNOWN) == kept[0].count(UNKNOWN) == mapped.count(UNKNOWN) == 5
    assert second.count(UNKNOWN) == 4  # all but the first record's own
    two = payload + request(resource(service="other"))
    parts = group.group_by(Signal.TRACES, two, lambda found: found.attributes.get("service"))
    assert [part.count(UNKNOWN) for _, part in parts] == [5, 1]


def test_fields_in_any_order_are_read() -> None:
    """Nothing promises that a resource comes before its spans."""
    scope = field(GROUP, "scope_spans", span("a") + span("b"))
    payload = field(SPANS, "resource_spans", scope + resource(service="shop") + scope)
    parts = split.split(Signal.TRACES, payload, max_items=3)
    assert [items for _, items in parts] == [3, 1]
    for part, _ in parts:
        assert by_service(part) == ["shop"]


def test_a_text_above_the_records_need_not_be_utf_8_to_be_moved() -> None:
    """At this tier nobody has checked; whoever looks at the text finds out."""
    payload = request(field(GROUP, "schema_url", b"\xff"))
    parts = split.split(Signal.TRACES, payload, max_items=1)
    assert all(field(GROUP, "schema_url", b"\xff") in part for part, _ in parts)
    with pytest.raises(DecodeError, match=r"resource_spans\[0\]\.resource"):
        group.resources(Signal.TRACES, payload)


@pytest.mark.parametrize("signal", list(Signal), ids=lambda signal: signal.value)
def test_a_request_without_groups_is_empty_and_no_error(signal: Signal) -> None:
    """S4: an empty request succeeds."""
    assert split.count(signal, b"") == 0
    assert split.split(signal, b"", max_items=1, max_bytes=1) == [(b"", 0)]
    assert group.group_by(signal, b"", lambda resource: None) == []
    assert records.filter_records(signal, b"", lambda view: False) == (b"", 0)
    assert records.map_records(signal, b"", lambda message: None) == (b"", 0)
    assert list(records.views(signal, b"")) == []


def test_records_of_no_bytes_are_records() -> None:
    """An empty span is a span: it counts, it is split and it can be dropped."""
    payload = request(spans=field(SCOPE, "spans", b"") * 3)
    assert split.count(Signal.TRACES, payload) == 3
    assert [items for _, items in split.split(Signal.TRACES, payload, max_items=2)] == [2, 1]
    assert [view.name for view in records.views(Signal.TRACES, payload)] == [""] * 3


def metrics(*data: bytes) -> bytes:
    """One metric called requests with these fields besides."""
    origin = length(1, b"origin")  # a KeyValue with a key only
    metric = field(METRIC, "name", b"requests") + field(METRIC, "unit", b"{call}")
    metric += field(METRIC, "metadata", origin) + b"".join(data)
    request: Any = Signal.METRICS.names.request.DESCRIPTOR
    group_type: Any = request.fields_by_name["resource_metrics"].message_type
    scope_type: Any = group_type.fields_by_name["scope_metrics"].message_type
    scope = field(scope_type, "metrics", metric)
    return field(request, "resource_metrics", field(group_type, "scope_metrics", scope))


def member(name: str, points: int, flags: bytes = b"") -> bytes:
    """A member of a metric's oneof with empty points."""
    data: Any = METRIC.fields_by_name[name].message_type
    return field(METRIC, name, field(data, "data_points", b"") * points + flags)


def only_metric(request: Any) -> Any:
    """The one metric of a request."""
    ((_, _, metric, _),) = lists(Signal.METRICS, request)
    return metric


def test_a_metric_keeps_its_oneof_name_unit_and_metadata_when_its_points_are_split() -> None:
    """Points of a sum that arrive as points of nothing, or not monotonic, are other data."""
    monotonic = bytes([3 << 3, 1])  # Sum.is_monotonic
    cumulative = bytes([2 << 3, 2])  # Sum.aggregation_temporality
    payload = metrics(member("sum", 2, monotonic + cumulative))
    kept = records.filter_records(Signal.METRICS, payload, alternate())
    assert kept is not None
    for part in [*halves(payload, Signal.METRICS), full(kept[0], Signal.METRICS)]:
        metric = only_metric(part)
        assert (metric.name, metric.unit) == ("requests", "{call}")
        assert [pair.key for pair in metric.metadata] == ["origin"]
        assert metric.WhichOneof("data") == "sum"
        assert metric.sum.is_monotonic
        assert metric.sum.aggregation_temporality == 2
        assert len(metric.sum.data_points) == 1


def test_of_two_members_of_a_metrics_oneof_the_last_counts() -> None:
    """Counting the first one's points too would book data that no backend ever sees."""
    payload = metrics(member("gauge", 3), member("sum", 2))
    assert len(only_metric(full(payload, Signal.METRICS)).sum.data_points) == 2
    assert split.count(Signal.METRICS, payload) == 2
    for part in halves(payload, Signal.METRICS):
        assert only_metric(part).WhichOneof("data") == "sum"


def test_a_metrics_member_that_is_sent_twice_is_merged() -> None:
    """Its points add up, and its flags come from whichever piece has them."""
    payload = metrics(member("sum", 1, bytes([3 << 3, 1])), member("sum", 1))
    assert split.count(Signal.METRICS, payload) == 2
    for part in halves(payload, Signal.METRICS):
        assert only_metric(part).sum.is_monotonic


def test_of_two_values_of_a_point_the_last_counts() -> None:
    """A view must not find a number that the full message has forgotten."""
    value = NumberDataPoint(as_int=7).SerializeToString()
    value += NumberDataPoint(as_double=1.5).SerializeToString()
    gauge: Any = METRIC.fields_by_name["gauge"].message_type
    payload = metrics(field(METRIC, "gauge", field(gauge, "data_points", value) * 5))
    for view in records.views(Signal.METRICS, payload):
        assert (view.as_int, view.as_double) == (0, 1.5)


def profile_request(word: str) -> bytes:
    """Two profiles whose sample type is `word`."""
    made: Any = Signal.PROFILES.names.request()
    made.dictionary.string_table.extend(["", word])
    scope = made.resource_profiles.add().scope_profiles.add()
    for _ in range(2):
        scope.profiles.add().sample_type.type_strindex = 1
    payload: bytes = made.SerializeToString()
    return payload


def words(request: Any) -> list[str]:
    """The sample types of a request's profiles, resolved."""
    return [
        request.dictionary.string_table[profile.sample_type.type_strindex]
        for *_, found in lists(Signal.PROFILES, request)
        for profile in found
    ]


def test_each_part_of_a_profiles_request_has_the_dictionary() -> None:
    """A profile is indices into it and means nothing without."""
    for part in halves(profile_request("cpu"), Signal.PROFILES):
        assert words(part) == ["cpu"]
    kept = records.filter_records(Signal.PROFILES, profile_request("cpu"), alternate())
    assert kept is not None
    assert words(full(kept[0], Signal.PROFILES)) == ["cpu"]


def test_profiles_are_never_merged_by_joining_their_bytes() -> None:
    """Joined, the second request's profiles would point into the first one's dictionary."""
    joined = profile_request("cpu") + profile_request("heap")
    assert words(full(joined, Signal.PROFILES)) == ["cpu"] * 4  # wrong: this is the trap
    merged = profiles.merge([profile_request("cpu"), profile_request("heap")])
    assert words(full(merged, Signal.PROFILES)) == ["cpu", "cpu", "heap", "heap"]


def test_a_status_that_is_sent_twice_is_merged_in_a_view() -> None:
    """A sampler that takes the last piece misses the error in the first."""
    error = field(SPAN, "status", bytes([3 << 3, 2]))
    text = field(SPAN, "status", length(2, b"broken"))
    payload = request(spans=field(SCOPE, "spans", error + text) * 5)
    for view in records.views(Signal.TRACES, payload):
        assert (view.status.code, view.status.message) == (2, "broken")


@pytest.mark.parametrize(
    "bad",
    [length(5, b"name")[:-2], bytes([7 << 3 | 3]), b"\xff", bytes([5 << 3 | 2, 18])],
    ids=["cut off", "a group left open", "no field", "longer by just the mark after it"],
)
@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_bad_record_never_lends_its_neighbours_fields(bad: bytes, at: int) -> None:
    """Columns decode many records as one; one that runs over its end must be found out."""
    spans = [field(SPAN, "name", b"good") + length(15, bytes([3 << 3, 2])) for _ in range(5)]
    spans[at] = bad
    payload = request(spans=b"".join(field(SCOPE, "spans", found) for found in spans))
    for name in ("name", "status", "trace_id", "kind"):
        with pytest.raises(DecodeError, match=rf"spans\[{at}\]") as caught:
            [getattr(view, name) for view in records.views(Signal.TRACES, payload)]
        assert caught.value.path == f"resource_spans[0].scope_spans[0].spans[{at}]"


def test_a_name_that_is_no_utf_8_is_an_error_with_its_path() -> None:
    """At this tier nobody has checked it before."""
    spans = span("a") * 4 + field(SCOPE, "spans", field(SPAN, "name", b"\xff"))
    with pytest.raises(DecodeError, match=r"spans\[4\]"):
        [view.name for view in records.views(Signal.TRACES, request(spans=spans))]


def test_an_unreadable_request_names_the_message_it_should_be() -> None:
    """The one line that its sender sees."""
    for look in (
        lambda: split.count(Signal.LOGS, b"\xff"),
        lambda: split.split(Signal.LOGS, b"\xff", max_items=1),
        lambda: group.resources(Signal.LOGS, b"\xff"),
        lambda: records.views(Signal.LOGS, b"\xff"),
    ):
        with pytest.raises(
            DecodeError, match=r"logs: 1 bytes cannot be read as an ExportLogsServiceRequest"
        ):
            look()
