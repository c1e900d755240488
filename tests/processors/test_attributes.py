"""`attributes` against the same edit of full messages, and what it leaves alone."""

import hashlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.data import Signal, TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.processors import attributes
from rxotlp.testing import Recorder, Rig, kind, logs
from rxotlp.wire import records
from tests.support.requests import PATHS, lists, records_of, requests

EVERY = pytest.mark.parametrize("signal", list(Signal), ids=lambda signal: signal.value)
quick = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

# The generated requests have the keys "service.name" and "k".
EDITS: dict[str, dict[str, Any]] = {
    "insert": {"insert": {"k": "new", "made": [1, {"deep": True}]}},
    "update": {"update": {"k": 7, "absent": 1}},
    "upsert": {"upsert": {"k": 1.5, "made": b"\0"}},
    "delete": {"delete": ["k"]},
    "hash": {"hash": ["k"]},
    "rename": {"rename": {"k": "service.name"}},
    "exchange": {"rename": {"k": "service.name", "service.name": "k"}},
    "all": {"delete": ["k"], "rename": {"service.name": "s"}, "insert": {"k": 1}, "hash": ["s"]},
}


def edited(before: dict[str, Any], edit: dict[str, Any]) -> dict[str, Any]:
    """What a mapping is after the edit."""
    after = {key: value for key, value in before.items() if key not in edit.get("delete", ())}
    moves = edit.get("rename", {})
    moved = {moves[key]: value for key, value in after.items() if key in moves}
    after = {key: value for key, value in after.items() if key not in moves} | moved
    for key, value in edit.get("insert", {}).items():
        after.setdefault(key, value)
    after |= {key: value for key, value in edit.get("update", {}).items() if key in after}
    after |= edit.get("upsert", {})
    for key in edit.get("hash", ()):
        if key in after:
            after[key] = hashlib.sha256(str(after[key]).encode()).hexdigest()
    return after


def unchanged(signal: Signal, payload: bytes, level: str) -> list[Any]:
    """All that an edit at a level must not change, by full messages."""
    request = signal.names.request.FromString(payload)
    for group, scope, _, found in list(lists(signal, request)):
        if level == "record":
            for record in found:
                record.ClearField("attributes")
        elif level == "scope":
            scope.scope.ClearField("attributes")
        else:
            group.resource.ClearField("attributes")
    return records_of(signal, request.SerializeToString())


LEVELS = [
    (signal, level)
    for signal in Signal
    for level in ("record", "scope", "resource")
    if (signal, level) != (Signal.PROFILES, "record")  # see the test of profiles
]


@pytest.mark.parametrize(("signal", "level"), LEVELS, ids=lambda one: getattr(one, "value", one))
def test_an_edit_agrees_with_the_same_edit_of_mappings(signal: Signal, level: str) -> None:
    """At every level, on requests as others' encoders write them; all else stays."""
    processors = [(edit, attributes(level=level, **edit)) for edit in EDITS.values()]

    @quick
    @given(requests(signal), st.sampled_from(processors))
    def check(payload: bytes, one: tuple[dict[str, Any], Any]) -> None:
        edit, processor = one
        data = TelemetryData.from_bytes(signal, payload)
        made = processor(data)
        assert made.items == data.items
        for before, after in zip(data.records(), made.records(), strict=True):
            was, now = (
                dict((view if level == "record" else getattr(view, level)).attributes)
                for view in (before, after)
            )
            assert now == edited(was, edit)
        assert unchanged(signal, payload, level) == unchanged(signal, made.to_bytes(), level)

    check()


@EVERY
@pytest.mark.parametrize("level", ["scope", "resource"])
def test_above_the_records_none_is_touched(signal: Signal, level: str) -> None:
    """Their bytes are the very same, unknown fields and broken ones too."""

    @quick
    @given(requests(signal))
    def check(payload: bytes) -> None:
        made = attributes(upsert={"x": 1}, level=level)(TelemetryData.from_bytes(signal, payload))
        before, after = (
            [view.to_bytes() for view in records.views(signal, item)]
            for item in (payload, made.to_bytes())
        )
        assert before == after

    check()


@EVERY
def test_a_group_without_a_resource_gets_one(signal: Signal) -> None:
    """An attribute that is to be everywhere is everywhere."""
    request: Any = signal.names.request()
    getattr(request, PATHS[signal][0]).add()
    data = TelemetryData.from_message(request)
    made = attributes(insert={"x": 1}, level="resource")(data)
    assert dict(made.resources()[0].attributes) == {"x": 1}


def test_what_has_nothing_to_change_is_passed_on_itself() -> None:
    """No byte is encoded for nothing, and a second attempt looks like the first."""
    data = logs([1, 2])
    assert attributes(delete=["no.such"])(data) is data
    tag = attributes(upsert={"a": 1})
    once = tag(data)
    assert tag(once) is once


def test_profiles_keep_the_attributes_of_their_records() -> None:
    """They are entries of a table that others refer to."""
    profiles = TelemetryData.from_message(profiles_request())
    assert attributes(delete=["k"])(profiles) is profiles


@pytest.mark.parametrize("level", ["resource", "scope"])
def test_profiles_have_texts_in_a_table(level: str) -> None:
    """A key or value that is an index is found, hashed and renamed all the same."""
    profiles = TelemetryData.from_message(profiles_request())
    made = attributes(rename={"k": "new"}, hash=["new"], level=level)(profiles)
    (view,) = made.records()
    digest = hashlib.sha256(b"value").hexdigest()
    assert dict(getattr(view, level).attributes) == {"new": digest}


def profiles_request() -> Any:
    """A profile whose resource and scope have k=value, as indices."""
    request: Any = Signal.PROFILES.names.request()
    request.dictionary.string_table.extend(["", "k", "value"])
    group = request.resource_profiles.add()
    scope = group.scope_profiles.add()
    scope.profiles.add()
    for pairs in (group.resource.attributes, scope.scope.attributes):
        pairs.add(key_strindex=1).value.string_value_strindex = 2
    return request


def test_an_index_past_the_table_is_the_senders_fault() -> None:
    """With the path to it, as every such fault."""
    request = profiles_request()
    del request.dictionary.string_table[1:]
    with pytest.raises(DecodeError, match=r"resource_profiles\[0\]\.resource: refers past"):
        attributes(delete=["k"], level="resource")(TelemetryData.from_message(request))


def test_a_resource_that_cannot_be_read_rejects_its_element() -> None:
    """The reason names it; the stream goes on."""
    broken = TelemetryData.from_bytes(Signal.LOGS, logs([1]).to_bytes() + b"\n\3\n\1\xff")
    with pytest.raises(DecodeError, match=r"logs: resource_logs\[1\]\.resource: "):
        attributes(delete=["k"], level="resource")(broken)
    sink = Recorder()
    rig = Rig().run(ops.chain(attributes(delete=["k"], level="resource")), ops.export(sink))
    receipt = rig.feed.admit(broken)
    rig.wait(0)
    assert kind(receipt) is Kind.REJECTED
    assert kind(rig.send([1])) is Kind.DELIVERED
    rig.check_books()


def test_a_record_that_breaks_off_is_not_appended_to() -> None:
    """What follows would become part of what is cut off."""
    request: Any = Signal.LOGS.names.request()
    request.resource_logs.add().scope_logs.add().log_records.add(severity_text="text")
    payload = request.SerializeToString().replace(b"\x04text", b"\x09text")
    broken = TelemetryData.from_bytes(Signal.LOGS, payload)
    assert attributes(insert={"k": 1})(broken) is broken


def test_in_a_chain_the_books_balance() -> None:
    """It makes as many items as it gets."""
    sink = Recorder()
    rig = Rig().run(ops.chain(attributes(upsert={"a": 1}, level="resource")), ops.export(sink))
    assert kind(rig.send([1, 2])) is Kind.DELIVERED
    assert sink.calls == [[1, 2]]
    rig.check_books()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"attributes\(\): expected something to delete"),
        ({"delete": ["a"], "level": "span"}, r"attributes\(level='span'\): expected one of"),
        ({"delete": "abc"}, r"attributes\(delete='abc'\).*write \['abc'\]"),
        ({"delete": [""]}, r"attributes\(delete=''\): expected a key"),
        ({"delete": ["\ud800"]}, "expected Unicode text"),
        ({"hash": [3]}, r"attributes\(hash=3\): expected a str"),
        ({"insert": ["a"]}, r"attributes\(insert=\['a'\]\): expected a mapping"),
        ({"insert": {"a": object}}, r"attributes\(insert=\{'a': .*\}\): expected None, bool"),
        ({"update": {"a": 2**64}}, r"attributes\(update=\{'a': 18446744073709551616\}\)"),
        ({"upsert": {"a": {1: 2}}}, "key 1: expected a str"),
        ({"upsert": {"a": "\ud800"}}, "attributes"),
        ({"rename": {"a": 3}}, r"attributes\(rename=3\): expected a str"),
        ({"rename": {"a": "c", "b": "c"}}, "expected new keys that differ"),
    ],
)
def test_a_wrong_argument_fails_where_it_is_written(
    arguments: dict[str, Any], message: str
) -> None:
    """Not at the first element."""
    with pytest.raises((TypeError, ValueError), match=message):
        attributes(**arguments)


def test_its_repr_is_what_was_written() -> None:
    """A chain shows what it does."""
    made = attributes(delete=["a"], upsert={"b": 1}, level="scope")
    assert repr(made) == "attributes(delete=['a'], upsert={'b': 1}, level='scope')"
