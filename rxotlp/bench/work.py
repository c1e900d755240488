"""What every variant is given: requests that exist before anything is measured.

They are made or read once, counted, and given to each run in the same order, from the first
again when they run out. So a figure holds no generating, reading or counting of telemetry,
and a long run takes no more memory than a short one.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rxotlp import operators as ops
from rxotlp import sources
from rxotlp._core.outcomes import DELIVERED, Outcome, failed
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.pipeline import Pipeline
from rxotlp.sources.load import Load
from rxotlp.wire.signals import Signal

__all__ = ["What", "Workload", "workload"]

What = str | Path | Signal | TelemetryData | Sequence[Signal | str] | Iterable[TelemetryData]

DISTINCT = 64  # requests that are made; more of them would differ as little as these do
MOST_BYTES = 256 << 20  # of a file or an iterable; what is behind is left out
_START = 1_760_000_000_000_000_000  # a fixed instant, ns: the same seed gives the same bytes
_A_SECOND = 100_000  # items, of the telemetry's own time
_GENERATED = (Signal.TRACES, Signal.METRICS, Signal.LOGS)


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests for every run; made by `workload`.

    Attributes:
        name: for tables and pictures.
        elements: the distinct requests, without receipts.
        items: spans, records or data points of a run; None lets `compare` choose.
        rate: items a second that are offered whatever becomes of them; None is as fast as
            they are taken.
        notes: what a reader of the results should know.
    """

    name: str
    elements: tuple[TelemetryData, ...]
    items: int | None = None
    rate: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def item_bytes(self) -> float:
        """Encoded bytes an item, of all elements."""
        return self._bytes / self._items

    @property
    def _items(self) -> int:
        return sum(data.items for data in self.elements)

    @property
    def _bytes(self) -> int:
        return sum(data.size for data in self.elements)

    def requests_for(self, items: int) -> int:
        """The fewest requests, from the first on, that have `items` items or more."""
        rounds, rest = divmod(items, self._items)
        count = rounds * len(self.elements)
        for data in self.elements:
            if rest <= 0:
                break
            rest -= data.items
            count += 1
        return max(1, count)

    def items_of(self, requests: int) -> int:
        """Items in so many requests."""
        rounds, rest = divmod(requests, len(self.elements))
        return rounds * self._items + sum(data.items for data in self.elements[:rest])

    def __str__(self) -> str:
        mean = self._items / len(self.elements)
        pace = "as fast as they are taken" if self.rate is None else f"{self.rate:g} items/s"
        return f"{self.name}, {mean:.4g} items a request, {self.item_bytes:.0f} bytes each, {pace}"


def workload(
    what: What = Signal.TRACES,
    *,
    items: int | None = None,
    rate: float | None = None,
    items_per_request: int = 512,
    services: int = 6,
    seed: int = 0,
    signal: Signal | None = None,
) -> Workload:
    """Requests to compare variants on.

    Args:
        what: a signal or its name ("traces", "metrics", "logs") or several, which are
            generated as `sources.generate` does; the path of a file that `sources.file`
            reads; or elements of your own.
        items: items of a run, 1 or more; the last request is not cut. None: as many as
            `compare` has time for.
        rate: items a second to offer, above 0. Latency then counts from the moment at which
            a request was due, so what waits for a pipeline that is behind shows. None:
            as fast as the pipeline takes them, with the credit of an ordinary source.
        items_per_request, services, seed: of generated telemetry.
        signal: whose requests a file of protobuf messages has.

    Raises:
        ValueError: an argument out of its range, a file that cannot be read, or nothing to
            send.
        TypeError: `what` is none of these.
    """
    for argument, count in (("items", items), ("items_per_request", items_per_request)):
        if count is not None and count < 1:
            raise ValueError(f"workload({argument}={count}): expected 1 or more")
    if rate is not None and not 0 < rate < float("inf"):
        raise ValueError(f"workload(rate={rate}): expected more than 0 items a second, or None")
    if not 1 <= services <= 100:
        raise ValueError(f"workload(services={services}): expected 1 to 100")
    signals = _signals(what)
    if signals:
        wanted = DISTINCT if items is None else min(DISTINCT, -(-items // items_per_request))
        made = _generated(signals, wanted, items_per_request, services, seed)
        made = replace(made, name=f"{made.name}, seed {seed}" if seed else made.name)
    elif isinstance(what, str | Path):
        made = _read(Path(what), signal)
    else:
        made = _taken(what)
    return replace(made, items=items, rate=rate)


def _signals(what: object) -> tuple[Signal, ...]:
    """The signals to generate; none when `what` is something else."""
    known = {signal.value: signal for signal in _GENERATED}
    listed = list(what) if isinstance(what, list | tuple | set | frozenset) else [what]
    found: list[Signal] = []
    for one in listed:
        if isinstance(one, str) and one in known:
            found.append(known[one])
        elif isinstance(one, Signal):
            if one not in _GENERATED:
                raise ValueError(f"workload({one}): expected traces, metrics or logs, or a file")
            found.append(one)
        elif found or (isinstance(one, str) and len(listed) > 1):
            raise ValueError(f"workload({what!r}): expected signals: {', '.join(known)}")
    return tuple(dict.fromkeys(found))


def _generated(
    signals: tuple[Signal, ...], requests: int, items: int, services: int, seed: int
) -> Workload:
    load = Load(
        seed=seed,
        services=services,
        error_ratio=0.02,
        delta=False,
        start=_START,
        keep=frozenset(signals),
    )
    step = items * 10**9 // _A_SECOND
    elements = [
        TelemetryData.from_bytes(
            signal, load.request(signal, items, _START + number * step, window=step)
        )
        for number, signal in zip(
            range(1, max(requests, len(signals)) + 1), itertools.cycle(signals), strict=False
        )
    ]
    return _counted(" + ".join(signal.value for signal in signals), elements)


class _Keep:
    """Takes what a file has, as much of it as may be kept."""

    def __init__(self) -> None:
        self.elements: list[TelemetryData] = []
        self.size = 0

    @property
    def full(self) -> bool:
        """Whether there is more than will be kept."""
        return self.size > MOST_BYTES

    def export(self, data: TelemetryData) -> Outcome:
        """Keep it; once there is enough, none is taken."""
        if self.full:
            return failed("there is enough")
        self.elements.append(data)
        self.size += data.size
        return DELIVERED


def _read(path: Path, signal: Signal | None) -> Workload:
    if not path.is_file():
        names = ", ".join(signal.value for signal in _GENERATED)
        raise ValueError(f"workload({str(path)!r}): no such file, and none of {names}")
    keep = _Keep()
    reading = Pipeline(
        sources.file(path, signal=signal, max_attempts=1).pipe(ops.export(keep, max_concurrent=1)),
        drain_timeout=0,
    )
    with reading:
        while not reading.wait(0.1) and not keep.full:
            pass
    if reading.error is not None:
        raise ValueError(f"workload({str(path)!r}): {reading.error}")
    return _kept(path.name, keep.elements)


def _taken(what: object) -> Workload:
    if isinstance(what, TelemetryData):
        what = [what]
    if not isinstance(what, Iterable):
        raise TypeError(
            f"workload({type(what).__name__}): expected a signal, the path of a file, or elements"
        )
    return _kept("elements", what)


def _kept(name: str, elements: Iterable[object]) -> Workload:
    kept: list[TelemetryData] = []
    size = 0
    for data in elements:
        if not isinstance(data, TelemetryData):
            raise TypeError(
                f"workload(): element {len(kept)} is {type(data).__name__}, expected TelemetryData"
            )
        size += data.size
        if size > MOST_BYTES and kept:
            text = f"{name}: only the first {len(kept)} requests, {MOST_BYTES >> 20} MiB of it"
            return replace(_counted(name, kept), notes=(text,))
        kept.append(data.detached())
    return _counted(name, kept)


def _counted(name: str, elements: Iterable[TelemetryData]) -> Workload:
    """Count every request, once and for all, and leave out what has no items."""
    counted = [data for data in elements if _items(name, data)]
    if not counted:
        raise ValueError(f"workload({name}): it has no items; there is nothing to measure")
    return Workload(name, tuple(counted))


def _items(name: str, data: TelemetryData) -> int:
    try:
        return data.items
    except DecodeError as error:
        raise ValueError(f"workload({name}): a request cannot be read: {error}") from None
