"""How much a buffer holds, and that its numbers are right however it ends."""

import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from rxotlp import exporters
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome, failed
from rxotlp.data import Signal, TelemetryData
from rxotlp.sdk import BatchSpanProcessor
from rxotlp.sdk.settings import Limits
from rxotlp.sdk.stock import WINDOW, Batch, Stock

Provide = Callable[[BatchSpanProcessor], TracerProvider]


def stock(*, items: int = 1000, size: int, batch: int = 100) -> Stock:
    return Stock(Limits(items, size, batch, 1.0, 1.0))


def batch(size: int, *, first: int, items: int) -> Batch:
    return Batch(TelemetryData.from_bytes(Signal.TRACES, bytes(size)), first, items)


def test_small_records_are_bound_by_their_number() -> None:
    """Whoever sets OTEL_BSP_MAX_QUEUE_SIZE gets that."""
    held = stock(size=1_000_000)
    held.add(batch(1000, first=0, items=100), 100)
    assert (held.room, held.batch) == (1000, 100)


def test_large_records_are_bound_by_their_bytes() -> None:
    """What is encoded counts as it is, what is not as much as the last batch did."""
    held = stock(size=100_000)
    held.add(one := batch(50_000, first=0, items=100), 100)
    assert held.room == 100 + 100  # 50 000 bytes are left, 500 an item
    assert held.batch == 100_000 // WINDOW // 500
    held.add(batch(50_000, first=100, items=50), 50)
    assert held.room == 150  # nothing is left
    held.finish(one)
    assert held.room == 50 + 50_000 // 1000


def test_one_record_larger_than_the_bound_keeps_nobody_out_for_ever() -> None:
    """It is sent, as it is there; then there is room as ever."""
    held = stock(size=1000)
    held.add(one := batch(5000, first=0, items=1), 1)
    assert (held.room, held.batch) == (1, 1)
    held.finish(one)
    assert (held.room, held.batch) == (1000, 1)
    held.add(batch(10, first=1, items=1), 1)
    assert (held.room, held.batch) == (1 + 99, 12)


def test_what_failed_is_sent_before_what_was_not_sent_yet() -> None:
    """The oldest first: it has waited longest."""
    held = stock(size=1000)
    batches = [batch(1, first=first, items=1) for first in range(3)]
    for each in batches:
        held.add(each, 1)
    assert held.next() is batches[0]
    held.put_back(batches[0])
    assert [held.next() for _ in range(4)] == [*batches, None]
    assert held.oldest(99) == 0


def test_memory_stays_bounded_in_an_outage_with_large_spans(
    backend: Any, provide: Provide, caplog: pytest.LogCaptureFixture
) -> None:
    """2048 spans may be 2 MB or 2 GB; the second would take the application down."""
    backend.answer = failed("down")
    processor = BatchSpanProcessor(
        exporter=backend, max_queue_bytes=1_000_000, max_export_batch_size=10, schedule_delay=0.001
    )
    provide(processor)
    tracer = provide(processor).get_tracer("test")
    for _ in range(300):
        tracer.start_span("large", attributes={"body": "x" * 20_000}).end()
        time.sleep(0.0005)
    counts = processor.statistics()
    assert counts.held + counts.dropped == 300
    assert counts.held * 20_000 < 1_500_000
    assert "the buffer of 1000000 bytes is full" in caplog.text
    backend.answer = DELIVERED
    assert processor.force_flush()
    assert backend.items == counts.held
    tracer.start_span("later").end()
    assert processor.force_flush()
    assert processor.statistics().dropped == counts.dropped


@pytest.fixture(name="hasty")
def _hasty() -> Iterator[None]:
    """Threads take turns after each bytecode that allows it."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("seed", range(12))
def test_spans_that_end_during_shutdown_are_all_accounted_for(seed: int, provide: Provide) -> None:
    """A count that is off by one once in a thousand restarts is a count nobody believes."""
    chance = random.Random(seed)

    class Unsteady(exporters.Memory):
        blocking = True

        def export(self, data: TelemetryData) -> Outcome:
            time.sleep(chance.random() * 0.004)
            return failed("down") if chance.random() < 0.3 else super().export(data)

    memory = Unsteady()
    processor = BatchSpanProcessor(
        exporter=memory,
        max_queue_size=chance.choice([50, 3000]),
        max_export_batch_size=7,
        schedule_delay=0.001,
    )
    tracer = provide(processor).get_tracer("test")
    stop = threading.Event()
    ended = [0] * 4

    def load(number: int) -> None:
        while not stop.is_set():
            tracer.start_span("one").end()
            ended[number] += 1

    threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(chance.random() * 0.02)
    processor.shutdown(chance.choice([0, 1, 5, 20, 200]))
    assert processor.statistics().held == 0
    stop.set()
    for thread in threads:
        thread.join()
    counts = processor.statistics()
    assert (counts.received, counts.held) == (sum(ended), 0)
    assert not processor.books.unbalanced
    assert processor.books["sdk"].received == counts.received


def test_the_last_line_in_the_log_has_all_the_numbers(
    backend: Any, provide: Provide, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that is gone cannot be asked any more."""
    backend.gate.clear()
    processor = BatchSpanProcessor(exporter=backend, max_queue_size=3, export_timeout=60.0)
    tracer = provide(processor).get_tracer("test")
    for _ in range(5):
        tracer.start_span("one").end()
    processor.shutdown(200)
    assert caplog.records[-1].levelno == logging.WARNING
    assert caplog.messages[-1] == (
        "sdk: shut down; of 5 spans 0 succeeded, 0 rejected, 2 dropped, 3 given up"
    )
    tracer.start_span("late").end()
    assert caplog.messages[-1] == "sdk: shut down; spans that come now are dropped"


def test_an_end_without_a_loss_is_no_warning(
    backend: Any, provide: Provide, caplog: pytest.LogCaptureFixture
) -> None:
    """A line that is always there is not read."""
    caplog.set_level(logging.INFO)
    provider = provide(BatchSpanProcessor(exporter=backend))
    provider.get_tracer("test").start_span("one").end()
    provider.shutdown()
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_what_the_callers_operator_cannot_handle_is_counted(
    backend: Any, provide: Provide, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in an operator costs what it was about, under its reason."""

    def picky(span: Any) -> None:
        if span.name == "bad":
            raise KeyError("no such thing")

    processor = BatchSpanProcessor(
        ops.map_records(picky), exporter=backend, max_export_batch_size=1
    )
    provider = provide(processor)
    for name in ("good", "bad", "good"):
        provider.get_tracer("test").start_span(name).end()
    assert provider.force_flush()
    counts = processor.statistics()
    assert (counts.received, counts.succeeded, counts.rejected) == (3, 2, 1)
    assert "KeyError" in caplog.text
    provider.shutdown()
    assert not processor.books.unbalanced
