"""A canary is put wherever a secret can go, and must come out nowhere but on the wire.

Everything that is logged, shown by repr, raised, printed by a command, drawn or booked is
searched for it, also when a backend repeats it or nothing of a configuration can be used.
"""

import asyncio
import base64
import http.client
import io
import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from rxotlp import Pipeline, Signal, SyncScheduler, TelemetryData, sources
from rxotlp import operators as ops
from rxotlp._core.text import masked
from rxotlp.exporters import OtlpGrpc, OtlpHttp
from tests.support.command import Running
from tests.support.otlp_grpc_server import serve as serve_grpc
from tests.support.otlp_http_server import Reply, closed_port, serve
from tests.support.tls import keys_in

CANARY = "sEcReT-canary"
ENCODED = base64.b64encode(f"user:{CANARY}".encode()).decode()
SHAPES = (CANARY, ENCODED, "sEcReT")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test must depend on what the machine's environment says."""
    for name in list(os.environ):
        if name.startswith("OTEL_EXPORTER_OTLP_"):
            monkeypatch.delenv(name)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, by whomever, at any level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root, ours = logging.getLogger(), logging.getLogger("rxotlp")
    levels = root.level, ours.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(levels[0])


def clean(*texts: object) -> None:
    """The canary is in none of them."""
    for text in texts:
        for shape in SHAPES:
            assert shape not in str(text), str(text)[:2000]


def request() -> ExportLogsServiceRequest:
    """One log record."""
    made = ExportLogsServiceRequest()
    made.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "hello"
    return made


def data() -> TelemetryData:
    """The same as an element."""
    return TelemetryData.from_message(request())


def everything(thing: object, depth: int = 4) -> str:
    """Reprs of a thing and of what hangs on it, as a debugger or a crash report shows them."""
    texts = [repr(thing)]
    if depth:
        inner: list[object] = []
        if isinstance(thing, Mapping):
            inner = list(thing.values())
        elif hasattr(thing, "__dict__") and not isinstance(thing, type):
            inner = [v for k, v in vars(thing).items() if k != "function"]
        texts += [everything(one, depth - 1) for one in inner if one is not thing]
    return "\n".join(texts)


def export(exporter: Any) -> str:
    """One attempt; its outcome as text."""

    async def run() -> str:
        try:
            return repr(await exporter.export(data()))
        finally:
            await exporter.aclose()

    return asyncio.run(run())


async def given_later() -> dict[str, str]:
    """Headers from somewhere slow."""
    await asyncio.sleep(0)
    return {"authorization": f"Bearer {CANARY}"}


WAYS: dict[str, dict[str, Any]] = {
    "headers": {"headers": {"authorization": f"Bearer {CANARY}", "x-api-key": CANARY}},
    "bearer": {"bearer_token": CANARY},
    "basic": {"basic_auth": ("user", CANARY)},
    "function": {"headers": lambda: {"authorization": f"Bearer {CANARY}"}},
    "async": {"headers": given_later},
}
ENVIRONMENT = {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{CANARY},x-k={CANARY}"}


def repeated(headers: Mapping[str, str]) -> str:
    """What came, as headers and taken apart."""
    words = " ".join(f"{name}: {value}" for name, value in headers.items())
    credential = headers["authorization"].partition(" ")[2]
    return f"{words}; so it is {credential}, or {CANARY}, and {CANARY!r}"


def echo(made: Any) -> Reply:
    """A backend that repeats everything it was sent, in an error's text."""
    return Reply(403, f"{repeated(made.headers)} {made.path}".encode())


def echo_grpc(call: Any) -> bytes:
    """The same."""
    call.context.abort(grpc.StatusCode.PERMISSION_DENIED, repeated(call.metadata))
    return b""


# -- exporters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_over_http_it_is_sent_and_nowhere_else(
    way: str, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each way that a credential can be given."""
    with serve(echo) as server:
        exporter = OtlpHttp(server.url, **WAYS[way])
        outcome = export(exporter)
        sent = server.requests[0].headers["authorization"]
        assert sent in (f"Bearer {CANARY}", f"Basic {ENCODED}")
        assert "answered 403" in outcome
        assert "***" in outcome
    lost = OtlpHttp(f"http://127.0.0.1:{closed_port()}", **WAYS[way])
    clean(outcome, export(lost), everything(exporter), logged.getvalue())


@pytest.mark.parametrize("way", WAYS)
def test_over_grpc_it_is_sent_and_nowhere_else(way: str, logged: io.StringIO) -> None:
    """The same."""
    with serve_grpc(echo_grpc) as server:
        exporter = OtlpGrpc(server.url, **WAYS[way])
        outcome = export(exporter)
        sent = server.calls[0].metadata["authorization"]
        assert sent in (f"Bearer {CANARY}", f"Basic {ENCODED}")
        assert "PERMISSION_DENIED" in outcome
        assert "***" in outcome
    lost = OtlpGrpc(f"http://127.0.0.1:{closed_port()}", **WAYS[way])
    clean(outcome, export(lost), everything(exporter), logged.getvalue())


@pytest.mark.parametrize("kind", [OtlpHttp, OtlpGrpc])
def test_from_the_environment_and_in_a_url_too(
    kind: Any, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As most people give it."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with serve(echo) as plain, serve_grpc(echo_grpc) as calls:
        url = plain.url if kind is OtlpHttp else calls.url
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        from_environment = kind()
        clean(export(from_environment), everything(from_environment))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url.replace("//", f"//user:{CANARY}@"))
        monkeypatch.delenv("OTEL_EXPORTER_OTLP_HEADERS")
        in_url = kind()
        outcome = export(in_url)
        query = f"?key={CANARY}" if kind is OtlpHttp else ""
        given = kind(url.replace("//", f"//user:{CANARY}@") + query)
        clean(outcome, everything(in_url), export(given), everything(given), logged.getvalue())
        if kind is OtlpHttp:
            sent = [made.headers["authorization"] for made in plain.requests]
        else:
            sent = [call.metadata["authorization"] for call in calls.calls]
        assert sent == [f"Bearer {CANARY}", f"Basic {ENCODED}", f"Basic {ENCODED}"]


URLS = [
    f"http://u:{CANARY}@h:bad",
    f"u:{CANARY}@h:4317",
    f"ftp://u:{CANARY}@h",
    f"http://u:{CANARY}@",
    f"http://u:{CANARY}@h:99999",
    f"https://u:{CANARY}@h:4317/path",
    f"http://[::1?k={CANARY}",
    f"http:///?key={CANARY}",
    f"ftp://h?a=b@{CANARY}",
    f"http://u:a?{CANARY}@h:bad",
    f"http://u:a#{CANARY}@h:bad",
    f"http://u:{CANARY} x@h:4",
    f"dns:///u:{CANARY}@h:1",
]


@pytest.mark.parametrize("kind", [OtlpHttp, OtlpGrpc])
@pytest.mark.parametrize("url", URLS)
def test_what_cannot_be_used_is_not_shown(
    kind: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is printed, logged and pasted into tickets; the chain of causes as well."""

    def shown(make: Callable[[], Any]) -> str:
        try:
            return everything(make())
        except ValueError as error:
            return "".join(traceback.format_exception(error))

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url)
    for make in (lambda: kind(url), lambda: kind({Signal.TRACES: url}), kind):
        text = shown(make)
        lines = [line for line in text.split("\n") if "lambda" not in line]
        clean("\n".join(lines))


@pytest.mark.parametrize("kind", [OtlpHttp, OtlpGrpc])
@pytest.mark.parametrize(
    "arguments",
    [
        {"headers": {"a": f"{CANARY}\n"}},
        {"headers": {f"{CANARY}:": "x"}},
        {"headers": {"a": CANARY.encode()}},
        {"headers": f"authorization: {CANARY}"},
        {"bearer_token": f"{CANARY}\n"},
        {"bearer_token": CANARY.encode()},
        {"bearer_token": CANARY, "basic_auth": ("user", CANARY)},
        {"basic_auth": f"user:{CANARY}"},
        {"basic_auth": (f"us:{CANARY}", "x")},
        {"basic_auth": ("user", CANARY.encode())},
        {"bearer_token": CANARY, "headers": {"Authorization": CANARY}},
    ],
)
def test_wrong_arguments_are_named_and_not_shown(kind: Any, arguments: dict[str, Any]) -> None:
    """Which argument is enough to find it."""
    with pytest.raises((ValueError, TypeError), match=kind.__name__) as caught:
        kind("http://localhost:1", **arguments)
    clean(caught.value, repr(caught.value))


def test_grpc_says_nothing_of_metadata_that_it_cannot_send() -> None:
    """Its own error shows all of it."""
    for value in (f"{CANARY}é", f"{CANARY}\t"):
        with pytest.raises(ValueError, match="expected ASCII") as caught:
            OtlpGrpc("http://localhost:1", headers={"x": value})
        clean(caught.value)
        outcome = export(OtlpGrpc("http://localhost:1", headers=lambda v=value: {"x": v}))
        assert "not sent" in outcome
        clean(outcome)


@pytest.mark.parametrize("kind", [OtlpHttp, OtlpGrpc])
def test_a_function_of_headers_that_fails_is_a_failure_that_may_be_tried_again(
    kind: Any, logged: io.StringIO
) -> None:
    """Its token service is down for a moment; what it raises may repeat the token."""

    def raises() -> dict[str, str]:
        raise KeyError(CANARY)

    def gives_text() -> Any:
        return f"authorization: {CANARY}"

    async def gives_a_line_break() -> dict[str, str]:
        return {"authorization": f"{CANARY}\r\nx: y"}

    async def hangs() -> dict[str, str]:
        await asyncio.sleep(3600)
        return {}

    url = f"http://127.0.0.1:{closed_port()}"
    for function in (raises, gives_text, gives_a_line_break, hangs):
        outcome = export(kind(url, headers=function, timeout=0.2))
        assert "FAILED" in outcome
        assert "not sent" in outcome
        clean(outcome, logged.getvalue())


def test_a_url_that_cannot_be_taken_apart_is_masked() -> None:
    """What is left says which of several it is, as far as that is safe."""
    assert masked("http://h:bad/v1") == "http://h:bad/v1"
    assert masked("http://h:bad?k=v#f") == "http://h:bad?***"
    assert masked("http://u:p@h:bad") == "http://***"
    assert masked("u:p@h") == "***"


# -- whole pipelines ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OtlpHttp, OtlpGrpc])
def test_pictures_books_and_senders_know_nothing_of_it(kind: Any, logged: io.StringIO) -> None:
    """What a sender is told about the backend is the most public text of all."""
    with serve(echo) as plain, serve_grpc(echo_grpc) as calls:
        url = (plain.url if kind is OtlpHttp else calls.url).replace("//", f"//user:{CANARY}@")
        source = sources.otlp(
            grpc=None, http="127.0.0.1:0", authenticator=sources.BearerAuth({"shop": CANARY})
        )
        stream = source.pipe(
            ops.log("seen"),
            ops.batch(max_delay=0.01),
            ops.export(kind(url, headers={"x-api-key": CANARY})),
        )
        with Pipeline(stream, scheduler=SyncScheduler()) as pipeline:
            status, body = _post(pipeline.addresses["http"], {"authorization": f"Bearer {CANARY}"})
            assert status == 400
            message = Status.FromString(body).message
            assert "***" in message
            refused, text = _post(pipeline.addresses["http"], {"authorization": f"Basic {ENCODED}"})
            assert refused == 401
            texts = [repr(pipeline), pipeline.to_mermaid(), pipeline.books, repr(source)]
        clean(message, text, *texts, pipeline.books, pipeline.report, logged.getvalue())


def _post(address: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        kind = {"content-type": "application/x-protobuf"}
        connection.request("POST", "/v1/logs", request().SerializeToString(), kind | dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_tls_keys_are_not_shown(tmp_path: Path) -> None:
    """Names of files are; what is in them is not."""
    keys = keys_in(tmp_path)
    tls = keys.tls(mutual=True)
    reloaded = tls.load("otlp")
    for text in (repr(tls), repr(reloaded)):
        assert "PRIVATE" not in text
        assert "server.key" in text
    assert "PRIVATE" not in repr(reloaded.get())


# -- commands -------------------------------------------------------------------------------------

GATEWAY = f"""
from rxotlp import exporters, sources
from rxotlp import operators as ops

source = sources.otlp(authenticator=sources.BearerAuth({{"shop": "{CANARY}"}}))
backend = exporters.OtlpHttp(headers=lambda: {{"x-api-key": "{CANARY}"}})
pipeline = source.pipe(
    ops.broadcast(
        ops.export(backend),
        ops.export(exporters.OtlpHttp(bearer_token="{CANARY}")),
        ops.export(exporters.OtlpHttp(basic_auth=("user", "{CANARY}"))),
    )
)
"""


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a gateway, whose backend repeats what it was sent."""
    (tmp_path / "gateway.py").write_text(GATEWAY)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with serve(echo) as server:
        url = server.url.replace("//", f"//user:{CANARY}@") + f"/?key={CANARY}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        yield tmp_path


def test_run_prints_nothing_of_it(gateway: Path) -> None:
    """Neither its log, at its most talkative, nor its books."""
    running = Running(
        gateway, "gateway:pipeline", "--listen", "grpc=127.0.0.1:0", "--listen", "http=127.0.0.1:0",
        "--log-level", "debug",
    )  # fmt: skip
    try:
        address = running.addresses["http"]
        assert _post(address, {"authorization": f"Bearer {CANARY}"})[0] == 400
        assert _post(address, {"authorization": f"Bearer wrong-{CANARY}"})[0] == 401
        running.signal(signal.SIGTERM)
        running.status()
        printed = "\n".join(running.lines["out"] + running.lines["err"])
        assert "answered 403" in printed
        clean(printed)
    finally:
        running.clean_up()


def test_graph_and_send_print_nothing_of_it(gateway: Path) -> None:
    """A picture is for a wiki, and a command's output for a log of a build."""
    (gateway / "logs.jsonl").write_text(data().to_json() + "\n")
    command = [sys.executable, "-m", "rxotlp"]
    bad = f"http://u:{CANARY}@h:bad"
    for arguments in (
        ["graph", "gateway:pipeline"],
        ["send", "logs.jsonl", "--log-level", "debug", "--max-attempts", "1"],
        ["send", "logs.jsonl", "--header", f"x-k={CANARY}", "--endpoint", bad],
        ["send", "logs.jsonl", "--header", f"{CANARY}"],
        ["send", "logs.jsonl", "--header", f"a b={CANARY}"],
    ):
        done = subprocess.run(
            [*command, *arguments], cwd=gateway, capture_output=True, text=True, timeout=60
        )
        assert done.stdout or done.stderr
        clean(done.stdout, done.stderr)
