"""Where the flows differ from those that rxotlp grew from, and why.

Each test has a short, faithful sketch of what was described, shows how it fails, and that
ours does not.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rxotlp.errors import ExecutionFailed, GroupsFailed, MaxDepthExceeded, TooManySpans
from rxotlp.flows import (
    AsyncControlFlow,
    Call,
    ComplexTrace,
    ControlState,
    HybridControlFlow,
    Metric,
    NestedTrace,
    Operation,
    ParallelExecutionFlow,
    RecordMetric,
    RecursiveExecutionFlow,
    SequentialExecutionFlow,
    StartTrace,
    SyncControlFlow,
)
from rxotlp.schedulers import VirtualScheduler

COUNT = RecordMetric(Metric("n", 1))


def breaks(_: Any) -> None:
    raise ValueError("out of stock")


def fails(text: str) -> Call:
    def function(_: Any) -> None:
        raise ValueError(text)

    return Call(function)


class CountsDepthInItself:
    """The described recursion: one counter in the flow, lowered after success alone."""

    def __init__(self, max_depth: int) -> None:
        self.max_depth = max_depth
        self.current_depth = 0

    async def execute(self, level: Any) -> None:
        if self.current_depth >= self.max_depth:
            raise RecursionError("max depth exceeded")
        self.current_depth += 1
        if callable(level):
            level(None)
        else:
            await asyncio.sleep(0)
            for child in level:
                await self.execute(child)
        self.current_depth -= 1


def test_an_error_leaves_no_depth_behind(clock: VirtualScheduler) -> None:
    """The described counter stays raised, so after a few errors everything is too deep."""

    async def described() -> None:
        flow = CountsDepthInItself(3)
        with pytest.raises(ValueError, match="out of stock"):
            await flow.execute([breaks])
        with pytest.raises(RecursionError):
            await flow.execute([[]])

    asyncio.run(described())
    ours = RecursiveExecutionFlow(2, scheduler=clock)
    for _ in range(5):
        with pytest.raises(ValueError, match="out of stock"):
            ours.execute(NestedTrace([NestedTrace([Call(breaks)])]))
    ours.execute(NestedTrace([NestedTrace([COUNT])]))


def test_executions_at_once_have_depths_of_their_own(clock: VirtualScheduler) -> None:
    """The described counter adds up what runs at once, so load looks like depth."""

    async def described() -> list[Any]:
        flow = CountsDepthInItself(3)
        flat = [flow.execute([]) for _ in range(5)]
        return await asyncio.gather(*flat, return_exceptions=True)

    assert sum(isinstance(one, RecursionError) for one in asyncio.run(described())) == 2
    ours = RecursiveExecutionFlow(1, scheduler=clock)
    handles = [ours.begin(NestedTrace([COUNT])) for _ in range(5)]
    clock.advance_by(0)
    assert [handle.future.exception(0) for handle in handles] == [None] * 5


def test_depth_is_no_stack_of_calls(clock: VirtualScheduler) -> None:
    """The described recursion calls itself, and ends where the stack does."""
    deep: list[Any] = []
    tree: Operation = NestedTrace([])
    for _ in range(5_000):
        deep = [deep]
        tree = NestedTrace([tree])

    def described(level: list[Any]) -> None:
        for child in level:
            described(child)

    with pytest.raises(RecursionError):
        described(deep)
    RecursiveExecutionFlow(10_000, scheduler=clock).execute(tree)
    with pytest.raises(MaxDepthExceeded):
        RecursiveExecutionFlow(5_000, scheduler=clock).execute(tree)


def test_no_failure_hides_another(clock: VirtualScheduler) -> None:
    """The described flows join all and return the first error of the list."""

    async def described(parts: list[Callable[[Any], None]]) -> None:
        async def run(part: Callable[[Any], None]) -> None:
            part(None)

        done = await asyncio.gather(*map(run, parts), return_exceptions=True)
        for one in done:
            if isinstance(one, BaseException):
                raise one

    first, second = fails("first"), fails("second")
    with pytest.raises(ValueError, match="first"):  # and nobody hears of the second
        asyncio.run(described([first.function, second.function]))
    with pytest.raises(ExceptionGroup) as hybrid:
        HybridControlFlow(scheduler=clock).execute(ComplexTrace([], [first, second]))
    assert [str(error) for error in hybrid.value.exceptions] == ["first", "second"]
    with pytest.raises(GroupsFailed) as parallel:
        ParallelExecutionFlow([[first], [COUNT], [second]], scheduler=clock).execute_parallel()
    assert len(parallel.value.exceptions) == 2
    assert list(parallel.value.results) == [1]  # what succeeded is not lost either


def test_what_a_failure_leaves_over_is_told(clock: VirtualScheduler) -> None:
    """The described flow drains as it goes: after an error the rest is gone, silently."""

    def described(operations: list[Callable[[Any], None]]) -> None:
        taken, operations[:] = operations[:], []
        for one in taken:
            one(None)

    queue: list[Callable[[Any], None]] = [breaks, lambda _: None]
    with pytest.raises(ValueError, match="out of stock"):
        described(queue)
    assert queue == []  # which of them ran?
    ours = SequentialExecutionFlow([Call(breaks), COUNT], scheduler=clock)
    with pytest.raises(ExecutionFailed) as caught:
        ours.execute_sequential()
    assert caught.value.never_ran == (COUNT,)
    ours.add(*caught.value.never_ran)  # whoever wants to goes on
    ours.execute_sequential()
    assert ours.statistics().performed == {"RecordMetric": 1}


def test_a_second_execution_has_nothing_to_do(clock: VirtualScheduler) -> None:
    """As described: drained is drained, and nothing is executed twice."""
    ours = SequentialExecutionFlow([COUNT], scheduler=clock)
    ours.execute_sequential()
    assert list(ours.execute_sequential()) == []  # type: ignore[call-overload]
    groups = ParallelExecutionFlow([[COUNT]], scheduler=clock)
    groups.execute_parallel()
    assert list(groups.execute_parallel()) == []  # type: ignore[call-overload]


def test_events_that_nobody_takes_are_bounded(clock: VirtualScheduler) -> None:
    """The described channel is unbounded: an observer that stops takes all memory."""
    described: list[str] = []  # an unbounded channel whose receiver has stopped
    for _ in range(1_000):
        described += ["started", "finished"]
    assert len(described) == 2_000

    state = ControlState(scheduler=clock, max_events=10)
    flow = SyncControlFlow(state=state)
    seen: list[Any] = []

    flow.events.subscribe(seen.append)
    for _ in range(500):  # in this thread, while the clock, which would deliver, stands still
        flow.execute(COUNT)
    clock.advance_by(0)
    assert len(seen) == 10
    assert flow.statistics().missed_events == 990


def test_open_spans_are_bounded_and_leave_in_the_end(clock: VirtualScheduler) -> None:
    """The described state keeps every trace in a map until somebody ends it."""
    described: dict[int, str] = dict.fromkeys(range(1000), "open")
    assert len(described) == 1_000

    state = ControlState(scheduler=clock, max_open_spans=10)
    flow = AsyncControlFlow(state=state)
    failed = 0
    for _ in range(1_000):
        try:
            flow.execute(StartTrace("forgotten"))
        except TooManySpans:
            failed += 1
    assert (flow.statistics().open_spans, failed) == (10, 990)
    flow.complete()
    assert (flow.statistics().open_spans, flow.statistics().unended) == (0, 10)
