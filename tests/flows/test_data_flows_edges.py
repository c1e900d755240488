"""Data flows when several things happen at the same moment, or an observer is at fault."""

import asyncio
import threading
from typing import Any

import pytest

from rxotlp._core.outcomes import Kind
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError, RefusedError
from rxotlp.flows import AsyncDataFlow, HybridDataFlow, SyncDataFlow
from rxotlp.receipt import Receipt
from rxotlp.schedulers import AsyncScheduler, SyncScheduler, VirtualScheduler
from rxotlp.testing import ids_of, kind, logs

PATIENCE = 30.0


def test_who_gives_in_while_others_stop_loses_nothing() -> None:
    """The next run begins while the last one ends, and neither takes the other down."""
    threads = 4
    with SyncScheduler() as scheduler:
        flow = AsyncDataFlow(batch_size=10, flush_interval=0.01, scheduler=scheduler)
        out: list[int] = []
        flow.output.subscribe(lambda data: out.extend(ids_of(data)))
        receipts: list[tuple[int, Receipt]] = []
        begun = threading.Barrier(threads + 1)

        def give(first: int) -> None:
            begun.wait(PATIENCE)
            receipts.extend(
                (number, flow.process(logs([number]))) for number in range(first, 2_000, threads)
            )

        workers = [threading.Thread(target=give, args=(n,)) for n in range(threads)]
        for worker in workers:
            worker.start()
        begun.wait(PATIENCE)
        stops = []
        while any(worker.is_alive() for worker in workers):
            stops.append(flow.stop(timeout=PATIENCE))
        for worker in workers:
            worker.join(PATIENCE)
        stops.append(flow.stop(timeout=PATIENCE))
        assert all(stops)
        assert len(receipts) == 2_000
        # Who came in the very moment of a stop was told to try again, and never both.
        done = {number for number, receipt in receipts if kind(receipt) is not Kind.FAILED}
        assert sorted(out) == sorted(done)
        assert all(receipt.settled for _, receipt in receipts)
        assert (flow.admission.items, flow.admission.bytes) == (0, 0)


def test_those_who_wait_for_room_count_items_too() -> None:
    """`max_items` holds for `aprocess` as for `process`; what never fits is refused."""

    async def main() -> None:
        async with AsyncScheduler(asyncio.get_running_loop()) as scheduler:
            flow = AsyncDataFlow(batch_size=1_000, max_items=10, scheduler=scheduler)
            tasks = [asyncio.create_task(flow.aprocess(logs([n, n]))) for n in range(20)]
            await asyncio.sleep(0)
            assert flow.admission.items == 10
            assert flow.admission.waiting == 15
            with pytest.raises(RefusedError) as refused:
                await flow.aprocess(logs(range(11)))
            assert refused.value.permanent
            outcomes = await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
            assert len(outcomes) == 20
            assert await flow.astop()
            assert (flow.admission.items, flow.admission.bytes) == (0, 0)

    asyncio.run(main())


def test_a_caller_cancelled_as_room_is_granted_gives_it_back() -> None:
    """Else every such moment would make the flow smaller, until nothing fits."""

    async def main() -> None:
        async with AsyncScheduler(asyncio.get_running_loop()) as scheduler:
            element = logs([1])
            flow = AsyncDataFlow(max_bytes=element.size, scheduler=scheduler)
            held = flow.admission.reserve(element.size)
            task = asyncio.create_task(flow.aprocess(element))
            await asyncio.sleep(0)
            held.release()
            # After the grant has reached the task's loop, before it has reached the task.
            asyncio.get_running_loop().call_soon(task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert flow.admission.bytes == 0

    asyncio.run(main())


def test_a_stop_can_be_awaited_in_virtual_time(clock: VirtualScheduler) -> None:
    """Nobody else moves that clock: waiting for it by the wall's would end in the timeout."""
    flow = AsyncDataFlow(flush_interval=5, scheduler=clock)
    receipt = flow.process(logs([1]))
    assert asyncio.run(flow.astop())
    assert kind(receipt) is not Kind.FAILED


def test_a_stop_on_the_loop_says_the_way_out() -> None:
    """It would keep the loop from ending what it waits for, and then lose it."""

    async def main() -> None:
        async with AsyncScheduler(asyncio.get_running_loop()) as scheduler:
            flow = AsyncDataFlow(scheduler=scheduler)
            receipt = flow.process(logs([1]))
            with pytest.raises(PipelineError, match=r"await flow\.astop"):
                flow.stop()
            assert await flow.astop()
            assert kind(receipt) is not Kind.FAILED

    asyncio.run(main())


def test_a_stop_after_its_scheduler_closed_leaves_no_sender_waiting() -> None:
    """It cannot be done any more, and whoever gave it in must hear so."""
    with VirtualScheduler() as scheduler:
        flow = AsyncDataFlow(scheduler=scheduler)
        receipt = flow.process(logs([1]))
    with pytest.raises(PipelineError, match=r"close\(\)"):
        flow.stop()
    assert kind(receipt) is Kind.FAILED
    assert flow.admission.bytes == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda clock: AsyncDataFlow(batch_size=1, scheduler=clock),
        lambda clock: HybridDataFlow(lambda data: data, scheduler=clock),
    ],
    ids=["async", "hybrid"],
)
def test_an_observer_that_raises_takes_nothing_from_others(
    make: Any, clock: VirtualScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    """Its fault is in the log as it was, and its element is to be sent again."""
    flow = make(clock)

    def fault(data: TelemetryData) -> None:
        raise RuntimeError(f"no good: {ids_of(data)}")

    flow.output.subscribe(fault)
    out: list[list[int]] = []
    flow.output.subscribe(lambda data: out.append(ids_of(data)))
    receipts = [flow.process(logs([number])) for number in range(3)]
    clock.advance_by(1)
    assert out == [[0], [1], [2]]
    assert "no good: [1]" in caplog.text
    assert "UnboundLocalError" not in caplog.text
    assert flow.stop()  # what the log's frames hold is let go of at last
    assert [kind(receipt) for receipt in receipts] == [Kind.FAILED] * 3


def test_a_sync_flow_answers_for_what_it_filters_and_makes() -> None:
    """Senders of an element with a receipt hear of it; what was filtered is not sent again."""
    flow = SyncDataFlow(lambda data: None if ids_of(data) == [1] else logs(ids_of(data)))
    filtered, made = Receipt(), Receipt()
    assert flow.process(filtered.attach(logs([1]))) == []
    assert filtered.worst.kind is Kind.FILTERED
    (result,) = flow.process(made.attach(logs([2])))
    assert result._share is not None
    assert result._share.sender is made
