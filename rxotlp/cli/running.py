"""Running a pipeline until its end or a signal, whichever comes first, and draining it."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from rxotlp.pipeline import Pipeline

__all__ = ["Signals", "main", "run_on_a_loop"]

logger = logging.getLogger("rxotlp")

WATCH_EVERY = 0.1  # seconds

Result = TypeVar("Result")


def main(
    pipeline: Pipeline,
    *,
    in_threads: bool,
    drain_timeout: float,
    watch: Callable[[], bool] | None = None,
) -> None:
    """Run a pipeline to its end or to a signal, drained and stopped when this returns.

    Args:
        pipeline: not started yet.
        in_threads: run it on a SyncScheduler beside the loop that waits here.
        drain_timeout: seconds.
        watch: called now and then while it runs; stops it by returning True.
    """
    run_on_a_loop(_run(pipeline, in_threads, drain_timeout, watch))


def run_on_a_loop(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """As `asyncio.run`, on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        factory = None  # there is none for Windows
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


async def _run(
    pipeline: Pipeline,
    in_threads: bool,
    drain_timeout: float,
    watch: Callable[[], bool] | None,
) -> None:
    stop = asyncio.Event()
    with Signals(asyncio.get_running_loop(), stop):
        if in_threads:
            await asyncio.to_thread(pipeline.start)
        else:
            await pipeline.astart()
        addresses = pipeline.addresses
        if addresses:
            logger.info(
                "listening on %s", " ".join(f"{name}={at}" for name, at in addresses.items())
            )
        with _unlooked_through():
            ended = asyncio.create_task(pipeline.await_end())
            asked = asyncio.create_task(stop.wait())
            watching = None if watch is None else asyncio.create_task(_watch(watch, stop))
            await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                logger.info("stopping: draining for up to %g s", drain_timeout)
            for task in (ended, asked, watching):
                if task is not None:
                    task.cancel()
            await pipeline.astop(drain_timeout=drain_timeout)


@contextmanager
def _unlooked_through() -> Iterator[None]:
    """Spare the garbage collector what is here already: modules, classes, the pipeline.

    A full collection stops everything to look at each object: 130 ms for the libraries alone.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _watch(watch: Callable[[], bool], stop: asyncio.Event) -> None:
    while not watch():
        await asyncio.sleep(WATCH_EVERY)
    stop.set()


class Signals:
    """Turns the first SIGINT or SIGTERM into an event and a second SIGINT into the end.

    Handlers of the `signal` module, not of the loop: a loop that is stuck in an action must
    not keep the second SIGINT waiting.

    Args:
        loop: where the event lives.
        stop: is set by the first.
        at_once: called before the second ends the process; must not wait for anything.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stop: asyncio.Event,
        *,
        at_once: Callable[[], object] = lambda: None,
    ) -> None:
        self._loop = loop
        self._stop = stop
        self._at_once = at_once
        self._before: dict[int, object] = {}
        self._asked = False

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._heard)

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            # Not through logging or stdout: this may have interrupted them, lock and all.
            os.write(2, b"rxotlp: interrupted again; what is in flight is lost to its senders\n")
            self._at_once()
            os._exit(128 + signal.SIGINT)
        self._asked = True
        self._loop.call_soon_threadsafe(self._stop.set)
