"""Actions in the caller's thread or, when nobody calls, on one worker thread.

The worker sleeps until the next timer is due or until it is woken, tries for the turn, and
goes back to sleep when another thread has it: that thread will look again by itself. It
blocks in `SimpleQueue.get`, because a `put` wakes it and is safe in a finalizer.
"""

import contextlib
import queue
import threading
import time
import weakref
from asyncio import AbstractEventLoop
from collections.abc import Callable
from datetime import UTC, datetime
from threading import get_ident

from rxotlp.errors import PipelineError
from rxotlp.schedulers.base import SerialScheduler
from rxotlp.schedulers.loop_thread import LoopThread
from rxotlp.schedulers.timers import NEVER

__all__ = ["SyncScheduler"]

_LONGEST_WAIT = 3600.0  # seconds; far below threading.TIMEOUT_MAX
_LOOK_AGAIN = 0.05  # seconds between looks at a predicate that no action changes

# A wake carries its scheduler, so that one that nobody holds lives until it has been served.
_Wakes = queue.SimpleQueue["SyncScheduler | None"]

# A parent's loop in a forked child: closing it would reach into the parent's epoll set, and
# collecting it would warn that it is not closed.
_parents_loops: list[LoopThread] = []


class SyncScheduler(SerialScheduler):
    """Runs actions in the thread that calls `schedule`, timers and posts on a worker.

    The worker starts with the first use. Coroutines run on a private loop thread, which
    starts with the first of them. All threads are daemons.

    Args:
        max_workers: threads of the pool in which `run_blocking` runs, 1 or more.
        on_error: told of each exception that reaches nobody else.
    """

    def __init__(
        self,
        *,
        max_workers: int = 8,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(max_workers=max_workers, on_error=on_error)
        self._began = time.monotonic_ns()
        self._began_wall = datetime.fromtimestamp(time.time(), UTC)
        self._starting = threading.Lock()
        self._worker: threading.Thread | None = None
        self._loops: LoopThread | None = None
        self._wakes: _Wakes = queue.SimpleQueue()
        self._woken = False
        self._next_due = NEVER  # written in the turn, read by the worker
        self._alarm = -1  # when the worker will look by itself; -1 while it is awake

    # -- the shell ------------------------------------------------------------------------

    def _start(self) -> None:
        with self._starting:
            if self._running or self._closed:
                return
            # A scheduler that nobody holds and that has no timers lets its worker go.
            wakes = self._wakes
            reference = weakref.ref(self, lambda _: wakes.put(None))
            self._worker = threading.Thread(
                target=_work, args=(reference, wakes), name="rxotlp-worker", daemon=True
            )
            self._worker.start()
            self._running = True

    def _may_run_here(self) -> bool:
        return True

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._wakes.put(self)

    def _clock(self) -> int:
        return time.monotonic_ns() - self._began

    def _wall_start(self) -> datetime:
        return self._began_wall

    def timestamp_ns(self) -> int:
        """The wall clock, in nanoseconds since the Unix epoch: for telemetry, not timers."""
        return time.time_ns()

    def _set_alarm(self, due: int) -> None:
        self._next_due = due
        if due < self._alarm:
            self._wake()

    def _serve(self) -> float | None:
        """The worker's turn. Returns how long it may sleep; None: until woken."""
        self._alarm = -1
        self._woken = False
        if self._next_due <= self._clock():
            self._tick = True
        while not self._ended and self._work() and self._turn.acquire(False):
            self._owner = get_ident()
            try:
                self._leave()
            except BaseException as error:  # a hand-made KeyboardInterrupt must not end it
                self._report(error)
        # While a tick waits for whoever has the turn, there is nothing to wake up for; the
        # new alarm wakes the worker when the holder has sorted the timers.
        due = NEVER if self._tick else self._next_due
        self._alarm = due
        if self._next_due < due and not self._tick:
            return 0.0
        if due == NEVER:
            return None
        return min(max(0.0, (due - self._clock()) / 1e9), _LONGEST_WAIT)

    # -- coroutines -----------------------------------------------------------------------

    @property
    def loop(self) -> AbstractEventLoop:
        """The private loop that runs coroutines; its thread starts when first asked for.

        Raises:
            PipelineError: the scheduler is closed.
        """
        loops = self._loops
        if loops is None:
            with self._starting:
                self._check_open("loop")
                if self._loops is None:
                    self._loops = LoopThread()
                loops = self._loops
        return loops.loop

    # -- waiting and the end --------------------------------------------------------------

    def wait_for(self, predicate: Callable[[], bool], *, timeout: float | None = None) -> bool:
        """Block until `predicate()` is true; actions go on, in this thread or the worker.

        The predicate is called in this thread after each turn, and 20 times a second for
        the sake of what no action changes. It must only look.

        Returns:
            False when `timeout` seconds passed first.

        Raises:
            PipelineError: called inside an action, which would wait for itself.
        """
        if self.running_here:
            raise PipelineError(
                "SyncScheduler.wait_for() inside one of its own actions waits for itself; "
                "schedule the rest as another action instead"
            )
        if not self._running:
            self._ensure_running()
        deadline = None if timeout is None else time.monotonic() + timeout
        turns: queue.SimpleQueue[None] = queue.SimpleQueue()

        def tell() -> None:
            if turns.empty():
                turns.put(None)

        self._waiters.append(tell)
        try:
            while True:
                if self._work():
                    self._attempt()
                if predicate():
                    return True
                pause = _LOOK_AGAIN
                if deadline is not None:
                    pause = min(pause, deadline - time.monotonic())
                    if pause <= 0:
                        return False
                try:
                    turns.get(timeout=pause)
                except queue.Empty:
                    continue
        finally:
            if tell in self._waiters:  # a fork inside an action empties the list
                self._waiters.remove(tell)

    def close(self, *, timeout: float = 5.0) -> int:
        """Discard timers, cancel coroutines, run what waits for its turn, end all threads.

        From then on `schedule` only runs actions in its caller's thread, so that what is
        disposed of later can still settle what it holds; everything else raises.

        Args:
            timeout: seconds to wait for blocking calls, coroutines and running actions.

        Returns:
            How many actions will never run: timers, and what was left when the time was up.

        Raises:
            PipelineError: called inside an action.
        """
        if self.running_here:
            raise PipelineError("SyncScheduler.close() inside one of its own actions")
        deadline = time.monotonic() + timeout
        with self._starting:
            if self._closed:
                return 0
            self._closed = True
            worker, loops = self._worker, self._loops
        if loops is not None:  # it cancels its tasks; twice would cut their clean-up short
            loops.close(max(0.0, deadline - time.monotonic()))
        self._pool.close(max(0.0, deadline - time.monotonic()))
        self._tick = True  # the next turn discards the timers
        while self._work() and (left := deadline - time.monotonic()) > 0:
            if self._turn.acquire(timeout=left):
                self._owner = get_ident()
                self._leave()
        self._ended = True
        self._wakes.put(None)
        if worker is not None:
            worker.join(max(0.1, deadline - time.monotonic()))
        return self._discarded + self._left()

    def _after_fork(self) -> None:
        if self._loops is not None:
            _parents_loops.append(self._loops)
            self._loops = None
        self._starting = threading.Lock()
        self._worker = None
        self._wakes = queue.SimpleQueue()
        self._woken = False
        self._next_due = NEVER
        self._alarm = -1
        super()._after_fork()


def _work(reference: "weakref.ref[SyncScheduler]", wakes: _Wakes) -> None:
    while (scheduler := reference()) is not None and not scheduler._ended:
        pause = scheduler._serve()
        if pause is None:
            scheduler = None  # only timers keep a scheduler alive that nobody holds
        with contextlib.suppress(queue.Empty):
            scheduler = wakes.get(timeout=pause)
