"""`failover`: the first destination that takes it. Its decisions: tests/core/test_levels.py."""

import asyncio
import logging
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.testing import Recorder, Rig, SlowRecorder, ids_of, kind

DOWN = failed("down")


def level(rig: Rig) -> int:
    """What the books say."""
    return rig.books["failover"].limits["level"]


def test_what_fails_at_the_primary_is_delivered_by_the_secondary() -> None:
    """The very same element: its sender hears of one delivery."""
    primary, secondary = Recorder(DOWN), Recorder()
    with Rig(ops.failover([primary, secondary])) as rig:
        assert [kind(rig.send([number])) for number in (1, 2)] == [Kind.DELIVERED] * 2
        assert (primary.calls, secondary.delivered) == ([[1]], [1, 2])
        assert level(rig) == 1
        assert rig.books["failover"].created == 1
        rig.end()
        rig.check()


def test_nothing_that_was_under_way_when_the_primary_went_down_is_lost() -> None:
    """Eight at once, all of which fail; and the next does not even try."""
    primary, secondary = SlowRecorder(5.0, DOWN), Recorder()
    with Rig(ops.failover([ops.export(primary, retry=None), secondary])) as rig:
        receipts = [rig.send([number]) for number in range(8)]
        rig.wait(5)
        assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED] * 8
        assert kind(rig.send([8])) is Kind.DELIVERED
        assert primary.recorder.ids == list(range(8))
        assert secondary.delivered == list(range(9))
        rig.end()
        rig.check()


def test_after_a_while_one_element_probes_the_primary_and_the_rest_follow() -> None:
    """A probe that fails costs its sender nothing."""
    primary = Recorder(lambda _: DOWN if rig.clock.clock < 15 else DELIVERED)
    secondary = Recorder()
    rig = Rig(ops.failover([primary, secondary], recover_after=10.0))
    with rig:
        for number in range(30):
            assert kind(rig.send([number])) is Kind.DELIVERED
            rig.wait(1)
        assert primary.calls == [[0], [10], *[[number] for number in range(20, 30)]]
        assert sorted(primary.delivered + secondary.delivered) == list(range(30))
        rig.end()
        rig.check()


def test_a_rejection_is_an_answer() -> None:
    """Bad data is as bad elsewhere, and no outage."""
    primary, secondary = Recorder(rejected("bad")), Recorder()
    with Rig(ops.failover([primary, secondary])) as rig:
        assert [kind(rig.send([number])) for number in (1, 2)] == [Kind.REJECTED] * 2
        assert secondary.calls == []
        assert level(rig) == 0


def test_what_fails_everywhere_fails_with_the_longest_time() -> None:
    """Every level was asked, also when all were down before."""
    backends = [Recorder(failed(str(at), retry_after=at)) for at in (3, 9, 5)]
    with Rig(ops.failover(backends)) as rig:
        for number in (1, 2):
            outcome = rig.send([number]).outcome
            assert outcome == failed("9", retry_after=9)
        assert [backend.ids for backend in backends] == [[1, 2]] * 3
        assert level(rig) == 3
        rig.end()
        rig.check()


def test_senders_of_a_joined_element_hear_the_longest_time_too() -> None:
    """Each is told what the whole is told."""
    backends = [Recorder(failed("9", retry_after=9)), Recorder(failed("5", retry_after=5))]
    with Rig(ops.batch(max_items=2), ops.failover(backends)) as rig:
        receipts = [rig.send([number]) for number in (1, 2)]
        assert [receipt.outcome for receipt in receipts] == [failed("9", retry_after=9)] * 2


def test_at_a_deadline_what_lingers_after_it_failed_is_not_begun_anew() -> None:
    """Its sender is answered now, and not when another level has made up its mind."""
    keep = rx_ops.scan(lambda _, data: data)
    primary = rx.compose(keep, ops.export(Recorder(DOWN), retry=None))
    with Rig(ops.failover([primary, SlowRecorder(5.0)])) as rig:
        receipt = rig.send([1])
        receipt.expire("out of patience")
        rig.wait(0)
        assert receipt.outcome == DOWN
        rig.end()
        rig.check()


def test_on_dispose_what_runs_is_reported_and_tried_nowhere_else() -> None:
    """A stream that nobody listens to begins nothing."""
    secondary = Recorder()
    with Rig(ops.failover([SlowRecorder(5.0, DOWN), secondary])) as rig:
        receipt = rig.send([1])
        rig.dispose()
        rig.wait(5)
        assert receipt.outcome == DOWN
        assert secondary.calls == []
        assert rig.books["failover"].created == 0
        rig.check()


def test_on_dispose_what_one_level_held_goes_to_no_other() -> None:
    """Levels are disposed one by one, and the others would take it for a moment yet."""
    backend = Recorder()
    held, same = ops.batch(max_delay=1000.0), ops.chain(lambda data: data)
    with Rig(ops.failover([held, same]), ops.export(backend)) as rig:
        receipt = rig.send([1])
        rig.dispose()
        assert kind(receipt) is Kind.FAILED
        assert backend.calls == []
        rig.check()


def test_what_was_withdrawn_goes_nowhere_else() -> None:
    """Its sender sends it again."""
    secondary = Recorder()
    with Rig(ops.failover([ops.export(SlowRecorder(5.0, DOWN), retry=None), secondary])) as rig:
        receipt = rig.send([1])
        rig.wait(1)
        receipt.expire("out of patience")
        rig.wait(10)
        assert secondary.calls == []
        rig.end()
        rig.check()


def test_a_level_that_ended_is_left_out() -> None:
    """It is no reason to end the stream, or to fail anything."""
    first, second = Recorder(), Recorder()
    way = ops.failover([rx.compose(rx_ops.take(1), ops.export(first)), second])
    with Rig(way) as rig:
        assert [kind(rig.send([number])) for number in (1, 2)] == [Kind.DELIVERED] * 2
        assert (first.ids, second.ids) == ([1], [2])
        rig.end()
        rig.check()


def test_when_every_level_has_ended_what_comes_fails() -> None:
    """It is not lost without a word."""
    ending = rx.compose(rx_ops.take(1), ops.export(Recorder()))
    with Rig(ops.failover([ending, ending])) as rig:
        assert [kind(rig.send([1])) for _ in range(2)] == [Kind.DELIVERED] * 2
        outcome = rig.send([3]).outcome
        assert outcome == failed("failover: branch ended: every level")
        rig.end()
        rig.check()


@pytest.mark.parametrize("how", ["complete", "fail"])
def test_at_the_end_what_fails_at_the_primary_still_finds_the_secondary(how: str) -> None:
    """A drain must not lose what a failover was built for."""
    secondary = Recorder()
    slow = SlowRecorder(3.0, DOWN)
    flushed = rx.compose(ops.batch(max_delay=1000.0), ops.export(slow, retry=None))
    stand_in = rx.compose(ops.batch(max_delay=1000.0), ops.export(secondary))
    with Rig(ops.failover([flushed, stand_in])) as rig:
        receipt = rig.send([1])
        if how == "complete":
            rig.end()
        else:
            rig.fail()
        assert kind(receipt) is Kind.DELIVERED
        assert secondary.delivered == [1]
        assert rig.happened[-1].second == 3.0  # as soon as nothing could come any more
        assert len(rig.errors) == (how == "fail")
        assert rig.completed() == (how == "complete")
        rig.check()


def test_a_level_that_was_told_the_end_gets_nothing_more() -> None:
    """It has not ended yet, for it is busy, and takes nothing all the same."""

    class Primary:
        async def export(self, data: TelemetryData) -> Outcome:
            if ids_of(data) == [1]:
                await asyncio.sleep(10)
            return DOWN

    with Rig(ops.failover([ops.export(Primary(), retry=None), SlowRecorder(3.0, DOWN)])) as rig:
        receipts = [rig.send([number]) for number in (1, 2, 3)]
        assert rig.books["failover"].created == 1  # 3 went to the secondary at once
        rig.feed.stop()
        rig.wait(3)
        assert [kind(receipt) for receipt in receipts] == [None, Kind.FAILED, Kind.FAILED]
        assert rig.books["failover"].created == 1
        rig.end()
        rig.check()


def test_what_follows_may_hold_it_until_the_end() -> None:
    """A batch behind it is closed by the end, which therefore waits no longer than `linger`."""
    backend = Recorder()
    same = ops.chain(lambda data: data)
    way = ops.failover([same, same], linger=3.0)
    with Rig(way, ops.batch(max_delay=1000.0), ops.export(backend)) as rig:
        receipt = rig.send([1])
        rig.end()
        assert kind(receipt) is Kind.DELIVERED
        assert rig.happened[-1].second == 3.0
        rig.check()


def test_a_level_may_be_a_failover() -> None:
    """Regions, and hosts in each."""
    backends = [Recorder(DOWN), Recorder(DOWN), Recorder()]
    inner = ops.failover([backends[0], backends[1]], name="near")
    with Rig(ops.failover([inner, backends[2]])) as rig:
        assert [kind(rig.send([number])) for number in (1, 2)] == [Kind.DELIVERED] * 2
        assert [backend.ids for backend in backends] == [[1], [1], [1, 2]]
        rig.end()
        rig.check()


def test_changes_are_logged_with_their_reason(caplog: pytest.LogCaptureFixture) -> None:
    """And each only once."""
    primary = Recorder(lambda _: DOWN if rig.clock.clock < 5 else DELIVERED)
    rig = Rig(ops.failover([primary, Recorder()], recover_after=6.0))
    with caplog.at_level(logging.INFO, "rxotlp"), rig:
        for number in range(10):
            rig.send([number])
            rig.wait(1)
    assert [record.message for record in caplog.records if record.message.startswith("failo")] == [
        "failover: level 0 failed: down; elements go to level 1",
        "failover: level 0 takes elements again; elements go to level 0",
    ]


def test_elements_that_fail_at_any_time_are_each_delivered_once() -> None:
    """Two flapping backends, elements all the time: id by id."""

    class Flapping:
        def __init__(self, period: int) -> None:
            self.period = period
            self.delivered: list[int] = []

        async def export(self, data: TelemetryData) -> Outcome:
            await asyncio.sleep(0.3)
            if int(rig.clock.clock) % self.period < self.period // 2:
                return DOWN
            self.delivered += ids_of(data)
            return DELIVERED

    backends = [Flapping(7), Flapping(5)]
    levels = [ops.export(backend, retry=None) for backend in backends]
    rig = Rig(ops.failover(levels, recover_after=2.0))
    with rig:
        for number in range(400):
            rig.send([number])
            rig.wait(0.1)
        rig.end()
        rig.check()
        heard = {at for at, receipt in enumerate(rig.receipts) if kind(receipt) is Kind.DELIVERED}
    delivered = [number for backend in backends for number in backend.delivered]
    assert sorted(delivered) == sorted(heard)
    assert len(heard) > 300


@pytest.mark.parametrize(
    ("levels", "options", "message"),
    [
        ([], {}, "0 levels: expected 2 or more"),
        ([Recorder()], {}, "1 levels: expected 2 or more"),
        ([Recorder(), 3], {}, "expected an operator, got int"),
        ([Recorder(), Recorder], {}, "got its class"),
        (Recorder(), {}, "expected a list of operators"),
        ("ab", {}, "expected an operator"),
        ([Recorder(), Recorder()], {"recover_after": 0}, "recover_after=0"),
        ([Recorder(), Recorder()], {"linger": -1}, "linger=-1"),
    ],
)
def test_a_wrong_argument_is_refused(levels: Any, options: dict[str, Any], message: str) -> None:
    """Where it is written."""
    with pytest.raises((ValueError, TypeError), match=message):
        ops.failover(levels, **options)
