"""Tasks: priority, time, retries, cancellation, the end; on threads and in virtual time."""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp.errors import PipelineError
from rxotlp.receipt import Receipt
from rxotlp.schedulers import (
    ScheduledTask,
    SchedulerConfig,
    TaskCancelled,
    TaskScheduler,
    VirtualScheduler,
)
from rxotlp.testing import Recorder, check_scheduler, logs

PATIENCE = 30.0


@pytest.fixture
def clock() -> Iterator[VirtualScheduler]:
    with VirtualScheduler() as virtual:
        yield virtual


def noting(order: list[Any], what: Any) -> Callable[[], None]:
    return lambda: order.append(what)


# -- order, in virtual time ----------------------------------------------------------------------


def test_the_more_important_runs_first_then_the_earlier(clock: VirtualScheduler) -> None:
    """Priority, then due time, then order of arrival."""
    order: list[str] = []
    tasks = TaskScheduler(max_workers=1, on=clock)
    for name, priority in (("low", 0), ("high", 3), ("low too", 0), ("high too", 3)):
        tasks.schedule_task(noting(order, name), priority)
    clock.advance_by(0)
    assert order == ["high", "high too", "low", "low too"]


def test_a_task_that_is_due_later_keeps_nobody_waiting(clock: VirtualScheduler) -> None:
    """However important it is: the original stopped at the head of its one queue."""
    order: list[str] = []
    tasks = TaskScheduler(max_workers=1, on=clock)
    tasks.schedule_task(noting(order, "tomorrow"), 9, delay=86_400)
    tasks.schedule_task(noting(order, "now"))
    clock.advance_by(0)
    assert order == ["now"]
    clock.advance_by(86_400)
    assert order == ["now", "tomorrow"]


class Original:
    """What the analysis describes: one queue, its head looked at every 100 ms."""

    def __init__(self, clock: VirtualScheduler) -> None:
        self.queue: list[tuple[float, Callable[[], None]]] = []
        clock.schedule_periodic(0.1, lambda _: self.look(clock.clock))

    def look(self, now: float) -> None:
        while self.queue and self.queue[0][0] <= now:
            self.queue.pop(0)[1]()


def test_the_original_would_have_kept_it_waiting(clock: VirtualScheduler) -> None:
    """And been late by its polling besides."""
    order: list[str] = []
    original = Original(clock)
    original.queue.append((50.0, noting(order, "later")))
    original.queue.append((0.0, noting(order, "now")))
    clock.advance_by(49)
    assert order == []  # the task that was due at once has not run


def test_workers_are_bounded_and_coroutines_wait_in_virtual_time(clock: VirtualScheduler) -> None:
    """Two at once, ten seconds each, five of them."""
    running, most = [0], [0]

    async def work() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(10)
        running[0] -= 1

    tasks = TaskScheduler(max_workers=2, on=clock)
    handles = [tasks.schedule_task(work) for _ in range(5)]
    clock.run()
    assert clock.clock == 30
    assert most == [2]
    assert all(handle.state == "done" for handle in handles)


def test_the_least_important_runs_under_saturation(clock: VirtualScheduler) -> None:
    """Within (priority difference) x ageing of falling due, as `_core.priorities` says."""
    tasks = TaskScheduler(SchedulerConfig(max_workers=1, ageing=2.0), on=clock)
    began: list[float] = []

    async def second() -> None:
        await asyncio.sleep(1)

    def load(_: Any) -> None:
        tasks.schedule_task(second, 3)

    clock.schedule_periodic(1.0, load)
    clock.advance_by(3.5)
    asked = clock.clock
    tasks.schedule_task(lambda: began.append(clock.clock), 0)
    clock.advance_by(60)
    assert began
    assert began[0] - asked <= 3 * 2.0 + 2


# -- failures ------------------------------------------------------------------------------------


def test_what_raises_is_tried_again_after_a_growing_delay(clock: VirtualScheduler) -> None:
    """And its handle gives what came in the end."""
    config = SchedulerConfig(
        max_workers=1, max_retries=3, retry_delay=1, retry_factor=2, retry_jitter=0
    )
    tasks = TaskScheduler(config, on=clock)
    at: list[float] = []

    def flaky() -> str:
        at.append(clock.clock)
        if len(at) < 4:
            raise ConnectionError(f"attempt {len(at)}")
        return "sent"

    handle = tasks.schedule_task(flaky)
    clock.run()
    assert at == [0, 1, 3, 7]
    assert handle.result() == "sent"
    assert handle.retry_count == 3
    assert [attempt.error for attempt in handle.history] == [
        f"ConnectionError: attempt {number}" for number in (1, 2, 3)
    ]
    assert tasks.statistics().retried == 3


def test_what_fails_for_good_is_reported_with_its_history_and_ends_nothing(
    clock: VirtualScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    """The reader of the log was not there."""
    failed: list[ScheduledTask] = []
    tasks = TaskScheduler(
        SchedulerConfig(max_workers=1, retry_jitter=0), on=clock, on_failure=failed.append
    )
    order: list[str] = []

    def send() -> None:
        raise ValueError("no such host")

    handle = tasks.schedule_task(send, retries=1, name="send the report")
    tasks.schedule_task(noting(order, "next"), delay=5)
    with caplog.at_level(logging.ERROR, "rxotlp"):
        clock.run()
    assert failed == [handle]
    assert order == ["next"]
    with pytest.raises(ValueError, match="no such host"):
        handle.result()
    (line,) = caplog.messages
    assert line.startswith("send the report failed for good after 2 attempts: at ")
    assert line.count("ValueError: no such host") == 2


def test_a_budget_bounds_retries(clock: VirtualScheduler) -> None:
    """A hundred tasks that all fail must not become four hundred."""
    config = SchedulerConfig(max_workers=1, max_retries=3, retry_reserve=10, retry_share=0)
    tasks = TaskScheduler(config, on=clock)

    def fails() -> None:
        raise ValueError

    for _ in range(100):
        tasks.schedule_task(fails)
    clock.run()
    counts = tasks.statistics()
    assert (counts.retried, counts.failed) == (10, 100)
    assert counts.refused == 100


# -- cancellation --------------------------------------------------------------------------------


def test_a_cancelled_task_never_runs(clock: VirtualScheduler) -> None:
    """Whether it is due or not."""
    order: list[str] = []
    tasks = TaskScheduler(max_workers=1, on=clock)
    handles = [
        tasks.schedule_task(noting(order, "due")),
        tasks.schedule_task(noting(order, "later"), delay=5),
    ]
    for handle in handles:
        handle.cancel()
        handle.cancel()
    clock.run()
    assert order == []
    assert clock.clock == 0
    assert tasks.statistics().cancelled == 2
    with pytest.raises(TaskCancelled, match="it was cancelled"):
        handles[0].result()


def test_a_running_coroutine_is_cancelled(clock: VirtualScheduler) -> None:
    """It is told, and its worker is free for the next."""
    told: list[float] = []

    async def long() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            told.append(clock.clock)

    tasks = TaskScheduler(max_workers=1, on=clock)
    handle = tasks.schedule_task(long)
    after = tasks.schedule_task(lambda: clock.clock)
    clock.advance_by(5)
    handle.cancel()
    clock.advance_by(0)
    assert told == [5]
    assert handle.state == "cancelled"
    assert after.result(0) == 5


# -- threads -------------------------------------------------------------------------------------


def test_plain_tasks_block_no_other_worker() -> None:
    """That is what the pool is for."""
    with TaskScheduler(max_workers=2) as tasks:
        go = threading.Event()
        blocked = tasks.schedule_task(lambda: go.wait(PATIENCE))
        tasks.schedule_task(go.set)
        assert blocked.result(PATIENCE) is True


def test_coroutines_run_on_threads_too() -> None:
    """On one loop that they share."""

    async def seven() -> int:
        await asyncio.sleep(0)
        return 7

    with TaskScheduler(max_workers=2) as tasks:
        assert tasks.schedule_task(seven).result(PATIENCE) == 7

        async def main() -> int:
            result: int = await tasks.schedule_task(seven)
            return result

        assert asyncio.run(main()) == 7


def test_a_thousand_tasks_from_eight_threads_all_run() -> None:
    """Once each."""
    ran: list[int] = []
    with TaskScheduler(max_workers=4) as tasks:
        handles: list[ScheduledTask] = []

        def add(thread: int) -> None:
            for number in range(125):
                task = noting(ran, thread * 1000 + number)
                handles.append(tasks.schedule_task(task, number % 4, delay=number % 3 / 1000))

        threads = [threading.Thread(target=add, args=(at,)) for at in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for handle in handles:
            handle.result(PATIENCE)
    assert sorted(ran) == sorted(at * 1000 + number for at in range(8) for number in range(125))


def test_a_sleeping_worker_wakes_for_an_earlier_task() -> None:
    """It sleeps until the next task is due, and the next one may come after it went to sleep."""
    with TaskScheduler(max_workers=1) as tasks:
        tasks.schedule_task(lambda: None, delay=60)
        time.sleep(0.05)
        assert tasks.schedule_task(lambda: "early", delay=0.02).result(PATIENCE) == "early"


def test_an_idle_scheduler_uses_no_processor_time() -> None:
    """Event-driven: the original polled ten times a second."""
    with TaskScheduler(max_workers=4) as tasks:
        tasks.schedule_task(lambda: None, delay=60)
        tasks.schedule_task(lambda: None).result(PATIENCE)
        least = 1.0
        for _ in range(5):  # others in this process may be busy once
            before, began = time.process_time(), time.monotonic()
            time.sleep(0.1)
            least = min(least, (time.process_time() - before) / (time.monotonic() - began))
        assert least < 0.2


variable: ContextVar[str] = ContextVar("variable", default="unset")


def test_tasks_run_in_the_context_they_were_scheduled_in(clock: VirtualScheduler) -> None:
    """Instrumentation and suppression travel in context variables."""
    seen: list[str] = []

    async def read() -> None:
        await asyncio.sleep(0)
        seen.append(variable.get())

    with TaskScheduler(max_workers=1) as threads:
        for tasks in (threads, TaskScheduler(max_workers=1, on=clock)):
            token = variable.set("mine")
            plain = tasks.schedule_task(lambda: seen.append(variable.get()))
            awaited = tasks.schedule_task(read)
            variable.reset(token)
            clock.run()
            plain.result(PATIENCE)
            awaited.result(PATIENCE)
    assert seen == ["mine"] * 4


# -- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pending", ["run", "cancel", "return"])
def test_the_end_does_with_what_waits_as_asked(pending: Any) -> None:
    """Run, cancelled or given back: nothing is lost without being told."""
    ran: list[str] = []
    tasks = TaskScheduler(max_workers=1)
    go, started = threading.Event(), threading.Event()

    def first() -> None:
        started.set()
        go.wait(PATIENCE)
        ran.append("first")

    tasks.schedule_task(first)
    assert started.wait(PATIENCE)
    waiting = [
        tasks.schedule_task(noting(ran, "second")),
        tasks.schedule_task(noting(ran, "tomorrow"), delay=86_400),
    ]
    threading.Timer(0.05, go.set).start()
    left = tasks.shutdown(pending, timeout=PATIENCE)
    if pending == "run":
        assert ran == ["first", "second", "tomorrow"]
        assert left == []
    else:
        assert ran == ["first"]
        assert left == waiting
        state = "cancelled" if pending == "cancel" else "pending"
        assert [task.state for task in waiting] == [state, state]
    assert tasks.shutdown() == []
    with pytest.raises(PipelineError, match="after shutdown"):
        tasks.schedule_task(lambda: None)


def test_statistics_say_how_late_tasks_were(clock: VirtualScheduler) -> None:
    """Lateness is the first sign of too few workers."""
    tasks = TaskScheduler(max_workers=1, on=clock)

    async def second() -> None:
        await asyncio.sleep(1)

    for _ in range(10):
        tasks.schedule_task(second)
    clock.advance_by(0.5)
    assert (tasks.statistics().queued, tasks.statistics().running) == (9, 1)
    clock.run()
    counts = tasks.statistics()
    assert (counts.done, counts.queued, counts.running) == (10, 0, 0)
    assert counts.lateness == pytest.approx({0.5: 5.0, 0.9: 9.0, 0.99: 9.0})


def test_a_forked_child_starts_empty_with_workers_of_its_own() -> None:
    """What waits is the parent's to do, and the child's tasks run."""
    go = threading.Event()
    ran: list[str] = []
    with TaskScheduler(max_workers=1) as tasks:
        strand = tasks.at(1)
        strand.schedule(lambda *_: ran.append(str(go.wait(PATIENCE))))
        tasks.schedule_task(noting(ran, "parent"))
        with tasks._workers.lock:  # somebody is in the middle of asking
            child = os.fork()
            if not child:
                code = 1
                try:
                    asked = threading.Event()
                    tasks.at(2).schedule(lambda *_: asked.set())
                    good = tasks.schedule_task(lambda: 7).result(PATIENCE) == 7
                    strand.schedule(lambda *_: ran.append("child"))
                    tasks.shutdown("run")
                    code = 0 if good and asked.is_set() and ran == ["child"] else 2
                finally:
                    os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        go.set()
        tasks.shutdown("run", timeout=PATIENCE)
    assert ran == ["True", "parent"]


# -- as a reactivex scheduler --------------------------------------------------------------------


@contextlib.contextmanager
def a_strand() -> Iterator[Any]:
    with TaskScheduler(max_workers=4) as tasks:
        yield tasks.at(3)


def test_a_view_keeps_the_rules_of_schedulers() -> None:
    """Operators and reactivex's own run on it."""
    check_scheduler(a_strand)


def test_our_operators_and_reactivexs_run_on_it() -> None:
    """With priorities among pipelines of one process."""
    sink = Recorder()
    ended = threading.Event()
    with TaskScheduler(max_workers=2) as tasks:
        receipts = [Receipt() for _ in range(20)]
        elements = [receipt.attach(logs([at])) for at, receipt in enumerate(receipts)]

        def take(_: int) -> Any:
            return elements.pop(0)

        rx.interval(0.001, scheduler=tasks.at(3)).pipe(
            rx_ops.take(20),
            rx_ops.map(take),
            ops.batch(max_items=4, max_delay=60, scheduler=tasks.at(1)),
            ops.export(sink, scheduler=tasks.at(0)),
        ).subscribe(on_completed=ended.set)
        assert ended.wait(PATIENCE)
    assert sink.ids == list(range(20))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SchedulerConfig(max_workers=0), "SchedulerConfig(max_workers=0)"),
        (lambda: SchedulerConfig(max_workers=2.5), "SchedulerConfig(max_workers=2.5)"),  # type: ignore[arg-type]
        (lambda: SchedulerConfig(max_retries=1.5), "SchedulerConfig(max_retries=1.5)"),  # type: ignore[arg-type]
        (lambda: SchedulerConfig(retry_share=float("nan")), "SchedulerConfig(retry_share=nan)"),
        (lambda: SchedulerConfig(retry_delay=float("inf")), "SchedulerConfig(retry_delay=inf)"),
        (lambda: SchedulerConfig(ageing=float("inf")), "SchedulerConfig(ageing=inf)"),
        (lambda: SchedulerConfig(ageing=0), "SchedulerConfig(ageing=0)"),
        (lambda: SchedulerConfig(retry_jitter=2), "retry_jitter=2"),
        (lambda: TaskScheduler(SchedulerConfig(), max_workers=2), "one of the two"),
        (lambda: TaskScheduler(on="loop"), "on='loop'"),  # type: ignore[arg-type]
        (lambda: TaskScheduler().schedule_task(5), "schedule_task(5)"),  # type: ignore[arg-type]
        (lambda: TaskScheduler().schedule_task(print, delay=-1), "delay=-1"),
        (lambda: TaskScheduler().schedule_task(print, retries=-1), "retries=-1"),
        (lambda: TaskScheduler().at(float("nan")), "priority nan"),
        (lambda: TaskScheduler().shutdown("later"), "shutdown('later')"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_fail_where_they_are_written(make: Callable[[], Any], text: str) -> None:
    """With call, value and range."""
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert text in str(caught.value)
