"""`adaptive_concurrency`: as good as the limit that somebody who knew would have written."""

from typing import Any

import pytest
from reactivex.subject import BehaviorSubject

from rxotlp import operators as ops
from rxotlp._core.outcomes import failed, rejected
from rxotlp.testing import Recorder, Rig, SlowRecorder
from tests.support.backends import BACKENDS, run

FIXED = (6, 10, 12, 20)


@pytest.mark.parametrize("name", BACKENDS)
def test_it_delivers_within_a_fifth_of_the_best_fixed_limit(name: str) -> None:
    """From one attempt at a time and knowing nothing, the time it takes to learn included."""
    best = max(run(name, limit).taken for limit in FIXED)
    learnt = run(name, ops.adaptive_concurrency())
    assert learnt.taken >= 0.8 * best
    assert max(limit for _, limit in learnt.limits) < 128  # it found a bound by itself


@pytest.mark.parametrize("seed", [4, 5])
def test_an_unlucky_beginning_is_not_for_ever(seed: int) -> None:
    """Jitter in the first few answers must not pass for load, nor for the usual latency."""
    best = run("jittery", 10, seed=seed).taken
    assert run("jittery", ops.adaptive_concurrency(), seed=seed).taken >= 0.75 * best


def test_the_last_one_goes_on_asking_a_destination_that_is_down() -> None:
    """At least one: or nobody would notice that it is back."""
    backend = Recorder(failed("down"))
    with Rig(ops.export(backend, max_concurrent=ops.adaptive_concurrency(initial=8))) as rig:
        for number in range(50):
            rig.send([number])
        assert rig.books["export"].limits == {"max_concurrent": 1}
        assert len(backend.calls) == 50


def test_rejections_change_nothing() -> None:
    """They are about the data: a sender of garbage must not slow down everybody."""
    backend = SlowRecorder(0.1, rejected("garbage"))
    with Rig(ops.export(backend, max_concurrent=ops.adaptive_concurrency(initial=8))) as rig:
        for number in range(50):
            rig.send([number])
        rig.clock.advance_by(10)
        assert rig.books["export"].limits == {"max_concurrent": 8}
        assert backend.most == 8


def test_a_raised_limit_begins_what_waits_at_once() -> None:
    """What waits would otherwise wait for the next element, which may never come."""
    backend = SlowRecorder(1.0)
    with Rig(ops.export(backend, max_concurrent=ops.adaptive_concurrency())) as rig:
        for number in range(40):
            rig.send([number])
        rig.clock.advance_by(20)
        assert backend.most > 4
        assert len(backend.recorder.delivered) == 40


def test_a_timeout_counts_as_a_refusal() -> None:
    """A destination that answers nobody is overloaded, whatever it would have said."""
    backend = SlowRecorder(60.0)
    limit = ops.adaptive_concurrency(initial=8)
    with Rig(ops.export(backend, max_concurrent=limit, timeout=1.0)) as rig:
        for number in range(60):
            rig.send([number])
        rig.clock.advance_by(1.5)
        assert rig.books["export"].limits == {"max_concurrent": 6}
        rig.clock.advance_by(30)
        assert rig.books["export"].limits == {"max_concurrent": 1}


def test_it_learns_within_a_limit_that_changes() -> None:
    """The machine's limit is slow and has the last word, the destination's is learnt inside it."""
    allowed = BehaviorSubject[float](4)
    backend = SlowRecorder(0.1)
    limit = ops.adaptive_concurrency(max_concurrent=allowed)
    with Rig(ops.export(backend, max_concurrent=limit)) as rig:
        for number in range(2_000):
            rig.send([number])
        rig.clock.advance_by(5)
        assert rig.books["export"].limits == {"max_concurrent": 4}  # it would bear more
        allowed.on_next(12)
        rig.clock.advance_by(5)
        assert 4 < rig.books["export"].limits["max_concurrent"] <= 12
        allowed.on_next(2)
        rig.clock.advance_by(0.2)
        assert rig.books["export"].limits == {"max_concurrent": 2}
        assert backend.running <= 2
        allowed.on_next(0)  # a pause
        rig.clock.advance_by(5)
        assert backend.running == 0
        paused = len(backend.recorder.delivered)
        rig.clock.advance_by(5)
        assert len(backend.recorder.delivered) == paused
        allowed.on_next(3)
        rig.clock.advance_by(300)
        assert len(backend.recorder.delivered) == 2_000


def test_two_exports_learn_for_themselves() -> None:
    """One setting for all destinations, and one of them down."""
    limit = ops.adaptive_concurrency(initial=4)
    good, bad = SlowRecorder(0.1), Recorder(failed("down"))
    with Rig(
        ops.broadcast(
            ops.export(good, max_concurrent=limit, name="good"),
            ops.export(bad, max_concurrent=limit, name="bad"),
        )
    ) as rig:
        for number in range(60):
            rig.send([number])
        rig.clock.advance_by(20)
        assert rig.books["bad"].limits == {"max_concurrent": 1}
        assert rig.books["good"].limits["max_concurrent"] > 4


def test_a_disposal_while_it_learns_leaves_nothing_behind() -> None:
    """What runs finishes and is reported; its answers move nothing any more."""
    backend = SlowRecorder(1.0)
    with Rig(ops.export(backend, max_concurrent=ops.adaptive_concurrency(initial=2))) as rig:
        receipts = [rig.send([number]) for number in range(10)]
        assert rig.subscription is not None
        rig.subscription.dispose()
        rig.clock.advance_by(10)
        assert all(receipt.outcome is not None for receipt in receipts)
        assert len(backend.recorder.delivered) == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"min_concurrent": 0}, "what sends nothing learns nothing"),
        ({"initial": 2, "min_concurrent": 3}, "initial"),
        ({"initial": 200}, "max_concurrent"),
        ({"decrease": 1.0}, "expected above 0 and below 1"),
        ({"decrease": "half"}, "expected above 0 and below 1"),
        ({"tolerance": 1}, "expected above 1"),
        ({"tolerance": float("nan")}, "expected above 1"),
    ],
)
def test_what_cannot_work_is_refused(arguments: dict[str, Any], text: str) -> None:
    """By name, value and reason, where it was written."""
    with pytest.raises(ValueError, match=text):
        ops.adaptive_concurrency(**arguments)


def test_only_an_export_can_learn() -> None:
    """`parallel` hears of no destination."""
    with pytest.raises(TypeError, match="expected a whole number"):
        ops.parallel(lambda data: data, max_concurrent=ops.adaptive_concurrency())  # type: ignore[arg-type]
