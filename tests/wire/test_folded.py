"""The quick check of a whole request says yes only when the thorough one does."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp.errors import DecodeError
from rxotlp.wire.folded import FOLDED
from rxotlp.wire.ids import count_good
from rxotlp.wire.shapes import LAYOUTS
from rxotlp.wire.signals import Signal
from rxotlp.wire.validate import validate
from rxotlp.wire.walker import encode_field

TRACE_ID = encode_field(1, b"t" * 16)
SPAN_ID = encode_field(2, b"s" * 8)
PARENT = encode_field(4, b"p" * 8)
GOOD = TRACE_ID + SPAN_ID + PARENT


def quick(signal: Signal, payload: bytes) -> bool | None:
    """What the quick check says; None when it cannot decode the request."""
    folded = FOLDED[signal].decode(payload)
    if folded is None:
        return None
    return FOLDED[signal].good(folded, LAYOUTS[signal].shape.FromString(payload))


def thorough(signal: Signal, payload: bytes) -> bool | None:
    request: Any
    try:
        request = signal.names.request.FromString(payload)
    except Exception:
        return None
    return count_good(signal, request) is not None


def request(*records: bytes, apart: bool = False) -> bytes:
    """Records in one scope, or each in one of its own."""
    if apart:
        return b"".join(request(record) for record in records)
    return encode_field(1, encode_field(2, b"".join(encode_field(2, r) for r in records)))


IDS = [b"", b"\0" * 8, b"\0" * 16, b"t" * 16, b"s" * 8, b"x" * 7, b"\0" * 15 + b"1"]
fields = st.one_of(
    st.sampled_from([GOOD, TRACE_ID, SPAN_ID, PARENT]),
    st.builds(encode_field, st.sampled_from([1, 2, 4, 5, 6, 9, 10]), st.sampled_from(IDS)),
    # Links, exemplars, texts and attributes: whatever is there for these numbers.
    st.builds(
        encode_field,
        st.sampled_from([5, 8, 9, 11, 13]),
        st.builds(encode_field, st.integers(1, 8), st.sampled_from([*IDS, b"\xff", b"\x0a\x01a"])),
    ),
)
records = st.lists(fields, max_size=4).map(b"".join)


@given(st.lists(records, max_size=4), st.booleans())
def test_spans_pass_quickly_only_when_each_of_their_ids_is_good(
    spans: list[bytes], apart: bool
) -> None:
    """Ids are looked at without knowing whose they are; no span may hide behind another."""
    payload = request(*spans, apart=apart)
    assert not quick(Signal.TRACES, payload) or thorough(Signal.TRACES, payload)
    assert (quick(Signal.TRACES, payload) is None) == (thorough(Signal.TRACES, payload) is None)


@given(st.lists(records, max_size=4), st.booleans())
def test_log_records_pass_quickly_only_when_each_of_their_ids_is_good(
    found: list[bytes], apart: bool
) -> None:
    """The same for ids that may be absent."""
    payload = request(*found, apart=apart)
    assert not quick(Signal.LOGS, payload) or thorough(Signal.LOGS, payload)
    assert (quick(Signal.LOGS, payload) is None) == (thorough(Signal.LOGS, payload) is None)


@given(
    st.lists(
        st.builds(
            lambda kind, points: encode_field(
                kind, b"".join(encode_field(1, point) for point in points)
            ),
            st.sampled_from([5, 7, 9, 10, 11]),
            st.lists(records, max_size=3),
        ),
        max_size=3,
    )
)
def test_data_points_pass_quickly_only_when_each_exemplar_is_good(members: list[bytes]) -> None:
    """A metric with several kinds of data on the wire has only the last, to a parser."""
    payload = request(b"".join(members))
    assert not quick(Signal.METRICS, payload) or thorough(Signal.METRICS, payload)
    assert (quick(Signal.METRICS, payload) is None) == (thorough(Signal.METRICS, payload) is None)
    if quick(Signal.METRICS, payload):
        found: Any = Signal.METRICS.names.request.FromString(payload)
        assert validate(Signal.METRICS, payload).accepted == count_good(Signal.METRICS, found)


@pytest.mark.parametrize(
    ("spans", "accepted"),
    [
        ((GOOD + TRACE_ID, SPAN_ID + PARENT), 1),
        ((GOOD + TRACE_ID + SPAN_ID, b""), 1),
        ((GOOD + encode_field(1, b"short"), GOOD), 1),
        ((encode_field(1, b"short") + GOOD, GOOD), 2),
        ((SPAN_ID + TRACE_ID, GOOD), 2),
    ],
)
def test_a_span_without_an_id_does_not_hide_behind_one_with_two(
    spans: tuple[bytes, ...], accepted: int
) -> None:
    """Numbers of ids and spans agree here; the last of several counts, in any order."""
    payload = request(*spans)
    assert quick(Signal.TRACES, payload) is False
    assert validate(Signal.TRACES, payload).accepted == accepted


@pytest.mark.parametrize("signal", FOLDED, ids=lambda signal: signal.value)
def test_what_encoders_write_passes_quickly(
    signal: Signal, encoded: Callable[[Signal], bytes]
) -> None:
    """The thorough check costs twice as much; it is for requests that look strange."""
    assert quick(signal, encoded(signal))


@pytest.fixture
def encoded() -> Callable[[Signal], bytes]:
    """A request of each signal, as protobuf encodes it."""
    from benchmarks.workloads import payload

    names = {Signal.TRACES: "spans-wide", Signal.METRICS: "metrics", Signal.LOGS: "logs"}

    def encode(signal: Signal) -> bytes:
        return payload(names[signal], items=20)[1]

    return encode


@pytest.mark.parametrize("depth", [20, 60, 100])
def test_values_may_be_as_deep_as_ever(depth: int) -> None:
    """Merging into one message must not change how deep a request may be."""
    value = b"\x0a\x01a"
    for _ in range(depth):
        value = encode_field(5, encode_field(1, value))
    payload = request(GOOD + encode_field(9, encode_field(2, value)))
    assert quick(Signal.TRACES, payload) == thorough(Signal.TRACES, payload)


def test_resources_beyond_all_measure_are_refused_as_before() -> None:
    """The quick check makes nothing of them, and so must not let them through."""
    with pytest.raises(DecodeError, match="more than"):
        validate(Signal.TRACES, b"\x0a\x00" * 40_000)
