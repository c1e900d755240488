"""Work that runs outside a scheduler's turn: coroutines on a loop, blocking calls in a pool.

Both end the same way: `done(result, error)` goes into the scheduler's inbox, so that it
runs in the turn and never inside the loop's or the pool's own call. A job lets go of its
function and its result as soon as it can, because they may hold telemetry.
"""

import asyncio
import contextlib
import logging
import time
from asyncio import AbstractEventLoop, CancelledError
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import Context, copy_context
from functools import partial
from threading import Lock
from typing import Any

from reactivex import abc

from rxotlp._core.inbox import Inbox

__all__ = ["Done", "Pool", "Tasks"]

Done = Callable[[Any, BaseException | None], object]

logger = logging.getLogger("rxotlp")


class Tasks:
    """The coroutines of one scheduler that have not ended."""

    __slots__ = ("_inbox", "_open")

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._open: set[_Task] = set()  # a loop keeps only weak references to its tasks

    def start(
        self, loop: AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], done: Done
    ) -> abc.DisposableBase:
        """Run `coroutine` on `loop`, from any thread."""
        task = _Task(self, loop, coroutine, done)
        self._open.add(task)
        task.call(task.begin)
        return task

    def ended(self, task: "_Task", report: Callable[[], object]) -> None:
        """On the loop: `task` is over; post its report."""
        self._open.discard(task)
        self._inbox.put(report)

    def cancel(self) -> None:
        """Cancel all that runs."""
        for task in tuple(self._open):
            task.dispose()

    def __len__(self) -> int:
        return len(self._open)


class _Task(abc.DisposableBase):
    """One coroutine, and the handle that cancels it."""

    __slots__ = ("_cancelled", "_context", "_coroutine", "_done", "_loop", "_owner", "_task")

    def __init__(
        self,
        owner: Tasks,
        loop: AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any],
        done: Done,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._coroutine: Coroutine[Any, Any, Any] | None = coroutine
        self._done: Done | None = done
        self._context: Context | None = copy_context()
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    def call(self, function: Callable[[], object]) -> None:
        """Call on the loop: directly when this is its thread."""
        if asyncio._get_running_loop() is self._loop:
            function()
        else:
            self._loop.call_soon_threadsafe(function)

    def begin(self) -> None:
        """On the loop: make it a task."""
        coroutine, context = self._coroutine, self._context
        assert coroutine is not None
        self._coroutine = self._context = None
        self._task = self._loop.create_task(coroutine, context=context)
        self._task.add_done_callback(self._ended)
        if self._cancelled:
            self._task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        done, self._done, self._task = self._done, None, None
        assert done is not None
        if task.cancelled():
            report = partial(done, None, CancelledError())
        elif (error := task.exception()) is not None:
            report = partial(done, None, error)
        else:
            report = partial(done, task.result(), None)
        self._owner.ended(self, report)

    def dispose(self) -> None:
        """Cancel the task; `done` hears of it when the task has ended."""
        self._cancelled = True
        if self._done is not None:
            # A closed loop refuses, and has no tasks left.
            with contextlib.suppress(RuntimeError):
                self.call(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


class Pool:
    """Threads for calls that block; started with the first call."""

    __slots__ = ("_executor", "_inbox", "_max_workers", "_name", "_open", "_starting")

    def __init__(self, inbox: Inbox, name: str, max_workers: int) -> None:
        if not isinstance(max_workers, int) or isinstance(max_workers, bool):
            raise TypeError(f"{name}(max_workers={max_workers!r}): expected an int")
        if max_workers < 1:
            raise ValueError(
                f"{name}(max_workers={max_workers}): expected 1 or more; "
                "without a thread no blocking call could ever run"
            )
        self._inbox = inbox
        self._name = name
        self._max_workers = max_workers
        self._starting = Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._open: set[Future[Any]] = set()

    def renewed(self) -> "Pool":
        """An empty pool like this one, for a forked child."""
        return Pool(self._inbox, self._name, self._max_workers)

    def start(self, function: Callable[[], Any], done: Done) -> abc.DisposableBase:
        """Call `function` in a thread of the pool, in a copy of the caller's context."""
        with self._starting:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(
                    self._max_workers, thread_name_prefix=f"rxotlp-{self._name}-pool"
                )
            future = self._executor.submit(copy_context().run, function)
        self._open.add(future)
        call = _Call(future)
        future.add_done_callback(partial(self._ended, done))
        return call

    def _ended(self, done: Done, future: Future[Any]) -> None:
        self._open.discard(future)
        if future.cancelled():
            report = partial(done, None, CancelledError())
        elif (error := future.exception()) is not None:
            report = partial(done, None, error)
        else:
            report = partial(done, future.result(), None)
        self._inbox.put(report)

    def __len__(self) -> int:
        return len(self._open)

    def close(self, timeout: float) -> bool:
        """Cancel what waits, wait for what runs. False when something still runs."""
        with self._starting:
            executor, self._executor = self._executor, None
        if executor is None:
            return True
        executor.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + timeout
        wait(tuple(self._open), timeout)
        if self._open and time.monotonic() >= deadline:
            logger.warning(
                "%s: %d blocking calls still run %.1f s after close()",
                self._name,
                len(self._open),
                timeout,
            )
            return False
        executor.shutdown(wait=True)
        return True


class _Call(abc.DisposableBase):
    __slots__ = ("_future",)

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def dispose(self) -> None:
        """Cancel the call if it has not begun."""
        self._future.cancel()
