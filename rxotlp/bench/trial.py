"""One run of one variant, in this process: what it costs and what became of the workload.

The time and the CPU of a run are those from the first request to the end of the stream, all
threads of the process together. Memory is the highest resident size of the process above
what it was before the variant was built. A short run that nobody counts comes first, so that
no figure has a first call in it.
"""

import asyncio
import gc
import statistics
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from reactivex import Observable
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.bench import probes
from rxotlp.bench.feed import Feed, Mark
from rxotlp.bench.grid import Variant
from rxotlp.bench.results import OUTCOMES, Run
from rxotlp.bench.work import Workload
from rxotlp.books import Account
from rxotlp.data import TelemetryData
from rxotlp.operators.export import Delivery
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import AsyncScheduler, SerialScheduler, VirtualScheduler

__all__ = ["Failed", "trial"]

WARM_UP = 64  # requests at most
SILENT = 2.0  # seconds that a stream which has nothing left to do gets to end by itself
DRAIN = 10.0  # seconds for what is in flight when it does not
SINK = "bench sink"  # in the books


class Failed(Exception):
    """A run that gave no figures; the text says why, for the table."""


def trial(variant: Variant, work: Workload, requests: int, *, timeout: float) -> Run:
    """Run it once and measure.

    Args:
        variant: called twice: to warm up, and to be measured.
        work: what it is given.
        requests: how many.
        timeout: seconds that the run may take.

    Raises:
        Failed: there is nothing to report.
    """
    gc.freeze()  # what was there before is nobody's garbage
    before = probes.resident()
    with probes.heard() as logged:
        try:
            _run(variant, work, max(1, min(WARM_UP, requests // 4)), timeout)
            gc.collect()
            logged.clear()
            probes.forget_peak()
            feed, pipeline, end, exports = _run(variant, work, requests, timeout)
            peak = probes.peak()
            _check(feed, pipeline)
        except Failed as error:
            said = "; ".join(logged)
            raise Failed(f"{error}; it warned: {said}" if said else str(error)) from None
        finally:
            gc.unfreeze()
    assert feed.began is not None
    assert end is not None
    report = pipeline.report
    assert report is not None
    accounts = [one for one in report.accounts if not _unused_sink(one)]
    outcomes = {name: sum(getattr(one, name) for one in accounts) for name in OUTCOMES}
    ways = sorted(feed.ways)
    return Run(
        items=work.items_of(feed.sent),
        requests=feed.sent,
        seconds=(end.wall_ns - feed.began.wall_ns) / 1e9,
        cpu_seconds=(end.cpu_ns - feed.began.cpu_ns) / 1e9,
        latency={
            name: ways[min(len(ways) - 1, int(share * len(ways)))] / 1e9
            for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
        },
        memory=None if before is None or peak is None else max(0, peak - before),
        exports=len(exports),
        export_items=statistics.median(exports) if exports else 0.0,
        closed={one.name: dict(one.closed) for one in accounts if one.closed},
        outcomes=outcomes,
        books=[str(one) for one in accounts],
        logged=[f"{text} ({count} times)" if count > 1 else text for text, count in logged.items()],
    )


def _run(
    variant: Variant, work: Workload, requests: int, timeout: float
) -> tuple[Feed, Pipeline, Mark | None, list[int]]:
    """To the end of its stream, drained and stopped; the mark is at that end."""
    exports: list[int] = []
    ends: list[Mark] = []
    news = _News()

    def ended() -> None:
        ends.append(Mark())
        news.tell(over=True)

    feed = Feed(work.elements, requests, rate=work.rate, settled=news.tell)
    pipeline = _assembled(variant, feed, exports, ended)
    given = pipeline._given
    if isinstance(given, AsyncScheduler) or (given is None and variant.scheduler == "async"):
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            late = runner.run(_in_loop(pipeline, feed, news, timeout))
    else:
        late = _in_thread(pipeline, feed, news, timeout)
    if late is not None:
        raise Failed(
            f"did not finish within {timeout:g} s: {late} of {requests} requests came through"
        )
    return feed, pipeline, ends[0] if ends else feed.ended, exports


class _News:
    """That everything has settled, and that the stream is over; told in whichever thread."""

    def __init__(self) -> None:
        self.settled = threading.Event()  # or over
        self.over = threading.Event()
        self.wake: Callable[[], object] = lambda: None

    def tell(self, *, over: bool = False) -> None:
        if over:
            self.over.set()
        self.settled.set()
        self.wake()


def _assembled(
    variant: Variant, feed: Feed, exports: list[int], ended: Callable[[], None]
) -> Pipeline:
    """A pipeline that ends in a destination which only asks for the bytes, or in its own."""

    def is_telemetry(value: object) -> bool:
        if type(value) is Delivery:
            exports.append(value.items)
        return type(value) is TelemetryData

    class Nowhere:
        def export(self, data: TelemetryData) -> Outcome:
            data.to_bytes()  # which every OTLP exporter needs: a batch is joined here
            exports.append(data.items)
            return DELIVERED

    made: Any = variant.pipeline(feed)
    scheduler = _scheduler(variant)
    if isinstance(made, Pipeline):
        made, scheduler = made._stream, made._given or scheduler
    if isinstance(scheduler, VirtualScheduler):
        raise Failed("it runs on a VirtualScheduler: virtual time has no speed")
    if not isinstance(made, Observable):
        raise Failed(
            f"expected a stream or a Pipeline, got {type(made).__name__}: a variant is a "
            "function (source) -> source.pipe(...)"
        )
    stream: Observable[Any] = made.pipe(
        rx_ops.filter(is_telemetry),
        ops.export(Nowhere(), name=SINK),
        rx_ops.do_action(on_error=lambda _: ended(), on_completed=ended),
    )
    return Pipeline(stream, scheduler=scheduler, drain_timeout=DRAIN)


def _scheduler(variant: Variant) -> SerialScheduler | None:
    """What the variant's function makes; None leaves it to the pipeline."""
    if isinstance(variant.scheduler, str):
        return None
    made: object = variant.scheduler()
    if not isinstance(made, SerialScheduler):
        raise Failed(
            f"its scheduler's function made a {type(made).__name__}, expected a SyncScheduler or "
            "an AsyncScheduler"
        )
    return made


def _in_thread(pipeline: Pipeline, feed: Feed, news: _News, timeout: float) -> int | None:
    """Run it; the requests that came through when it did not end in time, else None."""
    pipeline.start()
    finished = news.settled.wait(timeout)
    if finished:
        news.over.wait(SILENT)
    late = None if finished else len(feed.ways)
    pipeline.stop(drain_timeout=_patience(pipeline, news))
    if pipeline._given is not None:
        pipeline._given.close()
    return late


async def _in_loop(pipeline: Pipeline, feed: Feed, news: _News, timeout: float) -> int | None:
    """As `_in_thread`."""
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    news.wake = lambda: loop.call_soon_threadsafe(woken.set)

    async def wait(event: threading.Event, seconds: float) -> bool:
        until = loop.time() + seconds
        while not event.is_set() and loop.time() < until:
            woken.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), until - loop.time())
        return event.is_set()

    await pipeline.astart()
    finished = await wait(news.settled, timeout)
    if finished:
        await wait(news.over, SILENT)
    late = None if finished else len(feed.ways)
    await pipeline.astop(drain_timeout=_patience(pipeline, news))
    if isinstance(pipeline._given, AsyncScheduler):
        await pipeline._given.aclose()
    return late


def _patience(pipeline: Pipeline, news: _News) -> float:
    """Seconds to drain: a queue that has answered may still have something to deliver."""
    working = news.over.is_set() or (news.settled.is_set() and pipeline.books.held)
    return DRAIN if working else 0.0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _check(feed: Feed, pipeline: Pipeline) -> None:
    """Raise when the figures would be those of something else than was asked for."""
    if pipeline.error is not None:
        error = pipeline.error
        raise Failed(f"its stream ended with {type(error).__name__}: {error}")
    if not feed.ways:
        raise Failed("its stream ended before a request came through")
    report = pipeline.report
    assert report is not None
    if report.unbalanced:
        raise Failed(f"its books do not balance: {report.unbalanced[0]}")
    if not any(account.delivered for account in report.accounts):
        lost = [one for one in report.accounts if _gone(one)]
        where = "; ".join(str(one) for one in lost) or "no stage took any"
        raise Failed(
            f"nothing of the workload reached an exporter ({where}): does the pipeline take "
            "this signal?"
        )


def _gone(account: Account) -> int:
    return account.filtered + account.dropped + account.rejected + account.failed


def _unused_sink(account: Account) -> bool:
    return account.name == SINK and not account.received
