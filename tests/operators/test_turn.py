"""Operators on schedulers that promise nothing, and from many threads at once."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from reactivex.scheduler import (
    EventLoopScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
    TimeoutScheduler,
)
from reactivex.subject import Subject

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import TelemetryData
from rxotlp.operators._turn import turn_for
from rxotlp.receipt import Receipt
from rxotlp.schedulers import AsyncScheduler, SyncScheduler, default_scheduler
from rxotlp.testing import ids_of, logs

SCHEDULERS: dict[str, Any] = {
    "default": lambda: None,
    "sync": SyncScheduler,
    "timeout": TimeoutScheduler,
    "event loop": EventLoopScheduler,
    "new thread": NewThreadScheduler,
    "thread pool": lambda: ThreadPoolScheduler(4),
}
THREADS, EACH = 6, 200


class Careful:
    """A destination that notices when two call it at once."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.inside = 0
        self.overlaps = 0

    def export(self, data: TelemetryData) -> Outcome:
        self.inside += 1
        self.overlaps += self.inside > 1
        self.ids += ids_of(data)
        self.inside -= 1
        return DELIVERED


@pytest.mark.parametrize("name", SCHEDULERS)
def test_many_threads_through_a_subject_lose_nothing_and_never_overlap(name: str) -> None:
    """A Subject serialises nothing, and neither do reactivex's schedulers: the turn does."""
    scheduler = SCHEDULERS[name]()
    careful = Careful()
    subject: Subject[TelemetryData] = Subject()
    ended = threading.Event()
    subject.pipe(
        ops.batch(max_items=7, max_delay=0.02, scheduler=scheduler),
        ops.export(careful, scheduler=scheduler),
    ).subscribe(on_completed=ended.set)
    settled: list[Receipt] = []
    everything = threading.Semaphore(0)

    def done(receipt: Receipt) -> None:
        settled.append(receipt)
        everything.release()

    def send(first: int) -> None:
        for number in range(first, THREADS * EACH, THREADS):
            subject.on_next(Receipt(on_settle=done).attach(logs([number])))

    threads = [threading.Thread(target=send, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    subject.on_completed()
    assert ended.wait(60)
    for _ in range(THREADS * EACH):
        assert everything.acquire(timeout=60)
    assert sorted(careful.ids) == list(range(THREADS * EACH))
    assert careful.overlaps == 0
    assert {receipt.outcome for receipt in settled} == {DELIVERED}
    if isinstance(scheduler, SyncScheduler):
        scheduler.close()
    elif isinstance(scheduler, EventLoopScheduler):
        scheduler.dispose()


def test_precedence_is_the_argument_then_subscribe_then_the_default() -> None:
    """As in reactivex, so that a test's clock reaches every operator."""
    with SyncScheduler() as argument, SyncScheduler() as subscribed:
        assert turn_for(argument, subscribed).scheduler is argument
        assert turn_for(None, subscribed).scheduler is subscribed
        assert turn_for(None, None).scheduler is default_scheduler()


def test_an_action_that_raises_strands_no_other() -> None:
    """On a foreign scheduler others' actions wait in the same line; theirs must still run."""
    turn, ran = turn_for(NewThreadScheduler()), threading.Event()

    def first() -> None:
        other = threading.Thread(target=turn.enter, args=(ran.set,))
        other.start()
        other.join()  # it found the turn taken, and left its action to us
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        turn.enter(first)
    assert ran.wait(10)


STAGES: dict[str, Callable[[Any], Any]] = {
    "batch": lambda scheduler: ops.batch(max_items=1, scheduler=scheduler),
    "chain": lambda scheduler: ops.chain(as_it_is, scheduler=scheduler),
    "parallel": lambda scheduler: ops.parallel(as_it_is, scheduler=scheduler),
    "queue": lambda scheduler: ops.queue(scheduler=scheduler),
    "rate_limit": lambda scheduler: ops.rate_limit(1_000_000, scheduler=scheduler),
    "branches": lambda scheduler: ops.broadcast(
        ops.parallel(as_it_is, scheduler=scheduler), scheduler=scheduler
    ),
}


async def as_it_is(data: TelemetryData) -> TelemetryData:
    return data


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_an_end_inside_the_turn_overtakes_nothing_that_another_thread_sent(
    name: str, stage: str
) -> None:
    """Else the last element meets a stream that is over, though it came before the end."""
    scheduler = SCHEDULERS[name]()
    subject: Subject[TelemetryData] = Subject()
    seen: list[int | str] = []
    ended = threading.Event()

    def send(number: int) -> None:
        subject.on_next(Receipt().attach(logs([number])))

    def on_next(data: TelemetryData) -> None:
        seen.extend(ids_of(data))
        if seen == [1]:  # in the turn: what another thread sends now has to wait
            other = threading.Thread(target=send, args=(2,))
            other.start()
            other.join()
            subject.on_completed()

    def on_completed() -> None:
        seen.append("end")
        ended.set()

    subject.pipe(STAGES[stage](scheduler)).subscribe(on_next, on_completed=on_completed)
    send(1)
    assert ended.wait(60)
    assert seen == [1, 2, "end"]
    if isinstance(scheduler, SyncScheduler):
        scheduler.close()
    elif isinstance(scheduler, EventLoopScheduler):
        scheduler.dispose()


def test_an_end_inside_the_turn_of_a_loop_overtakes_nothing_either() -> None:
    """On asyncio what other threads send hops onto the loop, where the end already is."""
    seen: list[int | str] = []

    async def run() -> None:
        ended = asyncio.Event()
        scheduler = AsyncScheduler()
        subject: Subject[TelemetryData] = Subject()

        def on_completed() -> None:
            seen.append("end")
            ended.set()

        def send() -> None:
            subject.on_next(Receipt(inbox=scheduler.inbox).attach(logs([1])))

        def action() -> None:
            other = threading.Thread(target=send)
            other.start()
            other.join()
            subject.on_completed()

        subject.pipe(ops.parallel(as_it_is, scheduler=scheduler)).subscribe(
            lambda data: seen.extend(ids_of(data)), on_completed=on_completed
        )
        scheduler.post(action)
        await asyncio.wait_for(ended.wait(), 60)
        scheduler.close()

    asyncio.run(run())
    assert seen == [1, "end"]
