"""A gateway between senders that keep asking and a backend that does everything wrong.

    senders -> OTLP -> gateway [-> batch] [-> queue] -> export -> a scripted backend

The proof is id by id. `Ledger` has what each sender sent and heard, every attempt with what
the exporter made of its answer, and what the backend took; `faults` says what is wrong:

    lost       acknowledged, and the backend neither took it nor refused it as bad (which a
               queue finds out only after it has acknowledged; the books have it as rejected)
    doubled    delivered as far as the exporter knows, and sent again although its sender
               had not sent it again
    invented   taken, and nobody had sent it
    smuggled   part of a request that the backend refuses as bad, and taken all the same

Short in the tests (`tests/test_faults_end_to_end.py`), long in `benchmarks/faults.py`.
"""

import asyncio
import logging
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from reactivex import Observable

from rxotlp import Pipeline, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Cause, Kind, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.receipt import Receipt
from rxotlp.testing import Rig, ids_of, spans
from tests.support.scripted import (
    CUT,
    DROP,
    GARBAGE,
    HANG,
    TAKE,
    Backend,
    Request,
    Step,
    backend,
    partial,
    refuse,
)
from tests.support.senders import send

__all__ = [
    "IMPATIENT",
    "VARIANTS",
    "Drill",
    "Ledger",
    "Witness",
    "bad",
    "cycle",
    "drill",
    "virtual_drill",
    "watched",
]

VARIANTS = ("direct", "batch", "queue")
IMPATIENT = ops.Retry(first=0.02, soon=0.02, factor=1.3, most=0.1)
ITEMS = 5  # of a request
BAD_REQUEST = refuse(grpc.StatusCode.INVALID_ARGUMENT, 400, message="bad data")

# What the backend answers, in per cent.
MISDEEDS: tuple[tuple[int, Step], ...] = (
    (60, refuse()),
    (10, refuse(wait=0.1)),  # over HTTP a fraction of a second is no time, and ignored
    (4, HANG),
    (5, DROP),
    (5, CUT),
    (4, GARBAGE),
    (2, partial(1, "one was bad")),
    (2, partial(10**6, "wrong")),
    (8, TAKE),
)


def bad(number: int) -> bool:
    """Whether the backend refuses requests with this id as bad data."""
    return number % 500 == 7


def _spoilt(number: int) -> bool:
    """Whether an id's request has a bad one in it."""
    first = number - number % ITEMS
    return any(map(bad, range(first, first + ITEMS)))


class Ledger:
    """What was sent, heard and attempted, by id. Used from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent: Counter[int] = Counter()
        self.acknowledged: set[int] = set()
        self.refused: set[int] = set()
        self.delivered: Counter[int] = Counter()  # attempts that succeeded, for all we know
        self.attempts = 0
        self.delivered_items = 0

    def send(self, ids: list[int]) -> None:
        """A sender sends them, for the first time or again."""
        with self._lock:
            self.sent.update(ids)

    def hear(self, ids: list[int], *, acknowledged: bool) -> None:
        """It has heard that they are delivered, or that they never will be."""
        with self._lock:
            (self.acknowledged if acknowledged else self.refused).update(ids)

    def attempt(self, ids: list[int], outcome: Outcome) -> None:
        """The exporter has made an attempt and knows its answer."""
        with self._lock:
            self.attempts += 1
            if outcome.kind is Kind.DELIVERED or outcome.items is not None:
                self.delivered.update(ids)
                self.delivered_items += len(ids) - (outcome.items or 0)

    def faults(self, taken: Counter[int]) -> list[str]:
        """What is wrong, one line each."""
        wrong = {
            "lost": [
                number for number in self.acknowledged if not taken[number] and not _spoilt(number)
            ],
            "doubled": [
                number for number, times in self.delivered.items() if times > self.sent[number]
            ],
            "invented": [number for number in taken if number not in self.sent],
            "smuggled": [number for number in taken if bad(number)],
            "unanswered": list(set(self.sent) - self.acknowledged - self.refused),
        }
        return [f"{len(ids)} {kind}: {sorted(ids)[:5]}" for kind, ids in wrong.items() if ids]


class Witness:
    """An exporter that notes what another one makes of every attempt."""

    def __init__(self, exporter: Any, ledger: Ledger) -> None:
        self._exporter = exporter
        self._ledger = ledger

    async def export(self, data: TelemetryData) -> Outcome:
        """One attempt of the other's."""
        ids = ids_of(data)
        outcome: Outcome = await self._exporter.export(data)
        self._ledger.attempt(ids, outcome)
        return outcome

    def close(self) -> None:
        """Close the other."""
        self._exporter.close()

    async def aclose(self) -> None:
        """The same, from a coroutine."""
        await self._exporter.aclose()


@dataclass
class Drill:
    """What a drill came to.

    Attributes:
        faults: what is wrong; empty when all is well.
        doubled: items that the backend took more than once, all within the rules.
        left: items undelivered at the end of the drain.
    """

    transport: str
    variant: str
    requests: int = 0
    items: int = 0
    acknowledged: int = 0
    refused: int = 0
    resent: int = 0
    attempts: int = 0
    doubled: int = 0
    left: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def _script(seed: int) -> Callable[[Request], Step]:
    dice = random.Random(seed)
    lock = threading.Lock()
    weights = [weight for weight, _ in MISDEEDS]
    steps = [step for _, step in MISDEEDS]

    def script(request: Request) -> Step:
        with lock:
            step = dice.choices(steps, weights)[0]
        if step.takes and any(map(bad, ids_of(request.data))):
            return BAD_REQUEST
        return step

    return script


def _stream(variant: str, exporter: Any, retry: ops.Retry) -> Observable[Any]:
    source = sources.otlp(grpc="127.0.0.1:0", http="127.0.0.1:0", ack_timeout=1.0)
    export = ops.export(exporter, retry=retry)
    batch = ops.batch(max_items=8 * ITEMS, max_delay=0.02)
    if variant == "direct":
        return source.pipe(export)
    if variant == "batch":
        return source.pipe(batch, export)
    return source.pipe(ops.queue(), batch, export)


def drill(
    transport: str,
    variant: str,
    *,
    requests: int = 60,
    senders: int = 4,
    down: float = 0.5,
    outages: int = 1,
    retry: ops.Retry = IMPATIENT,
    seed: int = 1,
) -> Drill:
    """Send requests of `ITEMS` spans until every one is answered for good, then stop.

    Args:
        variant: "direct" and "batch" answer a sender when its data is delivered, "queue"
            when it is in memory.
        down: seconds of an outage, in which connections break and none can be made.
        outages: how many there are, evenly spread over the requests.
    """
    result = Drill(transport, variant, requests, requests * ITEMS)
    ledger = Ledger()
    began = time.monotonic()
    todo = iter(range(requests))
    lock = threading.Lock()
    every = max(1, requests // (outages + 1))
    with backend(transport, script=_script(seed)) as there:
        exporter = Witness(there.exporter(timeout=0.3), ledger)
        pipeline = Pipeline(_stream(variant, exporter, retry), drain_timeout=300.0)
        with pipeline:
            address = pipeline.addresses[transport]

            def next_number() -> int | None:
                with lock:
                    return next(todo, None)

            def sender() -> None:
                while (number := next_number()) is not None:
                    if number % every == every - 1 and number // every < outages:
                        there.wire.down()
                        outage = threading.Timer(down, there.wire.up)
                        outage.start()
                        _deliver(transport, address, number, ledger)
                        outage.join()
                    else:
                        _deliver(transport, address, number, ledger)

            threads = [threading.Thread(target=sender) for _ in range(senders)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        report = pipeline.report
        assert report is not None
        taken = Counter(number for one in there.taken for number in ids_of(one.data))
    result.faults = ledger.faults(taken)
    result.faults += [f"does not balance: {account}" for account in report.unbalanced]
    book = pipeline.books["export"]
    if book.delivered != ledger.delivered_items:
        result.faults.append(
            f"the books say that {book.delivered} items were delivered, the attempts "
            f"{ledger.delivered_items}"
        )
    spoilt = sum(map(_spoilt, ledger.acknowledged))
    if spoilt and variant != "queue":
        result.faults.append(f"{spoilt} items acknowledged that the backend refused as bad")
    if book.rejected < spoilt:
        result.faults.append(f"{spoilt} items refused as bad, {book.rejected} in the books")
    if report.undelivered:
        result.faults.append(f"left: {report}")
    result.acknowledged = len(ledger.acknowledged)
    result.refused = len(ledger.refused)
    result.resent = ledger.sent.total() - len(ledger.sent)
    result.attempts = ledger.attempts
    result.doubled = sum(times - 1 for times in taken.values() if times > 1)
    result.left = report.undelivered
    result.seconds = time.monotonic() - began
    return result


def _deliver(transport: str, address: str, number: int, ledger: Ledger) -> None:
    """Send one request until its fate is known, as a client does."""
    ids = list(range(number * ITEMS, (number + 1) * ITEMS))
    payload = spans(ids).to_bytes()
    while True:
        ledger.send(ids)
        heard = send(transport, address, payload, timeout=30)
        if heard.word in ("success", "invalid"):
            ledger.hear(ids, acknowledged=heard.word == "success")
            return
        assert heard.word == "unavailable", heard
        time.sleep(0.02)


class Flaky:
    """The same backend without sockets, as an exporter in virtual time.

    Attributes:
        down: nothing can be reached.
        taken: ids as often as it took them.
    """

    def __init__(self, seed: int) -> None:
        self.down = False
        self.taken: Counter[int] = Counter()
        self._dice = random.Random(seed)

    async def export(self, data: TelemetryData) -> Outcome:
        """One attempt."""
        ids = ids_of(data)
        del data  # a suspended coroutine would keep it
        await asyncio.sleep(self._dice.uniform(0.01, 0.2))
        (step,) = self._dice.choices(
            [step for _, step in MISDEEDS], [weight for weight, _ in MISDEEDS]
        )
        if self.down:
            return failed("cannot connect")
        if step.hang:
            await asyncio.sleep(3600)
        if step.takes and any(map(bad, ids)):
            return rejected("bad data", cause=Cause.BAD_DATA)
        if step.takes:
            self.taken.update(ids)
        if step.cut is not None:
            return failed("the connection broke")
        if step.status != 200:
            return failed(step.message, retry_after=step.wait)
        if step.rejected:
            return rejected("partial", items=min(step.rejected, len(ids)))
        return DELIVERED


def virtual_drill(
    variant: str,
    *,
    requests: int = 200,
    senders: int = 10,
    outage: float = 300.0,
    seed: int = 1,
) -> Drill:
    """The same in virtual time, with the retry policy that users have: an outage of minutes."""
    result = Drill("virtual", variant, requests, requests * ITEMS)
    ledger = Ledger()
    there = Flaky(seed)
    rig = Rig()
    todo = iter(range(requests))
    export = ops.export(Witness(there, ledger), timeout=5.0)
    batch = ops.batch(max_items=8 * ITEMS, max_delay=0.2)
    operators = {"direct": (export,), "batch": (batch, export)}
    rig.run(*operators.get(variant, (ops.queue(), batch, export)))
    clock = rig.clock

    def send_next(*_: Any) -> None:
        number = next(todo, None)
        if number is not None:
            ask(list(range(number * ITEMS, (number + 1) * ITEMS)))

    def ask(ids: list[int]) -> None:
        ledger.send(ids)

        def heard(receipt: Receipt) -> None:
            outcome = receipt.outcome
            assert outcome is not None
            if outcome.kind is Kind.FAILED:
                clock.schedule_relative(outcome.retry_after or 1.0, lambda *_: ask(ids))
                return
            whole = outcome.kind is Kind.REJECTED and receipt.rejected >= ITEMS
            ledger.hear(ids, acknowledged=not whole)
            clock.schedule_relative(0.5, send_next)

        rig.receipts.append(rig.feed.admit(spans(ids), patience=9.0, on_settle=heard))

    def go(down: bool) -> None:
        there.down = down

    clock.schedule_relative(5.0, lambda *_: go(True))
    clock.schedule_relative(5.0 + outage, lambda *_: go(False))
    for _ in range(senders):
        send_next()
    clock.run()
    rig.end()
    rig.check()
    result.faults = ledger.faults(there.taken)
    result.acknowledged, result.refused = len(ledger.acknowledged), len(ledger.refused)
    result.resent = ledger.sent.total() - len(ledger.sent)
    result.attempts = ledger.attempts
    result.doubled = sum(times - 1 for times in there.taken.values() if times > 1)
    result.seconds = clock.clock
    rig.close()
    return result


def cycle(transport: str, kind: str, there: Backend) -> None:
    """Start a whole gateway to a backend, send one request through it, and stop it."""
    source = sources.otlp(grpc="127.0.0.1:0", http="127.0.0.1:0")
    stream = source.pipe(ops.queue(), ops.batch(max_delay=0.01), ops.export(there.exporter()))
    pipeline = Pipeline(stream)

    def use() -> None:
        heard = send(transport, pipeline.addresses[transport], spans([1]).to_bytes())
        assert heard.word == "success"

    async def main() -> None:
        async with pipeline:
            await asyncio.to_thread(use)

    if kind == "async":
        asyncio.run(main())
    else:
        with pipeline:
            use()
    assert pipeline.report is not None
    assert (pipeline.report.unbalanced, pipeline.report.undelivered) == ([], 0)


@contextmanager
def watched(switch_interval: float = 1e-6) -> Iterator[list[str]]:
    """Switch threads as often as can be, and note what nobody would hear otherwise.

    Gives a list that fills with what is logged as an error or by asyncio, with exceptions
    that no thread caught, and with what finalizers raise (coroutines never awaited).
    """
    complaints: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            slow = record.name == "asyncio" and text.startswith("Executing ")
            if not slow and (record.name == "asyncio" or record.levelno >= logging.ERROR):
                complaints.append(f"{record.name}: {text}")

    def unraisable(raised: Any) -> None:
        complaints.append(f"{raised.err_msg or 'ignored'}: {raised.exc_value!r}")

    def uncaught(raised: threading.ExceptHookArgs) -> None:
        complaints.append(f"{raised.thread}: {raised.exc_value!r}")

    listener = Listener(logging.WARNING)
    before = sys.getswitchinterval(), sys.unraisablehook, threading.excepthook
    logging.getLogger().addHandler(listener)
    sys.setswitchinterval(switch_interval)
    sys.unraisablehook, threading.excepthook = unraisable, uncaught
    try:
        yield complaints
    finally:
        interval, sys.unraisablehook, threading.excepthook = before
        sys.setswitchinterval(interval)
        logging.getLogger().removeHandler(listener)
