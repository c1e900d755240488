"""Size-or-age batching as a state machine with no clock and no threads.

A batch opens with its first element and closes once, for one of these reasons:

    FULL      it reached a limit, or the element just offered would not fit
    AGED      its first element has waited max_delay seconds
    HURRIED   somebody waits for the credit that it holds
    CROWDED   a batch of one key too many was opened; the oldest makes room
    ENDED     the source finished

Elements with different keys never share a batch. The caller owns time: it arms one timer
for every batch that `offer` opens and hands the batch back to `expire`. A batch closes
only once, so a timer that outlives its batch closes nothing, and late timers need no
cancelling to be safe.

An element that is too big alone is split: full parts leave at once, and the rest opens
the next batch. What cannot be split (one record above max_bytes) leaves as it is.
"""

import enum
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

__all__ = ["Batch", "Batcher", "Reason"]

T = TypeVar("T")


class Reason(enum.Enum):
    """Why a batch closed."""

    FULL = "full"
    AGED = "aged"
    HURRIED = "hurried"
    CROWDED = "crowded"
    ENDED = "ended"


class Batch(Generic[T]):
    """Elements of one key on their way out together.

    Attributes:
        key: what they have in common.
        elements: in order of arrival; never empty.
        items: items in all of them.
        size: bytes of all of them.
        reason: why it closed; None while it is open.
    """

    __slots__ = ("elements", "items", "key", "reason", "size")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.elements: list[T] = []
        self.items = 0
        self.size = 0
        self.reason: Reason | None = None


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

    __slots__ = ("_max_bytes", "_max_items", "_max_keys", "_open", "_split", "_weigh", "items")

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
        self.items = 0  # held in open batches

    def offer(self, key: Hashable, element: T) -> tuple[list[Batch[T]], Batch[T] | None]:
        """Add one element.

        Returns:
            The batches that this closed, to be sent in this order, and the batch that it
            opened, for which a timer is wanted.
        """
        items, size = self._weigh(element)
        closed: list[Batch[T]] = []
        full: list[T] = []
        if items > self._max_items or size > self._max_bytes:
            # Before anything changes: what cannot be split must take no batch with it.
            *full, element = self._split(element, self._max_items, self._max_bytes)
            items, size = self._weigh(element)
        batch = self._open.get(key)
        if batch is not None and (full or not self._fits(batch, items, size)):
            closed.append(self._close(batch, Reason.FULL))
            batch = None
        closed += [self._alone(key, part) for part in full]
        opened: Batch[T] | None = None
        if batch is None:
            if len(self._open) >= self._max_keys:
                oldest = next(iter(self._open.values()))
                closed.append(self._close(oldest, Reason.CROWDED))
            batch = opened = self._open[key] = Batch(key)
        batch.elements.append(element)
        batch.items += items
        batch.size += size
        self.items += items
        if batch.items >= self._max_items or batch.size >= self._max_bytes:
            closed.append(self._close(batch, Reason.FULL))
            opened = None
        return closed, opened

    def expire(self, batch: Batch[T]) -> bool:
        """Its time is up. True when that closed it, False when it was closed before."""
        if batch.reason is not None:
            return False
        self._close(batch, Reason.AGED)
        return True

    def flush(self, reason: Reason) -> list[Batch[T]]:
        """Close every open batch, in the order in which they were opened."""
        return [self._close(batch, reason) for batch in list(self._open.values())]

    def set_limit(
        self, *, max_items: int | None = None, max_bytes: int | None = None
    ) -> list[Batch[T]]:
        """Change limits from now on; a batch that is now over-full closes at once."""
        if max_items is not None:
            self._max_items = max_items
        if max_bytes is not None:
            self._max_bytes = max_bytes
        return [
            self._close(batch, Reason.FULL)
            for batch in list(self._open.values())
            if batch.items >= self._max_items or batch.size >= self._max_bytes
        ]

    def _fits(self, batch: Batch[T], items: int, size: int) -> bool:
        return batch.items + items <= self._max_items and batch.size + size <= self._max_bytes

    def _close(self, batch: Batch[T], reason: Reason) -> Batch[T]:
        del self._open[batch.key]
        batch.reason = reason
        self.items -= batch.items
        return batch

    def _alone(self, key: Hashable, element: T) -> Batch[T]:
        batch: Batch[T] = Batch(key)
        batch.items, batch.size = self._weigh(element)
        batch.elements.append(element)
        batch.reason = Reason.FULL
        return batch
