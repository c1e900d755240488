"""The demo's gateway. Copy it: `rxotlp run rxotlp.demo.pipeline:pipeline` runs the same.

Health checks go, passwords are blanked, every resource says where it ran. Logs are kept in
a file here; traces and metrics go on to the next receiver, several requests at once. Each
sender is answered when its own data has arrived there, not before.
"""

import os
from pathlib import Path
from typing import Any

import reactivex as rx
from reactivex import Observable

from rxotlp import Signal, TelemetryData, exporters, sources
from rxotlp import operators as ops

__all__ = ["gateway", "pipeline"]


def useful(span: Any) -> Any:
    """Nobody reads health checks."""
    return span.name != "GET /healthz"


def redact(record: Any) -> None:
    """Passwords stay at home. A record is its OTLP message, changed in place."""
    for attribute in record.attributes:
        if attribute.key == "user.password":
            attribute.value.string_value = "[redacted]"


def label(data: TelemetryData) -> TelemetryData:
    """Every resource says where it ran. A processor gets whole elements."""
    message = data.message
    _, groups = message.ListFields()[0]  # resource_spans, resource_metrics, resource_logs
    for group in groups:
        attribute = group.resource.attributes.add(key="deployment.environment.name")
        attribute.value.string_value = "demo"
    return data.derive(message)


def gateway(folder: Path, backend: str | None = None) -> Observable[Any]:
    """The stream: a Delivery for each request that left."""
    files = ops.export(exporters.File(folder / "logs.jsonl"), name="files")
    remote = ops.export(exporters.OtlpHttp(backend), max_concurrent=8, name="backend")
    return sources.otlp().pipe(
        ops.filter_records(useful, signal=Signal.TRACES),
        ops.map_records(redact, name="redact"),
        ops.chain(label, name="label"),
        ops.route(
            "signal",
            {Signal.LOGS: rx.compose(ops.batch(max_delay=0.05, name="log batch"), files)},
            default=rx.compose(ops.batch(max_delay=0.05), remote),
        ),
    )


pipeline = gateway(Path(os.environ.get("RXOTLP_DEMO_OUTPUT", ".")))  # OTEL_EXPORTER_OTLP_ENDPOINT
