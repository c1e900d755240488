"""Synchronous or asynchronous: how to choose.

Two questions are asked, and they may disagree. The class of an operation decides first:
what is critical or real-time is done now, in the caller's thread, and what is a batch, in
the background or not critical is done on the scheduler. Only what no class was given to is
left to the second question, how busy the machine is.

    strategy.select_execution_mode(operation)      the class, then the load
    strategy.should_use_async(operation, load)     the load alone, as the analysis has it

A strategy is a router as it is: `HybridControlFlow(router=strategy)`.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rxotlp.flows.operations import (
    BatchProcessing,
    ComplexTrace,
    EndTrace,
    HighLatency,
    NonBlocking,
    Operation,
    RecordMetric,
    RecursiveMetric,
    StartTrace,
)
from rxotlp.flows.routing import FlowType

__all__ = [
    "ExecutionMode",
    "OperationClassifier",
    "OperationType",
    "PerformanceThresholds",
    "SyncAsyncSelectionStrategy",
    "SystemLoad",
]


class OperationType(enum.Enum):
    """What an operation means to whoever waits for it."""

    CRITICAL = "critical"
    REALTIME = "realtime"
    NONCRITICAL = "noncritical"
    BATCH = "batch"
    BACKGROUND = "background"


class ExecutionMode(enum.Enum):
    """Where an operation is done: the values are those of `FlowType`."""

    SYNC = "sync"
    ASYNC = "async"


_MODES: Mapping[OperationType, ExecutionMode] = {
    OperationType.CRITICAL: ExecutionMode.SYNC,
    OperationType.REALTIME: ExecutionMode.SYNC,
    OperationType.NONCRITICAL: ExecutionMode.ASYNC,
    OperationType.BATCH: ExecutionMode.ASYNC,
    OperationType.BACKGROUND: ExecutionMode.ASYNC,
}


@dataclass(frozen=True, slots=True)
class SystemLoad:
    """How busy the machine is.

    Args:
        cpu_usage: 0 to 1 of what may be used.
        memory_usage: 0 to 1 of what may be used.

    Raises:
        ValueError: one is out of its range.
    """

    cpu_usage: float = 0.0
    memory_usage: float = 0.0

    def __post_init__(self) -> None:
        _check_shares(self, "cpu_usage", "memory_usage")


@dataclass(frozen=True, slots=True)
class PerformanceThresholds:
    """Up to where work on the scheduler is a good idea.

    On a machine that is busier, one more task only waits; the caller may as well do it.

    Args:
        cpu_usage, memory_usage: 0 to 1; below both of them, asynchronous is preferred.

    Raises:
        ValueError: one is out of its range.
    """

    cpu_usage: float = 0.7
    memory_usage: float = 0.8

    def __post_init__(self) -> None:
        _check_shares(self, "cpu_usage", "memory_usage")


class OperationClassifier:
    """From an operation to its class, or None for what it leaves open.

    Args:
        classes: by the operation's type, the nearest base counting, or a function. By
            default the start and end of a trace and what is complex are CRITICAL,
            `BatchProcessing` is BATCH, `HighLatency` BACKGROUND, measurements NONCRITICAL,
            and the rest is left open.
    """

    def __init__(
        self,
        classes: Mapping[type[Operation], OperationType]
        | Callable[[Operation], OperationType | None]
        | None = None,
    ) -> None:
        if classes is not None and not isinstance(classes, Mapping) and not callable(classes):
            raise TypeError(
                f"OperationClassifier({classes!r}): expected a mapping of operation classes, or a "
                "function of an operation"
            )
        self._classes = _BY_DEFAULT if classes is None else classes

    def classify(self, operation: Operation) -> OperationType | None:
        """The class of `operation`.

        Raises:
            TypeError: the function gave something else than an OperationType or None.
        """
        classes = self._classes
        if not isinstance(classes, Mapping):
            found = classes(operation)
        else:
            found = next(
                (classes[base] for base in type(operation).__mro__ if base in classes), None
            )
        if found is not None and not isinstance(found, OperationType):
            raise TypeError(
                f"OperationClassifier: {operation.label} was classified as {found!r}; expected an "
                "OperationType or None"
            )
        return found


_BY_DEFAULT: Mapping[type[Operation], OperationType] = {
    StartTrace: OperationType.CRITICAL,
    EndTrace: OperationType.CRITICAL,
    ComplexTrace: OperationType.CRITICAL,
    BatchProcessing: OperationType.BATCH,
    HighLatency: OperationType.BACKGROUND,
    RecordMetric: OperationType.NONCRITICAL,
    RecursiveMetric: OperationType.NONCRITICAL,
}


class SyncAsyncSelectionStrategy:
    """Chooses; a router of `HybridControlFlow`, too.

    Args:
        classifier: gives operations their class.
        thresholds: see there.
        load: asked for the load when the class leaves it open; an idle machine without.
    """

    def __init__(
        self,
        *,
        classifier: OperationClassifier | None = None,
        thresholds: PerformanceThresholds | None = None,
        load: Callable[[], SystemLoad] | None = None,
    ) -> None:
        if classifier is not None and not callable(getattr(classifier, "classify", None)):
            raise TypeError(
                f"SyncAsyncSelectionStrategy(classifier={classifier!r}): expected something with "
                "classify(operation)"
            )
        if load is not None and not callable(load):
            raise TypeError(
                f"SyncAsyncSelectionStrategy(load={load!r}): expected a function that gives a "
                "SystemLoad"
            )
        self.classifier = OperationClassifier() if classifier is None else classifier
        self.thresholds = PerformanceThresholds() if thresholds is None else thresholds
        self._load = SystemLoad if load is None else load

    def select_execution_mode(self, operation: Operation) -> ExecutionMode:
        """Where `operation` is to be done: by its class, else by the load."""
        kind = self.classifier.classify(operation)
        if kind is not None:
            return _MODES[kind]
        busy = not self.should_use_async(operation, self._load())
        return ExecutionMode.SYNC if busy else ExecutionMode.ASYNC

    def route_operation(self, operation: Operation) -> FlowType:
        """The flow of that mode; HYBRID for a `ComplexTrace`, which says what is critical."""
        if isinstance(operation, ComplexTrace):
            return FlowType.HYBRID
        return FlowType(self.select_execution_mode(operation).value)

    def should_use_async(self, operation: Operation, load: SystemLoad) -> bool:
        """Whether the load alone speaks for the scheduler.

        `HighLatency`, `BatchProcessing` and `NonBlocking` always do; anything else while the
        machine is below both thresholds.
        """
        if isinstance(operation, HighLatency | BatchProcessing | NonBlocking):
            return True
        return (
            load.cpu_usage < self.thresholds.cpu_usage
            and load.memory_usage < self.thresholds.memory_usage
        )


def _check_shares(values: object, *names: str) -> None:
    for name in names:
        value = getattr(values, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(
                f"{type(values).__name__}({name}={value!r}): expected a share from 0 to 1"
            )
