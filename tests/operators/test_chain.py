"""`chain`: sequential processors, plain and async."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.data import TelemetryData
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs


def run(*processors: Any, sink: Recorder, **options: Any) -> Rig:
    return Rig().run(ops.chain(*processors, **options), ops.export(sink))


def even(data: TelemetryData) -> TelemetryData | None:
    return data if ids_of(data)[0] % 2 == 0 else None


def plus_ten(data: TelemetryData) -> TelemetryData:
    return data.derive(logs(number + 10 for number in ids_of(data)).to_bytes())


def apart(data: TelemetryData) -> Iterator[TelemetryData]:
    for number in ids_of(data):
        yield logs([number])  # by hand: it stands for what went in


async def slowly(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(ids_of(data)[0])
    return data


def fail(data: TelemetryData) -> TelemetryData:
    if ids_of(data)[0] % 2:
        raise ValueError("odd")
    return data


def test_processors_run_in_order_and_none_filters() -> None:
    """`even` sees what `plus_ten` made, and what it filters is success."""
    sink = Recorder()
    rig = run(plus_ten, even, sink=sink)
    assert kind(rig.send([1])) is Kind.FILTERED
    assert kind(rig.send([2])) is Kind.DELIVERED
    assert sink.ids == [12]
    assert rig.books["chain"].filtered == 1
    rig.check_books()


def test_several_results_leave_in_order_and_all_of_them_answer() -> None:
    """A splitting processor's sender hears when the last part has arrived."""
    sink = Recorder()
    rig = run(apart, plus_ten, sink=sink)
    assert kind(rig.send([1, 2, 3])) is Kind.DELIVERED
    assert sink.calls == [[11], [12], [13]]
    rig.check_books()


def test_a_generator_that_raises_late_rejects_the_whole_input() -> None:
    """Its first parts must not have left already."""

    def breaks(data: TelemetryData) -> Iterator[TelemetryData]:
        yield data.derive(data.to_bytes())
        raise ValueError("late")

    sink = Recorder()
    rig = run(breaks, sink=sink)
    receipt = rig.send([1])
    assert kind(receipt) is Kind.REJECTED
    assert receipt.rejected == 1
    assert sink.ids == []
    rig.check_books()


def test_a_raise_rejects_its_element_publishes_it_and_goes_on() -> None:
    """A bad element must not end a stream, nor vanish."""
    sink = Recorder()
    rig = Rig()
    published: list[Any] = []
    rig.assembly.rejected.subscribe(published.append)
    rig.run(ops.chain(fail), ops.export(sink))
    assert kind(rig.send([1])) is Kind.REJECTED
    assert kind(rig.send([2])) is Kind.DELIVERED
    assert [(ids_of(item.data), item.reason, item.stage) for item in published] == [
        ([1], "ValueError: odd", "chain")
    ]
    rig.check_books()


def test_on_error_drop_loses_it_under_a_reason_and_tells_success() -> None:
    """The user wrote the policy, so the sender need not send again."""
    rig = run(fail, sink=Recorder(), on_error="drop")
    assert kind(rig.send([1])) is Kind.DROPPED
    assert rig.books["chain"].dropped == 1
    rig.check_books()


def test_on_error_stop_ends_the_stream_as_rx_does() -> None:
    """And the source refuses from then on."""
    rig = run(fail, sink=Recorder(), on_error="stop")
    assert kind(rig.send([1])) is Kind.FAILED
    assert [str(error) for error in rig.errors] == ["odd"]
    assert kind(rig.send([2])) is Kind.FAILED
    rig.check_books()


def test_on_error_may_be_a_function_that_repairs() -> None:
    """It returns what a processor may return."""
    sink = Recorder()
    rig = run(fail, sink=sink, on_error=lambda data, error: plus_ten(data))
    assert kind(rig.send([1])) is Kind.DELIVERED
    assert sink.ids == [11]
    rig.check_books()


def test_async_processors_keep_order_and_run_one_at_a_time() -> None:
    """The second must wait for the first although it would be quicker."""
    sink = Recorder()
    rig = run(slowly, sink=sink)
    receipts = [rig.send([3]), rig.send([1])]
    rig.wait(3)
    assert sink.ids == [3]
    rig.wait(1)
    assert sink.ids == [3, 1]
    assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED] * 2
    rig.check_books()


def test_an_async_processor_that_raises_rejects_and_the_next_runs() -> None:
    """As for plain ones."""

    async def fails(data: TelemetryData) -> TelemetryData:
        await asyncio.sleep(1)
        return fail(data)

    sink = Recorder()
    rig = run(fails, sink=sink)
    first, second = rig.send([1]), rig.send([2])
    rig.wait(2)
    assert (kind(first), kind(second)) == (Kind.REJECTED, Kind.DELIVERED)
    rig.check_books()


def test_on_completion_what_runs_and_waits_is_finished_first() -> None:
    """Completion overtakes nothing."""
    sink = Recorder()
    rig = run(slowly, sink=sink)
    rig.send([2])
    rig.send([1])
    rig.feed.stop()
    rig.wait(1)
    assert not rig.completed()
    rig.clock.run()
    assert sink.ids == [2, 1]
    assert rig.completed()
    rig.check_books()


def test_on_error_of_the_source_what_runs_and_waits_is_finished_first() -> None:
    """What was received before a fault is still good data."""
    sink = Recorder()
    rig = Rig()
    gate: Any = rx.subject.Subject()
    rig.run(rx_ops.merge(gate), ops.chain(slowly), ops.export(sink))
    rig.send([2])
    rig.send([1])
    gate.on_error(ValueError("upstream"))
    rig.clock.run()
    assert sink.ids == [2, 1]
    assert [str(error) for error in rig.errors] == ["upstream"]
    rig.check_books()


def test_on_dispose_what_runs_is_cancelled_and_all_of_it_fails() -> None:
    """A processor that never ends must not keep a sender waiting after a disposal."""
    cancelled: list[bool] = []

    async def forever(data: TelemetryData) -> TelemetryData:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return data

    rig = run(forever, sink=Recorder())
    receipts = [rig.send([1]), rig.send([2])]
    rig.dispose()
    rig.clock.run()
    assert [kind(receipt) for receipt in receipts] == [Kind.FAILED] * 2
    assert cancelled == [True]
    rig.check_books()


def test_a_plain_chain_holds_nothing_when_disposed() -> None:
    """It has no queue, so a disposal finds nothing to fail."""
    sink = Recorder()
    rig = run(plus_ten, sink=sink)
    receipt = rig.send([1])
    rig.dispose()
    assert kind(receipt) is Kind.DELIVERED
    assert kind(rig.send([2])) is Kind.FAILED
    rig.check_books()


def test_a_second_subscription_has_a_queue_of_its_own() -> None:
    """Two streams through one operator must not take each other's turns."""
    operator = ops.chain(slowly)
    first, second = Recorder(), Recorder()
    one, two = Rig(), Rig()
    one.run(operator, ops.export(first))
    two.run(operator, ops.export(second))
    one.send([5])
    two.send([1])
    two.wait(1)
    assert (first.ids, second.ids) == ([], [1])


@pytest.mark.parametrize("made", [3, [3], "text"])
def test_a_processor_that_returns_nonsense_rejects_its_element(made: Any) -> None:
    """It is the processor's fault; the message says what was expected."""
    rig = run(lambda data: made, sink=Recorder())
    receipt = rig.send([1])
    assert kind(receipt) is Kind.REJECTED
    rig.check_books()


def test_a_lambda_that_returns_a_coroutine_is_told_how() -> None:
    """`lambda d: coro(d)` looks plain; a never-awaited coroutine would be silent."""
    rig = run(lambda data: slowly(data), sink=Recorder())
    receipt = rig.send([1])
    assert receipt.outcome is not None
    assert "async def" in receipt.outcome.reason


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((), {}, "expected one processor or more"),
        ((3,), {}, "expected a function of an element"),
        ((even,), {"on_error": "ignore"}, "expected one of 'reject', 'drop', 'stop'"),
    ],
)
def test_a_wrong_argument_fails_where_the_pipeline_is_written(
    arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    """Not at the first element."""
    with pytest.raises((ValueError, TypeError), match=message):
        ops.chain(*arguments, **options)
