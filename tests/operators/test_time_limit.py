"""`time_limit`: what is not settled in time is to be sent again."""

from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind, failed
from rxotlp.testing import Recorder, Rig, SlowRecorder, kind

LATE = failed("time_limit: not settled within 5 s")


def test_what_is_late_fails_at_that_very_time() -> None:
    """A second less and a second more."""
    for seconds, expected in ((4.0, Kind.DELIVERED), (6.0, Kind.FAILED)):
        with Rig(ops.time_limit(SlowRecorder(seconds), 5)) as rig:
            receipt = rig.send([1])
            rig.wait(5)
            assert kind(receipt) is expected
            rig.end()
            rig.check()


def test_what_is_late_is_not_sent_any_more() -> None:
    """Its sender sends it again, and it would be there twice."""
    backend = SlowRecorder(4.0)
    with Rig(ops.time_limit(ops.export(backend, max_concurrent=1), 5)) as rig:
        receipts = [rig.send([number]) for number in range(4)]
        rig.wait(5)
        assert [receipt.outcome for receipt in receipts[2:]] == [LATE, LATE]
        rig.end()
        assert backend.recorder.ids == [0, 1]
        rig.check()


def test_a_batch_leaves_out_what_is_late() -> None:
    """The others in it are not."""
    backend = Recorder()
    branch = rx.compose(ops.batch(max_items=2, max_delay=1000.0), ops.export(backend))
    with Rig(ops.time_limit(branch, 5)) as rig:
        late = rig.send([1])
        rig.wait(5)
        assert late.outcome == LATE
        assert kind(rig.send([2])) is Kind.DELIVERED
        assert backend.calls == [[2]]
        rig.end()
        rig.check()


def test_of_batches_of_batches_what_is_late_is_left_out_too() -> None:
    """What was joined before and is joined again knows that it was given up."""
    backend = Recorder()
    branch = rx.compose(ops.batch(max_items=4, max_delay=1000.0), ops.export(backend))
    with Rig(ops.batch(max_items=2), ops.time_limit(branch, 5)) as rig:
        late = [rig.send([number]) for number in (1, 2)]
        rig.wait(5)
        assert [receipt.outcome for receipt in late] == [LATE, LATE]
        others = [rig.send([number]) for number in (3, 4)]
        assert [kind(receipt) for receipt in others] == [Kind.DELIVERED] * 2
        assert backend.calls == [[3, 4]]
        rig.end()
        rig.check()


def test_a_native_operator_may_hold_what_is_late() -> None:
    """Whatever is in there, the sender hears in time, once."""
    backend = Recorder()
    with Rig(ops.time_limit(rx.compose(rx_ops.delay(9.0), ops.export(backend)), 5)) as rig:
        receipt = rig.send([1])
        rig.wait(5)
        assert receipt.outcome == LATE
        rig.end()
        assert backend.calls == []
        rig.check()


def test_an_export_in_there_stops_trying_in_time() -> None:
    """A last attempt that could not be over in time is not begun."""
    backend = Recorder(failed("down"))
    steady = ops.Retry(soon=2, first=2, factor=1, jitter=0)
    with Rig(ops.time_limit(ops.export(backend, retry=steady), 5)) as rig:
        receipt = rig.send([1])
        rig.wait(4.9)
        assert receipt.outcome == failed("down")
        assert len(backend.calls) == 3
        rig.end()
        rig.check()


def test_a_failover_goes_on_after_what_is_late() -> None:
    """A primary that hangs is a primary that is down."""
    primary, secondary = SlowRecorder(1000.0), Recorder()
    with Rig(ops.failover([ops.time_limit(primary, 5), secondary])) as rig:
        first = rig.send([1])
        rig.wait(5)
        second = rig.send([2])
        assert (kind(first), kind(second)) == (Kind.DELIVERED, Kind.DELIVERED)
        assert secondary.delivered == [1, 2]
        rig.end()
        rig.check()


def test_a_queue_hands_over_again_what_was_late() -> None:
    """Delivered in the end, by whichever attempt was quick enough."""
    seconds = iter([9.0, 1.0])
    backend = SlowRecorder(0.0)

    def slower(data: Any) -> Any:
        backend.seconds = next(seconds)
        return data

    branch = rx.compose(ops.chain(slower), ops.export(backend))
    with Rig(ops.queue(), ops.time_limit(branch, 5)) as rig:
        assert kind(rig.send([1])) is Kind.DELIVERED
        rig.wait(100)
        assert backend.recorder.calls == [[1], [1]]  # the first was under way
        rig.end()
        rig.check()


def test_on_completion_what_is_late_still_fails_in_time() -> None:
    """The end waits for the branch, and the sender does not."""
    with Rig(ops.time_limit(SlowRecorder(9.0), 5)) as rig:
        receipt = rig.send([1])
        rig.feed.stop()
        rig.wait(5)
        assert receipt.outcome == LATE
        assert not rig.completed()
        rig.wait(4)
        assert rig.completed()
        rig.check()


def test_on_error_the_branch_ends_first() -> None:
    """And what was in time was in time."""
    with Rig(ops.time_limit(SlowRecorder(4.0), 5)) as rig:
        receipt = rig.send([1])
        rig.fail(ValueError("upstream"))
        assert kind(receipt) is Kind.DELIVERED
        assert [str(error) for error in rig.errors] == ["upstream"]
        rig.check()


def test_on_dispose_no_timer_is_left() -> None:
    """What is held fails now, and what runs is reported when it is over."""
    with Rig(ops.time_limit(ops.export(SlowRecorder(9.0), max_concurrent=1), 5)) as rig:
        runs, waits = rig.send([1]), rig.send([2])
        rig.dispose()
        assert kind(waits) is Kind.FAILED
        rig.wait(9)
        assert kind(runs) is Kind.DELIVERED
        rig.check()


def test_what_settles_at_once_arms_no_timer_for_later() -> None:
    """A thousand elements a second would be as many timers."""
    with Rig(ops.time_limit(Recorder(), 5)) as rig:
        rig.send([1])
        assert rig.clock.statistics().timers == 0


def test_what_no_branch_takes_arms_none_either() -> None:
    """It has failed already."""
    with Rig(ops.time_limit(rx.compose(rx_ops.take(1), ops.export(Recorder())), 5)) as rig:
        rig.send([1])
        outcome = rig.send([2]).outcome
        assert outcome is not None
        assert "branch ended" in outcome.reason
        assert rig.clock.statistics().timers == 0


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_what_is_no_time_is_refused(seconds: float) -> None:
    """Where it is written."""
    with pytest.raises(ValueError, match=r"time_limit\(\.\.\., seconds=.*expected seconds above 0"):
        ops.time_limit(Recorder(), seconds)


@pytest.mark.parametrize("wrong", [(3, 5), (Recorder, 5), (Recorder(), "5"), (Recorder(), None)])
def test_what_is_of_no_use_is_refused(wrong: Any) -> None:
    """Arguments in the other order, for instance."""
    with pytest.raises(TypeError, match="expected"):
        ops.time_limit(*wrong)
