"""`OtlpHttp`: arguments, environment, secrets and TLS."""

import logging
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rxotlp._core.outcomes import DELIVERED, Kind
from rxotlp.data import TelemetryData
from rxotlp.exporters import OtlpHttp
from tests.support.http_export import export
from tests.support.otlp_http_server import Reply, Server, serve

Make = Callable[..., TelemetryData]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that takes everything unless a test scripts it."""
    with serve() as server:
        yield server


# -- configuration ----------------------------------------------------------------------------


def test_the_environment_configures_it(
    server: Server, spans: Make, logs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environment: the signal's own wins, a general endpoint is a base URL."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"{server.url}/my/logs")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    assert export(OtlpHttp(), spans(1), logs()) == [DELIVERED, DELIVERED]
    traces, records = server.requests
    assert (traces.path, records.path) == ("/v1/traces", "/my/logs")
    assert traces.headers["api-key"] == "a b"
    assert traces.headers["content-encoding"] == "gzip"


def test_arguments_win_over_the_environment(
    server: Server, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the code says is more deliberate than what the machine says."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    export(OtlpHttp(compression="none", headers={"x": "y"}), spans(1))
    export(OtlpHttp(protocol="http/protobuf"), spans(1))
    request, binary = server.requests
    assert "content-encoding" not in request.headers
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x"] == "y"
    assert binary.headers["content-type"] == "application/x-protobuf"
    assert binary.headers["content-encoding"] == "gzip"


def test_the_environments_protocol_does_not_unmake_the_exporter(
    server: Server, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes OtlpHttp has chosen HTTP: paths are added though PROTOCOL says grpc."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
    assert export(OtlpHttp(), spans(1)) == [DELIVERED]
    assert server.requests[0].path == "/v1/traces"


def test_an_explicit_endpoint_gets_none_of_the_environments_headers(
    server: Server, spans: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold a credential for another destination."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
    export(OtlpHttp(server.url), spans(1))
    assert "api-key" not in server.requests[0].headers


def test_an_ipv6_address_is_written_with_brackets() -> None:
    """`::1:4318` in a message could be any address."""
    assert repr(OtlpHttp("http://[::1]:4318")) == "<OtlpHttp to [::1]:4318>"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"endpoint": "localhost:4318"}, "expected http://HOST"),
        ({"endpoint": "http://"}, "expected http://HOST"),
        ({"compression": "lzma"}, "compression='lzma'"),
        ({"protocol": "grpc"}, "protocol='grpc'"),
        ({"timeout": 0}, "timeout=0"),
        ({"max_request_size": 0}, "max_request_size=0"),
        ({"max_connections": 0}, "max_connections=0"),
        ({"headers": {"a b": "c"}}, "name of header 1 is no header name"),
        ({"headers": {"a": "c\r\nd"}}, "no line break"),
        ({"client_key": "key.pem"}, "client_certificate"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(arguments: dict[str, Any], text: str) -> None:
    """Where the pipeline is written, not with the first element."""
    with pytest.raises(ValueError, match=text):
        OtlpHttp(**arguments)


def test_no_secret_is_in_any_text(
    server: Server, spans: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Reprs, reasons and logs are read by many; the server even repeats the key."""
    caplog.set_level(logging.DEBUG)
    server.script = lambda request: Reply(
        403, f"bad {request.headers['authorization']}, really: sEcReT-1".encode()
    )
    url = server.url.replace("//", "//user:sEcReT-2@") + "?key=sEcReT-3"
    exporter = OtlpHttp(url, headers={"Authorization": "Bearer sEcReT-1"})
    (outcome,) = export(exporter, spans(1))
    texts = [repr(exporter), str(vars(exporter)), outcome.reason, caplog.text]
    texts.append(exporter.destination)
    assert not [text for text in texts if "sEcReT" in text]
    assert "bad ***" in outcome.reason


def test_credentials_in_a_url_become_a_header(server: Server, spans: Make) -> None:
    """And appear in the URL and the messages no more."""
    server.script = lambda request: Reply(403, request.headers["authorization"].encode())
    (outcome,) = export(OtlpHttp(server.url.replace("//", "//user:word@")), spans(1))
    assert server.requests[0].headers["authorization"] == "Basic dXNlcjp3b3Jk"
    assert outcome.reason.endswith("answered 403: ***")


# -- TLS --------------------------------------------------------------------------------------


def test_tls_trusts_the_certificate_it_is_given(certificates: Any, spans: Make) -> None:
    """And nothing else: an unknown authority is a failure to connect."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.server.configure_cert(context)
    with serve(context=context) as server:
        trusted = OtlpHttp(server.url, certificate=certificates.ca_file)
        assert export(trusted, spans(1), spans(1)) == [DELIVERED, DELIVERED]
        (outcome,) = export(OtlpHttp(server.url), spans(1))
        assert outcome.kind is Kind.FAILED
        assert "certificate" in outcome.reason


def test_tls_shows_a_client_certificate(certificates: Any, spans: Make) -> None:
    """Mutual TLS; without one the server ends the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.server.configure_cert(context)
    certificates.authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with serve(context=context) as server:
        known = OtlpHttp(
            server.url,
            certificate=certificates.ca_file,
            client_certificate=certificates.client_file,
            client_key=certificates.client_key_file,
        )
        assert export(known, spans(1)) == [DELIVERED]
        unknown = OtlpHttp(server.url, certificate=certificates.ca_file)
        assert export(unknown, spans(1))[0].kind is Kind.FAILED


def test_an_unusable_certificate_file_is_named_at_once(tmp_path: Path) -> None:
    """Not with the first element, and not as `[X509] PEM lib`."""
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    with pytest.raises(OSError, match=r"ca\.pem"):
        OtlpHttp("https://localhost:4318", certificate=str(path))
