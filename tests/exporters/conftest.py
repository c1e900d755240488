"""What the exporters' tests share: telemetry, certificates, a clean environment."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from rxotlp.data import TelemetryData


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test must depend on what the machine's environment says."""
    for name in list(os.environ):
        if name.startswith("OTEL_EXPORTER_OTLP_"):
            monkeypatch.delenv(name)


@pytest.fixture
def spans() -> Callable[..., TelemetryData]:
    """Makes an element of n spans, each with a name of `padding` characters."""

    def make(count: int, *, padding: int = 4, service: str = "shop") -> TelemetryData:
        request = trace_service_pb2.ExportTraceServiceRequest()
        group = request.resource_spans.add()
        attribute = group.resource.attributes.add(key="service.name")
        attribute.value.string_value = service
        scope = group.scope_spans.add()
        for index in range(count):
            scope.spans.add(
                trace_id=(index + 1).to_bytes(16, "big"),
                span_id=(index + 1).to_bytes(8, "big"),
                name=f"{index:0{padding}d}",
                start_time_unix_nano=1_000_000_000,
                end_time_unix_nano=1_002_500_000,
            )
        return TelemetryData.from_message(request)

    return make


@pytest.fixture
def logs() -> Callable[..., TelemetryData]:
    """Makes an element of one log record with `body`."""

    def make(body: str = "hello") -> TelemetryData:
        request = logs_service_pb2.ExportLogsServiceRequest()
        record = request.resource_logs.add().scope_logs.add().log_records.add()
        record.body.string_value = body
        record.severity_text = "INFO"
        return TelemetryData.from_message(request)

    return make


@dataclass(frozen=True)
class Certificates:
    """An authority, a server's certificate from it and a client's."""

    authority: trustme.CA
    server: trustme.LeafCert
    ca_file: str
    client_file: str
    client_key_file: str


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made once; making keys is slow."""
    folder: Path = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    client = authority.issue_cert("client@example.org")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    client.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
    client.private_key_pem.write_to_path(str(folder / "client.key"))
    return Certificates(
        authority,
        authority.issue_cert("localhost", "127.0.0.1"),
        str(folder / "ca.pem"),
        str(folder / "client.pem"),
        str(folder / "client.key"),
    )
