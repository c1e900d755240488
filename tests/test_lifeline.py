"""A stream that dies and is subscribed anew, in virtual time."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.data import TelemetryData
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import VirtualScheduler
from rxotlp.sources.iterable import from_iterable
from rxotlp.testing import Feed, Recorder, ids_of, kind, logs

LONGEST = 40.0  # seconds; more than any pause


def accepting(feed: Feed) -> bool:
    """Asked anew each time, for the type checker."""
    return feed.accepting


class Deadly:
    """A processor that raises as often as it is told to."""

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths

    def __call__(self, data: TelemetryData) -> TelemetryData:
        if self.deaths:
            self.deaths -= 1
            raise RuntimeError("out of cheese")
        return data


def test_a_stream_that_died_refuses_and_then_goes_on() -> None:
    """Its senders try again; its source is connected all the while."""
    feed, sink, clock = Feed(), Recorder(), VirtualScheduler()
    stream = feed.pipe(ops.chain(Deadly(1), on_error="stop"), ops.batch(), ops.export(sink))
    with clock, Pipeline(stream, scheduler=clock, on_error="restart") as pipeline:
        first = feed.admit(logs([1]))
        clock.advance_by(0.5)
        assert kind(first) is Kind.FAILED
        assert not accepting(feed)
        assert pipeline.running
        assert pipeline.unready == "the stream died of RuntimeError: out of cheese"
        clock.advance_by(1.5)
        assert accepting(feed)
        assert pipeline.restarts == 1
        second = feed.admit(logs([2]))
        clock.advance_by(1)
        assert kind(second) is Kind.DELIVERED
    assert sink.ids == [2]
    assert pipeline.error is None
    assert pipeline.report is not None
    assert (pipeline.report.undelivered, pipeline.report.unbalanced) == (0, [])


def test_what_a_dead_stream_held_asks_to_be_sent_again() -> None:
    """An open batch dies with it, and nobody may believe that it was delivered."""
    feed, sink, clock = Feed(), Recorder(), VirtualScheduler()
    deadly = Deadly(0)
    stream = feed.pipe(
        ops.chain(deadly, on_error="stop"), ops.batch(max_delay=100), ops.export(sink)
    )
    with clock, Pipeline(stream, scheduler=clock, on_error="restart") as pipeline:
        held = feed.admit(logs([1]))
        clock.advance_by(0)
        deadly.deaths = 1
        feed.admit(logs([2]))
        clock.advance_by(LONGEST)
        assert kind(held) in (Kind.FAILED, Kind.DELIVERED)
        assert (kind(held) is Kind.DELIVERED) == (sink.ids == [1])
        assert pipeline.books.held == 0
        assert pipeline.books.unbalanced == []


def test_a_stream_that_dies_at_once_is_tried_less_and_less_often() -> None:
    """A poisoned element that is sent again and again must not cost a core."""
    clock = VirtualScheduler()
    subscribed: list[float] = []

    def dies(scheduler: object) -> rx.Observable[TelemetryData]:
        subscribed.append(clock.clock)
        return rx.throw(RuntimeError("no cheese"))

    with clock, Pipeline(rx.defer(dies), scheduler=clock, on_error="restart"):
        clock.advance_by(300)
        pauses = [late - early for early, late in pairwise(subscribed)]
        assert 0.7 < pauses[0] < 1.3
        assert pauses[1] > pauses[0]
        assert all(15 < pause <= 30 for pause in pauses[6:])


def test_a_death_after_a_long_life_is_the_first_again() -> None:
    """What breaks once a day must not be down for half a minute each time."""
    feed, clock = Feed(), VirtualScheduler()
    deadly = Deadly(0)
    stream = feed.pipe(ops.chain(deadly, on_error="stop"), ops.export(Recorder()))
    with clock, Pipeline(stream, scheduler=clock, on_error="restart") as pipeline:
        for day in range(1, 9):
            clock.advance_by(86_400)
            deadly.deaths = 1
            feed.admit(logs([day]))
            clock.advance_by(1.3)
            assert pipeline.restarts == day


def test_it_is_the_same_in_real_time() -> None:
    """Timers of a worker thread, and of a loop."""
    feed, sink = Feed(), Recorder()
    stream = feed.pipe(ops.chain(Deadly(1), on_error="stop"), ops.export(sink))
    with Pipeline(stream, on_error="restart") as pipeline:
        feed.admit(logs([1]))
        assert pipeline.scheduler.wait_for(lambda: pipeline.restarts == 1, timeout=30)
        assert pipeline.scheduler.wait_for(lambda: feed.accepting, timeout=30)
        feed.admit(logs([2]))
    assert sink.ids == [2]

    async def main() -> None:
        again, taken = Feed(), Recorder()
        stream = again.pipe(ops.chain(Deadly(1), on_error="stop"), ops.export(taken))
        async with Pipeline(stream, on_error="restart") as pipeline:
            again.admit(logs([1]))
            while not (pipeline.restarts and accepting(again)):
                await asyncio.sleep(0.01)
            again.admit(logs([2]))
        assert taken.ids == [2]

    asyncio.run(main())


def test_stopping_while_it_is_dead_ends_it_at_once_with_its_error() -> None:
    """There is nothing to drain, and somebody should know."""
    feed, clock = Feed(), VirtualScheduler()
    stream = feed.pipe(ops.chain(Deadly(1), on_error="stop"), ops.export(Recorder()))
    with clock, Pipeline(stream, scheduler=clock, on_error="restart") as pipeline:
        feed.admit(logs([1]))
        clock.advance_by(0.1)
    assert clock.clock < 1
    assert str(pipeline.error) == "out of cheese"
    assert pipeline.restarts == 0


def test_a_source_that_is_over_completes_the_stream_that_is_subscribed_anew() -> None:
    """Or a batch job whose last element killed its stream would never end."""
    clock, sink = VirtualScheduler(), Recorder()

    def last_kills(data: TelemetryData) -> TelemetryData:
        if ids_of(data) == [2]:
            raise RuntimeError("out of cheese")
        return data

    source = from_iterable([logs([1]), logs([2])], max_attempts=3)
    stream = source.pipe(ops.chain(last_kills, on_error="stop"), ops.export(sink))
    with clock, Pipeline(stream, scheduler=clock, on_error="restart") as pipeline:
        assert pipeline.wait()
    assert sink.ids == [1]
    assert pipeline.report is not None
    assert dict(pipeline.report.left) == {"iterable": 1}
    assert str(pipeline.report) == "1 item undelivered: 1 in iterable"


def test_a_source_that_nobody_waits_for_goes_on_where_it_was() -> None:
    """What it would have given in the meantime is not lost, and not taken either."""
    clock, sink = VirtualScheduler(), Recorder()
    source = from_iterable([logs([number]) for number in range(5)])
    deadly = Deadly(2)
    stream = source.pipe(ops.chain(deadly, on_error="stop"), ops.export(sink))
    with clock, Pipeline(stream, scheduler=clock, on_error="restart") as pipeline:
        assert pipeline.wait()
    assert sorted(sink.ids) == [0, 1, 2, 3, 4]
    assert pipeline.restarts == 2
    assert pipeline.report is not None
    assert (pipeline.report.undelivered, pipeline.report.unbalanced) == (0, [])


def test_a_source_that_failed_itself_fails_again() -> None:
    """It has nothing more to give, and must not pass for one that is over."""
    clock = VirtualScheduler()

    def breaks() -> Iterator[TelemetryData]:
        yield logs([1])
        raise OSError("disk full")

    stream = from_iterable(breaks()).pipe(ops.export(Recorder()))
    with clock, Pipeline(stream, scheduler=clock, on_error="restart") as pipeline:
        clock.advance_by(10)
        assert pipeline.restarts >= 2
        assert str(pipeline.error) == "disk full"


def test_books_do_not_grow_with_each_life() -> None:
    """A stream that dies every minute for a month."""
    feed, clock = Feed(), VirtualScheduler()
    deadly = Deadly(0)
    stream = feed.pipe(
        ops.chain(deadly, on_error="stop", name="checks"), ops.batch(), ops.export(Recorder())
    )
    with clock, Pipeline(stream, scheduler=clock, on_error="restart") as pipeline:
        lengths = []
        for number in range(6):
            deadly.deaths = 1
            feed.admit(logs([number]))
            clock.advance_by(LONGEST)
            lengths.append(len(pipeline.books.snapshot()))
        assert pipeline.restarts == 6
        assert lengths[1:] == [lengths[1]] * 5


def test_without_restart_nothing_is_subscribed_twice() -> None:
    """The default is what reactivex does."""
    clock = VirtualScheduler()
    feed = Feed()
    stream = feed.pipe(rx_ops.take(1), ops.chain(Deadly(1), on_error="stop"))
    with clock, Pipeline(stream, scheduler=clock) as pipeline:
        feed.admit(logs([1]))
        clock.advance_by(LONGEST)
        assert not pipeline.running
    assert pipeline.restarts == 0
