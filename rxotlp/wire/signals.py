"""The four OTLP signals and what the protocol calls their parts.

Field numbers live beside this module; here are only names: message classes, HTTP paths
(OTLP specification, "OTLP/HTTP Request"), gRPC methods and the partial-success field.
"""

import enum
from dataclasses import dataclass

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.profiles.v1development import profiles_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

__all__ = ["Names", "Signal"]


@dataclass(frozen=True, slots=True)
class Names:
    """What OTLP calls one signal's messages, methods and fields."""

    request: type[Message]
    response: type[Message]
    http_path: str
    grpc_method: str
    rejected_field: str  # of the response's partial_success
    item: str  # singular, for texts
    items: str  # plural, for texts


class Signal(enum.Enum):
    """One kind of telemetry; every element of a stream carries exactly one."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"
    PROFILES = "profiles"

    # Members are singletons: identity hashing is right and twice as fast as Enum's.
    __hash__ = object.__hash__

    @property
    def names(self) -> Names:
        """The signal's names in the protocol."""
        return _NAMES[self]


_NAMES = {
    Signal.TRACES: Names(
        trace_service_pb2.ExportTraceServiceRequest,
        trace_service_pb2.ExportTraceServiceResponse,
        "/v1/traces",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "rejected_spans",
        "span",
        "spans",
    ),
    Signal.METRICS: Names(
        metrics_service_pb2.ExportMetricsServiceRequest,
        metrics_service_pb2.ExportMetricsServiceResponse,
        "/v1/metrics",
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        "rejected_data_points",
        "data point",
        "data points",
    ),
    Signal.LOGS: Names(
        logs_service_pb2.ExportLogsServiceRequest,
        logs_service_pb2.ExportLogsServiceResponse,
        "/v1/logs",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        "rejected_log_records",
        "log record",
        "log records",
    ),
    Signal.PROFILES: Names(
        profiles_service_pb2.ExportProfilesServiceRequest,
        profiles_service_pb2.ExportProfilesServiceResponse,
        "/v1development/profiles",
        "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
        "rejected_profiles",
        "profile",
        "profiles",
    ),
}
