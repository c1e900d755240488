"""Whose turn it is, what runs next, and for how long.

One lock, the turn, is only ever *tried*, never waited for, and whoever has it runs
actions. Work is put into queues that need no lock, then its owner tries for the turn; who
fails may go, because the holder looks into the queues once more after letting go. So
nothing is stranded, and no thread waits for another's actions, nor holds a lock that an
action could want.

A caller runs its own action, what that action schedules, and at most BUDGET actions of
others; what is left is handed over to the shell's own runner.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import NamedTuple

from reactivex.scheduler.scheduler import Scheduler

from rxotlp._core.bracket import local
from rxotlp._core.inbox import Inbox
from rxotlp.schedulers.timers import Item, Timers

__all__ = ["BUDGET", "SerialExecutor", "Statistics"]

BUDGET = 64  # design, section 7: actions of others that a caller may be kept for

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


class SerialExecutor(Scheduler, ABC):
    """The turn and the queues of a `SerialScheduler`."""

    def __init__(self, on_error: Callable[[BaseException], None] | None) -> None:
        self.errors = 0
        self.on_error = on_error
        self._turn = threading.Lock()
        self._owner = 0  # the thread that has the turn
        self._origin = 0  # the thread on whose behalf the present action runs
        self._queue: deque[Item] = deque()
        self._inbox = Inbox(self._notice)
        self._posted = self._inbox._queue.qsize  # len(inbox), three times as fast
        self._timers = Timers()
        self._tick = False  # time has come for the runner to look at timers and inbox
        self._ran = 0
        self._closed = False  # nothing may be asked for from outside
        self._ended = False  # and the runner is gone
        self._discarded = 0  # timers that close() found or that were armed while it ran
        self._waiters: list[Callable[[], None]] = []

    # -- what a shell decides -------------------------------------------------------------

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
    def _set_alarm(self, due: int) -> None:
        """In the turn: the runner is to set `_tick` and take the turn at `due`."""

    # -- looking --------------------------------------------------------------------------

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

    def _left(self) -> int:
        return len(self._queue) + self._posted() + len(self._timers)

    def __repr__(self) -> str:
        counts = self.statistics()
        state = "closed" if self._closed else "idle" if self.idle else "busy"
        return (
            f"<{type(self).__name__} {state}, {counts.queued} queued, {counts.timers} timers, "
            f"{counts.ran} ran, {counts.errors} raised>"
        )

    # -- the turn -------------------------------------------------------------------------

    def _work(self) -> bool:
        return bool(self._queue or self._posted() or self._timers.arrived or self._tick)

    def _notice(self) -> None:
        """Something was put into the inbox. May run inside a finalizer."""
        # Whoever put it may have been held up since, and it may be done by now. Somebody must
        # find the inbox empty all the same, or it would never wake anyone again.
        self._tick = True
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
            if self._work():
                try:
                    spent = self._drain(spent)
                except BaseException:
                    # An interrupt is the caller's; what waits is the runner's.
                    self._tick = True
                    self._let_go()
                    self._wake()
                    raise
            self._let_go()
            if not self._work():
                break
            if spent >= BUDGET:
                if not self._ended:
                    self._wake()
                    break
                spent = 0  # there is nobody to hand over to
            if not self._turn.acquire(False):
                break  # the new holder will look
            self._owner = get_ident()
        if self._waiters:
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
                    self._tick = False
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
        except KeyboardInterrupt:
            raise  # the thread's own, whichever action it happened to run
        except BaseException as error:  # SystemExit and cancellation are the action's alone
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
        # The tick is only _drain's to clear: it also says that the inbox wants a look.
        if self._closed:
            self._discarded += self._timers.discard()
            return
        self._queue.extend(self._timers.take_due(self._clock()))
        self._set_alarm(self._timers.next_due)

    # -- forks ----------------------------------------------------------------------------

    def _forget_work(self) -> None:
        """In a forked child: what waits is the parent's."""
        if self._owner != get_ident():
            # Its holder does not exist here. One that forked inside an action keeps it.
            self._turn = threading.Lock()
            self._owner = self._origin = 0
        self._tick = False
        self._waiters.clear()
        self._queue.clear()
        self._timers.discard()
        while self._inbox.pop() is not None:
            pass
