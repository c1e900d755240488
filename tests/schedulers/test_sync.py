"""The synchronous scheduler: threads, its worker, and the end of both."""

import gc
import os
import queue
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rxotlp.schedulers import SyncScheduler
from rxotlp.schedulers.executor import BUDGET

PATIENCE = 30.0


@pytest.fixture
def scheduler() -> Iterator[SyncScheduler]:
    """A scheduler that is closed in the end."""
    with SyncScheduler() as made:
        yield made


def test_a_timer_fires_on_the_worker_while_its_caller_is_idle(scheduler: SyncScheduler) -> None:
    """An idle caller must not keep a batch from ageing."""
    fired: queue.SimpleQueue[str] = queue.SimpleQueue()
    scheduler.schedule_relative(0.01, lambda *_: fired.put(threading.current_thread().name))
    assert fired.get(timeout=PATIENCE) == "rxotlp-worker"


def test_an_earlier_timer_wakes_the_worker_from_a_longer_sleep(scheduler: SyncScheduler) -> None:
    """The worker sleeps until the first timer that it knows of."""
    fired: queue.SimpleQueue[int] = queue.SimpleQueue()
    scheduler.schedule_relative(1000.0, lambda *_: None)
    time.sleep(0.02)
    scheduler.schedule_relative(0.01, lambda *_: fired.put(1))
    assert fired.get(timeout=PATIENCE) == 1


def test_a_timer_that_falls_due_while_a_caller_is_busy_runs_after_its_action(
    scheduler: SyncScheduler,
) -> None:
    """The worker hands a due timer to whoever has the turn, and does not spin meanwhile."""
    ran: list[str] = []

    def busy(*_: Any) -> None:
        scheduler.schedule_relative(0.0, lambda *_: ran.append("timer"))
        time.sleep(0.05)
        ran.append("busy")

    scheduler.schedule(busy)
    assert scheduler.wait_for(lambda: len(ran) == 2, timeout=PATIENCE)
    assert ran == ["busy", "timer"]


def test_a_wall_clock_set_back_does_not_stop_timers(
    scheduler: SyncScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch must leave even on the night when the clocks change."""
    before = scheduler.now
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real - 3600)
    monkeypatch.setattr(time, "time_ns", lambda: int((real - 3600) * 1e9))
    assert before <= scheduler.now < before + timedelta(seconds=PATIENCE)
    fired: queue.SimpleQueue[int] = queue.SimpleQueue()
    scheduler.schedule_relative(0.01, lambda *_: fired.put(1))
    scheduler.schedule_absolute(scheduler.now + timedelta(seconds=0.01), lambda *_: fired.put(2))
    assert fired.get(timeout=PATIENCE) + fired.get(timeout=PATIENCE) == 3
    # Telemetry, on the other hand, says what the wall clock says.
    assert scheduler.timestamp_ns() == int((real - 3600) * 1e9)


def test_now_is_the_wall_clock_while_nobody_sets_it(scheduler: SyncScheduler) -> None:
    """`schedule_absolute` takes ordinary datetimes."""
    assert abs(scheduler.now - datetime.now(UTC)) < timedelta(seconds=10)


def test_threads_lose_nothing_overlap_never_and_keep_their_order(threaded_rig: Any) -> None:
    """Sources and exporters call from many threads; the pipeline needs no lock of its own."""
    scheduler = threaded_rig.scheduler
    threads, each = 8, 10_000
    seen: list[list[int]] = [[] for _ in range(threads)]
    running = overlaps = done = 0

    def action(_scheduler: Any, state: tuple[int, int]) -> None:
        nonlocal running, overlaps, done
        running += 1
        overlaps += running > 1
        seen[state[0]].append(state[1])
        done += 1
        running -= 1

    def produce(thread: int) -> None:
        for n in range(each):
            scheduler.schedule(action, (thread, n))

    producers = [threading.Thread(target=produce, args=(n,)) for n in range(threads)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
    threaded_rig.until(lambda: done == threads * each)
    assert overlaps == 0
    assert all(numbers == list(range(each)) for numbers in seen)


def test_threads_that_mix_posts_timers_and_actions_strand_nothing(threaded_rig: Any) -> None:
    """The last action of a burst has no later one that would find it."""
    scheduler = threaded_rig.scheduler
    done = 0

    def count(*_: Any) -> None:
        nonlocal done
        done += 1

    def produce() -> None:
        for _ in range(20):
            scheduler.post(count)
            scheduler.schedule(count)
            scheduler.schedule_relative(0.0, count)

    for burst in range(1, 51):
        producers = [threading.Thread(target=produce) for _ in range(3)]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.join()
        threaded_rig.until(lambda burst=burst: done == 180 * burst)


def test_a_caller_runs_at_most_64_actions_of_others_and_hands_over(
    scheduler: SyncScheduler,
) -> None:
    """A thread that emits one element must not be kept for everybody else's for ever."""
    ran_on: list[str] = []
    entered, filled = threading.Event(), threading.Event()

    def own(*_: Any) -> None:
        entered.set()
        assert filled.wait(PATIENCE)

    def others() -> None:
        assert entered.wait(PATIENCE)
        for _ in range(3 * BUDGET):
            scheduler.schedule(lambda *_: ran_on.append(threading.current_thread().name))
        filled.set()

    other = threading.Thread(target=others)
    other.start()
    caller = threading.Thread(target=scheduler.schedule, args=(own,), name="caller")
    caller.start()
    caller.join()
    other.join()
    assert scheduler.wait_for(lambda: len(ran_on) == 3 * BUDGET, timeout=PATIENCE)
    assert ran_on[:BUDGET] == ["caller"] * BUDGET
    assert "caller" not in ran_on[BUDGET:]


def test_no_lock_is_held_while_an_action_runs(scheduler: SyncScheduler) -> None:
    """An action that waits for a thread that schedules must not deadlock."""
    order: list[str] = []

    def action(*_: Any) -> None:
        def schedule() -> None:
            scheduler.schedule(lambda *_: order.append("other"))
            scheduler.schedule_relative(0.0, lambda *_: order.append("timer"))
            scheduler.post(lambda: order.append("posted"))

        other = threading.Thread(target=schedule)
        other.start()
        other.join(PATIENCE)
        assert not other.is_alive()
        order.append("action")

    scheduler.schedule(action)
    assert scheduler.wait_for(lambda: len(order) == 4, timeout=PATIENCE)
    assert order[0] == "action"


class Dying:
    """Posts when it is collected, as a share does."""

    def __init__(self, inbox: Any, action: Any) -> None:
        self._inbox, self._action = inbox, action

    def __del__(self) -> None:
        self._inbox.put(self._action)


def test_a_finalizer_may_post_while_its_thread_holds_the_schedulers_locks(
    scheduler: SyncScheduler,
) -> None:
    """A finalizer runs between any two instructions; waiting there would be for ever."""
    ran: list[int] = []
    dying = [Dying(scheduler.inbox, lambda: ran.append(1))]
    with scheduler._starting:
        scheduler._turn.acquire()
        dying.clear()
        scheduler._let_go()
    scheduler.schedule(lambda *_: None)
    assert scheduler.wait_for(lambda: ran == [1], timeout=PATIENCE)


def test_finalizers_at_every_point_of_the_scheduler_are_heard(threaded_rig: Any) -> None:
    """With a collection at nearly every allocation they run inside the scheduler itself."""
    scheduler = threaded_rig.scheduler
    inbox = scheduler.inbox
    deaths = 0

    def died() -> None:
        nonlocal deaths
        deaths += 1

    def leave_a_cycle(*_: Any) -> None:
        dying: Any = Dying(inbox, died)
        dying.itself = dying

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(300):
            scheduler.schedule(leave_a_cycle)
            scheduler.post(leave_a_cycle)
            scheduler.schedule_relative(0.0, leave_a_cycle)
            scheduler.schedule_relative(1000.0, leave_a_cycle).dispose()
    finally:
        gc.set_threshold(*before)

    def all_dead() -> bool:
        gc.collect()
        return deaths == 900

    threaded_rig.until(all_dead)


def test_wait_for_runs_what_is_due_and_returns_when_the_predicate_holds(
    scheduler: SyncScheduler,
) -> None:
    """A pull source waits for credit that actions give back."""
    credit = 0

    def settle(*_: Any) -> None:
        nonlocal credit
        credit += 1

    for n in range(5):
        scheduler.schedule_relative(0.002 * n, settle)
    assert scheduler.wait_for(lambda: credit == 5, timeout=PATIENCE)


def test_wait_for_sees_what_changed_outside_any_action(scheduler: SyncScheduler) -> None:
    """Not every state is the scheduler's."""
    changed = threading.Event()
    threading.Timer(0.02, changed.set).start()
    assert scheduler.wait_for(changed.is_set, timeout=PATIENCE)


def test_wait_for_gives_up_after_its_timeout(scheduler: SyncScheduler) -> None:
    """A source that is stopped must be able to leave."""
    assert not scheduler.wait_for(lambda: False, timeout=0.02)
    assert not scheduler._waiters


def test_an_action_that_exits_does_not_end_the_worker(scheduler: SyncScheduler) -> None:
    """`sys.exit` in a callback ends its thread by convention; this thread has other work."""
    ran: list[int] = []

    def leave() -> None:
        raise SystemExit

    scheduler.post(leave)
    scheduler.post(lambda: ran.append(1))
    assert scheduler.wait_for(lambda: ran == [1], timeout=PATIENCE)
    assert scheduler.errors == 1


def test_an_interrupt_reaches_the_caller_and_the_worker_does_the_rest(
    scheduler: SyncScheduler,
) -> None:
    """Ctrl-C belongs to the main thread, whatever action it happened to be running."""
    ran: list[int] = []

    def outer(*_: Any) -> None:
        scheduler.schedule(interrupted)
        scheduler.schedule(lambda *_: ran.append(1))
        scheduler.post(lambda: ran.append(2))

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scheduler.schedule(outer)
    assert scheduler.wait_for(lambda: len(ran) == 2, timeout=PATIENCE)
    scheduler.post(lambda: ran.append(3))
    assert scheduler.wait_for(lambda: len(ran) == 3, timeout=PATIENCE)


def ours() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("rxotlp")}


def test_nothing_starts_before_the_first_use_and_nothing_is_left_after_close() -> None:
    """An import or a constructor that starts threads breaks whoever forks afterwards."""
    before = ours()
    scheduler = SyncScheduler()
    assert ours() == before
    done: list[Any] = []
    scheduler.run_blocking(lambda: 1, lambda *end: done.append(end))
    scheduler.run_coroutine(_nothing(), lambda *end: done.append(end))
    assert scheduler.wait_for(lambda: len(done) == 2, timeout=PATIENCE)
    assert len(ours() - before) == 3  # the worker, the loop and one thread of the pool
    scheduler.close()
    assert ours() == before


async def _nothing() -> None:
    pass


def test_a_scheduler_that_nobody_holds_lets_its_worker_go() -> None:
    """Whoever forgets to close one must not keep a thread for ever."""
    scheduler = SyncScheduler()
    ran = threading.Event()
    scheduler.post(ran.set)
    assert ran.wait(PATIENCE)
    worker, gone = scheduler._worker, weakref.ref(scheduler)
    assert worker is not None
    del scheduler
    for _ in range(1000):
        gc.collect()
        worker.join(0.02)
        if not worker.is_alive():
            break
    assert gone() is None
    assert not worker.is_alive()


def test_a_timer_keeps_alive_the_scheduler_that_nobody_holds() -> None:
    """`rx.timer(1, scheduler=SyncScheduler())` is all that a caller may write."""
    fired = threading.Event()
    SyncScheduler().schedule_relative(0.05, lambda *_: fired.set())
    gc.collect()
    assert fired.wait(PATIENCE)


def in_child(check: Any) -> bytes:
    """Run `check() -> bytes` in a forked child; returns what it returned."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # From Python 3.12 on, forking with threads warns; here it is the point.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.write(writer, check())
        except BaseException as error:  # whatever it is, the parent must hear of it
            os.write(writer, repr(error).encode()[:1000])
        finally:
            os._exit(0)
    os.close(writer)
    try:
        found = b""
        while chunk := os.read(reader, 4096):
            found += chunk
        return found
    finally:
        os.close(reader)
        os.waitpid(child, 0)


def test_after_a_fork_the_child_starts_empty_with_threads_of_its_own(
    scheduler: SyncScheduler,
) -> None:
    """Servers fork after import; the child's pipeline must work, and not twice."""
    ran: list[str] = []
    scheduler.run_coroutine(_nothing(), lambda *_: ran.append("warm"))
    scheduler.run_blocking(lambda: None, lambda *_: ran.append("warm"))
    assert scheduler.wait_for(lambda: len(ran) == 2, timeout=PATIENCE)
    inbox = scheduler.inbox
    ran.clear()
    scheduler.schedule_relative(0.2, lambda *_: ran.append("parent's timer"))
    with scheduler._turn:  # somebody is in the middle of an action
        inbox.put(lambda: ran.append("parent's post"))

        def check() -> bytes:
            assert scheduler.statistics()[:2] == (0, 0), scheduler
            scheduler.schedule_relative(0.3, lambda *_: ran.append("timer"))
            scheduler.run_coroutine(_nothing(), lambda *_: ran.append("coroutine"))
            scheduler.run_blocking(lambda: None, lambda *_: ran.append("blocking"))
            inbox.put(lambda: ran.append("death"))
            scheduler.post(lambda: ran.append("post"))
            assert scheduler.wait_for(lambda: len(ran) == 5, timeout=PATIENCE), ran
            assert scheduler.close() == 0
            return ",".join(sorted(ran)).encode()

        found = in_child(check)
    assert found == b"blocking,coroutine,death,post,timer"
    scheduler.schedule(lambda *_: None)
    assert scheduler.wait_for(lambda: len(ran) == 2, timeout=PATIENCE)
    assert sorted(ran) == ["parent's post", "parent's timer"]


def test_a_fork_inside_an_action_leaves_the_child_its_turn(scheduler: SyncScheduler) -> None:
    """`subprocess` and `multiprocessing` fork from wherever they are called."""
    found: list[bytes] = []

    def action(*_: Any) -> None:
        def check() -> bytes:
            assert scheduler.running_here
            scheduler._leave()  # as if the action returned in the child
            ran: list[int] = []
            scheduler.schedule(lambda *_: ran.append(1))
            scheduler.post(lambda: ran.append(2))
            assert scheduler.wait_for(lambda: len(ran) == 2, timeout=PATIENCE)
            return b"ok"

        found.append(in_child(check))

    scheduler.schedule(action)
    assert found == [b"ok"]


def test_a_wake_that_comes_late_does_not_leave_the_inbox_deaf(scheduler: SyncScheduler) -> None:
    """The thread that posts may be held up between handing over and waking."""
    inbox, ran = scheduler.inbox, list[str]()
    inbox._queue.put(lambda: ran.append("first"))  # handed over, and held up
    scheduler.schedule(lambda *_: None)  # whoever has the turn meanwhile does it
    assert ran == ["first"]
    inbox._woken = True  # the rest of `put`
    inbox._wake()
    assert scheduler.wait_for(lambda: not inbox._woken, timeout=PATIENCE)
    scheduler.post(lambda: ran.append("second"))
    deadline = time.monotonic() + PATIENCE
    while len(ran) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert ran == ["first", "second"]


def test_arming_a_timer_does_not_hide_that_the_budget_ended_with_the_inbox(
    scheduler: SyncScheduler,
) -> None:
    """The inbox wakes nobody until it was found empty; a death after that would be lost."""
    inbox = scheduler.inbox
    scheduler._turn.acquire()
    scheduler._owner = threading.get_ident()
    for _ in range(BUDGET):
        inbox.put(lambda: None)
    assert scheduler._drain(0) == BUDGET
    scheduler._let_go()
    scheduler.schedule_relative(1000.0, lambda *_: None)
    time.sleep(0.1)  # until the worker sleeps; too short only makes the test pass for nothing
    died = threading.Event()
    inbox.put(died.set)
    assert died.wait(5.0)


def test_the_private_loop_runs_as_soon_as_anybody_can_see_it() -> None:
    """A receiver that found it not running yet refused to start on a busy machine."""
    for _ in range(50):
        with SyncScheduler() as scheduler:
            assert scheduler.loop.is_running()
