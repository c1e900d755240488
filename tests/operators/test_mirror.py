"""`mirror`: copies of some, which cost the others nothing."""

import logging
import threading
import time
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed
from rxotlp.data import TelemetryData
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SyncScheduler
from rxotlp.testing import Recorder, Rig, SlowRecorder, kind, logs

DOWN = failed("down")


def same(data: TelemetryData) -> TelemetryData:
    return data


def test_everything_passes_on_and_about_the_ratio_is_copied() -> None:
    """The same elements for the same seed, others for another."""
    picked = []
    for seed in (1, 1, 2):
        trial, backend = Recorder(), Recorder()
        with Rig(ops.mirror(trial, 0.3, seed=seed), ops.export(backend)) as rig:
            for number in range(1000):
                rig.send([number])
            rig.end()
            rig.check()
            assert rig.books["mirror"].created == len(trial.ids)
        assert backend.delivered == list(range(1000))
        assert 240 < len(trial.ids) < 360
        picked.append(trial.ids)
    assert picked[0] == picked[1] != picked[2]


def test_a_ratio_of_one_copies_everything() -> None:
    """A new backend beside the old one."""
    trial = Recorder()
    with Rig(ops.mirror(trial, 1), ops.export(Recorder())) as rig:
        for number in range(100):
            rig.send([number])
        assert trial.ids == list(range(100))


@pytest.mark.parametrize(
    "trial", [DOWN, lambda _: 1 / 0, Outcome(Kind.REJECTED, "bad")], ids=["down", "raises", "bad"]
)
def test_what_becomes_of_a_copy_concerns_no_sender(trial: Any) -> None:
    """It is in the books of where it happened, and nowhere else."""
    with Rig(ops.mirror(Recorder(trial), 1), ops.export(Recorder())) as rig:
        assert kind(rig.send([1, 2])) is Kind.DELIVERED
        account = rig.books["export"]
        assert account.failed + account.rejected == 2
        assert len(rig.results) == 1  # the Delivery of the backend; the copy's goes nowhere
        rig.end()
        rig.check()


def test_no_sender_waits_for_a_copy_and_none_can_withdraw_it() -> None:
    """What is slow, or never answers, is slow for itself alone."""
    trial = SlowRecorder(1000.0)
    with Rig(ops.mirror(trial, 1), ops.export(Recorder(DOWN), retry=None)) as rig:
        receipt = rig.send([1])
        assert kind(receipt) is Kind.FAILED
        rig.wait(1000)
        assert trial.recorder.delivered == [1]
        rig.end()
        rig.check()


def test_copies_for_which_there_is_no_room_are_dropped_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However slow the trial is, its copies take no more memory than that."""
    bounds: list[dict[str, Any]] = [{"max_items": 6}, {"max_bytes": 3 * logs([1, 2]).size}]
    for bound in bounds:
        caplog.clear()
        trial, backend = SlowRecorder(10.0), Recorder()
        with Rig(ops.mirror(trial, 1, **bound), ops.export(backend)) as rig:
            for number in range(10):
                assert kind(rig.send([number, number])) is Kind.DELIVERED
            assert rig.books["mirror"].dropped == 14
            assert "drops copies: 6 items" in caplog.text
            assert len(caplog.records) == 1
            rig.wait(10)
            rig.send([11, 11])  # there is room again
            rig.end()
            rig.check()
        assert trial.recorder.calls == [[0, 0], [1, 1], [2, 2], [11, 11]]
        assert len(backend.calls) == 11


def test_a_copy_has_nothing_to_do_with_the_emission_it_is_of() -> None:
    """What is made of a copy, also in native operators, is no part of the sender's element."""
    trial = Recorder()
    copies = rx.compose(rx_ops.map(TelemetryData.detached), ops.chain(same), ops.export(trial))
    rig = Rig(strict=False)
    rig.run(ops.mirror(copies, 1), ops.export(SlowRecorder(1.0)))
    with rig:
        receipt = rig.send([1])
        assert trial.ids == [1]
        assert kind(receipt) is None
        rig.wait(1)
        assert kind(receipt) is Kind.DELIVERED


def test_a_trial_that_ends_or_fails_is_the_last_of_copies_only() -> None:
    """The main line knows nothing of it."""

    def breaks(data: TelemetryData) -> TelemetryData:
        raise ValueError("broken trial")

    for trial in (rx_ops.take(1), ops.chain(breaks, on_error="stop"), rx_ops.map(breaks)):
        backend = Recorder()
        with Rig(ops.mirror(trial, 1), ops.export(backend)) as rig:
            assert [kind(rig.send([number])) for number in (1, 2, 3)] == [Kind.DELIVERED] * 3
            assert rig.errors == []
            rig.end()
            rig.check()
        assert backend.delivered == [1, 2, 3]


def test_on_completion_copies_are_flushed_first() -> None:
    """A deployment's last minute belongs to the comparison as well."""
    trial = SlowRecorder(2.0)
    held = rx.compose(ops.batch(max_delay=1000.0), ops.export(trial))
    with Rig(ops.mirror(held, 1), ops.export(Recorder())) as rig:
        rig.send([1])
        rig.end()
        assert trial.recorder.delivered == [1]
        assert rig.completed()
        rig.check()


def test_the_end_waits_for_copies_no_longer_than_linger(caplog: pytest.LogCaptureFixture) -> None:
    """A trial that hangs must not hang a drain."""
    held = ops.export(SlowRecorder(1000.0), max_concurrent=1)
    with Rig(ops.mirror(held, 1, linger=2.0), ops.export(Recorder())) as rig:
        rig.send([1])
        rig.send([2])
        rig.feed.stop()
        rig.wait(1.9)
        assert not rig.completed()
        rig.wait(0.1)
        assert rig.completed()
        assert "had not ended 2 s after its source" in caplog.text
        rig.clock.run()
        rig.check()


def test_on_error_and_on_dispose_copies_go_with_the_stream() -> None:
    """The error comes once, after the copies; a disposal disposes."""
    trial = Recorder()
    held = rx.compose(ops.batch(max_delay=1000.0), ops.export(trial))
    with Rig(ops.mirror(held, 1), ops.export(Recorder())) as rig:
        rig.send([1])
        rig.fail(ValueError("upstream"))
        assert trial.delivered == [1]
        assert [str(error) for error in rig.errors] == ["upstream"]
        rig.check()
    with Rig(ops.mirror(held, 1), ops.export(Recorder())) as rig:
        assert kind(rig.send([2])) is Kind.DELIVERED
        rig.dispose()
        assert trial.delivered == [1]
        rig.check()


def test_a_second_subscription_picks_by_itself() -> None:
    """Two streams through one operator: dice and room of their own."""
    trial = Recorder()
    way = ops.mirror(trial, 0.5, max_items=2)
    with Rig(way, ops.export(Recorder())) as one, Rig(way, ops.export(Recorder())) as two:
        picked = []
        for rig in (one, two):
            for number in range(20):
                rig.send([number])
            picked.append(list(trial.ids))
            trial.ids.clear()
            rig.end()
            rig.check()
        assert picked[0] == picked[1]


def test_on_a_scheduler_of_its_own_what_blocks_in_copies_holds_up_nobody() -> None:
    """A plain exporter that sleeps stops the thread that calls it."""
    blocked = threading.Event()
    seen: list[str] = []

    class Blocks:
        def export(self, data: TelemetryData) -> Outcome:
            seen.append(threading.current_thread().name)
            blocked.wait(20)
            return DELIVERED

    backend = Recorder()
    source: rx.subject.Subject[TelemetryData] = rx.subject.Subject()
    ended = threading.Event()
    with SyncScheduler() as scheduler, SyncScheduler() as own:
        copies = ops.export(Blocks(), scheduler=own)
        source.pipe(ops.mirror(copies, 1, scheduler=own), ops.export(backend)).subscribe(
            on_completed=ended.set, scheduler=scheduler
        )
        receipts = [Receipt() for _ in range(20)]
        for number, receipt in enumerate(receipts):
            source.on_next(receipt.attach(logs([number])))
        limit = time.monotonic() + 20
        while len(backend.ids) < 20 and time.monotonic() < limit:
            time.sleep(0.002)
        assert backend.delivered == list(range(20))
        assert not ended.is_set()
        blocked.set()
        source.on_completed()
        assert ended.wait(20)
    assert len(seen) == 20


def test_a_mirror_is_quiet_about_what_it_copies(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged while all is well."""
    rig = Rig(ops.mirror(ops.chain(same), 1), ops.export(Recorder()))
    with caplog.at_level(logging.DEBUG, "rxotlp"), rig:
        rig.send([1])
        rig.end()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("ratio", "options", "message"),
    [
        (0, {}, r"mirror\(\.\.\., ratio=0\): expected more than 0 and up to 1"),
        (1.5, {}, "ratio=1.5"),
        (float("nan"), {}, "ratio=nan"),
        ("half", {}, "expected a number, got str"),
        (True, {}, "expected a number, got bool"),
        (1, {"seed": 1.5}, "expected a whole number"),
        (1, {"max_items": 0}, "max_items=0"),
        (1, {"max_bytes": 0}, "max_bytes=0"),
        (1, {"linger": 0}, "linger=0"),
    ],
)
def test_a_wrong_argument_is_refused(ratio: Any, options: dict[str, Any], message: str) -> None:
    """Where it is written."""
    with pytest.raises((ValueError, TypeError), match=message):
        ops.mirror(Recorder(), ratio, **options)


def test_what_is_no_operator_and_no_exporter_is_refused() -> None:
    """The ratio first, for instance."""
    with pytest.raises(TypeError, match="expected an operator, got float"):
        ops.mirror(0.1, Recorder())  # type: ignore[arg-type]
