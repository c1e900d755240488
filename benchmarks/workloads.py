"""Seeded payloads for every benchmark: the same name, size and seed give the same bytes.

    name         shape                                                    bytes an item
    spans        512 spans a request, 1 resource, 10 attributes            ~380
    spans-wide   1000 spans a request, 4 resources, events and links       ~800
    logs         1000 records a request                                    ~360
    metrics      1000 data points a request, gauges, sums, histograms      ~200
    tiny         1 span a request                                          ~500

Blind spot: generated text compresses better, and repeats more evenly, than a program's.
"""

import random
from collections.abc import Callable
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from rxotlp.wire.signals import Signal

__all__ = ["NAMES", "described", "payload"]

_START = 1_760_000_000_000_000_000  # a fixed instant, ns
_ROUTES = ("/checkout", "/cart", "/products/{id}", "/users/{id}/orders", "/healthz", "/search")
_METHODS = ("GET", "POST", "PUT", "DELETE")
_WORDS = ("order", "payment", "accepted", "retry", "timeout", "cache", "miss", "user", "stock")


def payload(name: str, *, items: int | None = None, seed: int = 0) -> tuple[Signal, bytes]:
    """One export request.

    Args:
        name: one of `NAMES`.
        items: spans, records or data points in it; by default as the table says.
        seed: another seed gives other ids, times and values of the same shape.

    Raises:
        ValueError: there is no such workload.
    """
    if name not in _WORKLOADS:
        raise ValueError(f"payload({name!r}): expected one of {', '.join(NAMES)}")
    signal, default, make = _WORKLOADS[name]
    message = make(random.Random(f"{name} {seed}"), default if items is None else items)
    return signal, message.SerializeToString()


def described(name: str, *, items: int | None = None) -> str:
    """A workload's name with its size, for results."""
    _, default, _ = _WORKLOADS[name]
    size = len(payload(name, items=items)[1])
    return f"{name}: {default if items is None else items} items, {size} bytes a request"


def _resource(message: Any, index: int) -> None:
    _attributes(
        message.attributes,
        {
            "service.name": f"shop-{index}",
            "service.version": "1.14.2",
            "host.name": f"node-{index:03}.cluster.internal",
            "k8s.pod.name": f"shop-{index}-7d4b9c6f5-x2x{index}z",
            "telemetry.sdk.language": "python",
        },
    )


def _attributes(target: Any, values: dict[str, str | int | float | bool]) -> None:
    for key, value in values.items():
        made = target.add(key=key).value
        if isinstance(value, bool):
            made.bool_value = value
        elif isinstance(value, int):
            made.int_value = value
        elif isinstance(value, float):
            made.double_value = value
        else:
            made.string_value = value


def _request_attributes(random: random.Random) -> dict[str, str | int | float | bool]:
    return {
        "http.request.method": random.choice(_METHODS),
        "http.route": random.choice(_ROUTES),
        "http.response.status_code": random.choice((200, 200, 200, 404, 500)),
        "url.scheme": "https",
        "server.address": "shop.example.com",
        "server.port": 8443,
        "network.protocol.version": "1.1",
        "user.id": random.randrange(1_000_000),
        "cart.total": round(random.uniform(1, 500), 2),
        "cache.hit": random.random() < 0.5,
    }


def _span(span: Any, random: random.Random) -> None:
    span.trace_id = random.randbytes(16)
    span.span_id = random.randbytes(8)
    span.parent_span_id = random.randbytes(8)
    span.name = f"{random.choice(_METHODS)} {random.choice(_ROUTES)}"
    span.kind = random.randrange(1, 6)
    span.start_time_unix_nano = _START + random.randrange(10**9)
    span.end_time_unix_nano = span.start_time_unix_nano + random.randrange(10**8)
    span.status.code = random.choice((1, 2))
    _attributes(span.attributes, _request_attributes(random))


def _spread(groups: Any, scopes: str, resources: int, items: int) -> list[Any]:
    """Resource groups with a scope each; the scope for every item, in order."""
    resources = min(resources, items)  # none of them is empty
    made = []
    for index in range(resources):
        group = groups.add()
        _resource(group.resource, index)
        scope = getattr(group, scopes).add()
        scope.scope.name = "shop.instrumentation"
        scope.scope.version = "0.58b0"
        made.append(scope)
    return [made[item * resources // items] for item in range(items)]


def _spans(random: random.Random, items: int) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    for scope in _spread(request.resource_spans, "scope_spans", 1, items):
        _span(scope.spans.add(), random)
    return request


def _wide_spans(random: random.Random, items: int) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    for scope in _spread(request.resource_spans, "scope_spans", 4, items):
        span = scope.spans.add()
        _span(span, random)
        for name in ("request received", "exception"):
            event = span.events.add(name=name, time_unix_nano=span.start_time_unix_nano)
            _attributes(
                event.attributes,
                {"exception.type": "TimeoutError", "exception.message": " ".join(_WORDS)},
            )
        for _ in range(2):
            link = span.links.add(trace_id=random.randbytes(16), span_id=random.randbytes(8))
            _attributes(link.attributes, {"messaging.system": "kafka"})
    return request


def _logs(random: random.Random, items: int) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    for scope in _spread(request.resource_logs, "scope_logs", 1, items):
        record = scope.log_records.add()
        record.time_unix_nano = _START + random.randrange(10**9)
        record.observed_time_unix_nano = record.time_unix_nano + 1000
        record.severity_number = random.choice((5, 9, 9, 13, 17))
        record.severity_text = {5: "DEBUG", 9: "INFO", 13: "WARN", 17: "ERROR"}[
            int(record.severity_number)
        ]
        record.body.string_value = " ".join(random.choices(_WORDS, k=9))
        record.trace_id = random.randbytes(16)
        record.span_id = random.randbytes(8)
        attributes = _request_attributes(random)
        for key in ("url.scheme", "cart.total", "network.protocol.version"):
            del attributes[key]
        _attributes(record.attributes, attributes)
    return request


def _metrics(random: random.Random, items: int) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    _resource(group.resource, 0)
    scope = group.scope_metrics.add()
    scope.scope.name = "shop.instrumentation"
    points: list[Any] = []
    while len(points) < items:
        number = len(scope.metrics)
        metric = scope.metrics.add(
            name=f"shop.requests.{number}", description="what the shop did", unit="{request}"
        )
        kind = ("gauge", "sum", "histogram")[number % 3]
        data = getattr(metric, kind)
        if kind != "gauge":
            data.aggregation_temporality = 2
        for _ in range(min(20, items - len(points))):
            point = data.data_points.add()
            point.start_time_unix_nano = _START
            point.time_unix_nano = _START + random.randrange(10**9)
            if kind == "histogram":
                counts = [random.randrange(50) for _ in range(11)]
                point.bucket_counts.extend(counts)
                point.explicit_bounds.extend(float(bound) for bound in range(10))
                point.count = sum(counts)
                point.sum = random.uniform(0, 1e4)
            elif kind == "sum":
                point.as_int = random.randrange(10**6)
            else:
                point.as_double = random.uniform(0, 1)
            _point_attributes(point.attributes, random)
            points.append(point)
    return request


def _point_attributes(target: Any, random: random.Random) -> None:
    _attributes(
        target,
        {
            "http.request.method": random.choice(_METHODS),
            "http.route": random.choice(_ROUTES),
            "customer.tier": random.choice(("free", "gold")),
        },
    )


_WORKLOADS: dict[str, tuple[Signal, int, Callable[[random.Random, int], Any]]] = {
    "spans": (Signal.TRACES, 512, _spans),
    "spans-wide": (Signal.TRACES, 1000, _wide_spans),
    "logs": (Signal.LOGS, 1000, _logs),
    "metrics": (Signal.METRICS, 1000, _metrics),
    "tiny": (Signal.TRACES, 1, _spans),
}
NAMES = tuple(_WORKLOADS)
