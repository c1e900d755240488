"""The body of a request: encoded once, and never larger than its destination's limit (C8, C15).

An attempt that fails is made again with the same element. Its body is kept for that, as long
as the element is: a retry must send the same bytes, and need not compress them again.
"""

from weakref import WeakKeyDictionary

from rxotlp._core.outcomes import Cause, Outcome, rejected
from rxotlp.data import TelemetryData

__all__ = ["Bodies", "too_large"]


class Bodies:
    """Bodies of elements that may be sent again."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[TelemetryData, bytes] = WeakKeyDictionary()

    def get(self, data: TelemetryData) -> bytes | None:
        """The body that was kept; None when there is none."""
        return self._kept.get(data) if self._kept else None

    def keep(self, data: TelemetryData, body: bytes) -> None:
        """Keep the body of a failed attempt."""
        if body is not data._chunks[0]:
            self._kept[data] = body


def too_large(destination: str, data: TelemetryData, size: int, limit: int) -> Outcome:
    """The outcome of a request of `size` bytes that is not sent, being over `limit`."""
    names = data.signal.names
    what = names.item if data.items == 1 else names.items
    return rejected(
        f"{destination}: {data.items} {what} in a request of {size} bytes; "
        f"the limit is {limit} bytes",
        cause=Cause.TOO_LARGE,
        # In JSON the body is larger than the element: aim at the same proportion.
        fits=max(1, limit * data.size // size),
    )
