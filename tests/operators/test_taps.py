"""`wire_tap`, `measure`, `log`: they look on, and nobody can tell that they do."""

import asyncio
import logging
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from rxotlp import exporters
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed
from rxotlp.data import TelemetryData
from rxotlp.exporters.base import Exporter
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs

TAPS: dict[str, Any] = {
    "wire_tap": lambda: ops.wire_tap(lambda data: None),
    "measure": lambda: ops.measure("meter"),
    "log": lambda: ops.log("here"),
}
taps = pytest.mark.parametrize("make", TAPS.values(), ids=TAPS)


@taps
@pytest.mark.parametrize("outcome", [DELIVERED, failed("down")])
def test_senders_hear_what_they_would_hear_without_it(make: Any, outcome: Outcome) -> None:
    """A tap that is added to find a fault must not be one."""
    sink = Recorder(outcome)
    rig = Rig().run(make(), ops.export(sink, retry=None))
    assert kind(rig.send([1, 2])) is outcome.kind
    assert sink.ids == [1, 2]
    rig.check_books()


@taps
def test_a_native_filter_behind_it_still_filters(make: Any) -> None:
    """What dies inside the emission was meant to go, also behind a tap."""
    rig = Rig().run(make(), rx_ops.filter(lambda data: False))
    assert kind(rig.send([1])) is Kind.FILTERED
    rig.check_books()


@taps
def test_on_completion_it_completes(make: Any) -> None:
    """It holds nothing."""
    rig = Rig().run(make(), ops.export(Recorder()))
    rig.send([1])
    rig.end()
    assert rig.completed()
    rig.check_books()


@taps
def test_on_error_it_passes_the_error_on(make: Any) -> None:
    """It holds nothing."""
    rig = Rig()
    gate: Any = Subject()
    rig.run(rx_ops.merge(gate), make(), ops.export(Recorder()))
    gate.on_error(ValueError("upstream"))
    rig.wait(0)
    assert [str(error) for error in rig.errors] == ["upstream"]


@taps
def test_on_dispose_it_holds_nothing(make: Any) -> None:
    """What comes afterwards fails at the source."""
    rig = Rig().run(make(), ops.export(Recorder()))
    rig.send([1])
    rig.dispose()
    assert kind(rig.send([2])) is Kind.FAILED
    rig.check_books()


@taps
def test_a_second_subscription_is_looked_at_too(make: Any) -> None:
    """The operator has no state that one stream could use up."""
    operator = make()
    one, two = (
        Rig().run(operator, ops.export(Recorder())),
        Rig().run(operator, ops.export(Recorder())),
    )
    assert kind(one.send([1])) is kind(two.send([2])) is Kind.DELIVERED


# -- wire_tap ------------------------------------------------------------------------------------


def test_what_it_shows_may_be_kept() -> None:
    """A debugging list must not turn every request into a missed deadline."""
    kept: list[TelemetryData] = []
    rig = Rig().run(ops.wire_tap(kept.append), ops.export(Recorder()))
    assert kind(rig.send([1, 2])) is Kind.DELIVERED
    assert [ids_of(data) for data in kept] == [[1, 2]]
    rig.check_books()


def test_an_exporter_as_observer_holds_no_sender_up(caplog: pytest.LogCaptureFixture) -> None:
    """Its fate is its own, though a stage of ours takes what it is shown."""

    class Slow(Exporter):
        taken = 0

        async def export(self, data: TelemetryData) -> Outcome:
            await asyncio.sleep(100)
            self.taken += 1
            return failed("down")

    rig = Rig()
    slow = Slow(scheduler=rig.clock)
    rig.run(ops.wire_tap(slow), ops.export(Recorder()))
    assert kind(rig.send([1])) is Kind.DELIVERED
    rig.wait(100)
    assert slow.taken == 1
    assert "without a receipt" not in caplog.text
    rig.check_books()


def test_what_a_subject_makes_of_it_is_no_part_of_the_element() -> None:
    """A failing side stream must not be heard by the sender."""
    side: Subject[TelemetryData] = Subject()
    rig = Rig()
    side.pipe(ops.chain(lambda data: logs([9])), ops.export(Recorder(failed("no")))).subscribe(
        scheduler=rig.clock
    )
    rig.run(ops.wire_tap(side), ops.export(Recorder()))
    assert kind(rig.send([1])) is Kind.DELIVERED
    rig.check_books()


def test_an_observer_that_raises_is_isolated_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Somebody's debugging aid is broken for a million elements: one line says so."""
    shown: list[int] = []

    def raises(data: TelemetryData) -> None:
        shown.extend(ids_of(data))
        raise ValueError("a broken aid")

    sink = Recorder()
    rig = Rig().run(ops.wire_tap(raises, name="aid"), ops.export(sink))
    assert [kind(rig.send([number])) for number in range(3)] == [Kind.DELIVERED] * 3
    assert shown == sink.ids == [0, 1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "aid: what looks on raised ValueError: a broken aid; the stream goes on, "
        "and this is logged once"
    ]
    rig.check_books()


def test_an_observer_hears_of_the_end_and_may_raise_there_too() -> None:
    """A file is closed at the end, or fails to; the stream ends all the same."""
    memory = exporters.Memory()
    ended: list[str] = []

    class Ends(Subject[TelemetryData]):
        def on_completed(self) -> None:
            ended.append("completed")
            raise OSError("no space")

    rig = Rig().run(ops.wire_tap(memory), ops.wire_tap(Ends()), ops.export(Recorder()))
    rig.send([1])
    rig.end()
    assert ended == ["completed"]
    assert rig.completed()


def test_an_observer_hears_of_an_error() -> None:
    """So that it can tell a fault from an end."""
    side: Subject[TelemetryData] = Subject()
    heard: list[Exception] = []
    side.subscribe(on_error=heard.append)
    rig = Rig()
    gate: Any = Subject()
    rig.run(rx_ops.merge(gate), ops.wire_tap(side), ops.export(Recorder()))
    gate.on_error(ValueError("upstream"))
    rig.wait(0)
    assert [str(error) for error in heard] == ["upstream"]


# -- measure -------------------------------------------------------------------------------------


def test_a_meter_counts_elements_items_bytes_and_time() -> None:
    """What a benchmark of two variants needs."""
    meter = ops.measure("in")
    rig = Rig().run(meter, ops.export(Recorder()))
    assert meter.measured == ops.Measured(0, 0, 0, 0.0)
    rig.send([1, 2])
    rig.wait(4)
    rig.send([3, 4])
    size = logs([1, 2]).size + logs([3, 4]).size
    assert meter.measured == ops.Measured(2, 4, size, 4.0)
    assert meter.measured.items_per_second == 1
    assert rig.books["in"].received == 4
    assert repr(meter).startswith("<Meter in: ")


def test_a_meter_of_one_moment_has_no_rate() -> None:
    """Nothing divides by zero."""
    meter = ops.measure("in")
    Rig().run(meter, ops.export(Recorder())).send([1])
    assert meter.measured.items_per_second == 0


# -- log -----------------------------------------------------------------------------------------


def test_a_line_says_how_much_passed_and_how_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    """And nothing of what the telemetry says."""
    caplog.set_level(logging.DEBUG, "rxotlp.test")
    where = logging.getLogger("rxotlp.test")
    rig = Rig().run(ops.log("in", level=logging.DEBUG, logger=where), ops.export(Recorder()))
    rig.send([1])
    rig.send([1, 2])
    rig.end()
    assert [record.getMessage() for record in caplog.records] == [
        f"in: 1 log record, {logs([1]).size} bytes",
        f"in: 2 log records, {logs([1, 2]).size} bytes",
        "in: completed",
    ]


def test_a_line_says_what_the_stream_failed_with(caplog: pytest.LogCaptureFixture) -> None:
    """The error itself goes on to the subscriber."""
    caplog.set_level(logging.INFO, "rxotlp")
    rig = Rig()
    rig.run(stream=lambda feed: rx.throw(ValueError("upstream")).pipe(ops.log("in")))
    rig.wait(0)
    assert "in: failed with ValueError: upstream" in caplog.text


WIRE_TAP: Any = ops.wire_tap
MEASURE: Any = ops.measure
LOG: Any = ops.log


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WIRE_TAP(3), r"wire_tap\(3\): expected an observer or a function"),
        (lambda: MEASURE(""), r"measure\(''\): expected a name"),
        (lambda: MEASURE(3), r"measure\(3\): expected a name, got int"),
        (lambda: LOG(3), r"log\(3\): expected a text, got int"),
        (lambda: LOG("", level="INFO"), r"log\(level='INFO'\): expected a level"),
        (lambda: LOG("", logger="here"), r"log\(logger='here'\): expected a logging.Logger"),
    ],
)
def test_a_wrong_argument_fails_where_the_pipeline_is_written(make: Any, message: str) -> None:
    """Not at the first element."""
    with pytest.raises((ValueError, TypeError), match=message):
        make()
