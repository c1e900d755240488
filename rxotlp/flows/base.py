"""What every flow of operations has in common.

flow.execute(operation)          for those who can wait, in any thread but the flow's own
await flow.aexecute(operation)   for those who await, on any loop
flow.begin(operation, done)      for those who are told
ops.execute(flow)                for a stream of operations
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from rxotlp.errors import PipelineError, UnsupportedOperation
from rxotlp.flows._execution import Done, Handle
from rxotlp.flows._operator import Results, as_operator
from rxotlp.flows._telemetry import Telemetry
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.events import ControlEvent, EventKind, Events
from rxotlp.flows.loggers import (
    Attached,
    ControlDecision,
    ControlFlowLogger,
    ExecutionFlowLogger,
    attached,
)
from rxotlp.flows.operations import Operation
from rxotlp.flows.results import ExecutionResult
from rxotlp.flows.state import ControlState, Statistics
from rxotlp.schedulers import SerialScheduler, VirtualScheduler

__all__ = ["Flow", "Runner"]


class Runner:
    """What flows and organizers have: a state, a scheduler, and what leaves them.

    Args:
        state: what they work on; one of the flow's own without.
        scheduler: whose turn they take; the state's without.
        logger: hears what happens; see `rxotlp.flows.loggers`. Several are a list.

    Attributes:
        state: as given or made.
        scheduler: likewise.
    """

    def __init__(
        self,
        *,
        state: ControlState | None = None,
        scheduler: SerialScheduler | None = None,
        logger: Attached = None,
    ) -> None:
        name = type(self).__name__
        if state is not None and not isinstance(state, ControlState):
            raise TypeError(f"{name}(state={state!r}): expected a ControlState")
        if scheduler is not None and not isinstance(scheduler, SerialScheduler):
            raise TypeError(
                f"{name}(scheduler={scheduler!r}): expected a scheduler of rxotlp.schedulers"
            )
        self.state = ControlState(scheduler=scheduler) if state is None else state
        self.scheduler = self.state.scheduler if scheduler is None else scheduler
        self._loggers = attached(name, logger, self.scheduler)
        self._observing = [one for one in self._loggers if isinstance(one, ExecutionFlowLogger)]

    @property
    def telemetry(self) -> Telemetry:
        """The OTLP that operations make, as a stream of `TelemetryData`."""
        return self.state.telemetry

    @property
    def events(self) -> Events:
        """What happens to operations, as a bounded stream."""
        return self.state.events

    def statistics(self) -> Statistics:
        """Counters of the flow's state."""
        return self.state.statistics()

    def complete(self) -> None:
        """End what is open and let all telemetry leave; the flow may be used on."""
        self.state.complete()

    # -- for subclasses ------------------------------------------------------------------------

    def _context(
        self, given: ExecutionContext | None, attributes: Mapping[str, Any] | None = None
    ) -> ExecutionContext:
        return self.state.new_context(attributes) if given is None else given

    def _wait(self, handle: Handle) -> ExecutionResult:
        future = handle.future
        scheduler = self.scheduler
        # There, time is what this thread makes it.
        if isinstance(scheduler, VirtualScheduler) and not scheduler.wait_for(future.done):
            raise PipelineError(
                f"{type(self).__name__}: nothing is left on the virtual clock that could end "
                "this execution; it waits for something outside"
            )
        return future.result()

    async def _await(self, handle: Handle) -> ExecutionResult:
        try:
            return await asyncio.wrap_future(handle.future)
        except asyncio.CancelledError:
            handle.cancel()
            raise

    def _check(self, operation: object) -> None:
        if not isinstance(operation, Operation):
            raise UnsupportedOperation(
                f"{type(self).__name__}: expected an operation of rxotlp.flows, got {operation!r}",
                operation=operation,
            )

    def _check_may_wait(self, call: str, way_out: str) -> None:
        scheduler = self.scheduler
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if scheduler.running_here or (here is not None and here is scheduler.loop):
            raise PipelineError(
                f"{type(self).__name__}.{call}() on the thread that runs its actions would wait "
                f"for itself; use `{way_out}`, or ops.execute(flow) in a stream"
            )

    def _observe(
        self,
        kind: EventKind,
        operation: Operation,
        context: ExecutionContext,
        result: ExecutionResult | None,
        error: BaseException | None,
    ) -> None:
        events = self.state.events
        if events.observed:
            now = self.state.scheduler.timestamp_ns()
            events.put(ControlEvent(kind, operation, context, now, result, error))
        for logger in self._observing:
            if logger.enabled and logger.hears(kind):
                now = self.state.scheduler.timestamp_ns()
                logger.observe(kind, operation, context, now, result, error)

    def _decided(self, decision: ControlDecision, context: ExecutionContext) -> None:
        for logger in self._loggers:
            if logger.enabled and isinstance(logger, ControlFlowLogger):
                now = self.scheduler.timestamp_ns()
                logger.log_control_decision(decision, context, time=now)

    def _went(self, start: str, end: str, context: ExecutionContext) -> None:
        for logger in self._loggers:
            if logger.enabled and isinstance(logger, ControlFlowLogger):
                now = self.scheduler.timestamp_ns()
                logger.log_control_flow_transition(start, end, context, time=now)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.scheduler!r}>"


class Flow(Runner, ABC):
    """Executes operations.

    Args:
        state, scheduler, logger: as for every `Runner`.
    """

    _at_once = 1

    @abstractmethod
    def begin(
        self,
        operation: Operation,
        done: Done | None = None,
        *,
        context: ExecutionContext | None = None,
    ) -> Handle:
        """Start executing, and return without waiting.

        Args:
            done: called once with (result, None) or (None, error), in the scheduler's turn;
                by a SyncControlFlow in this thread, before `begin` returns.
            context: to execute in; one of its own without.

        Returns:
            A handle that cancels it.
        """

    def execute(
        self, operation: Operation, *, context: ExecutionContext | None = None
    ) -> ExecutionResult:
        """Execute, and wait for the result.

        Raises:
            PipelineError: called where waiting would wait for itself.
            FlowError: see its kinds; and whatever a `Call`'s function raises.
        """
        self._check_may_wait("execute", "await flow.aexecute(operation)")
        return self._wait(self.begin(operation, context=context))

    async def aexecute(
        self, operation: Operation, *, context: ExecutionContext | None = None
    ) -> ExecutionResult:
        """Execute, and await the result; cancelling the task cancels the execution."""
        return await self._await(self.begin(operation, context=context))

    def as_operator(
        self,
        *,
        max_concurrent: int | None = None,
        max_waiting: int = 10_000,
        on_error: Literal["continue", "stop"] = "continue",
    ) -> Results:
        """An operator from operations to results; `ops.execute(flow)` is the same.

        Every operation gives one result. By default one at a time and so in order; with more
        at once, as they are ready.

        Args:
            max_concurrent: executions under way at once, 1 or more.
            max_waiting: operations that wait for their turn; one more is a `Failure`.
            on_error: "continue" gives a `Failure` for what failed and goes on; "stop" ends
                the stream with the error.

        On completion and error, what runs and waits is executed first. On dispose, what runs
        is cancelled and what waits never starts.
        """
        at_once = self._at_once if max_concurrent is None else max_concurrent
        return as_operator(self, max_concurrent=at_once, max_waiting=max_waiting, on_error=on_error)
