"""Virtual time: exact, in order, and the same twice."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as rx_ops

from rxotlp.errors import PipelineError
from rxotlp.schedulers import VirtualScheduler


@pytest.fixture
def scheduler() -> VirtualScheduler:
    """A clock at 0."""
    return VirtualScheduler()


def test_a_thousand_actions_at_one_instant_stay_there_in_order(
    scheduler: VirtualScheduler,
) -> None:
    """reactivex's HistoricalScheduler deadlocks at about 100, its TestScheduler drifts."""
    seen: list[tuple[float, int | None]] = []
    for n in range(1000):
        scheduler.schedule_relative(
            10.0, lambda _s, state: seen.append((scheduler.clock, state)), n
        )
    scheduler.run()
    assert seen == [(10.0, n) for n in range(1000)]


def test_an_action_that_schedules_at_its_own_instant_does_not_move_time(
    scheduler: VirtualScheduler,
) -> None:
    """A chain of zero delays is still now."""
    seen: list[float] = []

    def again(s: Any, left: Any) -> None:
        seen.append(s.clock)
        if left:
            s.schedule_relative(0.0, again, left - 1)

    scheduler.schedule_relative(3.0, again, 500)
    scheduler.run()
    assert seen == [3.0] * 501


def test_an_interval_does_not_drift_by_floating_point(scheduler: VirtualScheduler) -> None:
    """0.1 added ten thousand times as floats is not 1000."""
    at: list[float] = []
    rx.interval(0.1, scheduler=scheduler).pipe(rx_ops.take(10_000)).subscribe(
        lambda _n: at.append(scheduler.clock)
    )
    scheduler.run()
    assert at == [(n + 1) / 10 for n in range(10_000)]


@given(st.lists(st.integers(0, 10**9), max_size=50), st.integers(0, 10**9))
def test_timers_run_at_their_time_up_to_the_one_advanced_to(delays: list[int], to: int) -> None:
    """Microseconds in, microseconds out, whatever order they were armed in."""
    scheduler = VirtualScheduler()
    seen: list[tuple[float, int | None]] = []
    for number, delay in enumerate(delays):
        scheduler.schedule_relative(
            delay / 1e6, lambda _s, state: seen.append((scheduler.clock, state)), number
        )
    scheduler.advance_to(to / 1e6)
    order = sorted((delay, number) for number, delay in enumerate(delays))
    assert seen == [(delay / 1e6, number) for delay, number in order if delay <= to]
    assert scheduler.clock == to / 1e6
    scheduler.run()
    assert seen == [(delay / 1e6, number) for delay, number in order]


def test_now_and_timestamp_follow_the_clock_from_the_epoch(scheduler: VirtualScheduler) -> None:
    """Telemetry made in a test has the same timestamps every time."""
    assert scheduler.now == datetime(1970, 1, 1, tzinfo=UTC)
    scheduler.advance_by(1.5)
    assert scheduler.now.timestamp() == 1.5
    assert scheduler.timestamp_ns() == 1_500_000_000
    epoch = datetime(2024, 2, 29, tzinfo=UTC)
    leap = VirtualScheduler(epoch=epoch)
    seen: list[float] = []
    leap.schedule_absolute(epoch + timedelta(days=1), lambda *_: seen.append(leap.clock))
    leap.run()
    assert seen == [86400.0]
    assert leap.timestamp_ns() == int((epoch + timedelta(days=1)).timestamp()) * 10**9


def test_advance_stops_exactly_and_time_does_not_go_back(scheduler: VirtualScheduler) -> None:
    """`advance_by` is how a test looks in between."""
    seen: list[float] = []
    for due in (1.0, 2.0, 3.0):
        scheduler.schedule_relative(due, lambda *_: seen.append(scheduler.clock))
    scheduler.advance_by(2.0)
    assert seen == [1.0, 2.0]
    scheduler.advance_by(0.5)
    assert (seen, scheduler.clock) == ([1.0, 2.0], 2.5)
    with pytest.raises(ValueError, match=r"advance_to\(2.0\): expected 2.5 or later"):
        scheduler.advance_to(2.0)
    with pytest.raises(ValueError, match=r"advance_by\(-1\)"):
        scheduler.advance_by(-1)


def test_run_does_not_advance_to_a_cancelled_timer(scheduler: VirtualScheduler) -> None:
    """The end of a run would otherwise be decided by what did not happen."""
    scheduler.schedule_relative(1.0, lambda *_: None)
    scheduler.schedule_relative(500.0, lambda *_: None).dispose()
    scheduler.run()
    assert scheduler.clock == 1.0


def test_coroutines_sleep_in_virtual_time_and_wait_for_each_other(
    scheduler: VirtualScheduler,
) -> None:
    """Retries, back-off and timeouts of async code are tested in no time at all."""
    log: list[tuple[float, str]] = []

    def note(what: str) -> None:
        log.append((scheduler.clock, what))

    ready = asyncio.Event()

    async def waits() -> str:
        await ready.wait()
        note("ready")
        try:
            async with asyncio.timeout(2.5):
                await asyncio.sleep(1000)
        except TimeoutError:
            note("timeout")
        return "waited"

    async def prepares() -> str:
        await asyncio.sleep(5)
        ready.set()
        first, second = await asyncio.gather(asyncio.sleep(0.1, "a"), asyncio.sleep(0.2, "b"))
        return first + second

    scheduler.run_coroutine(waits(), lambda result, _e: note(result))
    scheduler.run_coroutine(prepares(), lambda result, _e: note(result))
    scheduler.run()
    assert log == [(5.0, "ready"), (5.2, "ab"), (7.5, "timeout"), (7.5, "waited")]
    assert scheduler.clock == 7.5  # the sleep of 1000 s was cancelled, and so was its timer


def test_a_coroutine_may_schedule_and_is_outside_the_turn(scheduler: VirtualScheduler) -> None:
    """As on the other schedulers: an action it schedules runs inline, after the present one."""
    seen: list[tuple[bool, bool]] = []

    async def main() -> None:
        outside = scheduler.running_here
        scheduler.schedule(lambda *_: seen.append((outside, scheduler.running_here)))
        assert len(seen) == 1

    errors: list[BaseException | None] = []
    scheduler.run_coroutine(main(), lambda _r, error: errors.append(error))
    scheduler.run()
    assert (seen, errors) == ([(False, True)], [None])


def test_coroutines_run_inside_a_test_that_has_a_loop_of_its_own() -> None:
    """An async test may use virtual time, too."""

    async def main() -> float:
        outer = asyncio.get_running_loop()
        scheduler = VirtualScheduler()
        scheduler.run_coroutine(asyncio.sleep(9), lambda *_: None)
        scheduler.run()
        assert asyncio.get_running_loop() is outer
        return scheduler.clock

    assert asyncio.run(main()) == 9.0


def test_blocking_calls_run_at_once_as_actions_of_their_own(scheduler: VirtualScheduler) -> None:
    """Threads would make the order a matter of chance."""
    log: list[Any] = []

    def action(*_: Any) -> None:
        scheduler.run_blocking(lambda: log.append("called"), lambda *_: log.append("done"))
        cancelled = scheduler.run_blocking(lambda: log.append("no"), lambda *end: log.append(end))
        cancelled.dispose()
        log.append("action")

    scheduler.schedule_relative(2.0, action)
    scheduler.run()
    assert log[:2] == ["action", "called"]
    assert "done" in log
    assert "no" not in log
    assert [type(end[1]) for end in log if isinstance(end, tuple)] == [asyncio.CancelledError]
    assert scheduler.clock == 2.0


def test_posts_of_other_threads_run_at_the_next_turn(scheduler: VirtualScheduler) -> None:
    """Real servers may feed a test, as long as time does not depend on them."""
    seen: list[int] = []
    thread = threading.Thread(
        target=lambda: scheduler.post(lambda: seen.append(threading.get_ident()))
    )
    thread.start()
    thread.join()
    assert seen == []
    scheduler.run()
    assert seen == [threading.get_ident()]


def test_wait_for_advances_time_just_far_enough(scheduler: VirtualScheduler) -> None:
    """A pull source waits for credit that comes back with time."""
    seen: list[float] = []
    for due in (1.0, 2.0, 3.0):
        scheduler.schedule_relative(due, lambda *_: seen.append(scheduler.clock))
    assert scheduler.wait_for(lambda: len(seen) == 2)
    assert scheduler.clock == 2.0
    assert not scheduler.wait_for(lambda: False, timeout=0.5)
    assert scheduler.clock == 2.5
    assert not scheduler.wait_for(lambda: False)  # nothing is left that could make it true
    assert scheduler.clock == 3.0


@pytest.mark.parametrize("call", ["run", "advance_by", "advance_to"])
def test_time_is_not_moved_from_inside_it(scheduler: VirtualScheduler, call: str) -> None:
    """An action's own instant would pass while it runs."""
    raised: list[str] = []

    def move(*_: Any) -> None:
        with pytest.raises(PipelineError, match="schedule_relative instead"):
            getattr(scheduler, call)(*([] if call == "run" else [1.0]))
        raised.append("in an action" if scheduler.running_here else "in a coroutine")

    async def main() -> None:
        move()

    scheduler.schedule(move)
    scheduler.run_coroutine(main(), lambda *_: None)
    scheduler.run()
    assert raised == ["in an action", "in a coroutine"]


def test_two_runs_are_alike() -> None:
    """A failure that cannot be repeated cannot be mended."""

    def once() -> list[Any]:
        scheduler = VirtualScheduler()
        log: list[Any] = []

        async def work(n: int) -> int:
            for _ in range(n):
                await asyncio.sleep(0.25)
            return n

        for n in range(20):
            scheduler.schedule_relative(n % 5, lambda *_, n=n: log.append((scheduler.clock, n)))
            scheduler.run_coroutine(work(n % 7), lambda r, _e: log.append((scheduler.clock, r)))
        scheduler.run()
        return log

    assert once() == once()
