"""A request that is over the destination's limit leaves in portions (C8).

What is still too large as a single record can only be refused. The outcome is one for the
whole: refused items add up, and a failure ends the sending, because everything will be
sent again and each further portion would only arrive twice.
"""

from collections.abc import Awaitable, Callable, Iterator

from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, rejected
from rxotlp.data import TelemetryData

__all__ = ["send"]


async def send(
    data: TelemetryData,
    *,
    encode: Callable[[TelemetryData], bytes],
    limit: int,
    deliver: Callable[[bytes, TelemetryData], Awaitable[Outcome]],
    destination: str,
) -> Outcome:
    """Deliver `data` in as few requests of at most `limit` bytes as it takes."""
    body = encode(data)
    if len(body) <= limit:
        return await deliver(body, data)
    refused = 0
    reasons: list[str] = []
    warnings: list[str] = []
    for portion, part in _portions(data, body, encode, limit):
        if portion is None:
            outcome = rejected(
                f"{destination}: {part.items} {part.signal.names.items} of {part.size} bytes "
                f"cannot be split to fit a request of {limit} bytes"
            )
        else:
            outcome = await deliver(portion, part)
        if outcome.kind is Kind.FAILED:
            return outcome
        if outcome.kind is Kind.REJECTED:
            refused += part.items if outcome.items is None else outcome.items
            reasons.append(outcome.reason)
        if outcome.warning:
            warnings.append(outcome.warning)
    if refused:
        return rejected(_few(reasons), items=None if refused >= data.items else refused)
    return Outcome(Kind.DELIVERED, warning=_few(warnings)) if warnings else DELIVERED


def _portions(
    data: TelemetryData, body: bytes, encode: Callable[[TelemetryData], bytes], limit: int
) -> Iterator[tuple[bytes | None, TelemetryData]]:
    """Requests within the limit, in order; None in place of one that cannot be made."""
    # In JSON the body is larger than the element: aim at the same proportion.
    parts = data.split(max_bytes=max(1, limit * data.size // len(body)))
    if len(parts) == 1:
        if data.items <= 1:
            yield None, data
            return
        parts = data.split(max_items=(data.items + 1) // 2)
    for part in parts:
        portion = encode(part)
        if len(portion) <= limit:
            yield portion, part
        else:
            yield from _portions(part, portion, encode, limit)


def _few(texts: list[str]) -> str:
    """The different ones of `texts`, the first three at most."""
    different = list(dict.fromkeys(texts))
    more = f"; and {len(different) - 3} more" if len(different) > 3 else ""
    return "; ".join(different[:3]) + more
