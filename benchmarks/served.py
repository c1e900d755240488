"""rxotlp's side of P2 to P4: what a user would write, run by `rxotlp run`.

    BENCH_TRANSPORT=http BENCH_VALIDATE=shape BENCH_COMPRESSION=none BENCH_BACKEND=URL \\
        rxotlp run benchmarks.served:pipeline --listen http=127.0.0.1:4318

Receipts, books and validation are on: a sender is answered when its spans have arrived at
the backend. Batches close at 8192 items or after 200 ms, as the peers' do.
"""

import os

import reactivex as rx

from rxotlp import Signal, exporters, sources
from rxotlp import operators as ops

__all__ = ["pipeline"]

_TRANSPORT = os.environ.get("BENCH_TRANSPORT", "http")
_BACKEND = os.environ.get("BENCH_BACKEND", "http://127.0.0.1:4318")
_COMPRESSION = os.environ.get("BENCH_COMPRESSION", "none")
_HTTP = _TRANSPORT == "http"


def _backend() -> exporters.Exporter:
    if _HTTP:
        return exporters.OtlpHttp(_BACKEND, compression=_COMPRESSION)
    # One request has as many spans as the peers' have, whatever gRPC's usual limit.
    return exporters.OtlpGrpc(_BACKEND, compression=_COMPRESSION, max_request_size=64 << 20)


pipeline = sources.otlp(
    grpc=None if _HTTP else "127.0.0.1:0",
    http="127.0.0.1:0" if _HTTP else None,
    validate="full" if os.environ.get("BENCH_VALIDATE") == "full" else "shape",
).pipe(
    ops.route(
        "signal",
        {
            Signal.TRACES: rx.compose(
                ops.batch(max_items=8192, max_bytes=64 << 20, max_delay=0.2, name="traces"),
                ops.export(_backend(), name="traces out"),
            )
        },
        default=rx.compose(ops.batch(name="others"), ops.export(_backend(), name="others out")),
    )
)
