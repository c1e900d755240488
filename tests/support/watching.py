"""Threads that switch all the time, what nobody would hear otherwise, and whole gateways."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rxotlp import Pipeline, sources
from rxotlp import operators as ops
from rxotlp.testing import spans
from tests.support.scripted import Backend
from tests.support.senders import send

__all__ = ["cycle", "use", "watched"]


def use(pipeline: Pipeline, what: Callable[[], object], *, on_loop: bool) -> None:
    """Run a pipeline for as long as `what` takes, on a SyncScheduler or on a loop of its own."""
    if not on_loop:
        with pipeline:
            what()
        return

    async def main() -> None:
        async with pipeline:
            await asyncio.to_thread(what)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks are left: {left}"

    asyncio.run(main())


def cycle(transport: str, kind: str, there: Backend) -> None:
    """Start a whole gateway to a backend, send one request through it, and stop it."""
    source = sources.otlp(grpc="127.0.0.1:0", http="127.0.0.1:0")
    stream = source.pipe(ops.queue(), ops.batch(max_delay=0.01), ops.export(there.exporter()))
    pipeline = Pipeline(stream)

    def ask() -> None:
        heard = send(transport, pipeline.addresses[transport], spans([1]).to_bytes())
        assert heard.word == "success"

    use(pipeline, ask, on_loop=kind == "async")
    assert pipeline.report is not None
    assert (pipeline.report.unbalanced, pipeline.report.undelivered) == ([], 0)


@contextmanager
def watched(*expected: str, switch_interval: float = 1e-6) -> Iterator[list[str]]:
    """Switch threads as often as can be, and note what nobody would hear otherwise.

    Args:
        expected: how lines begin that are meant to be logged.

    Gives a list that fills with what is logged as an error or by asyncio, with exceptions
    that no thread caught, and with what finalizers raise (coroutines never awaited).
    """
    complaints: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            slow = record.name == "asyncio" and text.startswith("Executing ")
            if text.startswith(expected):
                return
            if not slow and (record.name == "asyncio" or record.levelno >= logging.ERROR):
                complaints.append(f"{record.name}: {text}")

    def unraisable(raised: Any) -> None:
        complaints.append(f"{raised.err_msg or 'ignored'}: {raised.exc_value!r}")

    def uncaught(raised: threading.ExceptHookArgs) -> None:
        complaints.append(f"{raised.thread}: {raised.exc_value!r}")

    listener = Listener(logging.WARNING)
    before = sys.getswitchinterval(), sys.unraisablehook, threading.excepthook
    logging.getLogger().addHandler(listener)
    sys.setswitchinterval(switch_interval)
    sys.unraisablehook, threading.excepthook = unraisable, uncaught
    try:
        yield complaints
    finally:
        interval, sys.unraisablehook, threading.excepthook = before
        sys.setswitchinterval(interval)
        logging.getLogger().removeHandler(listener)
