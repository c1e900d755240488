"""Loggers: one order of entries, to `logging` and to OTLP, and nothing when nobody listens."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rxotlp import operators as ops
from rxotlp.data import Signal, TelemetryData
from rxotlp.flows import (
    AsyncControlFlow,
    BatchProcessing,
    Call,
    ComplexTrace,
    ConditionalNode,
    ControlDecision,
    ControlFlowLogger,
    ControlFlowOrganizer,
    DataFlowLogger,
    DataFlowOrganizer,
    EndTrace,
    EventKind,
    ExecutionContext,
    ExecutionFlowLogger,
    ExecutionFlowOrganizer,
    ExecutionPhase,
    FlowLog,
    HybridControlFlow,
    LogEntry,
    LogLevel,
    LoopNode,
    NestedTrace,
    OperationNode,
    ParallelExecutionFlow,
    RecursiveExecutionFlow,
    SequentialExecutionFlow,
    StartTrace,
    SyncControlFlow,
)
from rxotlp.flows.loggers import FlowLogger
from rxotlp.schedulers import SerialScheduler, VirtualScheduler
from rxotlp.testing import Rig


class Kept(logging.Handler):
    """What came to `logging`."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    @property
    def entries(self) -> list[LogEntry]:
        return [record.entry for record in self.records]


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


def breaks(_: Any) -> None:
    raise ValueError("out of stock")


def one_span(clock: VirtualScheduler) -> TelemetryData:
    flow = SyncControlFlow(scheduler=clock)
    made: list[TelemetryData] = []
    flow.telemetry.subscribe(made.append)
    flow.execute(NestedTrace([], name="order"))
    clock.run()
    return made[0]


def test_an_execution_is_told_from_its_start_to_its_end(
    clock: VirtualScheduler, kept: Kept
) -> None:
    """With what came of it and how long it took, and the failure of what failed."""
    flow = AsyncControlFlow(scheduler=clock, logger=ExecutionFlowLogger())
    waits = Call(lambda _: asyncio.sleep(2), "waits")
    with pytest.raises(ValueError, match="out of stock"):
        flow.execute(BatchProcessing([waits, Call(breaks)]))
    assert kept.texts == [
        "execution starts: BatchProcessing",
        "execution starts: Call(waits)",
        "execution ends: Call(waits), Success after 2.000000 s",
        "execution starts: Call(breaks)",
        "execution failed: Call(breaks), ValueError: out of stock",
        "execution failed: BatchProcessing, ValueError: out of stock",
    ]
    assert [record.levelname for record in kept.records] == ["INFO"] * 4 + ["ERROR"] * 2
    ended, failed = kept.entries[2], kept.entries[4]
    assert ended.metadata["duration"] == 2.0
    assert ended.metadata["result"] == "Success"
    assert failed.metadata["exception.type"] == "ValueError"
    assert ended.timestamp - kept.entries[1].timestamp == 2_000_000_000
    assert kept.records[2].name == "rxotlp.flows.execution"


def test_a_cancelled_execution_says_so(clock: VirtualScheduler, kept: Kept) -> None:
    """It neither ended nor failed."""
    flow = AsyncControlFlow(scheduler=clock, logger=ExecutionFlowLogger())
    handle = flow.begin(Call(lambda _: asyncio.sleep(2), "waits"))
    clock.advance_by(1)
    handle.cancel()
    clock.run()
    assert kept.texts[-1] == "execution cancelled: Call(waits)"
    assert kept.entries[-1].metadata["duration"] == 1.0


@pytest.mark.parametrize(
    "make",
    [
        SyncControlFlow,
        AsyncControlFlow,
        HybridControlFlow,
        SequentialExecutionFlow,
        ParallelExecutionFlow,
        RecursiveExecutionFlow,
    ],
)
def test_attaching_one_is_one_argument_of_every_flow(
    make: Any, scheduler: SerialScheduler, kept: Kept
) -> None:
    """On every scheduler."""
    make(scheduler=scheduler, logger=ExecutionFlowLogger()).execute(StartTrace("order"))
    assert [entry.level for entry in kept.entries] == [LogLevel.INFO] * 2
    assert kept.entries[1].context.trace is not None  # of the span that it opened


def test_control_is_told_by_decisions_and_transitions(clock: VirtualScheduler, kept: Kept) -> None:
    """Of nodes, phases and routers."""
    logger = ControlFlowLogger(level=LogLevel.DEBUG)
    ControlFlowOrganizer(
        LoopNode("loop", lambda state: len(state.path) < 2, "work", then="ask"),
        OperationNode("work", lambda _: None),
        ConditionalNode("ask", lambda _: True, None, "work"),
        scheduler=clock,
        logger=logger,
    ).execute_control_flow()
    assert kept.texts == [
        "control decision: loop is True, on to work (after 0 rounds)",
        "control transition: loop -> work",
        "control decision: loop is False, on to ask (after 1 rounds)",
        "control transition: loop -> ask",
        "control decision: ask is True, on to nowhere (condition)",
    ]
    assert dict(kept.entries[1].metadata) == {"from": "loop", "to": "work"}
    kept.records.clear()
    organizer = ExecutionFlowOrganizer(
        [
            ExecutionPhase("a", [Call(breaks)]),
            ExecutionPhase("b", dependencies="a"),
            ExecutionPhase("c"),
            ExecutionPhase("d", dependencies="c"),
        ],
        scheduler=clock,
        logger=logger,
    )
    organizer.begin()
    clock.run()
    assert kept.texts == [
        "control transition: c -> d",
        "control decision: b is skipped, on to nowhere (without a)",
    ]
    kept.records.clear()
    HybridControlFlow(scheduler=clock, logger=logger).execute(ComplexTrace([], []))
    assert kept.texts == ["control decision: ComplexTrace is HYBRID, on to hybrid (router)"]


def test_data_is_told_with_its_sizes(clock: VirtualScheduler, kept: Kept) -> None:
    """Start, each processor, end; and the failure."""
    organizer = DataFlowOrganizer(
        [lambda data, _: data, lambda _data, _state: None],
        scheduler=clock,
        logger=DataFlowLogger(level=LogLevel.DEBUG),
    )
    data = one_span(clock)
    organizer.execute_data_flow(data)
    size = data.size
    assert kept.texts == [
        f"data flow starts: <TelemetryData traces: 1 span, {size} bytes>",
        f"data processing: <lambda>, in: 1 items, {size} bytes, out: 1 items, {size} bytes",
        f"data processing: <lambda>, in: 1 items, {size} bytes, out: 0 items, 0 bytes",
        "data flow ends: nothing is left, after 0.000000 s",
    ]
    kept.records.clear()
    organizer.add(breaks)  # never reached
    organizer.execute_data_flow(data)
    assert len(kept.records) == 4
    failing = DataFlowOrganizer([lambda *_: breaks(0)], scheduler=clock, logger=DataFlowLogger())
    with pytest.raises(Exception, match="out of stock"):
        failing.execute_data_flow(data)
    assert kept.entries[-1].level is LogLevel.ERROR


def test_the_three_fall_into_one_order(clock: VirtualScheduler, kept: Kept) -> None:
    """By execution id and sequence, which they share, as they share their log."""
    log = FlowLog()
    execution = ExecutionFlowLogger(log)
    control, data = ControlFlowLogger(log, level=LogLevel.DEBUG), DataFlowLogger(log)
    processing = DataFlowOrganizer([lambda data, _: data], scheduler=clock, logger=data)
    element = one_span(clock)
    ControlFlowOrganizer(
        ConditionalNode("ask", lambda _: True, "work"),
        OperationNode(
            "work",
            Call(lambda context: processing.execute_data_flow(element, context=context) and None),
        ),
        scheduler=clock,
        logger=[execution, control],
    ).execute_control_flow()
    entries = kept.entries
    assert [entry.logger for entry in entries] == [
        "control",
        "control",
        "execution",
        "data",
        "data",
        "execution",
    ]
    assert len({entry.context.execution_id for entry in entries}) == 1
    numbers = [entry.context.sequence for entry in entries]
    assert numbers == sorted(set(numbers))


def test_entries_are_otlp_log_records_in_the_trace_they_belong_to(
    clock: VirtualScheduler,
) -> None:
    """With what `logging` is told, for programs; and `logging` need not listen."""
    log = FlowLog("shop", resource={"service.name": "shop"})
    flow = SyncControlFlow(scheduler=clock, logger=ExecutionFlowLogger(log))
    got: list[TelemetryData] = []
    log.telemetry.subscribe(got.append)
    context = flow.state.new_context({"order": 7})
    flow.execute(BatchProcessing([StartTrace("order"), EndTrace()]), context=context)
    clock.run()
    assert {data.signal for data in got} == {Signal.LOGS}
    records = [data.record for data in got]
    assert [record.body for record in records][1] == "execution starts: StartTrace(order)"
    opened = records[2]
    assert opened.body.startswith("execution ends: StartTrace(order)")
    assert opened.trace_id != bytes(16)
    assert opened.span_id == records[3].span_id  # EndTrace starts within it
    assert opened.severity_text == "INFO"
    assert opened.severity_number == 9
    assert opened.attributes["order"] == 7
    assert opened.attributes["operation"] == "StartTrace(order)"
    assert opened.attributes["execution.id"] == context.execution_id
    numbers = [record.attributes["execution.sequence"] for record in records]
    assert numbers == sorted(set(numbers))
    assert opened.resource.attributes["service.name"] == "shop"
    assert opened.scope.name == "shop.execution"


def test_log_telemetry_is_a_stream_like_any_other(clock: VirtualScheduler) -> None:
    """It batches, and what is batched leaves when it stops."""
    logger = ExecutionFlowLogger()
    flow = SyncControlFlow(scheduler=clock, logger=logger)
    got: list[int] = []
    batches = logger.telemetry.pipe(ops.batch(max_items=4))
    batches.subscribe(lambda data: got.append(data.items))
    for _ in range(3):
        flow.execute(StartTrace("order"))
    logger.telemetry.stop()
    clock.run()
    assert got == [4, 2]


@pytest.mark.parametrize("off", [True, False])
def test_nothing_is_made_for_nobody(
    clock: VirtualScheduler, off: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by a logger that is off nor for ends that do not listen."""
    said: list[object] = []
    monkeypatch.setattr(FlowLog, "write", lambda _self, entry: said.append(entry))
    level = LogLevel.OFF if off else LogLevel.DEBUG
    if off:
        monkeypatch.setattr(FlowLog, "exported", True)
    else:
        monkeypatch.setattr(logging.getLogger("rxotlp.flows"), "level", logging.CRITICAL)
        logging.getLogger("rxotlp.flows").manager._clear_cache()  # type: ignore[attr-defined]
    loggers = [kind(level=level) for kind in (ExecutionFlowLogger, ControlFlowLogger)]
    SyncControlFlow(scheduler=clock, logger=loggers).execute(StartTrace("order"))
    assert said == []
    if not off:
        logging.getLogger("rxotlp.flows").manager._clear_cache()  # type: ignore[attr-defined]


def test_a_level_may_change_while_it_runs(clock: VirtualScheduler, kept: Kept) -> None:
    """Off and on again."""
    logger = ExecutionFlowLogger(level=LogLevel.ERROR)
    flow = SyncControlFlow(scheduler=clock, logger=logger)
    flow.execute(StartTrace("a"))
    assert kept.texts == []
    with pytest.raises(ValueError, match="out of stock"):
        flow.execute(Call(breaks))
    logger.level = LogLevel.OFF
    flow.execute(StartTrace("b"))
    logger.level = LogLevel.INFO
    flow.execute(StartTrace("c"))
    assert [entry.metadata["operation"] for entry in kept.entries] == [
        "Call(breaks)",
        "StartTrace(c)",
        "StartTrace(c)",
    ]


def test_many_threads_may_write(kept: Kept) -> None:
    """No entry is lost, and each execution has its own order."""
    log = FlowLog()
    flow = SyncControlFlow(logger=ExecutionFlowLogger(log))

    def work() -> None:
        for _ in range(20):
            flow.execute(BatchProcessing([StartTrace("a"), EndTrace()]))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    executions: dict[str, list[int]] = {}
    for entry in kept.entries:
        executions.setdefault(entry.context.execution_id, []).append(entry.context.sequence)
    assert len(executions) == 160
    assert all(len(numbers) == 6 for numbers in executions.values())
    assert all(numbers == sorted(numbers) for numbers in executions.values())


def test_operations_that_were_abandoned_are_forgotten(clock: VirtualScheduler) -> None:
    """A start without an end does not stay for ever."""
    logger = ExecutionFlowLogger()
    flow = AsyncControlFlow(scheduler=clock, logger=logger)
    for _ in range(10_050):
        context = flow.state.new_context().next()
        now = clock.timestamp_ns()
        logger.observe(EventKind.STARTED, StartTrace("a"), context, now, None, None)
    assert len(logger._started) == 10_000


def test_what_cannot_be_told_is_told_as_far_as_it_can(clock: VirtualScheduler, kept: Kept) -> None:
    """A log entry must not fail what it is about."""
    log = FlowLog()
    flow = SyncControlFlow(scheduler=clock, logger=ExecutionFlowLogger(log))
    got: list[TelemetryData] = []
    log.telemetry.subscribe(got.append)
    flow.execute(StartTrace("a"), context=flow.state.new_context({"where": {1, 2}}))
    clock.run()
    assert got[0].record.attributes["where"] == "{1, 2}"
    organizer = DataFlowOrganizer(
        [lambda data, _: data], scheduler=clock, logger=DataFlowLogger(log, level=LogLevel.DEBUG)
    )
    broken = TelemetryData.from_bytes(Signal.LOGS, b"broken")
    assert organizer.execute_data_flow(broken) is broken
    assert kept.entries[-1].metadata["items"] is None


def test_a_logger_works_by_hand_too(clock: VirtualScheduler, kept: Kept) -> None:
    """For a program's own decisions."""
    log = FlowLog(scheduler=clock)
    context = SyncControlFlow(scheduler=clock).state.new_context()
    decision = ControlDecision("stock?", False, "order more", "3 left")
    ControlFlowLogger(log).log_control_decision(decision, context)
    assert kept.texts == ["control decision: stock? is False, on to order more (3 left)"]
    assert kept.entries[0].timestamp == clock.timestamp_ns()


def test_a_programs_own_entries_go_the_same_ways(clock: VirtualScheduler, kept: Kept) -> None:
    """An entry is a value; whoever makes one says what an entry has, and no more."""
    log = FlowLog(scheduler=clock)
    got: list[TelemetryData] = []
    log.telemetry.subscribe(got.append)
    context = SyncControlFlow(scheduler=clock).state.new_context()
    log.write(
        LogEntry(clock.timestamp_ns(), LogLevel.WARNING, "stock is low", context, {"left": 3})
    )
    clock.run()
    assert kept.texts == ["stock is low"]
    assert got[0].record.attributes["left"] == 3
    assert got[0].record.scope.name == "rxotlp.flows.program"


def test_a_handler_that_raises_fails_nothing(
    clock: VirtualScheduler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its fault is shown where logging shows such faults; the order is executed."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise LookupError("no disk")

    logger = logging.getLogger("rxotlp.flows")
    monkeypatch.setattr(logger, "handlers", [Broken()])
    monkeypatch.setattr(logger, "propagate", False)
    flow = SyncControlFlow(scheduler=clock, logger=ExecutionFlowLogger(level=LogLevel.ERROR))
    with pytest.raises(ValueError, match="out of stock"):
        flow.execute(Call(breaks))
    assert "LookupError: no disk" in capsys.readouterr().err


class _Unspeakable(Exception):
    def __str__(self) -> str:
        raise LookupError("no words")


def test_what_cannot_be_shown_fails_nothing_that_is_told_of(clock: VirtualScheduler) -> None:
    """With a logger attached an execution must end as it would have without."""
    log = FlowLog(scheduler=clock)
    got: list[TelemetryData] = []
    log.telemetry.subscribe(got.append)
    flow = SyncControlFlow(scheduler=clock, logger=ExecutionFlowLogger(log))

    def unspeakable(_: object) -> None:
        raise _Unspeakable

    def no_text(_: object) -> None:
        raise ValueError("half of \ud83d")

    with pytest.raises(_Unspeakable):
        flow.execute(Call(unspeakable))
    with pytest.raises(ValueError, match="half of"):
        flow.execute(Call(no_text))
    endless: list[Any] = []
    endless.append(endless)
    odd = {"error": _Unspeakable(), "endless": endless, "\udc00": "\udc00", "large": 1 << 80}
    context = ExecutionContext("ab" * 16, attributes=odd)
    flow.execute(Call(lambda _: None, "\ud83d"), context=context)
    control = ControlFlowLogger(log)
    control.log_control_decision(ControlDecision("n", _Unspeakable(), "m"), context)
    clock.run()
    bodies = [data.record.body for data in got]
    assert "execution failed: Call(unspeakable), _Unspeakable: <_Unspeakable>" in bodies
    assert "execution failed: Call(no_text), ValueError: half of ?" in bodies
    assert bodies[-1] == "control decision: n is <_Unspeakable>, on to m"
    attributes = got[-1].record.attributes
    assert attributes["error"] == "<_Unspeakable>"
    assert attributes["endless"] == "[[...]]"
    assert attributes["?"] == "?"
    assert attributes["large"] == str(1 << 80)


def test_an_operator_on_data_tells_too(kept: Kept) -> None:
    """Each element is an execution of its own."""
    with Rig() as rig:
        organizer = DataFlowOrganizer(
            [lambda data, _: data], scheduler=rig.clock, logger=DataFlowLogger()
        )
        rig.run(ops.execute(organizer))
        rig.play("ab|")
        rig.check()
    assert len({entry.context.execution_id for entry in kept.entries}) == 2
    assert len(kept.entries) == 4


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: SyncControlFlow(logger=3), TypeError, "a logger of rxotlp.flows, or several"),  # type: ignore[arg-type]
        (lambda: SyncControlFlow(logger=[3]), TypeError, "a logger of rxotlp.flows"),  # type: ignore[list-item]
        (lambda: ExecutionFlowLogger(3), TypeError, "expected a FlowLog"),  # type: ignore[arg-type]
        (lambda: ExecutionFlowLogger(level=20), TypeError, "expected a LogLevel"),  # type: ignore[arg-type]
        (lambda: FlowLog(""), ValueError, "expected a name"),
        (lambda: FlowLog(3), TypeError, "expected a str"),  # type: ignore[arg-type]
        (lambda: FlowLog(scheduler=3), TypeError, "a scheduler"),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_told(make: Any, error: type[Exception], text: str) -> None:
    """Where they are written."""
    with pytest.raises(error, match=text):
        make()


def test_a_logger_that_does_not_care_is_no_trouble(clock: VirtualScheduler, kept: Kept) -> None:
    """A DataFlowLogger hears nothing of operations."""
    SyncControlFlow(scheduler=clock, logger=DataFlowLogger()).execute(StartTrace("a"))
    assert kept.records == []
    assert repr(FlowLogger()) == "<FlowLogger INFO>"
