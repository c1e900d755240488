"""When a sender's answer is due, whatever has become of its data by then.

A sender that waits in vain resends on its own, and its data is doubled. So a receipt of a
source with a caller is given a patience shorter than the caller's:

    d         = min(the caller's deadline, 10 s)
    patience  = max(d - 1 s, d / 2)

Ten thousand open receipts need no ten thousand timers: due times are rounded up to a tick,
receipts of one tick share a bucket, and one timer of the scheduler empties the buckets that
are due. It runs only while there is something to wait for. An answer is therefore late by
at most one tick, never early.
"""

import math
from collections.abc import Callable

from reactivex import abc

from rxotlp.receipt import Receipt

__all__ = ["Deadlines", "patience"]

USUAL_DEADLINE = 10.0  # seconds; OTLP exporter specification, the default export timeout
MARGIN = 1.0  # seconds that an answer may take to reach its caller
COARSEST = 0.25  # seconds


def patience(deadline: float | None, ack_timeout: float | None = None) -> float:
    """Seconds after which a request must be answered.

    Args:
        deadline: seconds that the caller will wait; None when it did not say.
        ack_timeout: what the source was told, in place of the usual 10 s less a margin.
    """
    if ack_timeout is None:
        d = USUAL_DEADLINE if deadline is None else min(deadline, USUAL_DEADLINE)
        return max(d - MARGIN, d / 2)
    if deadline is None:
        return ack_timeout
    return min(ack_timeout, max(deadline - MARGIN, deadline / 2))


class Deadlines:
    """Expires receipts that are still open when their answer is due.

    Args:
        scheduler: whose clock and turn it uses.
        post: hands an action to that scheduler from any thread.
        reason: what the sender hears.
        tick: seconds by which an answer may be late.
    """

    def __init__(
        self,
        scheduler: abc.SchedulerBase,
        post: Callable[[Callable[[], object]], object],
        *,
        reason: str,
        tick: float = COARSEST,
    ) -> None:
        self._scheduler = scheduler
        self._post = post
        self._reason = reason
        self._tick = tick
        self._buckets: dict[int, set[Receipt]] = {}
        self._armed = False

    def add(self, receipt: Receipt, seconds: float) -> int:
        """Expire `receipt` after `seconds`; callable from any thread.

        Returns:
            The bucket it is in, for `discard`.
        """
        clock = self._clock()
        receipt.due = clock + seconds
        now = clock / self._tick
        due = max(math.ceil(now + seconds / self._tick), math.floor(now) + 1)
        # setdefault and set.add are one step each under the GIL. A bucket that is taken out
        # in between is one that was due anyway; `discard` then finds nothing, and the receipt
        # would wait for ever, hence the second look.
        self._buckets.setdefault(due, set()).add(receipt)
        if due not in self._buckets:
            self._post(lambda: receipt.expire(self._reason))
        elif not self._armed:
            self._armed = True
            self._post(self._arm)
        return due

    def discard(self, receipt: Receipt, due: int) -> None:
        """Forget a receipt that is settled."""
        bucket = self._buckets.get(due)
        if bucket is not None:
            bucket.discard(receipt)

    def _clock(self) -> float:
        return self._scheduler.now.timestamp()

    def _arm(self) -> None:
        self._scheduler.schedule_relative(self._tick, self._sweep)

    def _sweep(self, scheduler: abc.SchedulerBase, state: object = None) -> None:
        now = math.floor(self._clock() / self._tick)
        for due in [due for due in list(self._buckets) if due <= now]:
            for receipt in list(self._buckets.pop(due)):
                receipt.expire(self._reason)
        if self._buckets:
            self._arm()
            return
        self._armed = False
        if self._buckets:  # somebody added one between the look and the line above
            self._armed = True
            self._arm()
