"""Several destinations: each has its own queue, retry, breaker and fate.

One that is dead, slow or refuses slows no other, loses nothing of another's, and gets what it
missed when it is back. Every claim is checked id by id.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed
from rxotlp.data import TelemetryData
from rxotlp.pipeline import Pipeline
from rxotlp.testing import Feed, Recorder, Rig, ids_of, kind, spans
from tests.support import scripted

DOWN = failed("down")
ELEMENTS = 200
BACK = 60.0  # when the dead one is back, in virtual seconds


class Dated:
    """A destination that notes when it took what.

    Args:
        clock: seconds.
        down_until: it is dead before that.
        how: "refuses" at once, or "hangs" for ten seconds first.
    """

    def __init__(self, clock: Callable[[], float], down_until: float = 0.0, how: str = "") -> None:
        self.clock = clock
        self.down_until = down_until
        self.how = how
        self.asked = 0
        self.took: dict[int, float] = {}
        self.twice: list[int] = []

    async def export(self, data: TelemetryData) -> Outcome:
        self.asked += 1
        if self.clock() < self.down_until:
            if self.how == "hangs":
                await asyncio.sleep(10)
            return DOWN
        for number in ids_of(data):
            if number in self.took:
                self.twice.append(number)
            self.took[number] = self.clock()
        return DELIVERED


def to(exporter: Any) -> Any:
    """A destination's own branch, as the guide has it."""
    return rx.compose(
        ops.queue(max_attempts=100),
        ops.circuit_breaker(ops.export(exporter, retry=None), failures=3, open_for=10.0),
    )


@pytest.mark.parametrize("how", ["refuses", "hangs"])
@pytest.mark.parametrize("shape", ["broadcast", "route"])
def test_one_dead_destination_slows_no_other(shape: str, how: str) -> None:
    """What is for the good one arrives when it is sent, as if it were alone."""
    rig = Rig()
    good = Dated(lambda: rig.clock.clock)
    dead = Dated(lambda: rig.clock.clock, BACK, how)
    if shape == "broadcast":
        way = ops.broadcast(to(dead), to(good))
        for_good = for_dead = set(range(ELEMENTS))
    else:
        way = ops.route(lambda data: ids_of(data)[0] % 2, {0: to(dead), 1: to(good)})
        for_dead = set(range(0, ELEMENTS, 2))
        for_good = set(range(1, ELEMENTS, 2))
    with rig:
        rig.run(way)
        sent = {}
        for number in range(ELEMENTS):
            sent[number] = rig.clock.clock
            assert kind(rig.send(spans([number]))) is Kind.DELIVERED
            rig.wait(0.1)
        assert good.took == {number: sent[number] for number in for_good}
        assert dead.took == {}
        assert dead.asked < 20  # left alone by its breaker, which is its own
        assert rig.books["circuit_breaker"].limits["open"] == 1
        assert rig.books["circuit_breaker#2"].limits["open"] == 0
        rig.wait(3 * BACK)  # those that rest longest
        assert set(dead.took) == for_dead
        assert good.twice == dead.twice == []
        rig.end()
        rig.check()


def test_a_full_queue_of_a_dead_destination_is_its_own() -> None:
    """Its policy loses its telemetry, and in its books; the other's is complete."""
    rig = Rig()
    good, dead = Dated(lambda: rig.clock.clock), Dated(lambda: rig.clock.clock, 1e9, "hangs")
    small = rx.compose(
        ops.queue(max_items=10, when_full="drop_oldest", max_out=1),
        ops.export(dead, retry=None, name="dead"),
    )
    with rig:
        rig.run(ops.broadcast(small, to(good)))
        for number in range(ELEMENTS):
            assert kind(rig.send(spans([number]))) in (Kind.DELIVERED, Kind.DROPPED)
            rig.wait(0.1)
        assert set(good.took) == set(range(ELEMENTS))
        assert rig.books["queue"].dropped > 150
        assert rig.books["queue#2"].dropped == 0
        rig.dispose()
        rig.wait(20)
        rig.check_books()


def test_a_destination_may_fail_over_while_another_does_not() -> None:
    """A primary and its stand-in beside an archive: all ids are in both places."""
    rig = Rig()
    archive, stand_in = Dated(lambda: rig.clock.clock), Dated(lambda: rig.clock.clock)
    primary = Dated(lambda: rig.clock.clock, 10.0, "hangs")
    levels: list[Any] = [ops.time_limit(ops.export(primary, retry=None), 2.0), stand_in]
    with rig:
        rig.run(ops.broadcast(to(archive), ops.failover(levels, recover_after=5.0)))
        for number in range(ELEMENTS):
            rig.send(spans([number]))
            rig.wait(0.1)
        rig.wait(10)
        assert [kind(receipt) for receipt in rig.receipts] == [Kind.DELIVERED] * ELEMENTS
        assert set(archive.took) == set(range(ELEMENTS))
        assert sorted([*primary.took, *stand_in.took]) == list(range(ELEMENTS))
        assert max(stand_in.took) < min(primary.took)
        rig.end()
        rig.check()


def test_without_queues_a_sender_hears_the_worst_and_the_good_one_has_it_all_the_same() -> None:
    """No acknowledgement before it is everywhere; and still nobody waits for the dead one."""
    rig = Rig()
    good, dead = Recorder(), Dated(lambda: rig.clock.clock, 1e9)
    breaker = ops.circuit_breaker(dead, failures=2)
    with rig:
        rig.run(ops.broadcast(breaker, ops.export(good)))
        receipts = [rig.send(spans([number])) for number in range(10)]
        assert [kind(receipt) for receipt in receipts] == [Kind.FAILED] * 10
        assert good.ids == list(range(10))
        assert dead.asked == 2
        rig.end()
        rig.check()


@pytest.mark.parametrize("fault", ["hangs", "refuses", "drops"])
def test_over_sockets_one_dead_destination_slows_no_other(fault: str) -> None:
    """Real servers: all of it is at the good one before the dead one has taken anything."""
    step = {
        "hangs": scripted.HANG,
        "refuses": scripted.refuse(wait=0.05),
        "drops": scripted.DROP,
    }[fault]
    alive = threading.Event()

    def script(_request: scripted.Request) -> scripted.Step:
        return scripted.TAKE if alive.is_set() else step

    def ids(there: scripted.Backend) -> set[int]:
        return {number for request in there.taken for number in ids_of(request.data)}

    def to_socket(there: scripted.Backend, timeout: float) -> Any:
        return rx.compose(
            ops.queue(max_attempts=10_000, backoff=0.02, max_backoff=0.1),
            ops.circuit_breaker(
                ops.export(there.exporter(timeout=timeout), retry=None), failures=3, open_for=0.2
            ),
        )

    everything = set(range(ELEMENTS))
    feed = Feed()
    with scripted.backend("grpc", script=script) as dead, scripted.backend("http") as good:
        stream = feed.pipe(ops.broadcast(to_socket(dead, 0.5), to_socket(good, 30.0)))
        with Pipeline(stream) as pipeline:
            receipts = [feed.admit(spans([number])) for number in range(ELEMENTS)]
            wait_until(lambda: ids(good) == everything)
            assert dead.taken == []
            assert [kind(receipt) for receipt in receipts] == [Kind.DELIVERED] * ELEMENTS
            alive.set()
            dead.released.set()
            wait_until(lambda: ids(dead) == everything)
        assert pipeline.report is not None
        assert (pipeline.report.undelivered, pipeline.report.unbalanced) == (0, [])
        assert len(good.taken) == ELEMENTS  # and nothing twice


def wait_until(predicate: Callable[[], bool], seconds: float = 30.0) -> None:
    """Look again and again."""
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
