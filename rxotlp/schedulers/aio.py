"""Everything on one asyncio loop; what comes from other threads hops onto it.

Other threads and finalizers wake the loop by writing to an eventfd (or a pipe) that the
loop reads: unlike `call_soon_threadsafe` that takes no lock, so it is safe in a finalizer.
After BUDGET actions of others the loop gets its turn before the rest.
"""

import asyncio
import contextlib
import os
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rxotlp.errors import PipelineError
from rxotlp.schedulers.base import SerialScheduler
from rxotlp.schedulers.timers import NEVER

__all__ = ["AsyncScheduler"]

_LOOK_AGAIN = 0.05  # seconds between looks at a predicate that no action changes


class AsyncScheduler(SerialScheduler):
    """Runs every action on an asyncio loop.

    `schedule` on the loop's thread runs inline when the scheduler is idle; from another
    thread it hops onto the loop. Coroutines run as tasks of the loop.

    Args:
        loop: where to run; None takes the loop that runs when the scheduler is first used.
        max_workers: threads of the pool in which `run_blocking` runs, 1 or more.
        on_error: told of each exception that reaches nobody else.
    """

    def __init__(
        self,
        loop: AbstractEventLoop | None = None,
        *,
        max_workers: int = 8,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(max_workers=max_workers, on_error=on_error)
        self._loop = loop
        self._began = time.monotonic_ns()
        self._began_wall = datetime.fromtimestamp(time.time(), UTC)
        self._starting = threading.Lock()
        self._bell = _Bell()
        self._rung = False
        self._alarm = NEVER
        self._alarm_handle: asyncio.TimerHandle | None = None

    # -- the shell ------------------------------------------------------------------------

    def _start(self) -> None:
        with self._starting:
            if self._running or self._closed:
                return
            running = asyncio._get_running_loop()
            if self._loop is None:
                if running is None:
                    raise PipelineError(
                        "AsyncScheduler(): no asyncio loop runs in this thread; use it first "
                        "inside a coroutine, or name the loop: AsyncScheduler(loop)"
                    )
                self._loop = running
            if running is self._loop or not self._loop.is_running():
                self._loop.add_reader(self._bell.reader, self._on_bell)
            else:
                self._loop.call_soon_threadsafe(
                    self._loop.add_reader, self._bell.reader, self._on_bell
                )
            self._running = True

    def _may_run_here(self) -> bool:
        return asyncio._get_running_loop() is self._loop

    def _wake(self) -> None:
        if not self._rung:
            self._rung = True
            self._bell.ring()

    def _on_bell(self) -> None:
        self._bell.silence()
        self._rung = False
        if self._work():
            self._attempt()

    def _clock(self) -> int:
        return time.monotonic_ns() - self._began

    def _wall_start(self) -> datetime:
        return self._began_wall

    def timestamp_ns(self) -> int:
        """The wall clock, in nanoseconds since the Unix epoch: for telemetry, not timers."""
        return time.time_ns()

    def _set_alarm(self, due: int) -> None:
        # One that is too early finds nothing due and sets the next; cheaper than cancelling.
        if due < self._alarm:
            if self._alarm_handle is not None:
                self._alarm_handle.cancel()
            self._alarm = due
            pause = max(0.0, (due - self._clock()) / 1e9)
            self._alarm_handle = self.loop.call_later(pause, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = NEVER
        self._alarm_handle = None
        self._tick = True
        self._attempt()

    @property
    def loop(self) -> AbstractEventLoop:
        """The loop that everything runs on.

        Raises:
            PipelineError: none was given, and none runs in this thread.
        """
        if self._loop is None:
            self._ensure_running()
        if self._loop is None:
            raise PipelineError("AsyncScheduler: closed before it had a loop")
        return self._loop

    # -- waiting and the end --------------------------------------------------------------

    def wait_for(self, predicate: Callable[[], bool], *, timeout: float | None = None) -> bool:
        """Always raises: blocking a thread cannot be right here.

        Raises:
            PipelineError: use `await scheduler.wait_for_async(predicate)`.
        """
        raise PipelineError(
            "AsyncScheduler.wait_for() would block the loop that runs the actions; "
            "use `await scheduler.wait_for_async(predicate)`"
        )

    async def wait_for_async(
        self, predicate: Callable[[], bool], *, timeout: float | None = None
    ) -> bool:
        """Wait until `predicate()` is true; the loop runs on.

        The predicate is called on the loop after each turn, and 20 times a second for the
        sake of what no action changes.

        Returns:
            False when `timeout` seconds passed first.

        Raises:
            PipelineError: awaited on another loop than the scheduler's.
        """
        if not self._running:
            self._ensure_running()
        if not self._may_run_here():
            raise PipelineError("wait_for_async() on another loop than the scheduler's")
        deadline = None if timeout is None else self._clock() + self._to_ns(timeout)
        turned = asyncio.Event()
        tell = turned.set
        self._waiters.append(tell)
        try:
            while not predicate():
                pause = _LOOK_AGAIN
                if deadline is not None:
                    pause = min(pause, (deadline - self._clock()) / 1e9)
                    if pause <= 0:
                        return False
                turned.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(turned.wait(), pause)
            return True
        finally:
            if tell in self._waiters:  # a fork empties the list
                self._waiters.remove(tell)

    async def __aenter__(self) -> Self:
        self._start()  # on this loop, whichever thread is the first to use it
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self, *, timeout: float = 5.0) -> int:
        """Cancel coroutines and wait for them and for blocking calls, then `close`."""
        self._tasks.cancel()
        if self._running and not self._closed:
            await self.wait_for_async(lambda: not self._tasks and not self._pool, timeout=timeout)
        return self.close(timeout=0.0)

    def close(self, *, timeout: float = 5.0) -> int:
        """Discard timers, cancel coroutines, run what waits for its turn. The loop stays.

        Called on the loop it cannot wait for coroutines, whose `done` is then never called;
        `aclose` waits for them.

        Args:
            timeout: seconds to wait for blocking calls, and from another thread for the loop.

        Returns:
            How many actions will never run.

        Raises:
            PipelineError: called inside an action, or the loop did not answer in time.
        """
        if self.running_here:
            raise PipelineError("AsyncScheduler.close() inside one of its own actions")
        loop = self._loop
        if loop is None or loop.is_closed() or self._may_run_here() or not loop.is_running():
            return self._close(timeout)
        closing = asyncio.run_coroutine_threadsafe(self.aclose(timeout=timeout), loop)
        try:
            return closing.result(timeout + 1.0)
        except TimeoutError:
            closing.cancel()
            raise PipelineError(
                f"AsyncScheduler.close(timeout={timeout}): its loop did not answer in time"
            ) from None

    def _close(self, timeout: float) -> int:
        if self._closed:
            return 0
        self._closed = True
        self._tasks.cancel()
        self._pool.close(0.0 if self._may_run_here() else timeout)
        self._tick = True  # the next turn discards the timers
        deadline = time.monotonic() + timeout
        while self._may_run_here() and self._work() and self._turn.acquire(False):
            self._owner = threading.get_ident()
            self._leave()
            if time.monotonic() >= deadline:
                break
        self._ended = True
        if self._alarm_handle is not None:
            self._alarm_handle.cancel()
            self._alarm_handle = None
        if self._loop is not None and self._running and not self._loop.is_closed():
            self._loop.remove_reader(self._bell.reader)
        return self._discarded + self._left()

    def _after_fork(self) -> None:
        # The parent's loop does not run here, and ringing its bell would wake the parent.
        self._bell = _Bell()
        self._rung = False
        self._loop = None
        self._alarm = NEVER
        self._alarm_handle = None
        self._starting = threading.Lock()
        super()._after_fork()


class _Bell:
    """Something that a loop can wait for and a finalizer can ring.

    The descriptors stay open until nobody can ring: a late write must not reach a file that
    was given the same number. When a collection finds the bell and who would ring it in one
    go, the bell's finalizer may come first; then it rings no more.
    """

    __slots__ = ("_writer", "reader")

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self.reader = self._writer = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self.reader, self._writer = os.pipe()
            os.set_blocking(self.reader, False)
            os.set_blocking(self._writer, False)

    def __del__(self) -> None:
        reader, writer = self.reader, self._writer
        self.reader = self._writer = -1
        os.close(reader)
        if writer != reader:
            os.close(writer)

    def ring(self) -> None:
        if self._writer < 0:
            return
        # A full pipe has a reader waiting already.
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\1\0\0\0\0\0\0\0")

    def silence(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.reader, 4096)
