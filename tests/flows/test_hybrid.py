"""`HybridControlFlow` and its routers: critical first, then together, all awaited."""

import asyncio
import threading
from typing import Any

import pytest

from rxotlp.errors import PipelineError, UnsupportedOperation
from rxotlp.flows import (
    AddSpan,
    BatchProcessing,
    Call,
    ComplexTrace,
    EndTrace,
    EventKind,
    ExecutionResult,
    FlowRouter,
    FlowType,
    HighLatency,
    HybridControlFlow,
    Metric,
    NestedTrace,
    NonBlocking,
    Operation,
    RecordMetric,
    StartTrace,
)
from rxotlp.schedulers import AsyncScheduler, SerialScheduler, SyncScheduler, VirtualScheduler
from tests.support.spans import record

COUNT = RecordMetric(Metric("n", 1))


def breaks(_: Any) -> None:
    raise ValueError("out of stock")


def test_critical_parts_first_in_the_callers_thread_then_the_others(
    scheduler: SerialScheduler,
) -> None:
    """None of the others begins before the last critical one has ended; none runs twice."""
    ran: list[tuple[str, bool]] = []
    here = threading.get_ident()

    def part(name: str) -> Call:
        return Call(lambda _: ran.append((name, threading.get_ident() == here)))

    flow = HybridControlFlow(scheduler=scheduler)
    result = flow.execute(
        ComplexTrace([part("a"), part("b")], [part(f"after {n}") for n in range(20)])
    )
    assert isinstance(result, ExecutionResult.Group)
    assert len(result) == 22
    assert ran[:2] == [("a", True), ("b", True)]
    assert sorted(name for name, _ in ran[2:]) == sorted(f"after {n}" for n in range(20))


def test_async_parts_run_together(clock: VirtualScheduler) -> None:
    """Ten that take a second take a second."""

    async def sleeps(_: Any) -> None:
        await asyncio.sleep(1)

    began = clock.clock
    HybridControlFlow(scheduler=clock).execute(ComplexTrace([], [Call(sleeps)] * 10))
    assert clock.clock - began == pytest.approx(1)


def test_a_critical_error_stops_before_anything_else(scheduler: SerialScheduler) -> None:
    """What depends on it must not begin."""
    ran: list[str] = []
    after = Call(lambda _: ran.append("after"))
    flow = HybridControlFlow(scheduler=scheduler)
    with pytest.raises(ValueError, match="out of stock"):
        flow.execute(ComplexTrace([Call(breaks), after], [after]))
    assert ran == []


def test_no_error_hides_another_and_all_parts_run(scheduler: SerialScheduler) -> None:
    """One failure is raised as it is, several as an ExceptionGroup, in order."""

    def fails(text: str) -> Call:
        def function(_: Any) -> None:
            raise ValueError(text)

        return Call(function)

    flow = HybridControlFlow(scheduler=scheduler)
    with pytest.raises(ValueError, match="only"):
        flow.execute(ComplexTrace([], [COUNT, fails("only"), COUNT]))
    with pytest.raises(ExceptionGroup, match="2 of 3 async parts failed") as caught:
        flow.execute(ComplexTrace([], [fails("first"), COUNT, fails("second")]))
    assert [str(error) for error in caught.value.exceptions] == ["first", "second"]
    assert flow.statistics().performed["RecordMetric"] == 3


def test_spans_of_async_parts_are_children_of_what_the_critical_ones_opened(
    scheduler: SerialScheduler,
) -> None:
    """Both halves work on one state."""
    flow = HybridControlFlow(scheduler=scheduler)
    seen = record(flow)
    flow.execute(ComplexTrace([StartTrace("order")], [NestedTrace([], name="a")] * 3))
    flow.complete()
    settled = threading.Event()
    scheduler.post(settled.set)
    if isinstance(scheduler, VirtualScheduler):
        scheduler.advance_by(0)
    assert settled.wait(30)
    assert seen.tree() == [("a", "order")] * 3 + [("order", None)]


def test_hybrid_takes_a_complex_trace_only(scheduler: SerialScheduler) -> None:
    """Of anything else nobody knows what is critical; nothing of it is done."""
    router = FlowRouter(lambda _: FlowType.HYBRID)
    flow = HybridControlFlow(router=router, scheduler=scheduler)
    with pytest.raises(UnsupportedOperation, match="expected a ComplexTrace") as caught:
        flow.execute(COUNT)
    assert caught.value.operation == COUNT
    assert flow.statistics().performed == {}


def test_sync_here_and_async_there() -> None:
    """SYNC in the caller's thread, ASYNC in the scheduler's."""
    with SyncScheduler() as scheduler:
        flow = HybridControlFlow(scheduler=scheduler)
        result = flow.execute(Call(lambda _: threading.get_ident()))
        assert isinstance(result, ExecutionResult.Success)
        assert result.value == threading.get_ident()
        threads: list[bool] = []

        def inside(_: Any) -> None:
            threads.append(scheduler.running_here)

        flow.execute(NonBlocking(Call(inside)))
        assert threads == [True]


def test_execute_in_its_own_turn_says_the_way_out(scheduler: SerialScheduler) -> None:
    """ASYNC and HYBRID would wait for themselves; SYNC need not."""
    flow = HybridControlFlow(scheduler=scheduler)
    raised: list[str] = []

    def inside(_: Any) -> None:
        flow.execute(COUNT)
        for operation in (NonBlocking(COUNT), ComplexTrace([COUNT], [COUNT])):
            with pytest.raises(PipelineError) as caught:
                flow.execute(operation)
            raised.append(str(caught.value))

    flow.execute(NonBlocking(Call(inside)))
    assert all("await flow.aexecute(operation)" in text for text in raised)
    assert len(raised) == 2
    assert flow.statistics().performed["RecordMetric"] == 1


def test_a_thousand_tasks_await_and_half_are_cancelled() -> None:
    """What is cancelled ends its spans; the others are whole."""

    async def run() -> None:
        async with AsyncScheduler() as scheduler:
            flow = HybridControlFlow(scheduler=scheduler)
            never = asyncio.Event()

            async def waits(_: Any) -> None:
                await never.wait()

            whole = ComplexTrace([COUNT], [COUNT])
            stuck = ComplexTrace([COUNT], [NestedTrace([Call(waits)], name="stuck"), COUNT])
            tasks = [
                asyncio.create_task(flow.aexecute(stuck if n % 2 else whole)) for n in range(1_000)
            ]
            while flow.statistics().performed.get("RecordMetric", 0) < 2_000:
                await asyncio.sleep(0)
            for task in tasks[1::2]:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, ExecutionResult.Group) for one in done[::2])
            assert all(isinstance(one, asyncio.CancelledError) for one in done[1::2])
            while flow.statistics().open_spans:
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), 30))


def test_eight_threads_lose_no_part() -> None:
    """8 × 125 executions: every part once."""
    with SyncScheduler() as scheduler:
        flow = HybridControlFlow(scheduler=scheduler)

        def work() -> None:
            for _ in range(125):
                flow.execute(ComplexTrace([COUNT], [COUNT, COUNT]))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert flow.statistics().performed["RecordMetric"] == 3_000


def test_events_tell_of_the_whole_too(clock: VirtualScheduler) -> None:
    """Who looks on sees the ComplexTrace start, and how it ended."""
    flow = HybridControlFlow(scheduler=clock)
    seen: list[tuple[str, EventKind]] = []
    flow.events.subscribe(lambda event: seen.append((event.operation.label, event.kind)))
    flow.execute(ComplexTrace([COUNT], [COUNT]))
    clock.advance_by(0)
    assert seen[0] == ("ComplexTrace", EventKind.STARTED)
    assert seen[-1] == ("ComplexTrace", EventKind.FINISHED)
    assert len(seen) == 6


# -- routers -------------------------------------------------------------------------------


def test_routes_by_default() -> None:
    """As the docstring says."""
    route = FlowRouter().route_operation
    assert route(ComplexTrace([])) is FlowType.HYBRID
    for operation in (HighLatency(COUNT), BatchProcessing([]), NonBlocking(COUNT)):
        assert route(operation) is FlowType.ASYNC
    assert route(COUNT) is route(StartTrace("a")) is FlowType.SYNC


def test_routes_by_type_by_predicate_and_by_strategy() -> None:
    """The nearest base counts; the first predicate; what the strategy says."""
    types = FlowRouter.by_type({Operation: FlowType.ASYNC, EndTrace: FlowType.SYNC})
    assert types.route_operation(EndTrace()) is FlowType.SYNC
    assert types.route_operation(COUNT) is FlowType.ASYNC
    predicates = FlowRouter.by_predicate(
        [
            (lambda one: isinstance(one, AddSpan), FlowType.ASYNC),
            (lambda _: True, FlowType.SYNC),
        ],
        default=FlowType.HYBRID,
    )
    assert predicates.route_operation(AddSpan(None, "a")) is FlowType.ASYNC
    assert predicates.route_operation(COUNT) is FlowType.SYNC

    class Strategy:
        def select_execution_mode(self, _: Operation) -> FlowType:
            return FlowType.ASYNC

    strategy = FlowRouter.by_strategy(Strategy())
    assert strategy.route_operation(COUNT) is FlowType.ASYNC
    assert strategy.route_operation(ComplexTrace([])) is FlowType.HYBRID


def test_wrong_routers_fail_where_they_are_written() -> None:
    """And a wrong answer names the operation."""
    bad: Any = "sync"
    for call in (
        lambda: FlowRouter(bad),
        lambda: FlowRouter.by_type({bad: FlowType.SYNC}),
        lambda: FlowRouter.by_type({Operation: bad}),
        lambda: FlowRouter.by_predicate([(bad, FlowType.SYNC)]),
        lambda: FlowRouter.by_predicate([], default=bad),
        lambda: FlowRouter.by_strategy(bad),
        lambda: HybridControlFlow(router=bad),
    ):
        with pytest.raises(TypeError, match="expected"):
            call()
    with pytest.raises(TypeError, match=r"RecordMetric\(n\) was routed to 'sync'"):
        FlowRouter(lambda _: bad).route_operation(COUNT)
