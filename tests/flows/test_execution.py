"""Execution flows: order, groups at once, depth; on every scheduler."""

import asyncio
import threading
from typing import Any

import pytest
from reactivex.subject import BehaviorSubject, Subject

from rxotlp import operators as ops
from rxotlp.errors import (
    ExecutionFailed,
    FlowError,
    GroupsFailed,
    MaxDepthExceeded,
    PipelineError,
    UnsupportedOperation,
)
from rxotlp.flows import (
    AddSpan,
    Call,
    EndTrace,
    ExecutionResult,
    Metric,
    NestedTrace,
    Operation,
    ParallelExecutionFlow,
    RecordMetric,
    RecursiveExecutionFlow,
    RecursiveMetric,
    SequentialExecutionFlow,
    StartTrace,
)
from rxotlp.flows.operations import BatchProcessing
from rxotlp.schedulers import SerialScheduler, SyncScheduler, VirtualScheduler
from tests.support.spans import record


def breaks(_: Any) -> None:
    raise ValueError("out of stock")


class AtOnce:
    """Counts how many of its operations run at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def sleep(self, seconds: float = 1.0) -> Call:
        async def sleeps(_: Any) -> None:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(seconds)
            self.now -= 1

        return Call(sleeps)


def nested(levels: int) -> Operation:
    tree: Operation = RecordMetric(Metric("leaf", 1))
    for number in reversed(range(levels)):
        tree = NestedTrace([tree], name=f"level {number}")
    return tree


# -- one after the other -------------------------------------------------------------------


def test_sequential_is_in_order_and_then_drained(scheduler: SerialScheduler) -> None:
    """Nothing is executed twice."""
    seen: list[int] = []
    calls = [Call(lambda _, n=n: seen.append(n)) for n in range(20)]  # type: ignore[misc]
    flow = SequentialExecutionFlow(calls, scheduler=scheduler)
    first = flow.execute_sequential()
    assert isinstance(first, ExecutionResult.Batch)
    assert (len(first), seen) == (20, list(range(20)))
    again = flow.execute_sequential()
    assert isinstance(again, ExecutionResult.Batch)
    assert (len(again), seen) == (0, list(range(20)))


def test_sequential_says_which_failed_and_what_never_ran(scheduler: SerialScheduler) -> None:
    """Whoever repairs it needs to know where to go on."""
    ran: list[int] = []
    last = Call(lambda _: ran.append(3), "last")
    operations = [Call(lambda _: ran.append(1)), Call(breaks, "breaks"), last]
    flow = SequentialExecutionFlow(operations, scheduler=scheduler)
    with pytest.raises(ExecutionFailed, match=r"number 2 of 3, failed: out of stock") as caught:
        flow.execute_sequential()
    assert caught.value.operation == operations[1]
    assert caught.value.never_ran == (last,)
    assert len(caught.value.results) == 1
    assert isinstance(caught.value.__cause__, ValueError)
    assert ran == [1]


def test_what_is_no_operation_is_refused_as_it_is_added(clock: VirtualScheduler) -> None:
    """The mistake is where it was made."""
    bad: Any = "pay"
    with pytest.raises(UnsupportedOperation, match="SequentialExecutionFlow: expected"):
        SequentialExecutionFlow([bad], scheduler=clock)
    with pytest.raises(UnsupportedOperation, match="ParallelExecutionFlow: expected"):
        ParallelExecutionFlow([[bad]], scheduler=clock)


def test_waiting_in_its_own_turn_says_the_way_out(scheduler: SerialScheduler) -> None:
    """A deadlock is no answer; for the calls that only execution flows have, too."""
    sequential = SequentialExecutionFlow(scheduler=scheduler)
    parallel = ParallelExecutionFlow(scheduler=scheduler)
    texts: list[str] = []

    def inside(_: Any) -> None:
        for call in (sequential.execute_sequential, parallel.execute_parallel):
            with pytest.raises(PipelineError) as caught:
                call()
            texts.append(str(caught.value))

    SequentialExecutionFlow(scheduler=scheduler).execute(Call(inside))
    assert "await flow.aexecute_sequential()" in texts[0]
    assert "await flow.aexecute_parallel()" in texts[1]


# -- groups at once ------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_groups_run_than_the_limit_says(clock: VirtualScheduler, limit: int) -> None:
    """And no fewer, while any wait."""
    count = AtOnce()
    groups = [[count.sleep()] for _ in range(7)]
    ParallelExecutionFlow(groups, concurrency_limit=limit, scheduler=clock).execute_parallel()
    assert count.most == limit


def test_results_are_in_the_order_asked_for(clock: VirtualScheduler) -> None:
    """Of groups, or of their ends."""

    def group(number: int) -> list[Operation]:
        async def work(_: Any) -> int:
            await asyncio.sleep(5 - number)
            return number

        return [Call(work)]

    for as_finished, wanted in ((False, [0, 1, 2]), (True, [2, 1, 0])):
        flow = ParallelExecutionFlow(map(group, range(3)), as_finished=as_finished, scheduler=clock)
        done: Any = flow.execute_parallel()
        assert [one.results[0].value for one in done] == wanted


def test_groups_do_not_share_a_current_span(scheduler: SerialScheduler) -> None:
    """Each has its own copy of the context."""
    groups: list[list[Operation]] = [
        [StartTrace(f"root {n}"), AddSpan(None, f"child {n}"), EndTrace(), EndTrace()]
        for n in range(20)
    ]
    flow = ParallelExecutionFlow(groups, concurrency_limit=5, scheduler=scheduler)
    seen = record(flow)
    flow.execute_parallel()
    if isinstance(scheduler, VirtualScheduler):
        scheduler.advance_by(0)
    else:
        settled = threading.Event()
        scheduler.post(settled.set)
        assert settled.wait(30)
    assert sorted(seen.tree()) == sorted(
        [(f"child {n}", f"root {n}") for n in range(20)] + [(f"root {n}", None) for n in range(20)]
    )
    assert len(seen.trace_ids()) == 20


def test_a_crash_is_its_groups_error_and_the_others_are_finished(
    scheduler: SerialScheduler,
) -> None:
    """By default what the others do is no less wanted; no error hides another."""
    done: list[int] = []
    groups = [[Call(breaks)], [Call(lambda _: done.append(1))], [Call(breaks)]]
    flow = ParallelExecutionFlow(groups, scheduler=scheduler)
    with pytest.raises(GroupsFailed, match="2 of 3 groups failed") as caught:
        flow.execute_parallel()
    failed: list[Any] = list(caught.value.exceptions)
    assert [error.group for error in failed] == [0, 2]
    assert list(caught.value.results) == [1]
    assert done == [1]


def test_the_others_are_cancelled_when_asked_to(clock: VirtualScheduler) -> None:
    """Those that run, and those that wait."""
    count = AtOnce()
    ran: list[str] = []
    groups = [
        [count.sleep(1), Call(breaks)],
        [count.sleep(9), Call(lambda _: ran.append("ran on"))],
        [Call(lambda _: ran.append("began"))],
    ]
    flow = ParallelExecutionFlow(groups, concurrency_limit=2, cancel_others=True, scheduler=clock)
    with pytest.raises(GroupsFailed, match="1 of 3"):
        flow.execute_parallel()
    clock.advance_by(20)
    assert ran == []


@pytest.mark.parametrize("bad", [0, -1, True, 2.5, "3"])
def test_a_limit_that_is_none_is_refused(bad: Any) -> None:
    """It names the call, the value and what was expected."""
    with pytest.raises((ValueError, TypeError), match=r"ParallelExecutionFlow\(concurrency_limit="):
        ParallelExecutionFlow(concurrency_limit=bad)


def test_an_observable_changes_the_limit(clock: VirtualScheduler) -> None:
    """From its first value on; raising it begins what waits, 0 pauses."""
    limits: BehaviorSubject[float] = BehaviorSubject(1)
    count = AtOnce()
    flow = ParallelExecutionFlow(
        [[count.sleep()] for _ in range(9)], concurrency_limit=limits, scheduler=clock
    )
    whole = flow._begin_all(None)
    clock.advance_by(0.5)
    assert (count.now, count.most) == (1, 1)
    limits.on_next(3)
    clock.advance_by(0)
    assert count.now == 3
    limits.on_next(0)
    clock.advance_by(10)
    assert (count.now, whole.future.done()) == (0, False)
    limits.on_next(float("nan"))  # ignored
    limits.on_next(2)
    clock.advance_by(10)
    assert whole.future.done()
    assert count.most == 3
    assert not limits.observers  # with nothing to run, nothing is followed


def test_a_pause_that_nothing_can_end_fails_what_waits(clock: VirtualScheduler) -> None:
    """Waiting for ever is no answer."""
    limits: Subject[float] = Subject()
    flow = ParallelExecutionFlow(
        [[Call(breaks)]], concurrency_limit=ops.Limit(limits, initial=0), scheduler=clock
    )
    whole = flow._begin_all(None)
    clock.advance_by(1)
    assert not whole.future.done()
    limits.on_completed()
    clock.advance_by(0)
    error = whole.future.exception(0)
    assert isinstance(error, GroupsFailed)
    assert isinstance(error.exceptions[0], FlowError)
    assert "nothing can end the pause" in str(error.exceptions[0])


def test_a_thousand_groups_cancelled_half_way_leave_nothing(clock: VirtualScheduler) -> None:
    """No open span, no slot that stays taken."""
    count = AtOnce()
    groups = [[NestedTrace([count.sleep()], name="work")] for _ in range(1_000)]
    flow = ParallelExecutionFlow(groups, concurrency_limit=10, scheduler=clock)
    whole = flow._begin_all(None)
    clock.advance_by(50.5)
    whole.cancel()
    clock.advance_by(1)
    assert whole.future.done()
    assert flow.statistics().open_spans == 0
    assert count.most == 10
    flow.add(Call(lambda _: 1))
    assert len(flow.execute_parallel()) == 1  # type: ignore[arg-type]


def test_eight_threads_start_groups_at_once() -> None:
    """The flow is safe from any thread: nothing lost, nothing twice."""
    with SyncScheduler() as scheduler:
        flow = ParallelExecutionFlow(concurrency_limit=4, scheduler=scheduler)

        def work() -> None:
            for _ in range(125):
                flow.execute(RecordMetric(Metric("n", 1)))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert flow.statistics().performed["RecordMetric"] == 1_000


# -- one within the other ------------------------------------------------------------------


def test_depth_is_limited_and_the_error_has_the_path(scheduler: SerialScheduler) -> None:
    """Which of the levels was one too many is what one asks first."""
    flow = RecursiveExecutionFlow(3, scheduler=scheduler)
    flow.execute(nested(3))
    with pytest.raises(MaxDepthExceeded, match="at most 3 levels") as caught:
        flow.execute(nested(4))
    assert caught.value.path == tuple(f"NestedTrace(level {n})" for n in range(4))
    assert flow.statistics().open_spans == 0
    flow.execute(nested(3))  # the error left nothing raised


def test_executions_at_once_do_not_add_up(clock: VirtualScheduler) -> None:
    """Depth belongs to the chain of calls."""
    flow = RecursiveExecutionFlow(3, scheduler=clock)
    handles = [flow.begin(nested(3)) for _ in range(1_000)]
    clock.advance_by(0)
    assert all(handle.future.exception(0) is None for handle in handles)


def test_ten_thousand_levels_with_the_right_parents(scheduler: SerialScheduler) -> None:
    """Recursion of the data is not recursion of Python's."""
    flow = RecursiveExecutionFlow(10_000, scheduler=scheduler)
    flow.execute(nested(10_000))
    assert flow.statistics().open_spans == 0
    with pytest.raises(MaxDepthExceeded) as caught:
        flow.execute(nested(10_001))
    assert len(caught.value.path) == 10_001


@pytest.mark.parametrize(("factor", "value"), [(-1, 4), (0.5, 4), (1.0, 4), (1.5, 6), (3, 12)])
def test_a_recursive_metric_grows_by_its_factor(
    scheduler: SerialScheduler, factor: float, value: float
) -> None:
    """One of at most 1.0 leaves the value."""
    flow = RecursiveExecutionFlow(scheduler=scheduler)
    result = flow.execute(RecursiveMetric(Metric("n", 4), factor))
    assert isinstance(result, ExecutionResult.Metric)
    assert result.metric.value == value


def test_other_operations_run_directly(scheduler: SerialScheduler) -> None:
    """A batch is no level."""
    flow = RecursiveExecutionFlow(1, scheduler=scheduler)
    deep: Operation = Call(lambda _: "done")
    for _ in range(5):
        deep = BatchProcessing([deep])
    flow.execute(deep)


@pytest.mark.parametrize("bad", [0, True, 1.5])
def test_a_depth_that_is_none_is_refused(bad: Any) -> None:
    """It names the call, the value and what was expected."""
    with pytest.raises((ValueError, TypeError), match=r"RecursiveExecutionFlow\(max_depth="):
        RecursiveExecutionFlow(bad)
