"""The gateway of P6, run by `rxotlp run`: bounds as by default, senders that wait or are refused.

BENCH_BACKEND=URL rxotlp run benchmarks.overloaded:pipeline \\
        --listen http=127.0.0.1:4318
"""

import os

from rxotlp import exporters, sources
from rxotlp import operators as ops

__all__ = ["pipeline"]

_BACKEND = os.environ.get("BENCH_BACKEND", "http://127.0.0.1:4318")

pipeline = sources.otlp(
    grpc=None,
    http="127.0.0.1:0",
    validate="full",
    when_full="reject" if os.environ.get("BENCH_FULL") == "reject" else "wait",
).pipe(
    ops.batch(max_items=8192, max_bytes=64 << 20, max_delay=0.2),
    ops.export(exporters.OtlpHttp(_BACKEND, compression="none")),
)
