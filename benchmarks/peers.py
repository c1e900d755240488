"""What do other stream libraries take for the same work in one process?

Unit: a ratio, the peer's CPU time of the process by ours in the same round; everybody takes
turns, the median of the rounds counts, the smallest and largest are printed.
Baseline: reactivex, streamz, bytewax, and asyncio by hand, each in the best way we know:
requests are decoded once, because a batch of 8192 items has to know how many there are, and
their bytes are joined, which is the quickest way to one request. Outputs are compared byte
for byte before anything is measured.
Ours: a Pipeline with receipts and books, which the others have none of.
Blind spot: no transport, one producer, and bytewax's recovery and streamz's Dask are not used.

    batch     256 requests of 512 spans, joined to batches of 8192
    stages    20,000 requests of one span through five functions that only look: pushed from
              the thread that has them, as the peers take them; and ours as a Pipeline, with a
              scheduler's thread, an action for every element and an exporter

    python -m benchmarks.peers
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import Any

import reactivex as rx
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from benchmarks.graph import _Push
from benchmarks.measures import Measure, alternating, named, not_shown
from benchmarks.workloads import described, payload
from rxotlp import Pipeline, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import Signal, TelemetryData
from rxotlp.receipt import Receipt
from rxotlp.schedulers import VirtualScheduler
from rxotlp.sources.memory import keep_freed_memory

__all__ = ["peers"]

BATCH = 8192
REQUEST = Signal.TRACES.names.request

Work = Callable[[list[bytes]], list[bytes]]


def _items(body: bytes) -> int:
    message: Any = REQUEST.FromString(body)
    return sum(len(scope.spans) for group in message.resource_spans for scope in group.scope_spans)


def _look(value: Any) -> Any:
    return value


class Batches:
    """Bodies until there are 8192 items; the peers' own batching counts elements, not items."""

    def __init__(self) -> None:
        self._bodies: list[bytes] = []
        self._items = 0

    def add(self, body: bytes) -> bytes | None:
        """The batch that this body fills, or None."""
        items = _items(body)
        self._bodies.append(body)
        self._items += items
        return self.flush() if self._items + items > BATCH else None

    def flush(self) -> bytes | None:
        """What is open, or None."""
        bodies, self._bodies, self._items = self._bodies, [], 0
        return b"".join(bodies) if bodies else None


class _Keep:
    """A destination in this process."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def export(self, data: TelemetryData) -> Outcome:
        self.bodies.append(data.to_bytes())
        return DELIVERED


def _ours(*operators: Any, bodies: list[bytes]) -> list[bytes]:
    kept = _Keep()
    elements = (TelemetryData.from_bytes(Signal.TRACES, body) for body in bodies)
    source: Any = sources.from_iterable(elements)
    stream = source.pipe(*operators, ops.export(kept))
    with Pipeline(stream) as pipeline:
        assert pipeline.wait(120)
    return kept.bodies


def _ours_batch(bodies: list[bytes]) -> list[bytes]:
    return _ours(ops.batch(max_items=BATCH, max_bytes=64 << 20), bodies=bodies)


def _ours_pipeline(bodies: list[bytes]) -> list[bytes]:
    return _ours(ops.chain(*[_look] * 5), bodies=bodies)


def _ours_pushed(bodies: list[bytes]) -> list[bytes]:
    """From the thread that has them, as the peers take them; receipts and books are on."""
    found: list[bytes] = []
    scheduler, source = VirtualScheduler(), _Push()
    stream = source.pipe(ops.chain(*[_look] * 5))
    stream.subscribe(lambda data: found.append(data.to_bytes()), scheduler=scheduler)
    source.connect(scheduler)
    stage, inbox = source._stage, scheduler.inbox
    assert stage is not None
    for body in bodies:
        receipt = Receipt(inbox=inbox, on_settle=lambda _: None)
        stage.emit([receipt.attach(TelemetryData.from_bytes(Signal.TRACES, body))])
    return found


def _reactivex_batch(bodies: list[bytes]) -> list[bytes]:
    found: list[Any] = []
    batches = Batches()
    rx.from_iterable(bodies).pipe(
        rx_ops.map(batches.add), rx_ops.filter(lambda batch: batch is not None)
    ).subscribe(found.append, on_completed=lambda: _last(found, batches))
    return found


def _reactivex_stages(bodies: list[bytes]) -> list[bytes]:
    found: list[bytes] = []
    subject: Subject[bytes] = Subject()
    subject.pipe(*[rx_ops.map(_look) for _ in range(5)]).subscribe(found.append)
    for body in bodies:
        subject.on_next(body)
    return found


def _asyncio_batch(bodies: list[bytes]) -> list[bytes]:
    batches = Batches()
    found: list[bytes] = []
    asyncio.run(_by_hand(bodies, [batches.add], found))
    _last(found, batches)
    return found


def _asyncio_stages(bodies: list[bytes]) -> list[bytes]:
    found: list[bytes] = []
    asyncio.run(_by_hand(bodies, [_look] * 5, found))
    return found


async def _by_hand(
    bodies: list[bytes], functions: list[Callable[[Any], Any]], found: list[bytes]
) -> None:
    """A producer, a bounded queue and a consumer; functions are simply called.

    It returns nothing: `asyncio.run` makes a text of what a coroutine returns, as it puts the
    handler of SIGINT back, and that of a few megabytes takes longer than the work.
    """
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(1000)

    async def consume() -> None:
        while (value := await queue.get()) is not None:
            for function in functions:
                value = function(value)
                if value is None:
                    break
            else:
                found.append(value)

    consumer = asyncio.create_task(consume())
    for body in bodies:
        await queue.put(body)
    await queue.put(None)
    await consumer


def _streamz(functions: list[Callable[[Any], Any]], bodies: list[bytes]) -> list[bytes]:
    found: list[bytes] = []
    source = stream = import_module("streamz").Stream()
    for function in functions:
        stream = stream.map(function)
    stream.filter(lambda value: value is not None).sink(found.append)
    for body in bodies:
        source.emit(body)
    return found


def _streamz_batch(bodies: list[bytes]) -> list[bytes]:
    batches = Batches()
    found = _streamz([batches.add], bodies)
    _last(found, batches)
    return found


def _bytewax(bodies: list[bytes], build: Callable[[Any, Any], Any]) -> list[bytes]:
    op, testing = import_module("bytewax.operators"), import_module("bytewax.testing")
    found: list[bytes] = []
    flow = import_module("bytewax.dataflow").Dataflow("benchmark")
    source = op.input("in", flow, testing.TestingSource(bodies, batch_size=64))
    op.output("out", build(op, source), testing.TestingSink(found))
    testing.run_main(flow)
    return found


def _bytewax_batch(bodies: list[bytes]) -> list[bytes]:
    """Its own `collect` counts elements, all requests here have the same number of items."""
    size = BATCH // _items(bodies[0])

    def joined(pair: tuple[str, list[tuple[int, bytes]]]) -> bytes:
        return b"".join(body for _, body in pair[1])

    def build(op: Any, source: Any) -> Any:
        counted = op.map("count", source, lambda body: (_items(body), body))
        keyed = op.key_on("key", counted, lambda _: "all")
        window = op.collect("collect", keyed, max_size=size, timeout=timedelta(seconds=60))
        return op.map("join", window, joined)

    return _bytewax(bodies, build)


def _bytewax_stages(bodies: list[bytes]) -> list[bytes]:
    def build(op: Any, source: Any) -> Any:
        for number in range(5):
            source = op.map(f"look {number}", source, _look)
        return source

    return _bytewax(bodies, build)


def _last(found: list[bytes], batches: Batches) -> None:
    if (left := batches.flush()) is not None:
        found.append(left)


_STAGES: dict[str, tuple[str, Work]] = {
    "reactivex": ("reactivex", _reactivex_stages),
    "asyncio by hand": ("opentelemetry-proto", _asyncio_stages),
    "streamz": ("streamz", partial(_streamz, [_look] * 5)),
    "bytewax": ("bytewax", _bytewax_stages),
}
JOBS: dict[str, tuple[str, int, Work, dict[str, tuple[str, Work]]]] = {
    "batch": (
        "spans",
        256,
        _ours_batch,
        {
            "reactivex": ("reactivex", _reactivex_batch),
            "asyncio by hand": ("opentelemetry-proto", _asyncio_batch),
            "streamz": ("streamz", _streamz_batch),
            "bytewax": ("bytewax", _bytewax_batch),
        },
    ),
    "stages": ("tiny", 20_000, _ours_pushed, _STAGES),
    "stages, source to exporter": ("tiny", 20_000, _ours_pipeline, _STAGES),
}


def peers(smoke: bool) -> Iterator[Measure]:
    """Both jobs against everybody who is installed."""
    keep_freed_memory()
    rounds = 1 if smoke else 7
    for job, (name, requests, ours, others) in JOBS.items():
        count = min(requests, 40) if smoke else requests
        distinct = [payload(name, seed=seed)[1] for seed in range(16)]
        bodies = [distinct[number % 16] for number in range(count)]
        expected = ours(bodies)
        there: dict[str, Work] = {}
        for peer, (_, work) in others.items():
            try:
                found = work(bodies)
            except ImportError as error:
                why = f"{error}: pip install -r benchmarks/peers.txt"
                yield not_shown(f"{job}: {peer}", why, payload=described(name))
                continue
            if found != expected:
                raise AssertionError(f"{job}: {peer} gives something else than ours")
            there[peer] = work
        mine: list[float] = []
        theirs: dict[str, list[float]] = {peer: [] for peer in there}
        for _ in range(rounds):
            mine.append(_seconds(ours, bodies))
            for peer, work in there.items():
                theirs[peer].append(_seconds(work, bodies))
        for peer, seconds in theirs.items():
            yield alternating(
                f"{job}: {peer}",
                [other / own for other, own in zip(seconds, mine, strict=True)],
                payload=f"{described(name)}; {count} requests",
                peer=f"{peer} ({named(others[peer][0])})",
                detail={
                    "ours_us": statistics.median(mine) / count * 1e6,
                    "peer_us": statistics.median(seconds) / count * 1e6,
                },
            )


def _seconds(work: Work, bodies: list[bytes]) -> float:
    began = time.process_time()
    work(bodies)
    return time.process_time() - began


def main() -> None:
    """Print them."""
    for measure in peers(smoke=False):
        if measure.figure is None:
            print(f"{measure.work}: {measure.note}")
        else:
            print(f"{measure.work}: {measure.figure:.2f}x {measure.spread} {measure.detail}")


if __name__ == "__main__":
    main()
