"""What can become of telemetry, and which of several outcomes speaks for all.

The order is the order of what a sender must hear: one failed part makes the whole
retryable, and a rejection is told before a success. Pure values; no receipt, no clock.
"""

import enum
from dataclasses import dataclass

__all__ = [
    "ABANDONED",
    "DELIVERED",
    "DISPOSED",
    "FILTERED",
    "LONGEST_WAIT",
    "Cause",
    "Kind",
    "Outcome",
    "dropped",
    "failed",
    "rejected",
    "worst",
]

LONGEST_WAIT = 86_400.0  # seconds


class Kind(enum.IntEnum):
    """The kinds of outcome, from the best to the worst."""

    DELIVERED = 0  # a destination took it
    FILTERED = 1  # meant to go: success
    DROPPED = 2  # lost by a policy the user wrote: success upstream, alertable
    REJECTED = 3  # permanent: no retry can succeed
    FAILED = 4  # retryable


class Cause(enum.Enum):
    """Why something was rejected, where that decides what is done next."""

    OTHER = "other"
    BAD_DATA = "bad data"  # a part of it is bad, and the others may be delivered without it
    TOO_LARGE = "too large"  # smaller requests may be taken


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an element, or of `items` of its items.

    Attributes:
        kind: see `Kind`.
        reason: why, for people; empty for a plain success.
        retry_after: seconds the backend asked to wait; only with FAILED, None when unknown.
        items: how many items this is about; None means all. With REJECTED a smaller number
            means that the others were delivered (OTLP partial success).
        warning: what the destination wanted to be heard although nothing was rejected.
        cause: with REJECTED, whether it would help to send it in smaller requests.
        fits: with TOO_LARGE, the bytes of OTLP protobuf that would fit; None when unknown.
    """

    kind: Kind
    reason: str = ""
    retry_after: float | None = None
    items: int | None = None
    warning: str = ""
    cause: Cause = Cause.OTHER
    fits: int | None = None

    @property
    def success(self) -> bool:
        """True when nothing needs to be sent again or reported as lost."""
        return self.kind <= Kind.DROPPED


DELIVERED = Outcome(Kind.DELIVERED)
FILTERED = Outcome(Kind.FILTERED)
ABANDONED = Outcome(Kind.FAILED, "abandoned: the element was let go before any exporter took it")
DISPOSED = Outcome(Kind.FAILED, "disposed: the stream was disposed while it held the element")


def dropped(reason: str) -> Outcome:
    """Lost by a policy the user wrote."""
    return Outcome(Kind.DROPPED, reason)


def rejected(
    reason: str,
    *,
    items: int | None = None,
    cause: Cause = Cause.OTHER,
    fits: int | None = None,
) -> Outcome:
    """Permanently refused; `items` of it, or all.

    Args:
        reason: why, for people.
        items: how many, when the others were delivered.
        cause: BAD_DATA or TOO_LARGE have `ops.export` try again with parts of it.
        fits: bytes of OTLP protobuf that a smaller request may have.
    """
    return Outcome(Kind.REJECTED, reason, items=items, cause=cause, fits=fits)


def failed(reason: str, *, retry_after: float | None = None) -> Outcome:
    """Not delivered this time; a retry may succeed, after `retry_after` seconds if known.

    Of what a backend asks, a day is the most that is believed: a clock that is wrong over there
    must not put data off for years.
    """
    if retry_after is not None:
        retry_after = min(max(0.0, retry_after), LONGEST_WAIT)
    return Outcome(Kind.FAILED, reason, retry_after)


def worst(first: Outcome, second: Outcome) -> Outcome:
    """The outcome that speaks for both; of two failures the one with the longer wait."""
    if second.kind > first.kind:
        return second
    if (
        second.kind is Kind.FAILED
        and first.kind is Kind.FAILED
        and (second.retry_after or 0.0) > (first.retry_after or 0.0)
    ):
        return second
    return first
