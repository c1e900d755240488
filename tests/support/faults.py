"""A gateway between senders that keep asking and a backend that does everything wrong.

    senders -> OTLP -> gateway [-> batch] [-> queue] -> export -> a scripted backend

The proof is id by id, see `ledger`: short in `tests/test_faults_end_to_end.py`, long in
`benchmarks/faults.py`.
"""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial as bound
from typing import Any

import grpc
from reactivex import Observable

from rxotlp import Pipeline, sources
from rxotlp import operators as ops
from rxotlp.testing import ids_of, spans
from tests.support.ledger import ITEMS, Ledger, Witness, bad, spoilt
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
from tests.support.watching import use

__all__ = ["IMPATIENT", "MISDEEDS", "MOST_ITEMS", "VARIANTS", "Drill", "drill"]

VARIANTS = ("direct", "batch", "queue")
IMPATIENT = ops.Retry(first=0.02, soon=0.02, factor=1.3, most=0.1)
LONG_DRAIN, SHORT_DRAIN = 300.0, 0.2  # seconds
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
    restarts: int = 0,
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
        restarts: how often the gateway is stopped with a drain that is too short, while
            senders go on, and another one begins at its address.
        on_loop: run the pipeline on an AsyncScheduler instead of a SyncScheduler.
    """
    result = Drill(transport, variant, requests, requests * ITEMS)
    began = time.monotonic()
    pipelines: list[Pipeline] = []
    with backend(transport, script=_script(seed)) as there:
        crowd = _Crowd(transport, there, requests, down, outages)
        ledger = crowd.ledger
        for generation in range(restarts + 1):
            last = generation == restarts
            exporter = Witness(there.exporter(timeout=0.3), ledger)
            pipeline = Pipeline(
                _stream(variant, exporter, retry),
                drain_timeout=LONG_DRAIN if last else SHORT_DRAIN,
                listen={transport: crowd.address} if crowd.address else None,
            )
            pipelines.append(pipeline)
            share = requests if last else requests * (generation + 1) // (restarts + 1)
            use(pipeline, bound(crowd.work, pipeline, senders, share), on_loop=on_loop)
        taken = Counter(number for one in there.taken for number in ids_of(one.data))
    reports = [pipeline.report for pipeline in pipelines if pipeline.report is not None]
    result.left = sum(report.undelivered for report in reports)
    may_be_lost = result.left if variant == "queue" and restarts else 0
    result.faults = ledger.faults(taken, may_be_lost=may_be_lost)
    for report in reports:
        result.faults += [f"does not balance: {account}" for account in report.unbalanced]
    delivered = sum(pipeline.books["export"].delivered for pipeline in pipelines)
    if delivered != ledger.delivered_items:
        result.faults.append(
            f"the books say that {delivered} items were delivered, the attempts "
            f"{ledger.delivered_items}"
        )
    wrong = sum(map(spoilt, ledger.acknowledged))
    if wrong and variant != "queue":
        result.faults.append(f"{wrong} items acknowledged that the backend refused as bad")
    rejected = sum(pipeline.books["export"].rejected for pipeline in pipelines)
    if rejected + may_be_lost < wrong:
        result.faults.append(f"{wrong} items refused as bad, {rejected} in the books")
    if reports[-1].undelivered:
        result.faults.append(f"left: {reports[-1]}")
    result.acknowledged = len(ledger.acknowledged)
    result.refused = len(ledger.refused)
    result.resent = ledger.sent.total() - len(ledger.sent)
    result.attempts = ledger.attempts
    result.doubled = sum(times - 1 for times in taken.values() if times > 1)
    result.seconds = time.monotonic() - began
    return result


class _Crowd:
    """Senders, on threads, that share the numbers of requests to be sent.

    Attributes:
        address: of the gateway, from its first start on.
    """

    def __init__(
        self, transport: str, there: Backend, requests: int, down: float, outages: int
    ) -> None:
        self.ledger = Ledger()
        self.address = ""
        self._transport = transport
        self._there = there
        self._todo = iter(range(requests))
        self._lock = threading.Lock()
        self._down = down
        self._every = max(1, requests // (outages + 1))
        self._outages = outages
        self._threads: list[threading.Thread] = []

    def work(self, pipeline: Pipeline, senders: int, share: int) -> None:
        """Send, or go on sending, until `share` requests or all are answered for good."""
        self.address = pipeline.addresses[self._transport]
        if not self._threads:
            self._threads = [threading.Thread(target=self._send) for _ in range(senders)]
            for thread in self._threads:
                thread.start()
        while self.ledger.answered < share * ITEMS:
            if not any(thread.is_alive() for thread in self._threads):
                break
            time.sleep(0.01)

    def _next(self) -> int | None:
        with self._lock:
            return next(self._todo, None)

    def _send(self) -> None:
        while (number := self._next()) is not None:
            outage: threading.Timer | None = None
            if number % self._every == self._every - 1 and number // self._every < self._outages:
                self._there.wire.down()
                outage = threading.Timer(self._down, self._there.wire.up)
                outage.start()
            self._deliver(number)
            if outage is not None:
                outage.join()

    def _deliver(self, number: int) -> None:
        """Send one request until its fate is known, as a client does."""
        ids = list(range(number * ITEMS, (number + 1) * ITEMS))
        payload = spans(ids).to_bytes()
        while True:
            self.ledger.send(ids)
            try:
                heard = send(self._transport, self.address, payload, timeout=30)
            except (OSError, http.client.HTTPException):  # the gateway is being restarted
                time.sleep(0.02)
                continue
            if heard.word in ("success", "invalid"):
                self.ledger.hear(ids, acknowledged=heard.word == "success")
                return
            # CANCELLED, which OTLP has retried too, is how gRPC ends a call that came too late.
            assert heard.word in ("unavailable", "CANCELLED"), heard
            time.sleep(0.02)
