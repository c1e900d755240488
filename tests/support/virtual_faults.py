"""`faults` in virtual time: without sockets, and with the retry policy that users have."""

import asyncio
import random
from collections import Counter
from typing import Any

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Cause, Kind, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.receipt import Receipt
from rxotlp.testing import Rig, ids_of, spans
from tests.support.faults import MISDEEDS, MOST_ITEMS, Drill
from tests.support.ledger import ITEMS, Ledger, Witness, bad

__all__ = ["virtual_drill"]


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
    random.seed(seed)  # of the jitter of pauses: the same seed is the same run
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
