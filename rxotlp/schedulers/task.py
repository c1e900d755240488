"""`TaskScheduler`: tasks by priority and due time, on bounded workers, tried again on failure.

    tasks = TaskScheduler(max_workers=4)
    handle = tasks.schedule_task(send, priority=3, delay=0.5, retries=2)
    rx.interval(1.0, scheduler=tasks.at(3))

Priority first, then due time, then order of arrival, with ageing: see `_core.priorities`. A
task that is due later keeps none waiting that is due now. What raises is tried again after
a back-off, within a budget; then it is reported with its history, and ends nothing.
"""

import logging
import random
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

from rxotlp._core.backoff import Backoff, RetryBudget
from rxotlp._core.priorities import rank
from rxotlp._core.tasks import Entry, TaskQueue
from rxotlp.errors import PipelineError, without_tracebacks
from rxotlp.schedulers import forks
from rxotlp.schedulers.base import SerialScheduler
from rxotlp.schedulers.scheduled_task import Attempt, ScheduledTask
from rxotlp.schedulers.strand import Strand
from rxotlp.schedulers.task_config import SchedulerConfig, TaskStatistics
from rxotlp.schedulers.workers import ThreadWorkers, TurnWorkers, WorkerPool

__all__ = ["TaskScheduler"]

logger = logging.getLogger("rxotlp")


class TaskScheduler:
    """Runs tasks. See the module.

    Args:
        config: see `SchedulerConfig`.
        max_workers: of the config, for those who need nothing else of it.
        on: a scheduler of rxotlp whose loop and turn run the tasks, and whose time is
            theirs; by default they run on threads of their own.
        on_failure: told of each task that failed for good; its `history` says how.
        seed: makes the jitter repeatable, for tests.
    """

    def __init__(
        self,
        config: SchedulerConfig | None = None,
        *,
        max_workers: int | None = None,
        on: SerialScheduler | None = None,
        on_failure: Callable[[ScheduledTask], object] | None = None,
        seed: int | None = None,
    ) -> None:
        if config is not None and max_workers is not None:
            raise ValueError("TaskScheduler(config, max_workers=...): expected one of the two")
        if config is None:
            config = SchedulerConfig() if max_workers is None else SchedulerConfig(max_workers)
        if not isinstance(config, SchedulerConfig):
            raise TypeError(f"TaskScheduler({config!r}): expected a SchedulerConfig")
        if on is not None and not isinstance(on, SerialScheduler):
            raise TypeError(f"TaskScheduler(on={on!r}): expected a scheduler of rxotlp.schedulers")
        self.config = config
        self.on_failure = on_failure
        self._workers: WorkerPool = (
            ThreadWorkers(config.max_workers) if on is None else TurnWorkers(config.max_workers, on)
        )
        self._queue: TaskQueue[ScheduledTask] = TaskQueue(ageing=config.ageing)
        self._inbox: deque[Entry] = deque()  # handed over without the lock
        self._backoff = Backoff(
            random.Random(seed).random,
            first=config.retry_delay,
            factor=config.retry_factor,
            most=config.max_retry_delay,
            jitter=config.retry_jitter,
        )
        self._budget = RetryBudget(share=config.retry_share, reserve=config.retry_reserve)
        self._lateness: deque[float] = deque(maxlen=1024)
        self._closing = False
        self._done = self._failed = self._cancelled = self._retried = 0
        self._workers.connect(self._take, self._next_due, self._ended)
        forks.watch(self)

    # -- asking ------------------------------------------------------------------------------

    @property
    def clock(self) -> float:
        """Seconds, on the clock that due times are on."""
        return self._workers.now()

    def schedule_task(
        self,
        task: Callable[[], Any],
        priority: float = 0,
        *,
        delay: float = 0.0,
        retries: int | None = None,
        name: str | None = None,
    ) -> ScheduledTask:
        """Run `task()` as soon as it is due and a worker is free. From any thread.

        Args:
            task: plain or `async`. A plain one runs on a worker thread, and may block.
            priority: larger is sooner.
            delay: seconds until it is due, 0 or more.
            retries: how often it is tried again; the config's number by default.
            name: for logs; the function's by default.

        Returns:
            Its handle: `result()`, `await`, `cancel()`.

        Raises:
            TypeError, ValueError: an argument is out of its range.
            PipelineError: the scheduler is shut down.
        """
        if not callable(task):
            raise TypeError(f"schedule_task({task!r}): expected a function without arguments")
        number = type(delay) is float or (type(delay) is not bool and isinstance(delay, int))
        if not number or not 0 <= delay < 1e10:
            raise ValueError(f"schedule_task(delay={delay!r}): expected seconds, 0 or more")
        if retries is not None and (
            isinstance(retries, bool) or not isinstance(retries, int) or retries < 0
        ):
            raise ValueError(f"schedule_task(retries={retries!r}): expected 0 or more")
        now = self._workers.now()
        scheduled = ScheduledTask(
            task,
            priority=priority,
            scheduled_time=now + delay,
            max_retries=self.config.max_retries if retries is None else retries,
            name=name,
            cancel=self._cancel,
        )
        self.add(scheduled, now)
        return scheduled

    def at(self, priority: float) -> Strand:
        """A reactivex scheduler whose actions are tasks of this priority.

        Actions of one such scheduler never overlap and keep their order; those of several
        run at once, as workers are free.
        """
        rank(priority, since=0.0, ageing=1.0)  # or it fails with its first action
        return Strand(self, priority)

    def resize(self, max_workers: int) -> None:
        """Run at most `max_workers` tasks at once from now on. From any thread.

        Fewer stop nothing: what runs ends first.

        Raises:
            ValueError: it is less than 1.
        """
        if isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1:
            raise ValueError(f"resize({max_workers!r}): expected 1 or more; nothing could ever run")
        self._workers.resize(max_workers)

    def statistics(self) -> TaskStatistics:
        """Counts of now."""
        with self._workers.lock:
            self._admit(self._workers.now())
            late = sorted(self._lateness)
            return TaskStatistics(
                queued=len(self._queue),
                running=self._workers.running,
                done=self._done,
                failed=self._failed,
                cancelled=self._cancelled,
                retried=self._retried,
                refused=self._budget.refused,
                lateness={
                    share: late[min(len(late) - 1, int(share * len(late)))]
                    for share in (0.5, 0.9, 0.99)
                    if late
                },
            )

    def shutdown(
        self,
        pending: Literal["run", "cancel", "return"] = "cancel",
        *,
        timeout: float = 5.0,
    ) -> Sequence[ScheduledTask]:
        """Take no more tasks, and end. Idempotent.

        Args:
            pending: what becomes of tasks that wait: "run" runs all of them now, whenever
                they are due; "cancel" cancels them; "return" gives them back as they are.
            timeout: seconds to wait for what runs; on a scheduler of rxotlp nothing is waited
                for, which could be its own turn.

        Returns:
            The tasks that did not run: cancelled or returned ones, and what "run" did not
            get to in time.
        """
        if pending not in ("run", "cancel", "return"):
            raise ValueError(f"shutdown({pending!r}): expected 'run', 'cancel' or 'return'")
        workers = self._workers
        with workers.lock:
            self._closing = True
            now = workers.now()
            self._admit(now)
            left = self._queue.take_all()
            if pending == "run":
                for task in left:
                    task.entry = self._queue.add(task, due=now, priority=task.priority, now=now)
                    workers.look(now, now)
                left = []
        workers.close(timeout, drain=pending == "run")
        if workers.closed:
            with workers.lock:
                self._admit(now)
                left += self._queue.take_all()
        if pending != "return":
            for task in left:
                self._give_up(task, "its scheduler was shut down")
        return left

    # -- what workers call -------------------------------------------------------------------

    def add(self, task: ScheduledTask, now: float) -> None:
        """Let a task wait for its time and its turn; `now` is the time.

        Raises:
            PipelineError: the scheduler is shut down.
        """
        workers = self._workers
        task.entry = entry = self._queue.entry(
            task, due=task.scheduled_time, priority=task.priority
        )
        self._inbox.append(entry)
        if not (workers.attentive or self._closing):
            return
        with workers.lock:
            if self._closing:
                if self._withdraw(entry):
                    raise PipelineError(
                        f"TaskScheduler: {task.name} after shutdown(): nobody is left to run it"
                    )
                return  # the shutdown found it in time, and decided
            try:
                workers.look(task.scheduled_time, now)
            except PipelineError:
                self._withdraw(entry)
                raise

    def _withdraw(self, entry: Entry) -> bool:
        """Under the lock: undo handing over; False when it is past that."""
        inbox = self._inbox
        for at in range(len(inbox)):  # which may grow at its end meanwhile
            if inbox[at] is entry:
                del inbox[at]
                return True
        return False

    def _admit(self, now: float) -> None:
        """Under the lock: queue what was handed over."""
        inbox, put = self._inbox, self._queue.put
        while inbox:
            put(inbox.popleft(), now)

    def _next_due(self) -> float | None:
        if self._inbox:
            self._admit(self._workers.now())
        return self._queue.next_due()

    def _take(self, now: float) -> ScheduledTask | None:
        if self._inbox:
            self._admit(now)
        task = self._queue.take(now)
        while task is not None and task.state != "pending":  # cancelled before it was in the queue
            task = self._queue.take(now)
        if task is not None:
            task.state = "running"
            self._lateness.append(now - task.scheduled_time)
        return task

    def _ended(self, task: ScheduledTask, result: Any, error: BaseException | None) -> None:
        if task.state != "running":  # cancelled meanwhile
            return
        if error is None:
            # Without the lock: nothing is called between reading and writing a state or a count,
            # so no thread comes in between (see CONTRIBUTING).
            task.state = "done"
            self._done += 1
            self._budget.succeeded()
            task.succeed(result)
        elif isinstance(error, CancelledError):
            self._give_up(task, "it was cancelled while it ran")
        else:
            self._raised(task, error)

    def _raised(self, task: ScheduledTask, error: BaseException) -> None:
        workers = self._workers
        try:
            text = f"{type(error).__name__}: {error}"
        except Exception:  # what it says is the task's code too, and ends no worker
            text = type(error).__name__
        task.history.append(Attempt(workers.now(), text))
        with workers.lock:
            if task.state != "running":
                return
            again = (
                isinstance(error, Exception)  # SystemExit and the like mean an end
                and task.retry_count < task.max_retries
                and not self._closing
                and self._budget.take()
            )
            if again:
                task.retry_count += 1
                self._retried += 1
                task.state = "pending"
                now = workers.now()
                due = task.scheduled_time = now + self._backoff.delay(task.retry_count)
                task.entry = self._queue.add(task, due=due, priority=task.priority, now=now)
                workers.look(due, now)
            else:
                task.state = "failed"
                self._failed += 1
        if again:
            return
        logger.error(
            "%s failed for good after %d attempts: %s",
            task.name,
            len(task.history),
            "; ".join(f"at {attempt.at:.3f} s {attempt.error}" for attempt in task.history),
        )
        without_tracebacks(error)  # frames may hold telemetry
        task.fail(error)
        if self.on_failure is not None:
            try:
                self.on_failure(task)
            except Exception:
                logger.exception("on_failure of a TaskScheduler raised")

    def _cancel(self, task: ScheduledTask) -> None:
        with self._workers.lock:
            self._admit(self._workers.now())
            waits = task.entry is not None and self._queue.cancel(task.entry)
            running = None if waits else task.running
        if running is not None:
            running()
        self._give_up(task, "it was cancelled")

    def _give_up(self, task: ScheduledTask, why: str) -> None:
        with self._workers.lock:
            if task.state not in ("pending", "running"):
                return
            task.state = "cancelled"
            self._cancelled += 1
        task.give_up(why)

    def _after_fork(self) -> None:
        """In a forked child: the parent does what waits; workers start when they are needed."""
        self._queue.take_all()  # or cancelling one of the parent's would count here
        self._inbox.clear()
        self._queue = TaskQueue(ageing=self.config.ageing)
        self._workers = self._workers.renewed()
        self._workers.connect(self._take, self._next_due, self._ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        counts = self.statistics()
        return (
            f"<TaskScheduler {self._workers.max_workers} workers, {counts.queued} queued, "
            f"{counts.running} running, {counts.done} done, {counts.failed} failed>"
        )
