"""A serial executor with a clock: whose turn it is, what runs next, and for how long.

One lock, the turn, is only ever *tried*, never waited for, and whoever has it runs
actions. Work is put into queues that need no lock, then its owner tries for the turn; who
fails may go, because the holder looks into the queues once more after letting go. So
nothing is stranded, and no thread waits for another's actions, nor holds a lock that an
action could want.

A caller runs its own action, what that action schedules, and at most BUDGET actions of
others; what is left is handed over to the scheduler's own runner. Shells (`sync`, `aio`,
`virtual`) decide who may take the turn, what time it is and how the runner is woken, and
nothing else.
"""

import logging
import math
import threading
from abc import abstractmethod
from asyncio import AbstractEventLoop, CancelledError
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from threading import get_ident
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from reactivex import abc, typing
from reactivex.disposable import Disposable
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from rxotlp._core.bracket import local
from rxotlp._core.inbox import Inbox
from rxotlp.errors import PipelineError
from rxotlp.schedulers import forks
from rxotlp.schedulers.jobs import Done, Pool, Tasks
from rxotlp.schedulers.periodic import Periodic
from rxotlp.schedulers.timers import NEVER, Item, Timers

__all__ = ["BUDGET", "SerialScheduler", "Statistics"]

BUDGET = 64  # design, section 7: actions of others that a caller may be kept for

_State = TypeVar("_State")
_NOTHING = Disposable()
_MICROSECOND = timedelta(microseconds=1)

logger = logging.getLogger("rxotlp")


class Statistics(NamedTuple):
    """A scheduler's counts at one moment."""

    queued: int
    """Actions that wait for their turn, posted ones included."""
    timers: int
    """Timers armed and neither due nor cancelled."""
    ran: int
    """Actions that have run, raising ones included."""
    errors: int
    """Actions that raised."""


class SerialScheduler(PeriodicScheduler):
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
        self.errors = 0
        self.on_error = on_error
        self._turn = threading.Lock()
        self._owner = 0  # the thread that has the turn
        self._origin = 0  # the thread on whose behalf the present action runs
        self._queue: deque[Item] = deque()
        self._inbox = Inbox(self._notice)
        self._posted = self._inbox.__len__
        self._timers = Timers()
        self._tick = False  # time has come for the runner to look at timers and inbox
        self._ran = 0
        self._running = False  # threads and readers of the shell are up
        self._closed = False
        self._waiters: list[Callable[[], None]] = []
        self._tasks = Tasks(self._inbox)
        self._pool = Pool(self._inbox, type(self).__name__, max_workers)
        forks.watch(self)

    # -- what a shell decides -------------------------------------------------------------

    @abstractmethod
    def _start(self) -> None:
        """Start what runs actions when no caller does; sets `_running`."""

    @abstractmethod
    def _may_run_here(self) -> bool:
        """True when the calling thread may take the turn."""

    @abstractmethod
    def _wake(self) -> None:
        """Make the runner take the turn soon. Safe in a finalizer: no lock, no waiting."""

    @abstractmethod
    def _clock(self) -> int:
        """Monotonic nanoseconds since the scheduler was made."""

    @abstractmethod
    def _wall_start(self) -> datetime:
        """The wall clock when `_clock` was 0."""

    @abstractmethod
    def _set_alarm(self, due: int) -> None:
        """In the turn: the runner is to set `_tick` and take the turn at `due`."""

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

    @property
    def running_here(self) -> bool:
        """True inside an action of this scheduler, so that a direct call is in the turn."""
        return self._owner == get_ident()

    @property
    def idle(self) -> bool:
        """True when no action runs or waits for its turn; timers do not count."""
        return not self._turn.locked() and not self._work()

    def statistics(self) -> Statistics:
        """Counts of now; exact when read in the turn or when idle."""
        return Statistics(
            len(self._queue) + self._posted(), len(self._timers), self._ran, self.errors
        )

    def __repr__(self) -> str:
        counts = self.statistics()
        state = "closed" if self._closed else "idle" if self.idle else "busy"
        return (
            f"<{type(self).__name__} {state}, {counts.queued} queued, {counts.timers} timers, "
            f"{counts.ran} ran, {counts.errors} raised>"
        )

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
        self._check_open("post")
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

    # -- the turn -------------------------------------------------------------------------

    def _work(self) -> bool:
        return bool(self._queue or self._posted() or self._timers.arrived or self._tick)

    def _notice(self) -> None:
        """Something was put into the inbox. May run inside a finalizer."""
        # Who has the turn looks into the inbox after letting go of it.
        if not self._turn.locked():
            self._wake()

    def _attempt(self) -> None:
        """Something was queued: run it if the turn is free, else leave it to its holder."""
        if not self._may_run_here():
            if not self._turn.locked():
                self._wake()
        elif self._turn.acquire(False):
            self._owner = get_ident()
            self._leave()

    def _leave(self) -> None:
        """Holding the turn: run what waits, let go, and look again."""
        spent = 0
        while True:
            try:
                if self._work():
                    spent = self._drain(spent)
            except BaseException:
                # KeyboardInterrupt and the like are the caller's; the rest is the runner's.
                self._tick = True
                self._let_go()
                self._wake()
                raise
            self._let_go()
            if not self._work():
                break
            if spent >= BUDGET and not self._closed:
                self._wake()
                break
            if not self._turn.acquire(False):
                break  # the new holder will look
            self._owner = get_ident()
            spent = 0 if self._closed else spent
        for tell in tuple(self._waiters):
            tell()

    def _let_go(self) -> None:
        self._owner = self._origin = 0
        self._turn.release()

    def _drain(self, spent: int) -> int:
        """Run actions until none waits or the budget is spent; returns what was spent."""
        queue, inbox, me = self._queue, self._inbox, self._owner
        top = local.top
        try:
            while spent < BUDGET:
                if self._timers.arrived or self._tick:
                    self._sort_timers()
                # What came out of the last action goes first, but only as much as there is
                # now: actions that post actions must not keep the queue waiting.
                emptied = False
                for _ in range(min(self._posted() + 1, BUDGET - spent)):
                    posted = inbox.pop()
                    if posted is None:
                        emptied = True
                        break
                    spent += 1
                    self._origin = 0
                    self._run(posted)
                    del posted
                if queue and spent < BUDGET:
                    item = queue.popleft()
                    if item.action is not None:
                        spent += item.origin != me
                        self._origin = item.origin
                        self._run(item.run, self)
                    del item
                elif emptied and not self._work():
                    break
        finally:
            local.top = top
        if spent >= BUDGET:
            # The last pop may have emptied the inbox without finding it empty, and then it
            # would not wake anyone again: make the next holder look.
            self._tick = True
        return spent

    def _run(self, action: Callable[..., object], *arguments: object) -> None:
        local.top = None
        self._ran += 1
        try:
            action(*arguments)
        except (Exception, CancelledError) as error:
            self._report(error)

    def _report(self, error: BaseException) -> None:
        self.errors += 1
        logger.error("an action of %s raised", type(self).__name__, exc_info=error)
        if self.on_error is not None:
            try:
                self.on_error(error)
            except Exception:
                logger.exception("the on_error of %s raised", type(self).__name__)

    # -- timers ---------------------------------------------------------------------------

    def _arm(self, due: int, action: Callable[..., Any], state: Any) -> Item:
        if not self._running:
            self._ensure_running()
        self._check_open("a timer")
        item = Item(action, state, due=due)
        self._timers.add(item)
        self._settle_arrived()
        return item

    def _settle_arrived(self) -> None:
        """Get arrived timers into the heap: now if the turn is free, else its holder does."""
        if not self._may_run_here():
            if not self._turn.locked():
                self._wake()
        elif self._owner == get_ident():
            # Inside an action nobody else touches the heap. Without this, an action that
            # arms and cancels many would pile them up until it ends.
            if len(self._timers.arrived) > BUDGET:
                self._sort_timers()
        elif self._turn.acquire(False):
            self._owner = get_ident()
            self._sort_timers()
            self._let_go()
            if self._work():
                self._wake()

    def _sort_timers(self) -> None:
        self._tick = False
        self._queue.extend(self._timers.take_due(self._clock()))
        self._set_alarm(self._timers.next_due)

    def _to_ns(self, duration: typing.RelativeTime) -> int:
        seconds = self.to_seconds(duration)
        if not math.isfinite(seconds):
            raise ValueError(f"{type(self).__name__}: {duration!r} s: expected a finite time")
        return min(round(seconds * 1e9), NEVER - 1)

    # -- beginning and end ----------------------------------------------------------------

    def _ensure_running(self) -> None:
        if not self._closed:
            self._start()

    def _check_open(self, call: str) -> None:
        if self._closed:
            raise PipelineError(
                f"{type(self).__name__}: {call} after close(): nobody is left to run it"
            )

    def _after_fork(self) -> None:
        """In a forked child: drop the parent's work and forget its threads."""
        if self._owner != get_ident():
            # Its holder does not exist here. One that forked inside an action keeps it.
            self._turn = threading.Lock()
            self._owner = self._origin = 0
        self._running = False
        self._tick = False
        self._waiters.clear()
        self._tasks = Tasks(self._inbox)
        self._pool = self._pool.renewed()
        self._queue.clear()
        self._timers.discard()
        while self._inbox.pop() is not None:
            pass
