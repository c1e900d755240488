"""Control flows: the same operations, results and telemetry, whoever's turn it is."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest

from rxotlp.errors import PipelineError, UnknownSpan, UnsupportedOperation
from rxotlp.flows import (
    AddSpan,
    AsyncControlFlow,
    BatchProcessing,
    Call,
    ComplexTrace,
    ControlState,
    EndTrace,
    EventKind,
    ExecutionContext,
    ExecutionResult,
    HighLatency,
    Metric,
    NestedTrace,
    NonBlocking,
    Operation,
    RecordMetric,
    SpanStatus,
    StartTrace,
    SyncControlFlow,
)
from rxotlp.flows.base import Flow
from rxotlp.schedulers import AsyncScheduler, SerialScheduler, SyncScheduler, VirtualScheduler
from tests.support.spans import record

Make = Callable[[SerialScheduler], Flow]

FLOWS = [
    pytest.param(lambda scheduler: SyncControlFlow(scheduler=scheduler), id="SyncControlFlow"),
    pytest.param(lambda scheduler: AsyncControlFlow(scheduler=scheduler), id="AsyncControlFlow"),
]
flows = pytest.mark.parametrize("make", FLOWS)


def in_order(*operations: Operation) -> BatchProcessing:
    return BatchProcessing(operations)


def finish(flow: Flow, scheduler: SerialScheduler) -> None:
    """Let all telemetry that left reach its subscribers."""
    flow.complete()
    if isinstance(scheduler, VirtualScheduler):
        scheduler.advance_by(0)
        return
    done = threading.Event()
    scheduler.post(done.set)
    assert done.wait(30)


@flows
def test_every_operation_has_its_result(make: Make, scheduler: SerialScheduler) -> None:
    """Results have the form of what was executed."""
    flow = make(scheduler)
    seen = record(flow)
    result = flow.execute(
        in_order(
            StartTrace("order"),
            NestedTrace([AddSpan(None, "pay"), EndTrace()]),
            ComplexTrace([RecordMetric(Metric("n", 1))], [RecordMetric(Metric("n", 2))]),
            HighLatency(AddSpan(None, "slow")),
            NonBlocking(EndTrace()),
            Call(lambda context: context.depth),
            EndTrace(),
        )
    )
    assert isinstance(result, ExecutionResult.Batch)
    started, nested, complex_, slow, ended, called, last = result
    assert isinstance(started, ExecutionResult.Success)
    assert isinstance(nested, ExecutionResult.Nested)
    assert [type(one) for one in nested] == [ExecutionResult.Success] * 2
    assert isinstance(complex_, ExecutionResult.Group)
    assert [one.metric.value for one in complex_] == [1, 2]  # type: ignore[attr-defined]
    assert isinstance(slow, ExecutionResult.Success)
    assert isinstance(ended, ExecutionResult.Success)
    assert ended.span_id == slow.span_id
    assert isinstance(called, ExecutionResult.Success)
    assert called.value == 0
    assert isinstance(last, ExecutionResult.Success)
    assert last.span_id == started.span_id
    finish(flow, scheduler)
    assert seen.tree() == [("order", None), ("pay", "order"), ("slow", "order")]


@flows
def test_what_a_function_returns_is_executed_after_it(
    make: Make, scheduler: SerialScheduler
) -> None:
    """Real work decides what there is to tell."""
    flow = make(scheduler)
    seen = record(flow)

    def work(context: ExecutionContext) -> list[Operation]:
        assert context.trace is not None
        return [AddSpan(None, "found"), EndTrace()]

    flow.execute(in_order(StartTrace("search"), Call(work), EndTrace()))
    finish(flow, scheduler)
    assert seen.tree() == [("found", "search"), ("search", None)]


@flows
def test_a_named_level_is_a_span_and_ends_with_what_happened_in_it(
    make: Make, scheduler: SerialScheduler
) -> None:
    """Also when that was an error, which goes on to the caller."""
    flow = make(scheduler)
    seen = record(flow)

    def breaks(_: ExecutionContext) -> None:
        raise ValueError("out of stock")

    with pytest.raises(ValueError, match="out of stock"):
        flow.execute(NestedTrace([NestedTrace([Call(breaks)], name="inner")], name="outer"))
    flow.execute(NestedTrace([RecordMetric(Metric("n", 1))], name="fine"))
    finish(flow, scheduler)
    assert [(span.name, span.parent, span.status, span.message) for span in seen.spans()] == [
        ("fine", None, SpanStatus.UNSET, ""),
        ("inner", "outer", SpanStatus.ERROR, "out of stock"),
        ("outer", None, SpanStatus.ERROR, "out of stock"),
    ]
    assert flow.statistics().open_spans == 0


@flows
def test_ten_thousand_levels_are_no_problem(make: Make, scheduler: SerialScheduler) -> None:
    """Recursion of the data is not recursion of Python's."""
    flow = make(scheduler)
    seen = record(flow)
    tree: Operation = NestedTrace([], name="leaf")
    for number in range(10_000):
        tree = NestedTrace([tree], name=f"level {number}")
    flow.execute(tree)
    finish(flow, scheduler)
    messages = seen.messages()
    parents = {message.span_id: message.parent_span_id for message in messages}
    assert len(messages) == 10_001
    (leaf,) = [message for message in messages if message.name == "leaf"]
    depth, at = 0, leaf.span_id
    while parents[at]:
        depth, at = depth + 1, parents[at]
    assert depth == 10_000


@flows
def test_an_error_names_the_operation_and_its_path(make: Make, scheduler: SerialScheduler) -> None:
    """In a tree of hundreds, "no such span" would be useless."""
    flow = make(scheduler)
    with pytest.raises(UnknownSpan) as caught:
        flow.execute(NestedTrace([in_order(AddSpan("a" * 16, "lost"))], name="checkout"))
    assert str(caught.value).startswith("AddSpan(lost): span aaaaaaaaaaaaaaaa was never opened")
    assert caught.value.path == ("NestedTrace(checkout)", "BatchProcessing")


@flows
def test_what_is_no_operation_is_refused(make: Make, scheduler: SerialScheduler) -> None:
    """With what it was."""
    with pytest.raises(UnsupportedOperation, match="expected an operation of rxotlp"):
        make(scheduler).execute(5)  # type: ignore[arg-type]


@flows
def test_contexts_are_copied_and_number_every_operation(
    make: Make, scheduler: SerialScheduler
) -> None:
    """What one level does to the current span is nothing to its siblings."""
    flow = make(scheduler)
    seen: list[ExecutionContext] = []
    look = Call(seen.append)
    flow.execute(
        in_order(StartTrace("root"), NestedTrace([AddSpan(None, "child"), look]), look, EndTrace())
    )
    inner, outer = seen
    assert inner.trace is not None
    assert outer.trace is not None
    assert inner.trace.outer == outer.trace
    assert inner.execution_id == outer.execution_id
    assert inner.sequence < outer.sequence
    assert (inner.depth, outer.depth) == (1, 0)
    assert inner.path == ("BatchProcessing", "NestedTrace")
    assert outer.path == ("BatchProcessing",)


@flows
def test_events_tell_the_story_in_order(make: Make, scheduler: SerialScheduler) -> None:
    """Loggers and pages are made of them."""
    flow = make(scheduler)
    story: list[tuple[str, str]] = []
    flow.events.subscribe(lambda event: story.append((event.kind.value, event.operation.label)))
    flow.execute(NestedTrace([RecordMetric(Metric("n", 1))], name="x"))
    with pytest.raises(UnknownSpan):
        flow.execute(EndTrace())
    finish(flow, scheduler)
    assert story == [
        ("started", "NestedTrace(x)"),
        ("started", "StartTrace(x)"),
        ("finished", "StartTrace(x)"),
        ("started", "RecordMetric(n)"),
        ("finished", "RecordMetric(n)"),
        ("started", "EndTrace"),
        ("finished", "EndTrace"),
        ("finished", "NestedTrace(x)"),
        ("started", "EndTrace"),
        ("failed", "EndTrace"),
    ]


@flows
def test_eight_threads_execute_at_once(make: Make) -> None:
    """Each waits for its own operations alone, and none is lost."""
    with SyncScheduler() as scheduler:
        flow = make(scheduler)
        seen = record(flow)

        def work(thread: int) -> None:
            for number in range(125):
                name = f"{thread}.{number}"
                flow.execute(NestedTrace([AddSpan(None, name + " child"), EndTrace()], name=name))

        threads = [threading.Thread(target=work, args=(at,)) for at in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        finish(flow, scheduler)
    assert seen.tree() == sorted(
        [(f"{at}.{number}", None) for at in range(8) for number in range(125)]
        + [(f"{at}.{number} child", f"{at}.{number}") for at in range(8) for number in range(125)],
        key=lambda pair: (pair[0], pair[1] or ""),
    )


@flows
def test_a_thousand_tasks_await_at_once(make: Make) -> None:
    """From a loop that is the scheduler's own."""

    async def main() -> None:
        async with AsyncScheduler(asyncio.get_running_loop()) as scheduler:
            flow = make(scheduler)
            seen = record(flow)

            async def one(number: int) -> None:
                async def work(_: ExecutionContext) -> AddSpan:
                    await asyncio.sleep(0)
                    return AddSpan(None, f"child {number}")

                await flow.aexecute(NestedTrace([Call(work), EndTrace()], name=f"root {number}"))

            await asyncio.gather(*map(one, range(1000)))
            flow.complete()
            await scheduler.wait_for_async(lambda: len(seen.messages()) == 2000, timeout=30)
            assert sorted(seen.tree()) == sorted(
                [(f"child {at}", f"root {at}") for at in range(1000)]
                + [(f"root {at}", None) for at in range(1000)],
                key=lambda pair: pair[0],
            )

    asyncio.run(main())


# -- the caller's thread -------------------------------------------------------------------------


def test_sync_executes_in_the_callers_thread(scheduler: SerialScheduler) -> None:
    """So what depends on the thread (locks, thread-locals) is as it would be without a flow."""
    flow = SyncControlFlow(scheduler=scheduler)
    where: list[int] = []
    flow.execute(Call(lambda _: where.append(threading.get_ident())))
    assert where == [threading.get_ident()]


def test_sync_cannot_await_and_says_what_can(clock: VirtualScheduler) -> None:
    """A coroutine that nobody awaits would do nothing, silently."""
    flow = SyncControlFlow(scheduler=clock)

    async def fetch(_: ExecutionContext) -> int:
        return 7

    with pytest.raises(UnsupportedOperation, match=r"Call\(fetch\): its function is async"):
        flow.execute(Call(fetch))
    result = asyncio.run(flow.aexecute(Call(fetch)))
    assert isinstance(result, ExecutionResult.Success)
    assert result.value == 7


# -- the scheduler's turn ------------------------------------------------------------------------


def test_async_takes_turns_operation_by_operation(clock: VirtualScheduler) -> None:
    """A long execution does not keep a short one waiting for its end."""
    flow = AsyncControlFlow(scheduler=clock)
    order: list[str] = []
    long = [Call(partial(lambda at, _: order.append(f"long {at}"), at)) for at in range(3)]
    flow.begin(in_order(*long))
    flow.begin(Call(lambda _: order.append("short")))
    clock.advance_by(0)
    assert order == ["long 0", "short", "long 1", "long 2"]


def test_execute_inside_its_own_turn_says_the_way_out(scheduler: SerialScheduler) -> None:
    """It would wait for itself for ever."""
    flow = AsyncControlFlow(scheduler=scheduler)
    raised: list[BaseException] = []

    def wrong(_: ExecutionContext) -> None:
        try:
            flow.execute(StartTrace("a"))
        except PipelineError as error:
            raised.append(error)

    flow.execute(Call(wrong))
    assert "use `await flow.aexecute(operation)`, or ops.execute(flow)" in str(raised[0])


def test_execute_on_the_loops_thread_says_the_way_out() -> None:
    """The same from a coroutine of the loop that the flow runs on."""

    async def main() -> None:
        async with AsyncScheduler(asyncio.get_running_loop()) as scheduler:
            flow = AsyncControlFlow(scheduler=scheduler)
            with pytest.raises(PipelineError, match="would wait for itself"):
                flow.execute(StartTrace("a"))

    asyncio.run(main())


def test_virtual_time_passes_while_a_function_sleeps(clock: VirtualScheduler) -> None:
    """A minute of work is tested in a millisecond, and the span says a minute."""
    flow = AsyncControlFlow(scheduler=clock)
    seen = record(flow)

    async def minute(_: ExecutionContext) -> None:
        await asyncio.sleep(60)

    flow.execute(NestedTrace([Call(minute)], name="long"))
    (span,) = seen.messages()
    assert span.end_time_unix_nano - span.start_time_unix_nano == 60_000_000_000
    assert clock.clock == 60


def test_high_latency_functions_block_nobody() -> None:
    """They run in the pool; the turn goes on."""
    with SyncScheduler() as scheduler:
        flow = AsyncControlFlow(scheduler=scheduler)
        go, done = threading.Event(), threading.Event()

        def blocks(_: ExecutionContext) -> str:
            assert go.wait(30)
            return "woken"

        handle = flow.begin(HighLatency(Call(blocks)), lambda *_: done.set())
        flow.execute(Call(lambda _: go.set()))  # would never run behind one that blocks the turn
        assert done.wait(30)
        result = handle.future.result()
        assert isinstance(result, ExecutionResult.Success)
        assert result.value == "woken"


def test_cancelling_ends_levels_and_says_so(clock: VirtualScheduler) -> None:
    """What was begun is told; what was to come never runs."""
    flow = AsyncControlFlow(scheduler=clock)
    seen, ran = record(flow), []
    kinds: list[EventKind] = []
    flow.events.subscribe(lambda event: kinds.append(event.kind))

    async def for_ever(_: ExecutionContext) -> None:
        await asyncio.sleep(1e6)

    after = Call(lambda _: ran.append(1))
    handle = flow.begin(NestedTrace([NestedTrace([Call(for_ever)], name="in"), after], name="out"))
    clock.advance_by(5)
    handle.cancel()
    clock.advance_by(0)
    assert handle.future.done()
    with pytest.raises(BaseException, match="cancelled"):
        handle.future.result()
    assert [(span.name, span.status) for span in seen.spans()] == [("in", 2), ("out", 2)]
    assert ran == []
    assert kinds.count(EventKind.CANCELLED) == 3
    assert clock.statistics().timers == 0


def test_a_cancelled_task_cancels_its_execution() -> None:
    """As everybody who writes asyncio expects."""

    async def main() -> None:
        async with AsyncScheduler(asyncio.get_running_loop()) as scheduler:
            flow = AsyncControlFlow(scheduler=scheduler)
            started, stopped = asyncio.Event(), asyncio.Event()

            async def work(_: ExecutionContext) -> None:
                started.set()
                try:
                    await asyncio.sleep(1000)
                finally:
                    stopped.set()

            task = asyncio.create_task(flow.aexecute(Call(work)))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(stopped.wait(), 30)

    asyncio.run(main())


def test_an_execution_cancelled_before_it_began_does_nothing(clock: VirtualScheduler) -> None:
    """Its spans would be of nothing."""
    flow = AsyncControlFlow(scheduler=clock)
    seen = record(flow)
    handle = flow.begin(NestedTrace([], name="never"))
    handle.cancel()
    handle.cancel()
    clock.advance_by(0)
    assert handle.future.done()
    assert seen.elements == []


def test_events_are_bounded_and_missed_ones_counted(clock: VirtualScheduler) -> None:
    """An observer that is slow must not make a flow hold without end."""
    flow = SyncControlFlow(state=ControlState(scheduler=clock, max_events=4))
    seen: list[EventKind] = []
    flow.events.subscribe(lambda event: seen.append(event.kind))
    for _ in range(5):
        flow.execute(RecordMetric(Metric("n", 1)))
    assert flow.statistics().missed_events == 6
    clock.advance_by(0)
    assert len(seen) == 4


def test_nobody_pays_for_events_that_nobody_observes(clock: VirtualScheduler) -> None:
    """The bound is for those who look."""
    flow = SyncControlFlow(scheduler=clock)
    flow.execute(RecordMetric(Metric("n", 1)))
    assert clock.statistics().queued == 0
