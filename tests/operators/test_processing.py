"""What processors that work outside an emission make of an element and let go of.

Inside an emission a dead element was filtered. An async or blocking processor works outside
any, so the stage marks what is made meanwhile: a sender must neither be told to send again
for ever, nor be told success for what a processor kept and lost later.
"""

import asyncio
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.data import TelemetryData
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs


async def derive(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(1)
    return data.derive(data.to_bytes())


async def nothing(data: TelemetryData) -> None:
    await asyncio.sleep(1)


async def by_hand(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(1)
    return logs(ids_of(data))


async def derive_and_drop(data: TelemetryData) -> None:
    await derive(data)


def derive_and_drop_blocking(data: TelemetryData) -> None:
    data.derive(data.to_bytes())


@pytest.mark.parametrize(
    "operator",
    [
        ops.chain(derive, nothing),
        ops.parallel(derive_and_drop),
        ops.parallel(derive_and_drop_blocking),
    ],
    ids=["chain", "parallel", "blocking"],
)
def test_what_a_processor_makes_and_filters_is_filtered(operator: Any) -> None:
    """A sender that heard 'retry' would send it for ever."""
    rig = Rig().run(operator, ops.export(Recorder()))
    receipt = rig.send([1, 2])
    rig.wait(5)
    assert kind(receipt) is Kind.FILTERED
    rig.check_books()


def test_what_stands_between_two_processors_is_not_missed() -> None:
    """The second makes its own by hand; what the first made has served its purpose."""
    sink = Recorder()
    rig = Rig().run(ops.chain(derive, by_hand), ops.export(sink))
    receipt = rig.send([1, 2])
    rig.wait(5)
    assert receipt.outcome is not None
    assert receipt.outcome.success
    assert sink.ids == [1, 2]
    rig.check_books()


def test_what_a_processor_keeps_and_loses_later_is_a_failure() -> None:
    """It was not filtered in its turn, so nobody may be told success."""
    kept: list[TelemetryData] = []

    async def keep(data: TelemetryData) -> TelemetryData:
        await asyncio.sleep(1)
        kept.append(data.derive(data.to_bytes()))
        return data

    rig = Rig().run(ops.chain(keep), ops.export(Recorder()))
    receipt = rig.send([1])
    rig.wait(5)
    assert kind(receipt) is None
    kept.clear()
    rig.wait(0)
    assert kind(receipt) is Kind.FAILED


def test_what_another_branch_loses_meanwhile_is_a_failure() -> None:
    """The stage's mark is on what its processors make, not on what others do."""
    rig, sink = Rig(), Recorder()

    def stream(source: Any) -> Any:
        shared = source.pipe(rx_ops.share())
        lossy = shared.pipe(
            rx_ops.map(derived), rx_ops.delay(0.5), rx_ops.filter(lambda _data: False)
        )
        return rx.merge(shared.pipe(ops.chain(derive), ops.export(sink)), lossy)

    rig.run(stream=stream)
    receipt = rig.send([1])
    rig.wait(5)
    assert sink.ids == [1]
    assert kind(receipt) is Kind.FAILED
    rig.check_books()


def derived(data: TelemetryData) -> TelemetryData:
    return data.derive(data.to_bytes())


def test_a_mark_around_the_stage_still_holds_behind_it() -> None:
    """`discarding` around an async chain: what debounce supersedes behind it is dropped."""
    rig, sink = Rig(), Recorder()
    inner = rx.compose(ops.chain(derive), rx_ops.debounce(3.0))
    rig.run(ops.discarding("debounced", inner), ops.export(sink))
    first, second = rig.send([1]), rig.send([2])
    rig.wait(10)
    assert kind(first) is Kind.DROPPED
    second.expire("deadline")
    assert kind(second) is Kind.DELIVERED
    assert sink.ids == [2]
