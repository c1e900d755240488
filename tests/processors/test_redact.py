"""`redact`: what is to be hidden is nowhere in the bytes that leave, and nothing else is lost."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.data import Signal, TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.processors import redact
from rxotlp.testing import Recorder, Rig, kind
from rxotlp.wire import records
from tests.support.requests import records_of, requests

SECRET = "hunter2-4111111111111111"
EVERY = pytest.mark.parametrize("signal", list(Signal), ids=lambda signal: signal.value)
WAYS = {
    "key": {"keys": ["password"]},
    "glob": {"keys": ["pass*"]},
    "pattern": {"patterns": [r"hunter2-\d+"]},
    "compiled": {"patterns": [re.compile("HUNTER2-[0-9]+", re.IGNORECASE)]},
}
quick = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def hide(pairs: Any) -> None:
    """Put the secret into attributes: at the top, in a mapping, and in a list of mappings."""
    pairs.add(key="plain").value.int_value = 5
    pairs.add(key="password").value.string_value = SECRET
    inner = pairs.add(key="headers").value.kvlist_value.values
    inner.add(key="password").value.string_value = SECRET
    listed = pairs.add(key="list").value.array_value.values.add().kvlist_value.values
    listed.add(key="password").value.bytes_value = SECRET.encode()


def everywhere(signal: Signal) -> Any:
    """A request with the secret in each place that has attributes."""
    request: Any = signal.names.request()
    if signal is Signal.TRACES:
        group = request.resource_spans.add()
        scope = group.scope_spans.add()
        span = scope.spans.add(name="login")
        for pairs in (span, span.events.add(name="e"), span.links.add()):
            hide(pairs.attributes)
    elif signal is Signal.METRICS:
        group = request.resource_metrics.add()
        scope = group.scope_metrics.add()
        metric = scope.metrics.add(name="logins", unit="1")
        metric.sum.is_monotonic = True
        point = metric.sum.data_points.add(as_int=3)
        hide(metric.metadata)
        hide(point.attributes)
        hide(point.exemplars.add().filtered_attributes)
    elif signal is Signal.LOGS:
        group = request.resource_logs.add()
        scope = group.scope_logs.add()
        record = scope.log_records.add()
        hide(record.attributes)
        hide(record.body.kvlist_value.values)
    else:
        group = request.resource_profiles.add()
        scope = group.scope_profiles.add()
        scope.profiles.add(attribute_indices=[1])
        dictionary = request.dictionary
        # A value that is a key elsewhere: hidden, it must not save another from being found.
        dictionary.string_table.extend(["", "password", SECRET, "plain"])
        dictionary.attribute_table.add()
        for value in (1, 2):
            made = dictionary.attribute_table.add(key_strindex=1)
            made.value.string_value_strindex = value
        group.resource.attributes.add(key_strindex=1).value.string_value_strindex = 1
        scope.scope.attributes.add(key_strindex=1).value.string_value_strindex = 2
    hide(group.resource.attributes)
    hide(scope.scope.attributes)
    return request


@EVERY
@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_nowhere_in_what_leaves(signal: Signal, way: str) -> None:
    """At every depth of every part, however it is described."""
    data = TelemetryData.from_message(everywhere(signal))
    made = redact(**WAYS[way])(data)  # type: ignore[arg-type]
    assert SECRET.encode() in data.to_bytes()
    assert SECRET.encode() not in made.to_bytes()
    assert made.items == data.items
    assert b"plain" in made.to_bytes()
    for view in made.records():
        assert view.resource.attributes["plain"] == 5
        assert view.resource.attributes["headers"] == {"password": "[redacted]"}
    again = redact(**WAYS[way])(made)  # type: ignore[arg-type]
    assert again is made


def test_a_metric_keeps_what_it_is() -> None:
    """Its name, unit, kind and points go around the part that changes."""
    made = redact(keys=["password"])(TelemetryData.from_message(everywhere(Signal.METRICS)))
    (metric,) = made.message.resource_metrics[0].scope_metrics[0].metrics
    assert (metric.name, metric.unit, metric.sum.is_monotonic) == ("logins", "1", True)
    assert [point.as_int for point in metric.sum.data_points] == [3]


def test_patterns_leave_the_rest_of_a_text() -> None:
    """A log line without its card number is still a log line."""
    request: Any = Signal.LOGS.names.request()
    found = request.resource_logs.add().scope_logs.add().log_records
    found.add().body.string_value = "paid with 4111111111111111 today"
    found.add().body.int_value = 4111111111111111
    found.add().body.bytes_value = b"\xff 4111111111111111"
    found.add().body.string_value = "nothing"
    data = TelemetryData.from_message(request)
    made = redact(patterns=[r"\d{16}"], replace_with=r"\1")(data)
    bodies = [record.body for record in made.records()]
    assert bodies == [r"paid with \1 today", r"\1", b"\xff \\1", "nothing"]


@EVERY
def test_requests_without_secrets_are_passed_on_themselves(signal: Signal) -> None:
    """Looking changes no byte, on requests as others' encoders write them."""

    @quick
    @given(requests(signal), st.sampled_from([{"keys": ["no*"]}, {"patterns": ["no such"]}]))
    def check(payload: bytes, way: Any) -> None:
        data = TelemetryData.from_bytes(signal, payload)
        assert redact(**way)(data) is data

    check()


@EVERY
def test_what_is_hidden_agrees_with_full_messages(signal: Signal) -> None:
    """Attributes under the key, and nothing else, on requests of any shape."""

    @quick
    @given(requests(signal), st.sampled_from([["k"], ["[k]"]]))
    def check(payload: bytes, keys: list[str]) -> None:
        data = TelemetryData.from_bytes(signal, payload)
        made = redact(keys=keys, replace_with="x")(data)
        pairs = zip(data.records(), made.records(), strict=True)
        for before, after in pairs:
            for name in ("resource", "scope", "self"):
                was, now = (
                    dict((view if name == "self" else getattr(view, name)).attributes)
                    for view in (before, after)
                )
                assert now == {key: "x" if key == "k" else value for key, value in was.items()}
            if signal is not Signal.PROFILES and "k" not in before.attributes:
                assert before.to_bytes() == after.to_bytes()
        back = redact(keys=keys, replace_with="x")(made)
        assert records_of(signal, back.to_bytes()) == records_of(signal, made.to_bytes())

    check()


def test_what_cannot_be_looked_through_does_not_pass_and_is_not_shown() -> None:
    """A secret in an error message is a secret in a log."""
    request = everywhere(Signal.LOGS)
    text = SECRET.encode()
    broken = request.SerializeToString().replace(text, b"\xff" + text[1:])
    data = TelemetryData.from_bytes(Signal.LOGS, broken)
    with pytest.raises(DecodeError) as caught:
        redact(keys=["password"])(data)
    assert "unter2" not in str(caught.value)
    assert caught.value.path == "resource_logs[0].resource"
    rig = Rig().run(ops.chain(redact(keys=["password"])), ops.export(Recorder()))
    receipt = rig.feed.admit(data)
    rig.wait(0)
    assert kind(receipt) is Kind.REJECTED
    assert "unter2" not in str(receipt.outcome)
    rig.check_books()


def test_records_without_the_key_keep_their_bytes() -> None:
    """And are not even decoded."""
    request: Any = Signal.LOGS.names.request()
    found = request.resource_logs.add().scope_logs.add().log_records
    found.add().attributes.add(key="password").value.string_value = "a"
    found.add(severity_text="\n").attributes.add(key="other").value.string_value = "b"
    payload = request.SerializeToString().replace(b"\x01b", b"\x01\xff")  # no text
    made = redact(keys=["password"])(TelemetryData.from_bytes(Signal.LOGS, payload))
    before, after = (
        [view.to_bytes() for view in records.views(Signal.LOGS, item)]
        for item in (payload, made.to_bytes())
    )
    assert before[0] != after[0]
    assert before[1] == after[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"redact\(\): expected keys or patterns"),
        ({"keys": "password"}, r"redact\(keys='password'\).*write \['password'\]"),
        ({"keys": [""]}, r"redact\(keys=''\): expected a key"),
        ({"patterns": r"\d+"}, r"expected a list of regular expressions, got str"),
        ({"patterns": ["("]}, r"redact\(patterns=\['\('\]\): expected a regular expression"),
        ({"patterns": [3]}, r"redact\(patterns=\[3\]\): expected .*, got int"),
        ({"patterns": [b"a"]}, "expected a pattern of str, not of bytes"),
        ({"patterns": ["a*"]}, "finds the empty text everywhere"),
        ({"keys": ["a"], "replace_with": None}, r"redact\(replace_with=None\): expected a str"),
    ],
)
def test_a_wrong_argument_fails_where_it_is_written(
    arguments: dict[str, Any], message: str
) -> None:
    """Not at the first element."""
    with pytest.raises((TypeError, ValueError), match=message):
        redact(**arguments)
