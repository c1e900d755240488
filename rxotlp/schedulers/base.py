"""The public face of a serial executor with a clock: reactivex's scheduler and more.

`executor` decides whose turn it is; here are the ways to ask for one: now, at a time, every
so often, from outside, or after a coroutine or a blocking call. Shells (`sync`, `aio`,
`virtual`) decide who may take the turn, what time it is and how the runner is woken, and
nothing else.
"""

import math
from abc import abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from threading import get_ident
from types import TracebackType
from typing import Any, Self, TypeVar

from reactivex import abc, typing
from reactivex.disposable import Disposable
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from rxotlp._core.bracket import local
from rxotlp._core.inbox import Inbox
from rxotlp.errors import PipelineError
from rxotlp.schedulers import forks
from rxotlp.schedulers.executor import SerialExecutor
from rxotlp.schedulers.jobs import Done, Pool, Tasks
from rxotlp.schedulers.periodic import Periodic
from rxotlp.schedulers.timers import NEVER, Item

__all__ = ["SerialScheduler"]

_State = TypeVar("_State")
_NOTHING = Disposable()
_MICROSECOND = timedelta(microseconds=1)


class SerialScheduler(SerialExecutor, PeriodicScheduler):
    """Runs actions one after the other, never two at once, on whichever thread.

    `schedule` runs its action inline when the scheduler is idle; an exception of such an
    action reaches the caller. Every other action's exception is counted in `errors`,
    logged, and given to `on_error`; it ends nothing. Timers and posted actions never run
    inside the call that made them.

    A scheduled or timed action runs in the `contextvars` context it was scheduled in, a
    posted one in whatever context its runner has.

    Args:
        max_workers: threads of the pool in which `run_blocking` runs, 1 or more.
        on_error: told of each exception that reaches nobody else.

    Attributes:
        errors: actions that raised.
        on_error: as the argument; may be replaced.
    """

    def __init__(
        self,
        *,
        max_workers: int = 8,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(on_error)
        self._running = False  # threads and readers of the shell are up
        self._tasks = Tasks(self._inbox)
        self._pool = Pool(self._inbox, type(self).__name__, max_workers)
        forks.watch(self)

    # -- what a shell decides -------------------------------------------------------------

    @abstractmethod
    def _start(self) -> None:
        """Start what runs actions when no caller does; sets `_running`."""

    @abstractmethod
    def _wall_start(self) -> datetime:
        """The wall clock when `_clock` was 0."""

    @property
    @abstractmethod
    def loop(self) -> AbstractEventLoop:
        """The asyncio loop that runs coroutines; started when first asked for."""

    @abstractmethod
    def timestamp_ns(self) -> int:
        """The wall clock, in nanoseconds since the Unix epoch: for telemetry, not timers."""

    @abstractmethod
    def close(self, *, timeout: float = 5.0) -> int:
        """Stop; see the scheduler's class. Returns how many actions will not run."""

    # -- looking --------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The wall clock at the start plus the monotonic time since: never goes back."""
        return self._wall_start() + timedelta(microseconds=self._clock() // 1000)

    @property
    def inbox(self) -> Inbox:
        """Where posted actions and dead shares wait. Its `put` is safe in a finalizer."""
        if not self._running:
            self._ensure_running()
        return self._inbox

    # -- scheduling -----------------------------------------------------------------------

    def schedule(
        self, action: typing.ScheduledAction[_State], state: _State | None = None
    ) -> abc.DisposableBase:
        """Run `action(scheduler, state)` now if the scheduler is idle, else in order of arrival.

        Returns:
            A disposable that cancels the action while it waits.

        Raises:
            Exception: what the action raised, when it ran inline.
        """
        if not self._running:
            self._ensure_running()
        # Behind what waits already: it may be this thread's, whose order is kept.
        if not self._queue and self._may_run_here() and self._turn.acquire(False):
            self._owner = self._origin = get_ident()
            top = local.top
            local.top = None
            try:
                result = action(self, state)
            except BaseException:
                self.errors += 1
                raise
            finally:
                self._ran += 1
                local.top = top
                del action, state  # what they hold must not live through others' actions
                self._leave()
            return result if isinstance(result, abc.DisposableBase) else _NOTHING
        if not self._may_run_here():
            self._check_open("schedule on another thread")
        me = get_ident()
        item = Item(action, state, origin=self._origin if self._owner == me else me)
        del action, state
        self._queue.append(item)
        self._attempt()
        return item

    def schedule_relative(
        self,
        duetime: typing.RelativeTime,
        action: typing.ScheduledAction[_State],
        state: _State | None = None,
    ) -> abc.DisposableBase:
        """Run `action` after `duetime` (seconds or a timedelta), never inside this call."""
        return self._arm(self._clock() + max(0, self._to_ns(duetime)), action, state)

    def schedule_absolute(
        self,
        duetime: typing.AbsoluteTime,
        action: typing.ScheduledAction[_State],
        state: _State | None = None,
    ) -> abc.DisposableBase:
        """Run `action` when `now` is `duetime` (a datetime, or seconds since the epoch)."""
        moment = self.to_datetime(duetime)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        # Integers throughout: seconds since 1970 as a float would cost a quarter microsecond.
        due = (moment - self._wall_start()) // _MICROSECOND * 1000
        return self._arm(max(due, self._clock()), action, state)

    def schedule_periodic(
        self,
        period: typing.RelativeTime,
        action: typing.ScheduledPeriodicAction[_State],
        state: _State | None = None,
    ) -> abc.DisposableBase:
        """Run `state = action(state)` every `period`, the first time after one period.

        Ticks stay on multiples of the period since the start and never overlap; ticks
        missed while an action ran long are left out. A raising action is reported, keeps
        the state it was given and is called again at the next tick.

        Raises:
            ValueError: the period is not above 0.
        """
        step = self._to_ns(period)
        if step <= 0:
            raise ValueError(
                f"schedule_periodic(period={period!r}): expected more than 0 s; "
                "without a pause nothing else would ever run"
            )
        return Periodic(self._arm, self._clock, step, action, state)

    def post(self, action: Callable[[], object]) -> None:
        """Run `action()` in the turn, never inside this call. From any thread, and cheap.

        It does not capture a `contextvars` context.

        Raises:
            PipelineError: the scheduler is closed.
        """
        if not self._running:
            self._ensure_running()
        self._check_open("post", in_turn=True)
        self._inbox.put(action)

    def run_coroutine(self, coroutine: Coroutine[Any, Any, Any], done: Done) -> abc.DisposableBase:
        """Run a coroutine on `loop`, then post `done(result, None)` or `done(None, error)`.

        Returns:
            A disposable that cancels the task; `done` is then given a CancelledError.

        Raises:
            PipelineError: the scheduler is closed.
        """
        try:
            if not self._running:
                self._ensure_running()
            self._check_open("run_coroutine")
            loop = self.loop
        except BaseException:
            coroutine.close()
            raise
        return self._tasks.start(loop, coroutine, done)

    def run_blocking(self, function: Callable[[], Any], done: Done) -> abc.DisposableBase:
        """Run a function that may block in a pool, then post `done` as `run_coroutine` does.

        Returns:
            A disposable that cancels the call while it waits for a thread; one that has
            begun runs on, and `done` is given its result.

        Raises:
            PipelineError: the scheduler is closed.
        """
        if not self._running:
            self._ensure_running()
        self._check_open("run_blocking")
        return self._pool.start(function, done)

    @abstractmethod
    def wait_for(self, predicate: Callable[[], bool], *, timeout: float | None = None) -> bool:
        """Run due actions until `predicate()` is true; False when `timeout` passed first.

        For a pull source's loop, between actions.

        Raises:
            PipelineError: called inside an action, which would wait for itself.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- timers ---------------------------------------------------------------------------

    def _arm(self, due: int, action: Callable[..., Any], state: Any) -> Item:
        if not self._running:
            self._ensure_running()
        self._check_open("a timer", in_turn=True)
        item = Item(action, state, due=due)
        self._timers.add(item)
        self._settle_arrived()
        return item

    def _to_ns(self, duration: typing.RelativeTime) -> int:
        seconds = self.to_seconds(duration)
        if not math.isfinite(seconds):
            raise ValueError(f"{type(self).__name__}: {duration!r} s: expected a finite time")
        return min(round(seconds * 1e9), NEVER - 1)

    # -- beginning and end ----------------------------------------------------------------

    def _ensure_running(self) -> None:
        if not self._closed:
            self._start()

    def _check_open(self, call: str, *, in_turn: bool = False) -> None:
        # The last actions, which close() runs, may still ask for what ends with them.
        if self._closed and not (in_turn and self.running_here and not self._ended):
            raise PipelineError(
                f"{type(self).__name__}: {call} after close(): nobody is left to run it"
            )

    def _after_fork(self) -> None:
        """In a forked child: drop the parent's work and forget its threads."""
        self._running = False
        self._tasks = Tasks(self._inbox)
        self._pool = self._pool.renewed()
        self._forget_work()
