"""What do sampling without decoding, and a queue between two schedulers, save and cost?

Unit: for `sample_ratio` a ratio, the peer's time by ours in the same round; the two
alternate, the median of the rounds counts, the smallest and largest are printed. For `queue`
microseconds an element, with it less without it.
Baseline: the same decisions on OTLP's own messages, decoded, changed and encoded; the same
pipeline without the queue.
Freed memory is kept, as every receiver keeps it (`rxotlp.sources.memory`).
Blind spot: one request again and again, from memory; trace ids are random and no span has a
tracestate, which is what SDKs send today; the exporter does nothing.

    sample_ratio   at least 3x as fast as on messages
    queue          at most 10 us an element

    python -m benchmarks.operators
"""

import random
import statistics
import time
from functools import partial
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.wire import _compare as compare
from benchmarks.workloads import payload
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp._core.sampling import decide, decide_all, threshold_of
from rxotlp.data import Signal, TelemetryData
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import SyncScheduler
from rxotlp.sources.iterable import from_iterable
from rxotlp.sources.memory import keep_freed_memory
from rxotlp.wire.traces import Decide, by_trace

__all__ = ["hand_over", "sampling"]


def sampling(*, rounds: int = 9, items: int | None = None) -> list[dict[str, Any]]:
    """`sample_ratio` by the same on messages, for three ratios."""
    keep_freed_memory()
    request = ExportTraceServiceRequest.FromString(payload("spans", items=items)[1])
    chance = random.Random(1)
    for group in request.resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                span.trace_id = chance.randbytes(16)
    data = request.SerializeToString()
    results = []
    for ratio in (0.1, 0.5, 0.9):
        threshold = threshold_of(ratio)
        choose = partial(decide_all, threshold=threshold)
        kept = by_trace(data, choose)
        assert kept is not None
        made = ExportTraceServiceRequest.FromString(kept[0])
        assert made == ExportTraceServiceRequest.FromString(_on_messages(data, threshold))
        ours = partial(_kept, data, choose)
        peer = partial(_sampled_messages, data, threshold)
        results.append(compare(f"sample_ratio({ratio})", "spans", ours, peer, rounds))
    return results


def _kept(data: bytes, choose: Decide) -> list[bytes]:
    made = by_trace(data, choose)
    return [] if made is None else [made[0]]


def _sampled_messages(data: bytes, threshold: int) -> list[bytes]:
    return [_on_messages(data, threshold)]


def _on_messages(data: bytes, threshold: int) -> bytes:
    request = ExportTraceServiceRequest.FromString(data)
    for group in request.resource_spans:
        for scope in group.scope_spans:
            spans = scope.spans
            for index in reversed(range(len(spans))):
                span = spans[index]
                state = decide(span.trace_id, span.trace_state, threshold)
                if state is None:
                    del spans[index]
                else:
                    span.trace_state = state
    return request.SerializeToString()


def hand_over(*, rounds: int = 5, elements: int = 5000) -> list[float]:
    """Microseconds an element that a queue to another scheduler adds, a round each."""
    other = SyncScheduler()
    try:
        added = []
        for _ in range(rounds):
            without = _pipeline(elements, ops.export(_Nowhere()))
            added.append(
                _pipeline(
                    elements, ops.queue(scheduler=other), ops.export(_Nowhere(), scheduler=other)
                )
                - without
            )
        return [seconds / elements * 1e6 for seconds in added]
    finally:
        other.close()


class _Nowhere:
    def export(self, data: TelemetryData) -> Outcome:
        return DELIVERED


def _pipeline(elements: int, *operators: Any) -> float:
    _, data = payload("tiny")
    element = TelemetryData.from_bytes(Signal.TRACES, data)
    start = time.perf_counter()
    with Pipeline(from_iterable([element] * elements).pipe(*operators)) as pipeline:
        assert pipeline.wait(120)
    return time.perf_counter() - start


def main() -> None:
    """Print both."""
    for row in sampling():
        met = "met" if row["ratio"] >= 3 else "missed"
        spread = "{:.2f}-{:.2f}".format(*row["spread"])
        print(f"{row['job']}  {row['ratio']:.2f}x ({spread}), at least 3x: {met}")
    added = hand_over()
    middle = statistics.median(added)
    met = "met" if middle <= 10 else "missed"
    print(f"queue  {middle:.1f} us ({min(added):.1f}-{max(added):.1f}), at most 10 us: {met}")


if __name__ == "__main__":
    main()
