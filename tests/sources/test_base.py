"""The hot base: attaching, emitting without holding, refusing, and the end."""

from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops
from reactivex.scheduler import ImmediateScheduler

from rxotlp._core.outcomes import DELIVERED, Kind, failed
from rxotlp.assembly import Assembly
from rxotlp.books import Books
from rxotlp.claims import Claim
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SerialScheduler, VirtualScheduler
from rxotlp.sources import Source
from rxotlp.wire.signals import Signal


class Scripted(Source):
    """A source that emits what a test gives it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("scripted", **arguments)

    def _begin(self, scheduler: SerialScheduler) -> None:
        pass

    def _release(self) -> None:
        pass


@pytest.fixture
def data(make_traces: Callable[..., bytes]) -> TelemetryData:
    """Three spans."""
    return TelemetryData.from_bytes(Signal.TRACES, make_traces(3))


@pytest.fixture
def source() -> Scripted:
    """Not connected yet."""
    return Scripted()


@pytest.fixture
def scheduler() -> VirtualScheduler:
    """The clock."""
    return VirtualScheduler()


def offer(source: Source, scheduler: VirtualScheduler, data: TelemetryData) -> Receipt:
    """Connect if needed, admit and run what is due now."""
    if source.state.value in ("new", "closed"):
        source.connect(scheduler)
    receipt = source.admit(data, patience=9.0)
    scheduler.advance_by(0.1)
    return receipt


def kind(receipt: Receipt) -> Kind | None:
    return None if receipt.outcome is None else receipt.outcome.kind


def deliver(data: TelemetryData) -> None:
    claim_on(data).report(DELIVERED)


def claim_on(data: TelemetryData) -> Claim:
    """Take an element, as an exporter does."""
    share = data._share
    assert share is not None
    return share.claim()


def test_subscribing_only_attaches(source: Scripted, scheduler: VirtualScheduler) -> None:
    """A pipeline looks at all its sources before the first of them lets anything in."""
    source.subscribe(deliver)
    assert source.state.value == "new"
    assert not source.accepting
    source.connect(scheduler)
    assert source.accepting


def test_a_native_filter_is_told_from_a_loss(
    source: Scripted, scheduler: VirtualScheduler, data: TelemetryData
) -> None:
    """Only if no frame of ours holds the element is it dead when its on_next returns."""
    source.pipe(rx_ops.filter(lambda _: False)).subscribe(deliver)
    assert kind(offer(source, scheduler, data)) is Kind.FILTERED


def test_nothing_is_emitted_inside_the_transports_call(
    source: Scripted, scheduler: VirtualScheduler, data: TelemetryData
) -> None:
    """A pipeline in a transport's callback would stall its other connections."""
    seen: list[int] = []
    source.subscribe(lambda element: seen.append(element.items))
    source.connect(scheduler)
    source.admit(data)
    assert seen == []
    scheduler.run()
    assert seen == [3]


def test_every_observer_is_a_part_of_the_outcome(
    source: Scripted, scheduler: VirtualScheduler, data: TelemetryData
) -> None:
    """Two exporters on one receiver: the sender hears the worse of the two."""
    source.subscribe(deliver)
    source.subscribe(lambda element: claim_on(element).report(failed("one of two")))
    assert kind(offer(source, scheduler, data)) is Kind.FAILED


def test_an_observer_that_raises_fails_the_element(
    source: Scripted, scheduler: VirtualScheduler, data: TelemetryData
) -> None:
    """A defect in somebody's function costs a resend, never an acknowledged loss."""

    def explode(element: TelemetryData) -> None:
        raise RuntimeError("defect")

    source.subscribe(explode)
    receipt = offer(source, scheduler, data)
    scheduler.advance_by(10.0)
    assert kind(receipt) is Kind.FAILED


def test_an_element_without_an_observer_fails(
    source: Scripted, scheduler: VirtualScheduler, data: TelemetryData
) -> None:
    """It never answers success into the void."""
    subscription = source.subscribe(deliver)
    source.connect(scheduler)
    receipt = source.admit(data)
    subscription.dispose()
    scheduler.run()
    assert kind(receipt) is Kind.FAILED
    account = source._stage.book.account  # type: ignore[union-attr]
    assert (account.received, account.failed) == (3, 3)


def test_what_expired_before_its_turn_is_not_emitted(
    source: Scripted, scheduler: VirtualScheduler, data: TelemetryData
) -> None:
    """Its sender has been told to send it again; emitting it would double it."""
    seen: list[int] = []
    source.subscribe(lambda element: seen.append(element.items))
    source.connect(scheduler)
    source.admit(data).expire("too late")
    scheduler.run()
    assert seen == []
    account = source._stage.book.account  # type: ignore[union-attr]
    assert (account.received, account.failed) == (3, 3)


def test_what_is_never_answered_expires(
    source: Scripted, scheduler: VirtualScheduler, data: TelemetryData
) -> None:
    """The deadline runs in the scheduler's time."""
    claims: list[Any] = []
    source.subscribe(lambda element: claims.append(claim_on(element)))
    receipt = offer(source, scheduler, data)
    scheduler.advance_by(8.0)
    assert kind(receipt) is None
    scheduler.advance_by(2.0)
    assert kind(receipt) is Kind.FAILED
    assert receipt.withdrawn
    claims[0].report(DELIVERED)


def test_stop_completes_once_after_what_was_let_in(
    source: Scripted, scheduler: VirtualScheduler, data: TelemetryData
) -> None:
    """Holders flush on completion, and must have everything by then."""
    log: list[str] = []
    source.subscribe(
        lambda element: log.append("next"), on_completed=lambda: log.append("completed")
    )
    source.connect(scheduler)
    source.admit(data)
    source.stop()
    source.stop()
    scheduler.run()
    assert log == ["next", "completed"]


def test_close_settles_what_is_open(
    source: Scripted, scheduler: VirtualScheduler, data: TelemetryData
) -> None:
    """Whoever waits for an answer hears one, and may ask again after a while."""
    claims: list[Any] = []
    source.subscribe(lambda element: claims.append(claim_on(element)))
    receipt = offer(source, scheduler, data)
    assert source.open_receipts() == [receipt]
    source.close()
    source.close()
    assert kind(receipt) is Kind.FAILED
    assert source.open_receipts() == []
    claims[0].report(DELIVERED)


def test_a_pipeline_finds_its_source_through_native_operators(source: Scripted) -> None:
    """Sources register while they are subscribed, so nothing in between hides them."""
    with Assembly(Books()) as assembly:
        rx.merge(source.pipe(rx_ops.map(lambda element: element)), source).subscribe(deliver)
    assert assembly.sources == [source]
    assert [account.name for account in assembly.books.snapshot()] == ["scripted"]


def test_a_running_source_serves_one_pipeline(
    source: Scripted, scheduler: VirtualScheduler
) -> None:
    """Two pipelines' books cannot both balance over one source."""
    with Assembly(Books()):
        source.subscribe(deliver)
    source.connect(scheduler)
    failures: list[Exception] = []
    with Assembly(Books()):
        source.subscribe(deliver, failures.append)
    assert isinstance(failures[0], PipelineError)
    assert "another pipeline" in str(failures[0])


def test_only_our_schedulers_will_do(source: Scripted) -> None:
    """A foreign one cannot take what arrives on foreign threads."""
    with pytest.raises(PipelineError, match="ImmediateScheduler"):
        source.connect(ImmediateScheduler())


def test_receipts_without_patience_have_no_deadline(
    source: Scripted, scheduler: VirtualScheduler, data: TelemetryData
) -> None:
    """Nobody waits for a file's answer."""
    claims: list[Any] = []
    source.subscribe(lambda element: claims.append(claim_on(element)))
    source.connect(scheduler)
    receipt = source.admit(data)
    scheduler.advance_by(1000.0)
    assert kind(receipt) is None
    claims[0].report(DELIVERED)
    scheduler.run()
    assert kind(receipt) is Kind.DELIVERED
