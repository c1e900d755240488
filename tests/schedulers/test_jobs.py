"""Coroutines and blocking calls: their ends come back into the turn."""

import asyncio
import threading
from typing import Any

import pytest

from rxotlp.schedulers import SyncScheduler


class Ends:
    """A `done` that keeps what it was given and how."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.got: list[tuple[Any, Any]] = []
        self.in_turn: list[bool] = []

    def __call__(self, result: Any, error: BaseException | None) -> None:
        self.in_turn.append(self.scheduler.running_here)
        self.got.append((result, error and type(error)))


async def answer(value: Any, seconds: float = 0.0) -> Any:
    await asyncio.sleep(seconds)
    if isinstance(value, BaseException):
        raise value
    return value


def test_a_coroutines_result_arrives_as_an_action(rig: Any) -> None:
    """Emitting from the loop's callback would overlap with the pipeline's actions."""
    ends = Ends(rig.scheduler)
    rig.scheduler.run_coroutine(answer(7, 0.01), ends)
    rig.until(lambda: bool(ends.got))
    assert ends.got == [(7, None)]
    assert ends.in_turn == [True]


def test_a_coroutines_exception_arrives_as_an_action(rig: Any) -> None:
    """A failed export is an outcome, not a log line of asyncio's."""
    ends = Ends(rig.scheduler)
    rig.scheduler.run_coroutine(answer(KeyError("x")), ends)
    rig.until(lambda: bool(ends.got))
    assert ends.got == [(None, KeyError)]
    assert rig.scheduler.errors == 0


@pytest.mark.parametrize("begun", [False, True])
def test_disposing_cancels_a_coroutine_and_done_hears_of_it(rig: Any, begun: bool) -> None:
    """Whoever holds an element for a task must learn that the task is over."""
    ends = Ends(rig.scheduler)
    started: list[int] = []

    async def long() -> None:
        started.append(1)
        await asyncio.sleep(1000)

    handle = rig.scheduler.run_coroutine(long(), ends)
    if begun:
        rig.until(lambda: bool(started))
    handle.dispose()
    handle.dispose()
    rig.until(lambda: bool(ends.got))
    assert ends.got == [(None, asyncio.CancelledError)]
    assert ends.in_turn == [True]


def test_disposing_after_the_end_does_nothing(rig: Any) -> None:
    """Rx disposes of what has completed, too."""
    ends = Ends(rig.scheduler)
    handle = rig.scheduler.run_coroutine(answer(1), ends)
    call = rig.scheduler.run_blocking(lambda: 2, ends)
    rig.until(lambda: len(ends.got) == 2)
    handle.dispose()
    call.dispose()
    assert sorted(ends.got) == [(1, None), (2, None)]


def test_done_may_start_the_next_coroutine(rig: Any) -> None:
    """`parallel` and `chain` do nothing else."""
    results: list[int] = []

    def done(result: int, _error: BaseException | None) -> None:
        results.append(result)
        if result < 50:
            rig.scheduler.run_coroutine(answer(result + 1), done)

    rig.scheduler.run_coroutine(answer(1), done)
    rig.until(lambda: len(results) == 50)
    assert results == list(range(1, 51))


def test_a_raising_done_is_reported_and_ends_nothing(rig: Any) -> None:
    """It is an action like any other."""
    ends = Ends(rig.scheduler)
    rig.scheduler.run_coroutine(answer(0), lambda result, _error: 1 / result)
    rig.until(lambda: rig.scheduler.errors == 1)
    rig.scheduler.run_coroutine(answer(1), ends)
    rig.until(lambda: bool(ends.got))


def test_a_done_that_raises_the_cancellation_it_was_given_is_only_reported(rig: Any) -> None:
    """CancelledError is no Exception; it must not end a worker or a loop."""

    def done(_result: Any, error: BaseException | None) -> None:
        assert error is not None
        raise error

    rig.scheduler.run_coroutine(answer(0, 1000.0), done).dispose()
    rig.until(lambda: rig.scheduler.errors == 1)


def test_a_blocking_calls_result_and_exception_arrive_as_actions(rig: Any) -> None:
    """A plain function that blocks is a citizen, too; it only needs a thread."""
    ends = Ends(rig.scheduler)
    rig.scheduler.run_blocking(lambda: 7, ends)
    rig.scheduler.run_blocking(lambda: [].pop(), ends)
    rig.until(lambda: len(ends.got) == 2)
    assert sorted(ends.got, key=str) == [(7, None), (None, IndexError)]
    assert ends.in_turn == [True, True]


def test_blocking_calls_run_beside_each_other_and_no_more_than_max_workers() -> None:
    """Unbounded threads are how a slow backend takes a whole process down."""
    running = most = 0
    lock = threading.Lock()
    meet = threading.Barrier(2)

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        meet.wait(30)  # passes only if two run at once
        with lock:
            running -= 1

    with SyncScheduler(max_workers=2) as scheduler:
        ends = Ends(scheduler)
        for _ in range(8):
            scheduler.run_blocking(call, ends)
        assert scheduler.wait_for(lambda: len(ends.got) == 8, timeout=30)
    assert most == 2


def test_a_blocking_call_that_waits_can_be_cancelled() -> None:
    """After dispose nobody wants it; one that has begun cannot be stopped in Python."""
    release = threading.Event()
    with SyncScheduler(max_workers=1) as scheduler:
        ends = Ends(scheduler)
        running = scheduler.run_blocking(lambda: release.wait(30), ends)
        waiting = scheduler.run_blocking(lambda: 1, ends)
        waiting.dispose()
        assert scheduler.wait_for(lambda: ends.got == [(None, asyncio.CancelledError)], timeout=30)
        running.dispose()
        release.set()
        assert scheduler.wait_for(lambda: len(ends.got) == 2, timeout=30)
    assert ends.got[1] == (True, None)


def test_close_cancels_coroutines_and_tells_their_done() -> None:
    """No job ends without its owner hearing of it."""
    scheduler = SyncScheduler()
    ends = Ends(scheduler)
    cleaned: list[int] = []

    async def long() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0)
            cleaned.append(1)

    started: list[int] = []
    scheduler.run_coroutine(long(), ends)
    scheduler.run_coroutine(answer(1), lambda *_: started.append(1))
    assert scheduler.wait_for(lambda: bool(started), timeout=30)
    scheduler.close()
    assert cleaned == [1]
    assert ends.got == [(None, asyncio.CancelledError)]


def test_close_says_when_a_blocking_call_outlives_it(caplog: pytest.LogCaptureFixture) -> None:
    """A thread that stays is never silent."""
    release = threading.Event()
    scheduler = SyncScheduler()
    begun = threading.Event()

    def call() -> None:
        begun.set()
        release.wait(30)

    scheduler.run_blocking(call, lambda *_: None)
    assert begun.wait(30)
    scheduler.close(timeout=0.05)
    release.set()
    assert "1 blocking calls still run" in caplog.text
