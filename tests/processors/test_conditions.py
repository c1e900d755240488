"""Conditions: both ways of asking agree, they read as written, and they refuse what is none."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rxotlp.data import Signal, TelemetryData
from rxotlp.processors import (
    attr,
    body,
    duration,
    filter_logs,
    filter_metrics,
    filter_resources,
    filter_spans,
    name,
    resource,
    scope,
    severity,
    status,
)
from rxotlp.wire import records
from tests.support.requests import requests

EVERY = pytest.mark.parametrize("signal", list(Signal), ids=lambda signal: signal.value)
quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

ATOMS = [
    attr("k") == "a",
    attr("k") != "a",
    attr("k").exists,
    attr("k") > "a",
    attr("k") < 5,
    attr("service.name").matches("[ab]"),
    resource("service.name") == "b",
    resource("k").exists,
    scope.name == "",
    scope("k") != "b",
    name.matches("GET *"),
    name >= "b",
    duration >= 0,
    duration < 1e9,
    status.is_error,
    status.is_unset,
    severity >= 2,
    severity != "TRACE",
    body.exists,
]
CONDITIONS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda both: both[0] & both[1]),
        st.tuples(inner, inner).map(lambda both: both[0] | both[1]),
        inner.map(lambda one: ~one),
        inner.map(lambda one: one & (lambda record: True)),
    ),
    max_leaves=4,
)


def asked_at_once(signal: Signal, payload: bytes, condition: Any) -> list[bool]:
    """A condition's answers for every record, list by list."""
    answers: list[bool] = []

    def choose(rows: Any) -> list[bool]:
        found = condition.choose(rows)
        answers.extend(found)
        return found  # type: ignore[no-any-return]

    records.select_records(signal, payload, choose)
    return answers


@EVERY
def test_asked_at_once_or_one_by_one_the_answers_agree(signal: Signal) -> None:
    """The quick way is an optimisation and nothing else, whatever is combined with what."""

    @quick
    @given(requests(signal), CONDITIONS)
    def check(payload: bytes, condition: Any) -> None:
        one_by_one = [condition(view) for view in records.views(signal, payload)]
        assert asked_at_once(signal, payload, condition) == one_by_one
        assert asked_at_once(signal, payload, ~condition) == [not item for item in one_by_one]

    check()


@EVERY
def test_conditions_say_what_full_messages_say(signal: Signal) -> None:
    """Against the plainest reading of each view's decoded message."""

    def plain(view: Any, key: str) -> Any:
        return dict(view.attributes).get(key)

    readings: list[tuple[Any, Callable[[Any], bool]]] = [
        (attr("k") == "a", lambda view: plain(view, "k") == "a"),
        (attr("k") != "a", lambda view: plain(view, "k") != "a"),
        (attr("k").exists, lambda view: "k" in view.attributes),
        (resource("k") == "b", lambda view: view.resource.attributes.get("k") == "b"),
        (scope("k").exists, lambda view: "k" in view.scope.attributes),
    ]
    if signal is Signal.TRACES:
        readings += [
            (status.is_ok, lambda view: view.message.status.code == 1),
            (name == "a", lambda view: view.message.name == "a"),
        ]
    if signal is Signal.METRICS:
        readings.append((name == "a", lambda view: view.metric.name == "a"))
    if signal is Signal.LOGS:
        readings += [
            (severity >= 2, lambda view: view.message.severity_number >= 2),
            (name == "a", lambda view: view.message.event_name == "a"),
        ]

    @quick
    @given(requests(signal))
    def check(payload: bytes) -> None:
        for condition, reading in readings:
            expected = [reading(view) for view in records.views(signal, payload)]
            assert asked_at_once(signal, payload, condition) == expected, condition

    check()


def only(signal: Signal, **fields: Any) -> Any:
    """The view of one record with these fields."""
    request: Any = signal.names.request()
    if signal is Signal.TRACES:
        record = request.resource_spans.add().scope_spans.add().spans.add(**fields)
    elif signal is Signal.LOGS:
        record = request.resource_logs.add().scope_logs.add().log_records.add(**fields)
    else:
        record = request.resource_profiles.add().scope_profiles.add().profiles.add(**fields)
    if hasattr(record, "attributes"):
        record.attributes.add(key="status").value.int_value = 404
        record.attributes.add(key="ok").value.bool_value = True
        record.attributes.add(key="twice").value.string_value = "first"
        record.attributes.add(key="twice").value.string_value = "last"
    (view,) = TelemetryData.from_message(request).records()
    return view


def test_severities_go_by_number_or_by_the_name_of_four() -> None:
    """ERROR2 is an error, as the data model has it; no severity is none."""
    answers = {
        (sign, number): getattr(operator, sign)(severity, "ERROR")(
            only(Signal.LOGS, severity_number=number)
        )
        for sign in ("eq", "ne", "lt", "le", "gt", "ge")
        for number in (0, 13, 17, 20, 21)
    }
    true = {
        sign: [number for (one, number), yes in answers.items() if one == sign and yes]
        for sign in ("eq", "ne", "lt", "le", "gt", "ge")
    }
    assert true == {
        "eq": [17, 20],
        "ne": [0, 13, 21],
        "lt": [13],
        "le": [13, 17, 20],
        "gt": [21],
        "ge": [17, 20, 21],
    }
    assert (severity == 18)(only(Signal.LOGS, severity_number=18))


def test_durations_are_seconds() -> None:
    """Of spans and profiles; a span that has not ended has none."""
    span = only(Signal.TRACES, start_time_unix_nano=10**9, end_time_unix_nano=25 * 10**8)
    assert (duration == 1.5)(span)
    assert not (duration > 1.5)(span)
    assert not duration.exists(only(Signal.TRACES, start_time_unix_nano=10**9))
    assert (duration == 2)(only(Signal.PROFILES, duration_nano=2 * 10**9))
    assert not duration.exists(only(Signal.LOGS))


def test_values_of_other_types_are_neither_less_nor_more() -> None:
    """A sender that changes an attribute's type must not end a stream."""
    view = only(Signal.LOGS)
    assert (attr("status") >= 400)(view)
    assert (attr("status") == 404.0)(view)
    assert not (attr("status") > "300")(view)
    assert not (attr("status") < "300")(view)
    assert not attr("status").matches("4*")(view)
    assert (attr("absent") != "x")(view)
    assert not (attr("absent") < 5)(view)
    assert (attr("ok") == True)(view)  # noqa: E712
    assert (attr("twice") == "last")(view)
    assert not (attr("twice") == "first")(view)


def test_a_condition_reads_as_it_was_written() -> None:
    """In books, logs and debuggers."""
    condition = status.is_error & resource("service.name").matches("pay-*") | ~(duration > 0.5)
    assert repr(condition) == (
        "(status.is_error & resource('service.name').matches('pay-*')) | (~(duration > 0.5))"
    )
    assert repr(scope.version != "1") == "scope.version != '1'"
    assert repr(scope("a").exists) == "scope('a').exists"
    assert (repr(attr("a")), repr(scope), repr(status)) == ("attr('a')", "scope", "status")
    assert {repr(need) for need in condition.needs} == {"status", "resource", "duration"}


def test_a_condition_may_be_joined_with_a_function() -> None:
    """For what the words do not have."""

    def loud(record: Any) -> bool:
        return bool(record.severity_text == "LOUD")

    both, either = severity.exists & loud, loud | severity.exists
    view = only(Signal.LOGS, severity_text="LOUD")
    assert (both(view), either(view)) == (False, True)
    assert repr(both) == "severity.exists & loud"


def test_cheap_questions_come_first() -> None:
    """A record whose status decides is not decoded for its attributes."""
    asked = []

    def dear(record: Any) -> bool:
        asked.append(record)
        return True

    view = only(Signal.TRACES)
    assert not (dear & status.is_error)(view)
    assert (dear | status.is_unset)(view)
    assert asked == []


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: status.is_ok and status.is_error, r"bool\(status.is_ok\): .* & \| ~"),
        (lambda: not status.is_ok, r"bool\(status.is_ok\)"),
        (lambda: 0.1 < duration < 0.5, r"bool\(duration > 0.1\)"),
        (lambda: bool(attr("x")), r"bool\(attr\('x'\)\): a field is no condition"),
        (lambda: status.is_ok & 3, r"status.is_ok & 3: expected a condition"),
        (lambda: "x" | status.is_ok, r"^'x' \| status.is_ok: expected a condition"),
        (lambda: attr(""), r"attr\(''\): expected an attribute's key"),
        (lambda: resource(3), r"resource\(3\)"),  # type: ignore[arg-type]
        (lambda: scope(None), r"scope\(None\)"),  # type: ignore[arg-type]
        (lambda: attr("x") == None, r"attr\('x'\) == None: .*attr\('x'\).exists"),  # noqa: E711
        (lambda: attr("x") == ["a"], r"attr\('x'\) == \['a'\]: expected a str, bool"),
        (lambda: duration > "1s", r"duration > '1s': expected seconds as a number, got str"),
        (lambda: duration > True, r"duration > True"),
        (lambda: name == 3, r"name == 3: expected a str, got int"),
        (lambda: name.matches(3), r"name.matches\(3\): expected a str such as"),  # type: ignore[arg-type]
        (lambda: severity >= "LOUD", r"severity >= 'LOUD': expected one of TRACE"),
        (lambda: severity >= 25, r"severity >= 25: expected 1 to 24"),
        (lambda: severity >= 1.5, r"severity >= 1.5: expected a name or a number, got float"),
        (lambda: filter_spans(severity > 3), r"filter_spans\(where=severity > 3\): .*no span has"),
        (lambda: filter_logs(status.is_ok), r"no log record has status"),
        (lambda: filter_metrics(~(duration > 1)), r"no data point has duration"),
        (lambda: filter_resources(name == "x"), r"a resource has no name"),
        (lambda: filter_spans("x"), r"filter_spans\(where='x'\): expected a condition or"),  # type: ignore[arg-type]
        (lambda: filter_resources(None), r"filter_resources\(where=None"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_condition_fails_where_it_is_written(
    build: Callable[[], Any], message: str
) -> None:
    """`and` would silently forget one side, a wrong field would never be true."""
    with pytest.raises((TypeError, ValueError), match=message):
        build()
