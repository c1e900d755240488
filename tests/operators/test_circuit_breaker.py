"""`circuit_breaker`: what fails anyway fails at once. Its decisions: tests/core/test_breaker.py."""

import logging
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, failed, rejected
from rxotlp.testing import Recorder, Rig, SlowRecorder, kind

DOWN = failed("down")


def open_now(rig: Rig) -> int:
    """What the books say."""
    return rig.books["circuit_breaker"].limits["open"]


def test_after_failures_in_a_row_nothing_is_sent_and_senders_are_told_when_to_come() -> None:
    """A timeout saved for each of them, and a backend left alone to recover."""
    backend = Recorder(DOWN)
    with Rig(ops.circuit_breaker(backend, failures=2, open_for=10.0)) as rig:
        for number in (1, 2):
            rig.send([number])
        assert open_now(rig) == 1
        rig.wait(4)
        outcome = rig.send([3]).outcome
        assert outcome == failed("circuit_breaker: open", retry_after=6.0)
        assert backend.calls == [[1], [2]]
        assert rig.books["circuit_breaker"].failed == 1
        rig.end()
        rig.check()


def test_one_probe_goes_first_and_its_success_lets_all_others_follow() -> None:
    """A backend that comes back is not met by everybody at once."""
    backend = SlowRecorder(2.0, lambda _: answer[0])
    answer = [DOWN]
    way = ops.circuit_breaker(backend, failures=1, open_for=10.0)
    with Rig(way) as rig:
        rig.send([1])
        rig.wait(2)
        answer[0] = DELIVERED
        rig.wait(10)
        probe, other = rig.send([2]), rig.send([3])
        assert other.outcome == failed("circuit_breaker: half open", retry_after=1.0)
        rig.wait(2)
        assert kind(probe) is Kind.DELIVERED
        assert open_now(rig) == 0
        assert backend.recorder.calls == [[1], [2]]
        rig.send([4])
        rig.end()
        rig.check()
    assert backend.recorder.delivered == [2, 4]


def test_it_is_open_for_as_long_as_the_backend_asked() -> None:
    """OTLP has a client wait at least what the server says."""
    backend = Recorder(failed("busy", retry_after=60.0))
    with Rig(ops.circuit_breaker(backend, failures=1, open_for=10.0)) as rig:
        rig.send([1])
        rig.wait(20)
        outcome = rig.send([2]).outcome
        assert outcome is not None
        assert outcome.retry_after == 40.0


def test_rejections_are_answers() -> None:
    """A sender of bad data must not shut out everybody else."""
    backend = Recorder(rejected("bad"))
    with Rig(ops.circuit_breaker(backend, failures=1)) as rig:
        assert [kind(rig.send([number])) for number in (1, 2, 3)] == [Kind.REJECTED] * 3
        assert open_now(rig) == 0


def test_failures_behind_it_count() -> None:
    """What it protects may be the rest of the pipeline."""
    backend = Recorder(DOWN)
    way = ops.circuit_breaker(ops.chain(lambda data: data), failures=1)
    with Rig(way, ops.export(backend, retry=None)) as rig:
        rig.send([1])
        assert open_now(rig) == 1


def test_a_queue_before_it_waits_as_it_is_told() -> None:
    """What was acknowledged is delivered once the backend is back, and not before."""
    backend = Recorder(lambda _: DOWN if rig.clock.clock < 50 else DELIVERED)
    breaker = ops.circuit_breaker(backend, failures=2, open_for=20.0)
    rig = Rig(ops.queue(max_attempts=20, backoff=0.5, max_backoff=1.0), breaker)
    with rig:
        for number in range(10):
            rig.send([number])
        rig.wait(200)
        assert sorted(backend.delivered) == list(range(10))
        assert len(backend.calls) <= 10 + 5  # and hardly ever asked while it was down
        rig.end()
        rig.check()


def test_opening_and_closing_is_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    """Who runs this learns what happens and why, in a line, not in a thousand."""
    answers = iter([DOWN, DOWN, DELIVERED])
    backend = Recorder(lambda _: next(answers))
    rig = Rig(ops.circuit_breaker(backend, failures=1, open_for=1.0, name="eu"))
    with caplog.at_level(logging.INFO, "rxotlp"), rig:
        for _ in range(5):
            rig.send([1])
        rig.wait(1)
        rig.send([2])
        rig.wait(1)
        rig.send([3])
        rig.end()
    assert [record.message for record in caplog.records if record.message.startswith("eu")] == [
        "eu is open after down",
        "eu is half open",
        "eu is open after down",
        "eu is half open",
        "eu is closed",
    ]


def test_a_branch_that_ended_fails_what_comes() -> None:
    """Not lost, and no reason to end the stream."""
    with Rig(ops.circuit_breaker(rx.compose(rx_ops.take(1), ops.export(Recorder())))) as rig:
        assert kind(rig.send([1])) is Kind.DELIVERED
        outcome = rig.send([2]).outcome
        assert outcome is not None
        assert "branch ended" in outcome.reason
        rig.end()
        rig.check()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"failures": 0}, r"circuit_breaker\(failures=0\): expected 1 or more"),
        ({"open_for": 0}, r"circuit_breaker\(open_for=0\): expected seconds above 0"),
        ({"probes": 0}, r"circuit_breaker\(probes=0\): expected 1 or more"),
        ({"probes": True}, "expected a whole number"),
        ({"name": 3}, "expected a text"),
        ({"scheduler": 3}, "expected a scheduler"),
    ],
)
def test_a_wrong_argument_is_refused(arguments: dict[str, Any], message: str) -> None:
    """Where it is written."""
    with pytest.raises((ValueError, TypeError), match=message):
        ops.circuit_breaker(ops.batch(), **arguments)


@pytest.mark.parametrize("wrong", [3, "export", Recorder, None])
def test_what_is_no_operator_and_no_exporter_is_refused(wrong: Any) -> None:
    """A class in place of an exporter among them."""
    with pytest.raises(TypeError, match="expected an"):
        ops.circuit_breaker(wrong)
