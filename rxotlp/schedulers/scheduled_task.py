"""`ScheduledTask`: something to run, when and how often, and what came of it."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Generator
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from rxotlp.errors import OtlpError

__all__ = ["Attempt", "ScheduledTask", "TaskCancelled"]

logger = logging.getLogger("rxotlp")

_PENDING, _RUNNING, _DONE, _FAILED, _CANCELLED = (
    "pending",
    "running",
    "done",
    "failed",
    "cancelled",
)


class TaskCancelled(OtlpError):
    """A task was cancelled before it ended."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that failed.

    Attributes:
        at: seconds on the scheduler's clock, when it had failed.
        error: what it raised, as text; the exception itself would keep frames.
    """

    at: float
    error: str


class ScheduledTask:
    """A task, its handle and its history.

    Attributes:
        task: what is called; plain or `async`, without arguments.
        priority: larger is sooner.
        scheduled_time: when it is due, in seconds on its scheduler's clock.
        retry_count: retries up to now.
        max_retries: retries that are allowed.
        state: "pending", "running", "done", "failed" or "cancelled".
    """

    __slots__ = (
        "_cancel",
        "_done",
        "_error",
        "_history",
        "_name",
        "_result",
        "_waiters",
        "context",
        "entry",
        "max_retries",
        "priority",
        "retry_count",
        "running",
        "scheduled_time",
        "state",
        "task",
    )

    def __init__(
        self,
        task: Callable[[], Any],
        *,
        priority: float,
        scheduled_time: float,
        max_retries: int,
        name: str | None = None,
        cancel: "Callable[[ScheduledTask], object] | None" = None,
    ) -> None:
        self.task: Callable[[], Any] = task
        self.context = copy_context()  # of whoever asked: instrumentation travels in it
        self.priority = priority
        self.scheduled_time = scheduled_time
        self.retry_count = 0
        self.max_retries = max_retries
        self._name = name
        self._history: list[Attempt] | None = None
        self.state = _PENDING
        self.entry: Any = None  # its place in the queue
        self.running: Any = None  # what cancels it while it runs
        self._cancel = cancel
        self._result: Any = None
        self._error: BaseException | None = None
        self._done = False
        # Made when somebody waits: most tasks are never waited for.
        self._waiters: list[Callable[[], object]] | None = None

    @property
    def name(self) -> str:
        """As given, or the function's own."""
        name = self._name
        return str(getattr(self.task, "__name__", "task")) if name is None else name

    @property
    def history(self) -> list[Attempt]:
        """The attempts that failed."""
        if self._history is None:  # most never need one
            self._history = []
        return self._history

    # -- the handle --------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether it has ended, one way or another."""
        return self._done

    def cancel(self) -> None:
        """Take it out of the queue, or cancel it if it is `async` and runs.

        A plain function that runs cannot be stopped: it ends, and its result is ignored.
        Idempotent, from any thread.
        """
        if self._cancel is not None:
            self._cancel(self)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for what it returned.

        Raises:
            TimeoutError: it has not ended in time.
            TaskCancelled: it was cancelled.
            Exception: what its last attempt raised.
        """
        if not self._done:
            ended = threading.Event()
            self.when_done(ended.set)
            if not ended.wait(timeout):
                raise TimeoutError(f"{self!r} has not ended after {timeout} s")
        if self._error is not None:
            raise self._error
        return self._result

    def __await__(self) -> Generator[Any, None, Any]:
        return self._awaited().__await__()

    async def _awaited(self) -> Any:
        if not self._done:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()

            def tell() -> None:
                if not future.done():
                    future.set_result(None)

            def call() -> None:
                with contextlib.suppress(RuntimeError):  # a closed loop: nobody waits there
                    loop.call_soon_threadsafe(tell)

            self.when_done(call)
            await future
        return self.result()

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call back when it has ended, or now if it has."""
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(callback)
        if self._done:  # perhaps since a moment ago, and told already
            self._tell()

    # -- what its scheduler does -------------------------------------------------------------

    def succeed(self, result: Any) -> None:
        """It ended well."""
        if not self._done:
            self.state = _DONE
            self._result = result
            self.running = None
            self._done = True
            if self._waiters is not None:
                self._tell()

    def fail(self, error: BaseException) -> None:
        """It will not be tried again."""
        self._end(_FAILED, None, error)

    def give_up(self, why: str) -> None:
        """It was cancelled."""
        self._end(_CANCELLED, None, TaskCancelled(f"{self.name}: {why}"))

    def _end(self, state: str, result: Any, error: BaseException | None) -> None:
        if self._done:
            return
        self.state = state
        self._result = result
        self._error = error
        self.running = None
        self._done = True
        if self._waiters is not None:
            self._tell()

    def _tell(self) -> None:
        waiters = self._waiters
        while waiters:
            try:
                waiter = waiters.pop()
            except IndexError:  # another thread told it
                return
            try:
                waiter()
            except Exception:  # its fault is not the worker's
                logger.exception("who waited for %r raised", self)

    def __repr__(self) -> str:
        tries = f", {self.retry_count} retries" if self.retry_count else ""
        return f"<ScheduledTask {self.name} {self.state}, priority {self.priority:g}{tries}>"
