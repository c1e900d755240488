"""Phases under way: one of them, and all together. All in the scheduler's turn."""

from asyncio import CancelledError
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from graphlib import TopologicalSorter
from types import MappingProxyType
from typing import TYPE_CHECKING

from rxotlp.errors import PhasesFailed, without_tracebacks
from rxotlp.flows import results
from rxotlp.flows._execution import Done, Handle
from rxotlp.flows._groups import InSlot
from rxotlp.flows._interpreter import Machine, in_order, interpret
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.execution import ParallelExecutionFlow
from rxotlp.flows.operations import (
    BatchProcessing,
    ComplexTrace,
    HighLatency,
    NonBlocking,
    Operation,
)
from rxotlp.flows.results import ExecutionResult

if TYPE_CHECKING:
    from rxotlp.flows.organizers.phases import ExecutionPhase

__all__ = ["AllPhases", "Phases"]

# From which phase (or none), to which, and why not, in which context.
Told = Callable[[str | None, str, str, ExecutionContext], object]


@dataclass(frozen=True, slots=True, repr=False)
class Phases(results.Batch):
    """What became of all phases; the results are those that ran, in the order they finished.

    Attributes:
        failed: errors by the phases' ids.
        skipped: what did not run, and the phases that it waited for in vain.
    """

    failed: Mapping[str, Exception] = field(default_factory=lambda: MappingProxyType({}))
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def ran(self) -> tuple[str, ...]:
        """The ids of the phases that ran, in the order in which they finished."""
        return tuple(one.phase_id for one in self.results if isinstance(one, results.Phase))


class AllPhases(Handle):
    """One run through all phases."""

    def __init__(
        self,
        phases: "dict[str, ExecutionPhase]",
        sorter: "TopologicalSorter[str]",
        context: ExecutionContext,
        flow: ParallelExecutionFlow,
        told: Told,
        done: Done | None,
    ) -> None:
        super().__init__(done)
        self._phases = phases
        self._sorter = sorter
        self._context = context
        self._flow = flow
        self._told = told
        self._running: dict[str, _OnePhase] = {}
        self._results: list[results.Phase] = []
        self._failed: dict[str, Exception] = {}
        self._cancelled = False

    def start(self) -> None:
        """Begin with the phases that depend on none."""
        self._start_ready(None)

    def cancel(self) -> None:
        self._flow.scheduler.post(self._cancel)

    def _cancel(self) -> None:
        self._cancelled = True
        for phase in list(self._running.values()):
            phase.cancel()

    def _start_ready(self, before: str | None) -> None:
        ready = () if self._cancelled else self._sorter.get_ready()
        # All are known before one begins: a phase of no operations is done at once.
        for name in ready:
            self._running[name] = _OnePhase(
                self._phases[name],
                self._context.inside(name),
                self._flow,
                partial(self._one_done, name),
            )
        for name in ready:
            self._told(before, name, "", self._context)
            self._running[name].start()
        self._look_for_end()

    def _one_done(
        self, name: str, result: ExecutionResult | None, error: BaseException | None
    ) -> None:
        del self._running[name]
        if error is None:
            assert result is not None
            self._results.append(results.Phase(name, result))
            self._sorter.done(name)
            self._start_ready(name)
            return
        if isinstance(error, Exception):
            self._failed[name] = error
        else:  # by whoever cancelled the run
            self._cancelled = True
        self._look_for_end()

    def _look_for_end(self) -> None:
        if self._running or self.future.done():
            return
        if self._cancelled:
            self.end(None, CancelledError())
            return
        skipped = self._skipped()
        for name, missed in skipped.items():
            self._told(None, name, f"without {', '.join(missed)}", self._context)
        failed = {name: without_tracebacks(error) for name, error in self._failed.items()}
        report = Phases(tuple(self._results), MappingProxyType(failed), MappingProxyType(skipped))
        if failed:
            left = f"; skipped: {', '.join(skipped)}" if skipped else ""
            which = ", ".join(f"{name} ({error})" for name, error in failed.items())
            text = f"{len(failed)} of {len(self._phases)} phases failed: {which}{left}"
            self.end(None, PhasesFailed(text, list(failed.values()), report))
        else:
            self.end(report, None)

    def _skipped(self) -> dict[str, tuple[str, ...]]:
        ran = {one.phase_id for one in self._results}
        return {
            name: tuple(one for one in phase.dependencies if one not in ran)
            for name, phase in self._phases.items()
            if name not in ran and name not in self._failed
        }


class _OnePhase:
    """A phase: what is done in order, then what is done at once, each when it has a slot."""

    def __init__(
        self,
        phase: "ExecutionPhase",
        context: ExecutionContext,
        flow: ParallelExecutionFlow,
        done: Done,
    ) -> None:
        self._phase = phase
        self._context = context
        self._flow = flow
        self._done = done
        self._members: list[InSlot] = []
        self._first: tuple[ExecutionResult, ...] = ()
        self._in_order, self._at_once = _parts(phase)
        self._results: dict[int, ExecutionResult] = {}
        self._errors: dict[int, BaseException] = {}
        self._left = 0
        self._cancelled = False

    def start(self) -> None:
        """Begin, or wait for a slot."""
        if self._in_order:
            machine = self._keeping(in_order(self._in_order, self._context, self._flow._observe))
            self._offer([InSlot(machine, self._flow.state, self._flow.scheduler, self._first_done)])
        elif self._at_once:
            self._start_rest()
        else:  # not within this call: thousands may follow each other
            self._flow.scheduler.post(self._start_rest)

    def cancel(self) -> None:
        """Cancel what runs and what waits."""
        self._cancelled = True
        for member in self._members:
            member.cancel()

    def _keeping(self, machine: Machine) -> Machine:
        performed = yield from machine
        self._context = performed.context  # for what is done beside each other after it
        return performed

    def _offer(self, members: list[InSlot]) -> None:
        self._members = members
        for member in members:
            self._flow._start_when_free(member)

    def _first_done(self, result: ExecutionResult | None, error: BaseException | None) -> None:
        if error is not None:
            self._done(None, error)
            return
        assert isinstance(result, results.Batch)
        self._first = result.results
        self._start_rest()

    def _start_rest(self) -> None:
        if self._cancelled:
            self._done(None, CancelledError())
            return
        self._left = len(self._at_once)
        if not self._left:
            self._done(results.Batch(self._first), None)
            return
        flow = self._flow
        self._offer(
            [
                InSlot(
                    interpret(operation, self._context, flow._observe),
                    flow.state,
                    flow.scheduler,
                    partial(self._one_done, number),
                )
                for number, operation in enumerate(self._at_once)
            ]
        )

    def _one_done(
        self, number: int, result: ExecutionResult | None, error: BaseException | None
    ) -> None:
        if error is not None:
            self._errors[number] = error
        elif result is not None:
            self._results[number] = result
        self._left -= 1
        if self._left:
            return
        failed = [
            error for _, error in sorted(self._errors.items()) if isinstance(error, Exception)
        ]
        if len(failed) == 1:
            self._done(None, failed[0])
        elif failed:
            text = f"{self._phase.id}: {len(failed)} of {len(self._at_once)} operations failed"
            self._done(None, ExceptionGroup(text, failed))
        elif self._errors:
            self._done(None, CancelledError())
        else:
            others = tuple(result for _, result in sorted(self._results.items()))
            self._done(results.Batch(self._first + others), None)


def _parts(phase: "ExecutionPhase") -> tuple[tuple[Operation, ...], tuple[Operation, ...]]:
    """What is done in order, and what is done at once after it."""
    operations: Iterable[Operation] = phase.operations
    if phase.execution_type.value == "sync":
        return tuple(operations), ()
    if phase.execution_type.value == "async":
        return (), tuple(operations)
    first: list[Operation] = []
    rest: list[Operation] = []
    for operation in operations:
        match operation:
            case ComplexTrace(critical, others):
                first += critical
                rest += others
            case HighLatency() | NonBlocking() | BatchProcessing():
                rest.append(operation)
            case _:
                first.append(operation)
    return tuple(first), tuple(rest)
