"""The exporters' environment variables, each for both transports and over real sockets."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from rxotlp._core.outcomes import DELIVERED, Kind, Outcome
from rxotlp.data import Signal, TelemetryData
from rxotlp.exporters import OtlpGrpc, OtlpHttp
from rxotlp.testing import logs, spans
from tests.support import otlp_grpc_server, otlp_http_server
from tests.support.scripted import HANG, Backend, backend

KINDS: dict[str, Any] = {"grpc": OtlpGrpc, "http": OtlpHttp}
PREFIX = "OTEL_EXPORTER_OTLP_"

SetVariables = Callable[..., None]


@pytest.fixture(name="variables")
def _variables(monkeypatch: pytest.MonkeyPatch) -> SetVariables:
    """Sets OTEL_EXPORTER_OTLP_*."""

    def set_them(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(PREFIX + name, value)

    return set_them


def attempts(transport: str, *elements: TelemetryData) -> list[Outcome]:
    """What attempts come to with an exporter that was told nothing."""

    async def main() -> list[Outcome]:
        exporter = KINDS[transport]()
        try:
            return [await exporter.export(data) for data in elements]
        finally:
            await exporter.aclose()

    return asyncio.run(main())


def test_environment_endpoint_is_for_every_signal_and_the_signals_own_wins(
    transport: str, variables: SetVariables
) -> None:
    """Logs often go somewhere else."""
    with backend(transport) as general, backend(transport) as own:
        path = "/v1/logs" if transport == "http" else ""
        variables(ENDPOINT=general.url, LOGS_ENDPOINT=own.url + path)
        assert attempts(transport, spans([1]), logs([2])) == [DELIVERED, DELIVERED]
    assert [request.signal for request in general.requests] == [Signal.TRACES]
    assert [request.signal for request in own.requests] == [Signal.LOGS]


def test_environment_a_general_endpoint_is_a_base_and_a_signals_own_stands(
    variables: SetVariables,
) -> None:
    """`v1/traces` is added to the one and never to the other; HTTP alone has paths."""
    with otlp_http_server.serve() as server:
        variables(ENDPOINT=f"{server.url}/base/", LOGS_ENDPOINT=f"{server.url}/as/it/stands")
        assert attempts("http", spans([1]), logs([2])) == [DELIVERED, DELIVERED]
    paths = [request.path for request in server.requests]
    assert paths == ["/base/v1/traces", "/as/it/stands"]


def test_environment_headers_are_decoded_and_the_signals_own_win(
    transport: str, variables: SetVariables
) -> None:
    """As in W3C Baggage: percent-decoded, spaces around names and values ignored."""
    with backend(transport) as there:
        variables(
            ENDPOINT=there.url, HEADERS="api-key=a%20b , tenant=%2Fblue", LOGS_HEADERS="tenant=red"
        )
        assert attempts(transport, spans([1]), logs([2])) == [DELIVERED, DELIVERED]
    traces, records = there.requests
    assert (traces.headers["api-key"], traces.headers["tenant"]) == ("a b", "/blue")
    assert records.headers["tenant"] == "red"
    assert "api-key" not in records.headers


def test_environment_compression(transport: str, variables: SetVariables) -> None:
    """The signal's own wins here too."""
    with backend(transport) as there:
        variables(ENDPOINT=there.url, COMPRESSION="gzip", LOGS_COMPRESSION="none")
        assert attempts(transport, spans(range(50)), logs([2])) == [DELIVERED, DELIVERED]
    assert [request.data.items for request in there.requests] == [50, 1]
    if transport == "http":  # Python's gRPC does not show a handler how it was compressed
        encodings = [request.headers.get("content-encoding") for request in there.requests]
        assert encodings == ["gzip", None]


def test_environment_timeout_is_in_milliseconds(transport: str, variables: SetVariables) -> None:
    """As every duration in OpenTelemetry's environment; 300 read as seconds would hang."""
    with backend(transport, HANG) as there:
        variables(ENDPOINT=there.url, TIMEOUT="300")
        began = time.monotonic()
        (outcome,) = attempts(transport, spans([1]))
    assert outcome.kind is Kind.FAILED
    assert 0.25 <= time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("protocol", "content_type"),
    [("http/protobuf", "application/x-protobuf"), ("http/json", "application/json")],
)
def test_environment_protocol(variables: SetVariables, protocol: str, content_type: str) -> None:
    """Protobuf unless told otherwise."""
    with backend("http") as there:
        variables(ENDPOINT=there.url)
        attempts("http", spans([1]))
        variables(PROTOCOL="http/json", TRACES_PROTOCOL=protocol)
        attempts("http", spans([1]))
    kinds = [request.headers["content-type"] for request in there.requests]
    assert kinds == ["application/x-protobuf", content_type]


def test_environment_insecure_decides_where_there_is_no_scheme(variables: SetVariables) -> None:
    """gRPC takes endpoints without one; plain text must be asked for."""
    with backend("grpc") as there:
        address = there.url.removeprefix("http://")
        variables(ENDPOINT=address, INSECURE="true", TIMEOUT="2000")
        assert attempts("grpc", spans([1])) == [DELIVERED]
        variables(INSECURE="false")
        assert attempts("grpc", spans([1]))[0].kind is Kind.FAILED
    assert len(there.requests) == 1


@contextmanager
def _mutual_tls(transport: str, authority: trustme.CA) -> Iterator[str]:
    """A server that shows a certificate of the authority's and asks for one."""
    own = authority.issue_cert("localhost", "127.0.0.1")
    if transport == "grpc":
        credentials = grpc.ssl_server_credentials(
            [(own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes())],
            authority.cert_pem.bytes(),
            require_client_auth=True,
        )
        with otlp_grpc_server.serve(credentials=credentials) as calls:
            yield calls.url
        return
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with otlp_http_server.serve(context=context) as server:
        yield server.url


def test_environment_certificates(transport: str, variables: SetVariables, tmp_path: Path) -> None:
    """CERTIFICATE says whom to trust, CLIENT_CERTIFICATE and CLIENT_KEY who we are."""
    authority = trustme.CA()
    client = authority.issue_cert("client@example.org")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    client.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    with _mutual_tls(transport, authority) as url:
        variables(ENDPOINT=url, TIMEOUT="3000")
        assert attempts(transport, spans([1]))[0].kind is Kind.FAILED  # it trusts nobody here
        variables(CERTIFICATE=str(tmp_path / "ca.pem"))
        assert attempts(transport, spans([1]))[0].kind is Kind.FAILED  # it is not trusted
        variables(
            CLIENT_CERTIFICATE=str(tmp_path / "client.pem"), CLIENT_KEY=str(tmp_path / "client.key")
        )
        assert attempts(transport, spans([1])) == [DELIVERED]


def test_environment_without_variables_it_is_localhost_and_the_usual_port(transport: str) -> None:
    """A collector on the same machine is found without a word."""
    port = {"grpc": 4317, "http": 4318}[transport]
    assert KINDS[transport]().destination == f"localhost:{port}"


def test_environment_is_not_read_when_an_endpoint_is_given(
    transport: str, variables: SetVariables
) -> None:
    """Its headers may hold a credential, which is for the destination it was set up for."""
    variables(ENDPOINT="http://127.0.0.1:9", HEADERS="api-key=secret")

    async def main(there: Backend) -> Outcome:
        exporter = there.exporter()
        try:
            outcome: Outcome = await exporter.export(spans([1]))
            return outcome
        finally:
            await exporter.aclose()

    with backend(transport) as there:
        assert asyncio.run(main(there)) is DELIVERED
    assert "api-key" not in there.requests[0].headers
