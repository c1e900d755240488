"""Authenticators: who is let in, what the others hear, and what nobody gets to see."""

import asyncio
import base64
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc
import pytest
from google.rpc.code_pb2 import UNAUTHENTICATED
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpSpanExporter,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from rxotlp.security import Authenticator, BasicAuth, BearerAuth
from rxotlp.sources import otlp

Receiver = Callable[..., Any]
Log = Callable[[], list[str]]

CANARY = "sEcReT-canary"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def basic(user: str, password: str) -> str:
    """The header of basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def call(server: Any, body: bytes | Iterable[bytes], *metadata: tuple[str, str]) -> Any:
    """One call; its error, or None."""
    with grpc.insecure_channel(server.grpc) as channel:
        try:
            if isinstance(body, bytes):
                channel.unary_unary(EXPORT, None, None)(body, timeout=20, metadata=metadata)
            else:
                channel.stream_unary(EXPORT, None, None)(iter(body), timeout=20, metadata=metadata)
        except grpc.RpcError as error:
            return error
        return None


CASES: list[tuple[Authenticator, str, str]] = [
    (BearerAuth({"checkout": CANARY, "cart": "other"}), f"Bearer {CANARY}", "checkout"),
    (BearerAuth([CANARY, "other"]), f"bearer {CANARY}", "bearer"),
    (BearerAuth(CANARY), f"Bearer  {CANARY} ", "bearer"),
    (BasicAuth({"ann": "x", "bob": CANARY}), basic("bob", CANARY), "bob"),
    (BasicAuth({"zoë": f"{CANARY}:ü"}), basic("zoë", f"{CANARY}:ü"), "zoë"),
]


@pytest.mark.parametrize(("authenticator", "header", "identity"), CASES)
def test_who_is_known_is_let_in_and_named(
    receiver: Receiver,
    payloads: dict[str, bytes],
    authenticator: Authenticator,
    header: str,
    identity: str,
) -> None:
    """The identity is what a pipeline routes or limits by; the credential is not in it."""
    with receiver(authenticator=authenticator) as server:
        body = payloads["traces"]
        assert server.post(body=body, headers={"Authorization": header})[0] == 200
        assert call(server, body, ("authorization", header.strip())) is None
        assert [data.metadata["identity"] for data in server.seen] == [identity] * 2
        assert not [data for data in server.seen if CANARY in str(dict(data.metadata))]


WRONG = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong",
    f"Bearer {CANARY}x",
    f"Bearer {CANARY[:-1]}",
    f"Basic {CANARY}",
    CANARY,
    basic("bob", "wrong"),
    basic("ann", CANARY),
    basic("bob", ""),
    "Basic !!!",
    "Basic é",
    f"Bearer {CANARY}, Bearer {CANARY}",
]


@pytest.mark.parametrize(
    ("authenticator", "challenge"),
    [
        (BearerAuth({"checkout": CANARY}), 'Bearer realm="otlp"'),
        (BasicAuth({"bob": CANARY}), 'Basic realm="otlp", charset="UTF-8"'),
        (lambda headers, peer: None, "Bearer"),
    ],
    ids=["bearer", "basic", "custom"],
)
def test_who_is_not_known_hears_so_in_otlps_words(
    receiver: Receiver,
    payloads: dict[str, bytes],
    log: Log,
    authenticator: Authenticator,
    challenge: str,
) -> None:
    """401 with a Status and a challenge, UNAUTHENTICATED with details: both are final."""
    with receiver(authenticator=authenticator) as server:
        for header in WRONG:
            given = {} if header is None else {"Authorization": header}
            encoded = {name: value.encode("latin-1") for name, value in given.items()}
            status, headers, body = server.post(body=payloads["traces"], headers=encoded)
            assert status == 401, header
            assert headers["www-authenticate"] == challenge
            assert Status.FromString(body).code == UNAUTHENTICATED
            if header is not None and not header.isascii():
                continue  # gRPC's clients refuse to send it
            metadata = [(name.lower(), value) for name, value in given.items()]
            error = call(server, payloads["traces"], *metadata)
            assert error is not None
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            details = rpc_status.from_call(error)
            assert details.code == UNAUTHENTICATED
            assert not details.details
        assert server.seen == []
        lines = log()
        assert len(lines) == 2 * len(WRONG) - 1
        assert all("127.0.0.1:" in line and "no credential that is known" in line for line in lines)
        assert not [line for line in lines if "sEcReT" in line]


def test_the_answer_is_of_the_requests_type(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """S9: a JSON client reads JSON."""
    with receiver(authenticator=BearerAuth(CANARY)) as server:
        status, headers, body = server.post(body=b"{}", content_type="application/json")
        assert (status, headers["content-type"]) == (401, "application/json")
        assert b"no credential" in body
        assert server.post(method="GET", path="/nothing", content_type=None)[0] == 401


def test_http_refuses_before_the_body_is_read(receiver: Receiver, log: Log) -> None:
    """Who may not send may not cost memory either: nothing of the body has been sent."""
    with (
        receiver(authenticator=BearerAuth(CANARY)) as server,
        socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection,
    ):
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
            b"content-type: application/x-protobuf\r\ncontent-length: 60000000\r\n\r\n"
        )
        assert connection.recv(12) == b"HTTP/1.1 401"
        assert server.source.admission.bytes == 0


def test_grpc_refuses_before_the_message_is_read(receiver: Receiver) -> None:
    """The same; the client has begun its call and never sends a message."""
    asked = threading.Event()

    def messages() -> Iterable[bytes]:
        asked.wait()
        yield b""

    with receiver(authenticator=BearerAuth(CANARY)) as server:
        error = call(server, messages())
        asked.set()
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_the_sdks_exporters_are_let_in(receiver: Receiver, transport: str) -> None:
    """With the header that everybody sets in OTEL_EXPORTER_OTLP_HEADERS."""
    with receiver(authenticator=BearerAuth({"shop": CANARY})) as server:
        headers = {"authorization": f"Bearer {CANARY}"}
        provider = TracerProvider()
        provider.add_span_processor(
            SimpleSpanProcessor(
                HttpSpanExporter(f"http://{server.http}/v1/traces", headers=headers)
                if transport == "http"
                else GrpcSpanExporter(server.grpc, insecure=True, headers=headers)
            )
        )
        with provider.get_tracer("t").start_as_current_span("s"):
            pass
        provider.shutdown()
        (data,) = server.seen
        assert data.metadata["identity"] == "shop"


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "async"])
def test_a_function_may_decide(
    receiver: Receiver, payloads: dict[str, bytes], asynchronous: bool
) -> None:
    """It sees the headers by lower-case name, and who asks."""
    asked: list[tuple[str | None, str]] = []

    def decide(headers: Mapping[str, str], peer: str) -> str | None:
        asked.append((headers.get("x-api-key"), peer))
        return "team" if headers.get("x-api-key") == CANARY else None

    async def decide_later(headers: Mapping[str, str], peer: str) -> str | None:
        await asyncio.sleep(0.01)
        return decide(headers, peer)

    with receiver(authenticator=decide_later if asynchronous else decide) as server:
        body = payloads["traces"]
        assert server.post(body=body, headers={"X-API-Key": CANARY})[0] == 200
        assert server.post(body=body, headers={"X-API-Key": "no"})[0] == 401
        assert call(server, body, ("x-api-key", CANARY), ("x-bin", b"\xff")) is None  # type: ignore[arg-type]
        assert call(server, body) is not None
        assert [key for key, _ in asked] == [CANARY, "no", CANARY, None]
        assert all(peer.startswith("127.0.0.1:") for _, peer in asked)
        assert [data.metadata["identity"] for data in server.seen] == ["team", "team"]


def raises(headers: Mapping[str, str], peer: str) -> str:
    """As `tokens[...]` does, with the credential in its text."""
    return {"known": "x"}[headers["authorization"]]


def gives_true(headers: Mapping[str, str], peer: str) -> Any:
    """A likely mistake; it must let nobody in."""
    return True


async def hangs(headers: Mapping[str, str], peer: str) -> Any:
    """Its own backend is down."""
    await asyncio.sleep(3600)


@pytest.mark.parametrize(
    ("authenticator", "word"),
    [(raises, "KeyError (/"), (gives_true, "gave bool"), (hangs, "longer than")],
)
def test_an_authenticator_that_fails_lets_nobody_in_for_now(
    receiver: Receiver,
    payloads: dict[str, bytes],
    log: Log,
    authenticator: Authenticator,
    word: str,
) -> None:
    """It is not the sender's fault, so it may try again; and no text repeats what it sent."""
    with receiver(authenticator=authenticator, ack_timeout=0.3) as server:
        status, headers, body = server.post(
            body=payloads["traces"], headers={"authorization": CANARY}
        )
        assert status == 503
        assert int(headers["retry-after"]) >= 1
        error = call(server, payloads["traces"], ("authorization", CANARY))
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert server.seen == []
        assert len([line for line in log() if word in line]) == 2
        assert not [line for line in log() if CANARY in line]
        assert CANARY.encode() not in body
        assert CANARY not in str(error)


def test_no_header_stands_for_an_identity(receiver: Receiver, payloads: dict[str, bytes]) -> None:
    """Who could send the header `identity` could be anybody."""
    for name in ("identity", "Peer"):
        with pytest.raises(ValueError, match="expected another name"):
            otlp(headers=[name])
    with receiver(authenticator=BearerAuth({"shop": CANARY}), headers=["x-team"]) as server:
        headers = {"authorization": f"Bearer {CANARY}", "identity": "admin", "x-team": "red"}
        assert server.post(body=payloads["traces"], headers=headers)[0] == 200
        assert call(server, payloads["traces"], *headers.items()) is None
        for data in server.seen:
            assert data.metadata["identity"] == "shop"
            assert data.metadata["x-team"] == "red"
            assert set(data.metadata) == {"identity", "peer", "x-team"}


def test_all_candidates_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a refusal takes must tell neither which token was near nor how long one is."""
    compared: list[tuple[int, int]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr("rxotlp.security.hmac.compare_digest", compare)
    bearer = BearerAuth({"a": "1", "b": "22", "c": "3" * 99})
    assert bearer({"authorization": "Bearer 1"}, "") == "a"
    assert bearer({"authorization": "Bearer none"}, "") is None
    assert compared == [(32, 32)] * 6


@pytest.mark.parametrize(
    "make",
    [
        lambda: BearerAuth([]),
        lambda: BearerAuth([""]),
        lambda: BearerAuth({"a": f"{CANARY} x"}),
        lambda: BearerAuth([f"{CANARY}\n"]),
        lambda: BearerAuth({"a": f"{CANARY}é"}),
        lambda: BasicAuth({}),
        lambda: BasicAuth({"bob": ""}),
        lambda: BasicAuth({"bo:b": CANARY}),
        lambda: BearerAuth([CANARY.encode()]),  # type: ignore[list-item]
        lambda: BasicAuth({"bob": CANARY.encode()}),  # type: ignore[dict-item]
        lambda: otlp(authenticator=CANARY),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_meant_is_refused_without_showing_it(make: Callable[[], object]) -> None:
    """Nobody could send, or nobody could ever match; and errors are read by many."""
    with pytest.raises((ValueError, TypeError), match="expected") as caught:
        make()
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("challenge", ["", "a\r\nb: c", "é", 1])
def test_a_challenge_that_no_header_can_hold_is_refused(challenge: Any) -> None:
    """Where it is written, not at the first request that is refused."""

    class Custom:
        def __init__(self) -> None:
            self.challenge = challenge

        def __call__(self, headers: Mapping[str, str], peer: str) -> str | None:
            return None

    with pytest.raises(ValueError, match="its challenge is"):
        otlp(authenticator=Custom())


def test_authenticators_keep_and_show_no_credential() -> None:
    """Reprs land in logs and pictures, and memory in core dumps."""
    for authenticator in (BearerAuth({"a": CANARY}), BasicAuth({"bob": CANARY})):
        assert CANARY not in repr(authenticator)
        assert CANARY not in str(authenticator._known)
    assert repr(BearerAuth(["x", "y"])) == "<BearerAuth of 2>"
