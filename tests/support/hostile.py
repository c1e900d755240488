"""Hostile input for Hypothesis: good requests with damage, and how many of them."""

import json
import os
import resource
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

__all__ = ["SOAK", "json_requests", "many", "mutated", "peak_of"]

SOAK = os.environ.get("RXOTLP_SOAK") == "1"


def many(examples: int) -> settings:
    """So many examples; in a soak twenty times as many, and others each time."""
    return settings(
        max_examples=examples * (20 if SOAK else 1),
        deadline=None,
        derandomize=not SOAK,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Something good with a few bytes changed, cut out, doubled or put in."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        stop = min(len(data), at + draw(st.integers(0, 12)))
        match draw(st.integers(0, 4)):
            case 0:
                data[at:stop] = draw(st.binary(max_size=12))
            case 1:
                data[at:at] = data[at:stop] * draw(st.sampled_from([1, 2, 50]))
            case 2:
                del data[at:]
            case 3:
                data[at:stop] = draw(st.sampled_from(INTERESTING))
            case _:
                if at < len(data):
                    data[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


# Varints at their limits, lengths beyond the end, groups, field 0, bad UTF-8, numbers.
INTERESTING = [
    b"\xff" * 9 + b"\x01",
    b"\xff" * 10,
    b"\x80" * 10 + b"\x01",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\x07",
    b"\x0b\x0c",
    b"\x00",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"NaN",
    b"-1e999",
    b'"\\ud800"',
    b"\\u0000",
    b"null",
    b"{}",
    b"[]",
    b"[" * 200,
    b"9" * 5000,
    b"18446744073709551616",
    b"1.5",
    b"\x00" * 64,
]


NAMES = (
    *("resourceSpans", "scopeSpans", "spans", "resourceLogs", "scopeLogs", "logRecords"),
    *("resourceMetrics", "scopeMetrics", "metrics", "gauge", "sum", "dataPoints", "resource"),
    *("attributes", "key", "value", "stringValue", "intValue", "arrayValue", "kvlistValue"),
    *("values", "traceId", "spanId", "startTimeUnixNano", "kind", "status", "code", "asInt"),
    *("asDouble", "severityNumber", "body", "flags", "name", "bucketCounts", "quantileValues"),
    *("trace_id", "timeUnixNano", "unknownField"),
)


def json_requests() -> st.SearchStrategy[bytes]:
    """JSON of the right shape with the wrong things in it."""
    leaf: st.SearchStrategy[Any] = (
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats()
        | st.text(max_size=8)
        | st.sampled_from(["5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "AQ==", "1e3"])
    )
    names = st.sampled_from(NAMES)
    tree = st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
        max_leaves=25,
    )
    return tree.map(lambda value: json.dumps(value).encode())


def peak_of(function: Callable[[], object]) -> int:
    """Bytes by which the process's peak grew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    function()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
