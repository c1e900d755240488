"""A state machine keeps a random pipeline under fire, and looks at its books all the time.

Senders with and without a deadline, backends that fail, refuse and recover, time that passes,
the end in every way. After every step each stage's books balance; at the end every sender has
been answered exactly once, with the right answer, and nothing is held.

The right answer: success says that each record was delivered, or was to be filtered; with a
warning, that one may have been refused with others' data. A rejection says that a destination
refused one. A failure promises nothing: sent again, a
record may arrive twice. In these pipelines nothing acknowledges before it is delivered and
nothing is dropped, so that there is no other answer; `test_random_graphs.py` has all stages.
"""

import asyncio
import gc
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.abc import SchedulerBase

from rxotlp import Pipeline, Receipt
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Cause, Kind, Outcome, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.operators import Retry
from rxotlp.schedulers import AsyncScheduler, SyncScheduler, TaskScheduler
from rxotlp.testing import Feed, Rig, ids_of, spans
from tests.support.hostile import SOAK, many

pytestmark = pytest.mark.timeout(3600 if SOAK else 120)

FILTERED = 7  # ids that this divides are filtered, wherever in the pipeline that is
FACES = ["up", "down", "bad", "small", "mixed", "busy", "slow"]


class Backend:
    """Shows one face for a while; notes what it took and what it refused for good."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.face = "up"
        self.delivered: Counter[int] = Counter()
        self.refused: set[int] = set()

    async def export(self, data: TelemetryData) -> Outcome:
        face = self.dice.choice(FACES[:4]) if self.face == "mixed" else self.face
        if face == "slow":
            await asyncio.sleep(self.dice.choice([0.01, 0.2]))
        ids = ids_of(data)
        if face == "down":
            return failed("down")
        if face == "busy":
            return failed("busy", retry_after=self.dice.choice([0.05, 0.5]))
        if face == "bad" and ids[0] % 3 == 0:
            self.refused.update(ids)
            return rejected("bad data", cause=Cause.BAD_DATA)
        if face == "small" and len(ids) > 1:
            return rejected("too large", cause=Cause.TOO_LARGE)
        self.delivered.update(ids)
        return DELIVERED


def keep(record: Any) -> bool:
    """Every filter's predicate, so that what is filtered does not depend on the way."""
    return bool(record.attributes["id"] % FILTERED)


def any_kept(data: TelemetryData) -> bool:
    """The same for a whole element, as reactivex's filter sees it."""
    return any(number % FILTERED for number in ids_of(data))


def stage(name: str, dice: random.Random, on: SchedulerBase | None) -> Callable[[Any], Any]:
    """One operator of a name, on a scheduler of its own or the stream's."""

    async def unhurried(data: TelemetryData) -> TelemetryData:
        await asyncio.sleep(dice.choice([0, 0.01, 0.1]))
        return data

    match name:
        case "batch":
            return ops.batch(max_items=dice.choice([2, 5]), max_delay=0.1, scheduler=on)
        case "split":
            return ops.chain(lambda data: data.split(max_items=2))
        case "async chain":
            return ops.chain(unhurried, scheduler=on)
        case "parallel":
            return ops.parallel(
                unhurried, max_concurrent=2, ordered=dice.random() < 0.5, scheduler=on
            )
        case "split_by":
            return ops.split_by(ops.by_attribute("id"))
        case "filter_records":
            return ops.filter_records(keep)
        case "map_records":
            return ops.map_records(lambda record: setattr(record, "name", "changed"))
        case "records":
            return rx.compose(
                ops.records(), ops.collect(max_records=3, max_delay=0.1, scheduler=on)
            )
        case "rate_limit":
            return ops.rate_limit(50, burst=3, scheduler=on)
        case "rx filter":
            return rx_ops.filter(any_kept)
        case "rx map":
            return rx_ops.map(lambda data: data)
        case "rx delay":
            return rx_ops.delay(0.05, scheduler=on)
        case "rx share":
            return rx_ops.share()
        case "rx buffer":
            return rx.compose(rx_ops.buffer_with_count(2), rx_ops.map(TelemetryData.merge))
        case "rx group_by":
            return rx.compose(
                rx_ops.group_by(lambda data: ids_of(data)[0] % 2),
                rx_ops.flat_map(lambda group: group),
            )
    raise AssertionError(name)


STAGES = [
    "batch",
    "split",
    "async chain",
    "parallel",
    "split_by",
    "filter_records",
    "map_records",
    "records",
    "rate_limit",
    "rx filter",
    "rx map",
    "rx delay",
    "rx share",
    "rx buffer",
    "rx group_by",
]
JOINTS = ["export", "route", "broadcast", "failover", "circuit_breaker", "time_limit"]
pipelines = st.tuples(
    st.lists(st.sampled_from(STAGES), max_size=4),
    st.sampled_from(JOINTS),
    st.lists(st.sampled_from(STAGES), max_size=2),
    st.integers(0, 2**16),
)
Shape = tuple[list[str], str, list[str], int]


class Fire:
    """A pipeline of one shape, its backends, and what its senders heard."""

    def __init__(self, shape: Shape, *, on: SchedulerBase | None = None) -> None:
        before, self.joint, inside, seed = shape
        dice = random.Random(seed)
        self.backends = [Backend(dice), Backend(dice)]
        self.answers: Counter[Receipt] = Counter()
        self.sent: dict[Receipt, list[int]] = {}
        self.next = 1
        self.on = on  # where each stage runs, when not where the stream does
        self.operators = [*(stage(name, dice, on) for name in before), self._end(inside, dice)]

    def _end(self, inside: list[str], dice: random.Random) -> Any:
        retry = Retry(first=0.2, soon=0.1, most=0.5)

        def branch(backend: Backend, *, patient: bool = True) -> Any:
            slots: list[Any] = [1, 2, 8, ops.adaptive_concurrency()]
            delivery = ops.export(
                backend,
                max_concurrent=dice.choice(slots),
                retry=retry if patient else None,
                timeout=dice.choice([None, 0.1]),
                scheduler=self.on,
            )
            stages: list[Any] = [*(stage(name, dice, self.on) for name in inside), delivery]
            return rx.compose(*stages)

        first, second = self.backends
        match self.joint:
            case "export":
                return branch(first)
            case "route":
                by = ops.by_attribute("id")
                return ops.route(by, {3: branch(first)}, default=branch(second))
            case "broadcast":
                return ops.broadcast(branch(first), branch(second))
            case "failover":
                levels = [branch(first, patient=False), branch(second, patient=False)]
                return ops.failover(levels, recover_after=0.3, linger=0.5)
            case "circuit_breaker":
                return ops.circuit_breaker(branch(first, patient=False), failures=2, open_for=0.3)
            case "time_limit":
                return ops.time_limit(branch(first), 0.5)
        raise AssertionError(self.joint)

    def send(self, feed: Feed, count: int, patience: float | None) -> None:
        """One request of `count` spans, whose sender waits for `patience` seconds."""
        ids = list(range(self.next, self.next + count))
        self.next += count
        receipt = feed.admit(spans(ids), on_settle=self._answered, patience=patience)
        self.sent[receipt] = ids

    def _answered(self, receipt: Receipt) -> None:
        self.answers[receipt] += 1

    def check(self) -> None:
        """Every sender was answered once, and rightly."""
        everyone = self.backends if self.joint == "broadcast" else [self.backends[0]]
        delivered = self.backends[0].delivered + self.backends[1].delivered
        refused = self.backends[0].refused | self.backends[1].refused
        for receipt, ids in self.sent.items():
            assert self.answers[receipt] == 1, f"{ids}: answered {self.answers[receipt]} times"
            outcome = receipt.outcome
            assert outcome is not None
            wanted = {number for number in ids if number % FILTERED}
            if outcome.success:
                missing = wanted - set(delivered)
                if receipt.warning:  # refused in a part of a batch whose senders nobody knows
                    missing -= refused
                assert not missing, f"{ids}: {outcome}, but {missing} did not arrive"
                if self.joint == "broadcast":
                    for backend in everyone:
                        assert missing or receipt.warning or wanted <= set(backend.delivered)
            elif outcome.kind is Kind.REJECTED:
                assert refused & set(ids), f"{ids}: {outcome}, but nothing of it was refused"


class UnderFire(RuleBasedStateMachine):
    """In virtual time, so that each step is exact and a failure can be replayed."""

    @initialize(shape=pipelines)
    def build(self, shape: Shape) -> None:
        self.fire = Fire(shape)
        self.rig = Rig(*self.fire.operators)
        self.over = False

    @precondition(lambda self: not self.over)
    @rule(count=st.integers(1, 4), patience=st.sampled_from([None, 0.3, 2.0]))
    def send(self, count: int, patience: float | None) -> None:
        self.fire.send(self.rig.feed, count, patience)
        self.rig.clock.advance_by(0)

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.35, 3.0]))
    def wait(self, seconds: float) -> None:
        self.rig.wait(seconds)

    @rule(which=st.integers(0, 1), face=st.sampled_from(FACES))
    def change(self, which: int, face: str) -> None:
        self.fire.backends[which].face = face

    @precondition(lambda self: self.fire.sent)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """A sender's deadline, whenever it pleases."""
        receipt = data.draw(st.sampled_from(list(self.fire.sent)))
        receipt.expire("the sender would not wait")

    @precondition(lambda self: not self.over)
    @rule(how=st.sampled_from(["complete", "error", "dispose"]))
    def end(self, how: str) -> None:
        self.over = True
        if how == "complete":
            self.rig.feed.stop()
        elif how == "error":
            self.rig.feed.fail(ValueError("the source broke"))
        else:
            self.rig.dispose()
            self.rig.subscription = None
        self.rig.clock.advance_by(0)

    @invariant()
    def books_balance(self) -> None:
        if hasattr(self, "rig"):
            assert self.rig.books.unbalanced == [], str(self.rig.books)

    def teardown(self) -> None:
        if not hasattr(self, "rig"):
            return
        if not self.over:
            self.rig.feed.stop()
        self.rig.wait(5)
        if self.rig.subscription is not None:
            self.rig.dispose()  # a drain's deadline: a dead backend would be tried for ever
            self.rig.subscription = None
        self.rig.wait(5)
        gc.collect()  # natives' cycles
        self.rig.wait(1)
        self.fire.check()
        self.rig.check_books()
        self.rig.close()


def test_the_books_under_fire() -> None:
    """Whatever happens in whatever order, in virtual time."""
    run_state_machine_as_test(UnderFire, settings=settings(many(200), stateful_step_count=25))


# -- the same on real schedulers, by the clock on the wall -------------------------------------


steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 4)),
        st.tuples(st.just("face"), st.sampled_from(FACES)),
        st.tuples(st.just("wait"), st.just(0.01)),
    ),
    max_size=12,
)
Steps = list[tuple[str, Any]]


def keep_busy(fire: Fire, feed: Feed, script: Steps, *, threads: bool) -> None:
    """Play the steps, from two threads when that is allowed."""

    def play(mine: Steps) -> None:
        for what, how in mine:
            if what == "send":
                with lock:
                    fire.send(feed, how, 0.5)
            elif what == "face":
                fire.backends[how == "down"].face = how
            else:
                time.sleep(how)

    lock = threading.Lock()  # of the test's own notes
    if not threads:
        play(script)
        return
    players = [threading.Thread(target=play, args=(script[at::2],)) for at in range(2)]
    for player in players:
        player.start()
    for player in players:
        player.join()


def drained(fire: Fire, pipeline: Pipeline) -> Iterator[float]:
    """What must be true once it has stopped; gives seconds that it wants to wait."""
    assert pipeline.report is not None
    assert pipeline.report.unbalanced == [], str(pipeline.books)
    gc.collect()
    waited = 0.0
    while pipeline.books.held and waited < 10:  # an attempt that was under way finishes
        yield 0.02
        waited += 0.02
    assert pipeline.books.held == 0, str(pipeline.books)
    fire.check()


def piped(fire: Fire, feed: Feed) -> Observable[Any]:
    """The feed through all of its operators."""
    return feed.pipe(*fire.operators)


@pytest.mark.parametrize("kind", ["sync", "tasks"])
@many(20)
@given(shape=pipelines, script=steps)
def test_under_fire_in_threads(kind: str, shape: Shape, script: Steps) -> None:
    """Two threads send, others run the pipeline and the coroutines."""
    feed = Feed()
    with SyncScheduler() as scheduler, TaskScheduler() as tasks:
        fire = Fire(shape, on=tasks.at(0) if kind == "tasks" else None)
        pipeline = Pipeline(piped(fire, feed), scheduler=scheduler, drain_timeout=0.3)
        with pipeline:
            keep_busy(fire, feed, script, threads=True)
        for seconds in drained(fire, pipeline):
            time.sleep(seconds)


@many(20)
@given(shape=pipelines, script=steps)
def test_under_fire_on_asyncio(shape: Shape, script: Steps) -> None:
    """Everything on one loop, the senders in a thread."""

    async def main() -> None:
        fire, feed = Fire(shape), Feed()
        pipeline = Pipeline(piped(fire, feed), scheduler=AsyncScheduler(), drain_timeout=0.3)
        async with pipeline:
            await asyncio.to_thread(keep_busy, fire, feed, script, threads=False)
        for seconds in drained(fire, pipeline):
            await asyncio.sleep(seconds)

    asyncio.run(main())
