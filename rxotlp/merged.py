"""Merged elements: one in place of several, that still knows its parts.

A merged element holds its parts' bytes one after another, and for each part its size and its
share, never the element, which would then not count as gone. Sizes are enough to find the
parts again after the bytes have been joined, so joining keeps nothing twice.
"""

from types import MappingProxyType
from typing import TYPE_CHECKING

from rxotlp._core.outcomes import DELIVERED
from rxotlp.wire.signals import Signal

if TYPE_CHECKING:
    from rxotlp.data import TelemetryData
    from rxotlp.shares import Share

__all__ = ["apart", "divide", "merge", "outgoing"]


def merge(elements: "list[TelemetryData]") -> "TelemetryData":
    """See `TelemetryData.merge`; 2 or more."""
    first = elements[0]
    signal = first._signal
    metadata = first._metadata
    chunks: list[bytes] = []
    shares: list[Share] = []
    parts: list[tuple[int, Share | None]] = []
    items = 0
    for element in elements:
        if element._signal is not signal:
            raise ValueError(
                f"TelemetryData.merge({signal.value} and {element._signal.value}): "
                "expected one signal; a request carries no other"
            )
        if element._metadata is not metadata and element._metadata != metadata:
            metadata = MappingProxyType(dict(metadata.items() & element._metadata.items()))
        own = element._parts
        if own is None and signal is Signal.PROFILES:
            element.to_bytes()  # a part of a profiles request is one whole request
            own = element._parts
        chunks += element._chunks
        share = element._share
        if share is not None:
            shares.append(share)
        if own is not None:
            parts += own
        else:
            parts.append((sum(map(len, element._chunks)), share))
        if items >= 0:
            items = items + element._items if element._items >= 0 else -1
    made = first._new(signal, tuple(chunks), items, metadata, None)
    if shares:
        made._parts = tuple(parts)
        made._share = _join(shares, made.items)
    return made


def outgoing(element: "TelemetryData") -> "TelemetryData":
    """See `TelemetryData._outgoing`."""
    chunks = element._chunks  # before the parts: see `TelemetryData.to_bytes`
    parts = element._parts
    if parts is None:
        return element
    gone = [share is not None and share.withdrawn for _, share in parts]
    if not any(gone):
        return element
    payload = memoryview(b"".join(chunks))
    kept: list[bytes] = []
    items = element.items
    position = 0
    for (size, share), withdrawn in zip(parts, gone, strict=True):
        if not withdrawn:
            kept.append(bytes(payload[position : position + size]))
        elif share is not None:
            items -= share.items
        position += size
    made = element._new(element._signal, tuple(kept), items, element._metadata, element._share)
    made._parts = tuple(part for part, withdrawn in zip(parts, gone, strict=True) if not withdrawn)
    return made


def apart(element: "TelemetryData", *, max_items: int, max_bytes: int) -> "list[TelemetryData]":
    """It cut between its parts, into elements that still know theirs and speak for it.

    What one part alone is too large for is larger than the limits. When its parts are not
    known, the list holds the element itself.
    """
    made: list[TelemetryData] = []
    for group, shares in divide(element, fits=max_bytes, most=max_items):
        group._share = _join(shares, group.items)
        made.append(group)
    share = element._share
    if not made or share is None:
        return [element]
    share.verdict(DELIVERED)  # nothing of its own: the groups speak for its parts
    share.retire()
    return made


def divide(
    element: "TelemetryData", *, fits: int | None, most: int | None = None
) -> "list[tuple[TelemetryData, list[Share]]]":
    """Groups of its parts, in order, for those who must tell its senders apart.

    Args:
        element: a merged one; its own share is not looked at.
        fits: bytes of a group, unless a part alone is larger; None for two halves.
        most: items of a group, the same way; only with `fits`.

    Returns:
        For each group an element without a share, and the shares of its parts. Nothing when
        it has not two parts with shares of their own.
    """
    parts = element._parts
    if parts is None or len(parts) < 2:
        return []
    shares: list[Share] = [share for _, share in parts if share is not None]
    if len(shares) < len(parts):
        return []
    chunks = element._chunks
    if element._signal is not Signal.PROFILES:
        chunks = (b"".join(chunks),)
    if fits is None:
        starts = [0, len(parts) // 2]
    else:
        starts, room, places = [], 0, 0
        for at, (size, _) in enumerate(parts):
            count = shares[at].items if most is not None else 0
            if not starts or size > room or count > places:
                starts.append(at)
                room, places = fits, most or 0
            room -= size
            places -= count
        if len(starts) == 1:  # they say it would fit, and it did not
            starts = [0, len(parts) // 2]
    groups: list[tuple[TelemetryData, list[Share]]] = []
    before = 0
    for start, end in zip(starts, [*starts[1:], len(parts)], strict=True):
        size = sum(size for size, _ in parts[start:end])
        if element._signal is Signal.PROFILES:
            payload = chunks[start:end]
        else:
            payload = (chunks[0][before : before + size],)
        items = sum(share.items for share in shares[start:end])
        before += size
        made = element._new(element._signal, payload, items, element._metadata, None)
        made._parts = parts[start:end]
        groups.append((made, shares[start:end]))
    return groups


def _join(shares: "list[Share]", items: int) -> "Share":
    from rxotlp.shares import Share

    return Share.join(shares, items)
