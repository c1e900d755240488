"""`tasks.at(priority)`: a reactivex scheduler made of tasks.

A strand keeps its own actions and timers in order, and asks its TaskScheduler for one thing:
a task, when its next action is due, that runs what is due then. So its actions never overlap
and keep their order, however many workers there are, and among the tasks of others they
have the strand's priority. It gives its worker back after `BUDGET` actions.
"""

import logging
import threading
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from reactivex import abc, typing
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from rxotlp._core.bracket import local
from rxotlp.schedulers import forks
from rxotlp.schedulers.periodic import Periodic
from rxotlp.schedulers.scheduled_task import ScheduledTask
from rxotlp.schedulers.timers import NEVER, Item, Timers

if TYPE_CHECKING:
    from rxotlp.schedulers.task import TaskScheduler

__all__ = ["Strand"]

logger = logging.getLogger("rxotlp")

_State = TypeVar("_State")
BUDGET = 64
_MICROSECOND = timedelta(microseconds=1)


class Strand(PeriodicScheduler):
    """Actions of one priority, one after the other.

    Attributes:
        priority: of its tasks; larger is sooner.
        errors: actions that raised; each is logged.
    """

    def __init__(self, tasks: "TaskScheduler", priority: float) -> None:
        super().__init__()
        self.priority = priority
        self.errors = 0
        self._tasks = tasks
        self._lock = threading.Lock()
        self._queue: deque[Item] = deque()
        self._timers = Timers()
        self._task: ScheduledTask | None = None  # the one asked for, or running
        self._busy = False
        self._began = tasks.clock
        self._began_wall = datetime.now(UTC)
        forks.watch(self)

    @property
    def now(self) -> datetime:
        """The wall clock at its start plus its scheduler's time since: never goes back."""
        return self._began_wall + timedelta(seconds=self._tasks.clock - self._began)

    def schedule(
        self, action: typing.ScheduledAction[_State], state: _State | None = None
    ) -> abc.DisposableBase:
        """Run `action(scheduler, state)` as soon as a worker is free; never inside this call."""
        item = Item(action, state)
        with self._lock:
            self._ask(0)  # first, as it may refuse
            self._queue.append(item)
        return item

    def schedule_relative(
        self,
        duetime: typing.RelativeTime,
        action: typing.ScheduledAction[_State],
        state: _State | None = None,
    ) -> abc.DisposableBase:
        """Run `action` after `duetime` (seconds or a timedelta)."""
        nanoseconds = round(max(0.0, self.to_seconds(duetime)) * 1e9)
        return self._arm(self._clock() + nanoseconds, action, state)

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
        due = (moment - self._began_wall) // _MICROSECOND * 1000
        return self._arm(max(due, self._clock()), action, state)

    def schedule_periodic(
        self,
        period: typing.RelativeTime,
        action: typing.ScheduledPeriodicAction[_State],
        state: _State | None = None,
    ) -> abc.DisposableBase:
        """Run `state = action(state)` every `period`, the first time after one period.

        Raises:
            ValueError: the period is not above 0.
        """
        step = round(self.to_seconds(period) * 1e9)
        if step <= 0:
            raise ValueError(f"schedule_periodic(period={period!r}): expected more than 0 s")
        return Periodic(self._arm, self._clock, step, action, state)

    # -- its task ----------------------------------------------------------------------------

    def _clock(self) -> int:
        return int((self._tasks.clock - self._began) * 1e9)

    def _arm(self, due: int, action: Any, state: Any) -> Item:
        item = Item(action, state, due=due)
        with self._lock:
            self._ask(due)
            self._timers.add(item)
        return item

    def _ask(self, due: int) -> None:
        """Under the lock: have a task at `due`, or before."""
        if self._busy:
            return  # it looks again before it ends
        when = self._began + due / 1e9
        task = self._task
        if task is not None and not task.done:  # else it was shut down
            if task.scheduled_time <= when:
                return
            task.cancel()
        now = self._tasks.clock
        made = ScheduledTask(
            self._run,
            priority=self.priority,
            scheduled_time=when if due else now,
            max_retries=0,
            name=f"at({self.priority:g})",
            cancel=self._tasks._cancel,
        )
        self._tasks.add(made, now)
        self._task = made

    def _run(self) -> None:
        with self._lock:
            task = self._task
            if self._busy or task is None or task.state == "pending":
                return  # one that was taken before it could be cancelled; another comes
            self._task = None
            self._busy = True
        spent = 0
        top, local.top = local.top, None  # no action is part of what this thread emits
        try:
            while spent < BUDGET:
                with self._lock:
                    self._queue.extend(self._timers.take_due(self._clock()))
                    if not self._queue:
                        break
                    item = self._queue.popleft()
                spent += 1
                try:
                    item.run(self)
                except KeyboardInterrupt:
                    raise  # the thread's own, whichever action it happened to run
                except BaseException:  # SystemExit and cancellation are the action's alone
                    self.errors += 1
                    logger.exception("an action of %r raised", self)
                del item
        finally:
            local.top = top
            with self._lock:
                self._busy = False
                # Also what was armed since the last look, while nobody had to ask.
                self._queue.extend(self._timers.take_due(self._clock()))
                due = 0 if self._queue else self._timers.next_due
                if due < NEVER:
                    self._ask(due)

    def _after_fork(self) -> None:
        """In a forked child: as if nothing had been asked for."""
        self._lock = threading.Lock()
        self._queue.clear()
        self._timers = Timers()
        self._task = None
        self._busy = False

    def __repr__(self) -> str:
        return f"<Strand at {self.priority:g} of {self._tasks!r}>"
