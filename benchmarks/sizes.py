"""Does cost grow with size in a straight line?

Unit: microseconds of CPU of this thread for one request, the median of the rounds; the figure
is the slope over the upper half of the sizes by the slope over the lower half, each by least
squares. 1 is a straight line, 2 what grows with the square has over the halves of any range.
Baseline: itself at smaller sizes.
Blind spot: in-process, and a size is measured over and over, so its bytes are in the cache
until they no longer fit.

    P10  1 to 8192 items a request: counted, routed, batched, cut, exported as bytes
         1 to 64 resources in a request: split by resource, each part exported
         1 to 32 stages: a function a stage, with receipts and books
         at most 1.5

    python -m benchmarks.sizes
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import reactivex as rx

from benchmarks.costs import _through
from benchmarks.measures import Measure
from benchmarks.workloads import payload
from rxotlp import operators as ops
from rxotlp._core.chart import Panel, chart
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import Signal, TelemetryData
from rxotlp.sources.memory import keep_freed_memory

__all__ = ["p10"]

AT_MOST = 1.5  # half-way between what a straight line and what a square would have
PICTURE = Path(__file__).parent / "results" / "sizes.svg"

ITEMS = (1, 2048, 4096, 6144, 8192)
RESOURCES = (1, 16, 32, 48, 64)
STAGES = (1, 8, 16, 24, 32)
ROUNDS = 9
SECONDS = 0.03  # of CPU a size and round

Push = Callable[[], None]


class _Bytes:
    """A destination that has every request encoded, and keeps nothing."""

    def export(self, data: TelemetryData) -> Outcome:
        assert data.to_bytes()
        return DELIVERED


def _items(items: int) -> Push:
    """One request through what a gateway does with it."""
    way = rx.compose(ops.batch(max_items=8192, max_bytes=64 << 20), ops.export(_Bytes()))
    return _flushed(payload("spans", items=items)[1], way)


def _flushed(data: bytes, way: Any) -> Push:
    return _through(data, ops.route("signal", {Signal.TRACES: way}), seconds=1.0)


def _resources(resources: int) -> Push:
    """A request of 64 spans a resource, taken apart."""
    message = Signal.TRACES.names.request()
    for number in range(resources):
        one: Any = Signal.TRACES.names.request.FromString(payload("spans", items=64)[1])
        one.resource_spans[0].resource.attributes[0].value.string_value = f"shop-{number}"
        message.MergeFrom(one)
    way = rx.compose(ops.split_by("service.name"), ops.export(_Bytes()))
    return _through(message.SerializeToString(), way)


def _stages(stages: int) -> Push:
    """As many functions that only look."""
    chains = [ops.chain(_look, name=f"look {number}") for number in range(stages)]
    return _through(payload("tiny")[1], rx.compose(*chains))


def _look(data: TelemetryData) -> TelemetryData:
    return data


FRAMES = (
    "a step, not a bend: at about the 30th stage CPython takes another piece of its frame stack "
    "(16 KiB) and gives it back after every element: one mmap, one munmap and up to three page "
    "faults an element, seen with strace; plain reactivex has the same step at its 60th map"
)
WORK: tuple[tuple[str, str, Callable[[int], Push], Sequence[int], str], ...] = (
    ("items a request", "route, batch, export", _items, ITEMS, "spans, 1 to 8192 a request"),
    ("resources a request", "split_by, export", _resources, RESOURCES, "64 spans a resource"),
    ("stages", "chain", _stages, STAGES, "tiny"),
)


def p10(smoke: bool) -> Iterator[Measure]:
    """P10, and its picture."""
    keep_freed_memory()
    rounds = 1 if smoke else ROUNDS
    panels = []
    for axis, work, make, sizes, data in WORK:
        costs = _costs([make(size) for size in sizes], rounds, 0.001 if smoke else SECONDS)
        bends = [_bend(sizes, cost) for cost in costs]
        medians = [statistics.median(cost) for cost in zip(*costs, strict=True)]
        share, bend = _slope(sizes, medians), _bend(sizes, medians)
        yield Measure(
            f"{axis}, {sizes[0]} to {sizes[-1]}: {work}",
            bend,
            spread=(min(bends), max(bends)),
            runs=rounds,
            payload=data,
            at_most=AT_MOST,
            note=FRAMES if make is _stages and bend > AT_MOST else "",
            detail={
                "us": dict(zip(map(str, sizes), medians, strict=True)),
                "us_each": share,
            },
        )
        # Every panel has its own axis; all are drawn over percent of the largest.
        panels.append(
            Panel(
                f"us a request, 0 to {sizes[-1]} {axis}: {work}",
                {
                    "measured": [
                        (size / sizes[-1] * 100, cost)
                        for size, cost in zip(sizes, medians, strict=True)
                    ],
                    "straight": [
                        (0.0, medians[-1] - share * sizes[-1]),
                        (100.0, medians[-1]),
                    ],
                },
            )
        )
    if not smoke:
        PICTURE.write_text(chart("Cost against size (P10)", panels, unit=" %"))


def _costs(pushes: list[Push], rounds: int, seconds: float) -> list[list[float]]:
    """Microseconds a push, a list a round; the sizes alternate."""
    repeats = []
    for push in pushes:
        push()
        repeats.append(max(1, round(seconds / max(_seconds(push, 1), 1e-6))))
    return [
        [_seconds(push, times) / times * 1e6 for push, times in zip(pushes, repeats, strict=True)]
        for _ in range(rounds)
    ]


def _seconds(push: Push, times: int) -> float:
    began = time.thread_time()
    for _ in range(times):
        push()
    return time.thread_time() - began


def _bend(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """The slope of the upper half by the slope of the lower."""
    middle = len(sizes) // 2
    lower = _slope(sizes[: middle + 1], costs[: middle + 1])
    upper = _slope(sizes[middle:], costs[middle:])
    return upper / lower if lower > 0 else float("inf")


def _slope(sizes: Sequence[int], costs: Sequence[float]) -> float:
    return statistics.linear_regression(sizes, costs).slope


def main() -> None:
    """Print it."""
    for measure in p10(smoke=False):
        print(f"{measure.work}: {measure.figure:.2f} {measure.spread} {measure.verdict}")
        print(f"    {measure.detail}")


if __name__ == "__main__":
    main()
