"""Size-or-age batching as a state machine with no clock and no threads.

A batch opens with its first element and closes once, for one of these reasons:

    ITEMS     it has max_items, or the element just offered would have been too many
    BYTES     the same of max_bytes
    DELAY     its first element has waited max_delay seconds
    IDLE      nothing was added to it for max_idle seconds
    CREDIT    somebody waits for the credit that it holds
    KEYS      a batch of one key too many was opened; the oldest makes room
    LOWERED   a limit went below what is in it
    RESUMED   a pause is over, and what it kept has waited long enough
    END       the source finished

Elements with different keys never share a batch. The caller owns time: it arms one timer
for every batch that `offer` opens and hands the batch back to `expire`. A batch closes
only once, so a timer that outlives its batch closes nothing, and late timers need no
cancelling to be safe.

An element that is too big alone is split: full parts leave at once, and the rest opens
the next batch. What cannot be split (one record above max_bytes) leaves as it is.

A limit of 0 pauses: no batch closes, and what is offered is parked uncut, because nobody
knows yet by which limits it will be cut. The last limits above 0 are kept for an end that
comes meanwhile.
"""

import enum
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Generic, TypeVar

__all__ = ["Batch", "Batcher", "Reason"]

T = TypeVar("T")


class Reason(enum.Enum):
    """Why a batch closed."""

    ITEMS = "items"
    BYTES = "bytes"
    DELAY = "delay"
    IDLE = "idle"
    CREDIT = "credit"
    KEYS = "keys"
    LOWERED = "lowered"
    RESUMED = "resumed"
    END = "end"


_CLOSE = 1e-6  # seconds; a silence shorter than a clock's resolution is none


class Batch(Generic[T]):
    """Elements of one key on their way out together.

    Attributes:
        key: what they have in common.
        elements: in order of arrival; never empty.
        items: items in all of them.
        size: bytes of all of them.
        reason: why it closed; None while it is open.
        touched: when its latest element came, as `offer` was told.
    """

    __slots__ = ("elements", "items", "key", "reason", "size", "touched")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.elements: list[T] = []
        self.items = 0
        self.size = 0
        self.reason: Reason | None = None
        self.touched = 0.0


class Batcher(Generic[T]):
    """Decides which elements leave together, and when.

    Args:
        max_items: a batch reaches at most this many items, 1 or more.
        max_bytes: and at most this many bytes, 1 or more.
        max_keys: open batches at most, 1 or more.
        weigh: an element's items and bytes.
        split: cuts an element into parts within (max_items, max_bytes); a part may exceed
            max_bytes only when it is a single item.
    """

    __slots__ = (
        "_max_bytes",
        "_max_items",
        "_max_keys",
        "_no_bytes",
        "_no_items",
        "_open",
        "_parked",
        "_split",
        "_weigh",
        "items",
        "paused",
    )

    def __init__(
        self,
        *,
        max_items: int,
        max_bytes: int,
        max_keys: int,
        weigh: Callable[[T], tuple[int, int]],
        split: Callable[[T, int, int], Sequence[T]],
    ) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._max_keys = max_keys
        self._weigh = weigh
        self._split = split
        self._open: dict[Hashable, Batch[T]] = {}
        self._parked: deque[tuple[Hashable, T, int]] = deque()  # with their items
        self._no_items = self._no_bytes = False
        self.paused = False
        self.items = 0  # held in open batches, and parked

    def offer(
        self, key: Hashable, element: T, now: float = 0.0
    ) -> tuple[list[Batch[T]], Batch[T] | None]:
        """Add one element.

        Args:
            key: what it has in common with what it may leave with.
            element: it.
            now: the caller's clock in seconds, for `silent`.

        Returns:
            The batches that this closed, to be sent in this order, and the batch that it
            opened, for which a timer is wanted.
        """
        items, size = self._weigh(element)
        if self.paused:
            self._parked.append((key, element, items))
            self.items += items
            return [], None
        closed: list[Batch[T]] = []
        full: list[T] = []
        why = self._overflow(items, size)
        if why is not None:
            # Before anything changes: what cannot be split must take no batch with it.
            *full, element = self._split(element, self._max_items, self._max_bytes)
            items, size = self._weigh(element)
        batch = self._open.get(key)
        if batch is not None:
            reason = why if full else self._overflow(batch.items + items, batch.size + size)
            if reason is not None:
                closed.append(self._close(batch, reason))
                batch = None
        closed += [self._alone(key, part, why) for part in full]
        opened: Batch[T] | None = None
        if batch is None:
            if len(self._open) >= self._max_keys:
                oldest = next(iter(self._open.values()))
                closed.append(self._close(oldest, Reason.KEYS))
            batch = opened = self._open[key] = Batch(key)
        batch.elements.append(element)
        batch.items += items
        batch.size += size
        batch.touched = now
        self.items += items
        if batch.items >= self._max_items:
            closed.append(self._close(batch, Reason.ITEMS))
            opened = None
        elif batch.size >= self._max_bytes:
            closed.append(self._close(batch, Reason.BYTES))
            opened = None
        return closed, opened

    def expire(self, batch: Batch[T]) -> bool:
        """Its time is up. True when that closed it, False when it stays or was closed before."""
        if batch.reason is not None or self.paused:
            return False
        self._close(batch, Reason.DELAY)
        return True

    def silent(self, batch: Batch[T], now: float, max_idle: float) -> float | None:
        """Nothing may have been added to it for a while.

        Returns:
            0 when that closed it, the seconds after which to ask again when it is too soon,
            None when there is nothing to ask any more.
        """
        if batch.reason is not None or self.paused:
            return None
        left = batch.touched + max_idle - now
        if left > _CLOSE:
            return left
        self._close(batch, Reason.IDLE)
        return 0.0

    def flush(self, reason: Reason) -> list[Batch[T]]:
        """Close every open batch, in the order in which they were opened; none in a pause."""
        if self.paused:
            return []
        return [self._close(batch, reason) for batch in list(self._open.values())]

    def set_limit(
        self, *, max_items: int | None = None, max_bytes: int | None = None
    ) -> list[Batch[T]]:
        """Change limits from now on; 0 pauses, and a batch that is now over-full closes.

        After a pause, `parked` has what came meanwhile.
        """
        if max_items is not None:
            self._no_items = max_items == 0
            self._max_items = max_items or self._max_items
        if max_bytes is not None:
            self._no_bytes = max_bytes == 0
            self._max_bytes = max_bytes or self._max_bytes
        self.paused = self._no_items or self._no_bytes
        if self.paused:
            return []
        return [
            self._close(batch, Reason.LOWERED)
            for batch in list(self._open.values())
            if batch.items >= self._max_items or batch.size >= self._max_bytes
        ]

    def resume(self) -> None:
        """End a pause with the last limits above 0."""
        self._no_items = self._no_bytes = self.paused = False

    def parked(self) -> Iterator[tuple[Hashable, T]]:
        """Remove and yield what came in a pause, in order of arrival, to be offered again."""
        while self._parked:
            key, element, items = self._parked.popleft()
            self.items -= items
            yield key, element

    def _overflow(self, items: int, size: int) -> Reason | None:
        """The limit that so much would break."""
        if items > self._max_items:
            return Reason.ITEMS
        return Reason.BYTES if size > self._max_bytes else None

    def _close(self, batch: Batch[T], reason: Reason) -> Batch[T]:
        del self._open[batch.key]
        batch.reason = reason
        self.items -= batch.items
        return batch

    def _alone(self, key: Hashable, element: T, reason: Reason | None) -> Batch[T]:
        batch: Batch[T] = Batch(key)
        batch.items, batch.size = self._weigh(element)
        batch.elements.append(element)
        batch.reason = reason
        return batch
