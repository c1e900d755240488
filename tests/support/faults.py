"""A gateway between senders that keep asking and a backend that does everything wrong.

    senders -> OTLP -> gateway [-> batch] [-> queue] -> export -> a scripted backend

The proof is id by id, see `ledger`: short in `tests/test_faults_end_to_end.py`, long in
`benchmarks/faults.py`.
"""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
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
from tests.support.ledger import ITEMS, Ledger, Witness, bad, spoilt
from tests.support.scripted import (
    CUT,
    DROP,
    GARBAGE,
    HANG,
    TAKE,
    Request,
    Step,
    backend,
    partial,
    refuse,
)
from tests.support.senders import send
from tests.support.watching import use

__all__ = ["IMPATIENT", "VARIANTS", "Drill", "drill", "virtual_drill"]

VARIANTS = ("direct", "batch", "queue")
IMPATIENT = ops.Retry(first=0.02, soon=0.02, factor=1.3, most=0.1)
MOST_ITEMS = 5 * ITEMS  # that the backend takes in one request; batches may be larger
BAD_REQUEST = refuse(grpc.StatusCode.INVALID_ARGUMENT, 400, message="bad data")
TOO_LARGE = refuse(
    grpc.StatusCode.RESOURCE_EXHAUSTED, 413, message="Received message larger than max (9 vs. 8)"
)

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
        ids = ids_of(request.data) if step.takes else []
        if len(ids) > MOST_ITEMS:
            return TOO_LARGE
        return BAD_REQUEST if any(map(bad, ids)) else step

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
    on_loop: bool = False,
    seed: int = 1,
) -> Drill:
    """Send requests of `ITEMS` spans until every one is answered for good, then stop.

    Args:
        variant: "direct" and "batch" answer a sender when its data is delivered, "queue"
            when it is in memory.
        down: seconds of an outage, in which connections break and none can be made.
        outages: how many there are, evenly spread over the requests.
        on_loop: run the pipeline on an AsyncScheduler instead of a SyncScheduler.
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

        def next_number() -> int | None:
            with lock:
                return next(todo, None)

        def sender() -> None:
            address = pipeline.addresses[transport]
            while (number := next_number()) is not None:
                outage: threading.Timer | None = None
                if number % every == every - 1 and number // every < outages:
                    there.wire.down()
                    outage = threading.Timer(down, there.wire.up)
                    outage.start()
                _deliver(transport, address, number, ledger)
                if outage is not None:
                    outage.join()

        def everything() -> None:
            threads = [threading.Thread(target=sender) for _ in range(senders)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        use(pipeline, everything, on_loop=on_loop)
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
    wrong = sum(map(spoilt, ledger.acknowledged))
    if wrong and variant != "queue":
        result.faults.append(f"{wrong} items acknowledged that the backend refused as bad")
    if book.rejected < wrong:
        result.faults.append(f"{wrong} items refused as bad, {book.rejected} in the books")
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
        if step.takes and len(ids) > MOST_ITEMS:
            return rejected("too large", cause=Cause.TOO_LARGE)
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
