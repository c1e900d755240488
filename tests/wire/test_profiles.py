"""Merging profiles: after it every reference must mean what it meant before."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.profiles.v1development.profiles_pb2 import ProfilesDictionary

from rxotlp.errors import DecodeError, PipelineError
from rxotlp.wire import profiles
from rxotlp.wire.profiles import check_dictionary, merge, reference_fields

# Written by hand from profiles.proto and common.proto, unlike the module under test.
KNOWN = {
    "KeyValue.key_strindex": "string_table",
    "AnyValue.string_value_strindex": "string_table",
    "Profile.attribute_indices": "attribute_table",
    "ValueType.type_strindex": "string_table",
    "ValueType.unit_strindex": "string_table",
    "Sample.stack_index": "stack_table",
    "Sample.attribute_indices": "attribute_table",
    "Sample.link_index": "link_table",
    "Mapping.filename_strindex": "string_table",
    "Mapping.attribute_indices": "attribute_table",
    "Location.mapping_index": "mapping_table",
    "Location.attribute_indices": "attribute_table",
    "Line.function_index": "function_table",
    "Function.name_strindex": "string_table",
    "Function.system_name_strindex": "string_table",
    "Function.filename_strindex": "string_table",
    "KeyValueAndUnit.key_strindex": "string_table",
    "KeyValueAndUnit.unit_strindex": "string_table",
    "Stack.location_indices": "location_table",
}
TABLES = [field.name for field in ProfilesDictionary.DESCRIPTOR.fields]
WORDS = ["", "cpu", "ns", "main", "main.go", "libc.so"]


def resolved(message: Any, dictionary: Any) -> Any:
    """A message as plain data with every reference replaced by what it leads to."""
    result: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.name == "dictionary":
            continue
        table = KNOWN.get(f"{message.DESCRIPTOR.name}.{field.name}")
        entries = [None] if table is None else list(getattr(dictionary, table)) or [None]

        def lead(item: Any, entries: list[Any] = entries) -> Any:
            entry = entries[item]
            return resolved(entry, dictionary) if hasattr(entry, "ListFields") else entry or ""

        if table is not None:
            result[field.name] = [lead(i) for i in value] if field.is_repeated else lead(value)
            if result[field.name] in ("", {}) and not field.has_presence:
                del result[field.name]  # an index of an empty entry says what no index says
        elif field.message_type is not None:
            result[field.name] = (
                [resolved(item, dictionary) for item in value]
                if field.is_repeated
                else resolved(value, dictionary)
            )
        else:
            result[field.name] = list(value) if field.is_repeated else value
    return result


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """A request whose references all lead somewhere."""
    request: Any = ExportProfilesServiceRequest()
    if draw(st.booleans()):
        for profile_resource in range(draw(st.integers(0, 1))):
            request.resource_profiles.add().schema_url = str(profile_resource)
        return request  # no dictionary at all
    d = request.dictionary
    d.string_table.extend(["", *draw(st.lists(st.sampled_from(WORDS), max_size=6))])

    def index(table: str) -> int:
        return draw(st.integers(0, len(getattr(d, table)) - 1))

    def indices(table: str) -> list[int]:
        return [index(table) for _ in range(draw(st.integers(0, 3)))]

    def count() -> range:
        return range(draw(st.integers(0, 3)))

    def value(depth: int = 0) -> AnyValue:
        kind = draw(st.integers(0, 3 if depth < 2 else 1))
        if kind == 0:
            return AnyValue(string_value_strindex=index("string_table"))
        if kind == 1:
            return AnyValue(int_value=draw(st.integers(0, 3)))
        result = AnyValue()
        if kind == 2:
            result.array_value.values.extend([value(depth + 1) for _ in count()])
        else:
            result.kvlist_value.values.extend([attribute(depth + 1) for _ in count()])
        return result

    def attribute(depth: int = 0) -> KeyValue:
        return KeyValue(key_strindex=index("string_table"), value=value(depth))

    for table in TABLES:
        if table != "string_table":
            getattr(d, table).add()
    for _ in count():
        link = d.link_table.add()
        link.trace_id = draw(st.sampled_from([b"a" * 16, b"b" * 16]))
    for _ in count():
        function = d.function_table.add()
        function.name_strindex = index("string_table")
        function.system_name_strindex = index("string_table")
        function.filename_strindex = index("string_table")
        function.start_line = draw(st.integers(0, 2))
    for _ in count():
        entry = d.attribute_table.add()
        entry.key_strindex, entry.unit_strindex = index("string_table"), index("string_table")
        entry.value.CopyFrom(value())
    for _ in count():
        mapping = d.mapping_table.add()
        mapping.filename_strindex = index("string_table")
        mapping.attribute_indices.extend(indices("attribute_table"))
    for _ in count():
        location = d.location_table.add()
        location.mapping_index = index("mapping_table")
        location.attribute_indices.extend(indices("attribute_table"))
        location.lines.add().function_index = index("function_table")
    for _ in count():
        d.stack_table.add().location_indices.extend(indices("location_table"))
    for _ in count():
        resource = request.resource_profiles.add()
        resource.resource.attributes.extend([attribute() for _ in count()])
        scope = resource.scope_profiles.add()
        scope.scope.attributes.append(attribute())
        for _ in count():
            profile = scope.profiles.add()
            profile.sample_type.type_strindex = index("string_table")
            profile.period_type.unit_strindex = index("string_table")
            profile.attribute_indices.extend(indices("attribute_table"))
            for _ in count():
                sample = profile.samples.add()
                sample.stack_index = index("stack_table")
                sample.link_index = index("link_table")
                sample.attribute_indices.extend(indices("attribute_table"))
                sample.values.append(draw(st.integers(0, 9)))
    return request


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(requests(), min_size=2, max_size=3))
def test_every_reference_means_after_a_merge_what_it_meant_before(
    parts: list[Any],
) -> None:
    """A wrong index is silent corruption: a valid profile that blames the wrong function."""
    merged: Any = ExportProfilesServiceRequest.FromString(
        merge([part.SerializeToString() for part in parts])
    )
    before = [
        resolved(resource, part.dictionary) for part in parts for resource in part.resource_profiles
    ]
    after = [resolved(resource, merged.dictionary) for resource in merged.resource_profiles]
    assert after == before
    for table in TABLES:
        entries = getattr(merged.dictionary, table)
        assert not entries[0] if table == "string_table" else not entries[0].ByteSize()
        seen = [e if isinstance(e, str) else e.SerializeToString() for e in entries]
        assert len(seen) == len(set(seen)), f"{table} has an entry twice"
    check_dictionary(merged.dictionary)


def test_no_field_of_the_protocol_looks_like_a_reference_and_is_not_handled() -> None:
    """A protocol update that adds a reference must fail here, not corrupt data in a gateway."""
    found: set[str] = set()
    seen: set[str] = set()

    def walk(descriptor: Descriptor) -> None:
        if descriptor.full_name in seen:
            return
        seen.add(descriptor.full_name)
        for field in descriptor.fields:
            if field.name.endswith(("index", "indices", "strindex")):
                found.add(f"{descriptor.name}.{field.name}")
            if field.message_type is not None:
                walk(field.message_type)

    walk(ExportProfilesServiceRequest.DESCRIPTOR)
    assert found == set(KNOWN)
    assert reference_fields() == KNOWN
    assert set(KNOWN.values()) == set(TABLES)


def test_a_reference_into_a_table_that_nobody_knows_stops_every_merge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not merging costs efficiency; merging with dangling references costs the data."""
    monkeypatch.setattr(profiles, "_UNKNOWN_TABLES", ["new_table"])
    with pytest.raises(PipelineError, match="new_table"):
        merge([b"", b""])


def test_a_single_request_comes_back_as_the_object_it_was() -> None:
    """Nothing to merge means nothing to decode."""
    payload = ExportProfilesServiceRequest().SerializeToString()
    assert merge([payload]) is payload


def test_nothing_to_merge_is_an_error_of_the_caller() -> None:
    """An empty batch must not become a request that somebody sends."""
    with pytest.raises(ValueError, match=r"merge\(\[\]\): expected 1 or more payloads"):
        merge([])


def with_dictionary() -> Any:
    request: Any = ExportProfilesServiceRequest()
    request.dictionary.string_table.extend(["", "cpu"])
    return request


def test_a_reference_past_the_end_is_refused_with_its_path() -> None:
    """Merged, it would point at another sender's entry."""
    bad = with_dictionary()
    profile = bad.resource_profiles.add().scope_profiles.add().profiles.add()
    profile.samples.add()
    profile.samples.add().attribute_indices.extend([0, 7])
    with pytest.raises(DecodeError) as caught:
        merge([with_dictionary().SerializeToString(), bad.SerializeToString()])
    path = "resource_profiles[0].scope_profiles[0].profiles[0].samples[1].attribute_indices[1]"
    assert caught.value.path == path
    assert "7, expected an index into the 0 entries of attribute_table" in str(caught.value)


@pytest.mark.parametrize("index", [2, -1])
def test_a_reference_inside_the_dictionary_is_checked_too(index: int) -> None:
    """-1 is a valid index to Python and to nobody else."""
    bad = with_dictionary()
    bad.dictionary.function_table.add()
    bad.dictionary.function_table.add().name_strindex = index
    for check in (
        lambda: merge([b"", bad.SerializeToString()]),
        lambda: check_dictionary(bad.dictionary),
    ):
        with pytest.raises(DecodeError) as caught:
            check()
        assert caught.value.path == "dictionary.function_table[1].name_strindex"


def test_an_entry_0_that_says_something_is_refused() -> None:
    """0 means "not set": its entry would be lost, or given to whoever sets nothing."""
    bad = with_dictionary()
    bad.dictionary.link_table.add().trace_id = b"x"
    with pytest.raises(DecodeError, match=r"dictionary.link_table\[0\]: not empty"):
        merge([b"", bad.SerializeToString()])
    text: Any = ExportProfilesServiceRequest()
    text.dictionary.string_table.append("cpu")
    with pytest.raises(DecodeError, match=r"dictionary.string_table\[0\]: not empty"):
        check_dictionary(text.dictionary)


def test_a_dictionary_with_an_unknown_table_is_not_merged() -> None:
    """What a newer protocol refers to there cannot be followed by us."""
    newer = b"\x12\x04\x9a\x06\x01x"  # dictionary { 99: "x" }
    with pytest.raises(DecodeError, match="a table that this version"):
        merge([b"", newer])


def test_bytes_that_are_no_request_are_refused() -> None:
    """The sender's fault, and told as such."""
    with pytest.raises(DecodeError, match="cannot be read"):
        merge([b"", b"\xff\xff"])
