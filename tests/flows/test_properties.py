"""However operations are executed, what they make is the same.

Random trees, executed by the parallel and the hybrid flow, are held against the sequential
one: same spans, same parents, same metric totals.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rxotlp.flows import (
    AddSpan,
    BatchProcessing,
    Call,
    ComplexTrace,
    EndTrace,
    HighLatency,
    HybridControlFlow,
    Metric,
    MetricKind,
    NestedTrace,
    NonBlocking,
    Operation,
    ParallelExecutionFlow,
    RecordMetric,
    RecursiveExecutionFlow,
    RecursiveMetric,
    SequentialExecutionFlow,
    StartTrace,
)
from rxotlp.flows.base import Flow
from rxotlp.schedulers import VirtualScheduler
from rxotlp.wire.validate import validate
from tests.support.spans import record

names = st.sampled_from(["order", "pay", "ship", "look up"])
metrics = st.builds(
    lambda number, kind: Metric(kind.value, number, kind=kind),
    st.integers(0, 1_000),
    st.sampled_from([MetricKind.SUM, MetricKind.HISTOGRAM]),
)
leaves = st.one_of(
    st.builds(RecordMetric, metrics),
    st.builds(RecursiveMetric, metrics, st.sampled_from([0.5, 1.0, 2.0])),
    st.builds(lambda metric: Call(lambda _: RecordMetric(metric)), metrics),
    st.builds(
        lambda name: BatchProcessing([NestedTrace([AddSpan(None, name), EndTrace()], name="in")]),
        names,
    ),
)


def inner(children: st.SearchStrategy[Operation]) -> st.SearchStrategy[Operation]:
    several = st.lists(children, max_size=4)
    return st.one_of(
        st.builds(NestedTrace, several, names),
        st.builds(NestedTrace, several),
        st.builds(BatchProcessing, several),
        st.builds(ComplexTrace, several, several),
        st.builds(HighLatency, children),
        st.builds(NonBlocking, children),
        st.builds(
            lambda name, parts: BatchProcessing([StartTrace(name), *parts, EndTrace()]),
            names,
            several,
        ),
    )


trees = st.recursive(leaves, inner, max_leaves=12)
groups = st.lists(st.lists(trees, max_size=3), max_size=4)

Made = tuple[Any, Any, Any, Any]


def made(
    make: Callable[[VirtualScheduler], Flow], execute: Callable[[Any], object]
) -> tuple[Made, Flow]:
    """Everything that an execution left: paths of spans, metric totals, counters."""
    with VirtualScheduler() as clock:
        flow = make(clock)
        seen = record(flow)
        execute(flow)
        flow.complete()
        clock.advance_by(0)
        for data in seen.elements:
            assert validate(data.signal, data.to_bytes()).rejected == 0
        by_id = {message.span_id: message for message in seen.messages()}

        def path(message: Any) -> tuple[str, ...]:
            parent = by_id.get(message.parent_span_id)
            return (*(path(parent) if parent is not None else ()), message.name)

        spans = Counter((path(one), one.status.code) for one in by_id.values())
        sums = {
            name: [(p.as_int, p.as_double) for p in metric.sum.data_points]
            for name, metric in seen.metrics().items()
        }
        counts = {
            name: [(p.count, p.sum, list(p.bucket_counts)) for p in metric.histogram.data_points]
            for name, metric in seen.metrics().items()
        }
        return (spans, sums, counts, flow.statistics().performed), flow


@settings(max_examples=60, deadline=None)
@given(groups, st.integers(1, 4))
def test_groups_at_once_make_what_groups_in_order_make(
    parts: list[list[Operation]], limit: int
) -> None:
    """The limit changes when, never what."""

    def in_order(flow: SequentialExecutionFlow) -> None:
        for group in parts:
            flow.add(*group)
            flow.execute_sequential()

    wanted, _ = made(lambda clock: SequentialExecutionFlow(scheduler=clock), in_order)
    got, flow = made(
        lambda clock: ParallelExecutionFlow(parts, concurrency_limit=limit, scheduler=clock),
        lambda flow: flow.execute_parallel(),
    )
    assert got == wanted
    assert flow.statistics().open_spans == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(trees, max_size=3), st.lists(trees, max_size=4), st.booleans())
def test_hybrid_makes_what_sequential_makes(
    critical: list[Operation], others: list[Operation], rooted: bool
) -> None:
    """Async parts are children of what the critical ones opened, in both."""
    first: list[Operation] = [StartTrace("root"), *critical] if rooted else critical
    whole = ComplexTrace(first, others)
    wanted, _ = made(
        lambda clock: SequentialExecutionFlow(scheduler=clock), lambda flow: flow.execute(whole)
    )
    got, _ = made(
        lambda clock: HybridControlFlow(scheduler=clock), lambda flow: flow.execute(whole)
    )
    assert got == wanted


@settings(max_examples=60, deadline=None)
@given(trees)
def test_recursive_makes_what_sequential_makes(tree: Operation) -> None:
    """A limit that nothing reaches changes nothing."""
    wanted, _ = made(
        lambda clock: SequentialExecutionFlow(scheduler=clock), lambda flow: flow.execute(tree)
    )
    got, _ = made(
        lambda clock: RecursiveExecutionFlow(99, scheduler=clock), lambda flow: flow.execute(tree)
    )
    assert got == wanted
