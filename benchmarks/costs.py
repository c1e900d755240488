"""What does one operator add to the way of an element?

Unit: microseconds of CPU an element, with the operator less without it; and as a ratio, that
by what the same push costs in plain reactivex: a `Subject`, one `map` and a subscriber. All
sides alternate in each round, the median of the rounds counts.
The element has 500 spans of one service, as encoded bytes. The way: a receipt, the source's
stage, the operator, a subscriber that only counts, the receipt's settlement, one turn of the
scheduler.
Blind spot: functions given to operators do nothing, so this is the operator alone; virtual
time, one thread, no transport. `batch` and `collect` join eight elements, what is
added is an eighth.

    python -m benchmarks.costs
"""

import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from benchmarks.graph import _Push
from benchmarks.workloads import payload
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import Signal, TelemetryData
from rxotlp.flows import AsyncControlFlow, Call
from rxotlp.receipt import Receipt
from rxotlp.schedulers import VirtualScheduler

__all__ = ["costs"]

_ITEMS = 500

Way = Callable[[Observable[Any]], Observable[Any]]
Push = Callable[[], None]


def _same(data: TelemetryData) -> TelemetryData:
    return data


async def _same_later(data: TelemetryData) -> TelemetryData:
    return data


def _leave(_record: Any) -> None:
    """A change that changes nothing."""


class _Nowhere:
    def export(self, data: TelemetryData) -> Outcome:
        return DELIVERED


def _pass(source: Observable[Any]) -> Observable[Any]:
    return source


def _cases() -> dict[str, Way]:
    """An operator each; `execute` has elements of its own."""
    quiet = logging.Logger("costs")
    quiet.addHandler(logging.NullHandler())
    return {
        "adaptive_concurrency": ops.export(_Nowhere(), max_concurrent=ops.adaptive_concurrency()),
        "batch": ops.batch(max_items=8 * _ITEMS),
        "broadcast": ops.broadcast(_pass, _pass),
        "chain": ops.chain(_same),
        "circuit_breaker": ops.circuit_breaker(_pass),
        "collect": ops.collect(max_records=8 * _ITEMS),
        "discarding": ops.discarding("none", rx_ops.map(_same)),
        "export": ops.export(_Nowhere()),
        "failover": ops.failover([_pass, _pass]),
        "filter_records": ops.filter_records(lambda span: span.kind != 3),
        "log": ops.log("passes", logger=quiet),
        "map_columns": ops.map_columns(lambda _: {}, columns=["kind"]),
        "map_records": ops.map_records(_leave),
        "measure": ops.measure("passes"),
        "mirror": ops.mirror(_pass, 0.1),
        "parallel": ops.parallel(_same_later),
        "queue": ops.queue(),
        "rate_limit": ops.rate_limit(1e12),
        "records": ops.records(),
        "route": ops.route("signal", {Signal.TRACES: _pass}),
        "sample_ratio": ops.sample_ratio(0.5),
        "scatter_gather": ops.scatter_gather(_same, _same, merge=lambda parts: parts[0]),
        "split_by": ops.split_by("service.name"),
        "time_limit": ops.time_limit(_pass, 10),
        "wire_tap": ops.wire_tap(lambda _: None),
    }


def costs(*, rounds: int = 9, elements: int = 400, items: int = _ITEMS) -> list[dict[str, Any]]:
    """Every operator, by name.

    Args:
        rounds: 5 or more for a claim.
        elements: pushed in a round, a multiple of eight.
        items: spans an element.
    """
    data = payload("spans", items=items)[1]
    bare, plain = _through(data, _pass), _plain(data)
    ways = {name: _through(data, way) for name, way in _cases().items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in [*ways, "execute"]}
    executed, only = _execute(flow=True), _execute(flow=False)
    for _ in range(rounds):
        nothing, unit = _microseconds(bare, elements), _microseconds(plain, elements)
        for name, push in ways.items():
            added = _microseconds(push, elements) - nothing
            found[name].append((added, added / unit))
        added = _microseconds(executed, elements) - _microseconds(only, elements)
        found["execute"].append((added, added / unit))
    return [
        {
            "operator": name,
            "added_us": statistics.median(added for added, _ in pairs),
            "ratio": statistics.median(ratio for _, ratio in pairs),
            "spread": (min(ratio for _, ratio in pairs), max(ratio for _, ratio in pairs)),
        }
        for name, pairs in sorted(found.items())
    ]


def _through(data: bytes, way: Way, *, seconds: float = 0.0) -> Push:
    """A push through `way`, until nothing more is to be done for so many seconds."""
    scheduler = VirtualScheduler()
    source = _Push()
    source.pipe(way).subscribe(lambda _: None, scheduler=scheduler)
    source.connect(scheduler)
    stage, inbox = source._stage, scheduler.inbox
    assert stage is not None

    def push() -> None:
        receipt = Receipt(inbox=inbox, on_settle=lambda _: None)
        stage.emit([receipt.attach(TelemetryData.from_bytes(Signal.TRACES, data))])
        scheduler.advance_by(seconds)

    return push


def _plain(data: bytes) -> Push:
    subject: Subject[TelemetryData] = Subject()
    subject.pipe(rx_ops.map(_same)).subscribe(lambda _: None)
    return lambda: subject.on_next(TelemetryData.from_bytes(Signal.TRACES, data))


def _execute(*, flow: bool) -> Push:
    """An operation that does nothing, executed or only passed on."""
    scheduler = VirtualScheduler()
    subject: Subject[Any] = Subject()
    way = ops.execute(AsyncControlFlow(scheduler=scheduler)) if flow else _pass
    subject.pipe(way).subscribe(lambda _: None, scheduler=scheduler)
    operation = Call(lambda _: None)

    def push() -> None:
        subject.on_next(operation)
        scheduler.advance_by(0)

    return push


def _microseconds(push: Push, elements: int) -> float:
    start = time.thread_time()
    for _ in range(elements):
        push()
    return (time.thread_time() - start) / elements * 1e6


def main() -> None:
    """Print them as a table."""
    print("| operator | added, us | by a Subject and a map | spread |")
    print("| --- | --- | --- | --- |")
    for row in costs():
        low, high = row["spread"]
        print(
            f"| `{row['operator']}` | {row['added_us']:.1f} | {row['ratio']:.1f} "
            f"| {low:.1f} to {high:.1f} |"
        )


if __name__ == "__main__":
    main()
