"""Whatever operators are composed, every sender hears once, and the books balance.

Hypothesis composes graphs of our operators and reactivex's, with exporters that fail and
refuse, and ends them in every way. A lost element shows as a receipt that nobody settled or
as an item that somebody holds.
"""

import asyncio
import gc
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, failed, rejected
from rxotlp.data import TelemetryData
from rxotlp.testing import Recorder, Rig, spans

OUTCOMES = [DELIVERED, DELIVERED, DELIVERED, failed("backend is down"), rejected("backend says no")]


@dataclass
class Graph:
    """One chain of stages, by name, which ends in an export or in branches."""

    stages: list[str]
    branches: "list[Graph]" = field(default_factory=list)
    joint: str = "route"


def make(stage: str, dice: random.Random) -> Callable[[Any], Any]:
    """The operator of a name; what is random in it comes from `dice`."""

    async def sometimes(data: TelemetryData) -> TelemetryData | None:
        await asyncio.sleep(dice.random())
        if dice.random() < 0.2:
            raise ValueError("no")
        return data if dice.random() < 0.8 else None

    def raising(data: TelemetryData) -> TelemetryData:
        if dice.random() < 0.2:
            raise ValueError("no")
        return data

    def splitting(data: TelemetryData) -> Any:
        return data.split(max_items=1) if dice.random() < 0.5 else data

    def priority(data: TelemetryData) -> float:
        if dice.random() < 0.1:
            raise ValueError("no")
        return dice.choice([0, 1, 5.5, -3])

    def limit() -> Any:
        """One that changes, pauses, is wrong, and ends, fails or does neither."""
        values: Any = [dice.choice([0, 0.5, 1, 2, 9, float("nan"), "no"]) for _ in range(4)]
        values.append(2)  # a pause for ever behind a queue ends with the drain's deadline alone
        stream: Any = rx.interval(dice.choice([0.05, 0.3])).pipe(
            rx_ops.take(len(values)), rx_ops.map(lambda at: values[at])
        )
        end = dice.choice(["complete", "error", "never"])
        if end != "complete":
            stream = rx.concat(
                stream, rx.never() if end == "never" else rx.throw(ValueError("its end"))
            )
        return ops.Limit(stream, dice.choice([0, 1, 4]))

    kind, _, option = stage.partition(" ")
    match kind:
        case "queue" if option == "priority":
            return ops.queue(
                max_items=5,
                max_out=dice.choice([1, 2]),
                priority=priority,
                max_attempts=2,
                backoff=0.1,
                linger=1.0,
            )
        case "queue":
            return ops.queue(
                max_items=5,
                when_full=option,
                max_out=dice.choice([None, 1, 2]),
                max_attempts=2,
                backoff=0.1,
                linger=1.0,
            )
        case "rate_limit":
            return ops.rate_limit(5, burst=3, when_over=option)
        case "chain":
            return ops.chain({"raise": raising, "split": splitting, "async": sometimes}[option])
        case "stop":
            return ops.chain(raising, on_error="stop")
        case "parallel" if option == "priority":
            by_id = ops.by_attribute("id") if dice.random() < 0.5 else None
            return ops.parallel(sometimes, max_concurrent=2, priority=priority, key=by_id)
        case "parallel" if option == "limit":
            return ops.parallel(sometimes, max_concurrent=limit(), ordered=dice.random() < 0.5)
        case "parallel":
            return ops.parallel(sometimes, max_concurrent=2, ordered=option == "ordered")
        case "scatter_gather":
            return ops.scatter_gather(sometimes, raising, merge=lambda parts: parts[0])
        case "batch" if option == "limit":
            return ops.batch(max_items=limit(), max_delay=0.4, key=ops.by_scope())
        case "batch":
            return ops.batch(max_items=4, max_delay=0.4)
        case "split_by":
            return ops.split_by(ops.by_attribute("id"))
        case "records":
            return ops.records()
        case "collect":
            return ops.collect(max_records=limit() if option == "limit" else 3, max_delay=0.3)
        case "discarding":
            native = {"debounce": rx_ops.debounce(0.2), "sample": rx_ops.sample(0.3)}[option]
            return ops.discarding(option, native)
        case "wire_tap":
            return ops.wire_tap(lambda _: None)
        case "circuit_breaker":
            return protected(ops.chain(sometimes), dice)
        case "failover":
            return ops.failover(
                [ops.chain(sometimes), ops.time_limit(ops.batch(max_delay=0.4), 0.3)],
                recover_after=0.2,
                linger=1.0,
            )
        case "mirror":
            copies: Any = dice.choice([rx_ops.delay(0.3), rx_ops.scan(lambda _, new: new)])
            copies = dice.choice([copies, rx_ops.take(2), ops.chain(sometimes)])
            return ops.mirror(copies, 0.7, max_items=dice.choice([1, 4]), linger=0.5)
        case "time_limit":
            return ops.time_limit(ops.chain(sometimes), dice.choice([0.2, 0.6]))
        case "filter":
            return rx_ops.filter(lambda _: dice.random() < 0.8)
        case "delay":
            return rx_ops.delay(0.1)
        case "share":
            return rx_ops.share()
        case "take":
            return rx_ops.take(3)
    raise AssertionError(stage)


def protected(inner: Callable[[Any], Any], dice: random.Random) -> Callable[[Any], Any]:
    """In a breaker that opens soon."""
    return ops.circuit_breaker(
        inner, failures=dice.choice([1, 3]), open_for=0.3, probes=dice.choice([1, 2])
    )


STAGES = [
    "queue wait",
    "queue reject",
    "queue drop_newest",
    "queue drop_oldest",
    "rate_limit wait",
    "rate_limit reject",
    "rate_limit drop",
    "chain raise",
    "chain split",
    "chain async",
    "parallel ordered",
    "parallel unordered",
    "scatter_gather",
    "queue priority",
    "parallel priority",
    "parallel limit",
    "batch",
    "batch limit",
    "split_by",
    "records",
    "collect",
    "collect limit",
    "discarding debounce",
    "discarding sample",
    "wire_tap",
    "circuit_breaker",
    "failover",
    "mirror",
    "time_limit",
    "filter",
    "delay",
    "share",
    "take",
    "stop",
]


JOINTS = ["route", "broadcast", "failover", "circuit_breaker", "time_limit", "mirror"]


def build(graph: Graph, dice: random.Random) -> Callable[[Any], Any]:
    """The whole graph as one operator."""
    stages: list[Any] = [make(stage, dice) for stage in graph.stages]
    branches = [build(branch, dice) for branch in graph.branches]
    last: Any
    if not branches:
        last = ops.export(Recorder(lambda _: dice.choice(OUTCOMES)))
    elif graph.joint == "broadcast":
        last = ops.broadcast(*branches, required=dice.choice([None, [0]]))
    elif graph.joint == "failover":
        levels = [*branches, protected(branches[0], dice)]
        last = ops.failover(levels, recover_after=dice.choice([0.1, 1.0]), linger=1.0)
    elif graph.joint == "circuit_breaker":
        last = protected(branches[0], dice)
    elif graph.joint == "time_limit":
        last = ops.time_limit(branches[0], dice.choice([0.3, 2.0]))
    elif graph.joint == "mirror":
        mirror = ops.mirror(branches[-1], 0.7, max_items=dice.choice([2, 9]), linger=0.5)
        last = rx.compose(mirror, branches[0])
    else:
        names = list(range(len(branches)))
        by: Any = dice.choice(
            [
                lambda _: dice.randrange(len(branches) + 1),
                ops.round_robin,
                ops.weighted({name: dice.choice([1, 3]) for name in names}),
                ops.consistent_hash("trace_id"),
                ops.consistent_hash(ops.by_attribute("id")),
                ops.first_match([(lambda _: dice.random() < 0.5, name) for name in names]),
            ]
        )
        last = ops.route(by, dict(zip(names, branches, strict=True)))
    return lambda source: source.pipe(*stages, last)


leaves = st.builds(Graph, st.lists(st.sampled_from(STAGES), max_size=3))
graphs = st.recursive(
    leaves,
    lambda inner: st.builds(
        Graph,
        st.lists(st.sampled_from(STAGES), max_size=3),
        st.lists(inner, min_size=1, max_size=3),
        st.sampled_from(JOINTS),
    ),
    max_leaves=5,
)
sendings = st.lists(st.tuples(st.integers(1, 3), st.sampled_from([0.0, 0.05, 0.7])), max_size=8)


@settings(max_examples=100, deadline=None)
@given(
    graph=graphs,
    sending=sendings,
    ending=st.sampled_from(["complete", "error", "dispose"]),
    seed=st.integers(0, 2**16),
)
def test_every_receipt_settles_and_nothing_is_held(
    graph: Graph,
    sending: list[tuple[int, float]],
    ending: str,
    seed: int,
) -> None:
    """A sender that is never answered, or an item that nobody counts, is a lost one."""
    rig = Rig().run(build(graph, random.Random(seed)))
    receipts = []
    sent = 0
    for count, pause in sending:
        receipts.append(rig.send(spans(range(sent, sent + count))))
        sent += count
        rig.wait(pause)
    if ending == "complete":
        rig.end()
    elif ending == "error":
        rig.feed._observers.on_error(ValueError("the source broke"))
    else:
        rig.dispose()
        rig.subscription = None  # what native operators hold goes with it
        gc.collect()
    rig.wait(100)
    gc.collect()  # natives' cycles, and tracebacks of what was raised
    rig.wait(1)
    assert [at for at, receipt in enumerate(receipts) if receipt.outcome is None] == []
    rig.check_books()
