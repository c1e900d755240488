"""Who runs tasks, and how one that is due later keeps nobody waiting.

    ThreadWorkers   so many threads. One of those that have nothing to do sleeps until the
                    next task is due, the others until they are woken: an idle pool uses no
                    processor time, and a task that falls due wakes one thread.
    TurnWorkers     so many tasks at once on a scheduler of ours: coroutines on its loop,
                    plain functions in its turn; its time is theirs, virtual time too.

A pool is given `take` (the next task that is due, or None) and `next_due` (when there is
one), both called under `lock`, and `done`. Who asks for a task hands it over first and then
reads `attentive`: while all workers are busy he has nobody to wake and takes no lock, because
a worker says that it is idle before it looks for the last time.
"""

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent import futures
from types import CoroutineType
from typing import Any

from reactivex import abc
from reactivex.disposable import Disposable

from rxotlp.errors import PipelineError
from rxotlp.schedulers.base import SerialScheduler
from rxotlp.schedulers.loop_thread import LoopThread
from rxotlp.schedulers.scheduled_task import ScheduledTask

__all__ = ["Done", "ThreadWorkers", "TurnWorkers", "WorkerPool"]

Done = Callable[[ScheduledTask, Any, BaseException | None], None]

BUDGET = 64  # tasks that start in one turn of a scheduler


class WorkerPool(ABC):
    """Bounded workers.

    Args:
        max_workers: tasks that run at once.

    Attributes:
        lock: guards the queue; held for a few lines, never while a task runs.
        running: tasks that run.
    """

    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers
        self.lock = threading.Lock()
        self.running = 0
        self.closed = False
        self.draining = False

    def connect(
        self,
        take: Callable[[float], ScheduledTask | None],
        next_due: Callable[[], float | None],
        done: Done,
    ) -> None:
        """Whose tasks they run."""
        self._take = take
        self._next_due = next_due
        self._done = done

    @abstractmethod
    def renewed(self) -> "WorkerPool":
        """An empty pool like this one, for a forked child."""

    @abstractmethod
    def now(self) -> float:
        """Seconds, on a clock that never goes back."""

    @property
    @abstractmethod
    def attentive(self) -> bool:
        """Whether somebody should `look` at a task; asked without the lock, after adding it."""

    @abstractmethod
    def look(self, due: float, now: float) -> None:
        """A task that is due at `due` was added at `now`. Called under `lock`."""

    @abstractmethod
    def resize(self, max_workers: int) -> None:
        """Run so many at once from now on; what runs ends as it would have."""

    @abstractmethod
    def close(self, timeout: float, *, drain: bool) -> None:
        """Run nothing more, or with `drain` what waits; wait for what runs."""


class _Bed:
    """Where one worker sleeps; whoever takes it from those that are idle wakes him."""

    __slots__ = ("_closed",)

    def __init__(self) -> None:
        self._closed = threading.Lock()
        self._closed.acquire()

    def sleep(self, seconds: float | None) -> None:
        """Until `wake`, or so long."""
        self._closed.acquire(timeout=-1 if seconds is None else min(seconds, threading.TIMEOUT_MAX))

    def wake(self) -> None:
        """Once for each time that it was taken from the idle ones."""
        self._closed.release()

    def rest(self) -> None:
        """Forget a call that came when the time was up."""
        self._closed.acquire(blocking=False)


class ThreadWorkers(WorkerPool):
    """Threads, started one by one as there is work for them; all are daemons."""

    def __init__(self, max_workers: int) -> None:
        super().__init__(max_workers)
        self._threads: set[threading.Thread] = set()
        self._gone = threading.Condition(self.lock)  # a thread, for who waits for all of them
        self._idle: list[_Bed] = []
        self._sentry: _Bed | None = None  # of the one that sleeps by the clock
        self._alarm = 0.0  # when it wakes
        self._loops: LoopThread | None = None

    def renewed(self) -> "ThreadWorkers":
        return ThreadWorkers(self.max_workers)

    now = staticmethod(time.monotonic)

    @property
    def attentive(self) -> bool:
        return bool(self._idle) or len(self._threads) < self.max_workers

    def look(self, due: float, now: float) -> None:
        sentry = self._sentry
        if sentry is None or due <= now:
            self._call_one()
        elif due < self._alarm and sentry in self._idle:  # else it is awake, and will look
            self._idle.remove(sentry)
            sentry.wake()  # it has to sleep less

    def _call_one(self) -> None:
        """Under the lock: there is something to take, or to sleep for.

        Who is called may find that another was faster; whoever takes a task calls the next
        one if more is left.
        """
        if self._idle:
            self._idle.pop().wake()
        elif len(self._threads) < self.max_workers and not self.closed:
            self._hire()

    def _call_all(self) -> None:
        while self._idle:
            self._idle.pop().wake()

    def _hire(self) -> None:
        thread = threading.Thread(target=self._serve, name="rxotlp-task", daemon=True)
        thread.start()  # it waits for the lock; one that cannot start is not counted
        self._threads.add(thread)

    def resize(self, max_workers: int) -> None:
        with self.lock:
            self.max_workers = max_workers
            self._call_all()  # those that are too many go
            if not self.closed and self._next_due() is not None:
                for _ in range(max_workers - len(self._threads)):
                    self._hire()

    def _serve(self) -> None:
        done, bed = self._done, _Bed()
        ran = 0
        while True:
            with self.lock:
                self.running -= ran
                task = self._next(bed)
                if task is None:
                    self._threads.discard(threading.current_thread())
                    self._call_all()  # there may be too many of the others, or an end
                    self._gone.notify_all()
                    return
                self.running += 1
                # Somebody must look after what is left.
                if (self._idle or len(self._threads) < self.max_workers) and (
                    self._next_due() is not None
                ):
                    self._call_one()
            ran = 1
            try:
                result = task.context.run(task.task)
                if type(result) is CoroutineType:
                    result = self._await(task, result)
            except BaseException as error:  # whatever it was, the worker lives on
                done(task, None, error)
            else:
                done(task, result, None)
                del result
            del task  # or it would be held until the next one comes

    def _next(self, bed: _Bed) -> ScheduledTask | None:
        idle = self._idle
        while True:
            if len(self._threads) > self.max_workers:
                return None
            now = time.monotonic()
            task = None if self.closed else self._take(now)
            if task is not None:
                return task
            if self.closed:
                return None
            idle.append(bed)
            due = self._next_due()  # after that: who adds a task now finds somebody idle
            now = time.monotonic()
            if due is not None and due <= now:
                idle.remove(bed)
                continue
            if due is None and self.draining:
                idle.remove(bed)
                return None
            self._sleep(bed, due, now)

    def _sleep(self, bed: _Bed, due: float | None, now: float) -> None:
        """Under the lock, which is released meanwhile; idle until this returns."""
        seconds = None
        if due is not None and (self._sentry is None or due < self._alarm):
            self._sentry, self._alarm = bed, due
            seconds = due - now
        self.lock.release()
        try:
            bed.sleep(seconds)
        finally:
            self.lock.acquire()
            if self._sentry is bed:
                self._sentry = None
            if bed in self._idle:  # nobody called
                self._idle.remove(bed)
            else:
                bed.rest()

    def _await(self, task: ScheduledTask, coroutine: Any) -> Any:
        with self.lock:
            if self._loops is None:
                self._loops = LoopThread()
        start = asyncio.run_coroutine_threadsafe
        future = task.context.run(start, coroutine, self._loops.loop)
        task.running = future.cancel
        if task.done:  # cancelled just before there was anything to cancel
            future.cancel()
        try:
            return future.result()
        except futures.CancelledError:  # an Exception, unlike asyncio's; no failure of the task
            raise asyncio.CancelledError from None

    def close(self, timeout: float, *, drain: bool) -> None:
        with self.lock:
            self.draining = True
            self.closed = self.closed or not drain
            self._call_all()
            me = {threading.current_thread()}  # a task may close, and not wait for itself
            self._gone.wait_for(lambda: self._threads <= me, timeout)
            self.closed = True
            self._call_all()
            loops, self._loops = self._loops, None
        if loops is not None:
            loops.close(timeout)


class TurnWorkers(WorkerPool):
    """Tasks on a scheduler of ours."""

    def __init__(self, max_workers: int, scheduler: SerialScheduler) -> None:
        super().__init__(max_workers)
        self._scheduler = scheduler
        self._posted = False
        self._alarm: float | None = None
        self._timer: abc.DisposableBase | None = None

    def renewed(self) -> "TurnWorkers":
        return TurnWorkers(self.max_workers, self._scheduler)

    def now(self) -> float:
        return self._scheduler.now.timestamp()

    @property
    def attentive(self) -> bool:
        return not self._posted

    def look(self, due: float, now: float) -> None:
        if not self._posted:
            self._posted = True
            try:
                self._scheduler.post(self._pump)
            except PipelineError:
                self._posted = False  # or the next one would be told nothing
                raise

    def resize(self, max_workers: int) -> None:
        with self.lock:
            self.max_workers = max_workers
            if not self.closed:
                self.look(0.0, 0.0)

    # In the scheduler's turn.
    def _pump(self) -> None:
        self._posted = False
        for _ in range(BUDGET):
            with self.lock:
                if self.closed:
                    return
                now = self.now()
                task = self._take(now) if self.running < self.max_workers else None
                if task is None:
                    due = self._next_due() if self.running < self.max_workers else None
                    break
                self.running += 1
            self._start(task)
            del task
        else:  # tasks that ask for tasks must not keep the scheduler's others waiting
            with self.lock:
                self.look(0.0, 0.0)
            return
        self._set_alarm(due, now)

    def _set_alarm(self, due: float | None, now: float) -> None:
        if due == self._alarm:
            return
        if self._timer is not None:
            self._timer.dispose()
        self._alarm, self._timer = due, None
        if due is not None:

            def rings(_scheduler: abc.SchedulerBase, _state: Any) -> abc.DisposableBase:
                self._alarm = self._timer = None
                self._pump()
                return Disposable()

            self._timer = self._scheduler.schedule_relative(due - now, rings)

    def _start(self, task: ScheduledTask) -> None:
        def done(result: Any, error: BaseException | None) -> None:
            with self.lock:
                self.running -= 1
            self._done(task, result, error)
            if not self._posted and not self.closed:
                self._pump()

        try:
            result = task.context.run(task.task)
        except BaseException as error:
            self._ended(task, None, error)
            if isinstance(error, KeyboardInterrupt):  # the thread's own, as for its scheduler
                with self.lock:
                    self.look(0.0, 0.0)  # what is left, should it go on
                raise
            return
        if type(result) is CoroutineType:
            start = self._scheduler.run_coroutine
            task.running = task.context.run(start, result, done).dispose
            if task.done:  # cancelled just before there was anything to cancel
                task.running()
        else:
            self._ended(task, result, None)

    def _ended(self, task: ScheduledTask, result: Any, error: BaseException | None) -> None:
        with self.lock:
            self.running -= 1
        self._done(task, result, error)

    def close(self, timeout: float, *, drain: bool) -> None:
        if not drain:
            with self.lock:
                self.closed = True
            self._scheduler.post(lambda: self._set_alarm(None, 0.0))
