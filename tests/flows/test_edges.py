"""Operations at their edges: what cannot become OTLP, deep levels cut off, ends out of order."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from rxotlp.errors import FlowError
from rxotlp.flows import (
    AddSpan,
    AsyncControlFlow,
    BatchProcessing,
    Call,
    ControlEvent,
    ControlState,
    EndTrace,
    ExecutionContext,
    ExecutionResult,
    HighLatency,
    Metric,
    NestedTrace,
    Operation,
    RecordMetric,
    StartTrace,
    SyncControlFlow,
)
from rxotlp.schedulers import AsyncScheduler, VirtualScheduler
from tests.support.spans import record

A, B = "a" * 16, "b" * 16
HALF = "\ud800"  # of a surrogate pair: a str, and no text that UTF-8 has bytes for


@pytest.mark.parametrize(
    "make",
    [
        lambda: StartTrace(HALF),
        lambda: AddSpan(None, HALF),
        lambda: NestedTrace([], name=HALF),
        lambda: EndTrace(message=HALF),
        lambda: StartTrace("a", {HALF: 1}),
        lambda: StartTrace("a", {"key": HALF}),
        lambda: Metric(HALF, 1),
        lambda: Metric("m", 1, unit=HALF),
        lambda: Metric("m", 1, description=HALF),
        lambda: Metric("m", 10**400),
    ],
)
def test_what_otlp_cannot_hold_is_refused_where_it_is_written(
    make: Callable[[], object],
) -> None:
    """It would else come up when its metric leaves, and take all others with it."""
    with pytest.raises(ValueError, match="expected"):
        make()


def test_names_of_metrics_are_bounded(clock: VirtualScheduler) -> None:
    """A name made of an id would otherwise fill the memory, bound on points or not."""
    flow = SyncControlFlow(state=ControlState(scheduler=clock, max_points=3))
    for number in range(3):
        flow.execute(RecordMetric(Metric(f"m{number}", 1)))
    with pytest.raises(FlowError, match=r"RecordMetric\(m3\): 3 metrics are known.*max_points"):
        flow.execute(RecordMetric(Metric("m3", 1)))
    flow.execute(RecordMetric(Metric("m0", 1)))
    assert flow.statistics().points == 3


def test_cancelling_ends_ten_thousand_open_levels(clock: VirtualScheduler) -> None:
    """Each level ends its span; none of that is Python calls in each other."""
    flow = AsyncControlFlow(scheduler=clock)
    seen = record(flow)

    async def stuck(_: ExecutionContext) -> None:
        await asyncio.sleep(1_000)

    tree: Operation = Call(stuck)
    for _ in range(10_000):
        tree = NestedTrace([tree], name="level")
    handle = flow.begin(tree)
    clock.advance_by(1)
    assert flow.statistics().open_spans == 10_000
    handle.cancel()
    clock.advance_by(1)
    assert handle.future.done()
    assert flow.statistics().open_spans == 0
    assert {span.status for span in seen.spans()} == {2}


def test_a_span_that_was_ended_within_hides_no_error(clock: VirtualScheduler) -> None:
    """The level cannot end it again, and what the caller must hear is what went wrong."""
    flow = SyncControlFlow(scheduler=clock)
    level = NestedTrace([EndTrace(), Call(lambda _: 1 / 0)], name="level")
    with pytest.raises(ZeroDivisionError):
        flow.execute(level)


def test_an_error_whose_text_is_no_utf8_still_ends_its_level(clock: VirtualScheduler) -> None:
    """The status says what can be said of it."""
    flow = SyncControlFlow(scheduler=clock)
    seen = record(flow)

    def fail(_: ExecutionContext) -> None:
        raise LookupError(f"no file {HALF}")

    with pytest.raises(LookupError, match="no file"):
        flow.execute(NestedTrace([Call(fail)], name="level"))
    clock.advance_by(0)
    assert [span.name for span in seen.spans()] == ["level"]


def test_after_ends_out_of_order_the_current_span_is_an_open_one(clock: VirtualScheduler) -> None:
    """B's parent A has ended before it, so what follows B belongs to the root."""
    flow = SyncControlFlow(scheduler=clock)
    seen = record(flow)
    flow.execute(
        BatchProcessing(
            [
                StartTrace("root"),
                AddSpan(None, "a", span_id=A),
                AddSpan(None, "b", span_id=B),
                EndTrace(A),
                EndTrace(),
                AddSpan(None, "c"),
                EndTrace(),
                EndTrace(),
            ]
        )
    )
    clock.advance_by(0)
    assert sorted(seen.tree()) == [("a", "root"), ("b", "a"), ("c", "root"), ("root", None)]


@pytest.mark.parametrize("wrap", [lambda call: call, HighLatency], ids=["plain", "high latency"])
def test_a_plain_function_may_give_something_to_await(
    wrap: Callable[[Operation], Operation],
) -> None:
    """A lambda around an async function is how one binds its arguments."""

    async def fetch(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def main() -> None:
        async with AsyncScheduler(asyncio.get_running_loop()) as scheduler:
            flow = AsyncControlFlow(scheduler=scheduler)
            result = await flow.aexecute(wrap(Call(lambda _: fetch(7))))
            assert isinstance(result, ExecutionResult.Success)
            assert result.value == 7
            promise = asyncio.get_running_loop().create_future()
            promise.set_result(8)
            result = await flow.aexecute(Call(lambda _: promise))
            assert isinstance(result, ExecutionResult.Success)
            assert result.value == 8

    asyncio.run(main())


def test_an_observer_of_events_that_raises_takes_nothing_from_others(
    clock: VirtualScheduler,
) -> None:
    """Its fault is in the log; the others see every event, and the end."""
    flow = SyncControlFlow(scheduler=clock)
    seen: list[ControlEvent] = []
    over: list[bool] = []

    def fault(_: ControlEvent) -> None:
        raise RuntimeError("no good")

    flow.events.subscribe(fault)
    flow.events.subscribe(seen.append, on_completed=lambda: over.append(True))
    flow.execute(RecordMetric(Metric("m", 1)))
    flow.execute(RecordMetric(Metric("m", 1)))
    flow.events.complete()
    clock.advance_by(0)
    assert len(seen) == 4
    assert over == [True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_waits_for_no_thread_of_its_parent(clock: VirtualScheduler) -> None:
    """A thread that was just then at work holds the lock, and is not there to release it."""
    flow = SyncControlFlow(scheduler=clock)
    with flow.state._lock:
        child = os.fork()
        if not child:
            signal.alarm(20)  # rather than wait for ever
            os._exit(int(flow.state.statistics().open_spans))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
