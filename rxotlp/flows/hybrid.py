"""`HybridControlFlow`: what matters now, and then what may be done together.

Both halves work on one state, so a span that a critical part opened is the parent of what
the other parts open.
"""

from asyncio import CancelledError
from functools import partial

from rxotlp.errors import UnsupportedOperation
from rxotlp.flows import results
from rxotlp.flows._execution import Done, Handle, drive, drive_async
from rxotlp.flows._interpreter import Machine, in_group
from rxotlp.flows.base import Flow
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.control import AsyncControlFlow, SyncControlFlow
from rxotlp.flows.events import EventKind
from rxotlp.flows.loggers import Attached, ControlDecision
from rxotlp.flows.operations import ComplexTrace, Operation
from rxotlp.flows.results import ExecutionResult
from rxotlp.flows.routing import FlowRouter, FlowType, Routes
from rxotlp.flows.state import ControlState, Performed
from rxotlp.schedulers import SerialScheduler

__all__ = ["HybridControlFlow"]


class HybridControlFlow(Flow):
    """Executes each operation as its router says.

    SYNC in the caller's thread, ASYNC on the scheduler. HYBRID takes a `ComplexTrace`: its
    critical parts in the caller's thread, in order, stopping at the first error; then its
    async parts, all at once on the scheduler, each in the context that the critical parts
    left. All are awaited. One failure is raised as it is, several as an ExceptionGroup.

    Args:
        router: decides; see `FlowRouter`. A `SyncAsyncSelectionStrategy` is one, too.
        state, scheduler, logger: as for every flow.
    """

    def __init__(
        self,
        *,
        router: Routes | None = None,
        state: ControlState | None = None,
        scheduler: SerialScheduler | None = None,
        logger: Attached = None,
    ) -> None:
        super().__init__(state=state, scheduler=scheduler, logger=logger)
        if router is not None and not callable(getattr(router, "route_operation", None)):
            raise TypeError(f"HybridControlFlow(router={router!r}): expected a FlowRouter")
        self.router: Routes = FlowRouter() if router is None else router
        self._sync = SyncControlFlow(
            state=self.state, scheduler=self.scheduler, logger=self._loggers
        )
        self._async = AsyncControlFlow(
            state=self.state, scheduler=self.scheduler, logger=self._loggers
        )

    def begin(
        self,
        operation: Operation,
        done: Done | None = None,
        *,
        context: ExecutionContext | None = None,
    ) -> Handle:
        flow, context = self._route(operation, context)
        return self._begin(flow, operation, done, context)

    def execute(
        self, operation: Operation, *, context: ExecutionContext | None = None
    ) -> ExecutionResult:
        flow, context = self._route(operation, context)
        if flow is FlowType.SYNC:
            return self._sync.execute(operation, context=context)
        self._check_may_wait("execute", "await flow.aexecute(operation)")
        return self._wait(self._begin(flow, operation, None, context))

    async def aexecute(
        self, operation: Operation, *, context: ExecutionContext | None = None
    ) -> ExecutionResult:
        flow, context = self._route(operation, context)
        match flow:
            case FlowType.SYNC:
                return await self._sync.aexecute(operation, context=context)
            case FlowType.ASYNC:
                return await self._async.aexecute(operation, context=context)
        whole = self._opened(operation, context)
        parts = _Parts(self, whole, None)
        try:
            critical = await drive_async(self._critical(whole), self.state)
        except (Exception, CancelledError) as error:
            parts.tell(None, error)
            raise
        parts.begin(critical)
        return await self._await(parts)

    # -- parts -----------------------------------------------------------------------------

    def _begin(
        self, flow: FlowType, operation: Operation, done: Done | None, context: ExecutionContext
    ) -> Handle:
        match flow:
            case FlowType.SYNC:
                return self._sync.begin(operation, done, context=context)
            case FlowType.ASYNC:
                return self._async.begin(operation, done, context=context)
        whole = self._opened(operation, context)
        parts = _Parts(self, whole, done)
        try:
            critical = drive(self._critical(whole), self.state)
        except Exception as error:
            parts.end_with(None, error)
        else:
            parts.begin(critical)
        return parts

    def _route(
        self, operation: Operation, given: ExecutionContext | None
    ) -> tuple[FlowType, ExecutionContext]:
        self._check(operation)
        context = self._context(given)
        flow = self.router.route_operation(operation)
        if flow is FlowType.HYBRID and not isinstance(operation, ComplexTrace):
            raise UnsupportedOperation(
                f"{operation.label}: was routed to HYBRID; expected a ComplexTrace, which says "
                "which of its parts are critical",
                operation=operation,
            )
        if self._loggers:
            decision = ControlDecision(operation.label, flow.name, flow.value, "router")
            self._decided(decision, context)
        return flow, context

    def _opened(
        self, operation: Operation, context: ExecutionContext
    ) -> "tuple[ComplexTrace, ExecutionContext]":
        assert isinstance(operation, ComplexTrace)
        inside = context.next()
        self._observe(EventKind.STARTED, operation, inside, None, None)
        return operation, inside

    def _critical(self, whole: "tuple[ComplexTrace, ExecutionContext]") -> Machine:
        operation, context = whole
        return in_group(operation.critical_parts, context.inside(operation.label), self._observe)

    def _begin_part(self, part: Operation, context: ExecutionContext, done: Done) -> Handle:
        return self._async.begin(part, done, context=context)


class _Parts(Handle):
    """The async parts of one `ComplexTrace`, and the result of the whole."""

    def __init__(
        self,
        flow: HybridControlFlow,
        whole: "tuple[ComplexTrace, ExecutionContext]",
        done: Done | None,
    ) -> None:
        super().__init__(done)
        self._flow = flow
        self._operation, self._context = whole
        self._first: tuple[ExecutionResult, ...] = ()
        self._left = len(self._operation.async_parts)
        self._handles: list[Handle] = []
        self._results: dict[int, ExecutionResult] = {}
        self._errors: dict[int, BaseException] = {}
        self._cancelled = False

    def begin(self, critical: Performed) -> None:
        """The critical parts are done: start the others."""
        assert isinstance(critical.result, results.Group)
        self._first = critical.result.results
        if not self._left:
            self._all_done()
            return
        for number, part in enumerate(self._operation.async_parts):
            done = partial(self._one_done, number)
            self._handles.append(self._flow._begin_part(part, critical.context, done))
        if self._cancelled:  # while they were started
            self.cancel()

    def cancel(self) -> None:
        self._cancelled = True
        for handle in list(self._handles):
            handle.cancel()

    def end_with(self, result: ExecutionResult | None, error: BaseException | None) -> None:
        """It is over, for those who look on and for those who wait."""
        self.tell(result, error)
        self.end(result, error)

    def tell(self, result: ExecutionResult | None, error: BaseException | None) -> None:
        """It is over, for those who look on."""
        if error is None:
            kind = EventKind.FINISHED
        elif isinstance(error, CancelledError):
            kind = EventKind.CANCELLED
        else:
            kind = EventKind.FAILED
        self._flow._observe(kind, self._operation, self._context, result, error)

    # In the scheduler's turn, so never two at once.
    def _one_done(
        self, number: int, result: ExecutionResult | None, error: BaseException | None
    ) -> None:
        if error is not None:
            self._errors[number] = error
        elif result is not None:
            self._results[number] = result
        self._left -= 1
        if not self._left:
            self._all_done()

    def _all_done(self) -> None:
        failed = [
            error for _, error in sorted(self._errors.items()) if isinstance(error, Exception)
        ]
        if len(failed) == 1:
            self.end_with(None, failed[0])
        elif failed:
            count = len(self._operation.async_parts)
            text = f"{self._operation.label}: {len(failed)} of {count} async parts failed"
            self.end_with(None, ExceptionGroup(text, failed))
        elif self._errors:
            self.end_with(None, CancelledError())
        else:
            others = tuple(result for _, result in sorted(self._results.items()))
            self.end_with(results.Group(self._first + others), None)
