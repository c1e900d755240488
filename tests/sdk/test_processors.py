"""The processors under real SDK providers: what arrives, what is counted, and in what time."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from reactivex import operators as rx_ops

from rxotlp import Pipeline, exporters, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, failed, rejected
from rxotlp.sdk import BatchLogRecordProcessor, BatchSpanProcessor

Provide = Callable[[BatchSpanProcessor], TracerProvider]


def spans(provider: TracerProvider, *names: str) -> None:
    """End a span of each name."""
    for name in names:
        provider.get_tracer("test").start_span(name).end()


def numbered(first: int, end: int) -> list[str]:
    """Span names that tell one from the other."""
    return [f"s{number}" for number in range(first, end)]


def test_spans_reach_a_real_receiver_through_the_callers_operators(provide: Provide) -> None:
    """The two-line change: encoded, changed by the caller's function, sent, acknowledged."""

    def redact(span: Any) -> None:
        span.name = span.name.replace("secret", "[redacted]")

    memory = exporters.Memory()
    with Pipeline(sources.otlp(grpc=None, http="127.0.0.1:0").pipe(ops.export(memory))) as receiver:
        processor = BatchSpanProcessor(
            ops.map_records(redact),
            exporter=exporters.OtlpHttp(f"http://{receiver.addresses['http']}"),
        )
        provider = provide(processor)
        spans(provider, "secret one", "two")
        assert provider.force_flush()
        assert [record.name for record in memory.records()] == ["[redacted] one", "two"]
        assert processor.statistics()._asdict() == {
            "received": 2,
            "succeeded": 2,
            "rejected": 0,
            "dropped": 0,
            "given_up": 0,
            "held": 0,
        }
        provider.shutdown()
    assert not processor.books.unbalanced


def test_a_full_batch_leaves_without_waiting(backend: Any, provide: Provide) -> None:
    """The delay is for what is not full: a busy program is not an hour behind."""
    processor = BatchSpanProcessor(
        exporter=backend, max_export_batch_size=10, schedule_delay=3600.0
    )
    spans(provide(processor), *numbered(0, 10))
    assert backend.asked.acquire(timeout=60)


def test_a_batch_that_is_not_full_leaves_after_the_delay(backend: Any, provide: Provide) -> None:
    """A quiet program's spans arrive too."""
    processor = BatchSpanProcessor(exporter=backend, schedule_delay=0.01)
    provider = provide(processor)
    for name in ("first", "second"):  # the timer is armed again after it fired
        spans(provider, name)
        assert backend.asked.acquire(timeout=60)


def test_a_backend_that_comes_back_gets_what_was_kept_and_the_rest_is_counted(
    backend: Any, provide: Provide
) -> None:
    """An outage costs what does not fit into the buffer, exactly, and nothing else."""
    backend.answer = failed("down")
    processor = BatchSpanProcessor(
        exporter=backend, max_queue_size=50, max_export_batch_size=20, schedule_delay=0.01
    )
    provider = provide(processor)
    spans(provider, *numbered(0, 20))
    assert backend.asked.acquire(timeout=60)  # it failed, and stays
    spans(provider, *numbered(20, 100))
    assert processor.statistics()[:1] + processor.statistics()[3:] == (100, 50, 0, 50)
    backend.answer = DELIVERED
    assert provider.force_flush()
    assert sorted(backend.names) == sorted(numbered(0, 50))
    spans(provider, "later")
    assert provider.force_flush()
    assert backend.names[-1] == "later"
    counts = processor.statistics()
    assert (counts.received, counts.succeeded, counts.dropped) == (101, 51, 50)
    assert processor.books["sdk"].dropped == 50
    provider.shutdown()
    assert not processor.books.unbalanced


def test_the_application_never_waits(backend: Any, provide: Provide) -> None:
    """A backend that hangs must not make a request of the application slow."""
    backend.gate.clear()
    processor = BatchSpanProcessor(
        exporter=backend,
        max_queue_size=100,
        max_export_batch_size=10,
        schedule_delay=0.01,
        export_timeout=2.0,
    )
    provider = provide(processor)
    began = time.monotonic()
    spans(provider, *numbered(0, 2000))
    assert time.monotonic() - began < 10  # the backend hangs for 60
    assert processor.statistics().dropped == 1900


def test_overflow_is_counted_exactly_under_many_threads(backend: Any, provide: Provide) -> None:
    """Counts without a lock: what was kept and what was dropped add up to what ended."""
    backend.gate.clear()
    processor = BatchSpanProcessor(
        exporter=backend, max_queue_size=500, max_export_batch_size=64, export_timeout=60.0
    )
    provider = provide(processor)
    threads = [
        threading.Thread(target=spans, args=(provider, *numbered(0, 1000))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = processor.statistics()
    assert (counts.received, counts.dropped, counts.held) == (8000, 7500, 500)
    backend.gate.set()
    assert provider.force_flush()
    assert backend.items == 500


def test_a_flush_keeps_its_time_when_the_backend_hangs(backend: Any, provide: Provide) -> None:
    """False in time, and nothing lost: it is delivered when the backend wakes up."""
    backend.gate.clear()
    processor = BatchSpanProcessor(exporter=backend)
    provider = provide(processor)
    spans(provider, "patient")
    began = time.monotonic()
    assert not processor.force_flush(100)
    assert time.monotonic() - began < 10
    backend.gate.set()
    assert processor.force_flush()
    assert backend.names == ["patient"]


def test_a_shutdown_keeps_its_time_when_the_backend_hangs(backend: Any, provide: Provide) -> None:
    """A program ends when it is told to, and says what it could not deliver."""
    backend.gate.clear()
    processor = BatchSpanProcessor(exporter=backend, max_export_batch_size=2)
    provider = provide(processor)
    spans(provider, *numbered(0, 37))
    began = time.monotonic()
    processor.shutdown(400)
    assert time.monotonic() - began < 10
    counts = processor.statistics()
    assert (counts.received, counts.succeeded, counts.given_up, counts.held) == (37, 0, 37, 0)
    spans(provider, "late")
    assert processor.statistics().dropped == 1


@pytest.mark.parametrize("kind", [exporters.OtlpHttp, exporters.OtlpGrpc])
def test_a_shutdown_keeps_its_time_when_a_server_never_answers(kind: Any, provide: Provide) -> None:
    """The same over a real connection, which is closed: no thread and no socket stays."""
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as server:
        processor = BatchSpanProcessor(exporter=kind(f"http://127.0.0.1:{server.getsockname()[1]}"))
        provider = provide(processor)
        spans(provider, "lost")
        assert not processor.force_flush(200)
        began = time.monotonic()
        processor.shutdown(1000)
        assert time.monotonic() - began < 8  # an attempt would take 10
    assert processor.statistics().given_up == 1
    assert not processor.books.unbalanced
    assert not [
        thread
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith("rxotlp-") and thread.name != "rxotlp-settle"
    ]


def test_a_shutdown_does_not_wait_for_a_backend_that_refuses(
    backend: Any, provide: Provide
) -> None:
    """Each batch has one more attempt; a program does not hang at its end for a dead backend."""
    backend.answer = failed("down")
    processor = BatchSpanProcessor(exporter=backend, export_timeout=60.0)
    provider = provide(processor)
    spans(provider, "lost")
    began = time.monotonic()
    provider.shutdown()
    assert time.monotonic() - began < 30
    assert processor.statistics().given_up == 1
    assert not processor.books.unbalanced


def test_partial_success_is_booked(backend: Any, provide: Provide) -> None:
    """What a backend refuses for good is not sent again and not called delivered."""
    backend.answer = rejected("too old", items=3)
    processor = BatchSpanProcessor(exporter=backend)
    provider = provide(processor)
    spans(provider, *numbered(0, 10))
    assert provider.force_flush()
    counts = processor.statistics()
    assert (counts.succeeded, counts.rejected, counts.held) == (7, 3, 0)
    assert (processor.books["export"].delivered, processor.books["export"].rejected) == (7, 3)
    assert backend.attempts == 1


def test_one_batch_that_hangs_keeps_no_other_from_being_sent(provide: Provide) -> None:
    """What a shutdown can deliver in its time it does deliver."""
    gate = threading.Event()

    class Partly(exporters.Memory):
        blocking = True

        def export(self, data: Any) -> Any:
            if next(iter(data.records())).name == "s0":
                gate.wait(60)
            return super().export(data)

    memory = Partly()
    processor = BatchSpanProcessor(exporter=memory, max_export_batch_size=2)
    provider = provide(processor)
    spans(provider, *numbered(0, 41))
    processor.shutdown(2000)
    assert sorted(record.name for record in memory.records()) == sorted(numbered(2, 41))
    counts = processor.statistics()
    assert (counts.succeeded, counts.given_up) == (39, 2)
    gate.set()


def test_a_flush_hurries_the_callers_batches(backend: Any, provide: Provide) -> None:
    """A batch of the caller's that may wait an hour does not keep a flush waiting."""
    processor = BatchSpanProcessor(
        ops.batch(max_delay=3600.0), exporter=backend, max_export_batch_size=10
    )
    provider = provide(processor)
    spans(provider, *numbered(0, 95))
    assert provider.force_flush(60_000)
    assert sorted(backend.names) == sorted(numbered(0, 95))


def test_spans_that_are_not_sampled_are_left_alone(backend: Any, provide: Provide) -> None:
    """As the SDK's own processor does."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    processor = BatchSpanProcessor(exporter=backend)
    provider = provide(processor)
    provider.sampler = ALWAYS_OFF
    spans(provider, "unseen")
    assert processor.statistics().received == 0


def test_a_record_that_cannot_be_encoded_takes_no_other_along(
    backend: Any, provide: Provide
) -> None:
    """One bad span among good ones costs one span, and is counted as refused."""
    processor = BatchSpanProcessor(exporter=backend)
    provider = provide(processor)
    spans(provider, "before")
    bad: Any = provider.get_tracer("test").start_span("bad")
    bad._kind = "no kind at all"
    bad.end()
    spans(provider, "after")
    assert provider.force_flush()
    assert backend.names == ["before", "after"]
    assert processor.statistics().rejected == 1
    assert not processor.books.unbalanced


def test_a_stream_that_cannot_start_is_reported_and_loses_nothing_silently(
    backend: Any, provide: Provide, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in the operators is one clear line and a count, never a hanging program."""
    processor = BatchSpanProcessor(
        ops.batch(name="same"), ops.batch(name="same"), exporter=backend, export_timeout=60.0
    )
    provider = provide(processor)
    spans(provider, "lost")
    assert not processor.force_flush()
    assert "two stages are named 'same'" in caplog.text
    assert processor.statistics().given_up == 1


def test_exports_run_with_instrumentation_suppressed(provide: Provide) -> None:
    """An instrumented client would make a span of each export, which would be exported."""
    from opentelemetry import context

    seen: list[object] = []

    class Looks(exporters.Memory):
        def export(self, data: Any) -> Any:
            seen.append(context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY))
            return super().export(data)

    processor = BatchSpanProcessor(exporter=Looks())
    provider = provide(processor)
    spans(provider, "one")
    assert provider.force_flush()
    assert seen == [True]


def test_spans_of_the_callers_own_operators_are_not_taken_in(
    backend: Any, provide: Provide
) -> None:
    """An operator that uses an instrumented library must not keep the stream going for ever."""

    def traced(span: Any) -> None:
        provider.get_tracer("test").start_span("made by an operator").end()

    processor = BatchSpanProcessor(ops.map_records(traced), exporter=backend)
    provider = provide(processor)
    spans(provider, "one")
    assert provider.force_flush()
    assert backend.names == ["one"]
    assert processor.statistics().received == 1


def test_a_stream_that_fails_keeps_counting(backend: Any, provide: Provide) -> None:
    """A native operator that raises ends the stream; what follows is not lost silently."""

    def broken(data: Any) -> Any:
        raise RuntimeError("a mistake")

    processor = BatchSpanProcessor(rx_ops.map(broken), exporter=backend)
    provider = provide(processor)
    spans(provider, "first")
    assert not processor.force_flush(100)
    spans(provider, "second")
    provider.shutdown()
    counts = processor.statistics()
    assert (counts.received, counts.given_up, counts.held) == (2, 2, 0)
    assert not processor.books.unbalanced


def test_a_restarted_receiver_gets_what_ended_meanwhile(provide: Provide) -> None:
    """Over real sockets, by name: nothing lost, nothing twice, while the buffer has room."""
    memory = exporters.Memory()
    first = Pipeline(sources.otlp(grpc=None, http="127.0.0.1:0").pipe(ops.export(memory)))
    first.start()
    address = first.addresses["http"]
    processor = BatchSpanProcessor(
        exporter=exporters.OtlpHttp(f"http://{address}"),
        max_export_batch_size=50,
        schedule_delay=0.01,
    )
    provider = provide(processor)
    spans(provider, *numbered(0, 100))
    assert provider.force_flush()
    first.stop()
    spans(provider, *numbered(100, 300))
    assert not processor.force_flush(100)
    with Pipeline(sources.otlp(grpc=None, http=address).pipe(ops.export(memory))):
        spans(provider, *numbered(300, 400))
        assert provider.force_flush()
        assert sorted(record.name for record in memory.records()) == sorted(numbered(0, 400))
        counts = processor.statistics()
        assert (counts.received, counts.succeeded) == (400, 400)
        provider.shutdown()
    assert not processor.books.unbalanced


def test_log_records_arrive_and_an_export_does_not_feed_itself() -> None:
    """A failing export logs; with the log handler attached that must not make more logs."""
    provider = LoggerProvider(shutdown_on_exit=False)

    class Chatty(exporters.Memory):
        def export(self, data: Any) -> Any:
            provider.get_logger("test").emit(body="exporting")
            return super().export(data)

    memory = Chatty()
    processor = BatchLogRecordProcessor(exporter=memory)
    provider.add_log_record_processor(processor)
    provider.get_logger("test").emit(body="hello")
    assert provider.force_flush()
    assert [record.body for record in memory.records()] == ["hello"]
    assert processor.statistics().received == 1
    provider.shutdown()
    assert not processor.books.unbalanced


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_queue_size": 0}, r"BatchSpanProcessor\(max_queue_size=0\)"),
        ({"max_export_batch_size": -1}, r"max_export_batch_size=-1\): expected 1 or more"),
        ({"schedule_delay": 0}, r"schedule_delay=0\): expected seconds above 0"),
        (
            {"max_queue_size": 10, "max_export_batch_size": 11},
            r"expected at most max_queue_size=10",
        ),
    ],
)
def test_a_wrong_argument_fails_where_it_is_written(
    arguments: dict[str, Any], message: str
) -> None:
    """Call, value, range and reason."""
    with pytest.raises(ValueError, match=message):
        BatchSpanProcessor(exporter=exporters.Memory(), **arguments)
