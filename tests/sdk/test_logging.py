"""What a program logs with the standard library arrives, and nothing else changes."""

import logging
import logging.config
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider

from rxotlp import Pipeline, exporters, sources
from rxotlp import operators as ops
from rxotlp.sdk import BatchLogRecordProcessor, LogHandler
from rxotlp.sdk.handler import severity

ROOT = logging.getLogger()


class Site:
    """A provider, what arrives of it, and a handler attached to the root logger."""

    def __init__(self) -> None:
        self.memory = exporters.Memory()
        self.processor = BatchLogRecordProcessor(exporter=self.memory)
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(self.processor)
        self.handler = LogHandler(self.provider)

    def arrived(self) -> list[Any]:
        assert self.provider.force_flush()
        return list(self.memory.records())


@pytest.fixture(name="site")
def _site() -> Iterator[Site]:
    before, level = list(ROOT.handlers), ROOT.level
    site = Site()
    site.handler.attach()
    yield site
    site.handler.detach()
    site.provider.shutdown()
    ROOT.handlers[:] = before
    ROOT.setLevel(level)


def test_a_message_arrives_with_where_it_is_from(site: Site) -> None:
    """What somebody who reads it at a backend searches by."""
    logging.getLogger("shop.cart").warning("%d items", 3, extra={"cart": "c1"})
    (record,) = site.arrived()
    assert record.body == "3 items"
    assert (record.severity_number, record.severity_text) == (13, "WARN")
    assert record.attributes["cart"] == "c1"
    assert record.attributes["code.file.path"] == __file__
    assert record.attributes["code.function.name"] == "test_a_message_arrives_with_where_it_is_from"
    assert record.scope.name == "shop.cart"


def test_an_exception_arrives_with_its_traceback(site: Site) -> None:
    """`logger.exception` is how most programs report."""
    try:
        raise RuntimeError("no stock")
    except RuntimeError:
        logging.getLogger("shop").exception("failed")
    (record,) = site.arrived()
    assert record.attributes["exception.type"] == "RuntimeError"
    assert record.attributes["exception.message"] == "no stock"
    assert "raise RuntimeError" in record.attributes["exception.stacktrace"]


def test_a_message_inside_a_span_is_the_spans(site: Site) -> None:
    """From a slow request to its log lines."""
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("request") as span:
        logging.getLogger("shop").warning("inside")
    (record,) = site.arrived()
    assert record.trace_id == span.get_span_context().trace_id.to_bytes(16, "big")


@pytest.mark.parametrize(
    ("level", "number"),
    [
        (0, SeverityNumber.UNSPECIFIED),
        (5, SeverityNumber.TRACE),
        (logging.DEBUG, SeverityNumber.DEBUG),
        (17, SeverityNumber.DEBUG4),
        (logging.INFO, SeverityNumber.INFO),
        (25, SeverityNumber.INFO4),
        (logging.WARNING, SeverityNumber.WARN),
        (logging.ERROR, SeverityNumber.ERROR),
        (logging.CRITICAL, SeverityNumber.FATAL),
        (99, SeverityNumber.FATAL4),
    ],
)
def test_levels_are_severities(level: int, number: SeverityNumber) -> None:
    """A backend's `severity >= WARN` means what it says, for levels of one's own too."""
    assert severity(level) is number


def test_what_rxotlp_logs_and_what_an_export_logs_is_left_out(site: Site) -> None:
    """A failing export that logs would otherwise make something to export."""
    ROOT.setLevel(logging.DEBUG)

    def chatty(record: Any) -> None:
        logging.getLogger("a.library").error("about %s", record.body.string_value)

    processor = BatchLogRecordProcessor(ops.map_records(chatty), exporter=site.memory)
    site.provider.add_log_record_processor(processor)
    logging.getLogger("rxotlp").error("destination is down")
    logging.getLogger("rxotlp.sources").error("so is this")
    logging.getLogger("shop").error("once")
    assert {record.body for record in site.arrived()} == {"once"}
    assert site.processor.statistics().received == processor.statistics().received == 1


def test_an_attribute_that_cannot_be_sent_costs_neither_the_message_nor_a_loop(
    site: Site,
) -> None:
    """The SDK warns of it, by logging."""
    logging.getLogger("shop").warning("odd", extra={"thing": object(), "good": 1})
    (record,) = [record for record in site.arrived() if record.body == "odd"]
    assert record.attributes["good"] == 1


def test_a_message_that_cannot_be_formatted_is_reported_as_logging_does(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in a log call must not reach the program."""
    seen: list[logging.LogRecord] = []
    monkeypatch.setattr(site.handler, "handleError", seen.append)
    site.handler.emit(
        logging.LogRecord("shop", logging.INFO, __file__, 1, "%d", ("no number",), None)
    )
    assert len(seen) == 1
    assert site.arrived() == []


def test_logging_is_configured_as_if_the_handler_were_not_there(site: Site) -> None:
    """`basicConfig` looks for handlers, and `dictConfig` removes them."""
    for handler in [handler for handler in ROOT.handlers if handler is not site.handler]:
        ROOT.removeHandler(handler)
    logging.basicConfig(level=logging.INFO)
    assert len(ROOT.handlers) == 2
    logging.getLogger("shop").info("first")
    logging.config.dictConfig(
        {"version": 1, "disable_existing_loggers": False, "root": {"level": "INFO", "handlers": []}}
    )
    logging.getLogger("shop").info("second")
    assert [record.body for record in site.arrived()] == ["first", "second"]
    site.handler.detach()
    assert logging.basicConfig.__module__ == "logging"
    assert "_unseen" not in logging.basicConfig.__code__.co_qualname


PROGRAM = """
import logging, sys
from rxotlp.sdk import instrument

made = instrument({arguments})
logging.warning("to whom it may concern")
logging.getLogger("shop").error("also to a logger")
"""


@pytest.mark.parametrize("arguments", ["", "logging=False"])
def test_instrument_takes_in_what_is_logged_unless_told_not_to(
    arguments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line; and what went to stderr still does."""
    memory = exporters.Memory()
    with Pipeline(sources.otlp(grpc=None, http="127.0.0.1:0").pipe(ops.export(memory))) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{receiver.addresses['http']}")
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM.format(arguments=arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "to whom it may concern" in done.stderr
    assert "also to a logger" in done.stderr
    bodies = [record.body for record in memory.records()]
    assert bodies == ([] if arguments else ["to whom it may concern", "also to a logger"])
