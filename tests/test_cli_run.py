"""`rxotlp run` as a user has it: a process, a module in a folder, signals, a real client."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpSpanExporter,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

GATEWAY = """
from rxotlp import exporters, sources
from rxotlp import operators as ops

def seen(data):
    print("has it", flush=True)
    return data

pipeline = sources.otlp().pipe(
    ops.chain(seen), ops.batch(max_delay={delay}), ops.export(exporters.File("spans.jsonl"))
)
"""
HANGING = """
import asyncio
from rxotlp import sources
from rxotlp import operators as ops

class Hanging:
    async def export(self, data):
        print("has it", flush=True)
        await asyncio.sleep(3600)

pipeline = sources.otlp().pipe(ops.export(Hanging()))
"""
DATA = """
from rxotlp import Signal, TelemetryData

def logs(text):
    record = '{"body": {"stringValue": "%s"}}' % text
    request = '{"resourceLogs": [{"scopeLogs": [{"logRecords": [%s]}]}]}' % record
    return TelemetryData.from_json(Signal.LOGS, request)
"""
FREE = ("--listen", "grpc=127.0.0.1:0", "--listen", "http=127.0.0.1:0")


class Running:
    """A `rxotlp run` under way."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rxotlp", "run", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self.lines: dict[str, list[str]] = {"out": [], "err": []}
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(name, pipe))
            for name, pipe in (("out", self.process.stdout), ("err", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, pipe: object) -> None:
        for line in pipe:  # type: ignore[attr-defined]
            with self._news:
                self.lines[name].append(line.rstrip("\n"))
                self._news.notify_all()

    def heard(self, name: str, text: str) -> str:
        """Wait for a line with `text` in it."""
        with self._news:
            assert self._news.wait_for(lambda: any(text in s for s in self.lines[name]), 30), (
                f"no {text!r} in {self.lines}"
            )
            return next(line for line in self.lines[name] if text in line)

    @property
    def addresses(self) -> dict[str, str]:
        """Where it listens, once it does."""
        listening = self.heard("err", "listening on").partition("listening on ")[2]
        return dict(part.split("=") for part in listening.split())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        self.process.send_signal(number)

    def status(self) -> int:
        """Wait for its end."""
        status = self.process.wait(30)
        for reader in self._readers:
            reader.join()
        return status

    def clean_up(self) -> None:
        """End it whatever it does."""
        self.process.kill()
        self.status()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `rxotlp run app:pipeline` with that source in the current directory."""
    running = []

    def starter(source: str, *arguments: str, target: str = "app:pipeline") -> Running:
        (tmp_path / "app.py").write_text(source)
        running.append(Running(tmp_path, target, *arguments))
        return running[-1]

    yield starter
    for one in running:
        one.clean_up()


def span(name: str) -> ReadableSpan:
    """A finished span of the real SDK."""
    made: list[ReadableSpan] = []

    class Keep(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            made.extend(spans)
            return SpanExportResult.SUCCESS

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(Keep()))
    provider.get_tracer("test").start_span(name).end()
    return made[0]


def send(exporter: SpanExporter, name: str) -> SpanExportResult:
    """Export one span, and close the exporter."""
    try:
        return exporter.export([span(name)])
    finally:
        exporter.shutdown()


@pytest.mark.parametrize("scheduler", ["async", "sync"])
def test_a_real_client_is_delivered_on_either_scheduler(
    start: Start, tmp_path: Path, scheduler: str
) -> None:
    """The same file runs on both; what was acknowledged is in the output, and in the books."""
    running = start(GATEWAY.format(delay=0.05), *FREE, "--scheduler", scheduler)
    at = running.addresses
    http = HttpSpanExporter(endpoint=f"http://{at['http']}/v1/traces")
    grpc = GrpcSpanExporter(endpoint=f"http://{at['grpc']}", insecure=True)
    assert send(http, "over http") is SpanExportResult.SUCCESS
    assert send(grpc, "over grpc") is SpanExportResult.SUCCESS
    running.signal(signal.SIGTERM)
    assert running.status() == 0, running.lines
    written = (tmp_path / "spans.jsonl").read_text()
    assert written.count("over http") == 1
    assert written.count("over grpc") == 1
    assert "export: received=2 delivered=2" in running.lines["out"]
    assert "otlp: received=2 sent=2" in running.lines["out"]


@pytest.mark.parametrize("scheduler", ["async", "sync"])
def test_sigterm_answers_the_request_in_flight(
    start: Start, tmp_path: Path, scheduler: str
) -> None:
    """A rolling restart must not cost a sender its data or its patience."""
    running = start(GATEWAY.format(delay=600), *FREE, "--scheduler", scheduler)
    exporter = HttpSpanExporter(endpoint=f"http://{running.addresses['http']}/v1/traces")
    answers: list[SpanExportResult] = []
    sender = threading.Thread(target=lambda: answers.append(send(exporter, "in flight")))
    sender.start()
    running.heard("out", "has it")
    running.signal(signal.SIGTERM)
    assert running.status() == 0, running.lines
    sender.join()
    assert answers == [SpanExportResult.SUCCESS]
    assert "in flight" in (tmp_path / "spans.jsonl").read_text()
    assert any("draining" in line for line in running.lines["err"])


def test_a_second_sigint_ends_it_at_once(start: Start) -> None:
    """Someone at a terminal who presses Ctrl-C twice has decided."""
    running = start(HANGING, *FREE, "--drain-timeout", "3600")
    exporter = HttpSpanExporter(endpoint=f"http://{running.addresses['http']}/v1/traces", timeout=2)
    sender = threading.Thread(target=lambda: send(exporter, "lost"))
    sender.start()
    running.heard("out", "has it")
    running.signal(signal.SIGINT)
    running.heard("err", "draining")
    running.signal(signal.SIGINT)
    assert running.status() == 130
    running.heard("err", "interrupted again")
    sender.join()


def test_a_second_sigint_ends_it_even_when_its_loop_is_stuck(start: Start) -> None:
    """The very case in which somebody presses it twice."""
    running = start(
        DATA
        + """
import time
from rxotlp import exporters, sources
from rxotlp import operators as ops

def stuck(data):
    print("has it", flush=True)
    time.sleep(3600)

pipeline = sources.from_iterable([logs("a")]).pipe(
    ops.chain(stuck), ops.export(exporters.Memory())
)
"""
    )
    running.heard("out", "has it")
    running.signal(signal.SIGINT)
    time.sleep(0.2)  # two signals that are pending at once are one
    running.signal(signal.SIGINT)
    assert running.status() == 130


def test_what_is_undelivered_at_the_deadline_is_a_status(start: Start) -> None:
    """A supervisor must see that something was left behind."""
    running = start(HANGING, *FREE, "--drain-timeout", "0.2")
    exporter = HttpSpanExporter(endpoint=f"http://{running.addresses['http']}/v1/traces", timeout=2)
    sender = threading.Thread(target=lambda: send(exporter, "stuck"))
    sender.start()
    running.heard("out", "has it")
    running.signal(signal.SIGTERM)
    assert running.status() == 3, running.lines
    running.heard("err", "1 items undelivered")
    sender.join()


def test_it_ends_with_its_stream(start: Start, tmp_path: Path) -> None:
    """A batch job is a pipeline too."""
    running = start(
        DATA
        + """
from rxotlp import exporters, sources
from rxotlp import operators as ops

pipeline = sources.from_iterable([logs("a"), logs("b")]).pipe(
    ops.batch(), ops.export(exporters.File("logs.jsonl"))
)
"""
    )
    assert running.status() == 0, running.lines
    assert len((tmp_path / "logs.jsonl").read_text().splitlines()) == 1


def test_what_an_iterable_gave_up_is_undelivered(start: Start) -> None:
    """No sender will offer it again, so nobody but the exit status tells."""
    running = start(
        DATA
        + """
from rxotlp import exporters, failed, sources
from rxotlp import operators as ops

down = exporters.Memory(outcome=failed("down"))
pipeline = sources.from_iterable([logs("a")], max_attempts=2, backoff=0.01).pipe(ops.export(down))
"""
    )
    assert running.status() == 3, running.lines
    running.heard("err", "1 items undelivered")


def test_a_stream_that_fails_is_a_status_and_one_line(start: Start) -> None:
    """`on_error="stop"` is for those whose supervisor restarts them."""
    running = start(
        DATA
        + """
from rxotlp import exporters, sources
from rxotlp import operators as ops

def broken(data):
    raise RuntimeError("out of cheese")

pipeline = sources.from_iterable([logs("a")], max_attempts=1).pipe(
    ops.chain(broken, on_error="stop"), ops.export(exporters.Memory())
)
"""
    )
    assert running.status() == 1, running.lines
    running.heard("err", "RuntimeError: out of cheese")
    assert not any("Traceback" in line for line in running.lines["err"])


def test_books_that_do_not_balance_are_a_status(start: Start) -> None:
    """That is a defect, and must not pass for a good run."""
    running = start(
        DATA
        + """
import reactivex as rx
from rxotlp import assembly, exporters, sources
from rxotlp import operators as ops

def leaky(_):
    assembly.current().books.open("leaky").received += 1
    return sources.from_iterable([logs("a")]).pipe(ops.export(exporters.Memory()))

pipeline = rx.defer(leaky)
"""
    )
    assert running.status() == 4, running.lines
    running.heard("err", "books do not balance: leaky")


def test_a_pipeline_brings_its_own_settings(start: Start, tmp_path: Path) -> None:
    """A module may say more than a stream can: strict, a scheduler, a drain timeout."""
    source = GATEWAY.format(delay=0.05) + (
        "from rxotlp import Pipeline, SyncScheduler\n"
        "whole = Pipeline(pipeline, scheduler=SyncScheduler(), strict=True)\n"
    )
    running = start(source, *FREE, target="app:whole")
    exporter = HttpSpanExporter(endpoint=f"http://{running.addresses['http']}/v1/traces")
    assert send(exporter, "strict") is SpanExportResult.SUCCESS
    running.signal(signal.SIGINT)
    assert running.status() == 0, running.lines


def test_log_lines_are_json_when_asked(start: Start) -> None:
    """A log shipper reads them; one stray line breaks its parser."""
    running = start(GATEWAY.format(delay=1), *FREE, "--log-format", "json")
    running.heard("err", "listening on")
    running.signal(signal.SIGTERM)
    assert running.status() == 0
    entries = [json.loads(line) for line in running.lines["err"]]
    assert {"time", "level", "logger", "message"} == set(entries[0])


def test_a_port_in_use_is_one_line(start: Start) -> None:
    """The most common mistake at start deserves a sentence, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = start(GATEWAY.format(delay=1), *FREE[:2], "--listen", f"http=127.0.0.1:{port}")
        assert running.status() == 1
    (line,) = running.lines["err"]
    assert f"cannot listen on 127.0.0.1:{port}: address already in use" in line


@pytest.mark.parametrize(
    ("target", "source", "arguments", "says"),
    [
        ("app", "", (), "expected MODULE:ATTR"),
        ("app.py:pipeline", "", (), "is it app:pipeline?"),
        (".app:pipeline", "", (), "without a leading dot"),
        ("nowhere:pipeline", "", (), "no module 'nowhere'"),
        ("app:pipeline", "import sys\nsys.exit()", (), "importing app raised SystemExit"),
        ("app:pipeline", "import nowhere", (), "app needs the module 'nowhere'"),
        ("app:pipeline", "", (), "app has no attribute 'pipeline'"),
        ("app:pipeline", "pipeline = 3", (), "expected a stream (an Observable) or a Pipeline"),
        ("app:pipeline", "x = = 3", (), "SyntaxError"),
        (
            "app:pipeline",
            "from rxotlp import operators as ops\nops.batch(max_items=0)",
            (),
            "app.py:2",
        ),
        (
            "app:pipeline",
            GATEWAY.format(delay=1),
            ("--listen", "htp=127.0.0.1:0"),
            "expected grpc=HOST:PORT or http=HOST:PORT",
        ),
        (
            "app:pipeline",
            GATEWAY.format(delay=1),
            ("--listen", "http=4318"),
            "expected 'host:port'",
        ),
    ],
)
def test_what_cannot_be_followed_is_one_line_and_status_2(
    start: Start, target: str, source: str, arguments: tuple[str, ...], says: str
) -> None:
    """Whoever typed it reads the reason, not our call stack."""
    running = start(source, *arguments, target=target)
    assert running.status() == 2, running.lines
    (line,) = running.lines["err"]
    assert line.startswith("rxotlp: ")
    assert says in line


def test_listen_needs_one_source_to_speak_of(start: Start) -> None:
    """With two receivers nobody could tell which port was meant."""
    running = start(
        """
import reactivex as rx
from rxotlp import exporters, sources
from rxotlp import operators as ops

pipeline = rx.merge(sources.otlp(name="one"), sources.otlp(name="two")).pipe(
    ops.export(exporters.Memory())
)
""",
        *FREE,
    )
    assert running.status() == 1
    (line,) = running.lines["err"]
    assert "expected a stream with one OTLP source, this has 2" in line


def test_without_typer_one_line_says_how_to_get_it() -> None:
    """An application embeds rxotlp without the gateway extra; the command is there all the same."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['typer'] = None\nfrom rxotlp.__main__ import main\nmain()",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == ("rxotlp: the command line needs typer: pip install 'rxotlp[gateway]'\n")
