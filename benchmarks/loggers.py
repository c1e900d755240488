"""What does a logger cost that says nothing?

Unit: the processor time of a run with the logger by that without, in the same round, the two in
turns of some milliseconds; of each round the fastest turn counts on both sides. "off" is at
`LogLevel.OFF`; "unheard" is at INFO while `logging` wants warnings and nobody subscribes.
Baseline: the same flow without `logger=`.
Blind spot: one thread; and where processors do nothing, the share is the largest there can be.

    at work         a `SyncDataFlow` of five processors that each set an attribute of resources
    in a stream     five `SyncDataFlow`s, each a stage with a logger, that do nothing
    organizer       a `DataFlowOrganizer` of five processors that do nothing
    operations      a `SyncControlFlow`, a batch of five operations

At most 1.02 is wanted of one that is off. It costs 0.25 us an element and stage; one that nobody
hears 0.5 us, for `logging` must be asked each time: it tells nobody when a level changes.

    python -m benchmarks.loggers
"""

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

from rxotlp import operators as ops
from rxotlp.data import TelemetryData
from rxotlp.flows import (
    BatchProcessing,
    DataFlowLogger,
    DataFlowOrganizer,
    EndTrace,
    ExecutionFlowLogger,
    FlowLog,
    LogLevel,
    Metric,
    RecordMetric,
    StartTrace,
    SyncControlFlow,
    SyncDataFlow,
)
from rxotlp.processors import attributes
from rxotlp.schedulers import SerialScheduler, SyncScheduler
from rxotlp.testing import Rig, logs

__all__ = ["logger_costs"]

Turn = Callable[[int], object]
LIMIT = 1.02


def _same(data: TelemetryData) -> TelemetryData:
    return data


def _at_work(clock: SerialScheduler, logger: Any) -> Turn:
    actions = [attributes(upsert={f"key{n}": "value"}, level="resource") for n in range(5)]
    process = SyncDataFlow(*actions, logger=logger).process
    data = logs(range(10))

    def turn(count: int) -> None:
        for _ in range(count):
            process(data)

    return turn


def _stream(clock: SerialScheduler, logger: Any) -> Turn:
    flows = [SyncDataFlow(_same, logger=logger) for _ in range(5)]
    rig = Rig(*(ops.execute(flow) for flow in flows), strict=False)
    data = logs(range(10))
    admit, advance = rig.feed.admit, rig.clock.advance_by

    def turn(count: int) -> None:
        for _ in range(count):
            admit(data.detached())
        advance(0)
        rig.happened.clear()

    return turn


def _organizer(clock: SerialScheduler, logger: Any) -> Turn:
    organizer = DataFlowOrganizer([lambda data, _: data] * 5, scheduler=clock, logger=logger)
    data = logs(range(10))

    def turn(count: int) -> None:
        for _ in range(count):
            organizer.execute_data_flow(data)

    return turn


def _operations(clock: SerialScheduler, logger: Any) -> Turn:
    flow = SyncControlFlow(scheduler=clock, logger=logger)
    flow.telemetry.subscribe(scheduler=clock)
    count_one = RecordMetric(Metric("orders", 1))
    batch = BatchProcessing([StartTrace("a"), count_one, count_one, count_one, EndTrace()])

    def turn(count: int) -> None:
        for _ in range(count):
            flow.execute(batch)

    return turn


CASES: dict[str, tuple[Callable[[SerialScheduler, Any], Turn], Any]] = {
    "at work": (_at_work, DataFlowLogger),
    "in a stream": (_stream, DataFlowLogger),
    "organizer": (_organizer, DataFlowLogger),
    "operations": (_operations, ExecutionFlowLogger),
}


def logger_costs(*, rounds: int = 9, turns: int = 60, count: int = 50) -> list[dict[str, Any]]:
    """Rows, two a case: a logger that is off, and one that nobody hears."""
    rows = []
    for case, (make, kind) in CASES.items():
        for state, level in (("off", LogLevel.OFF), ("unheard", LogLevel.INFO)):
            ratios, us = [], []
            for _ in range(rounds):
                with SyncScheduler() as clock:
                    plain = make(clock, None)
                    silent = make(clock, kind(FlowLog(scheduler=clock), level=level))
                    without, having = _fastest(plain, silent, turns, count)
                ratios.append(having / without)
                us.append(without / count * 1e6)
            rows.append(
                {
                    "job": f"{case}, a logger that is {state}",
                    "ratio": statistics.median(ratios),
                    "spread": (min(ratios), max(ratios)),
                    "limit": LIMIT,
                    "us": statistics.median(us),
                }
            )
    return rows


def _fastest(plain: Turn, silent: Turn, turns: int, count: int) -> tuple[float, float]:
    """The seconds of each one's fastest turn."""
    best = [float("inf"), float("inf")]
    pair = (plain, silent)
    for turn in pair:
        turn(count)
    gc.collect()
    gc.disable()
    try:
        for number in range(2 * turns):
            which = (number // 2 + number) % 2  # a b b a: who is second has no advantage
            began = time.process_time()
            pair[which](count)
            best[which] = min(best[which], time.process_time() - began)
    finally:
        gc.enable()
    return best[0], best[1]


if __name__ == "__main__":
    for row in logger_costs():
        low, high = row["spread"]
        print(f"{row['job']:45} {row['ratio']:.3f} ({low:.3f} to {high:.3f}), {row['us']:.1f} us")
