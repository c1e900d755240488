"""`Memory`."""

from collections.abc import Callable

from rxotlp._core.outcomes import DELIVERED, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.exporters import Memory
from rxotlp.wire.signals import Signal

Make = Callable[..., TelemetryData]


def test_memory_keeps_what_was_delivered_and_its_records(spans: Make, logs: Make) -> None:
    """Tests look at elements and at single records."""
    memory = Memory()
    assert memory.export(spans(2)) is DELIVERED
    memory.export(logs())
    assert memory.items == 3
    assert [record.name for record in memory.records(Signal.TRACES)] == ["0000", "0001"]
    assert len(list(memory.records())) == 3
    memory.clear()
    assert memory.elements == []
    assert memory.attempts == 0


def test_memory_answers_by_its_script(spans: Make) -> None:
    """What was refused must not look delivered; what was taken in part was taken."""
    answers: list[Outcome] = [failed("busy"), rejected("bad"), rejected("some", items=1)]
    script = iter(answers)
    memory = Memory(outcome=lambda data: next(script))
    assert [memory.export(spans(2)) for _ in range(3)] == answers
    assert memory.attempts == 3
    assert memory.items == 2


def test_memory_holds_no_receipt(spans: Make) -> None:
    """An element that is kept for looking must not keep its sender waiting."""
    memory = Memory()
    memory.export(spans(1))
    assert memory.elements[0]._share is None
