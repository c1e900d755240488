"""`ExecutionFlowOrganizer`: phases, each as soon as those that it depends on are done.

Not in waves: a phase waits for its own dependencies alone. What cannot work, a dependency
that is no phase or phases that wait for each other, is found before anything runs.
"""

import enum
import graphlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rxotlp.errors import CircularDependency, PhaseNotFound
from rxotlp.flows._execution import Done, Handle
from rxotlp.flows._operator import Results, as_operator
from rxotlp.flows.base import Runner
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.execution import ParallelExecutionFlow
from rxotlp.flows.loggers import Attached, ControlDecision
from rxotlp.flows.operations import Operation
from rxotlp.flows.organizers._mermaid import flowchart
from rxotlp.flows.organizers._phases import AllPhases, Phases
from rxotlp.flows.organizers.nodes import check_id, ids
from rxotlp.flows.results import ExecutionResult
from rxotlp.flows.state import ControlState
from rxotlp.operators._limits import Limited
from rxotlp.schedulers import SerialScheduler

__all__ = ["ExecutionFlowOrganizer", "ExecutionPhase", "ExecutionType", "Phases"]


class ExecutionType(enum.Enum):
    """How a phase's operations follow each other.

    SYNC    one after the other
    ASYNC   all at once
    HYBRID  first what is critical, in order; then, at once, the async parts of each
            `ComplexTrace`, and what is a `HighLatency`, `NonBlocking` or `BatchProcessing`
    """

    SYNC = "sync"
    ASYNC = "async"
    HYBRID = "hybrid"


@dataclass(frozen=True, slots=True)
class ExecutionPhase:
    """Operations that are executed when other phases are done.

    Args:
        id: its name.
        operations: what it executes.
        execution_type: how they follow each other.
        dependencies: the ids of the phases that must have run.
    """

    id: str
    operations: Iterable[Operation] = ()
    execution_type: ExecutionType = ExecutionType.SYNC
    dependencies: str | Iterable[str] = field(default=(), kw_only=False)

    def __post_init__(self) -> None:
        check_id("ExecutionPhase", self.id)
        call = f"ExecutionPhase({self.id!r}"
        if isinstance(self.operations, Operation) or not isinstance(self.operations, Iterable):
            raise TypeError(
                f"{call}, operations={self.operations!r}): expected several operations, as a list"
            )
        operations = tuple(self.operations)
        for one in operations:
            if not isinstance(one, Operation):
                raise TypeError(f"{call}, operations=...): expected operations, got {one!r}")
        if not isinstance(self.execution_type, ExecutionType):
            raise TypeError(
                f"{call}, execution_type={self.execution_type!r}): expected an ExecutionType"
            )
        object.__setattr__(self, "operations", operations)
        object.__setattr__(self, "dependencies", ids(f"{call}, dependencies", self.dependencies))


class ExecutionFlowOrganizer(Runner):
    """Executes phases in the order of their dependencies.

    A phase that fails stops those that depend on it; the others are finished. Each phase has
    a copy of the run's context: a span that is open around the run is the parent of what they
    open, and what one opens is nothing to another.

    Args:
        phases: `add` adds more, in any order.
        concurrency_limit: what may run at once, 1 or more: a SYNC phase, or the critical part
            of a HYBRID one, counts as one, and so does each operation that runs beside
            others. May be an Observable, as in `ParallelExecutionFlow`.
        state, scheduler, logger: as for every flow; a `ControlFlowLogger` hears which phase
            leads to which, and which are skipped.

    A run changes nothing here: it may be repeated, and several may be under way. In a
    stream, each element is a mapping, the attributes of a run's context.
    """

    def __init__(
        self,
        phases: Iterable[ExecutionPhase] = (),
        *,
        concurrency_limit: Limited = 8,
        state: ControlState | None = None,
        scheduler: SerialScheduler | None = None,
        logger: Attached = None,
    ) -> None:
        super().__init__(state=state, scheduler=scheduler, logger=logger)
        self.phases: dict[str, ExecutionPhase] = {}
        self._flow = ParallelExecutionFlow(
            concurrency_limit=concurrency_limit,
            state=self.state,
            scheduler=self.scheduler,
            logger=self._loggers,
        )
        self.add(*phases)

    def add(self, *phases: ExecutionPhase) -> None:
        """Add phases; they may depend on some that are added later."""
        for phase in phases:
            if not isinstance(phase, ExecutionPhase):
                raise TypeError(f"ExecutionFlowOrganizer({phase!r}): expected an ExecutionPhase")
            if phase.id in self.phases:
                raise ValueError(f"ExecutionFlowOrganizer: there is a phase {phase.id!r} already")
            self.phases[phase.id] = phase

    def begin(
        self,
        attributes: Mapping[str, Any] | None = None,
        done: Done | None = None,
        *,
        context: ExecutionContext | None = None,
    ) -> Handle:
        """Start all phases, and return without waiting.

        Args:
            attributes: of the run's context, for functions and log entries.
            done: called once with (result, None) or (None, error), in the scheduler's turn.
            context: to execute in, in place of one of its own; with its own attributes.

        Raises:
            PhaseNotFound, CircularDependency: see `execute_phases`; nothing has run.
        """
        if attributes is not None and not isinstance(attributes, Mapping):
            raise TypeError(
                f"ExecutionFlowOrganizer.begin({attributes!r}): expected a mapping of attributes"
            )
        if attributes is not None and context is not None:
            raise ValueError("ExecutionFlowOrganizer.begin: expected attributes or a context")
        sorter = self._sorted()
        whole = self._context(context, attributes)
        run = AllPhases(dict(self.phases), sorter, whole, self._flow, self._told, done)
        self.scheduler.post(run.start)
        return run

    def execute_phases(self, *, context: ExecutionContext | None = None) -> ExecutionResult:
        """Execute all phases, and wait: `Phases`, a `Batch` of a `Phase` each.

        Raises:
            PhaseNotFound: a phase depends on one that does not exist; nothing has run.
            CircularDependency: phases wait for each other; nothing has run.
            PhasesFailed: an ExceptionGroup of what failed; its `result` says which phases
                ran, failed, and were skipped.
            PipelineError: called where waiting would wait for itself.
        """
        self._check_may_wait("execute_phases", "await organizer.aexecute_phases()")
        return self._wait(self.begin(context=context))

    async def aexecute_phases(self, *, context: ExecutionContext | None = None) -> ExecutionResult:
        """The same, awaited; cancelling the task cancels what runs."""
        return await self._await(self.begin(context=context))

    def as_operator(
        self,
        *,
        max_concurrent: int = 1,
        max_waiting: int = 10_000,
        on_error: Literal["continue", "stop"] = "continue",
    ) -> Results:
        """An operator from mappings of attributes to results, as `Flow.as_operator`."""
        return as_operator(
            self, max_concurrent=max_concurrent, max_waiting=max_waiting, on_error=on_error
        )

    def to_mermaid(self) -> str:
        """The phases and what they wait for, as a Mermaid flowchart."""
        nodes = {
            phase.id: ("[", f"{phase.id}, {phase.execution_type.value}", "]")
            for phase in self.phases.values()
        }
        edges = []
        for phase in self.phases.values():
            for before in phase.dependencies:
                nodes.setdefault(before, ("[", f"{before}?", "]"))
                edges.append((before, "", phase.id))
        return flowchart(nodes, edges)

    def _sorted(self) -> "graphlib.TopologicalSorter[str]":
        for phase in self.phases.values():
            for before in phase.dependencies:
                if before not in self.phases:
                    raise PhaseNotFound(
                        f"{phase.id}: depends on {before!r}, which is no phase", operation=phase
                    )
        sorter = graphlib.TopologicalSorter(
            {phase.id: phase.dependencies for phase in self.phases.values()}
        )
        try:
            sorter.prepare()
        except graphlib.CycleError as error:
            cycle = tuple(error.args[1])
            raise CircularDependency(
                f"phases wait for each other: {' -> '.join(cycle)}; expected one of them to "
                "depend on none of the others",
                operation=self.phases[cycle[0]],
                path=cycle,
            ) from None
        return sorter

    def _told(self, start: str | None, end: str, skipped: str, context: ExecutionContext) -> None:
        if skipped:
            self._decided(ControlDecision(end, "skipped", None, skipped), context)
        elif start is not None:
            self._went(start, end, context)
