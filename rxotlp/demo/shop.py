"""The shop of `rxotlp demo flows`: everything that its orders meet, on one virtual clock.

    orders -> ops.execute(flow) -> results       by the kind of order; one flow of each kind, and
                  |                              a hybrid one that the strategy routes for
                  +-> telemetry -> DataFlowOrganizer -> HybridDataFlow -> batch -> export
                                                                            ^        ^
    DynamicScheduler: measures, changes these two limits, shuts the door ---+--------+

Phases open it, in the order of their dependencies. The three loggers write to one log, whose
telemetry goes into a journal. Virtual time: a minute takes a second or two and is the same
whenever it is run.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.assembly import Assembly
from rxotlp.books import Books
from rxotlp.data import Signal, TelemetryData
from rxotlp.demo.orders import KINDS
from rxotlp.flows import (
    AsyncControlFlow,
    Call,
    ControlFlowLogger,
    ControlState,
    DataFlowLogger,
    DataFlowOrganizer,
    DataProcessor,
    DataRoute,
    DataRouter,
    ExecutionContext,
    ExecutionFlowLogger,
    ExecutionFlowOrganizer,
    ExecutionPhase,
    ExecutionResult,
    ExecutionType,
    FlowLog,
    FlowRouter,
    FlowType,
    HybridControlFlow,
    HybridDataFlow,
    LogLevel,
    NestedTrace,
    Operation,
    ParallelExecutionFlow,
    RecursiveExecutionFlow,
    SequentialExecutionFlow,
    SyncAsyncSelectionStrategy,
    SyncControlFlow,
    SystemLoad,
)
from rxotlp.flows.base import Flow
from rxotlp.schedulers import (
    AdjustmentSettings,
    Decision,
    DynamicScheduler,
    Metrics,
    PerformanceMonitor,
    PriorityClass,
    TaskScheduler,
    VirtualScheduler,
)

__all__ = ["Backend", "Journal", "Shop"]

STEP = 0.1  # seconds from one look at the door to the next
OPEN = 60.0  # seconds
MACHINE = 6  # batches that keep the simulated machine's CPU busy
BUDGET = 9_000  # bytes of telemetry that fill its memory
SETTINGS = AdjustmentSettings(
    concurrency=6,
    min_concurrency=2,
    batch_size=4,
    max_batch_size=64,
    latency_high=1.4,
    latency_low=1.0,
)
CLASSES = {"stock": PriorityClass(1, target=0.3), "letters": PriorityClass(0, target=5.0)}


class Backend:
    """Where telemetry goes: it takes longer the more it has at once."""

    def __init__(self) -> None:
        self.running = 0
        self.spans: Counter[int] = Counter()
        self.measured: dict[str, int] = {}

    async def export(self, data: TelemetryData) -> Outcome:
        """Take a batch."""
        self.running += 1
        try:
            await asyncio.sleep(0.6 + 0.15 * self.running)
        finally:
            self.running -= 1
        self.note(data)
        return DELIVERED

    def note(self, data: TelemetryData) -> None:
        """Keep what it is about."""
        for record in data.records():
            if data.signal is Signal.TRACES:
                if (number := record.attributes.get("order")) is not None:
                    self.spans[number] += 1
            else:  # counts since the start, of which an older one may come later
                kind = record.attributes["kind"]
                self.measured[kind] = max(self.measured.get(kind, 0), record.as_int)


class Journal:
    """Where log entries go, in order: logger, execution, number in it and text."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, int, str]] = []

    def export(self, data: TelemetryData) -> Outcome:
        """Take a batch."""
        for record in data.records():
            logger = record.scope.name.rpartition(".")[2]
            attributes = record.attributes
            execution, number = attributes["execution.id"], attributes["execution.sequence"]
            self.entries.append((logger, execution, number, str(record.body)))
        return DELIVERED


class Door:
    """The shop's door: while it is shut, those who come wait in line."""

    def __init__(self) -> None:
        self.shut = False
        self.times = 0

    def refuse(self, _reason: str, *, retry_after: float, by: object) -> None:
        """Let nobody in; they stay, however long that is."""
        self.times += not self.shut
        self.shut = True

    def readmit(self, *, by: object) -> None:
        """Let in who waits."""
        self.shut = False


class Shop:
    """The shop, closed as yet.

    Args:
        orders: that come while it is open: few, then many, then few again.
        seed: makes the ids of spans repeatable.
    """

    def __init__(self, orders: int, seed: int) -> None:
        self.orders = orders
        self.clock = clock = VirtualScheduler()
        self.backend, self.journal, self.books = Backend(), Journal(), Books()
        self.door, self.inside = Door(), 0
        self.state = ControlState(scheduler=clock, resource={"service.name": "shop"}, seed=seed)
        self.executed: Counter[tuple[str, str]] = Counter()
        self.routed: Counter[tuple[str, FlowType]] = Counter()
        self.ways: Counter[DataRoute] = Counter()
        self.failures: list[str] = []
        self.samples: list[Metrics] = []
        self.decisions: list[Decision] = []
        self.tried = _an_element(clock)
        self.open_until = 0.0
        self.closed = False
        self.log = FlowLog("shop", scheduler=clock, resource={"service.name": "shop"})
        self.loggers = (
            ExecutionFlowLogger(self.log),
            ControlFlowLogger(self.log, level=LogLevel.DEBUG),
            DataFlowLogger(self.log, level=LogLevel.DEBUG),
        )
        self.tasks = TaskScheduler(on=clock)
        self.dynamic = DynamicScheduler(
            self.tasks,
            monitor=PerformanceMonitor(
                cpu=lambda: min(1.0, self.backend.running / MACHINE),
                memory=lambda: min(1.0, self.state.telemetry.admission.bytes / BUDGET),
                clock=lambda: clock.clock,
                window=5.0,
            ),
            settings=SETTINGS,
            classes=CLASSES,
            scheduler=clock,
        )
        self.dynamic.decisions.subscribe(self.decisions.append)
        self.dynamic.measurements.subscribe(self.samples.append)
        self.checked = DataFlowOrganizer(
            [
                DataProcessor(_has_service, parallel=True),
                DataProcessor(_has_items, parallel=True),
            ],
            scheduler=clock,
            logger=self.loggers,
        )
        self.phases = ExecutionFlowOrganizer(
            [
                ExecutionPhase("try", [Call(self._try, "try")]),
                ExecutionPhase("pipeline", [Call(self._start_pipeline, "pipeline")]),
                ExecutionPhase(
                    "adjust",
                    [Call(self._start_adjusting, "adjust"), Call(self._write_letters, "letters")],
                    ExecutionType.ASYNC,
                    ["pipeline"],
                ),
                ExecutionPhase(
                    "orders", [Call(self._let_in, "let in")], dependencies=["try", "adjust"]
                ),
            ],
            state=self.state,
            scheduler=clock,
            logger=self.loggers,
        )

    def run(self) -> None:
        """Open it, and be there until the last order is told of and everything has calmed down."""
        self._start_journal()  # before the first phase, which is told
        self.phases.execute_phases()
        while not self.closed and self.clock.clock < self.open_until + OPEN:
            self.clock.advance_by(1)
        self.clock.advance_by(OPEN / 3)  # the way back takes samples, too
        self.dynamic.close()
        self.state.telemetry.stop()  # what is open or was measured leaves first
        self.log.telemetry.stop()
        self.clock.run()
        self.clock.close()

    # -- phases --------------------------------------------------------------------------------

    def _start_journal(self) -> None:
        entries = self.log.telemetry.pipe(
            ops.batch(max_items=500, max_delay=0.5, name="entries"),
            ops.export(self.journal, max_concurrent=1, name="journal"),
        )
        entries.subscribe(scheduler=self.clock)

    def _try(self, context: ExecutionContext) -> None:
        """One element, through what checks all others, as a part of the opening."""
        self.checked.execute_parallel_data_flow(self.tried, context=context)

    def _start_pipeline(self, _: ExecutionContext) -> None:
        usual = DataRouter()

        def way(data: TelemetryData) -> DataRoute:
            route = usual.route_data(data)
            if route is DataRoute.SYNC and data.items > 2:
                route = DataRoute.ASYNC  # there is nothing large in this shop
            self.ways[route] += data.items
            return route

        data_flow = HybridDataFlow(
            lambda data: data,
            router=DataRouter(way),
            flush_interval=0.05,
            scheduler=self.clock,
            logger=self.loggers,
        )
        with Assembly(self.books):
            self.state.telemetry.pipe(
                ops.execute(self.checked),
                ops.execute(data_flow),
                ops.batch(max_items=self.dynamic.batch_size, max_delay=1.0),
                ops.export(self.backend, max_concurrent=self.dynamic.concurrency),
            ).subscribe(
                lambda delivery: self.dynamic.monitor.observe(delivery.seconds),
                scheduler=self.clock,
            )
        self.state.telemetry.connect(self.clock)

    def _start_adjusting(self, _: ExecutionContext) -> None:
        self.dynamic.guard(self.door)
        self.dynamic.start_dynamic_adjustment(1.0)

    def _write_letters(self, _: ExecutionContext) -> None:
        """Work that nobody waits for, on the workers that orders ask for their stock."""
        for _number in range(20):
            self.dynamic.schedule_task(lambda: asyncio.sleep(0.4), "letters")

    def _let_in(self, _: ExecutionContext) -> None:
        self.open_until = self.clock.clock + OPEN
        anything: Any = rx_ops
        numbers: rx.Observable[int] = rx.interval(STEP, scheduler=self.clock).pipe(
            anything.map(lambda tick: self._enter(self._came(tick + 1))),
            anything.take_while(lambda _: self.inside < self.orders, inclusive=True),
            anything.flat_map(rx.from_iterable),
            anything.publish(),
        )
        streams = [
            self._executed(numbers, flow, kind, turn, len(several))
            for kind, several in self._flows().items()
            for turn, flow in enumerate(several)
        ]
        rx.merge(*streams).subscribe(on_completed=self._close, scheduler=self.clock)
        numbers.connect(self.clock)  # type: ignore[attr-defined]

    # -- orders --------------------------------------------------------------------------------

    def _came(self, tick: int) -> int:
        """Orders until a tick: their number a second rises for half of the time, and falls."""
        share = min(1.0, tick * STEP / OPEN)
        return round(self.orders * (2 * share**2 if share < 0.5 else 1 - 2 * (1 - share) ** 2))

    def _enter(self, came: int) -> range:
        first = self.inside
        if not self.door.shut:
            self.inside = came
        return range(first, self.inside)

    def _flows(self) -> dict[str, tuple[Flow, ...]]:
        state, limit = self.state, self.dynamic.concurrency
        strategy = SyncAsyncSelectionStrategy(load=self._load)
        chosen = FlowRouter.by_strategy(strategy)

        def route(operation: Operation) -> FlowType:
            flow = chosen.route_operation(operation)
            self.routed[type(operation).__name__, flow] += 1
            return flow

        routed = HybridControlFlow(router=FlowRouter(route), state=state, logger=self.loggers)
        return {
            "plain": (
                SyncControlFlow(state=state),
                SequentialExecutionFlow(state=state),
                ParallelExecutionFlow(concurrency_limit=limit, state=state),
                routed,
            ),
            "slow": (AsyncControlFlow(state=state), routed),
            "complex": (routed,),
            "nested": (RecursiveExecutionFlow(8, state=state), routed),
        }

    def _load(self) -> SystemLoad:
        """What was measured last."""
        if not self.samples:
            return SystemLoad()
        return SystemLoad(self.samples[-1].cpu_usage, self.samples[-1].memory_usage)

    def _executed(
        self, numbers: rx.Observable[int], flow: Flow, kind: str, turn: int, out_of: int
    ) -> rx.Observable[Any]:
        """The orders of one kind that this flow executes."""
        kinds = list(KINDS)
        make: Callable[[int], list[Operation]] = lambda n: KINDS[kind](n, self._ask)  # noqa: E731
        anything: Any = rx_ops
        results: rx.Observable[Any] = numbers.pipe(
            anything.filter(lambda n: kinds[n % 4] == kind and n // 4 % out_of == turn),
            anything.flat_map(lambda n: rx.from_iterable(make(n))),
            ops.execute(flow),
            anything.do_action(lambda result: self._note(flow, kind, result)),
        )
        return results

    async def _ask(self) -> None:
        await self.dynamic.schedule_task(lambda: asyncio.sleep(0.05), "stock")

    def _note(self, flow: Flow, kind: str, result: Any) -> None:
        self.executed[type(flow).__name__, kind] += 1
        if isinstance(result, ExecutionResult.Failure):
            self.failures.append(f"{type(flow).__name__}: {result.error}")

    def _close(self) -> None:
        self.closed = True


def _an_element(clock: VirtualScheduler) -> TelemetryData:
    made: list[TelemetryData] = []
    flow = SyncControlFlow(scheduler=clock)
    flow.telemetry.subscribe(made.append)
    flow.execute(NestedTrace([], name="try"))
    return made.pop()


def _has_service(data: TelemetryData, _state: Any) -> TelemetryData | None:
    return data if all("service.name" in one.attributes for one in data.resources()) else None


def _has_items(data: TelemetryData, _state: Any) -> TelemetryData | None:
    return data if data.items else None
