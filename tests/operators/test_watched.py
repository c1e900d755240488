"""What every stage that watches its branches promises: nothing in between is noticed."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, DISPOSED, Cause, Kind, Outcome, failed, rejected
from rxotlp.admission import Admission
from rxotlp.data import TelemetryData
from rxotlp.pipeline import Pipeline
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SyncScheduler, VirtualScheduler
from rxotlp.sources.iterable import from_iterable
from rxotlp.testing import Recorder, Rig, SlowRecorder, ids_of, kind, logs

Wrap = Callable[[Any], Any]
WRAPS: dict[str, Wrap] = {
    "circuit_breaker": lambda inner: ops.circuit_breaker(inner),
    "failover": lambda inner: ops.failover([inner, ops.export(Recorder(failed("no")), retry=None)]),
    "time_limit": lambda inner: ops.time_limit(inner, 100),
}
every = pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)


def export(exporter: Any, **options: Any) -> Any:
    """One attempt an element."""
    return ops.export(exporter, retry=None, **options)


def slow(exporter: Any) -> Any:
    """Five seconds later."""
    return rx.compose(rx_ops.delay(5.0), export(exporter))


def halves(data: TelemetryData) -> list[TelemetryData]:
    return data.split(max_items=1)


@every
@pytest.mark.parametrize(
    "outcome",
    [
        DELIVERED,
        rejected("no"),
        rejected("two of them", items=2),
        Outcome(Kind.DELIVERED, warning="soon full"),
    ],
)
def test_a_sender_hears_what_it_would_hear_without_it(wrap: Wrap, outcome: Outcome) -> None:
    """How many were refused, and what the backend wanted to be heard, too."""
    heard = []
    for way in (export(Recorder(outcome)), wrap(export(Recorder(outcome)))):
        with Rig(way) as rig:
            receipt = rig.send([1, 2, 3])
            rig.end()
            rig.check()
        assert receipt.outcome is not None
        heard.append((receipt.outcome.kind, receipt.rejected, receipt.warning))
    assert heard[0] == heard[1]


@every
def test_a_failure_reaches_the_sender_with_its_time(wrap: Wrap) -> None:
    """The backend knows best when to come back."""
    with Rig(wrap(export(Recorder(failed("busy", retry_after=7.0))))) as rig:
        outcome = rig.send([1]).outcome
        rig.end()
        rig.check()
    assert outcome is not None
    assert (outcome.kind, outcome.retry_after) == (Kind.FAILED, 7.0)


@every
def test_what_a_branch_filters_is_filtered(wrap: Wrap) -> None:
    """reactivex's own filter, in there, means success."""
    branch = rx.compose(rx_ops.filter(lambda _: False), export(Recorder()))
    with Rig(wrap(branch)) as rig:
        assert kind(rig.send([1])) is Kind.FILTERED
        rig.end()
        rig.check()


@every
def test_what_a_branch_passes_on_is_watched_to_its_end(wrap: Wrap) -> None:
    """The rest of the pipeline may stand behind it instead of in it."""
    backend = SlowRecorder(3.0)
    with Rig(wrap(ops.chain(halves)), export(backend)) as rig:
        receipt = rig.send([1, 2])
        assert kind(receipt) is None
        rig.wait(3)
        assert kind(receipt) is Kind.DELIVERED
        rig.end()
        rig.check()
    assert sorted(backend.recorder.ids) == [1, 2]


@every
def test_what_its_sender_withdraws_is_not_sent(wrap: Wrap) -> None:
    """It comes again, and would be there twice."""
    backend = Recorder()
    with Rig(wrap(rx.compose(rx_ops.delay(5.0), export(backend)))) as rig:
        receipt = rig.send([1])
        receipt.expire("out of patience")
        assert kind(receipt) is Kind.FAILED
        rig.wait(5)
        assert backend.calls == []
        rig.end()
        rig.check()


@every
def test_what_one_of_several_senders_withdraws_is_left_out(wrap: Wrap) -> None:
    """A batch knows its senders in there as well, whether it was made before or within."""
    for stages in (
        [
            ops.batch(max_items=2),
            wrap(rx.compose(rx_ops.delay(5.0), export(backend := Recorder()))),
        ],
        [wrap(rx.compose(ops.batch(max_delay=5.0), export(backend_2 := Recorder())))],
    ):
        with Rig(*stages) as rig:
            first, second = rig.send([1]), rig.send([2])
            first.expire("out of patience")
            rig.wait(5)
            assert (kind(first), kind(second)) == (Kind.FAILED, Kind.DELIVERED)
            rig.end()
            rig.check()
    assert backend.calls == backend_2.calls == [[2]]


def only_two_is_bad(data: TelemetryData) -> Outcome:
    """Refuses everything that 2 is in."""
    if 2 not in ids_of(data):
        return DELIVERED
    return rejected("2 is bad", cause=Cause.BAD_DATA)


@every
def test_each_sender_of_a_joined_element_hears_of_its_own(wrap: Wrap) -> None:
    """An export cuts out what is bad; who sent what is good must not hear of it."""
    with Rig(ops.batch(max_items=3), wrap(export(Recorder(only_two_is_bad)))) as rig:
        receipts = [rig.send([number]) for number in (1, 2, 3)]
        assert [kind(receipt) for receipt in receipts] == [
            Kind.DELIVERED,
            Kind.REJECTED,
            Kind.DELIVERED,
        ]
        assert receipts[1].outcome is not None
        assert receipts[1].outcome.reason == "2 is bad"
        rig.end()
        rig.check()


@every
def test_no_sender_of_a_joined_element_hears_of_anothers_data(wrap: Wrap) -> None:
    """A refusal of the whole may quote any of them."""
    with Rig(ops.batch(max_items=2), wrap(export(Recorder(rejected("password 1234"))))) as rig:
        receipts = [rig.send([number]) for number in (1, 2)]
        for receipt in receipts:
            assert receipt.outcome is not None
            assert receipt.outcome.kind is Kind.REJECTED
            assert "1234" not in receipt.outcome.reason
        rig.end()
        rig.check()


def test_what_an_export_cut_and_could_not_deliver_goes_to_the_next_level() -> None:
    """The part that failed is still the same element's."""

    def answer(data: TelemetryData) -> Outcome:
        if len(ids_of(data)) > 1:
            return rejected("too large", cause=Cause.TOO_LARGE)
        return failed("down") if ids_of(data) == [2] else DELIVERED

    secondary = Recorder()
    levels = [export(Recorder(answer)), export(secondary)]
    with Rig(ops.batch(max_items=2), ops.failover(levels)) as rig:
        receipts = [rig.send([number]) for number in (1, 2)]
        assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED] * 2
        assert secondary.calls == [[1, 2]]
        rig.end()
        rig.check()


def test_a_queue_hears_of_what_an_export_cut() -> None:
    """It has acknowledged all of it: a part that failed alone is its own to mend."""
    answers = iter([failed("down"), DELIVERED])

    def answer(data: TelemetryData) -> Outcome:
        if len(ids_of(data)) > 1:
            return rejected("too large", cause=Cause.TOO_LARGE)
        return next(answers) if ids_of(data) == [2] else DELIVERED

    backend = Recorder(answer)
    with Rig(ops.batch(max_items=2), ops.queue(backoff=1.0), export(backend)) as rig:
        receipts = [rig.send([number]) for number in (1, 2)]
        rig.wait(10)
        assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED] * 2
        assert set(backend.delivered) == {1, 2}
        rig.end()
        rig.check()


def test_a_level_in_a_level_knows_the_senders_of_a_joined_element() -> None:
    """However deep: each hears of its own, and what one withdraws is left out."""
    backend = Recorder(only_two_is_bad)
    inner = ops.failover([export(Recorder(failed("down"))), ops.circuit_breaker(slow(backend))])
    way = ops.failover([export(Recorder(failed("down"))), ops.time_limit(inner, 100)])
    with Rig(ops.batch(max_items=3), way) as rig:
        receipts = [rig.send([number]) for number in (1, 2, 3)]
        receipts[2].expire("out of patience")
        rig.wait(5)
        assert [kind(receipt) for receipt in receipts] == [
            Kind.DELIVERED,
            Kind.REJECTED,
            Kind.FAILED,
        ]
        assert backend.delivered == [1]
        rig.end()
        rig.check()


@every
def test_at_a_deadline_what_only_lingers_is_answered_from_what_is_known(wrap: Wrap) -> None:
    """`scan` refers to its last element until the next: nothing of it is to be sent again."""
    keep = rx_ops.scan(lambda _, data: data)
    with Rig(wrap(rx.compose(keep, export(Recorder())))) as rig:
        receipt = rig.send([1])
        assert kind(receipt) is None
        receipt.expire("out of patience")
        rig.wait(0)
        assert kind(receipt) is Kind.DELIVERED
        assert receipt.lingered
        rig.end()
        rig.check()


@every
def test_a_batch_in_a_branch_lets_go_of_credit_that_somebody_waits_for(wrap: Wrap) -> None:
    """Nothing may wait for credit that sits in a batch."""
    admission = Admission(max_bytes=100)
    backend = Recorder()
    with Rig(wrap(rx.compose(ops.batch(max_delay=1000.0), export(backend)))) as rig:
        credit = admission.reserve(90)
        rig.receipts.append(rig.feed.admit(logs([1]), credit=credit))
        rig.wait(0)
        assert backend.calls == []
        granted: list[Any] = []
        admission.acquire(50, granted.append)
        rig.wait(0)
        assert backend.calls == [[1]]
        assert len(granted) == 1
        granted.pop().release()
        rig.end()
        rig.check()


@every
def test_an_export_in_a_branch_knows_when_to_answer(wrap: Wrap) -> None:
    """It gives up in time for the sender, and not for nobody."""
    branch = ops.export(Recorder(failed("down")), retry=ops.Retry(soon=1, first=1, jitter=0))
    with Rig(wrap(branch)) as rig:
        receipt = rig.feed.admit(logs([1]), patience=10.0)
        rig.receipts.append(receipt)
        rig.wait(9.9)
        outcome = receipt.outcome
        assert outcome is not None
        assert "down" in outcome.reason or "no" in outcome.reason  # not the deadline
        rig.wait(30)  # the deadline's own timer
        rig.end()
        rig.check()


@every
def test_on_completion_a_branch_flushes_before_the_end(wrap: Wrap) -> None:
    """A batch in there is not forgotten."""
    backend = SlowRecorder(2.0)
    with Rig(wrap(rx.compose(ops.batch(max_delay=1000.0), export(backend)))) as rig:
        receipt = rig.send([1])
        rig.end()
        assert kind(receipt) is Kind.DELIVERED
        assert rig.completed()
        rig.check()


@every
def test_on_error_a_branch_flushes_before_the_error(wrap: Wrap) -> None:
    """And the error is passed on once."""
    with Rig(wrap(rx.compose(ops.batch(max_delay=1000.0), export(Recorder())))) as rig:
        receipt = rig.send([1])
        rig.fail(ValueError("upstream"))
        assert kind(receipt) is Kind.DELIVERED
        assert [str(error) for error in rig.errors] == ["upstream"]
        rig.check()


@every
def test_on_dispose_what_is_in_a_branch_fails(wrap: Wrap) -> None:
    """At once: its sender sends it again, and nobody else gets it."""
    with Rig(wrap(rx.compose(ops.batch(max_delay=1000.0), export(backend := Recorder())))) as rig:
        receipt = rig.send([1])
        rig.dispose()
        assert kind(receipt) is Kind.FAILED
        rig.check()
    assert backend.calls == []


@every
def test_what_arrives_while_the_stream_is_disposed_fails(wrap: Wrap) -> None:
    """It waits for its turn in another thread's hands."""
    backend = Recorder()
    busy, go = threading.Event(), threading.Event()

    def occupy() -> None:
        busy.set()
        go.wait(20)

    source: rx.subject.Subject[TelemetryData] = rx.subject.Subject()
    with SyncScheduler() as scheduler:
        subscription = source.pipe(wrap(export(backend))).subscribe(scheduler=scheduler)
        scheduler.post(occupy)
        assert busy.wait(20)
        receipt = Receipt(inbox=scheduler.inbox)
        source.on_next(receipt.attach(logs([1])))
        subscription.dispose()
        go.set()
        assert scheduler.wait_for(lambda: receipt.settled, timeout=20)
    assert receipt.outcome == DISPOSED
    assert backend.calls == []


@every
def test_a_second_subscription_shares_nothing(wrap: Wrap) -> None:
    """Two streams through one operator."""
    way = wrap(rx.compose(ops.batch(max_items=2, max_delay=1000.0), export(backend := Recorder())))
    with Rig(way) as one, Rig(way) as two:
        one.send([1])
        two.send([2])
        assert backend.calls == []
        one.send([3])
        assert backend.calls == [[1, 3]]
        for rig in (one, two):
            rig.end()
            rig.check()


@every
def test_nothing_of_an_element_is_kept_once_its_sender_has_heard(wrap: Wrap) -> None:
    """A watch and its job refer to each other while a branch has it, and no longer."""
    gc.collect()
    gc.disable()
    try:
        with Rig(wrap(export(Recorder()))) as rig:
            rig.send([1, 2, 3])
            kept = [thing for thing in gc.get_objects() if type(thing).__name__ in ("Watch", "Job")]
            assert kept == []
    finally:
        gc.enable()


@every
def test_outcomes_from_other_threads_are_decided_in_the_turn(wrap: Wrap) -> None:
    """A blocking exporter reports in a pool's thread, and several at once."""

    class Blocking(Recorder):
        blocking = True

    backend = Blocking()
    source: rx.subject.Subject[TelemetryData] = rx.subject.Subject()
    receipts = []
    with SyncScheduler() as scheduler:
        other = SyncScheduler()
        ended = threading.Event()
        branch = export(backend, scheduler=other)
        source.pipe(wrap(branch)).subscribe(on_completed=ended.set, scheduler=scheduler)
        for number in range(50):
            receipts.append(Receipt())
            source.on_next(receipts[-1].attach(logs([number])))
        source.on_completed()
        assert ended.wait(20)
        settled = threading.Event()
        receipts[-1].on_settle(lambda _: settled.set())
        assert settled.wait(20)
        other.close()
    assert sorted(backend.ids) == list(range(50))


@every
def test_what_its_source_offers_again_is_not_tried_again_in_a_branch(wrap: Wrap) -> None:
    """A file's run must end at `max_attempts`, whatever protects its destination."""
    backend = Recorder(failed("down"))
    source = from_iterable([logs([1])], max_attempts=2)
    with VirtualScheduler() as clock:
        pipeline = Pipeline(source.pipe(wrap(ops.export(backend))), scheduler=clock)
        pipeline.start()
        clock.advance_by(60)
        assert (len(backend.calls), source.given_up) == (2, 1)
        pipeline.stop()
