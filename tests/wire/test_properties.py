"""Each operation on bytes against the same thing done with full messages.

Requests come from `tests.support.requests`, which writes what others' encoders may.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rxotlp.wire import group, records, split
from rxotlp.wire.signals import Signal
from tests.support.requests import PATHS, lists, records_of, requests

EVERY = pytest.mark.parametrize("signal", list(Signal), ids=lambda signal: signal.value)
quick = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def full(signal: Signal, payload: bytes) -> Any:
    """The request as a full message."""
    return signal.names.request.FromString(payload)


def test_generated_requests_have_what_they_are_for() -> None:
    """A generator that never made a trap would let every one of these tests pass."""
    seen: set[str] = set()

    @settings(quick, max_examples=80)
    @given(requests(Signal.METRICS))
    def look(payload: bytes) -> None:
        message = full(Signal.METRICS, payload)
        seen.update({"no groups"} if not message.resource_metrics else ())
        if message.SerializeToString() != payload:
            seen.add("not as protobuf writes it")
        for resource, _, metric, points in lists(Signal.METRICS, message):
            seen.add(metric.WhichOneof("data") or "no data")
            seen.update({"empty"} if not points else {"some"})
            seen.update({"a resource that is empty"} if not resource.resource.attributes else ())
            seen.update({"a point of no bytes"} if any(not p.ByteSize() for p in points) else ())

    look()
    assert {"no groups", "not as protobuf writes it", "no data", "sum", "empty", "some"} <= seen
    assert {"a resource that is empty", "a point of no bytes"} <= seen


@EVERY
def test_count_agrees_with_full_messages(signal: Signal) -> None:
    """Everything that is booked, limited and answered is counted this way."""

    @quick
    @given(requests(signal))
    def check(payload: bytes) -> None:
        expected = sum(len(found) for *_, found in lists(signal, full(signal, payload)))
        assert split.count(signal, payload) == expected

    check()


@EVERY
def test_a_split_loses_and_changes_nothing_and_keeps_its_limits(signal: Signal) -> None:
    """Every record is in one part, in order, with the very headers that it had."""

    @quick
    @given(
        requests(signal), st.none() | st.integers(1, 6), st.none() | st.integers(1, 400), st.data()
    )
    def check(
        payload: bytes, max_items: int | None, max_bytes: int | None, data: st.DataObject
    ) -> None:
        parts = split.split(signal, payload, max_items=max_items, max_bytes=max_bytes)
        whole = records_of(signal, payload)
        assert [item for part, _ in parts for item in records_of(signal, part)] == whole
        for part, items in parts:
            assert items == len(records_of(signal, part))
            assert max_items is None or items <= max_items
            assert max_bytes is None or len(part) <= max_bytes or _single(signal, part)
        if len(parts) == 1:
            assert parts[0][0] is payload
        # The nodes without a record are each in one part too.
        assert sum(_empty(signal, part) for part, _ in parts) == _empty(signal, payload)

    check()


def _single(signal: Signal, payload: bytes) -> bool:
    """Whether nothing more could be cut off: one record or one node without any."""
    return (
        sum(len(found) for *_, found in lists(signal, full(signal, payload)))
        + _empty(signal, payload)
        <= 1
    )


def _empty(signal: Signal, payload: bytes) -> int:
    """Nodes that hold no record, without those that hold only such nodes."""
    request = full(signal, payload)
    groups, scopes, _ = PATHS[signal]
    empty = 0
    for found in getattr(request, groups):
        empty += not getattr(found, scopes)
        if signal is Signal.METRICS:
            empty += sum(not scope.metrics for scope in found.scope_metrics)
    return empty + sum(not found for *_, found in lists(signal, request))


@pytest.mark.parametrize("signal", [s for s in Signal if s is not Signal.PROFILES])
def test_joining_bytes_is_merging_messages(signal: Signal) -> None:
    """Merging costs nothing because of this; profiles have a test of their own."""

    @quick
    @given(st.lists(requests(signal), min_size=1, max_size=3))
    def check(payloads: list[bytes]) -> None:
        expected = signal.names.request()
        for payload in payloads:
            expected.MergeFrom(full(signal, payload))
        assert full(signal, b"".join(payloads)) == expected

    check()


def _service(resource: Any) -> str | None:
    found = None
    for attribute in resource.attributes:
        if attribute.key == "service.name":
            found = attribute.value.string_value
    return found


@EVERY
def test_grouping_agrees_with_full_messages(signal: Signal) -> None:
    """A group goes to the key of its merged resource, with everything that it held."""

    @quick
    @given(requests(signal))
    def check(payload: bytes) -> None:
        request = full(signal, payload)
        groups = PATHS[signal][0]
        expected: dict[Any, Any] = {}
        for found in getattr(request, groups):
            part = expected.setdefault(_service(found.resource), signal.names.request())
            getattr(part, groups).append(found)
        parts = group.group_by(
            signal, payload, lambda resource: resource.attributes.get("service.name")
        )
        assert [key for key, _ in parts] == list(expected)
        for key, part in parts:
            made = full(signal, part)
            assert getattr(made, groups) == getattr(expected[key], groups)
            beside = type(made)()
            beside.CopyFrom(request)
            beside.ClearField(groups)
            made.ClearField(groups)
            assert made == beside

    check()


@EVERY
def test_a_filter_keeps_the_bytes_of_what_it_keeps(signal: Signal) -> None:
    """Any choice of records, against the same choice among full messages."""

    @quick
    @given(requests(signal), st.lists(st.booleans(), min_size=60, max_size=60))
    def check(payload: bytes, keep: list[bool]) -> None:
        whole = records_of(signal, payload)
        flags = iter(keep)
        raw: list[bytes] = []

        def choose(view: Any) -> bool:
            chosen = next(flags)
            if chosen:
                raw.append(view.to_bytes())
            return chosen

        kept = records.filter_records(signal, payload, choose)
        expected = [item for item, chosen in zip(whole, keep, strict=False) if chosen]
        if kept is None:
            assert whole
            assert not expected
            return
        assert kept[1] == len(expected)
        assert records_of(signal, kept[0]) == expected
        if len(expected) == len(whole):
            assert kept[0] is payload
        else:  # the records' own bytes, as they came
            assert [view.to_bytes() for view in records.views(signal, kept[0])] == raw

    check()


@EVERY
def test_a_map_that_changes_nothing_changes_nothing(signal: Signal) -> None:
    """What the function leaves alone, unknown fields too, is encoded as it was."""

    @quick
    @given(requests(signal))
    def check(payload: bytes) -> None:
        mapped, items = records.map_records(signal, payload, lambda message: None)
        assert full(signal, mapped) == full(signal, payload)
        assert items == len(records_of(signal, payload))

    check()


@EVERY
def test_a_view_says_what_the_full_message_says(signal: Signal) -> None:
    """Whatever way a field is found, in whatever order fields are touched."""

    @settings(quick, max_examples=30)
    @given(requests(signal), st.randoms(use_true_random=False))
    def check(payload: bytes, random: Any) -> None:
        whole = [
            (found, scope, metric, item)
            for found, scope, metric, items in lists(signal, full(signal, payload))
            for item in items
        ]
        views = list(records.views(signal, payload)) if random.random() < 0.5 else None
        pairs = zip(views or records.views(signal, payload), whole, strict=True)
        for view, (found, scope, metric, message) in pairs:
            names = [field.name for field in message.DESCRIPTOR.fields]
            for name in random.sample(names, len(names)):
                if name == "attributes":
                    expected: Any = {a.key: a.value.string_value for a in message.attributes}
                elif name == "body":
                    continue
                else:
                    expected = getattr(message, name)
                actual = getattr(view, name)
                if name == "status":
                    assert (actual.code, actual.message) == (expected.code, expected.message)
                else:
                    assert actual == expected or actual != actual, name  # NaN is NaN
            assert view.resource.schema_url == found.schema_url
            assert view.resource.attributes.get("service.name") == _service(found.resource)
            assert view.scope.schema_url == scope.schema_url
            assert view.scope.attributes.get("service.name") == _service(scope.scope)
            if metric is not None:
                assert (view.metric.name, view.metric.unit) == (metric.name, metric.unit)
                assert view.metric.WhichOneof("data") == metric.WhichOneof("data")
        if views is not None:
            assert len(views) == len(whole)

    check()
