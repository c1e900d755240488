"""`rxotlp run` as a process whose output can be waited for, and pipelines for it to run."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

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
