"""`rxotlp demo flows`: a shop's orders as operations, on one live stream, by every flow.

    orders -> ops.execute(flow) -> results             who executes: by the kind of order
                  |
                  +-> telemetry -> HybridDataFlow -> here    which way: by what is in it

Each order becomes spans that carry its number, and a measurement. At the end every span and
every measurement must have arrived, by its number, and every book must balance.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import reactivex as rx
from reactivex import operators as rx_ops
from rich.console import Console
from rich.table import Table

from rxotlp import operators as ops
from rxotlp.assembly import Assembly
from rxotlp.books import Books
from rxotlp.data import Signal, TelemetryData
from rxotlp.flows import (
    AddSpan,
    AsyncControlFlow,
    BatchProcessing,
    Call,
    ComplexTrace,
    ControlState,
    DataRoute,
    DataRouter,
    EndTrace,
    ExecutionContext,
    ExecutionResult,
    HighLatency,
    HybridControlFlow,
    HybridDataFlow,
    Metric,
    NestedTrace,
    Operation,
    ParallelExecutionFlow,
    RecordMetric,
    RecursiveExecutionFlow,
    SequentialExecutionFlow,
    SpanStatus,
    StartTrace,
    SyncControlFlow,
)
from rxotlp.flows.base import Flow
from rxotlp.schedulers import SyncScheduler

__all__ = ["main"]

PATIENCE = 30.0  # seconds that the last order may take
STEP = 0.01  # seconds between orders


def plain(number: int) -> list[Operation]:
    """An order that is told of at once."""
    order = [
        StartTrace("order", {"order": number}),
        AddSpan(None, "pay", {"order": number}),
        EndTrace(status=SpanStatus.ERROR if number % 9 == 0 else SpanStatus.OK),
        EndTrace(),
        RecordMetric(Metric("orders", 1, attributes={"kind": "plain"})),
    ]
    return [BatchProcessing(order)]


def slow(number: int) -> list[Operation]:
    """One whose stock is asked for elsewhere."""

    async def stock(_: ExecutionContext) -> list[Operation]:
        await asyncio.sleep(0.005)
        return [AddSpan(None, "stock", {"order": number}), EndTrace()]

    count = RecordMetric(Metric("orders", 1, attributes={"kind": "slow"}))
    order = [StartTrace("order", {"order": number}), Call(stock), EndTrace(), count]
    return [HighLatency(BatchProcessing(order))]


def complex_(number: int) -> list[Operation]:
    """One that is paid first, and then packed and confirmed together."""

    def part(name: str) -> Operation:
        return BatchProcessing([AddSpan(None, name, {"order": number}), EndTrace()])

    root = f"{number + 1:016x}"
    opened = StartTrace("order", {"order": number}, span_id=root)
    count = RecordMetric(Metric("orders", 1, attributes={"kind": "complex"}))
    return [
        ComplexTrace([opened, part("pay")], [part("pack"), part("confirm")]),
        BatchProcessing([EndTrace(root), count]),
    ]


def nested(number: int) -> list[Operation]:
    """One of parcels within parcels."""
    inner: Operation = BatchProcessing([AddSpan(None, "parcel", {"order": number}), EndTrace()])
    for _ in range(3):
        inner = NestedTrace([inner])
    count = RecordMetric(Metric("orders", 1, attributes={"kind": "nested"}))
    order = [StartTrace("order", {"order": number}), inner, EndTrace(), count]
    return [BatchProcessing(order)]


KINDS: dict[str, Callable[[int], list[Operation]]] = {
    "plain": plain,
    "slow": slow,
    "complex": complex_,
    "nested": nested,
}
SPANS = {"plain": 2, "slow": 2, "complex": 4, "nested": 2}


class Arrivals:
    """What came out of the data flow."""

    def __init__(self) -> None:
        self.spans: Counter[int] = Counter()
        self.measured: dict[str, float] = {}

    def note(self, data: TelemetryData) -> TelemetryData:
        """The processor of the data flow: looks, and lets it pass."""
        if data.signal is Signal.TRACES:
            for record in data.records():
                self.spans[record.attributes["order"]] += 1
        else:
            for record in data.records():
                self.measured[record.attributes["kind"]] = record.as_int
        return data


def main(*, orders: int = 200, seed: int = 1, console: Console | None = None) -> bool:
    """Run it, show what went where, and say whether all of it is accounted for."""
    screen = console or Console()
    with SyncScheduler() as scheduler:
        state = ControlState(scheduler=scheduler, resource={"service.name": "shop"}, seed=seed)
        flows: dict[str, tuple[Flow, ...]] = {
            "plain": (
                SyncControlFlow(state=state),
                SequentialExecutionFlow(state=state),
                ParallelExecutionFlow(state=state),
            ),
            "slow": (AsyncControlFlow(state=state),),
            "complex": (HybridControlFlow(state=state),),
            "nested": (RecursiveExecutionFlow(8, state=state),),
        }
        arrivals, ways, executed, failures = Arrivals(), Counter[str](), Counter[Any](), list[str]()
        usual = DataRouter()

        def way(data: TelemetryData) -> DataRoute:
            route = usual.route_data(data)
            if route is DataRoute.SYNC and data.items > 2:
                route = DataRoute.ASYNC  # there is nothing large in this shop
            ways[route.value] += data.items
            return route

        data_flow = HybridDataFlow(
            arrivals.note, router=DataRouter(way), flush_interval=0.05, scheduler=scheduler
        )
        books, told = Books(), threading.Event()
        with Assembly(books):
            state.telemetry.pipe(ops.execute(data_flow)).subscribe(
                on_completed=told.set, scheduler=scheduler
            )
        state.telemetry.connect(scheduler)
        kinds = list(KINDS)

        def execute(flow: Flow, kind: str, turn: int, out_of: int) -> rx.Observable[Any]:
            """The orders of one kind that this flow executes."""
            anything: Any = rx_ops
            results: rx.Observable[Any] = live.pipe(
                anything.filter(lambda n: kinds[n % 4] == kind and n // 4 % out_of == turn),
                anything.flat_map(lambda n: rx.from_iterable(KINDS[kind](n))),
                ops.execute(flow),
                anything.do_action(lambda result: note(flow, kind, result)),
            )
            return results

        def note(flow: Flow, kind: str, result: Any) -> None:
            executed[type(flow).__name__, kind] += 1
            if isinstance(result, ExecutionResult.Failure):
                failures.append(f"{type(flow).__name__}: {result.error}")

        done = threading.Event()
        live = rx.interval(STEP, scheduler=scheduler).pipe(rx_ops.take(orders), rx_ops.publish())
        streams = [
            execute(flow, kind, turn, len(several))
            for kind, several in flows.items()
            for turn, flow in enumerate(several)
        ]
        rx.merge(*streams).subscribe(on_completed=done.set, scheduler=scheduler)
        live.connect(scheduler)
        in_time = done.wait(orders * STEP + PATIENCE)
        state.telemetry.stop()  # what is open or was measured leaves first
        told.wait(PATIENCE)
        return _show(
            screen, orders, in_time, executed, ways, arrivals, failures, state, books.unbalanced
        )


def _show(
    screen: Console,
    orders: int,
    in_time: bool,
    executed: "Counter[tuple[str, str]]",
    ways: "Counter[str]",
    arrivals: Arrivals,
    failures: list[str],
    state: ControlState,
    unbalanced: list[Any],
) -> bool:
    table = Table("flow", "orders", "operations", title=f"{orders} orders, executed by")
    for (flow, kind), count in sorted(executed.items()):
        table.add_row(flow, kind, str(count))
    screen.print(table)
    table = Table("way", "items", title="their telemetry, through HybridDataFlow")
    for way in DataRoute:
        table.add_row(way.value, str(ways[way.value]))
    screen.print(table)

    kinds = [list(KINDS)[number % len(KINDS)] for number in range(orders)]
    missing = [number for number, kind in enumerate(kinds) if arrivals.spans[number] != SPANS[kind]]
    statistics = state.statistics()
    checks = {
        "every order was executed in time": in_time and not failures,
        f"every span arrived, by its order ({sum(arrivals.spans.values())})": not missing,
        f"every measurement arrived ({arrivals.measured})": (
            arrivals.measured == dict(Counter(kinds))
        ),
        "nothing is open, unobserved, refused or undelivered": not any(
            (
                statistics.open_spans,
                statistics.unended,
                statistics.unobserved,
                statistics.refused,
                statistics.undelivered,
            )
        ),
        "the books balance": not unbalanced,
    }
    for text, holds in checks.items():
        screen.print(f"{'yes' if holds else 'NO '}  {text}")
    for text in failures[:5]:
        screen.print(f"     {text}")
    if missing:
        screen.print(f"     orders without all of their spans: {missing[:10]}")
    return all(checks.values())
