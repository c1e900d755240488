"""Data flows: how telemetry is processed when somebody hands it over.

    SyncDataFlow     at once, in the caller's thread; or kept, and all of it at `flush`
    AsyncDataFlow    in batches, by size or age
    HybridDataFlow   small things at once, urgent ones before all that wait, the rest in batches

The last two have a stream inside and results on `flow.output`. All three are operators too:
`stream.pipe(ops.execute(flow))`. A `DataFlowLogger` hears of each element (of each batch, where
batches are processed): its start, each processor with sizes, and its end with the time it took.
"""

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import reactivex as rx

from rxotlp._core.backoff import Backoff
from rxotlp._core.outcomes import FILTERED
from rxotlp.data import TelemetryData
from rxotlp.errors import FlushFailed, RefusedError
from rxotlp.flows._stream import Operator, StreamFlow
from rxotlp.flows._told import named, of_data, told, walked
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.data_routing import DataRoute, DataRouter
from rxotlp.flows.loggers import Attached, attached
from rxotlp.operators._shell import check_count, check_seconds
from rxotlp.operators.batch import batch
from rxotlp.operators.chain import Processor, as_list, check_processors, is_async, one_stage
from rxotlp.operators.parallel import parallel
from rxotlp.operators.route import route
from rxotlp.schedulers import SerialScheduler

__all__ = ["AsyncDataFlow", "HybridDataFlow", "SyncDataFlow"]

ROOM = 64 << 20  # bytes


class SyncDataFlow:
    """Processes in the caller's thread.

    Args:
        pipeline: plain processors, one after the other, as in `ops.chain`.
        max_items, max_bytes: what `buffer` keeps at most.
        logger: a `DataFlowLogger`, or several loggers; see `rxotlp.flows.loggers`.

    What `process` is given is not kept, and what `buffer` keeps is processed by `flush` and
    by nothing else. Any number of threads may call at once.
    """

    def __init__(
        self,
        *pipeline: Processor,
        max_items: int = 10_000,
        max_bytes: int = ROOM,
        logger: Attached = None,
    ) -> None:
        check_processors("SyncDataFlow", pipeline)
        for processor in pipeline:
            if is_async(processor):
                raise TypeError(
                    f"SyncDataFlow({processor!r}): expected plain functions; an async one has "
                    "its place in an AsyncDataFlow"
                )
        check_count("SyncDataFlow(max_items", max_items, why="nothing could be kept")
        check_count("SyncDataFlow(max_bytes", max_bytes, why="nothing could be kept")
        self._processors = pipeline
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._loggers = of_data(attached("SyncDataFlow", logger, None))
        self._lock = threading.Lock()
        self._kept: list[TelemetryData] = []
        self._items = self._bytes = 0

    @property
    def buffered(self) -> int:
        """Items that are kept."""
        return self._items

    def process(
        self, data: TelemetryData, *, context: ExecutionContext | None = None
    ) -> list[TelemetryData]:
        """Process an element now.

        Args:
            context: the execution that it is part of, for log entries; its own without.

        Returns:
            What came of it: nothing when it was filtered. With a receipt, its sender hears
            what becomes of these, or that it was filtered.

        Raises:
            TypeError: it is no telemetry.
            Exception: whatever a processor raised.
        """
        if not isinstance(data, TelemetryData):
            raise TypeError(f"SyncDataFlow.process({type(data).__name__}): expected TelemetryData")
        parts = walked(self._loggers, self._processors, data, context)
        share = data._share
        if share is None:
            return parts
        if not parts:
            share.verdict(FILTERED)
        # What was made by hand speaks for the element as well.
        return [
            made if made._share is not None else made._with_share(share.child(made.items))
            for made in parts
        ]

    async def aprocess(self, data: TelemetryData) -> list[TelemetryData]:
        """The same in the caller's task; nothing in it waits."""
        return self.process(data)

    def buffer(self, data: TelemetryData) -> None:
        """Keep an element until the next `flush`.

        Raises:
            RefusedError: there is no room; flush first.
            TypeError: it is no telemetry.
        """
        if not isinstance(data, TelemetryData):
            raise TypeError(f"SyncDataFlow.buffer({type(data).__name__}): expected TelemetryData")
        with self._lock:
            items, size = self._items + data.items, self._bytes + data.size
            if items > self._max_items or size > self._max_bytes:
                raise RefusedError(
                    f"SyncDataFlow.buffer(): {self._items} items of {self._bytes} bytes are kept "
                    f"(max_items={self._max_items}, max_bytes={self._max_bytes}); flush() first",
                    permanent=not self._kept,
                )
            self._kept.append(data)
            self._items, self._bytes = items, size

    def flush(self) -> list[TelemetryData]:
        """Process everything that is kept, in order, and give back the results.

        Raises:
            FlushFailed: a processor raised. What came before is in `error.results`, the
                element is `error.operation`, and what came after it is kept as it was.
        """
        with self._lock:
            waiting, self._kept = self._kept, []
            self._items = self._bytes = 0
        waiting.reverse()
        results: list[TelemetryData] = []
        while waiting:
            data = waiting.pop()
            try:
                results += self.process(data)
            except Exception as error:
                waiting.reverse()
                with self._lock:
                    self._kept = waiting + self._kept
                    self._items = sum(kept.items for kept in self._kept)
                    self._bytes = sum(kept.size for kept in self._kept)
                raise FlushFailed(
                    f"SyncDataFlow.flush(): {type(error).__name__}: {error}; {len(results)} "
                    f"results are in this error, {len(waiting)} elements are kept",
                    operation=data,
                    results=tuple(results),
                ) from error
        return results

    async def aflush(self) -> list[TelemetryData]:
        """The same in the caller's task."""
        return self.flush()

    def as_operator(self) -> Operator:
        """`ops.chain` of the processors: what raises rejects its element, and no more."""
        processors = self._processors
        if self._loggers:
            processors = (told(self._loggers, *processors),)
        return one_stage(processors, on_error="reject", name=None, kind="sync")

    def __repr__(self) -> str:
        return f"<SyncDataFlow of {len(self._processors)} processors, {self._items} items kept>"


class AsyncDataFlow(StreamFlow):
    """Processes in batches.

    A batch is processed when it has `batch_size` items, or `flush_interval` seconds after its
    first element came in, however steadily others follow.

    Args:
        process: a processor of batches, plain or `async`; without one batches come out of
            `output` as they are.
        batch_size: items, 1 or more.
        flush_interval: seconds, above 0.
        retries: how often a batch is tried again whose processing raised; then it is
            rejected, and its senders hear so.
        retry_delay: seconds before the first retry; it doubles, up to 30.
        max_concurrent: batches processed at once. With more than one, order is lost.
        max_items, max_bytes: what may be in the flow; `process` refuses more, `aprocess`
            waits.
        scheduler: whose turn and time it is.
        logger: a `DataFlowLogger`, or several loggers; see `rxotlp.flows.loggers`.
    """

    def __init__(
        self,
        process: Processor | None = None,
        *,
        batch_size: int = 100,
        flush_interval: float = 0.1,
        retries: int = 0,
        retry_delay: float = 1.0,
        max_concurrent: int = 1,
        max_items: int = 100_000,
        max_bytes: int = ROOM,
        scheduler: SerialScheduler | None = None,
        logger: Attached = None,
    ) -> None:
        check_count("AsyncDataFlow(batch_size", batch_size, why="no batch could hold anything")
        check_seconds("AsyncDataFlow(flush_interval", flush_interval, why="a batch needs time")
        check_count("AsyncDataFlow(retries", retries, least=0, why="it counts retries")
        check_seconds("AsyncDataFlow(retry_delay", retry_delay, why="a retry at once would race")
        check_count("AsyncDataFlow(max_concurrent", max_concurrent, why="nothing could run")
        if process is not None:
            check_processors("AsyncDataFlow", (process,))
            if retries:
                process = _retrying(process, retries, retry_delay)
        joined = batch(max_items=batch_size, max_delay=flush_interval)

        def operator(alone: bool) -> Operator:
            if processed is None:
                return joined
            if max_concurrent == 1:
                return rx.compose(joined, _chain(processed, "process"))
            called = "process" if alone else None
            at_once = parallel(processed, max_concurrent=max_concurrent, name=called)
            return rx.compose(joined, at_once)

        super().__init__(operator, max_items=max_items, max_bytes=max_bytes, scheduler=scheduler)
        loggers = of_data(attached("AsyncDataFlow", logger, self.scheduler))
        processed = told(loggers, process or _batch) if loggers else process


class HybridDataFlow(StreamFlow):
    """Processes each element as its router says.

    SYNC at once, in the caller's thread when the scheduler is free. ASYNC in batches.
    PRIORITY waits for one of `max_concurrent` places, the highest priority first, in order
    within one priority, with ageing: an element is overtaken only by those that come at most
    (their priority - its own) * `ageing` seconds after it. So however many urgent ones
    follow, one of LOW starts as soon as those of the next 3 * `ageing` seconds are done.

    Args:
        process: a processor, plain or `async`.
        router: decides; see `DataRouter`.
        batch_size, flush_interval: of ASYNC, as for `AsyncDataFlow`.
        max_concurrent: elements of PRIORITY processed at once, 1 or more.
        max_priority: elements of PRIORITY that wait, 0 or more; one more fails as retryable.
        ageing: seconds of waiting that weigh as much as one step of priority, above 0.
        max_items, max_bytes, scheduler, logger: as for `AsyncDataFlow`; the execution of each
            element has the attribute `route`.
    """

    def __init__(
        self,
        process: Processor,
        *,
        router: DataRouter | None = None,
        batch_size: int = 100,
        flush_interval: float = 0.1,
        max_concurrent: int = 1,
        max_priority: int = 1_000,
        ageing: float = 1.0,
        max_items: int = 100_000,
        max_bytes: int = ROOM,
        scheduler: SerialScheduler | None = None,
        logger: Attached = None,
    ) -> None:
        check_processors("HybridDataFlow", (process,))
        check_count("HybridDataFlow(batch_size", batch_size, why="no batch could hold anything")
        check_seconds("HybridDataFlow(flush_interval", flush_interval, why="a batch needs time")
        check_count("HybridDataFlow(max_concurrent", max_concurrent, why="nothing could run")
        check_count("HybridDataFlow(max_priority", max_priority, least=0, why="it counts elements")
        check_seconds("HybridDataFlow(ageing", ageing, why="the lowest must have its turn too")
        if router is not None and not callable(getattr(router, "route_data", None)):
            raise TypeError(f"HybridDataFlow(router={router!r}): expected a DataRouter")
        chosen = DataRouter() if router is None else router
        self.router = chosen

        def operator(alone: bool) -> Operator:
            return route(
                chosen.route_data,
                {
                    DataRoute.SYNC: _chain(ways[DataRoute.SYNC], "sync"),
                    DataRoute.ASYNC: rx.compose(
                        batch(max_items=batch_size, max_delay=flush_interval),
                        _chain(ways[DataRoute.ASYNC], "async"),
                    ),
                    DataRoute.PRIORITY: parallel(
                        _on_the_loop(ways[DataRoute.PRIORITY]),
                        max_concurrent=max_concurrent,
                        priority=chosen.priority,
                        ageing=ageing,
                        max_waiting=max_priority,
                        name="priority" if alone else None,
                    ),
                },
                name="hybrid" if alone else None,
            )

        super().__init__(operator, max_items=max_items, max_bytes=max_bytes, scheduler=scheduler)
        loggers = of_data(attached("HybridDataFlow", logger, self.scheduler))
        ways = {
            way: told(loggers, process, attributes={"route": way.value}) if loggers else process
            for way in DataRoute
        }

    def _inline(self, data: TelemetryData) -> bool:
        try:
            return self.router.route_data(data) is DataRoute.SYNC
        except Exception:  # the route in the stream meets it again, and rejects the element
            return False


def _chain(process: Processor, kind: str) -> Operator:
    """Numbered where there are several in one stream."""
    return one_stage((process,), on_error="reject", name=None, kind=kind)


def _batch(data: TelemetryData) -> TelemetryData:
    return data


_batch.__name__ = "batch"  # as log entries call what is only batched


def _retrying(process: Processor, retries: int, delay: float) -> Processor:
    backoff = Backoff(random.random, first=delay, factor=2.0, most=30.0, jitter=0.2)

    async def attempt(data: TelemetryData) -> Any:
        for retry in range(1, retries + 1):
            try:
                return await _called(process, data)
            except Exception:
                await asyncio.sleep(backoff.delay(retry))
        return await _called(process, data)

    attempt.__name__ = named(process)
    return attempt


def _on_the_loop(process: Processor) -> Processor:
    """So that `parallel` runs a plain one in the turn, as the other two ways do."""
    if is_async(process):
        return process

    async def called(data: TelemetryData) -> Any:
        return await _called(process, data)

    return called


async def _called(process: Callable[[TelemetryData], Any], data: TelemetryData) -> Any:
    result = process(data)
    return as_list(await result if asyncio.iscoroutine(result) else result)
