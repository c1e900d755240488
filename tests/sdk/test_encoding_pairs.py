"""What the encoders keep between records: how much, and that it is never somebody else's."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from rxotlp.wire import pairs, writing
from rxotlp.wire.pairs import Pairs, any_value
from rxotlp.wire.writing import Texts, signed, tag, varint, zigzag


def read(made: Pairs, attributes: dict[str, Any]) -> Span:
    """Encode attributes and decode them."""
    parts: list[bytes] = []
    made.add(attributes, parts)
    return Span.FromString(b"".join(parts))


def test_values_that_are_equal_are_not_taken_for_each_other() -> None:
    """`1 == True == 1.0`, and a backend stores them in different columns."""
    made = Pairs(Span)
    values: list[Any] = [1, True, 1.0, 0, False, 0.0, -0.0, "1", b"1", (1,), (True,), (1.0,)]
    for _ in range(3):
        for value in values:
            span = read(made, {"key": value})
            assert span.attributes[0].value == AnyValue.FromString(any_value(value))
            kind = span.attributes[0].value.WhichOneof("value")
            assert kind is not None
            found = getattr(span.attributes[0].value, kind)
            if kind != "array_value":
                assert repr(found) == repr(value)


def test_ids_do_not_push_out_what_comes_again() -> None:
    """A key with a new value each time is not worth keeping, and must not cost the others."""
    made = Pairs(Span)
    read(made, {"route": "/"})
    for number in range(5000):
        read(made, {"user.id": number})
    assert ("route", str, "/") in made
    assert len(made) < 300


def test_what_is_kept_is_bounded_and_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and values that are all different must not become a leak."""
    monkeypatch.setattr(pairs, "_MAX_PAIRS", 50)
    monkeypatch.setattr(pairs, "_MAX_MISSES", 500)
    made = Pairs(Span)
    for number in range(2000):
        read(made, {f"key {number}": number})
        assert len(made) <= 50
        assert len(made._keys) <= 50
    for number in range(2000):
        read(made, {"user.id": number})
    read(made, {"user.id": -1})
    assert read(made, {"user.id": -1}).attributes[0].value.int_value == -1


def test_long_values_are_not_kept() -> None:
    """A stack trace seldom comes twice, and takes much room."""
    made = Pairs(Span)
    assert read(made, {"trace": "x" * 5000}).attributes[0].value.string_value == "x" * 5000
    assert not made
    texts = Texts(Span, "name")
    assert Span.FromString(texts["y" * 5000]).name == "y" * 5000
    assert not texts


def test_texts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Span names with ids in them are a mistake that many make."""
    monkeypatch.setattr(writing, "_MAX_TEXTS", 10)
    texts = Texts(Span, "name")
    for number in range(100):
        assert Span.FromString(texts[f"GET /{number}"]).name == f"GET /{number}"
        assert len(texts) <= 10


def test_threads_may_share_them() -> None:
    """Every processor and exporter of a program encodes in a thread of its own."""
    made = Pairs(Span)
    wrong: list[object] = []

    def work(numbers: Sequence[int]) -> None:
        for number in numbers:
            span = read(made, {"n": number % 40, "flag": number % 2 == 0, "t": str(number)})
            values = [one.value for one in span.attributes]
            if values[0].int_value != number % 40 or values[2].string_value != str(number):
                wrong.append(span)

    threads = [threading.Thread(target=work, args=(range(3000),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("value", [object(), {1}, 1j, [object()], {"a": object()}])
def test_a_value_that_otlp_has_not_is_refused(value: object) -> None:
    """Whoever called falls back to the SDK's encoder, which says what it thinks of it."""
    with pytest.raises(TypeError):
        any_value(value)
    with pytest.raises(TypeError):
        Pairs(Span).add({"key": value}, [])


@given(st.integers(0, 2**64 - 1))
def test_numbers_are_written_as_protobuf_writes_them(value: int) -> None:
    """Lengths, counts and enumerations; also negative ones of both kinds."""
    counts = tag(Span, "dropped_events_count") + varint(value % 2**32)
    assert Span.FromString(counts).dropped_events_count == value % 2**32
    negative = -(value >> 1)
    made = AnyValue.FromString(tag(AnyValue, "int_value") + signed(negative))
    assert made.int_value == negative
    scale = (value >> 32) - 2**31
    encoded = tag(ExponentialHistogramDataPoint, "scale") + zigzag(scale)
    assert ExponentialHistogramDataPoint.FromString(encoded).scale == scale


@pytest.mark.parametrize(
    ("write", "value"), [(signed, 2**63), (signed, -(2**63) - 1), (zigzag, 2**31)]
)
def test_numbers_that_do_not_fit_are_refused(write: Any, value: int) -> None:
    """Never cut off: that would be another number."""
    with pytest.raises(OverflowError):
        write(value)
