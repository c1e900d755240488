"""What does a `DynamicScheduler` decide while a load rises and falls?

Unit: shares of a simulated machine, in virtual time: CPU is what runs at once, as a share of
twelve; memory is what is in flight, as a share of 240 kB; latency is a delivery's, from its batch
to its answer. The pipeline is real (admission, `batch`, `export`), the backend takes longer
the more it has. The baseline is the same load without adjustment.
Blind spot: no real machine; how much CPU a batch costs is assumed.

    python -m benchmarks.dynamic results/dynamic.svg
"""

import asyncio
import sys
from pathlib import Path

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import TelemetryData
from rxotlp.errors import RefusedError
from rxotlp.schedulers import (
    AdjustmentSettings,
    Decision,
    DynamicScheduler,
    Metrics,
    PerformanceMonitor,
    TaskScheduler,
    plot_decisions,
)
from rxotlp.testing import Rig, logs

__all__ = ["measured"]

BUDGET = 240_000  # bytes
ELEMENT = 100  # bytes
SETTINGS = AdjustmentSettings(concurrency=10, batch_size=8, max_batch_size=64)


class _Backend:
    def __init__(self) -> None:
        self.running = 0

    async def export(self, data: TelemetryData) -> Outcome:
        self.running += 1
        await asyncio.sleep(0.3 + 0.05 * self.running)
        self.running -= 1
        return DELIVERED


def measured(*, adjust: bool, seconds: int = 600) -> tuple[list[Metrics], list[Decision], int]:
    """The samples, the decisions, and how many elements were refused."""
    samples: list[Metrics] = []
    decisions: list[Decision] = []
    refused = 0
    backend = _Backend()
    with Rig() as rig:
        admission = rig.feed.admission
        clock = rig.clock
        dynamic = DynamicScheduler(
            TaskScheduler(on=clock),
            monitor=PerformanceMonitor(
                cpu=lambda: min(1.0, backend.running / 12),
                memory=lambda: min(1.5, admission.bytes / BUDGET),
                clock=lambda: clock.clock,
            ),
            settings=SETTINGS,
            scheduler=clock,
        )
        dynamic.decisions.subscribe(decisions.append)
        dynamic.measurements.subscribe(samples.append)
        if adjust:
            dynamic.guard(admission)

        def heard(delivery: ops.Delivery) -> None:
            dynamic.monitor.observe(delivery.seconds)

        rig.run(
            ops.batch(max_items=dynamic.batch_size if adjust else 8, max_delay=2.0),
            ops.export(backend, max_concurrent=dynamic.concurrency if adjust else 10),
            on_next=heard,
        )
        dynamic.start_dynamic_adjustment(1.0)
        due = 0.0
        while clock.clock < seconds:
            clock.advance_by(0.1)
            # From 5 to 165 elements a second and back, in the first two thirds.
            share = max(0.0, 1 - abs(clock.clock / seconds - 1 / 3) * 3)
            due += 0.1 * (5 + 160 * share)
            while due >= 1:
                due -= 1
                try:
                    rig.feed.admit(logs([1]), credit=admission.reserve(ELEMENT))
                except RefusedError:
                    refused += 1
            clock.advance_by(0)
        dynamic.close()
        clock.run()
    return samples, decisions, refused


if __name__ == "__main__":
    for adjust in (False, True):
        samples, decisions, refused = measured(adjust=adjust)
        peak = max(one.memory_usage for one in samples)
        print(
            f"{'adjusted' if adjust else 'fixed':9} memory at most {peak:.2f}, "
            f"{refused} refused" + (f", {len(decisions)} decisions" if adjust else "")
        )
    if len(sys.argv) > 1:
        picture = plot_decisions(samples, decisions, settings=SETTINGS)
        Path(sys.argv[1]).write_text(picture, encoding="utf-8")
