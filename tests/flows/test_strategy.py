"""Which of class and load decides, and when."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from rxotlp.flows import (
    AddSpan,
    BatchProcessing,
    Call,
    ComplexTrace,
    EndTrace,
    FlowRouter,
    FlowType,
    HighLatency,
    HybridControlFlow,
    Metric,
    NonBlocking,
    Operation,
    RecordMetric,
    StartTrace,
)
from rxotlp.flows.strategy import (
    ExecutionMode,
    OperationClassifier,
    OperationType,
    PerformanceThresholds,
    SyncAsyncSelectionStrategy,
    SystemLoad,
)
from rxotlp.schedulers import VirtualScheduler

IDLE, BUSY = SystemLoad(0.1, 0.1), SystemLoad(0.95, 0.2)
OPEN = AddSpan(None, "of no class")


@pytest.mark.parametrize("kind", OperationType)
def test_the_class_decides_whatever_the_load(kind: OperationType) -> None:
    """Critical and real-time work is done now, the rest on the scheduler."""
    classifier = OperationClassifier(lambda _: kind)
    wanted = kind in (OperationType.CRITICAL, OperationType.REALTIME)
    for load in (IDLE, BUSY):
        strategy = SyncAsyncSelectionStrategy(
            classifier=classifier, load=partial(SystemLoad, load.cpu_usage)
        )
        mode = strategy.select_execution_mode(OPEN)
        assert mode is (ExecutionMode.SYNC if wanted else ExecutionMode.ASYNC)


@pytest.mark.parametrize(
    ("load", "mode"),
    [
        (IDLE, ExecutionMode.ASYNC),
        (BUSY, ExecutionMode.SYNC),
        (SystemLoad(0.69, 0.79), ExecutionMode.ASYNC),
        (SystemLoad(0.7, 0.0), ExecutionMode.SYNC),
        (SystemLoad(0.0, 0.8), ExecutionMode.SYNC),
    ],
)
def test_the_load_decides_only_what_the_class_leaves_open(
    load: SystemLoad, mode: ExecutionMode
) -> None:
    """On a machine that is busy one more task only waits."""
    strategy = SyncAsyncSelectionStrategy(load=lambda: load)
    assert strategy.select_execution_mode(OPEN) is mode
    assert strategy.select_execution_mode(StartTrace("a")) is ExecutionMode.SYNC
    assert strategy.select_execution_mode(RecordMetric(Metric("n", 1))) is ExecutionMode.ASYNC


@pytest.mark.parametrize(
    "operation",
    [HighLatency(EndTrace()), BatchProcessing([EndTrace()]), NonBlocking(EndTrace())],
)
def test_some_operations_use_the_scheduler_under_any_load(operation: Operation) -> None:
    """What takes long, or never waits, has nothing to do in the caller's thread."""
    assert SyncAsyncSelectionStrategy().should_use_async(operation, SystemLoad(1.0, 1.0))


def test_thresholds_are_settings() -> None:
    """0.7 and 0.8 are where the analysis draws the line."""
    thresholds = PerformanceThresholds(cpu_usage=0.05, memory_usage=1.0)
    strategy = SyncAsyncSelectionStrategy(thresholds=thresholds)
    assert not strategy.should_use_async(OPEN, IDLE)


@pytest.mark.parametrize("made", [True, False], ids=["by_strategy", "as it is"])
def test_a_strategy_routes_a_hybrid_flow(made: bool) -> None:
    """Each operation goes where the strategy says; what is complex is split."""
    load = [IDLE]
    strategy = SyncAsyncSelectionStrategy(load=lambda: load[0])
    router = FlowRouter.by_strategy(strategy) if made else strategy
    assert router.route_operation(ComplexTrace([])) is FlowType.HYBRID
    assert router.route_operation(StartTrace("a")) is FlowType.SYNC
    assert router.route_operation(OPEN) is FlowType.ASYNC
    load[0] = BUSY
    assert router.route_operation(OPEN) is FlowType.SYNC
    with VirtualScheduler() as clock:
        flow = HybridControlFlow(router=router, scheduler=clock)
        where: list[bool] = []
        flow.execute(Call(lambda _: where.append(clock.running_here)))
        load[0] = IDLE
        flow.execute(Call(lambda _: where.append(clock.running_here)))
    assert where == [False, True]


def test_classes_are_found_by_the_nearest_base() -> None:
    """An operation of one's own is classified like what it is made of."""

    class Refund(RecordMetric):
        pass

    classifier = OperationClassifier({RecordMetric: OperationType.REALTIME})
    assert classifier.classify(Refund(Metric("n", 1))) is OperationType.REALTIME
    assert classifier.classify(OPEN) is None


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SystemLoad(1.5), "SystemLoad(cpu_usage=1.5)"),
        (lambda: SystemLoad(float("nan")), "SystemLoad(cpu_usage=nan)"),
        (lambda: PerformanceThresholds(memory_usage=-1), "memory_usage=-1"),
        (lambda: OperationClassifier(5), "OperationClassifier(5)"),  # type: ignore[arg-type]
        (lambda: OperationClassifier(lambda _: "x").classify(OPEN), "'x'"),  # type: ignore[arg-type,return-value]
        (lambda: SyncAsyncSelectionStrategy(load=3), "load=3"),  # type: ignore[arg-type]
        (lambda: SyncAsyncSelectionStrategy(classifier=3), "classifier=3"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_fail_where_they_are_written(make: Callable[[], Any], text: str) -> None:
    """With call, value and range."""
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert text in str(caught.value)
