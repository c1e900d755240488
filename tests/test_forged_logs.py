"""Nobody's telemetry can write a line of our log, or give an order to a terminal.

Names, attributes, peers' texts and exceptions with line breaks and escape sequences go in
everywhere they can; what comes out is read as an operator reads it, line by line.
"""

import asyncio
import io
import logging
import re
import socket
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import reactivex as rx
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from reactivex import operators as rx_ops
from typer.testing import CliRunner

import rxotlp.lines
from rxotlp import Pipeline, Signal, SyncScheduler, TelemetryData, exporters, sources
from rxotlp import operators as ops
from rxotlp._core.text import clean, printable
from rxotlp.cli.app import app
from rxotlp.cli.logs import LogFormat, LogLevel, log_to_stderr
from rxotlp.exporters import OtlpGrpc, OtlpHttp
from rxotlp.flows import FlowLog
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.log import LogEntry
from rxotlp.flows.log import LogLevel as FlowLevel
from tests.support.otlp_grpc_server import serve as serve_grpc
from tests.support.otlp_http_server import Reply, serve

FORGED = "2026-01-01 00:00:00,000 ERROR   rxotlp: the books are gone"
EVIL = f"x\r\n{FORGED}\n\x1b[2J\x1b]0;title\x07\x9b31m\x85{FORGED}\u2028{FORGED}\u202e\x00\x7fend"
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) +[\w.]+: ")


class Log:
    """What an operator would have seen."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        )

    def text(self) -> str:
        """All of it."""
        return self._stream.getvalue()

    def check(self, *expected: str) -> None:
        """Every line is ours, and among them is one with each of `expected`."""
        lines = check_text(self.text())
        ours = [line for line in lines if LINE.match(line) and not line.startswith(FORGED)]
        assert not [line for line in lines if line not in ours and not line.startswith("    ")]
        for part in expected:
            assert any(part in line for line in ours), (part, lines)


def check_text(text: str) -> list[str]:
    """Nothing in it moves a cursor or makes a line that is none; its lines."""
    for letter in text:
        assert letter == "\n" or unicodedata.category(letter) not in ("Cc", "Cf", "Zl", "Zp"), repr(
            letter
        )
    return text.rstrip("\n").split("\n") if text else []


@pytest.fixture
def log() -> Iterator[Log]:
    """A handler on the root logger, as `rxotlp run` has."""
    found = Log()
    root = logging.getLogger()
    level = root.level
    root.addHandler(found.handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.INFO)
    try:
        yield found
    finally:
        root.removeHandler(found.handler)
        root.setLevel(level)


def evil_request() -> ExportTraceServiceRequest:
    """EVIL wherever a text may stand."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add(schema_url=EVIL)
    group.resource.attributes.add(key="service.name").value.string_value = EVIL
    scope = group.scope_spans.add()
    scope.scope.name = EVIL
    span = scope.spans.add(trace_id=b"\1" * 16, span_id=b"\1" * 8, name=EVIL)
    span.attributes.add(key=EVIL).value.string_value = EVIL
    span.status.message = EVIL
    return request


def evil() -> TelemetryData:
    """The same as an element."""
    return TelemetryData.from_message(evil_request())


def raising(data: TelemetryData) -> Any:
    """A processor whose error repeats what it has read, as most do."""
    for span in data.records():
        raise ValueError(f"no such route: {span.name}")


# -- the rule itself ------------------------------------------------------------------------------


def test_a_text_becomes_one_printable_line() -> None:
    """What is plain stays as it is, in any language; the rest is shown, not obeyed."""
    for plain in ("GET /healthz", "naïve 日本語 😀", ""):
        assert printable(plain) is plain
    for text in (printable(EVIL), clean(EVIL), printable("\ud800 half of a pair")):
        check_text(text)
        assert "\n" not in text
    assert printable("a\n\x1b") == "a\\n\\x1b"


def test_an_exceptions_text_is_shown_as_the_exceptions(log: Log) -> None:
    """A traceback has lines of its own; none of them may look like a record."""
    logger = logging.getLogger("rxotlp")
    for error in (
        ValueError(EVIL),
        ExceptionGroup(EVIL, [KeyError(EVIL), ValueError(EVIL)]),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, EVIL),
    ):
        try:
            try:
                raise RuntimeError(EVIL)
            except RuntimeError:
                raise error  # noqa: B904  # the context is shown as well
        except Exception:
            logger.exception("it raised %s", EVIL)
    log.check("it raised x")


def test_a_usual_traceback_stays_as_it_is(log: Log) -> None:
    """Tools read them."""
    try:
        int("many")
    except ValueError:
        logging.getLogger("rxotlp").exception("it raised")
    assert "\nTraceback (most recent call last):\n  File " in log.text()
    assert "\nValueError: invalid literal for int() with base 10: 'many'\n" in log.text()


def test_wrong_arguments_are_loggings_business() -> None:
    """The filter must not raise where logging itself would not."""
    record = logging.LogRecord("rxotlp", logging.WARNING, "", 1, "%d", ("no number",), None)
    assert rxotlp.lines.OneLine().filter(record)


def test_the_logger_is_guarded_once() -> None:
    """However often it is asked for."""
    logger = logging.getLogger("rxotlp")
    rxotlp.lines.guard(logger)
    assert len([one for one in logger.filters if isinstance(one, rxotlp.lines.OneLine)]) == 1


# -- through a receiver ---------------------------------------------------------------------------


def through_receiver(
    send: Callable[[Mapping[str, str]], None], stage: Any = None, **arguments: Any
) -> None:
    """Run a receiver with a stream behind it, and send to it."""
    source = sources.otlp(grpc="127.0.0.1:0", http="127.0.0.1:0", **arguments)
    stream = (source if stage is None else source.pipe(stage)).pipe(ops.export(exporters.Memory()))
    with Pipeline(stream, scheduler=SyncScheduler()) as pipeline:
        send(dict(pipeline.addresses))


def raw(address: str, data: bytes) -> bytes:
    """Bytes as they are; what comes back."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(data)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def post(address: str, body: bytes, head: bytes = b"", path: bytes = b"/v1/traces") -> bytes:
    """One request, with more in its head."""
    return raw(
        address,
        b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
        b"connection: close\r\n%scontent-length: %d\r\n\r\n%s" % (path, head, len(body), body),
    )


def call(address: str, body: bytes, method: str = "") -> grpc.RpcError:
    """One call that fails."""
    method = method or "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method, None, None)(body, timeout=20)
    return caught.value


def test_nothing_of_a_request_forges_a_line(log: Log) -> None:
    """Paths, methods, types, encodings and headers, whole and percent-encoded."""
    quoted = "".join(f"%{octet:02x}" for octet in EVIL.encode()).encode()
    high = EVIL.replace("\r", "").replace("\n", "").replace("\0", "").encode()

    def send(address: Mapping[str, str]) -> None:
        http = address["http"]
        for head in (
            b"content-encoding: " + high + b"\r\n",
            b"x-evil: " + high + b"\r\n",
            b"content-length: 1\n2026-01-01 00:00:00,000 ERROR rxotlp: x\r\n",
        ):
            post(http, b"\xff", head)
        post(http, b"", path=b"/v1/" + quoted)
        post(http, b"", path=b"/v1/" + b"\x9b31m\x85")
        raw(
            http,
            b"POST /v1/traces HTTP/1.1\r\nconnection: close\r\n"
            b"content-length: 0\r\ncontent-type: " + high + b"\r\n\r\n",
        )
        raw(http, EVIL.encode() + b"\r\n\r\n")
        call(address["grpc"], b"", "/x\x1b[2J/y")
        call(address["grpc"], EVIL.encode())

    through_receiver(send)
    log.check("HTTP request", "no such method", "traces from 127.0.0.1:")


def test_what_validation_says_of_a_record_forges_no_line(log: Log) -> None:
    """It names fields, and what was in one only as far as it is plain."""
    request = evil_request()
    request.resource_spans[0].scope_spans[0].spans[0].trace_id = b"\x1b[2J"
    bad = request.SerializeToString()
    through_receiver(lambda address: (post(address["http"], bad), None)[1])
    log.check("traces from 127.0.0.1:")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "async"])
def test_an_authenticator_that_repeats_a_header_forges_no_line(
    log: Log, asynchronous: bool
) -> None:
    """It may raise what it likes."""

    def decide(headers: Mapping[str, str], peer: str) -> str:
        raise ValueError(EVIL)

    async def decide_later(headers: Mapping[str, str], peer: str) -> str:
        return decide(headers, peer)

    authenticator = decide_later if asynchronous else decide
    through_receiver(
        lambda address: (post(address["http"], b""), None)[1], authenticator=authenticator
    )
    log.check("the authenticator raised ValueError")


def test_an_identity_forges_no_line(log: Log) -> None:
    """It is what an authenticator took from somewhere."""
    through_receiver(
        lambda address: (post(address["http"], evil_request().SerializeToString()), None)[1],
        rx_ops.do_action(
            lambda data: logging.getLogger("rxotlp").info("from %s", data.metadata["identity"])
        ),
        authenticator=lambda headers, peer: EVIL,
    )
    log.check("from x")


# -- through operators ----------------------------------------------------------------------------


def test_a_processors_rejection_forges_no_line_and_no_answer(log: Log) -> None:
    """The reason is logged, and goes to the sender, who logs it as well."""
    answers: list[bytes] = []
    details: list[str] = []
    body = evil_request().SerializeToString()

    def send(address: Mapping[str, str]) -> None:
        answers.append(post(address["http"], body))
        error: Any = call(address["grpc"], body)
        details.append(error.details())

    through_receiver(send, ops.chain(raising))
    log.check()
    message = Status.FromString(answers[0].partition(b"\r\n\r\n")[2]).message
    for text in (message, *details):
        assert "no such route: x" in text
        check_text(text)
        assert "\n" not in text


def test_a_raising_observer_of_rejections_forges_no_line(log: Log) -> None:
    """Its traceback is logged."""

    def raise_it(rejected: object) -> None:
        raise ValueError(EVIL)

    stream = rx.of(evil()).pipe(ops.chain(raising))
    stream.subscribe(on_error=lambda error: None)
    logging.getLogger("rxotlp").error("a stream failed", exc_info=ValueError(EVIL))
    log.check("a stream failed")


def test_ops_log_forges_no_line(log: Log) -> None:
    """Not on our logger, and not on one of the user's own either."""
    own = logging.getLogger("shop.telemetry")
    for logger in (None, own):
        stream = rx.concat(rx.of(evil()), rx.throw(ValueError(EVIL)))
        stream.pipe(ops.log("seen", logger=logger)).subscribe(lambda data: None, lambda error: None)
    log.check("seen: 1 span", "seen: failed with ValueError: x", "shop.telemetry: seen: failed")


def test_a_flows_log_forges_no_line(log: Log) -> None:
    """Messages of loggers of flows hold what operations were told."""
    FlowLog().write(
        LogEntry(
            timestamp=1,
            level=FlowLevel.WARNING,
            logger="execution",
            message=EVIL,
            context=ExecutionContext(EVIL),
            metadata={"key": EVIL},
        )
    )
    log.check("x")


# -- through exporters ----------------------------------------------------------------------------


def export(exporter: Any) -> str:
    """Export once, observed by nobody; the reason that it gave."""

    async def run() -> str:
        try:
            return str((await exporter.export(evil())).reason)
        finally:
            await exporter.aclose()

    return asyncio.run(run())


def test_a_backends_words_forge_no_line(log: Log) -> None:
    """In an error's body, a Status and a header, over HTTP and gRPC."""
    status = Status(code=3, message=EVIL).SerializeToString()
    for reply in (
        Reply(400, EVIL.encode()),
        Reply(400, status, {"Content-Type": "application/x-protobuf"}),
        Reply(200, EVIL.encode()),
        Reply(503, b"", {"Retry-After": "\x1b[2J"}),
    ):
        with serve(lambda request, reply=reply: reply) as server:  # type: ignore[misc]
            reason = export(OtlpHttp(server.url))
            check_text(reason)
            assert "\n" not in reason
            through_export(OtlpHttp(server.url))

    def abort(made: Any) -> bytes:
        made.context.abort(grpc.StatusCode.INVALID_ARGUMENT, EVIL.replace("\0", ""))
        return b""

    with serve_grpc() as backend:
        backend.script = abort
        reason = export(OtlpGrpc(backend.url))
        check_text(reason)
        assert "\n" not in reason
    log.check()


def through_export(exporter: Any) -> None:
    """Through `ops.export`, which logs what it gives up."""
    with Pipeline(
        sources.from_iterable([evil()]).pipe(ops.export(exporter)),
        scheduler=SyncScheduler(),
        drain_timeout=0.2,
    ):
        pass


def test_the_console_obeys_no_escape_sequence() -> None:
    """It is a terminal that it writes to."""
    screen = io.StringIO()
    console = exporters.Console(screen, verbosity="detailed")
    console.export(evil())
    lines = check_text(screen.getvalue())
    assert len(lines) == 2
    assert not [line for line in lines if line.startswith(FORGED)]


# -- through the command line ---------------------------------------------------------------------


def test_inspect_shows_names_and_obeys_none(tmp_path: Path) -> None:
    """A file from somebody else is what it is for."""
    path = tmp_path / "evil.jsonl"
    path.write_text(evil().to_json() + "\n")
    result = CliRunner().invoke(app, ["inspect", str(path)])
    assert result.exit_code == 0
    check_text(result.output)
    assert not [line for line in result.output.split("\n") if line.startswith("2026-01-01")]


def test_what_a_command_says_of_a_broken_file_is_its_own(tmp_path: Path) -> None:
    """The broken line, and the file's own name, may hold anything."""
    path = tmp_path / "evil\n\x1b[2J.jsonl"
    path.write_text('{"resourceSpans": [{"' + EVIL.replace("\n", "") + '": 1}]}\n{"' + EVIL + "\n")
    for command in (["inspect", str(path)], ["convert", str(path), str(tmp_path / "o.binpb")]):
        result = CliRunner().invoke(app, command)
        check_text(result.stderr)


@pytest.mark.parametrize("form", list(LogFormat))
def test_the_logs_of_the_command_line_are_one_line_a_record(
    form: LogFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In either format."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        log_to_stderr(LogLevel.INFO, form)
        logging.getLogger("rxotlp").warning("a backend said %s", EVIL)
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)
    (line,) = check_text(stream.getvalue())
    assert "a backend said x" in line


def test_signals_have_plain_names() -> None:
    """They stand in lines without being looked at."""
    assert all(signal.value.isprintable() for signal in Signal)
