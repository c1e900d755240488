"""`sources.generate()`: telemetry of an imagined shop, for load tests and for trying things.

What is in the requests is `load`'s; here is when they come. A request leaves when the last of
its items would have happened, so after t seconds rate x t items have left, give or take the
request that is being filled. Time is the scheduler's: a VirtualScheduler makes an hour's load
as fast as it is taken, and exact.
"""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import cycle
from typing import TYPE_CHECKING

from rxotlp.admission import Admission
from rxotlp.data import TelemetryData
from rxotlp.sources.base import State
from rxotlp.sources.iterable import IterableSource
from rxotlp.sources.load import Load
from rxotlp.wire.signals import Signal

if TYPE_CHECKING:
    from rxotlp.schedulers import SerialScheduler

__all__ = ["GenerateSource", "generate"]

_MIX = "TLTTLTMTLT"  # of ten requests: a shop writes more spans than logs, and few metrics
_LETTERS = {"T": Signal.TRACES, "L": Signal.LOGS, "M": Signal.METRICS}
_MOST_ITEMS = 512  # of a request, as the SDKs' batch processors have it
_REQUESTS_A_SECOND = 10  # as long as that makes them no larger
_UNPACED = 100_000  # items a second of the telemetry's own time, when nothing sets a rate
_CATCH_UP = 1.0  # seconds of delay that are made up for; what is more shifts all that follows


class GenerateSource(IterableSource):
    """The source of generated telemetry; made by `generate`."""

    def __init__(
        self,
        *,
        signals: tuple[Signal, ...],
        seed: int,
        rate: float | None,
        items: int | None,
        items_per_request: int,
        services: int,
        error_ratio: float,
        temporality: str,
        start: datetime | None,
        max_attempts: int,
        admission: Admission | None,
        name: str | None,
    ) -> None:
        super().__init__(
            (),  # known when it begins
            max_attempts=max_attempts,
            backoff=0.5,
            max_backoff=30.0,
            linger=5.0,
            admission=admission,
            name=name,
            call="generate",
        )
        self._signals = signals
        self._seed = seed
        self._rate = rate
        self._limit = items
        self._items_per_request = items_per_request
        self._services = services
        self._error_ratio = error_ratio
        self._temporality = temporality
        self._at = start

    def _begin(self, scheduler: "SerialScheduler") -> None:
        start = scheduler.timestamp_ns() if self._at is None else _nanoseconds(self._at)
        load = Load(
            seed=self._seed,
            services=self._services,
            error_ratio=self._error_ratio,
            delta=self._temporality == "delta",
            start=start,
            keep=frozenset(self._signals),
        )
        requests = _Requests(
            load,
            start=start,
            rate=self._rate or _UNPACED,
            limit=self._limit,
            items=self._items_per_request,
            signals=self._signals,
        )
        self._items = requests if self._rate is None else _Paced(requests)
        super()._begin(scheduler)

    def stop(self) -> None:
        """Let nothing in any more, and wait for no request's time."""
        super().stop()
        self._pending.dispose()

    def _pulled(self, data: object, error: BaseException | None) -> None:
        if error is None or self.state is State.OPEN:  # else it was told to stop
            super()._pulled(data, error)


class _Requests:
    """The requests in order, each as the time when it is due and how to make it."""

    def __init__(
        self,
        load: Load,
        *,
        start: int,
        rate: float,
        limit: int | None,
        items: int,
        signals: tuple[Signal, ...],
    ) -> None:
        self._load = load
        self._start = start
        self._rate = rate
        self._limit = limit
        self._items = items
        self._signals = cycle([_LETTERS[one] for one in _MIX if _LETTERS[one] in signals])
        self._made = 0
        self.shift = 0.0  # seconds that all is late

    @property
    def next_items(self) -> int:
        """Items of the next request; 0 after the last one."""
        return self._items if self._limit is None else min(self._items, self._limit - self._made)

    @property
    def due(self) -> float:
        """Seconds from the start until the next one leaves."""
        return (self._made + self.next_items) / self._rate + self.shift

    def make(self) -> TelemetryData:
        """The next request."""
        signal, items, due = next(self._signals), self.next_items, self.due
        payload = self._load.request(
            signal,
            items,
            self._start + int(due * 1e9),
            window=int(items / self._rate * 1e9),
        )
        self._made += items
        return TelemetryData.from_bytes(signal, payload)

    def __iter__(self) -> Iterator[TelemetryData]:
        while self.next_items:
            yield self.make()


class _Paced:
    """An async iterator of requests, each at its time."""

    def __init__(self, requests: _Requests) -> None:
        self._requests = requests
        self._began: float | None = None

    def __aiter__(self) -> "_Paced":
        return self

    async def __anext__(self) -> TelemetryData:
        requests = self._requests
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now
        if not requests.next_items:
            raise StopAsyncIteration
        wait = self._began + requests.due - now
        if wait > 0:
            await asyncio.sleep(wait)
        elif wait < -_CATCH_UP:
            requests.shift -= wait
        return requests.make()


def generate(
    signals: Signal | Iterable[Signal] = (Signal.TRACES, Signal.METRICS, Signal.LOGS),
    *,
    rate: float | None = None,
    items: int | None = None,
    duration: float | None = None,
    items_per_request: int | None = None,
    services: int = 6,
    error_ratio: float = 0.02,
    temporality: str = "cumulative",
    seed: int = 0,
    start: datetime | None = None,
    max_attempts: int = 5,
    admission: Admission | None = None,
    name: str | None = None,
) -> GenerateSource:
    """Emit realistic telemetry of an imagined shop: traces through a graph of services,
    log records that belong to their spans, and what each service measures.

    Spans have parents, kinds, statuses, durations and attributes after the semantic
    conventions; metrics are sums, gauges, histograms and exponential histograms with start
    times and temporality as the SDKs have them. Of several signals, traces get the most
    requests and metrics the fewest.

    Args:
        signals: which ones; everything but profiles.
        rate: items (spans, records, data points of all signals) a second, by the scheduler's
            clock. None: as fast as they are taken, and the telemetry's own time then passes
            as if they were 100,000 a second. A rate that was not kept for lack of credit is
            made up for within a second's worth; more than that is not sent later.
        items: how many in all; the last request is cut to it. None: no end.
        duration: seconds of load; needs a rate, and means rate x duration items.
        items_per_request: 512 by default, and fewer at low rates: ten requests a second.
        services: how many, 1 to 100; the first is the front, and no call goes back to it.
        error_ratio: the part of all traces that fail, 0 to 1; their errors go up to the root.
        temporality: "cumulative" or "delta", of histograms and monotonic sums.
        seed: the same one makes the same identifiers, values and order; with the same
            `start`, and a rate that can be kept, the same bytes.
        start: when the telemetry says that it began; now by default. With a time zone.
        max_attempts, admission, name: as for `from_iterable`.

    Returns:
        A hot source; see `from_iterable`. Its stream completes when every item has its final
        outcome.

    Raises:
        ValueError: an argument out of its range.
        TypeError: an argument of another kind.
    """
    wanted = (signals,) if isinstance(signals, Signal) else tuple(signals)
    for one in wanted:
        if not isinstance(one, Signal):
            raise TypeError(f"generate(signals={one!r}): expected a Signal or several")
    if not wanted or Signal.PROFILES in wanted:
        raise ValueError(f"generate(signals={signals}): expected traces, metrics or logs")
    for argument, value in (("rate", rate), ("duration", duration), ("error_ratio", error_ratio)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"generate({argument}={value!r}): expected a number")
    for argument, value in (
        ("items", items),
        ("items_per_request", items_per_request),
        ("services", services),
        ("seed", seed),
    ):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"generate({argument}={value!r}): expected a whole number")
    for argument, number in (("rate", rate), ("duration", duration)):
        if number is not None and not 0 < number < float("inf"):
            raise ValueError(f"generate({argument}={number}): expected more than 0, or None")
    for argument, count in (("items", items), ("items_per_request", items_per_request)):
        if count is not None and count < 1:
            raise ValueError(f"generate({argument}={count}): expected 1 or more, or None")
    if not 1 <= services <= 100:
        raise ValueError(f"generate(services={services}): expected 1 to 100")
    if not 0 <= error_ratio <= 1:
        raise ValueError(f"generate(error_ratio={error_ratio}): expected a ratio, 0 to 1")
    if temporality not in ("cumulative", "delta"):
        raise ValueError(f"generate(temporality={temporality!r}): expected cumulative or delta")
    if start is not None and start.tzinfo is None:
        raise ValueError(f"generate(start={start}): expected a time with a time zone")
    if duration is not None:
        if rate is None:
            raise ValueError(
                f"generate(duration={duration}, rate=None): expected a rate; the load of a time "
                "is so many items, and without one nobody knows how many"
            )
        lasting = max(1, round(rate * duration))
        items = lasting if items is None else min(items, lasting)
    if items_per_request is None:
        a_tenth = _MOST_ITEMS if rate is None else int(rate / _REQUESTS_A_SECOND)
        items_per_request = min(_MOST_ITEMS, max(1, a_tenth))
    return GenerateSource(
        signals=wanted,
        seed=seed,
        rate=rate,
        items=items,
        items_per_request=items_per_request,
        services=services,
        error_ratio=error_ratio,
        temporality=temporality,
        start=start,
        max_attempts=max_attempts,
        admission=admission,
        name=name,
    )


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
