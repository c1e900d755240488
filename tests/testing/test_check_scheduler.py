"""Ours keep the rules; those that do not are told by the rule they break."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from reactivex.disposable import Disposable
from reactivex.scheduler import (
    EventLoopScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
    TimeoutScheduler,
)

from rxotlp.schedulers import AsyncScheduler, SyncScheduler, VirtualScheduler
from rxotlp.testing import ConformanceError, check_scheduler


@contextlib.contextmanager
def on_a_loop() -> Iterator[AsyncScheduler]:
    """An AsyncScheduler on a loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    scheduler = AsyncScheduler(loop)
    yield scheduler
    asyncio.run_coroutine_threadsafe(scheduler.aclose(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    loop.close()


@pytest.mark.parametrize("make", [SyncScheduler, on_a_loop, VirtualScheduler])
def test_our_schedulers_keep_every_rule(make: Callable[[], Any]) -> None:
    """Operators rely on each of them."""
    check_scheduler(make)


class PostsInline(SyncScheduler):
    def post(self, action: Callable[[], object]) -> None:
        action()


class NeverCancels(SyncScheduler):
    def schedule_relative(self, duetime: Any, action: Any, state: Any = None) -> Any:
        super().schedule_relative(duetime, action, state)
        return Disposable()


class ForgetsTheState(SyncScheduler):
    def schedule(self, action: Any, state: Any = None) -> Any:
        return super().schedule(action, None)


class Early(SyncScheduler):
    def schedule_relative(self, duetime: Any, action: Any, state: Any = None) -> Any:
        return super().schedule_relative(0.0, action, state)


class TicksFourTimesOnly(SyncScheduler):
    def schedule_periodic(self, period: Any, action: Any, state: Any = None) -> Any:
        left = [2]

        def tick(state: Any) -> Any:
            left[0] -= 1
            return action(state) if left[0] >= 0 else state

        return super().schedule_periodic(period, tick, state)


class LosesTheContext(SyncScheduler):
    def run_blocking(self, function: Callable[[], Any], done: Any) -> Any:
        def on_a_thread() -> None:
            result = function()
            self.post(lambda: done(result, None))

        threading.Thread(target=on_a_thread).start()
        return Disposable()


class WorksAfterItsEnd(SyncScheduler):
    def post(self, action: Callable[[], object]) -> None:
        with contextlib.suppress(Exception):
            super().post(action)


class KeepsEverything(SyncScheduler):
    def schedule_relative(self, duetime: Any, action: Any, state: Any = None) -> Any:
        kept.append(state)
        return super().schedule_relative(duetime, action, state)


kept: list[Any] = []


class Polls(SyncScheduler):
    def schedule(self, action: Any, state: Any = None) -> Any:
        self.stopped = threading.Event()

        def spin() -> None:
            while not self.stopped.is_set():
                pass

        threading.Thread(target=spin, daemon=True).start()
        return super().schedule(action, state)

    def close(self, *, timeout: float = 5.0) -> int:
        getattr(self, "stopped", threading.Event()).set()
        return super().close(timeout=timeout)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (PostsInline, "post"),
        (NeverCancels, "cancel"),
        (ForgetsTheState, "runs"),
        (Early, "due"),
        (TicksFourTimesOnly, "periodic"),
        (LosesTheContext, "context"),
        (WorksAfterItsEnd, "closed"),
        (KeepsEverything, "lets go"),
        (Polls, "idle"),
    ],
)
def test_a_broken_scheduler_is_found_by_the_rule_it_breaks(
    make: Callable[[], Any], rule: str
) -> None:
    """A suite that cannot fail says nothing about those that pass."""
    with pytest.raises(ConformanceError) as caught:
        check_scheduler(make, seconds=0.5)
    kept.clear()
    assert rule in caught.value.rules, str(caught.value)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("make", "rules"),
    [
        (EventLoopScheduler, {"survives a raise"}),
        (TimeoutScheduler, {"timer order", "no overlap", "few threads"}),
        (NewThreadScheduler, {"no overlap", "few threads"}),
        (lambda: ThreadPoolScheduler(4), {"no overlap", "reports a raise", "no blocked timers"}),
    ],
)
def test_what_it_says_of_reactivexs_schedulers(make: Callable[[], Any], rules: set[str]) -> None:
    """The reasons why rxotlp has its own, each seen to happen."""
    with pytest.raises(ConformanceError) as caught:
        check_scheduler(make, seconds=0.5)
    # A race decides the order of equal timers; the others are certain.
    assert rules - {"timer order"} <= set(caught.value.rules), str(caught.value)
