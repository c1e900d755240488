"""The README is executed: its code is that of examples/, and it does what the text says.

Only ports, the backend's address and the working directory are the test's, set by the means
that the README names.
"""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from rxotlp import Pipeline, Signal, exporters, sources
from rxotlp import operators as ops

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
PYTHON = {
    text.splitlines()[0].removeprefix("# "): text
    for language, text in BLOCKS
    if language == "python"
}
FREE = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0"}


def load(name: str) -> ModuleType:
    """A README block as a module."""
    path = ROOT / "examples" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def send(at: str) -> None:
    """What a small program sends: two spans, one of them a health check, and a log record."""
    tracing = TracerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(
        SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"http://{at}/v1/traces"))
    )
    for name in ("GET /healthz", "POST /login"):
        span = tracing.get_tracer("test").start_span(name)
        span.set_attribute("user.password", "hunter2")
        span.end()
    tracing.shutdown()
    logging = LoggerProvider(shutdown_on_exit=False)
    logging.add_log_record_processor(
        SimpleLogRecordProcessor(OTLPLogExporter(endpoint=f"http://{at}/v1/logs"))
    )
    logging.get_logger("test").emit(body="logged in", attributes={"user.password": "hunter2"})
    logging.shutdown()


def test_the_readme_shows_the_examples() -> None:
    """What a reader copies is what the checkers and the tests below have seen."""
    files = {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("examples/*.py")}
    assert files == PYTHON


def test_the_gateway_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Health checks go, logs are in the file, the rest is at the backend."""
    monkeypatch.chdir(tmp_path)
    memory = exporters.Memory()
    with Pipeline(sources.otlp().pipe(ops.export(memory)), listen=FREE) as backend:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{backend.addresses['http']}")
        with Pipeline(load("gateway.py").pipeline, listen=FREE) as pipeline:
            send(pipeline.addresses["http"])
    assert pipeline.report is not None
    assert not pipeline.report.unbalanced
    assert [span.name for span in memory.records(Signal.TRACES)] == ["POST /login"]
    assert "logged in" in Path("logs.jsonl").read_text()


def test_the_operators_of_your_own_do_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain of native and own operators keeps what it should and leaks nothing."""
    monkeypatch.chdir(tmp_path)
    with Pipeline(load("tidy.py").pipeline, listen=FREE) as pipeline:
        send(pipeline.addresses["http"])
    written = Path("tidy.jsonl").read_text()
    assert "POST /login" in written
    assert written.count("[redacted]") == 3
    assert "hunter2" not in written


def test_the_instrumented_program_does_what_it_says() -> None:
    """The two-line change: run as a program, seen at a backend, redacted."""
    memory = exporters.Memory()
    with Pipeline(sources.otlp().pipe(ops.export(memory)), listen=FREE) as backend:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{backend.addresses['http']}"}
        subprocess.run(
            [sys.executable, "instrumented.py"],
            cwd=ROOT / "examples",
            timeout=60,
            check=True,
            env=os.environ | endpoint,
        )
    (span,) = memory.records(Signal.TRACES)
    assert (span.name, span.attributes["user.password"]) == ("POST /login", "[redacted]")


def test_the_test_in_virtual_time_passes() -> None:
    """It is the reader's first test."""
    load("test_quiet_sender.py").test_nothing_waits_longer_than_it_may()


def test_the_test_in_virtual_time_is_short() -> None:
    """Fifteen lines, without its imports and blank lines."""
    code = PYTHON["test_quiet_sender.py"].partition("HELLO")[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 15


def test_commands_exist() -> None:
    """A command that is gone is the first thing that a newcomer meets."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    lines = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
    assert {"make demo", "make test"} <= set(lines)
    for line in lines:
        words = [word for word in line.split() if "=" not in word]
        if words[0] == "make":
            assert f"\n{words[1]}:" in makefile
        elif words[0] == "python":
            assert (ROOT / "examples" / words[1]).exists()
        elif words[0] == "pip":
            assert words[2].strip("'").removeprefix(".")[1:-1] in extras
        else:
            assert words[:2] == ["rxotlp", "run"]
            module, attribute = words[2].split(":")
            assert hasattr(load(f"{module}.py"), attribute)


def test_run_has_the_options_that_are_named() -> None:
    """`rxotlp run --help` is where the README sends people."""
    done = subprocess.run(
        [sys.executable, "-m", "rxotlp", "run", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert "--listen" in done.stdout
    assert "Exit status" in done.stdout


def test_links_lead_somewhere() -> None:
    """Relative ones, in this checkout."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_orders_are_told_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two traces of two spans are in the file when it ends."""
    monkeypatch.chdir(tmp_path)
    load("orders.py")
    memory = exporters.Memory()
    with Pipeline(sources.file("orders.jsonl").pipe(ops.export(memory))) as reading:
        assert reading.wait(30)
    spans = list(memory.records(Signal.TRACES))
    assert [span.name for span in spans] == ["pay", "order"] * 2
    assert {span.attributes.get("order.id") for span in spans} == {None, "A-17", "A-18"}
