"""`Pipeline`: assembled, run in the background, drained, stopped."""

import asyncio
import threading
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed
from rxotlp.data import Signal, TelemetryData
from rxotlp.errors import LooseElementError, PipelineError
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import AsyncScheduler, SerialScheduler, SyncScheduler, VirtualScheduler
from rxotlp.sources.iterable import from_iterable
from rxotlp.testing import Feed, Recorder, ids_of, kind, logs


def test_leaving_the_block_drains_what_was_let_in() -> None:
    """A deploy must not lose what a batch holds."""
    feed, sink = Feed(), Recorder()
    with Pipeline(feed.pipe(ops.batch(max_delay=3600), ops.export(sink))) as pipeline:
        receipt = feed.admit(logs([1, 2]))
    assert sink.ids == [1, 2]
    assert kind(receipt) is Kind.DELIVERED
    assert pipeline.report is not None
    assert (pipeline.report.undelivered, pipeline.report.unbalanced) == (0, [])


def test_an_asyncio_pipeline_drains_too() -> None:
    """The same promise, awaited."""
    feed, sink = Feed(), Recorder()

    async def main() -> Pipeline:
        stream = feed.pipe(ops.batch(max_delay=3600), ops.export(sink))
        async with Pipeline(stream) as pipeline:
            assert isinstance(pipeline.scheduler, AsyncScheduler)
            feed.admit(logs([1, 2]))
        return pipeline

    pipeline = asyncio.run(main())
    assert sink.ids == [1, 2]
    assert pipeline.report is not None
    assert pipeline.report.unbalanced == []


def test_what_is_not_delivered_by_the_drains_deadline_fails_and_is_reported() -> None:
    """A hanging backend must not hang the shutdown, nor be acknowledged."""
    release = threading.Event()

    class Hangs:
        blocking = True

        def export(self, data: TelemetryData) -> Outcome:
            release.wait(60)
            return DELIVERED

    feed = Feed()
    stream = feed.pipe(ops.export(Hangs(), max_concurrent=1))
    with SyncScheduler() as scheduler:
        with Pipeline(stream, scheduler=scheduler, drain_timeout=0.2) as pipeline:
            receipts = [feed.admit(logs([1])), feed.admit(logs([2, 3]))]
        assert [kind(receipt) for receipt in receipts] == [Kind.FAILED] * 2
        assert pipeline.report is not None
        assert pipeline.report.undelivered == 3
        release.set()


def test_the_streams_fault_is_kept_and_not_raised() -> None:
    """`with` must not raise what happened in the background; `error` says it."""
    feed = Feed()

    def breaks(_data: TelemetryData) -> TelemetryData:
        raise ValueError("broken")

    with Pipeline(feed.pipe(rx_ops.map(breaks), ops.export(Recorder()))) as pipeline:
        receipt = feed.admit(logs([1]))
        assert pipeline.wait(30)
    assert str(pipeline.error) == "broken"
    assert pipeline.error is not None
    assert pipeline.error.__traceback__ is None  # its frames hold elements
    assert kind(receipt) is Kind.FAILED


def test_telemetry_that_nobody_exports_is_not_acknowledged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A forgotten `ops.export` must not answer success."""
    feed = Feed()
    with Pipeline(feed.pipe(ops.batch(max_items=1))):
        receipts = [feed.admit(logs([1])), feed.admit(logs([2]))]
    assert [kind(receipt) for receipt in receipts] == [Kind.FAILED] * 2
    assert caplog.text.count("no exporter had taken it") == 1


def test_strict_makes_an_element_without_a_receipt_an_error() -> None:
    """In tests, a warning is too easy to miss."""
    stream = rx.of(logs([1])).pipe(ops.export(Recorder()))
    with Pipeline(stream, strict=True) as pipeline:
        assert pipeline.wait(30)
    assert isinstance(pipeline.error, LooseElementError)
    assert "data.derive" in str(pipeline.error)


def test_without_strict_it_is_booked_as_created_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The books still say where it came from."""
    sink = Recorder()
    stream = rx.of(logs([1]), logs([2])).pipe(ops.export(sink))
    with Pipeline(stream) as pipeline:
        assert pipeline.wait(30)
    assert sink.ids == [1, 2]
    assert pipeline.books["export"].created == 2
    assert caplog.text.count("data.derive") == 1


def test_what_was_rejected_is_published_without_its_receipt() -> None:
    """Dead letters may be kept; senders have been told."""
    feed = Feed()
    dead: list[Any] = []

    def breaks(_data: TelemetryData) -> TelemetryData:
        raise ValueError("bad")

    pipeline = Pipeline(feed.pipe(ops.chain(breaks, name="checks"), ops.export(Recorder())))
    pipeline.rejected.subscribe(dead.append)
    with pipeline:
        receipt = feed.admit(logs([1]))
    assert kind(receipt) is Kind.REJECTED
    assert [(letter.stage, letter.data.items, letter.reason) for letter in dead] == [
        ("checks", 1, "ValueError: bad")
    ]


def test_a_source_that_two_branches_use_is_connected_once() -> None:
    """Two exporters on one receiver share one port."""
    feed, first, second = Feed(), Recorder(), Recorder()
    stream = rx.merge(feed.pipe(ops.export(first)), feed.pipe(ops.export(second)))
    with Pipeline(stream) as pipeline:
        feed.admit(logs([1]))
    assert first.ids == second.ids == [1]
    assert pipeline.report is not None
    assert pipeline.report.unbalanced == []


def test_exporters_are_closed_at_the_end() -> None:
    """Connections and files do not outlive the pipeline."""

    class Closes(Recorder):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    closes = Closes()
    with Pipeline(from_iterable([logs([1])]).pipe(ops.export(closes))) as pipeline:
        assert pipeline.wait(30)
    assert closes.closed == 1


def test_a_pipeline_runs_in_virtual_time() -> None:
    """An hour's batch timeout is tested in a millisecond."""
    feed, sink = Feed(), Recorder()
    clock = VirtualScheduler()
    stream = feed.pipe(ops.batch(max_delay=3600), ops.export(sink))
    with clock, Pipeline(stream, scheduler=clock):
        feed.admit(logs([1]))
        clock.advance_by(3599)
        assert sink.ids == []
        clock.advance_by(1)
        assert sink.ids == [1]


def test_a_busy_shared_scheduler_delays_the_start_and_breaks_nothing() -> None:
    """Sources connect only after the stream has been subscribed."""
    feed, sink = Feed(), Recorder()
    began, go = threading.Event(), threading.Event()

    def busy() -> None:
        began.set()
        assert go.wait(30)

    with SyncScheduler() as scheduler:
        scheduler.post(busy)
        assert began.wait(30)
        threading.Timer(0.1, go.set).start()
        with Pipeline(feed.pipe(ops.export(sink)), scheduler=scheduler):
            feed.admit(logs([1]))
    assert sink.ids == [1]


def test_a_source_that_comes_too_late_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody connects it; a silent receiver would be looked for at the sender."""
    late = Feed()
    clock = VirtualScheduler()
    stream = rx.timer(5.0).pipe(rx_ops.flat_map(lambda _: late.pipe(ops.export(Recorder()))))
    with clock, Pipeline(stream, scheduler=clock):
        clock.advance_by(6)
    assert caplog.text.count("subscribed after its pipeline had started") == 1


def test_a_pipeline_leaves_no_thread_behind() -> None:
    """A program that starts many must not collect threads."""
    with Pipeline(from_iterable([logs([1])]).pipe(ops.export(Recorder()))) as pipeline:
        assert pipeline.wait(30)
        name = type(pipeline.scheduler).__name__
    left = [thread.name for thread in threading.enumerate() if name in thread.name]
    assert left == []


def test_misuse_is_told_with_the_way_out() -> None:
    """One clear message instead of a deadlock."""
    with pytest.raises(TypeError, match="expected an Observable"):
        Pipeline([1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a SyncScheduler"):
        Pipeline(rx.empty(), scheduler="sync")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected 0 or more seconds"):
        Pipeline(rx.empty(), drain_timeout=-1)
    with pytest.raises(PipelineError, match="not been started"):
        _ = Pipeline(rx.empty()).scheduler

    async def main() -> None:
        with pytest.raises(PipelineError, match="async with"):
            Pipeline(rx.empty(), scheduler=AsyncScheduler()).start()

    asyncio.run(main())
    with Pipeline(rx.never()) as pipeline:
        with pytest.raises(PipelineError, match="started before"):
            pipeline.start()
        assert "running" in repr(pipeline)
    assert "stopped" in repr(pipeline)


class Unclosable(Recorder):
    """A destination whose file cannot be closed."""

    def close(self) -> None:
        raise OSError("disk full")


def test_a_resource_that_cannot_be_closed_keeps_nothing_else_open() -> None:
    """One full disk must not leave threads running and the report unwritten."""
    feed = Feed()
    with Pipeline(feed.pipe(ops.export(Unclosable()))) as pipeline:
        feed.admit(logs([1]))
    assert pipeline.report is not None
    assert pipeline.report.undelivered == 0
    with pytest.raises(PipelineError, match="close"):
        pipeline.scheduler.post(lambda: None)


def test_stopping_from_inside_is_refused_at_once() -> None:
    """It would wait for the very action that waits for it, until the drain's deadline."""
    feed, raised = Feed(), threading.Event()

    def stop(_delivery: object) -> None:
        with pytest.raises(PipelineError, match="inside"):
            pipeline.stop()
        raised.set()

    with Pipeline(feed.pipe(ops.export(Recorder()), rx_ops.do_action(stop))) as pipeline:
        feed.admit(logs([1]))
        assert raised.wait(10)


def test_stopping_after_a_failed_start_waits_for_nothing() -> None:
    """`finally: pipeline.stop()` after a port was taken must not hang until the deadline."""

    class Taken(Feed):
        def _begin(self, scheduler: SerialScheduler) -> None:
            raise OSError("taken")

    pipeline = Pipeline(Taken().pipe(ops.export(Recorder())), drain_timeout=1000)
    with pytest.raises(OSError, match="taken"):
        pipeline.start()
    assert pipeline.stop().undelivered == 0
    assert not pipeline.running


def test_what_a_source_gives_up_is_reported_once() -> None:
    """In flight at the deadline, or waiting to be offered again: each item counts once."""

    class OneHangs:
        async def export(self, data: TelemetryData) -> Outcome:
            if ids_of(data)[0] == 1:
                await asyncio.sleep(1000)
            seen.set()
            return failed("down")

    seen = threading.Event()
    source = from_iterable([logs([1, 2, 3]), logs([4, 5])], backoff=500.0, max_backoff=500.0)
    pipeline = Pipeline(source.pipe(ops.export(OneHangs())), drain_timeout=0.1)
    pipeline.start()
    assert seen.wait(10)
    report = pipeline.stop()
    assert (report.undelivered, report.unbalanced) == (5, [])
    assert source.admission.bytes == 0


def test_what_reaches_the_end_unclaimed_is_lost_in_the_books_too() -> None:
    """The sender is told to send again, so the books must not call it filtered."""
    feed, clock = Feed(), VirtualScheduler()
    with Pipeline(feed.pipe(ops.chain(lambda data: data)), scheduler=clock) as pipeline:
        receipt = feed.admit(logs([1]))
        clock.advance_by(0)
        assert kind(receipt) is Kind.FAILED
        assert pipeline.books["chain ->"].failed == 1


def test_what_another_branch_has_delivered_may_reach_the_end() -> None:
    """An observer of everything beside an exporter asks nobody to send again."""
    feed, clock = Feed(), VirtualScheduler()
    with Pipeline(rx.merge(feed.pipe(ops.export(Recorder())), feed), scheduler=clock):
        receipt = feed.admit(logs([1]))
        clock.advance_by(0)
        assert kind(receipt) is Kind.DELIVERED


def test_a_wiring_mistake_inside_a_branch_is_raised_at_the_start() -> None:
    """A branch that is dead from the beginning would fail all that is sent to it."""
    twice = ops.route(
        "signal",
        {
            Signal.LOGS: ops.export(Recorder(), name="x"),
            Signal.TRACES: ops.export(Recorder(), name="x"),
        },
    )
    with pytest.raises(PipelineError, match="two stages"):
        Pipeline(Feed().pipe(twice), scheduler=VirtualScheduler()).start()


@pytest.mark.parametrize("name", [None, "mine"])
def test_stages_that_a_timer_subscribes_share_a_book(name: str | None) -> None:
    """A pipeline that runs for weeks must not grow a book a minute, nor trip over its name."""
    feed, clock, sink = Feed(), VirtualScheduler(), Recorder()

    def inner(_tick: int) -> Observable[Any]:
        return feed.pipe(ops.batch(max_items=1, name=name), rx_ops.take(1), ops.export(sink))

    kept = feed.pipe(ops.export(Recorder()))
    stream = rx.merge(kept, rx.interval(1.0).pipe(rx_ops.flat_map(inner)))
    with Pipeline(stream, scheduler=clock) as pipeline:
        seen = []
        for at in range(3):
            clock.advance_by(1)
            feed.admit(logs([at]))
            clock.advance_by(0)
            seen.append([account.name for account in pipeline.books.snapshot()])
        assert seen[0] == seen[1] == seen[2]
        assert sink.ids == [0, 1, 2]
        assert pipeline.books.unbalanced == []
        assert pipeline.error is None
        pipeline._life.dispose()  # an interval has no end to drain to


def test_a_shared_book_forgets_stages_whose_last_attempt_has_ended() -> None:
    """Inner streams that are disposed while they deliver must not pile up for weeks."""

    class Slow:
        async def export(self, data: TelemetryData) -> Outcome:
            await asyncio.sleep(5)
            return DELIVERED

    feed, clock = Feed(), VirtualScheduler()

    def inner(data: TelemetryData) -> Observable[Any]:
        return rx.of(data).pipe(ops.export(Slow()), rx_ops.take_until(rx.timer(1.0)))

    with Pipeline(feed.pipe(rx_ops.flat_map(inner)), scheduler=clock) as pipeline:
        for at in range(3):
            feed.admit(logs([at]))
        clock.advance_by(2)  # disposed; the attempts run on
        assert pipeline.books["export*"].held == 3
        clock.advance_by(10)
        assert pipeline.books["export*"].delivered == 3
        (book,) = [book for book in pipeline.books._books if book.holders is not None]
        assert book.holders == []


def test_a_drain_in_virtual_time_has_a_deadline_too() -> None:
    """An export that tries again for ever would otherwise keep `stop` for ever."""
    with VirtualScheduler() as clock:
        feed = Feed()
        stream = feed.pipe(ops.export(Recorder(failed("down"))))
        pipeline = Pipeline(stream, scheduler=clock, drain_timeout=30)
        pipeline.start()
        feed.admit(logs([1, 2]))
        clock.advance_by(1)
        report = pipeline.stop()
        assert clock.clock == 31
        assert report.undelivered == 2
        assert report.unbalanced == []
