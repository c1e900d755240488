"""Virtual time: exact, single-threaded, and the same twice.

The clock is an integer of nanoseconds that moves only between actions, from one due time
to the next, so any number of actions at one instant stay at that instant and nothing
drifts. Coroutines run on a loop that lives in the same time.
"""

from asyncio import AbstractEventLoop, CancelledError
from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from reactivex import abc

from rxotlp.errors import PipelineError
from rxotlp.schedulers.base import SerialScheduler
from rxotlp.schedulers.jobs import Done
from rxotlp.schedulers.timers import NEVER
from rxotlp.schedulers.virtual_loop import VirtualLoop

__all__ = ["VirtualScheduler"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class VirtualScheduler(SerialScheduler):
    """Runs actions when told to, at the time it decides it is.

    `schedule` runs its action inline when idle, as everywhere; timers, posts and coroutines
    run in `run`, `advance_to`, `advance_by` and `wait_for`. Coroutines may sleep, use
    asyncio's timeouts and wait for each other; real I/O is not supported. `run_blocking`
    runs its function as an action of its own, at the instant it was called.

    Args:
        epoch: `now` when the clock is 0.0; by default 1970, so that `now` reads as the clock.
        on_error: told of each exception that reaches nobody else.
    """

    def __init__(
        self,
        *,
        epoch: datetime = _EPOCH,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        if epoch.tzinfo is None:
            raise ValueError(f"VirtualScheduler(epoch={epoch!r}): expected one with a time zone")
        super().__init__(on_error=on_error)
        self._epoch = epoch
        self._now = 0
        self._loop = VirtualLoop(lambda: self.clock, self._arm_for_loop)
        self._driven = False

    # -- time -----------------------------------------------------------------------------

    @property
    def clock(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now / 1e9

    def timestamp_ns(self) -> int:
        """Virtual nanoseconds since the Unix epoch."""
        return (self._epoch - _EPOCH) // timedelta(microseconds=1) * 1000 + self._now

    def run(self) -> None:
        """Advance until nothing is left; for ever, if a timer always arms the next."""
        self._drive("run", NEVER - 1)

    def advance_to(self, clock: float) -> None:
        """Run what is due up to and at `clock` seconds; then it is that time.

        Raises:
            ValueError: that time has passed.
        """
        target = self._to_ns(clock)
        if target < self._now:
            raise ValueError(
                f"advance_to({clock!r}): expected {self.clock} or later; time does not go back"
            )
        self._drive("advance_to", target)
        self._now = max(self._now, target)

    def advance_by(self, seconds: float) -> None:
        """Run what is due in the next `seconds`.

        Raises:
            ValueError: a negative time.
        """
        if seconds < 0:
            raise ValueError(f"advance_by({seconds!r}): expected 0 or more")
        target = self._now + self._to_ns(seconds)
        self._drive("advance_by", target)
        self._now = max(self._now, target)

    def wait_for(self, predicate: Callable[[], bool], *, timeout: float | None = None) -> bool:
        """Advance time until `predicate()` is true, looking after every turn.

        Returns:
            False when `timeout` virtual seconds passed first, or when nothing is left that
            could make it true.

        Raises:
            PipelineError: called inside an action, which would wait for itself.
        """
        target = NEVER - 1 if timeout is None else self._now + self._to_ns(timeout)
        if self._drive("wait_for", target, predicate):
            return True
        if timeout is not None:
            self._now = max(self._now, target)
        return False

    def _drive(self, call: str, target: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Run everything up to `target`; True as soon as `until()` is."""
        if self.running_here or self._driven:
            raise PipelineError(
                f"VirtualScheduler.{call}() inside one of its own actions or coroutines would "
                "move the time it runs at; schedule the rest with schedule_relative instead"
            )
        self._ensure_running()
        self._driven = True
        try:
            while True:
                while self._work() or self._loop.has_callbacks:
                    if until():
                        return True
                    self._attempt()
                    self._loop.step()
                if until():
                    return True
                due = self._timers.next_due
                if due > target:
                    return False
                self._now = max(self._now, due)
                self._tick = True
        finally:
            self._driven = False

    # -- the shell ------------------------------------------------------------------------

    def _start(self) -> None:
        self._running = True

    def _may_run_here(self) -> bool:
        return True

    def _wake(self) -> None:
        # Whoever drives looks again by itself; nobody else would.
        pass

    def _clock(self) -> int:
        return self._now

    def _wall_start(self) -> datetime:
        return self._epoch

    def _set_alarm(self, due: int) -> None:
        pass  # _drive asks for the next due time when it has nothing else to do

    @property
    def loop(self) -> AbstractEventLoop:
        """The loop of virtual time that runs coroutines."""
        return self._loop

    def _arm_for_loop(self, when: float, callback: Callable[[], object]) -> abc.DisposableBase:
        def action(_scheduler: abc.SchedulerBase, _state: object) -> None:
            callback()

        return self._arm(max(self._now, self._to_ns(when)), action, None)

    def run_blocking(self, function: Callable[[], Any], done: Done) -> abc.DisposableBase:
        """Run `function` as the next posted action, then post `done(result, error)`.

        Returns:
            A disposable that cancels the call while it waits; `done` is then given a
            CancelledError.

        Raises:
            PipelineError: the scheduler is closed.
        """
        call = _Call(self, function, done)
        self.post(call)
        return call

    def close(self, *, timeout: float = 5.0) -> int:
        """Cancel coroutines, run what waits for its turn now, and discard timers.

        From then on `schedule` runs its action inline, and everything else raises.

        Args:
            timeout: not used; virtual time does not wait.

        Returns:
            How many timers will never fire.

        Raises:
            PipelineError: called inside an action.
        """
        if self._closed:
            return 0
        self._tasks.cancel()
        self._drive("close", self._now)
        self._closed = self._ended = True
        discarded = self._timers.discard()
        self._loop.close()
        return discarded


class _Call(abc.DisposableBase):
    """A blocking function as two posted actions: itself, then its report."""

    __slots__ = ("_done", "_function", "_scheduler")

    def __init__(
        self, scheduler: VirtualScheduler, function: Callable[[], Any], done: Done
    ) -> None:
        self._scheduler = scheduler
        self._function: Callable[[], Any] | None = partial(copy_context().run, function)
        self._done: Done | None = done

    def __call__(self) -> None:
        function, done = self._function, self._done
        self._function = self._done = None
        if function is None or done is None:
            return
        try:
            report = partial(done, function(), None)
        except Exception as error:
            report = partial(done, None, error)
        self._scheduler._inbox.put(report)

    def dispose(self) -> None:
        """Cancel the call if it has not begun."""
        done, self._function, self._done = self._done, None, None
        if done is not None:
            self._scheduler._inbox.put(partial(done, None, CancelledError()))
