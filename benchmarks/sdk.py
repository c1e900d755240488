"""What does an ended span cost the application's thread, against the SDK's batch processor?

Unit: a ratio, our CPU time in the calling thread by the peer's in the same round, for
`on_end` alone; both sides alternate, the median of the rounds counts and the smallest and
largest are printed. The goal is at most one.
Baseline: opentelemetry-sdk's `BatchSpanProcessor`, with queue and batch of the same size and
an exporter that does nothing. Both encode nothing here and their workers wake up: what is
measured is the way in.
Blind spot: one span over and over, and a worker that has nothing to do does not compete for
the GIL; what encoding costs stands in `benchmarks.sdk_encoding`.

    python -m benchmarks.sdk
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor as Peer
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from rxotlp import exporters
from rxotlp.sdk import BatchSpanProcessor

__all__ = ["on_end"]


class _Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def on_end(*, rounds: int = 21, spans: int = 5000) -> list[dict[str, Any]]:
    """Measure the way into a queue that has room.

    Args:
        rounds: 5 or more for a claim.
        spans: ended in a round by each side.
    """
    kept: list[ReadableSpan] = []

    class Keep(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            kept.append(span)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Keep())
    provider.get_tracer("benchmark").start_span("one").end()
    (span,) = kept
    room = 2 * spans

    def ours() -> SpanProcessor:
        return BatchSpanProcessor(
            exporter=exporters.Memory(), max_queue_size=room, max_export_batch_size=room
        )

    def peer() -> SpanProcessor:
        return Peer(_Nowhere(), max_queue_size=room, max_export_batch_size=room)

    pairs = [
        (_measure(ours, span, spans), _measure(peer, span, spans)) for _ in range(max(1, rounds))
    ]
    ratios = [mine / theirs for mine, theirs in pairs]
    return [
        {
            "job": "on_end",
            "ours_ns": statistics.median(mine for mine, _ in pairs),
            "peer_ns": statistics.median(theirs for _, theirs in pairs),
            "ratio": statistics.median(ratios),
            "spread": (min(ratios), max(ratios)),
        }
    ]


def _measure(make: Callable[[], SpanProcessor], span: ReadableSpan, spans: int) -> float:
    """Nanoseconds of this thread's CPU for a span; the first one, which starts threads, apart."""
    processor = make()
    processor.on_end(span)
    began = time.thread_time_ns()
    for _ in range(spans):
        processor.on_end(span)
    spent = time.thread_time_ns() - began
    processor.shutdown()
    return spent / spans


def main() -> None:
    """Measure and print."""
    print("| work | ours, ns | peer, ns | ratio | spread |")
    print("| --- | --- | --- | --- | --- |")
    for row in on_end():
        low, high = row["spread"]
        print(
            f"| {row['job']} | {row['ours_ns']:.0f} | {row['peer_ns']:.0f} | {row['ratio']:.2f} "
            f"| {low:.2f} to {high:.2f} |"
        )


if __name__ == "__main__":
    main()
