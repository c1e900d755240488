"""Admission: the credit gate of a source.

What is in flight is bounded where it enters. A source acquires credit before it reads a
body, corrects it to the real size afterwards, hands it to the receipt, and the receipt
returns it when it settles. Operators in between know nothing of it.

    reserve    now or never: a credit, or RefusedError
    acquire    when there is room: a callback, first come, first served

`resize` never waits: two half-read bodies that wait for each other's credit would wait for
ever, so a body that turns out too large is refused while it can still be.

An open batch may hold the very credit somebody waits for. Holders register `hurry` while
they hold, and are told as soon as somebody waits or has been refused.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rxotlp.errors import RefusedError

__all__ = ["Admission", "Credit", "Refusal"]

DEFAULT_MAX_BYTES = 64 << 20  # bytes; one request of the largest size OTLP recommends


class Credit:
    """What one element holds of its source's admission.

    Attributes:
        admission: the gate it came from.
        size: bytes held.
        items: items held.
    """

    __slots__ = ("admission", "items", "released", "size")

    def __init__(self, admission: "Admission", size: int, items: int = 0) -> None:
        self.admission = admission
        self.size = size
        self.items = items
        self.released = False

    def resize(self, size: int, *, items: int = 0) -> None:
        """Correct the reservation to what was really read.

        Raises:
            RefusedError: it grew and there is no room; what was held so far stays held
                (release it), permanent when it can never fit.
        """
        self.admission._resize(self, size, items)

    def release(self) -> None:
        """Give it back. Only the first call does anything."""
        self.admission._release(self)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a gate lets nothing in, whatever room there is.

    Attributes:
        reason: what senders hear.
        retry_after: seconds that they are told to wait.
        unread: requests are refused before they are read where the transport allows it, and
            bodies that are being read may not grow.
    """

    reason: str
    retry_after: float
    unread: bool = False


class _Waiter:
    __slots__ = ("gone", "granted", "items", "size")

    def __init__(self, size: int, items: int, granted: Callable[[Credit], object]) -> None:
        self.size = size
        self.items = items
        self.granted = granted
        self.gone = False


class Admission:
    """Bounds what a source may have in flight, in bytes and in items.

    Args:
        max_bytes: credit in bytes, 1 or more.
        max_items: credit in items (spans, data points, records), or None for no bound.
        retry_after: seconds that a refused sender is told to wait.

    Thread safe; no callback runs under its lock.
    """

    def __init__(
        self,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_items: int | None = None,
        retry_after: float = 1.0,
    ) -> None:
        if max_bytes < 1:
            raise ValueError(
                f"Admission(max_bytes={max_bytes}): expected 1 or more; "
                "a gate without credit lets nothing in"
            )
        if max_items is not None and max_items < 1:
            raise ValueError(
                f"Admission(max_items={max_items}): expected 1 or more, or None for no bound"
            )
        self.max_bytes = max_bytes
        self.max_items = max_items
        self.retry_after = retry_after
        self.bytes = 0
        self.items = 0
        self.refused = 0  # elements turned away, for the source's report
        self._refusal: Refusal | None = None  # the strictest of those that are in force
        self._refusals: dict[object, Refusal] = {}
        self._own_retry_after = retry_after  # what it was before the first of them
        self._lock = threading.Lock()
        self._waiters: deque[_Waiter] = deque()
        self._holders: dict[object, Callable[[], object]] = {}

    @property
    def waiting(self) -> int:
        """How many acquisitions wait for credit."""
        return len(self._waiters)

    def reserve(self, size: int) -> Credit:
        """Take `size` bytes of credit now.

        Raises:
            RefusedError: no room; with `retry_after`, or permanent if it can never fit.
        """
        self._check(size)
        with self._lock:
            if not self._waiters and self._fits(size, 0):
                self.bytes += size
                return Credit(self, size)
            self.refused += 1
            refusal = self._refusal
        self._hurry()
        if refusal is not None:
            raise RefusedError(refusal.reason, retry_after=refusal.retry_after)
        raise RefusedError(
            f"{self.bytes} of {self.max_bytes} bytes are in flight; no room for {size} more",
            retry_after=self.retry_after,
        )

    def acquire(
        self, size: int, granted: Callable[[Credit], object], *, items: int = 0
    ) -> Callable[[], None]:
        """Take `size` bytes as soon as there is room, in order of arrival.

        Args:
            size: bytes.
            items: as many as are known already; `resize` takes the others.
            granted: called with the credit, now or later, in whichever thread releases.

        Returns:
            A function that stops waiting; harmless once granted.

        Raises:
            RefusedError: permanent, if it can never fit.
        """
        self._check(size, items)
        waiter = _Waiter(size, items, granted)
        with self._lock:
            if self._waiters or not self._fits(size, items):
                self._waiters.append(waiter)
                credit = None
            else:
                credit = self._take(size, items)
        if credit is not None:
            granted(credit)
        else:
            self._hurry()

        def cancel() -> None:
            waiter.gone = True
            self._grant()

        return cancel

    @property
    def refusal(self) -> Refusal | None:
        """Why nothing is let in at present, or None."""
        return self._refusal

    def refuse(
        self, reason: str, *, retry_after: float, by: object = None, unread: bool = False
    ) -> None:
        """Let nothing more in until `readmit`, whatever room there is. Idempotent.

        Senders are refused at once, those too that would wait for room; sources that nobody
        waits for (files, iterables) wait. What is in flight stays, and whoever holds it is
        told to hurry.

        Args:
            reason: what senders hear.
            retry_after: seconds that they are told to wait meanwhile.
            by: who refuses; what several refuse is let in when the last of them readmits.
            unread: see `Refusal`.
        """
        with self._lock:
            if not self._refusals:
                self._own_retry_after = self.retry_after
            self._refusals[by] = Refusal(reason, retry_after, unread)
            self._weigh()
        self._hurry()

    def readmit(self, *, by: object = None) -> None:
        """Let in again what there is room for, unless somebody else refuses. Idempotent."""
        with self._lock:
            if self._refusals.pop(by, None) is None:
                return
            self._weigh()
        self._grant()

    def _weigh(self) -> None:
        self._refusal = max(
            self._refusals.values(), key=lambda one: (one.unread, one.retry_after), default=None
        )
        refusal = self._refusal
        self.retry_after = self._own_retry_after if refusal is None else refusal.retry_after

    # -- holders --------------------------------------------------------------------

    def add_holder(self, key: object, hurry: Callable[[], object]) -> None:
        """Have `hurry` called whenever somebody waits or was refused, until removed.

        Called at once when somebody is waiting already. `hurry` must be quick and must not
        emit: it may run in any thread (operators post to their scheduler).
        """
        with self._lock:
            self._holders[key] = hurry
            starved = bool(self._waiters)
        if starved:
            hurry()

    def remove_holder(self, key: object) -> None:
        """Undo `add_holder`."""
        with self._lock:
            self._holders.pop(key, None)

    def _hurry(self) -> None:
        with self._lock:
            holders = list(self._holders.values())
        for hurry in holders:
            hurry()

    # -- bookkeeping ------------------------------------------------------------------

    def _check(self, size: int, items: int = 0) -> None:
        if size > self.max_bytes:
            much = f"{size} bytes", f"{self.max_bytes} bytes"
        elif self.max_items is not None and items > self.max_items:
            much = f"{items} items", f"{self.max_items} items"
        else:
            return
        with self._lock:
            self.refused += 1
        raise RefusedError(
            f"{much[0]} are more than this source may ever have in flight ({much[1]})",
            permanent=True,
        )

    def _take(self, size: int, items: int) -> Credit:
        self.bytes += size
        self.items += items
        return Credit(self, size, items)

    def _fits(self, size: int, items: int) -> bool:
        return (
            self._refusal is None
            and self.bytes + size <= self.max_bytes
            and (
                self.max_items is None
                or self.items + items <= self.max_items
                or (items == 0 and self.items < self.max_items)
            )
        )

    def _resize(self, credit: Credit, size: int, items: int) -> None:
        if size > self.max_bytes or (self.max_items is not None and items > self.max_items):
            with self._lock:
                self.refused += 1
            raise RefusedError(
                f"{size} bytes and {items} items are more than this source may ever have in "
                f"flight ({self.max_bytes} bytes, {self.max_items or 'any number of'} items)",
                permanent=True,
            )
        with self._lock:
            if credit.released:
                return
            more, more_items = size - credit.size, items - credit.items
            refusal = self._refusal if more > 0 else None
            unread = refusal is not None and refusal.unread
            fits = (more <= 0 or (not unread and self.bytes + more <= self.max_bytes)) and (
                self.max_items is None
                or more_items <= 0
                or self.items + more_items <= self.max_items
            )
            if fits:
                self.bytes += more
                self.items += more_items
                credit.size, credit.items = size, items
            else:
                self.refused += 1
        if not fits:
            self._hurry()
            if unread and refusal is not None:
                raise RefusedError(refusal.reason, retry_after=refusal.retry_after)
            raise RefusedError(
                f"{self.bytes} of {self.max_bytes} bytes are in flight; "
                f"no room for a body that grew by {more} bytes",
                retry_after=self.retry_after,
            )
        if more < 0 or more_items < 0:
            self._grant()

    def _release(self, credit: Credit) -> None:
        with self._lock:
            if credit.released:
                return
            credit.released = True
            self.bytes -= credit.size
            self.items -= credit.items
        self._grant()

    def _grant(self) -> None:
        """Give freed credit to those who wait, in order; a large one is not overtaken."""
        if not self._waiters:
            return
        granted: list[tuple[_Waiter, Credit]] = []
        with self._lock:
            waiters = self._waiters
            while waiters and (waiters[0].gone or self._fits(waiters[0].size, waiters[0].items)):
                waiter = waiters.popleft()
                if not waiter.gone:
                    granted.append((waiter, self._take(waiter.size, waiter.items)))
        for waiter, credit in granted:
            if waiter.gone:  # cancelled since: whoever waited would never release it
                credit.release()
            else:
                waiter.granted(credit)

    def __repr__(self) -> str:
        return (
            f"<Admission {self.bytes} of {self.max_bytes} bytes in flight, {self.waiting} waiting>"
        )
