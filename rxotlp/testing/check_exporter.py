"""`check_exporter`: what `ops.export` relies on in an exporter, whoever wrote it.

    answers       `export(data)` gives an Outcome, or an awaitable of one, and success
    delivers      what was sent is there (with `received`)
    signals       each signal it takes is taken, any other is rejected with a reason
    empty, large  an element without records and one of thousands are answered too
    lets go       no element is kept once its export was answered
    loop          an `async` export does not keep its loop waiting
    concurrent    many at once are all answered
    threads       from several threads, each with a loop of its own
    cancel        a cancelled export ends soon, and the next one works
    close         idempotent, from any thread; a later export opens again
    down          a destination that is down is `failed`, soon, and nothing raises (with `down`)
    stream        behind `ops.export` senders hear, and books balance
    observer      `stream.subscribe(exporter)` delivers too (for subclasses of Exporter)
    repr          says what it is

Not checked, because it cannot be from outside: that the export's own client is not traced.
"""

import asyncio
import gc
import inspect
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from reactivex.subject import Subject

from rxotlp._core.outcomes import Kind, Outcome
from rxotlp.data import Signal, TelemetryData
from rxotlp.exporters.base import Exporter
from rxotlp.operators.export import export
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SyncScheduler
from rxotlp.testing._samples import sample
from rxotlp.testing.rules import Rule, expect, try_all

__all__ = ["check_exporter"]

ALL = (Signal.TRACES, Signal.METRICS, Signal.LOGS)


class _Subject:
    """What is checked, and how an export is made whatever kind it is."""

    def __init__(
        self,
        make: Callable[[], Any],
        received: Callable[[], Iterable[TelemetryData]] | None,
        down: Callable[[], Any] | None,
        signals: tuple[Signal, ...],
        seconds: float,
    ) -> None:
        self.make = make
        self.received = received
        self.down = down
        self.signals = signals
        self.seconds = seconds

    def sample(self, records: int = 3) -> TelemetryData:
        """An element of a signal that it takes."""
        return sample(self.signals[0], records)

    async def awaited(self, exporter: Any, data: TelemetryData) -> Outcome:
        """One export on this loop; a plain one in a thread, as `ops.export` does."""
        if getattr(exporter, "blocking", False):
            answer = await asyncio.to_thread(exporter.export, data)
        else:
            answer = exporter.export(data)
            if inspect.isawaitable(answer):
                answer = await asyncio.wait_for(answer, self.seconds)
        expect(isinstance(answer, Outcome), f"export() gave {answer!r}; expected an Outcome")
        outcome: Outcome = answer
        return outcome

    def run(self, attempt: Callable[[Any], Any], exporter: Any = None) -> Any:
        """Run `attempt(exporter)` on a loop of its own, and close the exporter after it."""
        made = self.make() if exporter is None else exporter

        async def main() -> Any:
            try:
                return await attempt(made)
            finally:
                await _closed(made)

        return asyncio.run(main())


async def _closed(exporter: Any) -> None:
    if hasattr(exporter, "aclose"):
        await exporter.aclose()
    elif hasattr(exporter, "close"):
        exporter.close()


def answers(subject: _Subject) -> None:
    async def attempt(exporter: Any) -> None:
        outcome = await subject.awaited(exporter, subject.sample())
        expect(outcome.kind is Kind.DELIVERED, f"the outcome of a good element was {outcome}")

    subject.run(attempt)


def delivers(subject: _Subject) -> None:
    if subject.received is None:
        return
    before = sum(data.items for data in subject.received())

    async def attempt(exporter: Any) -> None:
        for count in (1, 5):
            await subject.awaited(exporter, subject.sample(count))

    subject.run(attempt)
    there = sum(data.items for data in subject.received()) - before
    expect(there == 6, f"of 6 records that were acknowledged {there} are there")


def signals(subject: _Subject) -> None:
    async def attempt(exporter: Any) -> None:
        for signal in ALL:
            outcome = await subject.awaited(exporter, sample(signal, 2))
            if signal in subject.signals:
                expect(outcome.kind is Kind.DELIVERED, f"{signal.value} gave {outcome}")
            else:
                expect(
                    outcome.kind is Kind.REJECTED and bool(outcome.reason),
                    f"{signal.value}, which it does not take, gave {outcome}",
                )

    subject.run(attempt)


def sizes(subject: _Subject) -> None:
    async def attempt(exporter: Any) -> None:
        for count in (0, 3_000):
            outcome = await subject.awaited(exporter, subject.sample(count))
            expect(outcome.success, f"an element with {count} records gave {outcome}")

    subject.run(attempt)


def lets_go(subject: _Subject) -> None:
    async def attempt(exporter: Any) -> None:
        data = subject.sample()
        alive = weakref.ref(data)
        await subject.awaited(exporter, data)
        del data
        for _ in range(20):
            gc.collect()
            if alive() is None:
                return
            await asyncio.sleep(0.01)
        holders = sorted({type(holder).__name__ for holder in gc.get_referrers(alive())})
        expect(False, f"the element is still referred to after its answer, by {holders}")

    subject.run(attempt)


def loop(subject: _Subject) -> None:
    for make in (subject.make, subject.down):
        if make is not None:
            _beats(subject, make())


def _beats(subject: _Subject, exporter: Any) -> None:
    gaps: list[float] = []

    async def attempt(exporter: Any) -> None:
        async def beat() -> None:
            last = time.monotonic()
            while True:
                await asyncio.sleep(0.005)
                now = time.monotonic()
                gaps.append(now - last)
                last = now

        heart = asyncio.create_task(beat())
        await asyncio.sleep(0.02)
        await subject.awaited(exporter, subject.sample())
        await asyncio.sleep(0.02)
        heart.cancel()

    subject.run(attempt, exporter)
    worst = max(gaps, default=0.0)
    expect(worst < 0.5, f"the loop stood still for {worst:.2f} s while an export ran on it")


def concurrent(subject: _Subject) -> None:
    async def attempt(exporter: Any) -> None:
        many = [subject.awaited(exporter, subject.sample()) for _ in range(20)]
        outcomes = await asyncio.gather(*many)
        bad = [str(outcome) for outcome in outcomes if outcome.kind is not Kind.DELIVERED]
        expect(not bad, f"of 20 exports at once {len(bad)} gave {bad[:1]}")

    subject.run(attempt)


def threads(subject: _Subject) -> None:
    exporter = subject.make()
    outcomes: list[Outcome] = []
    raised: list[str] = []
    together = threading.Barrier(4)

    def work() -> None:
        async def attempt() -> None:
            for _ in range(5):
                outcome = await subject.awaited(exporter, subject.sample())
                outcomes.append(outcome)
            await asyncio.to_thread(together.wait, subject.seconds)
            await _closed(exporter)  # whatever it has open on this loop

        try:
            asyncio.run(attempt())
        except threading.BrokenBarrierError:
            pass  # another thread raised, and said so
        except Exception as error:
            raised.append(f"{type(error).__name__}: {error}")
            together.abort()

    workers = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(subject.seconds)
    expect(not raised, f"raised on a thread: {raised[:1]}")
    expect(len(outcomes) == 20, f"of 20 exports from four threads {len(outcomes)} were answered")
    bad = [str(outcome) for outcome in outcomes if outcome.kind is not Kind.DELIVERED]
    expect(not bad, f"of 20 exports from four threads {len(bad)} gave {bad[:1]}")


def cancel(subject: _Subject) -> None:
    async def attempt(exporter: Any) -> None:
        if getattr(exporter, "blocking", False):
            return
        answer = exporter.export(subject.sample())
        if not inspect.isawaitable(answer):
            return
        task = asyncio.ensure_future(answer)
        await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=min(subject.seconds, 5.0))
        expect(bool(done), "a cancelled export did not end")
        outcome = await subject.awaited(exporter, subject.sample())
        expect(outcome.kind is Kind.DELIVERED, f"the export after a cancelled one gave {outcome}")

    subject.run(attempt)


def close(subject: _Subject) -> None:
    async def attempt(exporter: Any) -> None:
        if not hasattr(exporter, "close"):
            return
        exporter.close()  # before anything was open
        await subject.awaited(exporter, subject.sample())
        exporter.close()
        exporter.close()
        outcome = await subject.awaited(exporter, subject.sample())
        expect(outcome.kind is Kind.DELIVERED, f"an export after close() gave {outcome}")
        closing = threading.Thread(target=exporter.close, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, subject.seconds)
        expect(not closing.is_alive(), "close() on another thread did not come back")

    subject.run(attempt)


def down(subject: _Subject) -> None:
    if subject.down is None:
        return

    async def attempt(exporter: Any) -> None:
        outcome = await subject.awaited(exporter, subject.sample())
        expect(
            outcome.kind is Kind.FAILED and bool(outcome.reason),
            f"its destination is down, and the outcome was {outcome}; expected failed(reason)",
        )

    subject.run(attempt, subject.down())


def stream(subject: _Subject) -> None:
    exporter = subject.make()
    with SyncScheduler() as scheduler:
        source: Subject[TelemetryData] = Subject()
        source.pipe(export(exporter, retry=None)).subscribe(scheduler=scheduler)
        _through(subject, source, "ops.export")
        # On the loop that it was used on, which ends with the scheduler.
        gone = threading.Event()
        scheduler.run_coroutine(_closed(exporter), lambda *_: gone.set())
        gone.wait(subject.seconds)


def observer(subject: _Subject) -> None:
    exporter = subject.make()
    try:
        if isinstance(exporter, Exporter):
            source: Subject[TelemetryData] = Subject()
            source.subscribe(exporter)
            _through(subject, source, "stream.subscribe(exporter)")
    finally:  # one that breaks the rule would be tried again for ever
        asyncio.run(_closed(exporter))


def _through(subject: _Subject, source: "Subject[TelemetryData]", how: str) -> None:
    receipts = []
    for _ in range(5):
        receipts.append(Receipt())
        cell = [receipts[-1].attach(subject.sample())]
        source.on_next(cell.pop())
    source.on_completed()
    deadline = time.monotonic() + subject.seconds
    while any(receipt.outcome is None for receipt in receipts) and time.monotonic() < deadline:
        time.sleep(0.002)
    heard = [str(receipt.outcome) for receipt in receipts]
    good = all(
        receipt.outcome is not None and receipt.outcome.kind is Kind.DELIVERED
        for receipt in receipts
    )
    expect(good, f"through {how}, senders heard {sorted(set(heard))}")


def representation(subject: _Subject) -> None:
    exporter = subject.make()
    text = repr(exporter)
    asyncio.run(_closed(exporter))
    expect(" object at 0x" not in text, f"its repr is {text}, which says nothing")


RULES = [
    Rule("answers", answers),
    Rule("delivers", delivers),
    Rule("signals", signals),
    Rule("empty, large", sizes),
    Rule("lets go", lets_go),
    Rule("loop", loop),
    Rule("concurrent", concurrent),
    Rule("threads", threads),
    Rule("cancel", cancel),
    Rule("close", close),
    Rule("down", down),
    Rule("stream", stream),
    Rule("observer", observer),
    Rule("repr", representation),
]


def check_exporter(
    make: Callable[[], Any],
    *,
    received: Callable[[], Iterable[TelemetryData]] | None = None,
    down: Callable[[], Any] | None = None,
    signals: Iterable[Signal] = ALL,
    seconds: float = 20.0,
    name: str = "",
) -> None:
    """Try every rule on an exporter: anything with an `export(data)` method.

    Args:
        make: makes one whose destination works; called for each rule.
        received: everything that is at the destination now.
        down: makes one whose destination does not answer, or refuses connections.
        signals: those it takes.
        seconds: that something may take.
        name: for messages; the exporter's class by default.

    Raises:
        ConformanceError: some rules are broken; it lists all of them with what was seen.
        TypeError: `make` makes nothing, an exporter instead of what makes it for instance.
    """
    if not callable(make):
        raise TypeError(
            f"check_exporter({make!r}): expected a class or a function that makes an exporter; "
            "each rule has one of its own"
        )
    subject = _Subject(make, received, down, tuple(signals), seconds)
    try_all(name or getattr(make, "__qualname__", repr(make)), RULES, subject)
