"""Who an exporter says it is, and that it says so anew when that changes."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from rxotlp import DELIVERED, Outcome, Pipeline, SyncScheduler, TelemetryData, sources
from rxotlp import operators as ops
from rxotlp.exporters import Memory, OtlpGrpc, OtlpHttp
from rxotlp.security import Tls
from tests.support.otlp_grpc_server import Call
from tests.support.otlp_grpc_server import serve as serve_grpc
from tests.support.otlp_http_server import Reply, serve
from tests.support.tls import Keys, issue, keys_in

Make = Callable[..., TelemetryData]

BOTH = pytest.mark.parametrize("kind", [OtlpHttp, OtlpGrpc])


class Backend:
    """A receiver of ours that wants to know who sends."""

    def __init__(self, addresses: dict[str, str], identities: list[str | None]) -> None:
        self.addresses = addresses
        self.identities = identities

    def url(self, kind: Any) -> str:
        """Where an exporter of a kind finds it, with TLS."""
        address = self.addresses["http" if kind is OtlpHttp else "grpc"]
        return f"https://localhost:{address.rpartition(':')[2]}"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """Files that a test may change."""
    keys = keys_in(tmp_path)
    keys.trust("both.pem", "ours", "theirs")
    return keys


@pytest.fixture
def backend(keys: Keys) -> Iterator[Backend]:
    """Mutual TLS, with clients of either authority."""
    tls = Tls(keys.file("server.pem"), keys.file("server.key"), keys.file("both.pem"))
    source = sources.otlp(grpc="127.0.0.1:0", http="127.0.0.1:0", tls=tls)
    identities: list[str | None] = []

    def note(data: TelemetryData) -> TelemetryData:
        identities.append(data.metadata.get("identity"))
        return data

    stream = source.pipe(ops.chain(note), ops.export(Memory()))
    with Pipeline(stream, scheduler=SyncScheduler()) as pipeline:
        yield Backend(dict(pipeline.addresses), identities)


@contextmanager
def sending(exporter: Any) -> Iterator[Callable[[TelemetryData], Outcome]]:
    """Exports one after the other on one loop, whose connections stay."""
    with asyncio.Runner() as runner:

        async def once(data: TelemetryData) -> Outcome:
            outcome: Outcome = await exporter.export(data)
            return outcome

        try:
            yield lambda data: runner.run(once(data))
        finally:
            runner.run(exporter.aclose())


@BOTH
def test_a_renewed_client_certificate_is_shown_from_the_next_request_on(
    kind: Any, keys: Keys, backend: Backend, spans: Make
) -> None:
    """Certificates of workloads last for hours; no restart, and no request may fail."""
    exporter = kind(
        backend.url(kind),
        certificate=keys.file("ca.pem"),
        client_certificate=keys.file("client.pem"),
        client_key=keys.file("client.key"),
    )
    with sending(exporter) as send:
        assert [send(spans(1)), send(spans(1))] == [DELIVERED, DELIVERED]
        renewed = issue("theirs", "renewed.example")
        Path(keys.file("client.pem")).write_bytes(renewed.certificate)
        assert send(spans(1)) == DELIVERED  # the key is not there yet: as before
        Path(keys.file("client.key")).write_bytes(renewed.key)
        assert [send(spans(1)), send(spans(1))] == [DELIVERED, DELIVERED]
        assert backend.identities == ["checkout.example"] * 3 + ["renewed.example"] * 2


@BOTH
def test_an_authority_that_is_taken_out_is_no_longer_trusted(
    kind: Any, keys: Keys, backend: Backend, spans: Make
) -> None:
    """Of the server's, that is."""
    trusted = keys.file("trusted.pem")
    keys.trust("trusted.pem", "ours")
    exporter = kind(
        backend.url(kind),
        certificate=trusted,
        client_certificate=keys.file("client.pem"),
        client_key=keys.file("client.key"),
        timeout=5,
    )
    with sending(exporter) as send:
        assert send(spans(1)) == DELIVERED
        keys.trust("trusted.pem", "theirs")
        assert send(spans(1)).kind.name == "FAILED"
        keys.trust("trusted.pem", "ours", "theirs")
        assert send(spans(1)) == DELIVERED


def test_a_call_under_way_ends_on_the_channel_it_began_on(keys: Keys, spans: Make) -> None:
    """A new certificate must not cut what is being sent; the old channel goes after it."""
    pair = issue("ours", "localhost", "127.0.0.1")
    credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)])
    begun = threading.Event()

    def wait(call: Call) -> bytes:
        if not begun.is_set():
            begun.set()
            server.release.wait()
        return b""

    async def run() -> list[Outcome]:
        first = asyncio.create_task(exporter.export(spans(1)))
        await asyncio.to_thread(begun.wait)
        (old,) = exporter._channels._lines.values()
        keys.trust("ca.pem", "ours", "theirs")
        second = await exporter.export(spans(1))
        (new,) = exporter._channels._lines.values()
        assert new is not old
        assert (old.retired, old.calls) == (True, 1)
        server.release.set()
        outcomes = [await first, second]
        assert old.calls == 0
        with pytest.raises(ValueError, match="closed"):
            old.method("/a/b").future(b"")
        return outcomes

    with serve_grpc(wait, credentials=credentials) as server:
        exporter = OtlpGrpc(server.url, certificate=keys.file("ca.pem"))
        assert asyncio.run(run()) == [DELIVERED, DELIVERED]
        exporter.close()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "async"])
def test_headers_are_given_anew_for_each_attempt(asynchronous: bool, spans: Make) -> None:
    """A token that has run out is replaced without anybody noticing, over either transport."""
    numbers = itertools.count(1)

    def plain() -> dict[str, str]:
        return {"Authorization": f"Bearer token-{next(numbers)}", "content-type": "text/plain"}

    async def later() -> dict[str, str]:
        await asyncio.sleep(0)
        return plain()

    give: Any = later if asynchronous else plain
    with serve() as server, serve_grpc(lambda call: b"") as calls:
        over_http = OtlpHttp(server.url, headers=give, compression="gzip")
        over_grpc = OtlpGrpc(calls.url, headers=lambda: {"x-token": plain()["Authorization"]})
        for exporter in (over_http, over_grpc):
            with sending(exporter) as send:
                assert [send(spans(1)), send(spans(1))] == [DELIVERED, DELIVERED]
        assert [made.headers["authorization"] for made in server.requests] == [
            "Bearer token-1",
            "Bearer token-2",
        ]
        for made in server.requests:  # what the body is, is not for a function to say
            assert made.headers["content-type"] == "application/x-protobuf"
            assert made.headers["content-encoding"] == "gzip"
        assert [call.metadata["x-token"] for call in calls.calls] == [
            "Bearer token-3",
            "Bearer token-4",
        ]


@BOTH
@pytest.mark.parametrize(
    ("arguments", "header"),
    [
        ({"bearer_token": "token"}, "Bearer token"),
        ({"basic_auth": ("Aladdin", "open sesame")}, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ({"basic_auth": ("zoë", "ü:x")}, "Basic em/DqzrDvDp4"),
        ({"bearer_token": "token", "headers": {"x-team": "red"}}, "Bearer token"),
    ],
)
def test_credentials_become_a_header(
    kind: Any, arguments: dict[str, Any], header: str, spans: Make
) -> None:
    """RFC 6750 and RFC 7617; the latter's own example."""
    with serve() as server, serve_grpc(lambda call: b"") as calls:
        exporter = kind(server.url if kind is OtlpHttp else calls.url, **arguments)
        with sending(exporter) as send:
            assert send(spans(1)) == DELIVERED
        sent = server.requests[0].headers if kind is OtlpHttp else calls.calls[0].metadata
        assert sent["authorization"] == header
        assert sent.get("x-team") == arguments.get("headers", {}).get("x-team")


@BOTH
def test_a_credential_is_in_place_of_the_environments(
    kind: Any, monkeypatch: pytest.MonkeyPatch, spans: Make
) -> None:
    """The other headers of the environment stay."""
    with serve() as server, serve_grpc(lambda call: b"") as calls:
        url = server.url if kind is OtlpHttp else calls.url
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20eDp5,x-team=red")
        with sending(kind(bearer_token="token")) as send:
            assert send(spans(1)) == DELIVERED
        sent = server.requests[0].headers if kind is OtlpHttp else calls.calls[0].metadata
        assert (sent["authorization"], sent["x-team"]) == ("Bearer token", "red")


def test_what_a_backend_says_of_our_media_type_is_no_secret(spans: Make) -> None:
    """Only what identifies us is blanked out; else no message could be understood."""
    words = b"application/x-protobuf is not supported, gzip neither"
    with (
        serve(lambda request: Reply(415, words)) as server,
        sending(OtlpHttp(server.url, compression="gzip", bearer_token="token")) as send,
    ):
        assert send(spans(1)).reason.endswith(words.decode())
