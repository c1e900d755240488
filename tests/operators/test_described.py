"""Operators say what they are."""

import pytest

from rxotlp import Signal, exporters
from rxotlp import operators as ops


def keep(_span: object) -> bool:
    """A predicate with a name."""
    return True


@pytest.mark.parametrize(
    ("operator", "shown"),
    [
        (ops.batch(), "ops.batch()"),
        (ops.batch(max_items=100, max_delay=0.5), "ops.batch(max_items=100, max_delay=0.5)"),
        (ops.export(exporters.Memory()), "ops.export(<Memory to memory>)"),
        (
            ops.filter_records(keep, signal=Signal.LOGS),
            "ops.filter_records(keep, signal=Signal.LOGS)",
        ),
        (ops.chain(lambda data: data), "ops.chain(lambda)"),
        (
            ops.route("signal", {Signal.LOGS: ops.batch()}),
            "ops.route('signal', {Signal.LOGS: ops.batch()})",
        ),
        (ops.batch(name="x" * 100), f"ops.batch(name='{'x' * 58}…)"),
    ],
)
def test_an_operator_shows_how_it_was_made(operator: object, shown: str) -> None:
    """A pipeline in a debugger reads as it was written."""
    assert repr(operator) == shown
