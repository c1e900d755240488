"""Single pieces under pytest-benchmark, to watch while working on one of them.

Unit: seconds a call. Baseline: the same piece at another commit. Blind spot: absolute times
on a shared machine mean nothing; goals are judged by the ratios of `python -m benchmarks`.

    pytest benchmarks --benchmark-only
    pytest benchmarks --benchmark-disable      each once: does it still run?
"""

from typing import Any

import pytest

from benchmarks.graph import CHANGING, LOOKING, _ours
from benchmarks.processors import processors
from benchmarks.workloads import payload
from rxotlp.data import TelemetryData

PAYLOADS = ["spans", "spans-wide", "logs", "metrics", "tiny"]


@pytest.fixture(params=PAYLOADS)
def request_of(request: pytest.FixtureRequest) -> Any:
    """A signal and one encoded request of it."""
    return payload(request.param)


def test_count(benchmark: Any, request_of: Any) -> None:
    """Items of a request: tier 1."""
    assert benchmark(lambda: TelemetryData.from_bytes(*request_of).items) > 0


def test_split_in_two(benchmark: Any, request_of: Any) -> None:
    """Cut and encode: tier 1."""
    half = max(1, TelemetryData.from_bytes(*request_of).items // 2)
    parts = benchmark(lambda: TelemetryData.from_bytes(*request_of).split(max_items=half))
    assert len(parts) >= 1


def test_merge_sixteen(benchmark: Any, request_of: Any) -> None:
    """Join and encode: tier 0."""
    elements = [TelemetryData.from_bytes(*request_of) for _ in range(16)]
    merged = benchmark(lambda: TelemetryData.merge(elements).to_bytes())
    assert len(merged) == 16 * elements[0].size


def test_filter_half(benchmark: Any, request_of: Any) -> None:
    """A predicate on every record: tier 2."""
    seen = 0

    def every_other(_record: Any) -> bool:
        nonlocal seen
        seen += 1
        return seen % 2 == 0

    benchmark(lambda: TelemetryData.from_bytes(*request_of).filter_records(every_other))
    assert seen > 0


@pytest.mark.parametrize("fused", [False, True], ids=["5 stages", "fused"])
@pytest.mark.parametrize("functions", [LOOKING, CHANGING], ids=["look", "one changes"])
def test_graph(benchmark: Any, functions: Any, fused: bool) -> None:
    """One element through five functions with receipts and books."""
    element = TelemetryData.from_bytes(*payload("tiny"))
    push, seen = _ours(element, functions, fused)
    benchmark(push)
    assert seen() > 0


def test_processors_agree_with_messages() -> None:
    """`python -m benchmarks.processors` compares before it measures; once, small."""
    assert processors(rounds=1, items=20)
