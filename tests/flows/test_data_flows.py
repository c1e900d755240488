"""Data flows: at once, in batches, or by urgency; nothing twice, nothing lost."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, failed
from rxotlp.data import Signal, TelemetryData
from rxotlp.errors import FlushFailed, PipelineError, RefusedError
from rxotlp.flows import (
    AsyncDataFlow,
    DataRoute,
    DataRouter,
    HybridDataFlow,
    Priority,
    SyncDataFlow,
)
from rxotlp.receipt import Receipt
from rxotlp.schedulers import AsyncScheduler, SerialScheduler, SyncScheduler, VirtualScheduler
from rxotlp.testing import Recorder, check_operator, ids_of, kind, logs

PATIENCE = 30.0


def same(data: TelemetryData) -> TelemetryData:
    return data


def severe(number: int, severity: int = 9) -> TelemetryData:
    """One log record of a severity; its id is the number."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.body.int_value = number
    severity_number: Any = severity
    record.severity_number = severity_number
    return TelemetryData.from_message(request)


def seen(flow: Any) -> list[list[int]]:
    """What comes out of a flow, as lists of ids."""
    found: list[list[int]] = []
    flow.output.subscribe(lambda data: found.append(ids_of(data)))
    return found


def balanced(flow: Any) -> None:
    assert flow.books.unbalanced == [], str(flow.books)
    assert flow.books.held == 0, str(flow.books)


# -- SyncDataFlow --------------------------------------------------------------------------------


def test_sync_processes_at_once_in_the_callers_thread() -> None:
    """One element becomes several, or none."""
    where: list[int] = []

    def cut(data: TelemetryData) -> list[TelemetryData]:
        where.append(threading.get_ident())
        return data.split(max_items=1)

    flow = SyncDataFlow(cut, lambda part: None if ids_of(part) == [2] else part)
    assert [ids_of(part) for part in flow.process(logs([1, 2, 3]))] == [[1], [3]]
    assert where == [threading.get_ident()]
    assert asyncio.run(flow.aprocess(logs([2]))) == []
    assert flow.buffered == 0


class Original:
    """What the analysis describes: `process` keeps what it processes, `flush` does it again."""

    def __init__(self, process: Callable[[TelemetryData], Any]) -> None:
        self.kept: list[TelemetryData] = []
        self.process_one = process

    def process(self, data: TelemetryData) -> Any:
        self.kept.append(data)
        return self.process_one(data)

    def flush(self) -> list[Any]:
        kept, self.kept = self.kept, []
        return [self.process_one(data) for data in kept]


def test_nothing_is_processed_twice() -> None:
    """The original both processed and kept: every element was done once more at the flush."""
    counts: dict[str, list[int]] = {"ours": [], "original": []}

    def counting(name: str) -> Callable[[TelemetryData], TelemetryData]:
        def process(data: TelemetryData) -> TelemetryData:
            counts[name] += ids_of(data)
            return data

        return process

    ours, original = SyncDataFlow(counting("ours")), Original(counting("original"))
    for flow in (ours, original):
        flow.process(logs([1]))
    ours.buffer(logs([2]))
    original.process(logs([2]))
    for flow in (ours, original):
        flow.flush()
        flow.flush()
    assert counts == {"ours": [1, 2], "original": [1, 2, 1, 2]}


def test_what_is_kept_is_bounded() -> None:
    """In items and in bytes; a full one says what to do."""
    flow = SyncDataFlow(same, max_items=3)
    flow.buffer(logs([1, 2]))
    with pytest.raises(RefusedError, match=r"2 items of \d+ bytes are kept .* flush\(\) first"):
        flow.buffer(logs([3, 4]))
    flow.buffer(logs([5]))
    assert flow.buffered == 3
    assert [ids_of(data) for data in flow.flush()] == [[1, 2], [5]]
    with pytest.raises(RefusedError) as caught:
        SyncDataFlow(same, max_bytes=5).buffer(logs([1]))
    assert caught.value.permanent


def test_a_failing_flush_loses_nothing() -> None:
    """What came before it is in the error, what comes after it is kept."""

    def breaks_at_two(data: TelemetryData) -> TelemetryData:
        if ids_of(data) == [2]:
            raise ValueError("two")
        return data

    flow = SyncDataFlow(breaks_at_two)
    for number in (1, 2, 3):
        flow.buffer(logs([number]))
    with pytest.raises(
        FlushFailed, match=r"ValueError: two; 1 results .* 1 elements are kept"
    ) as e:
        flow.flush()
    results: Any = e.value.results
    assert [ids_of(data) for data in results] == [[1]]
    assert isinstance(e.value.operation, TelemetryData)
    assert ids_of(e.value.operation) == [2]
    assert [ids_of(data) for data in flow.flush()] == [[3]]


def test_eight_threads_keep_and_flush_without_losing_or_doubling() -> None:
    """Each element comes out of exactly one flush."""
    flow = SyncDataFlow(same)
    out: list[int] = []
    lock = threading.Lock()

    def work(thread: int) -> None:
        for number in range(100):
            flow.buffer(logs([thread * 1000 + number]))
            if number % 7 == 0:
                results = flow.flush()
                with lock:
                    out.extend(number for data in results for number in ids_of(data))

    threads = [threading.Thread(target=work, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out += [number for data in flow.flush() for number in ids_of(data)]
    assert sorted(out) == [at * 1000 + number for at in range(8) for number in range(100)]


# -- AsyncDataFlow -------------------------------------------------------------------------------


def test_batches_close_by_size(clock: VirtualScheduler) -> None:
    """However fast elements come."""
    with AsyncDataFlow(batch_size=4, flush_interval=60, scheduler=clock) as flow:
        batches = seen(flow)
        for number in range(10):
            flow.process(logs([number]))
        clock.advance_by(0)
        assert batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert batches[2:] == [[8, 9]]  # what was open left at the stop
    balanced(flow)


class OriginalTimer:
    """What the analysis describes: the interval is waited for anew after every arrival."""

    def __init__(self, clock: VirtualScheduler, interval: float) -> None:
        self.clock, self.interval = clock, interval
        self.batch: list[int] = []
        self.batches: list[list[int]] = []
        self.sleeping: Any = None

    def arrive(self, number: int) -> None:
        self.batch.append(number)
        if self.sleeping is not None:
            self.sleeping.dispose()  # `select!` drops the other branch, and makes a new one
        self.sleeping = self.clock.schedule_relative(self.interval, self.flush)

    def flush(self, *_: Any) -> None:
        self.batches.append(self.batch)
        self.batch = []


def test_the_age_of_a_batch_counts_from_its_first_element(clock: VirtualScheduler) -> None:
    """Under a steady trickle the original's timer starts anew each time, and never fires."""
    flow = AsyncDataFlow(batch_size=100, flush_interval=0.1, scheduler=clock)
    ours, original = seen(flow), OriginalTimer(clock, 0.1)
    for number in range(50):
        flow.process(logs([number]))
        original.arrive(number)
        clock.advance_by(0.05)
    assert original.batches == []
    assert ours[0] == [0, 1]
    assert all(len(batch) <= 3 for batch in ours)
    flow.stop()
    assert [number for batch in ours for number in batch] == list(range(50))


def test_senders_hear_when_their_batch_is_done(clock: VirtualScheduler) -> None:
    """The receipt that `process` gives settles with the batch."""

    async def second(data: TelemetryData) -> TelemetryData:
        await asyncio.sleep(1)
        return data

    flow = AsyncDataFlow(second, batch_size=2, scheduler=clock)
    receipts = [flow.process(logs([number])) for number in range(2)]
    clock.advance_by(0.5)
    assert [kind(receipt) for receipt in receipts] == [None, None]
    clock.advance_by(0.5)
    assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED] * 2
    assert flow.output.unobserved == 2
    flow.stop()
    balanced(flow)


def test_a_failing_batch_is_tried_again_and_then_rejected(clock: VirtualScheduler) -> None:
    """Nothing is lost silently: the senders of what cannot be processed hear so."""
    calls: list[float] = []

    def process(data: TelemetryData) -> TelemetryData:
        calls.append(clock.clock)
        if len(calls) < 3 or ids_of(data) == [7]:
            raise ConnectionError("down")
        return data

    flow = AsyncDataFlow(process, batch_size=1, retries=2, retry_delay=1, scheduler=clock)
    good = flow.process(logs([1]))
    clock.run()
    assert kind(good) is Kind.DELIVERED
    assert len(calls) == 3
    assert calls[1] - calls[0] == pytest.approx(1, rel=0.21)
    assert calls[2] - calls[1] == pytest.approx(2, rel=0.21)
    bad = flow.process(logs([7]))
    after = flow.process(logs([8]))
    clock.run()
    assert kind(bad) is Kind.REJECTED
    assert bad.outcome is not None
    assert "ConnectionError: down" in bad.outcome.reason
    assert kind(after) is Kind.DELIVERED
    flow.stop()
    balanced(flow)
    assert flow.books["process"].rejected == 1


def test_a_full_flow_refuses_or_lets_wait(clock: VirtualScheduler) -> None:
    """Bounded: `process` says when to come again, `aprocess` waits."""

    async def main() -> None:
        async with AsyncScheduler(asyncio.get_running_loop()) as scheduler:
            size = logs([1]).size
            flow = AsyncDataFlow(flush_interval=0.02, max_bytes=size, scheduler=scheduler)
            flow.process(logs([1]))
            with pytest.raises(RefusedError) as caught:
                flow.process(logs([2]))
            assert caught.value.retry_after is not None
            assert (await flow.aprocess(logs([3]))).success
            assert await flow.astop()
            balanced(flow)

    asyncio.run(main())


def test_giving_up_waiting_for_room_gives_nothing_in() -> None:
    """A cancelled caller must not find its element delivered."""

    async def main() -> None:
        async with AsyncScheduler(asyncio.get_running_loop()) as scheduler:
            size = logs([1]).size
            go = asyncio.Event()

            async def held(data: TelemetryData) -> TelemetryData:
                await go.wait()
                return data

            flow = AsyncDataFlow(held, max_bytes=size, scheduler=scheduler)
            out = seen(flow)
            flow.process(logs([1]))
            waiting = asyncio.create_task(flow.aprocess(logs([2])))
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            go.set()
            assert await flow.astop()
            assert out == [[1]]
            assert flow.admission.bytes == 0

    asyncio.run(main())


def test_a_thousand_tasks_give_in_at_once() -> None:
    """Each hears of its own element; none is lost, none twice."""

    async def main() -> None:
        async with AsyncScheduler(asyncio.get_running_loop()) as scheduler:
            flow = AsyncDataFlow(same, flush_interval=0.01, max_bytes=2_000, scheduler=scheduler)
            out = seen(flow)
            outcomes = await asyncio.gather(*(flow.aprocess(logs([at])) for at in range(1000)))
            assert all(outcome.success for outcome in outcomes)
            assert await flow.astop()
            assert sorted(number for batch in out for number in batch) == list(range(1000))
            balanced(flow)

    asyncio.run(main())


@pytest.mark.parametrize("make", [AsyncDataFlow, HybridDataFlow])
def test_eight_threads_give_in_on_every_scheduler(
    make: Callable[..., Any], scheduler: SerialScheduler
) -> None:
    """Whoever's turn it is: all of it comes out, and the books balance."""
    flow = make(same, scheduler=scheduler)
    out = seen(flow)
    receipts: list[Receipt] = []

    def work(thread: int) -> None:
        receipts.extend(
            flow.process(severe(thread * 100 + number, 9 + number % 13)) for number in range(50)
        )

    if isinstance(scheduler, VirtualScheduler):
        for at in range(8):
            work(at)
        scheduler.advance_by(0)
    else:
        threads = [threading.Thread(target=work, args=(at,)) for at in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert flow.stop(timeout=PATIENCE)
    numbers = sorted(number for batch in out for number in batch)
    assert numbers == [at * 100 + number for at in range(8) for number in range(50)]
    assert all(receipt.outcome is not None and receipt.outcome.success for receipt in receipts)
    balanced(flow)
    assert flow.admission.bytes == flow.admission.items == 0


def test_an_element_with_a_receipt_keeps_it(clock: VirtualScheduler) -> None:
    """Its sender hears what became of it in the flow."""
    flow = AsyncDataFlow(batch_size=1, scheduler=clock)
    flow.output.subscribe(lambda data: None)
    outer = Receipt(inbox=clock.inbox)
    cell = [outer.attach(logs([1]))]
    flow.process(cell[0])
    cell.clear()
    assert kind(outer) is None
    clock.advance_by(0)
    assert kind(outer) is Kind.FILTERED
    flow.stop()


def test_output_goes_on_into_operators(clock: VirtualScheduler) -> None:
    """And what a backend says reaches whoever gave the element in."""
    flow = AsyncDataFlow(batch_size=1, scheduler=clock)
    backend = Recorder(lambda data: failed("down") if ids_of(data) == [2] else DELIVERED)
    flow.output.pipe(ops.export(backend, retry=None)).subscribe(scheduler=clock)
    first, second = flow.process(logs([1])), flow.process(logs([2]))
    clock.advance_by(0)
    assert (kind(first), kind(second)) == (Kind.DELIVERED, Kind.FAILED)
    flow.stop()


def test_a_flow_starts_again_after_a_stop(clock: VirtualScheduler) -> None:
    """With books of its own, and the same subscribers."""
    flow = AsyncDataFlow(batch_size=2, scheduler=clock)
    out = seen(flow)
    flow.process(logs([1]))
    assert flow.stop()
    assert flow.stop()
    flow.process(logs([2]))
    assert flow.stop()
    assert out == [[1], [2]]
    assert flow.books["intake"].received == 1


def test_what_is_not_done_in_time_fails_as_retryable(clock: VirtualScheduler) -> None:
    """A stop has a deadline, and says whether it held."""

    async def long(data: TelemetryData) -> TelemetryData:
        await asyncio.sleep(1000)
        return data

    flow = AsyncDataFlow(long, batch_size=1, scheduler=clock)
    receipt = flow.process(logs([1]))
    clock.advance_by(0)
    assert not flow.stop(timeout=5)
    assert kind(receipt) is Kind.FAILED
    assert flow.admission.bytes == 0


def test_stopping_inside_its_own_turn_says_the_way_out(clock: VirtualScheduler) -> None:
    """It would wait for itself."""
    flow = AsyncDataFlow(batch_size=1, scheduler=clock)
    raised: list[str] = []

    def stop(_: TelemetryData) -> None:
        try:
            flow.stop()
        except PipelineError as error:
            raised.append(str(error))

    flow.output.subscribe(stop)
    flow.process(logs([1]))
    clock.advance_by(0)
    assert "use `await flow.astop()`" in raised[0]
    flow.stop()


# -- HybridDataFlow ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "route", "priority"),
    [
        (severe(1, 9), DataRoute.SYNC, Priority.NORMAL),
        (severe(1, 17), DataRoute.PRIORITY, Priority.HIGH),
        (severe(1, 21), DataRoute.PRIORITY, Priority.CRITICAL),
        (logs(range(10)), DataRoute.SYNC, Priority.NORMAL),
        (logs(range(11)), DataRoute.ASYNC, Priority.NORMAL),
        (TelemetryData.from_bytes(Signal.METRICS, b""), DataRoute.SYNC, Priority.NORMAL),
    ],
)
def test_the_default_router(data: TelemetryData, route: DataRoute, priority: Priority) -> None:
    """Errors and severe logs are urgent, small things are done at once, the rest waits."""
    router = DataRouter()
    assert router.route_data(data) is route
    assert router.priority(data) == priority


def test_small_things_are_done_when_process_returns() -> None:
    """In the caller's thread."""
    where: list[int] = []

    def process(data: TelemetryData) -> TelemetryData:
        where.append(threading.get_ident())
        return data

    with SyncScheduler() as scheduler:
        flow = HybridDataFlow(process, scheduler=scheduler)
        assert kind(flow.process(logs([1]))) is Kind.DELIVERED
        assert where == [threading.get_ident()]
        assert flow.stop()


def test_the_most_urgent_goes_first_and_in_order_within_one_priority(
    clock: VirtualScheduler,
) -> None:
    """Whatever came before it."""

    async def second(data: TelemetryData) -> TelemetryData:
        await asyncio.sleep(1)
        return data

    router = DataRouter(lambda _: DataRoute.PRIORITY, lambda data: Priority(ids_of(data)[0] // 10))
    flow = HybridDataFlow(second, router=router, ageing=60, scheduler=clock)
    out = seen(flow)
    for number in (1, 2, 31, 11, 32, 21):
        flow.process(logs([number]))
    clock.run()
    assert out == [[1], [31], [32], [21], [11], [2]]
    flow.stop()
    balanced(flow)


def test_the_lowest_starts_within_its_time_under_saturation(clock: VirtualScheduler) -> None:
    """Overtaken only by those of the next (3 - 0) x ageing seconds, and by nobody after them."""
    began: dict[int, float] = {}

    async def second(data: TelemetryData) -> TelemetryData:
        began[ids_of(data)[0]] = clock.clock
        await asyncio.sleep(1)
        return data

    router = DataRouter(
        lambda _: DataRoute.PRIORITY,
        lambda data: Priority.LOW if ids_of(data) == [999] else Priority.CRITICAL,
    )
    ageing = 2.0
    flow = HybridDataFlow(second, router=router, ageing=ageing, scheduler=clock)
    numbers = iter(range(200))
    clock.schedule_periodic(1.0, lambda _: flow.process(logs([next(numbers)])))
    clock.advance_by(10.5)  # saturated: one a second comes, one a second is done
    flow.process(logs([999]))
    asked = clock.clock
    clock.advance_by(60)
    # One is running, and those that may overtake take a second each.
    assert began[999] - asked <= 1 + 3 * ageing + 1
    assert kind(flow.process(logs([500]))) is None


def test_what_the_urgent_queue_has_no_room_for_is_to_be_sent_again(
    clock: VirtualScheduler,
) -> None:
    """Bounded, like everything."""

    async def second(data: TelemetryData) -> TelemetryData:
        await asyncio.sleep(1)
        return data

    flow = HybridDataFlow(second, max_priority=2, scheduler=clock)
    receipts = [flow.process(severe(number, 17)) for number in range(5)]
    clock.run()
    assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED] * 3 + [Kind.FAILED] * 2
    flow.stop()
    balanced(flow)


def test_a_router_that_raises_rejects_its_element(clock: VirtualScheduler) -> None:
    """With the reason; the flow goes on."""

    def route(data: TelemetryData) -> DataRoute:
        if ids_of(data) == [1]:
            raise ValueError("no idea")
        return DataRoute.SYNC

    flow = HybridDataFlow(same, router=DataRouter(route), scheduler=clock)
    bad, good = flow.process(logs([1])), flow.process(logs([2]))
    clock.advance_by(0)
    assert kind(bad) is Kind.REJECTED
    assert bad.outcome is not None
    assert "no idea" in bad.outcome.reason
    assert kind(good) is Kind.DELIVERED
    flow.stop()


# -- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "may"),
    [
        (lambda: SyncDataFlow(same), set()),
        (lambda: AsyncDataFlow(same), set()),
        (lambda: AsyncDataFlow(same, retries=1), set()),
        (lambda: HybridDataFlow(same), {"reorder"}),
    ],
)
def test_as_an_operator_it_keeps_every_rule(make: Callable[[], Any], may: Any) -> None:
    """`stream.pipe(ops.execute(flow))`: receipts and books are those of the stream."""
    check_operator(lambda: ops.execute(make()), may=may)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SyncDataFlow(), "SyncDataFlow()"),
        (lambda: SyncDataFlow(5), "SyncDataFlow(5)"),  # type: ignore[arg-type]
        (lambda: SyncDataFlow(same, max_items=0), "max_items=0"),
        (lambda: SyncDataFlow(same).process(b"x"), "process(bytes)"),  # type: ignore[arg-type]
        (lambda: SyncDataFlow(same).buffer(b"x"), "buffer(bytes)"),  # type: ignore[arg-type]
        (lambda: AsyncDataFlow(batch_size=0), "batch_size=0"),
        (lambda: AsyncDataFlow(flush_interval=0), "flush_interval=0"),
        (lambda: AsyncDataFlow(retries=-1), "retries=-1"),
        (lambda: AsyncDataFlow(scheduler="x"), "scheduler='x'"),  # type: ignore[arg-type]
        (lambda: AsyncDataFlow().process(b"x"), "process(bytes)"),  # type: ignore[arg-type]
        (lambda: HybridDataFlow(5), "HybridDataFlow(5)"),  # type: ignore[arg-type]
        (lambda: HybridDataFlow(same, router=5), "router=5"),  # type: ignore[arg-type]
        (lambda: HybridDataFlow(same, ageing=0), "ageing=0"),
        (lambda: DataRouter(route=5), "route=5"),  # type: ignore[arg-type]
        (lambda: DataRouter(lambda _: "x").route_data(logs([1])), "'x'"),  # type: ignore[arg-type,return-value]
    ],
)
def test_wrong_arguments_fail_where_they_are_written(make: Callable[[], Any], text: str) -> None:
    """With call, value and range."""
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert text in str(caught.value)


def test_an_async_processor_has_no_place_in_a_sync_flow() -> None:
    """It would give a coroutine that nobody awaits."""

    async def later(data: TelemetryData) -> TelemetryData:
        return data

    with pytest.raises(TypeError, match="expected plain functions"):
        SyncDataFlow(later)
