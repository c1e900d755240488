"""Rewriting parts of a request, and Python values as attribute values."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rxotlp.wire import group, records
from rxotlp.wire.rewrite import rewrite
from rxotlp.wire.signals import Signal
from rxotlp.wire.values import any_value, value
from tests.support.requests import PATHS, lists, records_of, requests

EVERY = pytest.mark.parametrize("signal", list(Signal), ids=lambda signal: signal.value)
quick = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_a_python_value_comes_back_as_it_was(plain: Any) -> None:
    """Through the wire, an integer stays one and an empty list is not nothing."""
    encoded = any_value(plain).SerializeToString()
    again = value(type(any_value(None)).FromString(encoded))
    assert again == plain
    assert type(again) is type(plain)


@EVERY
def test_what_nobody_changes_is_the_same_object(signal: Signal) -> None:
    """Looking at every part costs no byte."""

    def look(message: Any, strings: Any) -> bool:
        message.Clear()  # which nobody hears of
        return False

    @quick
    @given(requests(signal))
    def check(payload: bytes) -> None:
        made = rewrite(
            signal,
            payload,
            resource=look,
            scope=look,
            metric=look,
            record=lambda view: view.to_bytes(),
            dictionary=lambda dictionary, strings: False,
        )
        assert made is payload

    check()


def test_points_go_around_the_metric_that_changes() -> None:
    """Its header is decoded and encoded; its points keep their bytes, unknown fields too."""

    def describe(metric: Any, strings: Any) -> bool:
        metric.description = "changed"
        return True

    @quick
    @given(requests(Signal.METRICS))
    def check(payload: bytes) -> None:
        made = rewrite(Signal.METRICS, payload, metric=describe)
        expected = Signal.METRICS.names.request.FromString(payload)
        for _, _, metric, _ in lists(Signal.METRICS, expected):
            if metric.WhichOneof("data"):
                metric.description = "changed"
        assert records_of(Signal.METRICS, made) == records_of(
            Signal.METRICS, expected.SerializeToString()
        )
        before, after = (
            [view.to_bytes() for view in records.views(Signal.METRICS, item)]
            for item in (payload, made)
        )
        assert before == after

    check()


@EVERY
def test_selected_groups_keep_their_bytes(signal: Signal) -> None:
    """As the same groups of the full message, and what stands beside them."""

    @quick
    @given(requests(signal), st.lists(st.booleans(), min_size=3, max_size=3))
    def check(payload: bytes, choice: list[bool]) -> None:
        flags = iter(choice)
        made = group.select_groups(signal, payload, lambda resource: next(flags))
        expected: Any = signal.names.request.FromString(payload)
        groups = getattr(expected, PATHS[signal][0])
        chosen = choice[: len(groups)]
        if made is None:
            assert groups
            assert not any(chosen)
            return
        assert made is payload or not all(chosen)
        for at in reversed(range(len(chosen))):
            if not chosen[at]:
                del groups[at]
        assert signal.names.request.FromString(made) == expected

    check()
