"""OpenTelemetry's consistent probability sampling, as arithmetic on 56 bits.

A trace carries 56 bits of randomness R: the last seven bytes of its id, or `rv` in the `ot`
entry of its tracestate. A sampler of a ratio has the threshold T = (1 - ratio) * 2**56 and
keeps what has R >= T. So everybody who samples at some ratio keeps the same traces, and who
samples at a lower one keeps some of those. What is kept says so, as `th` in the same entry:
1 / (1 - T / 2**56) spans stood where one is now.

    tracestate: ot=th:c;rv:ed9a3c4b2f1e05,vendor=x        one of four is kept

A span that was sampled before at a lower ratio keeps its threshold. One whose threshold
contradicts its randomness (R < T: it cannot have been kept) is taken to have none.

Specification: opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling
"""

from collections.abc import Sequence
from functools import lru_cache

__all__ = ["ALL", "decide", "decide_all", "text_of", "threshold_of"]

ALL = 1 << 56
_DIGITS = 14  # hexadecimal digits of 56 bits
_MOST_MEMBERS = 32  # W3C Trace Context, "tracestate limits"


def threshold_of(ratio: float) -> int:
    """The threshold that keeps `ratio` of all traces."""
    return ALL - round(ratio * ALL)


def text_of(threshold: int) -> str:
    """A threshold as `th` has it: hexadecimal, without zeros at the end."""
    return f"{threshold:014x}".rstrip("0") or "0"


def decide(trace_id: bytes, state: str, threshold: int) -> str | None:
    """Keep a span or not.

    Args:
        trace_id: 16 bytes.
        state: the span's tracestate.
        threshold: what it is sampled at.

    Returns:
        The tracestate it is kept with, `state` itself when that does not change; None when
        it is not kept.
    """
    randomness, before = _said(state) if state else (None, None)
    if randomness is None:
        randomness = int.from_bytes(trace_id[-7:])
    if randomness < threshold:
        return None
    if before is not None and threshold <= before <= randomness:
        return state
    return _with_threshold(state, threshold)


def decide_all(
    trace_ids: Sequence[bytes], states: Sequence[str], threshold: int
) -> list[str | None]:
    """The same for many; a span without a valid trace id keeps its tracestate."""
    least = threshold.to_bytes(7)
    fresh = _with_threshold("", threshold)
    if not any(states):  # bytes of one length compare as the numbers that they are
        return [
            (fresh if trace_id[9:] >= least else None) if len(trace_id) == 16 else ""
            for trace_id in trace_ids
        ]
    return [
        decide(trace_id, state, threshold) if len(trace_id) == 16 else state
        for trace_id, state in zip(trace_ids, states, strict=True)
    ]


@lru_cache(maxsize=1024)
def _said(state: str) -> tuple[int | None, int | None]:
    """What a tracestate says of randomness and threshold; what is malformed says nothing."""
    randomness = threshold = None
    for part in _members(state)[0]:
        key, _, value = part.partition(":")
        if key == "rv" and len(value) == _DIGITS:
            randomness = _hexadecimal(value)
        elif key == "th" and 0 < len(value) <= _DIGITS:
            threshold = _hexadecimal(value.ljust(_DIGITS, "0"))
    return randomness, threshold


def _hexadecimal(text: str) -> int | None:
    # `int` would take signs, underscores and blanks too.
    return int(text, 16) if set(text) <= set("0123456789abcdef") else None


def _members(state: str) -> tuple[list[str], list[str]]:
    """The parts of the `ot` entry, and the other entries."""
    ours: list[str] = []
    others: list[str] = []
    for member in filter(None, map(str.strip, state.split(","))):
        if member.startswith("ot="):
            ours = member[3:].split(";")
        else:
            others.append(member)
    return ours, others


@lru_cache(maxsize=1024)
def _with_threshold(state: str, threshold: int) -> str:
    """The tracestate with `th`; a changed entry goes to the front, as W3C has it."""
    ours, others = _members(state)
    kept = [part for part in ours if part and not part.startswith("th:")]
    entry = "ot=" + ";".join([f"th:{text_of(threshold)}", *kept])
    return ",".join([entry, *others[: _MOST_MEMBERS - 1]])
