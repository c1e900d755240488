"""What `rxotlp run` does to the process that it has for itself."""

import gc
from collections.abc import Iterator

import pytest

from rxotlp import Pipeline, Signal, TelemetryData, sources
from rxotlp import operators as ops
from rxotlp.cli.running import main
from rxotlp.exporters import Memory
from rxotlp.receipt import Receipt, holders


@pytest.fixture
def thawed() -> Iterator[None]:
    """Nothing stays frozen behind a test that fails."""
    yield
    gc.unfreeze()


def test_libraries_are_not_looked_through_while_a_pipeline_runs(thawed: None) -> None:
    """Each full collection stops every sender for as long as it takes: a tenth of a second."""
    seen: list[int] = []

    def look(data: TelemetryData) -> TelemetryData:
        seen.append(gc.get_freeze_count())
        return data

    one = TelemetryData.from_json(Signal.LOGS, "{}")
    stream = sources.from_iterable([one]).pipe(ops.chain(look), ops.export(Memory()))
    main(Pipeline(stream), in_threads=False, drain_timeout=10)
    assert seen[0] > 10_000
    assert gc.get_freeze_count() == 0


def test_what_holds_a_late_element_is_found_though_it_is_frozen(thawed: None) -> None:
    """The log line names who forgot to let go, most often something that was there before."""

    class Keeper:
        __slots__ = ("kept",)
        kept: object

    keeper = Keeper()
    gc.freeze()
    receipt = Receipt()
    keeper.kept = receipt.attach(TelemetryData.from_bytes(Signal.LOGS, b""))
    assert any("Keeper" in name for name in holders(receipt))
    assert gc.get_freeze_count() > 0
