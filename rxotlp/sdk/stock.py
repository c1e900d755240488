"""Batches from their encoding until their outcome is final, and the room that they leave.

The bound in bytes costs the application nothing, as it looks at no record there. What is
encoded is counted exactly; what is not yet is at most one batch, as full batches are encoded
at once, and counts as much a record as the batch before it did. From both follows how many
items there may be, which is what the way in compares:

    room = items encoded + (max_bytes - bytes encoded) / bytes of an item of the last batch

With nothing encoded the bound in items holds alone, so that one large record keeps nobody
out for ever. Of large records fewer make a batch, so that those under way fit the bound.
"""

from collections import deque

from rxotlp.data import TelemetryData
from rxotlp.sdk.settings import Limits

__all__ = ["WINDOW", "Batch", "Stock"]

WINDOW = 8  # batches under way at once; as many as `ops.export` sends


class Batch:
    """An encoded batch; its data is detached and stays until the outcome is final."""

    __slots__ = ("attempts", "data", "first", "items")

    def __init__(self, data: TelemetryData, first: int, items: int) -> None:
        self.data = data
        self.first = first  # items accepted before its own
        self.items = items
        self.attempts = 0


class Stock:
    """What is encoded and not done with. The worker's alone.

    Attributes:
        room: how many items may be held at once, encoded or not.
        batch: how many records make a full batch.
    """

    __slots__ = (
        "_again",
        "_bytes",
        "_each",
        "_fresh",
        "_items",
        "_limits",
        "_open",
        "batch",
        "room",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: dict[int, Batch] = {}
        self._again: deque[Batch] = deque()
        self._fresh: deque[Batch] = deque()
        self._items = 0
        self._bytes = 0
        self._each = 0  # bytes of an item of the last batch
        self.room = limits.max_queue_size
        self.batch = limits.max_export_batch_size

    def add(self, batch: Batch, records: int) -> None:
        """Keep what was encoded of so many records."""
        self._open[batch.first] = batch
        self._fresh.append(batch)
        self._items += batch.items
        self._bytes += batch.data.size
        self._each = -(-batch.data.size // batch.items)
        fitting = self._limits.max_queue_bytes // WINDOW * records // batch.data.size
        self.batch = max(1, min(self._limits.max_export_batch_size, fitting))
        self._measure()

    def next(self) -> Batch | None:
        """The batch that is to be sent next."""
        due = self._again or self._fresh
        return due.popleft() if due else None

    def put_back(self, batch: Batch) -> None:
        """It failed: it goes before those that were not sent yet."""
        self._again.append(batch)

    def finish(self, batch: Batch) -> None:
        """Its outcome is final."""
        if self._open.pop(batch.first, None) is not None:
            self._items -= batch.items
            self._bytes -= batch.data.size
            self._measure()

    def oldest(self, default: int) -> int:
        """How many items were accepted before the first that is open here."""
        return min(self._open, default=default)

    def clear(self) -> None:
        """Let go of everything."""
        self._open.clear()
        self._again.clear()
        self._fresh.clear()
        self._items = self._bytes = 0
        self._measure()

    def _measure(self) -> None:
        self.room = self._limits.max_queue_size
        if self._bytes:
            left = max(0, self._limits.max_queue_bytes - self._bytes)
            self.room = min(self.room, self._items + left // self._each)
