"""from_iterable: credit, back-off and the end, mostly in virtual time."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome, failed, rejected
from rxotlp.admission import Admission
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError
from rxotlp.schedulers import AsyncScheduler, SerialScheduler, SyncScheduler, VirtualScheduler
from rxotlp.sources import IterableSource, from_iterable
from rxotlp.wire.signals import Signal


@pytest.fixture
def make(make_traces: Callable[..., bytes]) -> Callable[[int], list[TelemetryData]]:
    """A list of elements; element n has n + 1 spans."""
    return lambda count: [
        TelemetryData.from_bytes(Signal.TRACES, make_traces(number + 1)) for number in range(count)
    ]


Make = Callable[[int], list[TelemetryData]]


class Sink:
    """Claims everything, reports what it is told to, and remembers when."""

    def __init__(self, outcome: Callable[[int, int], Outcome | None] | None = None) -> None:
        self.outcome = outcome or (lambda items, attempt: DELIVERED)
        self.seen: list[tuple[float, int]] = []
        self.claims: list[Any] = []
        self.attempts: dict[int, int] = {}
        self.clock: Callable[[], float] = lambda: 0.0
        self.completed: list[float] = []
        self.errors: list[Exception] = []
        self.done = threading.Event()

    def attach(self, source: Any, scheduler: SerialScheduler | None = None) -> None:
        source.subscribe(self.on_next, self.on_error, self.on_completed, scheduler=scheduler)

    def on_next(self, data: TelemetryData) -> None:
        items = data.items
        self.seen.append((self.clock(), items))
        self.attempts[items] = self.attempts.get(items, 0) + 1
        claim = data._share.claim()  # type: ignore[union-attr]
        outcome = self.outcome(items, self.attempts[items])
        if outcome is None:
            self.claims.append(claim)
        else:
            claim.report(outcome)

    def on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self.done.set()

    def on_completed(self) -> None:
        self.completed.append(self.clock())
        self.done.set()


def run(source: IterableSource, sink: Sink, through: Any = None) -> VirtualScheduler:
    """Run to the end in virtual time."""
    scheduler = VirtualScheduler()
    sink.clock = lambda: scheduler.clock
    sink.attach(source if through is None else source.pipe(through), scheduler)
    source.connect(scheduler)
    scheduler.run()
    return scheduler


def test_everything_is_offered_once_and_completes_at_once(make: Make) -> None:
    """The plain case: no failure, no waiting."""
    sink = Sink()
    scheduler = run(from_iterable(make(5)), sink)
    assert sink.seen == [(0.0, number) for number in (1, 2, 3, 4, 5)]
    assert sink.completed == [0.0]
    assert scheduler.clock == 0.0


def test_a_single_element_and_an_empty_input_are_iterables_too(make: Make) -> None:
    """The smallest inputs end like the others."""
    sink = Sink()
    run(from_iterable(make(1)[0]), sink)
    assert [items for _, items in sink.seen] == [1]
    sink = Sink()
    run(from_iterable([]), sink)
    assert sink.completed == [0.0]


def test_a_failed_element_is_offered_again_with_back_off(make: Make) -> None:
    """Nothing is lost while a backend is down; the waits double."""
    sink = Sink(lambda items, attempt: failed("down") if attempt < 4 else DELIVERED)
    run(from_iterable(make(1), backoff=0.5), sink)
    assert [at for at, _ in sink.seen] == [0.0, 0.5, 1.5, 3.5]
    assert sink.completed == [3.5]


def test_the_backends_time_is_kept(make: Make) -> None:
    """A backend that asks for ten seconds is not asked again after half a second."""
    sink = Sink(
        lambda items, attempt: failed("busy", retry_after=10) if attempt == 1 else DELIVERED
    )
    run(from_iterable(make(1)), sink)
    assert [at for at, _ in sink.seen] == [0.0, 10.0]


def test_an_element_is_given_up_after_its_attempts(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """One poisonous element must not stop the others, and is not lost silently."""
    sink = Sink(lambda items, attempt: failed("poison") if items == 2 else DELIVERED)
    source = from_iterable(make(3), max_attempts=3, backoff=1)
    run(source, sink)
    assert sink.attempts == {1: 1, 2: 3, 3: 1}
    assert source.given_up == 2
    assert len(sink.completed) == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert "element 1 given up after 3 attempts, 2 items: poison" in line


def test_a_rejected_element_is_not_offered_again(make: Make) -> None:
    """A rejection is final by definition."""
    sink = Sink(lambda items, attempt: rejected("no"))
    run(from_iterable(make(2)), sink)
    assert sink.attempts == {1: 1, 2: 1}


def test_it_pulls_no_further_than_its_credit(make: Make) -> None:
    """A slow backend must bound what is read, or a large input fills the memory."""
    elements = make(4)
    pulled: list[int] = []

    def items() -> Iterator[TelemetryData]:
        for data in elements:
            pulled.append(data.items)
            yield data

    sink = Sink(lambda items, attempt: None)
    source = from_iterable(items(), admission=Admission(max_bytes=elements[3].size))
    scheduler = VirtualScheduler()
    sink.attach(source)
    source.connect(scheduler)
    scheduler.advance_by(1.0)
    assert [items for _, items in sink.seen] == [1, 2]
    assert pulled == [1, 2, 3]  # the one that waits
    while not sink.completed:
        claims, sink.claims = sink.claims, []
        for claim in claims:
            claim.report(DELIVERED)
        scheduler.advance_by(0.1)
    assert [items for _, items in sink.seen] == [1, 2, 3, 4]


def test_what_waits_to_be_offered_again_counts_as_in_flight(make: Make) -> None:
    """With the backend down, back-off must not become an unbounded buffer."""
    elements = make(6)
    sink = Sink(lambda items, attempt: failed("down") if attempt == 1 else DELIVERED)
    source = from_iterable(elements, admission=Admission(max_bytes=elements[5].size), backoff=1)
    scheduler = VirtualScheduler()
    sink.clock = lambda: scheduler.clock
    sink.attach(source)
    source.connect(scheduler)
    scheduler.advance_by(0.5)
    assert len(sink.seen) < 6
    scheduler.run()
    assert sink.attempts == dict.fromkeys(range(1, 7), 2)
    assert source.admission.bytes == 0
    assert len(sink.completed) == 1


def test_an_element_larger_than_the_credit_is_rejected_alone(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """It could never be let in, and waiting for it would stop everything."""
    elements = make(3)
    sink = Sink()
    source = from_iterable(elements, admission=Admission(max_bytes=elements[1].size))
    run(source, sink)
    assert [items for _, items in sink.seen] == [1, 2]
    assert len(sink.completed) == 1
    account = source._stage.book.account  # type: ignore[union-attr]
    assert (account.received, account.sent, account.rejected) == (6, 3, 3)
    assert "element 2" in caplog.records[0].getMessage()


def test_an_element_waits_for_room_for_its_items(make: Make) -> None:
    """A bound in items holds as one in bytes does."""
    sink = Sink(lambda items, attempt: None)
    source = from_iterable(make(3), admission=Admission(max_items=3))
    scheduler = VirtualScheduler()
    sink.attach(source)
    source.connect(scheduler)
    scheduler.advance_by(1.0)
    assert [items for _, items in sink.seen] == [1, 2]
    for claim in sink.claims:
        claim.report(DELIVERED)
    scheduler.advance_by(1.0)
    assert [items for _, items in sink.seen] == [1, 2, 3]
    source.close()


def test_open_batches_are_hurried_at_the_end(make: Make) -> None:
    """A batch that waits for its age must not hold up the end of a finite input."""
    sink = Sink()
    scheduler = run(from_iterable(make(3)), sink, ops.batch(max_delay=60.0))
    assert sum(items for _, items in sink.seen) == 6
    assert scheduler.clock < 60.0
    assert len(sink.completed) == 1


def test_a_batch_that_holds_the_credit_it_waits_for_is_hurried(make: Make) -> None:
    """Otherwise source and batch would wait for each other until the batch's age."""
    elements = make(4)
    sink = Sink()
    source = from_iterable(elements, admission=Admission(max_bytes=elements[3].size))
    scheduler = run(source, sink, ops.batch(max_delay=60.0))
    assert sum(items for _, items in sink.seen) == 10
    assert scheduler.clock < 60.0


def test_what_only_flushes_on_completion_is_completed_after_linger(make: Make) -> None:
    """A native buffer holds its last elements until the end, which must come."""
    sizes: list[int] = []

    def join(parts: list[TelemetryData]) -> TelemetryData:
        sizes.append(len(parts))
        return TelemetryData.merge(parts)

    sink = Sink()
    scheduler = run(
        from_iterable(make(5), linger=2.0),
        sink,
        lambda source: source.pipe(rx_ops.buffer_with_count(3), rx_ops.map(join)),
    )
    assert sizes == [3, 2]
    assert sink.completed == [2.0]
    assert scheduler.clock == 2.0


def test_a_raising_iterable_ends_the_stream_with_its_error(make: Make) -> None:
    """The reader learns what went wrong, after what was read before."""

    def items() -> Iterator[TelemetryData]:
        yield from make(2)
        raise RuntimeError("disk on fire")

    sink = Sink()
    run(from_iterable(items()), sink)
    assert [items for _, items in sink.seen] == [1, 2]
    assert [str(error) for error in sink.errors] == ["disk on fire"]
    assert sink.errors[0].__traceback__ is None


def test_something_else_than_telemetry_ends_the_stream() -> None:
    """It names the element and what was found."""
    sink = Sink()
    run(from_iterable([b"bytes"]), sink)  # type: ignore[list-item]
    assert "element 0 is bytes, expected TelemetryData" in str(sink.errors[0])


def test_an_async_iterable_is_pulled_too(make: Make) -> None:
    """A reader that awaits needs no thread of its own."""
    elements = make(3)

    async def items() -> AsyncIterator[TelemetryData]:
        for data in elements:
            await asyncio.sleep(1.0)
            yield data

    sink = Sink()
    run(from_iterable(items()), sink)
    assert sink.seen == [(1.0, 1), (2.0, 2), (3.0, 3)]
    assert len(sink.completed) == 1


def test_it_stops_pulling_when_nobody_listens_any_more(make: Make) -> None:
    """take(2) of a million elements must read a handful."""
    pulled: list[int] = []

    def items() -> Iterator[TelemetryData]:
        for data in make(50):
            pulled.append(data.items)
            yield data

    sink = Sink()
    run(from_iterable(items()), sink, rx_ops.take(2))
    assert [items for _, items in sink.seen] == [1, 2]
    assert len(pulled) <= 3


def test_stop_completes_after_what_was_let_in(make: Make) -> None:
    """Downstream holders flush on completion, in the drain's time."""
    sink = Sink(lambda items, attempt: None)
    source = from_iterable(make(3), admission=Admission(max_items=3))
    scheduler = VirtualScheduler()
    sink.attach(source)
    source.connect(scheduler)
    scheduler.advance_by(1.0)
    source.stop()
    scheduler.advance_by(1.0)
    assert len(sink.completed) == 1
    source.close()
    assert source.open_receipts() == []
    assert source.admission.bytes == 0


def test_the_books_count_a_second_offer_as_created(make: Make) -> None:
    """It came in once; otherwise a retry would look like more data."""
    sink = Sink(lambda items, attempt: failed("down") if attempt == 1 else DELIVERED)
    source = from_iterable(make(2))
    run(source, sink)
    account = source._stage.book.account  # type: ignore[union-attr]
    assert (account.received, account.created, account.sent) == (3, 3, 6)
    assert account.balanced


def test_it_runs_on_a_sync_scheduler(make: Make) -> None:
    """The same chain, on real threads."""
    sink = Sink(lambda items, attempt: failed("down") if attempt == 1 else DELIVERED)
    source = from_iterable(make(5), backoff=0.01)
    with SyncScheduler() as scheduler:
        sink.attach(source)
        source.connect(scheduler)
        assert sink.done.wait(20)
        source.close()
    assert sink.attempts == dict.fromkeys(range(1, 6), 2)


def test_it_runs_on_an_async_scheduler(make: Make) -> None:
    """The same chain, on a loop."""

    async def main() -> None:
        scheduler = AsyncScheduler()
        source = from_iterable(make(5), backoff=0.01)
        sink.attach(source)
        source.connect(scheduler)
        while not sink.done.is_set():
            await asyncio.sleep(0.01)
        source.close()
        scheduler.close()

    sink = Sink(lambda items, attempt: failed("down") if attempt == 1 else DELIVERED)
    asyncio.run(main())
    assert sink.attempts == dict.fromkeys(range(1, 6), 2)


def test_two_observers_share_one_input(make: Make) -> None:
    """A source is hot: attaching does not read the input again."""
    sinks = Sink(), Sink()
    source = from_iterable(make(3))
    sinks[0].attach(source)
    run(source, sinks[1])
    assert [sink.attempts for sink in sinks] == [{1: 1, 2: 1, 3: 1}] * 2


def test_connecting_twice_is_an_error(make: Make) -> None:
    """Two readers of one input would each get half of it."""
    source = from_iterable(make(1))
    scheduler = VirtualScheduler()
    source.connect(scheduler)
    with pytest.raises(PipelineError, match="connected already"):
        source.connect(scheduler)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_attempts": 0}, "1 or more"),
        ({"backoff": 0}, "0 < backoff"),
        ({"backoff": 2, "max_backoff": 1}, "backoff <= max_backoff"),
        ({"linger": 0}, "more than 0"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict[str, Any], message: str) -> None:
    """A back-off of nothing would be a busy loop."""
    with pytest.raises(ValueError, match=message):
        from_iterable([], **arguments)


def test_what_is_no_iterable_is_named() -> None:
    """Raised where the pipeline is written, not when it starts."""
    with pytest.raises(TypeError, match=r"from_iterable\(int\)"):
        from_iterable(3)  # type: ignore[arg-type]
