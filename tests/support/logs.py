"""Small log requests whose records carry numbered ids, for tests that count them."""

from collections.abc import Iterable

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from rxotlp.data import Signal, TelemetryData

__all__ = ["ids_of", "logs"]


def logs(ids: Iterable[int], *, service: str = "test") -> TelemetryData:
    """One element with a record for each id, in order."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    scope = group.scope_logs.add()
    for number in ids:
        scope.log_records.add().body.int_value = number
    return TelemetryData.from_bytes(Signal.LOGS, request.SerializeToString())


def ids_of(data: TelemetryData) -> list[int]:
    """The ids of an element's records, in order."""
    request = ExportLogsServiceRequest.FromString(data.to_bytes())
    return [
        record.body.int_value
        for group in request.resource_logs
        for scope in group.scope_logs
        for record in scope.log_records
    ]
