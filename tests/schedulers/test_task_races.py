"""What threads and bad moments may do to a `TaskScheduler`: nothing is lost, no worker dies."""

import asyncio
import contextlib
import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from reactivex import abc

from rxotlp.errors import PipelineError
from rxotlp.schedulers import (
    AsyncScheduler,
    ScheduledTask,
    SchedulerConfig,
    SerialScheduler,
    SyncScheduler,
    TaskCancelled,
    TaskScheduler,
    VirtualScheduler,
)

PATIENCE = 30.0


@pytest.fixture
def clock() -> Iterator[VirtualScheduler]:
    with VirtualScheduler() as virtual:
        yield virtual


@pytest.mark.parametrize("delay", [0.0, 0.01])
def test_a_second_task_does_not_wait_for_the_first_one_to_end(delay: float) -> None:
    """One idle worker was called twice: both calls reached it, and the second task nobody."""
    for _ in range(20):
        go, ran = threading.Event(), threading.Event()
        with TaskScheduler(max_workers=3) as tasks:
            tasks.schedule_task(lambda: None).result(PATIENCE)  # its worker is idle now
            blocks = tasks.schedule_task(lambda go=go: go.wait(PATIENCE))  # type: ignore[misc]
            tasks.schedule_task(ran.set, delay=delay)
            assert ran.wait(PATIENCE / 3)
            assert not blocks.done
            go.set()


def test_who_waited_in_a_loop_that_is_closed_ends_no_worker() -> None:
    """A program gives up waiting and ends its loop; the scheduler's other tasks still run."""
    go = threading.Event()
    with TaskScheduler(max_workers=1) as tasks:
        slow = tasks.schedule_task(lambda: go.wait(PATIENCE))

        async def impatient() -> None:
            await asyncio.wait_for(slow, 0.01)

        with pytest.raises(TimeoutError):
            asyncio.run(impatient())
        go.set()
        assert tasks.schedule_task(lambda: 7).result(PATIENCE) == 7


def test_a_waiter_that_raises_ends_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next waiter hears all the same."""
    heard = threading.Event()

    def fails() -> None:
        raise LookupError("mine")

    go = threading.Event()
    with TaskScheduler(max_workers=1) as tasks:
        task = tasks.schedule_task(lambda: go.wait(PATIENCE))
        task.when_done(heard.set)
        task.when_done(fails)
        go.set()
        assert heard.wait(PATIENCE)
        assert tasks.schedule_task(lambda: 7).result(PATIENCE) == 7
    assert "LookupError: mine" in caplog.text


def test_an_error_that_cannot_say_what_it_is_ends_no_worker() -> None:
    """Its `__str__` is the task's code too."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    def fails() -> None:
        raise Mute

    with TaskScheduler(max_workers=1) as tasks:
        failing = tasks.schedule_task(fails)
        with pytest.raises(Mute):
            failing.result(PATIENCE)
        assert failing.history[0].error == "Mute"
        assert tasks.schedule_task(lambda: 7).result(PATIENCE) == 7


def test_a_task_that_shuts_down_does_not_wait_for_itself() -> None:
    """It would wait for the whole timeout."""
    tasks = TaskScheduler(max_workers=2)
    ends = tasks.schedule_task(lambda: tasks.shutdown(timeout=PATIENCE))
    assert list(ends.result(PATIENCE / 2)) == []


def test_what_is_cancelled_as_it_fails_is_not_tried_again(clock: VirtualScheduler) -> None:
    """The handle says cancelled, so it must not run."""
    runs = []
    tasks = TaskScheduler(SchedulerConfig(max_workers=1, max_retries=3), on=clock)

    def fails() -> None:
        runs.append(1)
        raise OSError

    task = tasks.schedule_task(fails)
    clock.advance_by(0)
    task.give_up("cancelled after the scheduler had looked, before it queued it again")
    clock.advance_by(60)
    assert runs == [1]
    with pytest.raises(TaskCancelled):
        task.result(0)


def test_tasks_that_ask_for_tasks_leave_the_schedulers_others_their_turn(
    clock: VirtualScheduler,
) -> None:
    """An export on the same scheduler would never run again."""
    tasks = TaskScheduler(max_workers=1, on=clock)
    stop = False

    def again() -> None:
        if not stop:
            tasks.schedule_task(again)

    def ends(*_: Any) -> None:
        nonlocal stop
        stop = True

    tasks.schedule_task(again)
    clock.post(ends)
    clock.advance_by(0)
    assert stop
    assert tasks.statistics().queued == 0


def test_no_task_is_handed_over_to_workers_that_sleep() -> None:
    """Who asks takes no lock while all are busy: the one that lies down meanwhile must see it."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    late: list[object] = []
    try:
        for workers in (1, 2, 3) * 4:
            with TaskScheduler(max_workers=workers) as tasks:

                def ask(seed: int, tasks: TaskScheduler = tasks) -> None:
                    chance = random.Random(seed)
                    for _ in range(20):
                        delays = [
                            chance.choice((0, 0, 5e-4, 2e-3)) for _ in range(chance.randint(1, 6))
                        ]
                        asked = [tasks.schedule_task(int, delay=delay) for delay in delays]
                        try:
                            for task in asked:
                                task.result(PATIENCE)
                        except TimeoutError as error:
                            late.append(error)

                threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert late == []


@pytest.mark.parametrize("pending", ["run", "cancel", "return"])
def test_who_asks_while_it_is_shut_down_is_told_or_served(pending: Any) -> None:
    """A task that is handed over just then must be run, cancelled, returned or refused."""
    for _ in range(30):
        tasks = TaskScheduler(max_workers=2)
        asked: list[ScheduledTask] = []

        def ask(tasks: TaskScheduler = tasks, asked: list[ScheduledTask] = asked) -> None:
            with contextlib.suppress(PipelineError):
                while True:
                    asked.append(tasks.schedule_task(int))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        returned = set(map(id, tasks.shutdown(pending, timeout=PATIENCE)))
        for thread in threads:
            thread.join()
        assert all(task.done or id(task) in returned for task in asked)
        assert tasks.statistics().queued == 0


# -- strands -------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0, 62, 63, 64, 127])
def test_a_timer_that_a_strands_last_action_arms_rings(
    clock: VirtualScheduler, others: int
) -> None:
    """It ends after 64 actions, whether or not it has looked at what the last one armed."""
    rang = []
    strand = TaskScheduler(max_workers=1, on=clock).at(1)

    def arm(scheduler: abc.SchedulerBase, _state: Any) -> None:
        scheduler.schedule_relative(1.0, lambda *_: rang.append("ring"))

    for _ in range(others):
        strand.schedule(lambda *_: None)
    strand.schedule(arm)
    clock.advance_by(2)
    assert rang == ["ring"]


def test_timers_armed_by_many_threads_all_ring() -> None:
    """A strand that is about to end must see what is armed in that moment."""
    count, each = 4, 400
    rang: list[int] = []
    all_rang = threading.Event()

    def ring(*_: Any) -> None:
        rang.append(1)
        if len(rang) == count * each:
            all_rang.set()

    with TaskScheduler(max_workers=3) as tasks:
        strand = tasks.at(1)

        def arm() -> None:
            for number in range(each):
                strand.schedule_relative(0.001 * (number % 3), ring)

        threads = [threading.Thread(target=arm) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all_rang.wait(PATIENCE)


def test_a_strand_has_one_task_also_after_one_came_too_late_to_be_cancelled() -> None:
    """Else each such moment left one more task, which asked for another for ever."""
    with VirtualScheduler() as clock:
        tasks = TaskScheduler(max_workers=2, on=clock)
        strand = tasks.at(1)
        strand.schedule_relative(5.0, lambda *_: None)
        late = strand._task
        assert late is not None
        strand.schedule_relative(1.0, lambda *_: None)  # cancels it for a sooner one
        late.task()  # as a worker does that took it just before
        assert tasks.statistics().queued == 1
        clock.advance_by(3.0)
        assert tasks.statistics().queued == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda strand: strand.schedule(lambda *_: None),
        lambda strand: strand.schedule_relative(1.0, lambda *_: None),
    ],
)
@pytest.mark.parametrize("waits", [True, False])
def test_a_strand_refuses_whatever_comes_after_the_end(
    ask: Callable[[Any], object], waits: bool
) -> None:
    """What is taken and never run would be lost without a word."""
    tasks = TaskScheduler(max_workers=1)
    strand = tasks.at(1)
    if waits:
        strand.schedule_relative(60.0, lambda *_: None)
    tasks.shutdown()
    for _ in range(2):
        with pytest.raises(PipelineError, match="after shutdown"):
            ask(strand)


# -- on a scheduler of ours ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_eight_threads_ask_a_scheduler_that_works(kind: str) -> None:
    """A thousand tasks, plain and `async`, half of which nobody wants any more meanwhile."""
    ran: list[int] = []
    asked: list[ScheduledTask] = []

    async def waits(number: int) -> None:
        await asyncio.sleep(0)
        ran.append(number)

    def ask(tasks: TaskScheduler, thread: int) -> None:
        for number in range(thread * 125, thread * 125 + 125):
            do = (lambda n=number: waits(n)) if number % 3 else (lambda n=number: ran.append(n))
            task = tasks.schedule_task(do, number % 4, delay=(number % 5) / 1000)
            asked.append(task)
            if number % 2:
                task.cancel()

    def work(scheduler: SerialScheduler) -> None:
        tasks = TaskScheduler(max_workers=3, on=scheduler)
        threads = [threading.Thread(target=ask, args=(tasks, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        for task in asked:
            with contextlib.suppress(TaskCancelled):
                task.result(PATIENCE)
        counts = tasks.statistics()
        assert counts.done + counts.cancelled == 1_000
        assert (counts.queued, counts.running, counts.failed) == (0, 0, 0)

    if kind == "sync":
        with SyncScheduler() as sync:
            work(sync)
    else:

        async def main() -> None:
            async with AsyncScheduler(asyncio.get_running_loop()) as scheduler:
                await asyncio.to_thread(work, scheduler)

        asyncio.run(main())
    assert len(set(ran)) == len(ran) >= 500


def test_every_task_ends_once_in_the_books_however_many_cancel_it() -> None:
    """Counts that do not add up look like tasks that were lost, or run twice."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        tasks = TaskScheduler(SchedulerConfig(max_workers=4, max_retries=1, retry_delay=1e-4))
        handles: list[ScheduledTask] = []

        async def awaits() -> None:
            await asyncio.sleep(0)

        def fails() -> None:
            raise LookupError

        def asks() -> None:
            for number in range(200):
                kinds: list[Callable[[], Any]] = [awaits, fails, int]
                handles.append(tasks.schedule_task(kinds[number % 3], priority=number % 5))

        def cancels(dice: random.Random) -> None:
            for _ in range(3000):
                if handles:
                    handles[dice.randrange(len(handles))].cancel()

        threads = [threading.Thread(target=asks) for _ in range(4)]
        threads += [threading.Thread(target=cancels, args=(random.Random(7),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert tasks.shutdown("run", timeout=PATIENCE) == []
    finally:
        sys.setswitchinterval(before)
    counts = tasks.statistics()
    by_state = [sum(one.state == state for one in handles) for state in ("done", "failed")]
    assert all(one.done for one in handles)
    assert [counts.done, counts.failed] == by_state
    assert counts.done + counts.failed + counts.cancelled == len(handles) == 800


@pytest.mark.parametrize("pending", ["run", "cancel", "return"])
def test_what_a_shutdown_cancels_has_not_failed(
    pending: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be logged as an error at every stop, and tried again where there are retries."""
    runs = threading.Event()
    tasks = TaskScheduler(SchedulerConfig(max_workers=1, max_retries=3))

    async def forever() -> None:
        runs.set()
        await asyncio.Event().wait()

    task = tasks.schedule_task(forever)
    assert runs.wait(PATIENCE)
    tasks.shutdown(pending, timeout=0.01)
    with pytest.raises(TaskCancelled):
        task.result(PATIENCE)
    counts = tasks.statistics()
    assert (counts.cancelled, counts.failed, counts.retried) == (1, 0, 0)
    assert "failed for good" not in caplog.text


def test_what_would_end_a_program_is_reported_and_ends_no_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`sys.exit()` deep in a library would make a task fail without a word."""
    told: list[ScheduledTask] = []

    def exits(*_: object) -> Any:
        raise SystemExit(3)

    config = SchedulerConfig(max_workers=1, max_retries=2)
    with TaskScheduler(config, on_failure=told.append) as tasks:
        task = tasks.schedule_task(exits)
        with pytest.raises(SystemExit):
            task.result(PATIENCE)
        strand, ran = tasks.at(1), threading.Event()
        strand.schedule(exits)
        strand.schedule(lambda *_: ran.set())
        assert ran.wait(PATIENCE)
        assert tasks.schedule_task(lambda: 7).result(PATIENCE) == 7
        assert strand.errors == 1
        assert (tasks.statistics().failed, tasks.statistics().retried) == (1, 0)
    assert told == [task]
    assert [attempt.error for attempt in task.history] == ["SystemExit: 3"]
    assert "exits failed for good" in caplog.text


def test_an_interrupt_reaches_the_program(clock: VirtualScheduler) -> None:
    """Control-C while a task runs in the program's own thread must end the program."""

    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    tasks = TaskScheduler(max_workers=1, on=clock)
    task = tasks.schedule_task(interrupted)
    after = tasks.schedule_task(lambda: 7)
    with pytest.raises(KeyboardInterrupt):
        clock.run()
    assert task.state == "failed"
    clock.run()
    assert after.result() == 7
    tasks.at(1).schedule(interrupted)
    with pytest.raises(KeyboardInterrupt):
        clock.run()
