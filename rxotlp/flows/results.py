"""What executing an operation gives back.

    Success      a plain operation was done
    Metric       a measurement was taken, with the value that was recorded
    Nested       the children of one level, in order
    Group        operations of one group, in order
    Batch        the results of a whole execution, or of a BatchProcessing
    Phase        a phase of an ExecutionFlowOrganizer
    Branch       the edge that a condition chose
    Loop         the rounds of a loop
    ControlFlow  the nodes that a ControlFlowOrganizer visited, in order
    Failure      only in a stream of results, which one bad operation must not end;
                 `execute` and `aexecute` raise instead

All are found on `ExecutionResult` too: `case ExecutionResult.Success(span_id=span_id)`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rxotlp.errors import without_tracebacks
from rxotlp.flows import operations

if TYPE_CHECKING:
    from rxotlp.flows import results

__all__ = [
    "Batch",
    "Branch",
    "ControlFlow",
    "ExecutionResult",
    "Failure",
    "Group",
    "Loop",
    "Metric",
    "Nested",
    "Phase",
    "Success",
]


class ExecutionResult:
    """The base of every result."""

    __slots__ = ()

    Success: "ClassVar[type[results.Success]]"
    Metric: "ClassVar[type[results.Metric]]"
    Nested: "ClassVar[type[results.Nested]]"
    Group: "ClassVar[type[results.Group]]"
    Batch: "ClassVar[type[results.Batch]]"
    Phase: "ClassVar[type[results.Phase]]"
    Branch: "ClassVar[type[results.Branch]]"
    Loop: "ClassVar[type[results.Loop]]"
    ControlFlow: "ClassVar[type[results.ControlFlow]]"
    Failure: "ClassVar[type[results.Failure]]"


@dataclass(frozen=True, slots=True)
class Success(ExecutionResult):
    """A plain operation was done.

    Attributes:
        span_id, trace_id: of the span that it opened or ended, as hex digits; "" without.
        value: what a `Call`'s function returned.
    """

    span_id: str = ""
    trace_id: str = ""
    value: Any = None


@dataclass(frozen=True, slots=True)
class Metric(ExecutionResult):
    """A measurement was taken; `metric.value` is what was recorded."""

    metric: operations.Metric


@dataclass(frozen=True, slots=True, repr=False)
class _Several(ExecutionResult):
    """Results of several operations, in order."""

    results: tuple[ExecutionResult, ...]

    def __iter__(self) -> Iterator[ExecutionResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.results)} results)"  # a tree may be deep


class Nested(_Several):
    """The results of one level's children."""

    __slots__ = ()


class Group(_Several):
    """The results of one group."""

    __slots__ = ()


class Batch(_Several):
    """The results of a whole execution, or of a `BatchProcessing`."""

    __slots__ = ()


class Loop(_Several):
    """The results of a loop's rounds, one after the other: a `Group` each."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, repr=False)
class ControlFlow(_Several):
    """The results of the nodes a control flow visited, in the order of the visits.

    Attributes:
        path: the ids of all nodes in the order of the visits, those within loops too.
    """

    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Phase(ExecutionResult):
    """A phase ran.

    Attributes:
        phase_id: which.
        result: of its operations.
    """

    phase_id: str
    result: ExecutionResult


@dataclass(frozen=True, slots=True)
class Branch(ExecutionResult):
    """A condition chose an edge.

    Attributes:
        chosen: the node it leads to; None when it leads nowhere.
        outcome: what the condition said.
    """

    chosen: str | None
    outcome: bool


@dataclass(frozen=True, slots=True)
class Failure(ExecutionResult):
    """An operation failed, and the stream of results goes on.

    Attributes:
        operation: which.
        error: why; it holds no frames.
    """

    operation: Any
    error: Exception

    def __post_init__(self) -> None:
        without_tracebacks(self.error)


for _class in (
    Success,
    Metric,
    Nested,
    Group,
    Batch,
    Phase,
    Branch,
    Loop,
    ControlFlow,
    Failure,
):
    setattr(ExecutionResult, _class.__name__, _class)
