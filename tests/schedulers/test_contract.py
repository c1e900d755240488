"""What our schedulers promise beyond what `check_scheduler` asks of every one."""

import logging
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
import reactivex as rx

from rxotlp._core.bracket import local
from rxotlp.errors import PipelineError
from rxotlp.schedulers import SyncScheduler, VirtualScheduler

variable: ContextVar[str] = ContextVar("variable", default="unset")


def test_an_action_runs_inline_when_the_scheduler_is_idle(rig: Any) -> None:
    """A synchronous pipeline has no hop a stage: emitting is a plain call."""
    threads: list[int] = []

    def emit() -> bool:
        rig.scheduler.schedule(lambda *_: threads.append(threading.get_ident()))
        return threads == [threading.get_ident()]

    assert rig.call(emit)


def test_own_reentrant_actions_run_before_schedule_returns_however_many(rig: Any) -> None:
    """The budget bounds what a caller does for others, not what it asked for itself."""
    ran: list[int] = []

    def outer(scheduler: Any, _state: Any) -> None:
        for n in range(1000):
            scheduler.schedule(lambda _s, state: ran.append(state), n)

    def run() -> int:
        rig.scheduler.schedule(outer)
        return len(ran)

    assert rig.call(run) == 1000
    assert ran == sorted(ran)


def test_posted_actions_do_not_starve_scheduled_ones(rig: Any) -> None:
    """Deaths of shares come in while actions run; they must not hold up the stream."""
    posts = 0
    scheduled_after: list[int] = []

    def post_again() -> None:
        nonlocal posts
        posts += 1
        if posts < 500:
            rig.scheduler.post(post_again)

    def start(scheduler: Any, _state: Any) -> None:
        scheduler.post(post_again)
        scheduler.schedule(lambda *_: scheduled_after.append(posts))

    rig.scheduler.schedule(start)
    rig.until(lambda: posts == 500 and bool(scheduled_after))
    assert scheduled_after[0] <= 2


def test_a_raising_action_is_counted_reported_and_ends_nothing(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """reactivex's EventLoopScheduler dies silently here, and its work queues for ever."""
    seen: list[BaseException] = []
    ran: list[int] = []
    rig.scheduler.on_error = seen.append
    with caplog.at_level(logging.ERROR, "rxotlp"):
        rig.scheduler.post(lambda: 1 / 0)
        rig.scheduler.post(lambda: ran.append(1))
        rig.until(lambda: ran == [1])
    assert rig.scheduler.errors == rig.scheduler.statistics().errors == 1
    assert [type(error) for error in seen] == [ZeroDivisionError]
    assert "an action of" in caplog.text


def test_a_raising_on_error_is_logged_and_ends_nothing(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The hook is the user's code as well."""
    ran: list[int] = []
    rig.scheduler.on_error = lambda error: 1 / 0
    rig.scheduler.post(lambda: [].pop())
    rig.scheduler.post(lambda: ran.append(1))
    rig.until(lambda: ran == [1])
    assert "the on_error of" in caplog.text


def test_an_inline_action_raises_to_its_caller_and_what_waits_still_runs(rig: Any) -> None:
    """A direct call that fails must fail where it was made, as in reactivex."""
    ran: list[int] = []

    def action(scheduler: Any, _state: Any) -> None:
        scheduler.schedule(lambda *_: ran.append(1))
        raise KeyError("mine")

    def run() -> None:
        with pytest.raises(KeyError, match="mine"):
            rig.scheduler.schedule(action)

    rig.call(run)
    assert ran == [1]
    assert rig.scheduler.errors == 1


def test_every_action_starts_with_an_empty_bracket_and_restores_it(rig: Any) -> None:
    """Otherwise an action would be taken for part of whatever its thread was emitting."""
    tops: list[object] = []
    share: Any = object()

    def look(*_: Any) -> None:
        tops.append(local.top)

    def emitting() -> object:
        local.top = share
        try:

            def outer(scheduler: Any, _state: Any) -> None:
                look()
                scheduler.schedule(look)
                scheduler.post(look)

            rig.scheduler.schedule(outer)
            return local.top
        finally:
            local.top = None

    assert rig.call(emitting) is share
    rig.scheduler.schedule_relative(0.0, look)
    rig.until(lambda: len(tops) == 4)
    assert tops == [None] * 4


def test_a_disposed_action_does_not_run(rig: Any) -> None:
    """Dispose is how Rx says that nobody wants the result any more."""
    ran: list[str] = []

    def outer(scheduler: Any, _state: Any) -> None:
        scheduler.schedule(lambda *_: ran.append("queued")).dispose()
        scheduler.schedule_relative(0.0, lambda *_: ran.append("timer")).dispose()
        scheduler.schedule_relative(0.01, lambda *_: ran.append("kept"))

    rig.scheduler.schedule(outer)
    rig.until(lambda: bool(ran))
    assert ran == ["kept"]


def test_what_an_action_held_is_let_go_once_it_has_run_or_was_cancelled(rig: Any) -> None:
    """A held element cannot die, and its sender would wait until the deadline."""

    class Element:
        pass

    elements = [Element(), Element(), Element()]
    alive = [weakref.ref(element) for element in elements]
    handles = []

    def outer(scheduler: Any, _state: Any) -> None:
        handles.append(scheduler.schedule(lambda *_: None, elements.pop()))
        handles.append(scheduler.schedule_relative(0.0, lambda *_: None, elements.pop()))
        cancelled = scheduler.schedule_relative(1000.0, lambda *_: None, elements.pop())
        cancelled.dispose()
        handles.append(cancelled)

    rig.scheduler.schedule(outer)
    rig.until(lambda: not any(reference() for reference in alive))


def test_a_timer_that_is_due_already_runs_after_the_call_that_armed_it(rig: Any) -> None:
    """Operators store the handle; the action must not run before they can."""
    order: list[str] = []

    def arm() -> None:
        rig.scheduler.schedule_relative(-1.0, lambda *_: order.append("timer"))
        order.append("armed")

    rig.scheduler.schedule(lambda *_: arm())
    rig.until(lambda: len(order) == 2)
    assert order == ["armed", "timer"]


@pytest.mark.parametrize("inside", [False, True])
def test_cancelled_timers_do_not_pile_up_until_they_are_due(rig: Any, inside: bool) -> None:
    """A timeout an element, cancelled each time, must not cost memory for an hour."""

    def arm_and_cancel(*_: Any) -> None:
        for _n in range(5000):
            rig.scheduler.schedule_relative(3600.0, lambda *_: None).dispose()
            most.append(rig.scheduler._timers.room)

    most: list[int] = []
    if inside:
        rig.scheduler.schedule(arm_and_cancel)
    else:
        rig.call(arm_and_cancel)
    rig.until(lambda: len(most) == 5000)
    assert max(most) < 300
    assert rig.scheduler.statistics().timers == 0


def test_a_periodic_action_goes_on_after_a_raise_and_stops_when_disposed(rig: Any) -> None:
    """A control loop that ends silently at its first bad reading is worse than none."""
    states: list[int] = []

    def tick(state: int | None) -> int:
        assert state is not None
        states.append(state)
        if state == 1 and states.count(1) == 1:
            raise RuntimeError("a bad reading")
        return state + 1

    handle = rig.scheduler.schedule_periodic(0.005, tick, 0)
    rig.until(lambda: len(states) >= 4)
    handle.dispose()
    assert states[:4] == [0, 1, 1, 2]
    assert rig.scheduler.errors == 1
    rig.until(lambda: rig.scheduler.statistics().timers == 0)


def test_statistics_count_what_waits_what_ran_and_what_raised(rig: Any) -> None:
    """Every bounded thing shows its state, or nobody can tell why it stands still."""
    seen: list[Any] = []

    def action(scheduler: Any, _state: Any) -> None:
        scheduler.schedule(lambda *_: None)
        scheduler.post(lambda: None)
        scheduler.schedule_relative(1000.0, lambda *_: None)
        seen.append((scheduler.statistics(), scheduler.idle, scheduler.running_here))

    rig.call(lambda: rig.scheduler.schedule(action))
    inside, idle, here = seen[0]
    assert (inside.queued, inside.timers, inside.errors) == (2, 1, 0)
    assert not idle
    assert here
    rig.until(lambda: bool(rig.scheduler.idle))
    assert rig.scheduler.statistics().ran >= 3
    assert "idle, 0 queued, 1 timers" in repr(rig.scheduler)


def test_close_discards_timers_says_how_many_and_runs_what_waits(rig: Any) -> None:
    """What will not happen is reported; what was handed over is not lost."""
    ran: list[str] = []

    def fill() -> None:
        rig.scheduler.schedule_relative(1000.0, lambda *_: ran.append("timer"))
        rig.scheduler.schedule_relative(1000.0, lambda *_: ran.append("timer")).dispose()
        rig.scheduler.schedule_periodic(500.0, lambda state: state)
        rig.scheduler.post(lambda: ran.append("posted"))

    rig.call(fill)
    assert rig.close() == 2
    assert ran == ["posted"]
    assert rig.close() == 0


def test_a_closed_scheduler_refuses_work_but_runs_inline(rig: Any) -> None:
    """What is disposed of after the end must still settle what it holds."""
    rig.scheduler.schedule_relative(0.0, lambda *_: None)
    rig.close()
    refused: Callable[[], object]
    for refused in (
        lambda: rig.scheduler.schedule_relative(1.0, lambda *_: None),
        lambda: rig.scheduler.schedule_periodic(1.0, lambda state: state),
        lambda: rig.scheduler.post(lambda: None),
        lambda: rig.scheduler.run_blocking(lambda: None, lambda *_: None),
        lambda: rig.scheduler.run_coroutine(nothing(), lambda *_: None),
    ):
        with pytest.raises(PipelineError, match=r"after close\(\)"):
            refused()
    ran: list[int] = []
    rig.call(lambda: rig.scheduler.schedule(lambda *_: ran.append(1)))
    assert ran == [1]


def test_the_last_actions_may_still_schedule_post_and_arm(rig: Any) -> None:
    """An operator that flushes while the scheduler closes must not break half-way."""
    ran: list[str] = []

    def last() -> None:
        rig.scheduler.schedule_relative(1.0, lambda *_: ran.append("never"))
        rig.scheduler.post(lambda: ran.append("posted"))
        rig.scheduler.schedule(lambda *_: ran.append("scheduled"))

    def close_from_outside() -> None:
        rig.scheduler.post(last)

    rig.call(close_from_outside)
    assert rig.close() == 1
    assert sorted(ran) == ["posted", "scheduled"]
    assert rig.scheduler.errors == 0


async def nothing() -> None:
    """A coroutine that is never started."""


def test_closing_inside_an_action_raises(rig: Any) -> None:
    """It would wait for itself."""
    raised: list[bool] = []

    def action(scheduler: Any, _state: Any) -> None:
        with pytest.raises(PipelineError, match="inside one of its own actions"):
            scheduler.close()
        raised.append(True)

    rig.scheduler.schedule(action)
    rig.until(lambda: raised == [True])


def test_waiting_inside_an_action_raises(rig: Any) -> None:
    """It would deadlock: what it waits for can only happen in another action."""
    raised: list[bool] = []

    def action(scheduler: Any, _state: Any) -> None:
        with pytest.raises(PipelineError, match="wait_for"):
            scheduler.wait_for(lambda: True)
        raised.append(True)

    rig.scheduler.schedule(action)
    rig.until(lambda: raised == [True])


@pytest.mark.parametrize("period", [0, -1, 0.0])
def test_a_period_of_nothing_is_refused(rig: Any, period: float) -> None:
    """It would run for ever at one instant."""
    with pytest.raises(ValueError, match=r"schedule_periodic\(period=.*more than 0 s"):
        rig.scheduler.schedule_periodic(period, lambda state: state)


@pytest.mark.parametrize("duration", [float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(rig: Any, duration: float) -> None:
    """A timer for NaN would sort anywhere."""
    with pytest.raises(ValueError, match="expected a finite time"):
        rig.scheduler.schedule_relative(duration, lambda *_: None)


def test_arguments_out_of_range_are_refused_where_they_are_written() -> None:
    """A pool of no threads would only show when the first call hangs."""
    with pytest.raises(ValueError, match=r"SyncScheduler\(max_workers=0\): expected 1 or more"):
        SyncScheduler(max_workers=0)
    with pytest.raises(TypeError, match=r"max_workers='2'"):
        SyncScheduler(max_workers="2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="time zone"):
        VirtualScheduler(epoch=rx.internal.constants.UTC_ZERO.replace(tzinfo=None))
