"""`ops.execute(flow)`: operations in, results out."""

import asyncio
import threading
from typing import Any

import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxotlp import operators as ops
from rxotlp.errors import FlowError, TooManyWaiting, UnsupportedOperation
from rxotlp.flows import (
    AsyncControlFlow,
    Call,
    ExecutionResult,
    HybridControlFlow,
    Metric,
    NestedTrace,
    ParallelExecutionFlow,
    RecordMetric,
    RecursiveExecutionFlow,
    SequentialExecutionFlow,
    SyncControlFlow,
)
from rxotlp.schedulers import SerialScheduler, VirtualScheduler
from rxotlp.testing import Moment, diagrams

ALL = [
    SyncControlFlow,
    AsyncControlFlow,
    HybridControlFlow,
    SequentialExecutionFlow,
    ParallelExecutionFlow,
    RecursiveExecutionFlow,
]


def breaks(_: Any) -> None:
    raise ValueError("out of stock")


def sleep(seconds: float, then: Any = None) -> Call:
    async def sleeps(_: Any) -> Any:
        await asyncio.sleep(seconds)
        return then

    return Call(sleeps)


@pytest.mark.parametrize("make", ALL)
def test_one_result_for_each_of_a_thousand_operations(
    make: Any, scheduler: SerialScheduler
) -> None:
    """A bad one among them ends nothing, and is a Failure."""
    flow = make(scheduler=scheduler)
    operations = [Call(breaks) if n % 10 == 0 else Call(lambda _: 1) for n in range(1_000)]
    results: list[Any] = []
    done = threading.Event()
    rx.from_iterable(operations).pipe(ops.execute(flow)).subscribe(
        results.append, on_completed=done.set
    )
    if isinstance(scheduler, VirtualScheduler):
        scheduler.run()
    assert done.wait(30)
    failures = [one for one in results if isinstance(one, ExecutionResult.Failure)]
    assert (len(results), len(failures)) == (1_000, 100)
    assert all(isinstance(one.error, ValueError) for one in failures)
    assert failures[0].operation in operations


def test_the_diagram_is_what_it_does(clock: VirtualScheduler) -> None:
    """A diagram that nobody runs is wrong within a month."""
    rows = diagrams(ops.execute)
    operations = {"a": Call(lambda _: "A"), "b": Call(breaks), "c": Call(lambda _: "C")}
    source: Subject[Any] = Subject()
    seen: list[Moment] = []

    def note(result: Any) -> None:
        letter = "B" if isinstance(result, ExecutionResult.Failure) else result.value
        seen.append(Moment(round(clock.clock), letter))

    source.pipe(ops.execute(AsyncControlFlow(scheduler=clock))).subscribe(
        note, on_completed=lambda: seen.append(Moment(round(clock.clock), "|"))
    )
    for moment in rows["source"].moments:
        clock.advance_to(moment.second)
        if moment.what == "|":
            source.on_completed()
        else:
            source.on_next(operations[moment.what])
        clock.advance_by(0)
    assert seen == rows["result"].moments


def test_results_are_in_order_one_at_a_time_and_as_ready_with_more(
    clock: VirtualScheduler,
) -> None:
    """`max_concurrent` is the choice."""
    for at_once, wanted in ((None, [3, 1]), (2, [1, 3])):
        values: list[Any] = []
        rx.of(sleep(3, 3), sleep(1, 1)).pipe(
            ops.execute(AsyncControlFlow(scheduler=clock), max_concurrent=at_once)
        ).subscribe(lambda result, to=values: to.append(result.value))  # type: ignore[misc]
        clock.advance_by(10)
        assert values == wanted


def test_waiting_operations_are_bounded(clock: VirtualScheduler) -> None:
    """One more is a Failure at once; those before it are executed."""
    results: list[Any] = []
    rx.of(sleep(1), sleep(1), sleep(1)).pipe(
        ops.execute(AsyncControlFlow(scheduler=clock), max_waiting=1)
    ).subscribe(results.append)
    clock.advance_by(5)
    assert isinstance(results[0].error, TooManyWaiting)
    assert [type(one) for one in results[1:]] == [ExecutionResult.Success] * 2


def test_stop_ends_the_stream_with_the_error(clock: VirtualScheduler) -> None:
    """For those to whom one failure is the end."""
    results: list[Any] = []
    errors: list[Exception] = []
    rx.of(Call(lambda _: 1), Call(breaks), Call(lambda _: 2)).pipe(
        ops.execute(AsyncControlFlow(scheduler=clock), on_error="stop")
    ).subscribe(results.append, errors.append)
    clock.advance_by(1)
    assert len(results) == 1
    assert isinstance(errors[0], ValueError)


def test_the_sources_error_comes_after_the_results(clock: VirtualScheduler) -> None:
    """What had arrived is executed first."""
    source: Subject[Any] = Subject()
    seen: list[str] = []
    source.pipe(ops.execute(AsyncControlFlow(scheduler=clock))).subscribe(
        lambda _: seen.append("result"), lambda error: seen.append(str(error))
    )
    source.on_next(sleep(1))
    source.on_error(OSError("gone"))
    clock.advance_by(2)
    assert seen == ["result", "gone"]


def test_dispose_cancels_what_runs_and_what_waits_never_starts(clock: VirtualScheduler) -> None:
    """Spans that were open end; nothing comes out any more."""
    began: list[int] = []
    results: list[Any] = []
    flow = AsyncControlFlow(scheduler=clock)
    subscription = (
        rx.of(NestedTrace([sleep(5)], name="open"), Call(lambda _: began.append(1)))
        .pipe(ops.execute(flow))
        .subscribe(results.append)
    )
    clock.advance_by(1)
    assert flow.statistics().open_spans == 1
    subscription.dispose()
    clock.advance_by(10)
    assert (began, results, flow.statistics().open_spans) == ([], [], 0)


def test_an_element_that_is_no_operation_is_a_failure(clock: VirtualScheduler) -> None:
    """It names what came."""
    results: list[Any] = []
    flow = AsyncControlFlow(scheduler=clock)
    rx.of("pay", RecordMetric(Metric("n", 1))).pipe(ops.execute(flow)).subscribe(results.append)
    clock.advance_by(1)
    assert isinstance(results[0].error, UnsupportedOperation)
    assert "'pay'" in str(results[0].error)
    assert isinstance(results[1], ExecutionResult.Metric)


def test_wrong_arguments_fail_where_they_are_written(clock: VirtualScheduler) -> None:
    """And say what was expected."""
    bad: Any = "flow"
    flow: Any = AsyncControlFlow(scheduler=clock)
    with pytest.raises(TypeError, match=r"execute\('flow'\): expected a flow of rxotlp.flows"):
        ops.execute(bad)
    with pytest.raises(TypeError):
        ops.execute(flow, speed=1)
    for options in ({"max_concurrent": 0}, {"max_waiting": -1}, {"on_error": "ignore"}):
        with pytest.raises(ValueError, match=r"AsyncControlFlow\.as_operator"):
            ops.execute(flow, **options)
    assert issubclass(TooManyWaiting, FlowError)
