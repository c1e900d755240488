"""The environment's part in the bridge: sizes, times, protocol, and preferences for metrics.

    OTEL_BSP_*, OTEL_BLRP_*        MAX_QUEUE_SIZE, MAX_EXPORT_BATCH_SIZE, SCHEDULE_DELAY and
                                   EXPORT_TIMEOUT (milliseconds)
    OTEL_EXPORTER_OTLP_METRICS_*   TEMPORALITY_PREFERENCE, DEFAULT_HISTOGRAM_AGGREGATION

An argument wins over its variable. A variable that cannot be used is logged and left aside,
as the specification wants it of an SDK: an application must start without its telemetry
being right. An argument that cannot be used is a ValueError.
"""

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
)

from rxotlp import exporters
from rxotlp.data import Signal
from rxotlp.operators._shell import check_count, check_seconds
from rxotlp.operators.export import Exporter

__all__ = ["Limits", "default_exporter", "limits", "preferred_aggregation", "preferred_temporality"]

_DELTA, _CUMULATIVE = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE
_KINDS = (
    Counter,
    UpDownCounter,
    Histogram,
    ObservableCounter,
    ObservableUpDownCounter,
    ObservableGauge,
)
_IN_DELTA: dict[str, tuple[type, ...]] = {  # metrics exporter specification
    "cumulative": (),
    "delta": (Counter, ObservableCounter, Histogram),
    "lowmemory": (Counter, Histogram),
}

DEFAULT_MAX_BYTES = 64 << 20  # bytes; as much as a receiver has in flight

logger = logging.getLogger("rxotlp")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a bridge holds, and for how long.

    Attributes:
        max_queue_size: items held at once, those under way and to be sent again included.
        max_queue_bytes: the same, encoded.
        max_export_batch_size: records in one batch.
        schedule_delay: seconds that the first record of a batch waits for others.
        export_timeout: seconds for one attempt, and for a shutdown.
    """

    max_queue_size: int
    max_queue_bytes: int
    max_export_batch_size: int
    schedule_delay: float
    export_timeout: float


def limits(
    call: str,
    prefix: str,
    delay: float,
    *,
    max_queue_size: int | None,
    max_queue_bytes: int | None,
    max_export_batch_size: int | None,
    schedule_delay: float | None,
    export_timeout: float | None,
    environ: Mapping[str, str] = os.environ,
) -> Limits:
    """Arguments first, then `prefix`_* of the environment, then the specification's defaults.

    Raises:
        ValueError, TypeError: an argument, named with its `call`, out of its range.
    """
    for name, value in (
        ("max_queue_size", max_queue_size),
        ("max_queue_bytes", max_queue_bytes),
        ("max_export_batch_size", max_export_batch_size),
    ):
        if value is not None:
            check_count(f"{call}({name}", value, why="nothing could ever be held")
    for name, seconds in (("schedule_delay", schedule_delay), ("export_timeout", export_timeout)):
        if seconds is not None:
            check_seconds(f"{call}({name}", seconds, why="nothing is done in no time")
    queue = max_queue_size or int(_number(environ, f"{prefix}_MAX_QUEUE_SIZE", 2048))
    batch = max_export_batch_size or min(
        int(_number(environ, f"{prefix}_MAX_EXPORT_BATCH_SIZE", 512)), queue
    )
    if batch > queue:
        raise ValueError(
            f"{call}(max_export_batch_size={batch}): expected at most max_queue_size={queue}; "
            "a batch larger than the buffer would never be full"
        )
    return Limits(
        queue,
        DEFAULT_MAX_BYTES if max_queue_bytes is None else max_queue_bytes,
        batch,
        schedule_delay or _number(environ, f"{prefix}_SCHEDULE_DELAY", delay * 1000) / 1000,
        export_timeout or _number(environ, f"{prefix}_EXPORT_TIMEOUT", 30_000) / 1000,
    )


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 <= value < math.inf:
        logger.warning("%s=%r: expected a number of 1 or more; using %d", name, text, default)
        return default
    return value


def default_exporter(signal: Signal) -> Exporter:
    """As OTEL_EXPORTER_OTLP_PROTOCOL says; over HTTP when it says nothing."""
    own = f"OTEL_EXPORTER_OTLP_{signal.value.upper()}_PROTOCOL"
    protocol = os.environ.get(own, "").strip() or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    return exporters.OtlpGrpc() if protocol.strip() == "grpc" else exporters.OtlpHttp()


def preferred_temporality(
    given: Mapping[type, AggregationTemporality] | None,
    environ: Mapping[str, str] = os.environ,
) -> dict[type, AggregationTemporality]:
    """Temporality of each kind of instrument; what is given wins."""
    name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    text = environ.get(name, "").strip() or "cumulative"
    delta = _IN_DELTA.get(text.lower())
    if delta is None:
        logger.warning("%s=%r: expected cumulative, delta or lowmemory", name, text)
        delta = ()
    return {kind: _DELTA if kind in delta else _CUMULATIVE for kind in _KINDS} | dict(given or {})


def preferred_aggregation(
    given: Mapping[type, Aggregation] | None,
    environ: Mapping[str, str] = os.environ,
) -> dict[type, Aggregation]:
    """Aggregation of histograms; what is given wins."""
    name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    text = environ.get(name, "").strip().lower() or "explicit_bucket_histogram"
    chosen: Aggregation = ExplicitBucketHistogramAggregation()
    if text == "base2_exponential_bucket_histogram":
        chosen = ExponentialBucketHistogramAggregation()
    elif text != "explicit_bucket_histogram":
        logger.warning(
            "%s=%r: expected explicit_bucket_histogram or base2_exponential_bucket_histogram",
            *(name, text),
        )
    return {Histogram: chosen} | dict(given or {})
