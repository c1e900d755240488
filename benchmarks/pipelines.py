"""What do schedulers, fusing and the size of batches change for one pipeline?

Unit: a ratio, the variant's CPU time of the process, all its threads, by that of the first
one in the same round; variants take turns, the median of the rounds counts, the smallest and
largest are printed.
Baseline: "sync": a SyncScheduler, five functions fused by `chain`, batches of 8192.
Work: requests of 512 spans from an iterable, through five functions that only look, batched
and exported as bytes to nobody.
Blind spot: no transport, and nothing to wait for, which is what threads are good at.
`rxotlp bench` compares pipelines of your own.

    python -m benchmarks.pipelines
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.measures import Measure, alternating
from benchmarks.workloads import described, payload
from rxotlp import Pipeline, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import Signal, TelemetryData
from rxotlp.schedulers import SyncScheduler
from rxotlp.sources.memory import keep_freed_memory

__all__ = ["pipelines"]

Elements = list[TelemetryData]


class _Bytes:
    """A destination that has every request encoded, and counts."""

    def __init__(self) -> None:
        self.items = 0

    def export(self, data: TelemetryData) -> Outcome:
        assert data.to_bytes()
        self.items += data.items
        return DELIVERED


def _look(data: TelemetryData) -> TelemetryData:
    return data


async def _look_later(data: TelemetryData) -> TelemetryData:
    return data


FUSED = (ops.chain(*[_look] * 5),)
ALONE = tuple(ops.chain(_look, name=f"look {number}") for number in range(5))


def _stream(elements: Elements, kept: _Bytes, *before: Any, items: int = 8192) -> Any:
    source: Any = sources.from_iterable(elements)
    return source.pipe(*before, ops.batch(max_items=items, max_bytes=64 << 20), ops.export(kept))


def _in_threads(elements: Elements, kept: _Bytes, *before: Any, items: int = 8192) -> None:
    with Pipeline(_stream(elements, kept, *before, items=items)) as pipeline:
        assert pipeline.wait(120)


def _in_asyncio(elements: Elements, kept: _Bytes) -> None:
    async def run() -> None:
        async with Pipeline(_stream(elements, kept, *FUSED)) as pipeline:
            await pipeline.await_end()

    asyncio.run(run())


def _handed_over(elements: Elements, kept: _Bytes) -> None:
    """Functions on one scheduler's thread, batches and exports on another's."""
    other = SyncScheduler()
    source: Any = sources.from_iterable(elements)
    try:
        stream = source.pipe(
            *FUSED,
            ops.queue(scheduler=other),
            ops.batch(max_items=8192, max_bytes=64 << 20, scheduler=other),
            ops.export(kept, scheduler=other),
        )
        with Pipeline(stream) as pipeline:
            assert pipeline.wait(120)
    finally:
        other.close()


def _fused(elements: Elements, kept: _Bytes, *, items: int = 8192) -> None:
    _in_threads(elements, kept, *FUSED, items=items)


def _coroutines(elements: Elements, kept: _Bytes) -> None:
    _in_threads(elements, kept, ops.parallel(_look_later), *FUSED)


def _not_fused(elements: Elements, kept: _Bytes) -> None:
    _in_threads(elements, kept, *ALONE)


VARIANTS: dict[str, Callable[[Elements, _Bytes], None]] = {
    "sync": _fused,
    "asyncio": _in_asyncio,
    "threads: queue to a second scheduler": _handed_over,
    "hybrid: a coroutine a request, by parallel": _coroutines,
    "sync, not fused": _not_fused,
    "sync, batches of 512": partial(_fused, items=512),
    "sync, batches of 2048": partial(_fused, items=2048),
    "sync, batches of 32768": partial(_fused, items=32768),
}


def pipelines(smoke: bool) -> Iterator[Measure]:
    """Every variant by the first."""
    keep_freed_memory()
    rounds, requests = (1, 20) if smoke else (7, 400)
    bodies = [payload("spans", seed=seed)[1] for seed in range(16)]
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for turn in range(rounds if smoke else rounds + 1):
        for name, variant in VARIANTS.items():
            elements = [
                TelemetryData.from_bytes(Signal.TRACES, bodies[number % 16])
                for number in range(requests)
            ]
            kept = _Bytes()
            began = time.process_time()
            variant(elements, kept)
            spent = time.process_time() - began
            if turn or smoke:  # the first warms up
                found[name].append(spent / requests * 1e6)
            if kept.items != requests * 512:
                raise AssertionError(f"{name}: {kept.items} items of {requests * 512} arrived")
    base = found["sync"]
    for name, us in found.items():
        yield alternating(
            name,
            [own / other for own, other in zip(us, base, strict=True)],
            payload=f"{described('spans')}; {requests} requests",
            peer="" if us is base else "sync",
            note=f"{statistics.median(us):.0f} us a request",
            detail={"us_a_request": statistics.median(us)},
        )


def main() -> None:
    """Print them."""
    for measure in pipelines(smoke=False):
        print(f"{measure.work}: {measure.figure:.2f}x {measure.spread} {measure.note}")


if __name__ == "__main__":
    main()
