"""TLS on the receiver: who is let in, which certificate is shown, and from when on."""

import http.client
import logging
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpSpanExporter,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from rxotlp.certificates import Reloaded
from rxotlp.schedulers import SyncScheduler
from rxotlp.security import Tls
from rxotlp.sources import otlp
from tests.support.tls import Keys, issue, keys_in

Receiver = Callable[..., Any]
Log = Callable[[], list[str]]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """Files of this test's own; some tests replace them."""
    return keys_in(tmp_path)


def post(server: Any, context: ssl.SSLContext, body: bytes) -> int:
    """One request over HTTPS, on a connection of its own."""
    connection = http.client.HTTPSConnection(
        "localhost", server.http_port, timeout=20, context=context
    )
    try:
        connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
        return connection.getresponse().status
    finally:
        connection.close()


def call(server: Any, keys: Keys, body: bytes, client: str | None = None) -> grpc.StatusCode:
    """One call over TLS, on a channel of its own."""

    def read(name: str) -> bytes:
        return Path(keys.file(name)).read_bytes()

    shown = (None, None) if client is None else (read(f"{client}.key"), read(f"{client}.pem"))
    credentials = grpc.ssl_channel_credentials(read("ca.pem"), *shown)
    address = server.grpc.replace("127.0.0.1", "localhost")
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with grpc.secure_channel(address, credentials, options) as channel:
        export = channel.unary_unary(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export", None, None
        )
        try:
            export(body, timeout=20)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return grpc.StatusCode.OK


def shown_by(address: str, context: ssl.SSLContext) -> bytes:
    """The certificate that a server shows, in DER."""
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return secure.getpeercert(binary_form=True) or b""


def der(pem: bytes) -> bytes:
    """The first certificate of a PEM text, in DER."""
    end = b"-----END CERTIFICATE-----\n"
    return ssl.PEM_cert_to_DER_cert((pem.partition(end)[0] + end).decode())


def sdk_exporter(transport: str, server: Any, keys: Keys, *, client: bool) -> SpanExporter:
    """The SDK's own, with its certificate or without."""
    if transport == "http":
        return HttpSpanExporter(
            f"https://localhost:{server.http_port}/v1/traces",
            certificate_file=keys.file("ca.pem"),
            client_key_file=keys.file("client.key") if client else None,
            client_certificate_file=keys.file("client.pem") if client else None,
            timeout=5,
        )

    def read(name: str) -> bytes:
        return Path(keys.file(name)).read_bytes()

    pair = (read("client.key"), read("client.pem")) if client else (None, None)
    return GrpcSpanExporter(
        f"https://localhost:{server.grpc.rpartition(':')[2]}",
        credentials=grpc.ssl_channel_credentials(read("ca.pem"), *pair),
        timeout=5,
    )


@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mutual"])
@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_the_sdks_exporters_are_served_over_tls(
    receiver: Receiver,
    keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
    mutual: bool,
) -> None:
    """They are whom a receiver is set up for."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # requests prefers them
        monkeypatch.delenv(variable, raising=False)
    with receiver(tls=keys.tls(mutual=mutual)) as server:
        provider = TracerProvider()
        exporter = sdk_exporter(transport, server, keys, client=mutual)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with provider.get_tracer("t").start_as_current_span("secret enough"):
            pass
        provider.shutdown()
        (data,) = server.seen
        assert [span.name for span in data.records()] == ["secret enough"]
        expected = "checkout.example" if mutual else None
        assert data.metadata.get("identity") == expected


def test_without_a_certificate_of_theirs_nobody_is_let_in(
    receiver: Receiver, keys: Keys, payloads: dict[str, bytes], log: Log
) -> None:
    """Mutual TLS: neither who shows none nor who shows one of another authority."""
    body = payloads["traces"]
    with receiver(tls=keys.tls(mutual=True)) as server:
        for client in (None, "other"):
            with pytest.raises(OSError):  # noqa: PT011  # of TLS or of the connection
                post(server, keys.context(client), body)
            assert call(server, keys, body, client) is grpc.StatusCode.UNAVAILABLE
        assert server.seen == []
        assert post(server, keys.context("client"), body) == 200
        assert call(server, keys, body, "client") is grpc.StatusCode.OK
        assert [data.metadata["identity"] for data in server.seen] == ["checkout.example"] * 2
        while len(log()) < 2:
            time.sleep(0.005)
        assert all("TLS handshake with 127.0.0.1:" in line for line in log())


def test_a_renewed_certificate_is_shown_to_new_connections(
    receiver: Receiver, keys: Keys, payloads: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Certificates last for days and receivers for months; no restart may be needed."""
    caplog.set_level(logging.INFO)
    body = payloads["traces"]
    renewed = issue("ours", "localhost", "renewed.example")
    with receiver(tls=keys.tls()) as server:
        addresses = (server.http, server.grpc)
        before = [shown_by(address, keys.context()) for address in addresses]
        kept = http.client.HTTPSConnection(
            "localhost", server.http_port, timeout=20, context=keys.context()
        )
        kept.connect()
        keys.put("server", renewed)
        assert [shown_by(address, keys.context()) for address in addresses] == [
            der(renewed.certificate)
        ] * 2
        assert der(renewed.certificate) not in before
        kept.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
        assert kept.getresponse().status == 200  # a connection that exists stays
        kept.close()
        assert post(server, keys.context(), body) == 200
        assert call(server, keys, body) is grpc.StatusCode.OK
    told = [line for line in caplog.messages if "read again" in line]
    assert len(told) == 1


def test_an_authority_that_is_no_longer_trusted_lets_nobody_in(
    receiver: Receiver, keys: Keys, payloads: dict[str, bytes]
) -> None:
    """Taking a client's authority out must work without a restart."""
    body = payloads["traces"]
    with receiver(tls=keys.tls(mutual=True)) as server:
        known = keys.context("client")
        assert post(server, known, body) == 200
        trusted = keys.context("other")
        keys.trust("ca.pem", "theirs")
        with pytest.raises(OSError):  # noqa: PT011  # of TLS or of the connection
            post(server, known, body)
        assert post(server, trusted, body) == 200
        keys.trust("ca.pem", "ours", "theirs")  # for the channel to trust the server
        assert call(server, keys, body, "other") is grpc.StatusCode.OK
        assert call(server, keys, body, "client") is grpc.StatusCode.OK
        assert [data.metadata["identity"] for data in server.seen] == [
            "checkout.example",
            "mallory.example",
            "mallory.example",
            "checkout.example",
        ]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_of_before_is_not_taken_up_again(
    receiver: Receiver, keys: Keys, payloads: dict[str, bytes], version: ssl.TLSVersion
) -> None:
    """A client that is no longer trusted must not come in by a ticket of when it was."""
    body = payloads["traces"]
    request = (
        b"POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"content-type: application/x-protobuf\r\ncontent-length: %d\r\n\r\n%s"
    ) % (len(body), body)
    context = keys.context("client")
    context.maximum_version = version

    def send(session: ssl.SSLSession | None) -> tuple[bytes, ssl.SSLSession | None]:
        with (
            socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as secure,
        ):
            secure.sendall(request)
            return secure.recv(12), secure.session

    with receiver(tls=keys.tls(mutual=True)) as server:
        answer, session = send(None)
        assert answer == b"HTTP/1.1 200"
        keys.trust("ca.pem", "theirs")
        with suppress(OSError):  # or the connection just ends
            assert send(session)[0] == b""
        assert len(server.seen) == 1


def test_files_that_cannot_be_used_leave_everything_as_it_was(
    receiver: Receiver, keys: Keys, payloads: dict[str, bytes], log: Log
) -> None:
    """A certificate is replaced a moment before its key; nobody may be turned away meanwhile."""
    renewed = issue("ours", "localhost", "renewed.example")
    body = payloads["traces"]
    with receiver(tls=keys.tls()) as server:
        certificate, key = Path(keys.file("server.pem")), Path(keys.file("server.key"))
        certificate.write_bytes(renewed.certificate)
        assert post(server, keys.context(), body) == 200
        assert call(server, keys, body) is grpc.StatusCode.OK
        (line,) = log()
        assert "stay as they were" in line
        assert "server.pem" in line
        assert "mismatch" in line.lower()
        key.unlink()
        assert post(server, keys.context(), body) == 200
        key.write_bytes(renewed.key)
        assert shown_by(server.http, keys.context()) == der(renewed.certificate)
        assert shown_by(server.grpc, keys.context()) == der(renewed.certificate)


def test_plain_http_to_a_tls_port_costs_one_line(
    receiver: Receiver, keys: Keys, payloads: dict[str, bytes], log: Log
) -> None:
    """A client that is set up wrong must be found by its line, and harm nobody."""
    with receiver(tls=keys.tls()) as server:
        with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
            connection.sendall(b"POST /v1/traces HTTP/1.1\r\n\r\n")
            while connection.recv(1000):
                pass
        while not log():
            time.sleep(0.005)
        (line,) = log()
        assert "TLS handshake with 127.0.0.1:" in line
        assert post(server, keys.context(), payloads["traces"]) == 200


def test_old_versions_of_tls_are_refused(receiver: Receiver, keys: Keys) -> None:
    """TLS 1.1 is broken; what still speaks it has to be found."""
    context = keys.context()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with receiver(tls=keys.tls()) as server:
        for address in (server.http, server.grpc):
            with pytest.raises(OSError):  # noqa: PT011  # of TLS or of the connection
                shown_by(address, context)


@pytest.mark.parametrize("name", ["server.pem", "server.key", "ca.pem"])
@pytest.mark.parametrize("content", [None, b"", b"no PEM at all"], ids=["no", "empty", "bad"])
def test_a_file_that_cannot_be_used_is_named_when_it_connects(
    keys: Keys, name: str, content: bytes | None
) -> None:
    """Not by the first client that is turned away."""
    path = Path(keys.file(name))
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    source = otlp(grpc="127.0.0.1:0", http="127.0.0.1:0", tls=keys.tls(mutual=True))
    scheduler = SyncScheduler()
    try:
        with pytest.raises(OSError, match=name.replace(".", r"\.")):
            source.connect(scheduler)
        assert source.addresses == {}
    finally:
        scheduler.close()


def test_an_encrypted_key_is_refused_and_not_asked_for(keys: Keys) -> None:
    """OpenSSL would ask for its password on the terminal, and a service would hang."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(Path(keys.file("server.key")).read_bytes(), None)
    Path(keys.file("server.key")).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"sEcReT"),
        )
    )
    with pytest.raises(OSError, match="encrypted"):
        keys.tls().load("otlp")


def test_what_is_no_file_name_is_refused_where_it_is_written(keys: Keys) -> None:
    """A certificate's text in place of its file's name is a likely mistake."""
    with pytest.raises(TypeError, match=r"Tls\(key=…\): expected a file's name, got bytes"):
        Tls(keys.file("server.pem"), b"-----BEGIN PRIVATE KEY")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"otlp\(tls=…\): expected a Tls, got tuple"):
        otlp(tls=("server.pem", "server.key"))  # type: ignore[arg-type]
    assert Tls(Path("a.pem"), Path("a.key")) == Tls("a.pem", "a.key")  # type: ignore[arg-type]


def test_files_that_do_not_change_are_read_once(tmp_path: Path) -> None:
    """Each new connection looks; none reads what has not changed."""
    path = tmp_path / "a"
    path.write_text("1")
    read: list[str] = []

    def make() -> str:
        read.append(path.read_text())
        return read[-1]

    reloaded = Reloaded("test", (str(path), None), make)
    assert [reloaded.get() for _ in range(3)] == ["1", "1", "1"]
    assert read == ["1"]
    path.write_text("22")
    assert [reloaded.get() for _ in range(3)] == ["22", "22", "22"]
    assert read == ["1", "22"]
