"""Rules about who calls: again, from within, from several threads, on every scheduler."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

from reactivex import operators as rx_ops
from reactivex.subject import Subject as RxSubject

from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.assembly import Assembly
from rxotlp.books import Books
from rxotlp.data import TelemetryData
from rxotlp.operators.export import export
from rxotlp.receipt import Receipt
from rxotlp.schedulers import AsyncScheduler, SerialScheduler, SyncScheduler, VirtualScheduler
from rxotlp.testing._subject import Run, Subject
from rxotlp.testing.elements import ids_of
from rxotlp.testing.recorder import Recorder
from rxotlp.testing.rig import Feed
from rxotlp.testing.rules import Rule, expect

__all__ = ["RULES"]

THREADS = 4
EACH = 25


def resubscription(subject: Subject) -> None:
    """One operator, two subscriptions at once on one clock."""
    with Run(subject) as run:
        # With an exporter of its own the operator has one for both, and both are seen there.
        exporter = run.exporter if subject.exports else Recorder()
        rig = run.rig
        stages = [run.operator, *([] if subject.exports else [export(exporter, retry=None)])]
        other = Feed()
        with Assembly(Books(), strict=True):
            subscription = other.pipe(*stages).subscribe(scheduler=rig.clock)
        other.connect(rig.clock)
        run.send(1)
        receipt = other.admit(subject.element([101]))
        run.send(2)
        rig.clock.advance_by(0)
        rig.dispose()
        second = other.admit(subject.element([102]))
        other.stop()
        run.let_go()
        subscription.dispose()
        if not subject.exports:
            mixed = set(run.exporter.ids) & {101, 102} | set(exporter.ids) & {1, 2}
            expect(not mixed, f"ids {mixed} of one subscription came out of the other")
        if subject.lossless():
            lost = {101, 102} - set(exporter.ids)
            expect(not lost, f"disposing the first subscription lost {lost} of the second")
        for late in (receipt, second):
            expect(late.outcome is not None, "a sender of the second subscription heard nothing")
        run.answered()


def reentrancy(subject: Subject) -> None:
    """Something downstream sends the next element while it is being served, five times."""
    source: RxSubject[TelemetryData] = RxSubject()
    receipts: list[Receipt] = []
    ending: list[bool] = []

    def send(number: int) -> None:
        receipts.append(Receipt(inbox=clock.inbox))
        cell = [receipts[-1].attach(subject.element([number]))]
        source.on_next(cell.pop())

    def send_the_next(data: TelemetryData) -> Outcome:
        last = max(ids_of(data), default=0)
        if not ending and last == len(receipts) < 5:
            send(last + 1)
        return DELIVERED

    books, recorder = Books(), Recorder(send_the_next)
    with VirtualScheduler() as clock:
        with Assembly(books, strict=True):
            subscription = source.pipe(*subject.stages(recorder)).subscribe(scheduler=clock)
        while len(receipts) < 5:  # one that waits for a second element is sent it from outside
            send(len(receipts) + 1)
            clock.advance_by(subject.patience)
        ending.append(True)
        source.on_completed()
        clock.advance_by(subject.patience)
        gc.collect()
        clock.advance_by(0)
        subscription.dispose()
        silent = [at for at, receipt in enumerate(receipts) if receipt.outcome is None]
        expect(not silent, f"the senders of elements {silent} have heard nothing")
        expect(not books.unbalanced and not books.held, f"books do not balance\n{books}")
        if subject.lossless():
            ids = sorted(set(recorder.ids))
            expect(ids == [1, 2, 3, 4, 5], f"sent 1 to 5, each from within, arrived {ids}")


def threads(subject: Subject) -> None:
    with SyncScheduler() as scheduler:
        _from_threads(subject, scheduler)


def _from_threads(subject: Subject, scheduler: SerialScheduler) -> None:
    recorder = Recorder()
    source: RxSubject[TelemetryData] = RxSubject()
    receipts: list[Receipt] = []

    stages = subject.stages(recorder)
    ended = threading.Event()
    subscription = source.pipe(*stages).subscribe(
        on_completed=ended.set, on_error=lambda _: ended.set(), scheduler=scheduler
    )

    raised: list[str] = []

    def send(first: int) -> None:
        for number in range(first, first + EACH):
            receipt = Receipt()
            receipts.append(receipt)
            cell = [receipt.attach(subject.element([number]))]
            try:
                source.on_next(cell.pop())
            except Exception as error:
                raised.append(f"{type(error).__name__}: {error}")
                return

    workers = [
        threading.Thread(target=send, args=(1 + EACH * at,), daemon=True) for at in range(THREADS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(subject.seconds)
    expect(not any(worker.is_alive() for worker in workers), "a thread never came back")
    expect(not raised, f"raised on a thread that sent: {raised[:1]}")
    source.on_completed()
    ended.wait(subject.seconds)
    _until(lambda: all(receipt.outcome is not None for receipt in receipts), subject.seconds)
    subscription.dispose()
    silent = sum(receipt.outcome is None for receipt in receipts)
    expect(not silent, f"{silent} of {len(receipts)} senders heard nothing")
    if subject.lossless():
        lost = set(range(1, 1 + EACH * THREADS)) - set(recorder.ids)
        expect(not lost, f"{len(lost)} of {EACH * THREADS} elements never arrived")
    if "copy" not in subject.may:
        expect(len(recorder.ids) == len(set(recorder.ids)), "an element arrived more than once")


def no_lock(subject: Subject) -> None:
    """While the operator emits, another thread sends: it must not wait for that to end."""
    with SyncScheduler() as scheduler:
        source: RxSubject[TelemetryData] = RxSubject()
        blocked: list[bool] = []
        looked = threading.Event()

        def send(number: int) -> None:
            cell = [Receipt().attach(subject.element([number]))]
            source.on_next(cell.pop())

        def while_emitting(_value: Any) -> None:
            if not blocked:
                blocked.append(False)
                other = threading.Thread(target=send, args=(2,), daemon=True)
                other.start()
                other.join(min(2.0, subject.seconds))
                blocked[0] = other.is_alive()
                looked.set()

        ended = threading.Event()
        stages = subject.stages(Recorder())
        subscription = source.pipe(
            stages[0], rx_ops.do_action(while_emitting), *stages[1:]
        ).subscribe(on_completed=ended.set, on_error=lambda _: ended.set(), scheduler=scheduler)
        send(1)
        source.on_completed()
        ended.wait(subject.seconds)
        if blocked:
            looked.wait(10.0)
        subscription.dispose()
        expect(
            blocked != [True],
            "another thread had to wait for the emission to end: a lock is held around it",
        )


def on_sync(subject: Subject) -> None:
    with SyncScheduler() as scheduler:
        _on_wall_clock(subject, scheduler)


def on_asyncio(subject: Subject) -> None:
    async def main() -> None:
        async with AsyncScheduler(asyncio.get_running_loop()) as scheduler:
            await asyncio.to_thread(_on_wall_clock, subject, scheduler)

    asyncio.run(main())


def _on_wall_clock(subject: Subject, scheduler: SerialScheduler) -> None:
    recorder, feed = Recorder(), Feed()
    ended = threading.Event()
    subscription = feed.pipe(*subject.stages(recorder)).subscribe(
        on_completed=ended.set, on_error=lambda _: ended.set(), scheduler=scheduler
    )
    feed.connect(scheduler)
    receipts = [feed.admit(subject.element([number])) for number in range(1, 21)]
    feed.stop()
    ended.wait(subject.seconds)
    _until(lambda: all(receipt.outcome is not None for receipt in receipts), subject.seconds)
    subscription.dispose()
    feed.close()
    expect(ended.is_set(), f"not ended {subject.seconds:g} s after its source")
    silent = sum(receipt.outcome is None for receipt in receipts)
    expect(not silent, f"{silent} of 20 senders heard nothing")
    if subject.lossless():
        lost = sorted(set(range(1, 21)) - set(recorder.ids))
        expect(not lost, f"ids {lost} never arrived")


def _until(predicate: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not predicate() and time.monotonic() < deadline:
        time.sleep(0.002)


RULES = [
    Rule("re-subscription", resubscription),
    Rule("re-entrancy", reentrancy),
    Rule("threads", threads),
    Rule("no lock", no_lock),
    Rule("sync", on_sync),
    Rule("asyncio", on_asyncio),
]
