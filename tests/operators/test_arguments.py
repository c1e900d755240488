"""What is refused where it is written; each one's own limits are beside its tests."""

from collections.abc import Callable
from typing import Any

import pytest
from reactivex import operators as rx_ops

from rxotlp import exporters, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.processors import resource, where
from rxotlp.testing import Rig, logs


def same(data: Any) -> Any:
    """A processor, and a branch."""
    return data


wrong: Any = 3


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (
            lambda: ops.batch(scheduler=wrong),
            "batch(scheduler=3): expected a scheduler of rxotlp or reactivex, got int",
        ),
        (lambda: ops.queue(scheduler=wrong), "queue(scheduler=3): expected a scheduler"),
        (lambda: ops.chain(same, name=wrong), "chain(name=3): expected a text, got int"),
        (
            lambda: ops.export(exporters.Memory),  # type: ignore[arg-type]
            "export(Memory): expected an exporter, got its class; write export(Memory(...))",
        ),
        (
            lambda: ops.chain(ops.batch()),  # type: ignore[arg-type]
            "chain(ops.batch()): expected a function of an element; an operator stands in",
        ),
        (
            lambda: where(resource("host.name").exists, ops.batch()),  # type: ignore[arg-type]
            "where(resource('host.name').exists, ops.batch()): expected a function of an element",
        ),
        (
            lambda: ops.parallel(ops.batch()),  # type: ignore[arg-type]
            "parallel(ops.batch()): expected a function of an element",
        ),
        (lambda: exporters.File(wrong), "File(3): expected a path, got int"),
        (lambda: sources.otlp(grpc=wrong), "otlp(grpc=3): expected 'host:port', got int"),
        (
            lambda: ops.broadcast(same, required=wrong),
            "broadcast(required=3): expected positions of branches, such as [0], got int",
        ),
    ],
)
def test_what_can_never_work_is_refused_at_once(write: Callable[[], object], says: str) -> None:
    """Not when the first element comes, hours later and without the line it was written in."""
    with pytest.raises(TypeError) as raised:
        write()
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize("key", ["logs", None])
def test_a_branch_that_no_signal_can_reach_is_refused(key: object) -> None:
    """A text instead of a Signal would send all logs to the default, or drop them."""
    with pytest.raises(ValueError, match=r"expected Signals, such as Signal\.LOGS"):
        ops.route("signal", {key: same})


@pytest.mark.parametrize(
    "processor",
    [
        rx_ops.map(same),
        where(resource("service.name") == "shop", rx_ops.map(same)),  # type: ignore[arg-type]
    ],
)
def test_an_operator_in_place_of_a_processor_rejects(processor: Any) -> None:
    """What it gives can be indexed without end: counting it through would stop the stream."""
    with Rig(ops.chain(lambda data: data, processor)) as rig:
        heard = rig.send(logs([1], service="shop"))
    assert heard.outcome is not None
    assert heard.outcome.kind is Kind.REJECTED
    assert "a processor" in heard.outcome.reason
