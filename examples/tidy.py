# tidy.py
from typing import Any

import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import Signal, TelemetryData, exporters, sources
from rxotlp import operators as ops


def wanted(data: TelemetryData) -> bool:
    """A function of a request, for reactivex's own operators."""
    return data.signal is not Signal.METRICS


def redact(record: Any) -> None:
    """One record: its OTLP message, changed in place."""
    for attribute in record.attributes:
        if attribute.key == "user.password":
            attribute.value.string_value = "[redacted]"


def by_service(data: TelemetryData) -> list[TelemetryData]:
    """One request: give back one, several, or None to filter it."""
    parts = data.split_by("service.name")
    return [part for service, part in parts if service != "load-generator"]


tidy = rx.compose(
    rx_ops.filter(wanted),
    ops.map_records(redact),
    ops.chain(by_service),
)

pipeline = sources.otlp().pipe(tidy, ops.batch(), ops.export(exporters.File("tidy.jsonl")))
