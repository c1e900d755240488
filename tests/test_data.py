"""`TelemetryData`: what an element promises whoever holds it."""

import copy
import gc
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from rxotlp.data import Signal, TelemetryData
from rxotlp.errors import DecodeError

WRONG: Any = "text"
ONE: Any = 1


def logs(*texts: str, service: str = "shop", **metadata: str) -> TelemetryData:
    """A log record for each text."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    scope = group.scope_logs.add()
    for text in texts:
        scope.log_records.add(severity_text=text).body.string_value = text
    return TelemetryData.from_message(request, metadata=metadata)


def texts(data: TelemetryData) -> list[str]:
    """The records' texts."""
    return [record.severity_text for record in data.records()]


def test_bytes_leave_as_the_same_object_that_came() -> None:
    """Nothing is decoded or copied on the way of an element that nobody changes."""
    payload = b"\xff is no OTLP, and nobody has looked"
    assert TelemetryData.from_bytes(Signal.LOGS, payload).to_bytes() is payload


def test_other_buffers_are_copied() -> None:
    """A transport may reuse its buffer the moment it has handed it over."""
    buffer = bytearray(logs("a").to_bytes())
    data = TelemetryData.from_bytes(Signal.LOGS, memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert texts(data) == ["a"]


def test_json_and_messages_come_and_go() -> None:
    """The three forms that OTLP has say the same."""
    data = logs("a", "b")
    again = TelemetryData.from_json(Signal.LOGS, data.to_json())
    assert again.message == data.message
    assert again.message is not again.message  # what somebody does to one harms nobody


def test_items_are_counted_when_asked_for_and_size_never_decodes() -> None:
    """An element that is only passed on costs nothing."""
    bad = TelemetryData.from_bytes(Signal.LOGS, b"\xff")
    assert bad.size == 1
    with pytest.raises(DecodeError, match="logs: 1 bytes"):
        bad.items  # noqa: B018
    assert logs("a", "b").items == 2


def test_an_element_cannot_be_changed() -> None:
    """Branches and threads share elements."""
    data = logs("a", tenant="t")
    for name in ("items", "metadata", "signal", "size"):
        with pytest.raises(AttributeError):
            setattr(data, name, None)
    with pytest.raises(TypeError):
        data.metadata["tenant"] = "x"  # type: ignore[index]
    with pytest.raises(AttributeError):
        data.other = 1  # type: ignore[attr-defined]


def test_a_repr_shows_no_telemetry() -> None:
    """Elements end up in logs, and their data does not belong there."""
    data = logs("secret", token="secret")
    assert repr(data) == f"<TelemetryData logs: {data.size} bytes>"
    assert data.items == 1
    assert repr(data) == f"<TelemetryData logs: 1 log record, {data.size} bytes>"


def test_a_merge_copies_nothing_before_the_bytes_are_asked_for() -> None:
    """A batch of many elements is made in the time of a list."""
    first, second = logs("a"), logs("b", "c")
    merged = TelemetryData.merge([first, second])
    assert merged._chunks[0] is first.to_bytes()
    assert merged.size == first.size + second.size
    assert merged.to_bytes() == first.to_bytes() + second.to_bytes()
    assert merged.to_bytes() is merged.to_bytes()
    assert texts(merged) == ["a", "b", "c"]
    assert merged.items == 3
    assert TelemetryData.merge([first]) is first


def test_a_merge_keeps_the_metadata_that_all_have_in_common() -> None:
    """An entry that is true of some of the data is true of the whole for nobody."""
    parts = [logs("a", tenant="t", peer="1"), logs("b", tenant="t", peer="2")]
    assert dict(TelemetryData.merge(parts).metadata) == {"tenant": "t"}


def test_merged_profiles_are_reindexed_once_they_leave() -> None:
    """Their bytes must never simply be joined."""
    elements = []
    for word in ("cpu", "heap", "cpu"):
        request = ExportProfilesServiceRequest()
        request.dictionary.string_table.extend(["", word])
        profile = request.resource_profiles.add().scope_profiles.add().profiles.add()
        profile.sample_type.type_strindex = 1
        elements.append(TelemetryData.from_message(request))
    merged = TelemetryData.merge([TelemetryData.merge(elements[:2]), elements[2]])
    assert merged.items == 3
    message = merged.message
    assert [
        message.dictionary.string_table[found.profiles[0].sample_type.type_strindex]
        for group in message.resource_profiles
        for found in group.scope_profiles
    ] == ["cpu", "heap", "cpu"]
    assert merged.size == len(merged.to_bytes())
    assert [part.items for part in merged.split(max_items=2)] == [2, 1]


def test_a_split_is_the_element_itself_when_it_is_within_the_limits() -> None:
    """Most are, and then nothing should be made or booked."""
    data = logs("a", "b", tenant="t")
    assert data.split(max_items=2, max_bytes=data.size) == [data]
    assert data.split() == [data]
    parts = data.split(max_items=1)
    assert [texts(part) for part in parts] == [["a"], ["b"]]
    assert [dict(part.metadata) for part in parts] == [{"tenant": "t"}] * 2


def test_a_record_that_is_too_large_is_a_part_of_its_own() -> None:
    """Whoever cannot send it must be able to see it alone, and the others must go."""
    data = logs("a", "b" * 1000, "c", "d")
    parts = data.split(max_bytes=200)
    assert [len(texts(part)) for part in parts] == [1, 1, 2]
    assert [part.size <= 200 for part in parts] == [True, False, True]


def test_split_by_a_resource_attribute_or_a_function() -> None:
    """`route` needs elements that belong to one branch whole."""
    data = TelemetryData.merge(
        [logs("a", service="x"), logs("b", service="y"), logs("c", service="x")]
    )
    parts = data.split_by("service.name")
    assert [(key, texts(part)) for key, part in parts] == [("x", ["a", "c"]), ("y", ["b"])]
    assert data.split_by("no.such.attribute") == [(None, data)]
    keyed = data.split_by(lambda resource: resource.attributes["service.name"] == "y")
    assert [(key, texts(part)) for key, part in keyed] == [(False, ["a", "c"]), (True, ["b"])]
    assert [found.attributes["service.name"] for found in data.resources()] == ["x", "y", "x"]


def test_a_resource_attribute_that_is_a_list_can_be_a_key() -> None:
    """A key must be hashable, and a sender decides what an attribute is."""
    request = ExportTraceServiceRequest()
    for word in ("a", "b"):
        group = request.resource_spans.add()
        pair = group.resource.attributes.add(key="tags")
        pair.value.array_value.values.add().string_value = word
    parts = TelemetryData.from_message(request).split_by("tags")
    assert [key for key, _ in parts] == ["['a']", "['b']"]


def test_a_filter_gives_the_element_itself_or_what_is_left_or_none() -> None:
    """An element that nothing was taken from is not copied; an empty one does not go on."""
    data = logs("a", "b")
    assert data.filter_records(lambda record: True) is data
    assert data.filter_records(lambda record: False) is None
    kept = data.filter_records(lambda record: record.severity_text == "b")
    assert kept is not None
    assert (texts(kept), kept.items) == (["b"], 1)
    assert data.items == 2


def test_a_filter_takes_away_what_it_emptied_and_leaves_what_was_empty() -> None:
    """A group of no records is noise when a filter made it, and data when a sender did."""
    empty = ExportLogsServiceRequest()
    empty.resource_logs.add().schema_url = "kept"
    data = TelemetryData.merge([logs("a"), TelemetryData.from_message(empty), logs("b")])
    kept = data.filter_records(lambda record: record.severity_text == "b")
    assert kept is not None
    groups = kept.message.resource_logs
    assert [len(group.scope_logs) for group in groups] == [0, 1]
    assert groups[0].schema_url == "kept"


def test_map_changes_in_place_or_takes_what_is_returned() -> None:
    """The two ways in which people write a function that changes a message."""

    def louder(record: Any) -> None:
        record.severity_text = record.severity_text.upper()

    assert texts(logs("a", "b").map_records(louder)) == ["A", "B"]
    replaced = logs("a", "b").map_records(lambda record: LogRecord(severity_text="new"))
    assert texts(replaced) == ["new", "new"]


@pytest.mark.parametrize("returned", [True, False, "text", ExportLogsServiceRequest()])
def test_map_refuses_anything_else(returned: object) -> None:
    """`False` could mean drop and `True` keep; guessing would lose data."""
    with pytest.raises(TypeError, match="expected None or a LogRecord"):
        logs("a").map_records(lambda record: returned)


def test_a_view_reads_like_the_message_with_attributes_as_a_mapping() -> None:
    """What a predicate is written against."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add(schema_url="r")
    group.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope = group.scope_spans.add()
    scope.scope.name = "lib"
    for number in range(5):
        span = scope.spans.add(name=f"s{number}", kind=3, trace_id=bytes([number]) * 16)
        span.attributes.add(key="n").value.int_value = number
        many = span.attributes.add(key="many").value.kvlist_value.values.add(key="list")
        many.value.array_value.values.add().bool_value = True
        span.attributes.add(key="nothing")
        span.events.add(name="e")
    views = list(TelemetryData.from_message(request).records())
    assert [view.name for view in views] == [f"s{number}" for number in range(5)]
    view = views[3]
    assert dict(view.attributes) == {"n": 3, "many": {"list": [True]}, "nothing": None}
    assert (view.trace_id, view.kind, view.status.code) == (b"\3" * 16, 3, 0)
    assert view.events[0].name == "e"
    assert view.resource.attributes["service.name"] == "shop"
    assert view.resource.schema_url == "r"
    assert view.scope.name == "lib"
    assert view.message == scope.spans[3]
    assert view.HasField("status") is False
    assert repr(view) == "<SpanView resource_spans[0].scope_spans[0].spans[3]>"
    with pytest.raises(AttributeError):
        view.nme  # noqa: B018
    with pytest.raises(AttributeError, match="only a data point"):
        view.metric  # noqa: B018
    with pytest.raises(TypeError):
        view.attributes["n"] = 4


def test_a_view_that_is_kept_goes_on_telling_the_truth() -> None:
    """A predicate may keep what it was shown, for example to compare with the next."""
    seen: list[Any] = []
    data = logs(*"abcdefgh")
    data.filter_records(lambda record: seen.append(record) or record.severity_text > "d")  # type: ignore[func-returns-value]
    assert [record.severity_text for record in seen] == list("abcdefgh")
    assert [record.body for record in seen] == list("abcdefgh")


def test_a_profiles_view_resolves_its_attributes() -> None:
    """Keys are indices into the dictionary, which no predicate should have to know."""
    request = ExportProfilesServiceRequest()
    request.dictionary.string_table.extend(["", "thread", "service.name", "shop"])
    request.dictionary.attribute_table.add()
    entry = request.dictionary.attribute_table.add(key_strindex=1)
    entry.value.int_value = 7
    group = request.resource_profiles.add()
    pair = group.resource.attributes.add(key_strindex=2)
    pair.value.string_value_strindex = 3
    group.scope_profiles.add().profiles.add(attribute_indices=[1])
    data = TelemetryData.from_message(request)
    (view,) = data.records()
    assert dict(view.attributes) == {"thread": 7}
    assert [key for key, _ in data.split_by("service.name")] == ["shop"]


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_have_the_data_and_no_share(copied: Callable[[Any], Any]) -> None:
    """A copy in a cache or another process must keep no sender waiting."""
    data = TelemetryData.merge([logs("a", tenant="t"), logs("b", tenant="t")])
    made = copied(data)
    assert type(made) is TelemetryData
    assert made.to_bytes() == data.to_bytes()
    assert dict(made.metadata) == {"tenant": "t"}
    assert made._share is None


def test_replace_and_derive_keep_what_they_are_not_given() -> None:
    """The two ways to make an element of another by hand."""
    data = logs("a", tenant="t")
    other = data.replace(metadata={"tenant": "u"})
    assert (other.to_bytes(), dict(other.metadata)) == (data.to_bytes(), {"tenant": "u"})
    assert dict(data.replace(payload=b"").metadata) == {"tenant": "t"}
    traces = data.derive(ExportTraceServiceRequest(), metadata={})
    assert (traces.signal, dict(traces.metadata)) == (Signal.TRACES, {})


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (lambda: TelemetryData(), TypeError, "expected from_bytes"),
        (lambda: TelemetryData.from_bytes(WRONG, b""), TypeError, "expected a Signal, got str"),
        (lambda: TelemetryData.from_bytes(Signal.LOGS, WRONG), TypeError, "expected bytes"),
        (lambda: TelemetryData.from_json(WRONG, "{}"), TypeError, "expected a Signal, got str"),
        (lambda: TelemetryData.from_message(LogRecord()), TypeError, "expected an Export…Service"),
        (
            lambda: TelemetryData.from_bytes(Signal.LOGS, b"", metadata={"n": ONE}),
            TypeError,
            "expected strings for keys and values",
        ),
        (lambda: logs("a").split(max_items=0), ValueError, r"split\(max_items=0\): expected 1"),
        (lambda: logs("a").split(max_bytes=-1), ValueError, r"split\(max_bytes=-1\): expected 1"),
        (lambda: logs("a").split_by(ONE), TypeError, r"split_by\(1\): expected the name"),
        (lambda: logs("a").derive(WRONG), TypeError, "expected bytes or a message"),
        (lambda: TelemetryData.merge([]), ValueError, "expected 1 or more"),
        (
            lambda: TelemetryData.merge([logs("a"), TelemetryData.from_bytes(Signal.TRACES, b"")]),
            ValueError,
            "logs and traces",
        ),
    ],
)
def test_wrong_arguments_say_what_was_expected(
    wrong: Callable[[], object], error: type[Exception], says: str
) -> None:
    """Raised where the pipeline is written, with the call and the reason."""
    with pytest.raises(error, match=says):
        wrong()
    gc.collect()  # an element that was never finished dies without a word
