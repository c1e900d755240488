"""`filter_records`, `map_records` and `split_by`: the stages that hold nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.data import Signal, TelemetryData
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs


def keep_even(record: Any) -> bool:
    return bool(record.body % 2 == 0)


def plus_ten(record: Any) -> None:
    record.body.int_value += 10


STATELESS: dict[str, Callable[[], Any]] = {
    "filter_records": lambda: ops.filter_records(keep_even),
    "map_records": lambda: ops.map_records(plus_ten),
    "split_by": lambda: ops.split_by("service.name"),
}


def test_filter_records_keeps_what_the_predicate_wants() -> None:
    """The rest was meant to go: the sender hears success, the books count it."""
    sink = Recorder()
    rig = Rig().run(ops.filter_records(keep_even), ops.export(sink))
    assert kind(rig.send([1, 2, 3, 4])) is Kind.DELIVERED
    assert kind(rig.send([1, 3])) is Kind.FILTERED
    assert sink.calls == [[2, 4]]
    assert rig.books["filter_records"].filtered == 4
    rig.check_books()


def test_map_records_changes_each_record() -> None:
    """As full messages, in place."""
    sink = Recorder()
    rig = Rig().run(ops.map_records(plus_ten), ops.export(sink))
    assert kind(rig.send([1, 2])) is Kind.DELIVERED
    assert sink.calls == [[11, 12]]
    rig.check_books()


@pytest.mark.parametrize("make", [ops.filter_records, ops.map_records])
def test_other_signals_pass_as_they_are(make: Any) -> None:
    """`signal=` says which one is meant; the others are not even decoded."""

    def never(_record: Any) -> Any:
        raise AssertionError("a log record")

    sink = Recorder()
    rig = Rig().run(make(never, signal=Signal.TRACES), ops.export(sink))
    assert kind(rig.send([1])) is Kind.DELIVERED


@pytest.mark.parametrize("make", [ops.filter_records, ops.map_records])
def test_a_raise_rejects_the_element(make: Any) -> None:
    """A record that the function cannot handle is not silently passed or lost."""

    def breaks(record: Any) -> Any:
        raise ValueError("no")

    rig = Rig().run(make(breaks), ops.export(Recorder()))
    assert kind(rig.send([1])) is Kind.REJECTED
    rig.check_books()


def test_split_by_cuts_at_resources_and_the_sender_hears_of_all_parts() -> None:
    """So that `route` and `batch` see pure elements."""
    sink = Recorder()
    rig = Rig().run(ops.split_by("service.name"), ops.export(sink))
    both = logs([1, 2], service="a").to_bytes() + logs([3], service="b").to_bytes()
    receipt = rig.feed.admit(TelemetryData.from_bytes(Signal.LOGS, both))
    rig.wait(0)
    assert sink.calls == [[1, 2], [3]]
    assert kind(receipt) is Kind.DELIVERED
    rig.check_books()


def test_split_by_may_be_a_function_of_the_resource() -> None:
    """Tenants are rarely one attribute."""
    sink = Recorder()
    rig = Rig().run(
        ops.split_by(lambda resource: resource.attributes["service.name"] == "a"),
        ops.export(sink),
    )
    names = ["a", "b", "c"]
    payload = b"".join(logs([at], service=name).to_bytes() for at, name in enumerate(names))
    rig.feed.admit(TelemetryData.from_bytes(Signal.LOGS, payload))
    rig.wait(0)
    assert sink.calls == [[0], [1, 2]]


@pytest.mark.parametrize("name", STATELESS)
def test_on_completion_they_complete(name: str) -> None:
    """Nothing is held, so nothing delays the end."""
    rig = Rig().run(STATELESS[name](), ops.export(Recorder()))
    rig.send([2])
    rig.end()
    assert rig.completed()
    rig.check_books()


@pytest.mark.parametrize("name", STATELESS)
def test_on_error_they_pass_it_on(name: str) -> None:
    """A source's fault is its subscriber's to see."""
    rig = Rig()
    gate: Any = rx.subject.Subject()
    rig.run(rx_ops.merge(gate), STATELESS[name](), ops.export(Recorder()))
    gate.on_error(ValueError("upstream"))
    rig.wait(0)
    assert [str(error) for error in rig.errors] == ["upstream"]


@pytest.mark.parametrize("name", STATELESS)
def test_disposed_they_hold_nothing(name: str) -> None:
    """Everything was settled before."""
    sink = Recorder()
    rig = Rig().run(STATELESS[name](), ops.export(sink))
    receipt = rig.send([2])
    rig.dispose()
    assert kind(receipt) is Kind.DELIVERED
    assert kind(rig.send([4])) is Kind.FAILED
    assert len(sink.ids) == 1
    rig.check_books()


@pytest.mark.parametrize("name", STATELESS)
def test_a_second_subscription_shares_nothing(name: str) -> None:
    """Disposing one leaves the other alone."""
    operator = STATELESS[name]()
    one, two = Rig(), Rig()
    first, second = Recorder(), Recorder()
    one.run(operator, ops.export(first))
    two.run(operator, ops.export(second))
    one.send([2])
    one.dispose()
    two.send([4])
    assert (len(first.ids), len(second.ids)) == (1, 1)
    assert ids_of(logs(second.ids))[0] in (4, 14)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ops.filter_records(3), r"filter_records\(3\): expected a function"),
        (lambda: ops.map_records(None), r"map_records\(None\): expected a function"),  # type: ignore[arg-type]
        (lambda: ops.map_records(plus_ten, signal="logs"), "expected a Signal"),  # type: ignore[arg-type]
        (lambda: ops.filter_records(keep_even, on_error="x"), "on_error='x'"),
        (lambda: ops.split_by(3), r"split_by\(3\): expected the name"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_fails_where_the_pipeline_is_written(
    build: Callable[[], Any], message: str
) -> None:
    """Not at the first element."""
    with pytest.raises((ValueError, TypeError), match=message):
        build()
