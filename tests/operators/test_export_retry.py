"""`export` tries again: when, for how long, and for whom. In virtual time."""

import asyncio
import random
from collections.abc import Iterator

import pytest
from reactivex.subject import Subject

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed
from rxotlp.data import TelemetryData
from rxotlp.operators import Delivery, Retry
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import VirtualScheduler
from rxotlp.sources.iterable import from_iterable
from rxotlp.testing import Recorder, Rig, kind, logs

STEADY = Retry(jitter=0)


def answers(*outcomes: Outcome) -> Recorder:
    """A backend that answers in this order, and takes everything afterwards."""
    script: Iterator[Outcome] = iter(outcomes)
    return Recorder(lambda _data: next(script, DELIVERED))


def test_what_failed_is_tried_again_and_delivered() -> None:
    """A backend that restarts costs nobody anything: pauses of 5 and 7.5 seconds."""
    backend = answers(failed("down"), failed("down"))
    with Rig(ops.export(backend, retry=STEADY)) as rig:
        heard = rig.send([1, 2])
        rig.wait(5)
        assert len(backend.calls) == 2
        rig.wait(7.4)
        assert len(backend.calls) == 2
        assert rig.books["export"].held == 2
        rig.wait(0.1)
        assert backend.calls == [[1, 2]] * 3
        assert kind(heard) is Kind.DELIVERED
        (delivery,) = rig.results
        assert isinstance(delivery, Delivery)
        assert (delivery.attempts, delivery.seconds) == (3, 12.5)
        rig.check()


def test_jitter_is_on_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed together must not come back together."""
    dice = iter([0.0, 0.99])
    monkeypatch.setattr(random.SystemRandom, "random", lambda _: next(dice))
    backend = answers(failed("down"), failed("down"))
    with Rig(ops.export(backend)) as rig:
        rig.send([1])
        rig.send([2])
        rig.wait(2.5)
        assert backend.calls == [[1], [2], [1]]
        rig.wait(5)
        assert backend.calls == [[1], [2], [1], [2]]


def test_a_pause_takes_no_slot() -> None:
    """One bad element must not stop what the same destination would take."""
    backend = answers(failed("not this one"))
    with Rig(ops.export(backend, max_concurrent=1, retry=STEADY)) as rig:
        rig.send([1])
        second = rig.send([2])
        assert kind(second) is Kind.DELIVERED


def test_c6_the_destination_says_how_long_to_wait() -> None:
    """Retry-After and RetryInfo are requests, not hints."""
    backend = answers(failed("busy", retry_after=60))
    with Rig(ops.export(backend, retry=STEADY)) as rig:
        rig.send([1])
        rig.wait(59.9)
        assert len(backend.calls) == 1
        rig.wait(0.1)
        assert len(backend.calls) == 2


def test_c6_a_destination_cannot_put_it_off_for_years() -> None:
    """RetryInfo holds 300 billion years; a wrong clock or one hostile answer would keep data."""
    backend = answers(failed("busy", retry_after=2.0**63), failed("busy", retry_after=float("inf")))
    with Rig(ops.export(backend, retry=STEADY)) as rig:
        heard = rig.send([1])
        rig.wait(2 * 86_400)
        assert kind(heard) is Kind.DELIVERED
        rig.check()


def test_a_delivery_that_ends_in_a_pause_says_how_long_it_took() -> None:
    """`seconds` is from the first attempt, whatever ended it."""
    limits: Subject[int] = Subject()
    backend = answers(failed("down"))
    limit = ops.Limit(limits, initial=1)
    with Rig(ops.export(backend, max_concurrent=limit, retry=STEADY)) as rig:
        rig.send([1])
        limits.on_next(0)
        rig.wait(2)
        limits.on_completed()
        rig.end()
        (delivery,) = rig.results
        assert (delivery.attempts, delivery.seconds) == (1, 2.0)


def test_what_is_tried_again_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """An outage of three items is three items, not three a retry."""
    backend = answers(*[failed("down")] * 4)
    with Rig(ops.export(backend, retry=STEADY)) as rig:
        rig.send([1, 2, 3])
        rig.wait(100)
    assert [record.getMessage() for record in caplog.records] == [
        "export: 3 items not delivered, to be sent again: down",
        "export: tried again in vain: down",
        "export: tried again in vain: down",
    ]


def test_c5_what_is_no_failure_is_not_tried_again() -> None:
    """A rejection is an answer."""
    backend = answers(Outcome(Kind.REJECTED, "bad"))
    with Rig(ops.export(backend, retry=STEADY)) as rig:
        heard = rig.send([1])
        assert kind(heard) is Kind.REJECTED
        rig.wait(100)
        assert len(backend.calls) == 1


def test_a_limit_ends_it() -> None:
    """Who would rather hear of a failure than wait says for how long to try."""
    backend = Recorder(failed("down"))
    with Rig(ops.export(backend, retry=Retry(jitter=0, limit=10))) as rig:
        heard = rig.send([1])
        rig.wait(5)
        assert kind(heard) is Kind.FAILED
        assert len(backend.calls) == 2
        rig.check()


def test_c15_a_retry_brings_the_same_object() -> None:
    """An exporter that compresses need not do so again, and the bytes cannot differ."""
    seen: list[TelemetryData] = []

    def note(data: TelemetryData) -> Outcome:
        seen.append(data)
        return failed("down") if len(seen) < 3 else DELIVERED

    with Rig(ops.batch(max_items=2), ops.export(Recorder(note), retry=STEADY)) as rig:
        rig.send([1])
        rig.send([2])
        rig.wait(20)
        assert len(seen) == 3
        assert len({id(data) for data in seen}) == 1
        seen.clear()


# -- senders that wait -----------------------------------------------------------------------------


def wait_for_answer(rig: Rig, ids: list[int], patience: float) -> object:
    """Send as a receiver does: the answer is due in `patience` seconds."""
    receipt = rig.feed.admit(logs(ids), patience=patience)
    rig.receipts.append(receipt)
    rig.clock.advance_by(0)
    return receipt


def test_a_sender_that_waits_has_its_retries_soon_and_its_answer_in_time() -> None:
    """At 0.5, 1.25, 2.375, 4.06 and 6.6 s; the next would begin after the answer is due."""
    backend = Recorder(failed("down", retry_after=None))
    with Rig(ops.export(backend, retry=STEADY)) as rig:
        wait_for_answer(rig, [1], 9.0)
        rig.wait(6.55)
        assert kind(rig.receipts[0]) is None
        rig.wait(0.1)
        outcome = rig.receipts[0].outcome
        assert outcome == failed("down")
        assert len(backend.calls) == 6
        rig.wait(100)
        assert len(backend.calls) == 6, "it was sent after its sender had been told to send again"
        rig.check()


def test_a_backend_that_asks_for_more_time_than_there_is_is_believed_at_once() -> None:
    """The sender hears the time and waits in our place."""
    backend = Recorder(failed("busy", retry_after=30))
    with Rig(ops.export(backend)) as rig:
        wait_for_answer(rig, [1], 9.0)
        outcome = rig.receipts[0].outcome
        assert outcome is not None
        assert outcome.retry_after == 30
        assert len(backend.calls) == 1


def test_no_attempt_begins_that_would_take_longer_than_there_is_time() -> None:
    """It took four seconds last time, and three are left."""

    class Slow:
        calls = 0

        async def export(self, data: TelemetryData) -> Outcome:
            self.calls += 1
            await asyncio.sleep(4)
            return failed("slow")

    slow = Slow()
    with Rig(ops.export(slow, retry=STEADY)) as rig:
        wait_for_answer(rig, [1], 7.0)
        rig.wait(4)
        assert kind(rig.receipts[0]) is Kind.FAILED
        rig.wait(100)
        assert slow.calls == 1


def test_behind_a_queue_nobody_waits_and_it_goes_on() -> None:
    """The sender has its success; what the queue answers for is tried until it is delivered."""
    down = [failed("down")] * 30
    backend = answers(*down)
    with Rig(ops.queue(), ops.export(backend, retry=STEADY)) as rig:
        wait_for_answer(rig, [1], 9.0)
        assert kind(rig.receipts[0]) is Kind.DELIVERED
        rig.wait(900)
        assert backend.delivered == [1]
        rig.check()


def test_the_first_of_several_senders_decides_how_long_a_batch_is_tried() -> None:
    """Tried any longer, its part would arrive twice; the others lose nothing but time."""
    backend = Recorder(failed("down"))
    with Rig(ops.batch(max_items=2), ops.export(backend, retry=STEADY)) as rig:
        wait_for_answer(rig, [1], 9.0)
        wait_for_answer(rig, [2], 2.0)
        rig.wait(1.3)
        assert [kind(receipt) for receipt in rig.receipts] == [Kind.FAILED] * 2
        assert len(backend.calls) == 3


# -- the end ---------------------------------------------------------------------------------------


def test_a_drain_cuts_pauses_short() -> None:
    """There are ten seconds for all of it, and a pause may be thirty."""
    backend = answers(failed("down"))
    with Rig(ops.export(backend, retry=STEADY)) as rig:
        heard = rig.send([1])
        rig.wait(1)
        rig.end()
        assert kind(heard) is Kind.DELIVERED
        assert rig.completed()
        rig.check()


def test_a_drain_does_not_cut_short_what_the_destination_asked_for() -> None:
    """It would only refuse again."""
    backend = answers(failed("busy", retry_after=8))
    with Rig(ops.export(backend, retry=STEADY)) as rig:
        rig.send([1])
        rig.feed.stop()
        rig.wait(7)
        assert not rig.completed()
        rig.wait(1)
        assert rig.completed()
        assert backend.delivered == [1]


def test_what_rests_when_it_is_disposed_fails_at_once() -> None:
    """Its sender is told to send again, and no timer is left."""
    backend = Recorder(failed("down"))
    with Rig(ops.export(backend, retry=STEADY)) as rig:
        heard = rig.send([1])
        assert rig.subscription is not None
        rig.subscription.dispose()
        rig.clock.advance_by(0)
        assert heard.outcome is not None
        assert heard.outcome.reason.startswith("disposed")
        rig.check()


def test_an_exporter_that_is_paused_is_not_tried_at_the_end_of_a_pause() -> None:
    """A limit of 0 means that nothing is begun."""
    slots: Subject[float] = Subject()
    backend = answers(failed("down"))
    limit = ops.Limit(slots, initial=1)
    with Rig(ops.export(backend, max_concurrent=limit, retry=STEADY)) as rig:
        rig.send([1])
        slots.on_next(0)
        rig.wait(60)
        assert len(backend.calls) == 1
        assert rig.books["export"].held == 1


def test_retry_is_a_policy_or_none() -> None:
    """A number of attempts would be a plausible mistake."""
    with pytest.raises(TypeError, match=r"export\(retry=3\)"):
        ops.export(Recorder(), retry=3)  # type: ignore[arg-type]


def test_what_its_source_offers_again_is_not_tried_again_here() -> None:
    """Two that try again would multiply their attempts, and a file's run would never end."""
    with VirtualScheduler() as clock:
        backend = Recorder(failed("down"))
        stream = from_iterable([logs([1])], max_attempts=3).pipe(ops.export(backend))
        pipeline = Pipeline(stream, scheduler=clock)
        pipeline.start()
        assert pipeline.wait(60)
        assert len(backend.calls) == 3
        pipeline.stop()
