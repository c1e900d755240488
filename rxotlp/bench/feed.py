"""The source that every run has: made requests, a clock at both ends of their way.

It is a source like any other, with an ordinary one's credit, receipts and books. A request's
way begins as it is let in (or when it was due, where a rate is kept) and ends as its receipt
settles: when an exporter has taken the last part of it, or a stage answered for it. So any
pipeline can be measured, whatever it joins, splits or sends to several places.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

from reactivex import abc

from rxotlp.admission import DEFAULT_MAX_BYTES, Admission, Credit
from rxotlp.data import TelemetryData
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SerialScheduler
from rxotlp.sources.base import Source, State

__all__ = ["Feed", "Mark"]


class Mark:
    """A moment, by the clock on the wall and by the CPU time of the process, all its threads."""

    __slots__ = ("cpu_ns", "wall_ns")

    def __init__(self) -> None:
        self.wall_ns = time.perf_counter_ns()
        self.cpu_ns = time.process_time_ns()


class Feed(Source):
    """Emits `count` requests, the given ones over and over.

    Args:
        elements: counted already, so that no run counts them.
        count: requests in all.
        rate: items a second, or None.
        settled: called once, when everything was sent and has settled.

    Attributes:
        began: when the first request was about to be let in; None before.
        ended: when the last one settled; None before.
        ways: of the requests that have settled, in nanoseconds.
        sent: requests that were let in.
    """

    def __init__(
        self,
        elements: Sequence[TelemetryData],
        count: int,
        *,
        rate: float | None = None,
        settled: Callable[[], object] = lambda: None,
    ) -> None:
        largest = max(data.size for data in elements)
        super().__init__("bench", admission=Admission(max_bytes=max(DEFAULT_MAX_BYTES, largest)))
        self._elements = elements
        self._count = count
        self._rate = rate
        self._all_settled = settled
        self._items = 0  # let in so far
        self.began: Mark | None = None
        self.ended: Mark | None = None
        self.ways: list[int] = []
        self.sent = 0

    def _begin(self, scheduler: SerialScheduler) -> None:
        scheduler.post(self._first)

    def _release(self) -> None:
        """Nothing is open but the receipts, which are settled."""

    def _first(self) -> None:
        self.began = Mark()
        self._pull()

    def _pull(self) -> None:
        if self.state is not State.OPEN:
            return
        if self.sent == self._count or not self._observers.live:  # or nobody listens any more
            self._count = self.sent
            self.end()
            self._look()
            return
        data = self._elements[self.sent % len(self._elements)]
        due = time.perf_counter_ns()
        if self._rate is not None:
            assert self.began is not None
            planned = self.began.wall_ns + int(self._items / self._rate * 1e9)
            if planned > due:
                assert self._scheduler is not None
                self._scheduler.schedule_relative((planned - due) / 1e9, self._due)
                return
            due = planned
        self.sent += 1
        self._items += data.items
        self.admission.acquire(data.size, partial(self._granted, data, due), items=data.items)

    def _due(self, _scheduler: abc.SchedulerBase, _state: object) -> None:
        self._pull()

    def _granted(self, data: TelemetryData, due: int, credit: Credit) -> None:
        """In whichever thread gave the credit back."""
        if self.state is State.CLOSED or self._scheduler is None:
            credit.release()
            return
        self.admit(data, credit=credit, on_settle=partial(self._way_ended, due))
        self._scheduler.post(self._pull)

    def _way_ended(self, due: int, _receipt: Receipt) -> None:
        """In whichever thread settled it."""
        self.ways.append(time.perf_counter_ns() - due)
        if len(self.ways) == self._count:
            self._look()

    def _look(self) -> None:
        if self.ended is None and len(self.ways) == self._count == self.sent:
            self.ended = Mark()
            self._all_settled()
