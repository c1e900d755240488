"""What do receipts and books cost on the way through five stages?

Unit: a ratio, our time an element by the peer's in the same round; the two alternate, the
median of the rounds counts, the smallest and largest are printed.
Baseline: the same five functions as `map`s of plain reactivex behind a `Subject`, on the same
elements, with nobody to answer.
Ours: a source's receipt for each element, five `chain` stages (or one, fused) with books, and
the receipt's settlement when the element has left.
Blind spot: the functions hardly work, so this is the price of the graph and of nothing else;
one thread, no transport; elements are counted beforehand on both sides.

    P7  5 stages, receipts and books on: at most 3x; fused by `chain`: at most 1x

    python -m benchmarks.graph
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

from reactivex import operators as rx_ops
from reactivex.subject import Subject

from benchmarks.workloads import payload
from rxotlp import operators as ops
from rxotlp.data import Signal, TelemetryData
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SerialScheduler, VirtualScheduler
from rxotlp.sources.base import Source

__all__ = ["p7"]

Function = Callable[[TelemetryData], TelemetryData]


def _look(data: TelemetryData) -> TelemetryData:
    return data


def _known_signal(data: TelemetryData) -> TelemetryData:
    assert data.signal is Signal.TRACES
    return data


def _tenant(data: TelemetryData) -> TelemetryData:
    assert data.metadata.get("tenant") != "blocked"
    return data


def _stamp(data: TelemetryData) -> TelemetryData:
    return data.replace(metadata={"seen": "1"})


# Functions that only look, and the same with one that makes a new element.
LOOKING = (_look, _known_signal, _tenant, _known_signal, _look)
CHANGING = (_look, _known_signal, _tenant, _stamp, _look)


def p7(*, rounds: int = 9, elements: int = 5000) -> list[dict[str, Any]]:
    """P7: ours by reactivex's, for functions that look and for a chain with one that changes."""
    results = []
    _, data = payload("tiny")
    element = TelemetryData.from_bytes(Signal.TRACES, data)
    assert element.items == 1
    for work, functions in (("look", LOOKING), ("look, one changes", CHANGING)):
        plain, plain_seen = _plain(element, functions)
        for shape, fused in (("5 stages", False), ("fused", True)):
            ours, ours_seen = _ours(element, functions, fused)
            ratios, times = [], []
            for turn in range(rounds + 1):
                peer_time, our_time = _seconds(plain, elements), _seconds(ours, elements)
                if turn:  # the first warms up
                    ratios.append(our_time / peer_time)
                    times.append((our_time / elements * 1e6, peer_time / elements * 1e6))
            assert ours_seen() == (rounds + 1) * elements
            assert plain_seen() >= (rounds + 1) * elements
            results.append(
                {
                    "goal": "P7",
                    "work": work,
                    "shape": shape,
                    "ours": ours,
                    "ratio": statistics.median(ratios),
                    "spread": [min(ratios), max(ratios)],
                    "ours_us": statistics.median(ours for ours, _ in times),
                    "peer_us": statistics.median(peer for _, peer in times),
                    "limit": 1.0 if fused else 3.0,
                    "met": statistics.median(ratios) <= (1.0 if fused else 3.0),
                }
            )
    return results


def _seconds(push: Callable[[], None], elements: int) -> float:
    start = time.perf_counter()
    for _ in range(elements):
        push()
    return time.perf_counter() - start


def _plain(
    element: TelemetryData, functions: tuple[Function, ...]
) -> tuple[Callable[[], None], Callable[[], int]]:
    subject: Subject[TelemetryData] = Subject()
    seen = 0

    def count(_data: TelemetryData) -> None:
        nonlocal seen
        seen += 1

    subject.pipe(*map(rx_ops.map, functions)).subscribe(count)

    def push() -> None:
        subject.on_next(element._with_share(None))

    return push, lambda: seen


class _Push(Source):
    """A source whose transport is the benchmark, inside the scheduler's turn."""

    def __init__(self) -> None:
        super().__init__("push")

    def _begin(self, scheduler: SerialScheduler) -> None:
        """Nothing to bind."""

    def _release(self) -> None:
        """Nothing to give back."""


def _ours(
    element: TelemetryData, functions: tuple[Function, ...], fused: bool
) -> tuple[Callable[[], None], Callable[[], int]]:
    scheduler = VirtualScheduler()
    source = _Push()
    seen = settled = 0

    def count(_data: TelemetryData) -> None:
        nonlocal seen
        seen += 1

    def settle(_receipt: Receipt) -> None:
        nonlocal settled
        settled += 1

    stages = [ops.chain(*functions)] if fused else [ops.chain(function) for function in functions]
    source.pipe(*stages).subscribe(count, scheduler=scheduler)
    source.connect(scheduler)
    stage, inbox = source._stage, scheduler.inbox
    assert stage is not None

    def push() -> None:
        receipt = Receipt(inbox=inbox, on_settle=settle)
        stage.emit([receipt.attach(element)])

    return push, lambda: min(seen, settled)


def main() -> None:
    """Print P7."""
    for row in p7():
        low, high = row["spread"]
        print(
            f"{row['work']:18} {row['shape']:9} {row['ratio']:.2f}x ({low:.2f}-{high:.2f}), "
            f"{row['ours_us']:.2f} us by {row['peer_us']:.2f} us, at most {row['limit']}x: "
            f"{'met' if row['met'] else 'missed'}"
        )


if __name__ == "__main__":
    main()
