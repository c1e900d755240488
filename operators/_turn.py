"""Whose turn it is: the one way in which operators meet schedulers.

A stage's state is touched by one caller at a time. On a scheduler of ours that is given,
because its actions never overlap, so `enter` calls directly when it is already inside an
action and otherwise hands over to the scheduler. Any other reactivex scheduler promises
nothing of the kind; there `enter` queues, and whoever holds the turn drains the queue. No
lock is held while an action runs.

Precedence is reactivex's: the operator's own argument, then what `subscribe(scheduler=)`
brought, then the default.
"""

import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from reactivex import abc
from reactivex.disposable import Disposable

from rxotlp._core.bracket import local
from rxotlp._core.inbox import Inbox
from rxotlp.receipt import default_inbox
from rxotlp.schedulers import SerialScheduler, default_scheduler

__all__ = ["Done", "Turn", "turn_for"]

Done = Callable[[Any, BaseException | None], object]


def turn_for(*schedulers: abc.SchedulerBase | None) -> "Turn":
    """The turn on the first scheduler that is given, else on the default one."""
    for scheduler in schedulers:
        if isinstance(scheduler, SerialScheduler):
            return Turn(scheduler)
        if scheduler is not None:
            return _ForeignTurn(scheduler)
    return Turn(default_scheduler())


class Turn:
    """The turn on a scheduler of ours."""

    __slots__ = ("_outside", "_serial", "inbox", "scheduler")

    def __init__(self, serial: SerialScheduler) -> None:
        self._serial = serial
        self._outside = 0  # actions that were entered from outside and have not begun
        self.scheduler: abc.SchedulerBase = serial
        self.inbox: Inbox = serial.inbox

    def seconds(self) -> float:
        """The scheduler's clock, in seconds; only differences mean anything."""
        return self.scheduler.now.timestamp()

    def enter(self, action: Callable[[], object]) -> None:
        """Run `action` in the turn: now if it is ours, else as soon as it is."""
        serial = self._serial
        if serial.running_here:
            action()
        else:
            self._outside += 1
            serial.schedule(lambda _scheduler, _state: self._begin(action))

    def _begin(self, action: Callable[[], object]) -> abc.DisposableBase:
        self._outside -= 1
        action()
        return _NOTHING

    def enter_last(self, action: Callable[[], object]) -> None:
        """Run `action` in the turn, behind what other threads have entered here before.

        For the end of a stream: it may come inside the turn while the last element, which
        came on another thread, waits to enter.
        """
        if self._serial.running_here and not self._outside:
            action()
        else:
            self._serial.schedule(lambda _scheduler, _state: _no_disposable(action))

    @property
    def here(self) -> bool:
        """True when the caller is inside an action, so that a direct call is safe."""
        return self._serial.running_here

    def later(self, seconds: float, action: Callable[[], object]) -> abc.DisposableBase:
        """Run `action` in the turn after `seconds`."""
        return self._serial.schedule_relative(
            seconds, lambda _scheduler, _state: _no_disposable(action)
        )

    def post(self, action: Callable[[], object]) -> None:
        """Run `action` in the turn, never inside this call; from any thread."""
        self._serial.post(action)

    def run_coroutine(self, coroutine: Coroutine[Any, Any, Any], done: Done) -> abc.DisposableBase:
        """Run a coroutine on the scheduler's loop, then `done(result, error)` in the turn."""
        return self._serial.run_coroutine(coroutine, done)

    def run_blocking(self, function: Callable[[], Any], done: Done) -> abc.DisposableBase:
        """Run a function that may block in the scheduler's pool, then `done` in the turn."""
        return self._serial.run_blocking(function, done)


class _ForeignTurn(Turn):
    """The turn on a scheduler that may run two actions at once."""

    __slots__ = ("_owner", "_turn", "_waiting")

    def __init__(self, scheduler: abc.SchedulerBase) -> None:
        super().__init__(default_scheduler())
        self.inbox = default_inbox()
        self.scheduler = scheduler
        self._waiting: deque[Callable[[], object]] = deque()
        self._turn = threading.Lock()
        self._owner = 0

    @property
    def here(self) -> bool:
        return self._owner == threading.get_ident()

    def enter(self, action: Callable[[], object]) -> None:
        if self.here:
            action()
            return
        self._waiting.append(action)
        # Whoever holds the turn looks again after letting go, so nothing is stranded.
        while self._waiting and self._turn.acquire(blocking=False):
            self._owner = threading.get_ident()
            try:
                self._drain()
            finally:
                self._owner = 0
                self._turn.release()

    def enter_last(self, action: Callable[[], object]) -> None:
        if self.here and self._waiting:
            self._waiting.append(action)  # whoever has the turn, which is us, drains it
        else:
            self.enter(action)

    def _drain(self) -> None:
        while self._waiting:
            action = self._waiting.popleft()
            top, local.top = local.top, None
            try:
                action()
            except BaseException:
                if self._waiting:  # others' actions, which must not wait for the next caller
                    self.post(_nothing)
                raise
            finally:
                local.top = top
            del action

    def later(self, seconds: float, action: Callable[[], object]) -> abc.DisposableBase:
        return self.scheduler.schedule_relative(
            seconds, lambda _scheduler, _state: _no_disposable(lambda: self.enter(action))
        )

    def post(self, action: Callable[[], object]) -> None:
        self.scheduler.schedule(
            lambda _scheduler, _state: _no_disposable(lambda: self.enter(action))
        )

    def run_coroutine(self, coroutine: Coroutine[Any, Any, Any], done: Done) -> abc.DisposableBase:
        return self._serial.run_coroutine(
            coroutine, lambda result, error: self.enter(lambda: done(result, error))
        )

    def run_blocking(self, function: Callable[[], Any], done: Done) -> abc.DisposableBase:
        return self._serial.run_blocking(
            function, lambda result, error: self.enter(lambda: done(result, error))
        )


def _no_disposable(action: Callable[[], object]) -> abc.DisposableBase:
    action()
    return _NOTHING


def _nothing() -> None:
    pass


_NOTHING = Disposable()
