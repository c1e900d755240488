"""Elements whose records carry numbered ids, so that a test can count every one of them."""

from collections.abc import Iterable
from random import Random
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from rxotlp.data import Signal, TelemetryData
from rxotlp.wire.values import any_value

__all__ = ["ids_of", "logs", "spans"]


def logs(ids: Iterable[int], *, service: str = "test") -> TelemetryData:
    """One element with a log record for each id, in order; the id is the record's body."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    scope = group.scope_logs.add()
    for number in ids:
        scope.log_records.add().body.int_value = number
    return TelemetryData.from_bytes(Signal.LOGS, request.SerializeToString())


def spans(ids: Iterable[int], *, service: str = "test", **attributes: Any) -> TelemetryData:
    """One element with a span for each id, in order; the id is the attribute `id`.

    Each is the root of a trace of its own, takes one second and has `attributes` besides.
    """
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    scope = group.scope_spans.add()
    for number in ids:
        dice = Random(number)  # the same id is the same span, in every run
        span = scope.spans.add(
            name=f"span {number}",
            trace_id=dice.randbytes(16),
            span_id=dice.randbytes(8),
            kind=1,
            start_time_unix_nano=1_700_000_000_000_000_000 + number,
            end_time_unix_nano=1_700_000_001_000_000_000 + number,
        )
        for key, value in {"id": number, **attributes}.items():
            span.attributes.add(key=key).value.CopyFrom(any_value(value))
    return TelemetryData.from_bytes(Signal.TRACES, request.SerializeToString())


def ids_of(data: TelemetryData) -> list[int]:
    """The ids of an element's records, in order.

    Raises:
        ValueError: it is of a signal that has none.
    """
    if data.signal is Signal.LOGS:
        return [int(record.body) for record in data.records()]
    if data.signal is Signal.TRACES:
        return [int(record.attributes["id"]) for record in data.records()]
    raise ValueError(f"ids_of({data!r}): expected logs or traces")
