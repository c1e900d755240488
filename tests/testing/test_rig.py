"""The rig says what happened, to the second, and what is left over."""

import pytest
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, failed
from rxotlp.errors import LooseElementError
from rxotlp.testing import (
    Moment,
    Recorder,
    Rig,
    SlowRecorder,
    draw,
    ids_of,
    kind,
    logs,
    read,
    spans,
)


def test_what_came_out_is_compared_to_the_second() -> None:
    """And a difference is drawn, so that nobody has to count dashes."""
    with Rig(ops.batch(max_items=2, max_delay=5)) as rig:
        rig.play("-a-b--c----|")
        rig.expect("---A-------(C|)", A="ab")
        with pytest.raises(AssertionError) as caught:
            rig.expect("---A-----C-|", A="ab")
    assert "got 'ab' at 3 s, 'c' at 11 s, '|' at 11 s" in str(caught.value)


def test_a_source_may_fail() -> None:
    """`#` is an error, in and out."""
    with Rig(rx_ops.map(lambda data: data)) as rig:
        rig.play("a-b-#")
        rig.expect("a-b-#")
    assert [str(error) for error in rig.errors] == ["the error of a marble diagram"]


def test_values_stand_for_letters() -> None:
    """Telemetry of one's own, where an id is not enough."""
    with Rig(ops.filter_records(lambda record: record.attributes["big"])) as rig:
        small, big = spans([ord("s")], big=False), spans([ord("b")], big=True)
        heard = rig.play("xy|", {"x": small, "y": big})
        rig.expect("-b|")
    assert kind(heard[0]) is Kind.FILTERED


def test_senders_hear_and_the_rig_knows() -> None:
    """`send` gives what a sender would get."""
    backend = Recorder(lambda data: failed("down") if 1 in ids_of(data) else DELIVERED)
    with Rig(ops.export(backend, retry=None)) as rig:
        assert kind(rig.send([1, 2])) is Kind.FAILED
        assert kind(rig.send([3])) is Kind.DELIVERED
        assert backend.calls == [[1, 2], [3]]
        assert backend.delivered == [3]
        rig.end()
        rig.check()


def test_check_finds_what_is_left_over() -> None:
    """A held element, a silent sender and an armed timer are what leaks look like."""
    with Rig(ops.batch(max_delay=60)) as rig:
        rig.send([1])
        with pytest.raises(AssertionError, match="1 items are held"):
            rig.check()
    kept: list[object] = []
    with Rig(rx_ops.do_action(kept.append)) as rig:
        rig.send([1])
        with pytest.raises(AssertionError, match=r"held|heard nothing"):
            rig.check()
    with Rig(rx_ops.map(lambda data: data)) as rig:
        rig.clock.schedule_relative(5, lambda *_: None)
        with pytest.raises(AssertionError, match="1 timers are armed"):
            rig.check()


def test_an_element_made_from_nothing_is_an_error() -> None:
    """In production it is a warning; a test should not pass over it."""
    with Rig() as rig:
        raised: list[BaseException] = []
        rig.clock.on_error = raised.append
        rig.run(
            rx_ops.map(lambda data: data.to_bytes()),
            rx_ops.delay(1.0),
            rx_ops.map(lambda _: logs([1])),
            ops.export(Recorder()),
        )
        rig.send([1])
        rig.wait(2)
        assert [type(error) for error in raised] == [LooseElementError]


def test_a_slow_recorder_takes_its_time() -> None:
    """Concurrency is counted, in virtual time."""
    slow = SlowRecorder(10)
    with Rig(ops.export(slow, max_concurrent=2)) as rig:
        for number in range(4):
            rig.send([number])
        rig.wait(9)
        assert (slow.running, slow.recorder.ids) == (2, [])
        rig.end()
        assert rig.clock.clock == 20
        assert slow.most == 2
        rig.check()


@pytest.mark.parametrize("text", ["a-b-|", "(ab)-c|", "--#", "-(a|)", "a"])
def test_diagrams_are_drawn_as_they_are_read(text: str) -> None:
    """So what a failure shows can be pasted into the test."""
    assert draw(read(text).moments) == text.rstrip("-")


def test_what_a_diagram_cannot_show_is_written_out() -> None:
    """Between seconds nothing can be drawn."""
    assert draw([Moment(0.5, "a"), Moment(2, "bc")]) == "a@0.5  bc@2"
    assert draw([]) == "(nothing)"


@pytest.mark.parametrize(
    ("text", "message"), [("a b", "' ' at 1 means nothing"), ("-(ab", "bracket at 1 is never")]
)
def test_a_diagram_that_cannot_be_read_says_where(text: str, message: str) -> None:
    """A typing error must not play something else."""
    with pytest.raises(ValueError, match="marble diagram") as caught:
        read(text)
    assert message in str(caught.value)


def test_elements_give_their_ids_back() -> None:
    """Both signals, in order, the same in every run."""
    assert ids_of(logs([3, 1])) == [3, 1]
    assert ids_of(spans([3, 1])) == [3, 1]
    assert spans([7]).to_bytes() == spans([7]).to_bytes()
