"""`logger=` on data flows: each element's way, and nothing that changes it."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rxotlp import operators as ops
from rxotlp.data import TelemetryData
from rxotlp.flows import (
    AsyncDataFlow,
    DataFlowLogger,
    DataFlowOrganizer,
    ExecutionFlowLogger,
    FlowLog,
    HybridDataFlow,
    LogEntry,
    LogLevel,
    SyncControlFlow,
    SyncDataFlow,
)
from rxotlp.schedulers import SerialScheduler, VirtualScheduler
from rxotlp.testing import Rig, check_operator, ids_of, logs

PATIENCE = 30.0


class Kept(logging.Handler):
    """What came to `logging`."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.entries: list[LogEntry] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.entries.append(record.entry)  # type: ignore[attr-defined]

    @property
    def texts(self) -> list[str]:
        return [entry.message for entry in self.entries]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Listens at DEBUG."""
    logger = logging.getLogger("rxotlp.flows")
    handler, level = Kept(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def two(data: TelemetryData) -> list[TelemetryData]:
    return list(data.split(max_items=1))


def first(data: TelemetryData) -> TelemetryData | None:
    return data if ids_of(data) == [1] else None


def same(data: TelemetryData) -> TelemetryData:
    return data


def breaks(_: TelemetryData) -> None:
    raise ValueError("out of stock")


def test_each_processor_is_told_with_what_came_in_and_went_out(
    clock: VirtualScheduler, kept: Kept
) -> None:
    """Of every part, when one made several."""
    logger = DataFlowLogger(FlowLog(scheduler=clock), level=LogLevel.DEBUG)
    flow = SyncDataFlow(two, first, logger=logger)
    data = logs([1, 2])
    (part,) = flow.process(data)
    whole, one = data.size, part.size
    assert kept.texts == [
        f"data flow starts: <TelemetryData logs: 2 log records, {whole} bytes>",
        f"data processing: two, in: 2 items, {whole} bytes, out: 2 items, {2 * one} bytes",
        f"data processing: first, in: 1 items, {one} bytes, out: 1 items, {one} bytes",
        f"data processing: first, in: 1 items, {one} bytes, out: 0 items, 0 bytes",
        f"data flow ends: 1 elements of 1 items, {one} bytes, after 0.000000 s",
    ]
    numbers = [entry.context.sequence for entry in kept.entries]
    assert numbers == sorted(set(numbers))
    assert len({entry.context.execution_id for entry in kept.entries}) == 1


def test_data_is_told_in_the_execution_that_it_is_part_of(
    clock: VirtualScheduler, kept: Kept
) -> None:
    """So it stands between the start and the end of what caused it."""
    log = FlowLog(scheduler=clock)
    data_flow = SyncDataFlow(two, logger=DataFlowLogger(log))
    control = SyncControlFlow(scheduler=clock, logger=ExecutionFlowLogger(log))
    context = control.state.new_context({"order": 7})
    data_flow.process(logs([1]), context=context)
    assert {entry.context.execution_id for entry in kept.entries} == {context.execution_id}
    assert kept.entries[0].context.attributes == {"order": 7}


def test_a_batch_is_told_from_its_start_to_its_end(clock: VirtualScheduler, kept: Kept) -> None:
    """What is processed is the batch; the time is that of the processing, retries included."""
    tries: list[int] = []

    async def saves(data: TelemetryData) -> TelemetryData:
        tries.append(data.items)
        await asyncio.sleep(1)
        if len(tries) == 1:
            raise OSError("not yet")
        return data

    logger = DataFlowLogger(level=LogLevel.DEBUG)
    with AsyncDataFlow(saves, retries=1, scheduler=clock, logger=logger) as flow:
        flow.output.subscribe(lambda _: None)
        for number in range(3):
            flow.process(logs([number]))
        clock.advance_by(10)
    assert tries == [3, 3]
    starts, processing, ends = kept.entries
    assert starts.message.startswith("data flow starts: <TelemetryData logs: 3 log records")
    assert processing.metadata["processor"] == "saves"
    assert processing.metadata["output.items"] == 3
    assert 2.5 < ends.metadata["duration"] < 4  # two tries, and the pause between them


def test_a_batch_that_nobody_processes_is_told_too(clock: VirtualScheduler, kept: Kept) -> None:
    """The flow is a batcher then, and says so."""
    logger = DataFlowLogger(level=LogLevel.DEBUG)
    with AsyncDataFlow(scheduler=clock, logger=logger) as flow:
        flow.process(logs([1, 2]))
        clock.advance_by(1)
    assert [entry.metadata.get("processor") for entry in kept.entries] == [None, "batch", None]


def test_the_route_is_in_the_execution_of_what_takes_it(
    clock: VirtualScheduler, kept: Kept
) -> None:
    """Three ways through one flow, told apart."""
    with HybridDataFlow(lambda data: data, scheduler=clock, logger=DataFlowLogger()) as flow:
        flow.process(logs([1]))
        flow.process(logs(range(20)))
        urgent = logs([2]).map_records(lambda record: setattr(record, "severity_number", 17))
        flow.process(urgent)
        clock.advance_by(1)
    routes = [entry.context.attributes["route"] for entry in kept.entries]
    assert sorted(routes) == ["async", "async", "priority", "priority", "sync", "sync"]


@pytest.mark.parametrize("level", [LogLevel.DEBUG, LogLevel.ERROR])
@pytest.mark.parametrize(
    "make",
    [
        lambda logger, clock: SyncDataFlow(breaks, logger=logger).as_operator(),
        lambda logger, clock: AsyncDataFlow(breaks, scheduler=clock, logger=logger).as_operator(),
        lambda logger, clock: HybridDataFlow(breaks, scheduler=clock, logger=logger).as_operator(),
        lambda logger, clock: DataFlowOrganizer(
            [lambda data, _: breaks(data)], scheduler=clock, logger=logger
        ).as_operator(),
    ],
    ids=["sync", "async", "hybrid", "organizer"],
)
def test_what_fails_is_told_once_at_every_level(
    make: Callable[[DataFlowLogger, SerialScheduler], Any], level: LogLevel, kept: Kept
) -> None:
    """Who wants errors alone did not hear of the start."""
    with Rig() as rig:
        rig.run(make(DataFlowLogger(level=level), rig.clock))
        rig.send(logs([1]))
        rig.end()
        rig.check()
    errors = [entry for entry in kept.entries if entry.level is LogLevel.ERROR]
    assert len(errors) == 1
    assert "out of stock" in errors[0].message
    assert len(kept.entries) == (2 if level is LogLevel.DEBUG else 1)


def test_a_processor_that_is_cancelled_is_told(clock: VirtualScheduler, kept: Kept) -> None:
    """A start without an end would look like one that still runs."""

    async def waits(data: TelemetryData) -> TelemetryData:
        await asyncio.sleep(100)
        return data

    flow = AsyncDataFlow(waits, scheduler=clock, logger=DataFlowLogger())
    flow.process(logs([1]))
    clock.advance_by(1)
    flow.stop(timeout=1)
    clock.run()
    assert kept.texts[-1] == "data flow failed: CancelledError"


@pytest.mark.parametrize("level", [LogLevel.DEBUG, LogLevel.OFF])
@pytest.mark.parametrize(
    ("make", "may"),
    [
        (lambda logger: SyncDataFlow(same, logger=logger), set()),
        (lambda logger: AsyncDataFlow(same, logger=logger), set()),
        (lambda logger: AsyncDataFlow(logger=logger), set()),
        (lambda logger: HybridDataFlow(same, logger=logger), {"reorder"}),
    ],
)
def test_a_logger_changes_nothing_about_what_it_hears_of(
    make: Callable[[DataFlowLogger], Any], may: Any, level: LogLevel
) -> None:
    """Receipts, order, books, disposal: the rules of operators hold with one, too."""
    logger = DataFlowLogger(level=level)
    check_operator(lambda: ops.execute(make(logger)), may=may)


def test_levels_may_change_while_elements_flow_on_many_threads(kept: Kept) -> None:
    """Every element that was told to start is told to end."""
    logger = DataFlowLogger()
    flow = SyncDataFlow(two, first, logger=logger)
    stop = threading.Event()

    def work() -> None:
        for _ in range(100):
            flow.process(logs([1, 2]))

    def switch() -> None:
        while not stop.is_set():
            logger.level = LogLevel.OFF
            logger.level = LogLevel.INFO

    switching = threading.Thread(target=switch)
    workers = [threading.Thread(target=work) for _ in range(4)]
    for thread in (switching, *workers):
        thread.start()
    for thread in workers:
        thread.join(PATIENCE)
    stop.set()
    switching.join(PATIENCE)
    ended = [entry for entry in kept.entries if "ends" in entry.message]
    assert len({entry.context.execution_id for entry in ended}) == len(ended)


@pytest.mark.parametrize("make", [SyncDataFlow, AsyncDataFlow, HybridDataFlow])
def test_what_is_no_logger_is_refused(make: Any) -> None:
    """Where it is written."""
    with pytest.raises(TypeError, match=r"DataFlow\(logger=7\): expected a logger"):
        make(same, logger=7)


def test_one_logger_serves_several_flows_in_a_stream(kept: Kept) -> None:
    """In the order of the stream; and each flow has books of its own there."""
    logger = DataFlowLogger(level=LogLevel.DEBUG)
    hybrids = [HybridDataFlow(same, logger=logger) for _ in range(2)]
    with Rig() as rig:
        rig.run(
            ops.execute(SyncDataFlow(two, logger=logger)),
            ops.execute(SyncDataFlow(first, logger=logger)),
            *(ops.execute(flow) for flow in hybrids),
        )
        rig.send(logs([1, 2]))
        rig.end()
        rig.check()
    named = [entry.metadata["processor"] for entry in kept.entries if "processor" in entry.metadata]
    assert named == ["two", "first", "same", "same", "first"]
