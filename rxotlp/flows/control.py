"""Control flows: who executes operations, and whose turn they take.

SyncControlFlow    the caller, at once
AsyncControlFlow   a scheduler, an action an operation
"""

from rxotlp.flows._execution import Done, Execution, Handle, drive, drive_async
from rxotlp.flows._interpreter import interpret
from rxotlp.flows.base import Flow
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.operations import Operation
from rxotlp.flows.results import ExecutionResult

__all__ = ["AsyncControlFlow", "SyncControlFlow"]


class SyncControlFlow(Flow):
    """Executes in the caller's thread, before `execute` returns.

    Any number of threads may call at once; each waits for its own operations alone.
    `await aexecute(...)` does the same in the caller's task, and awaits `async` functions.
    """

    def begin(
        self,
        operation: Operation,
        done: Done | None = None,
        *,
        context: ExecutionContext | None = None,
    ) -> Handle:
        handle = Handle(done)
        try:
            result = self.execute(operation, context=context)
        except Exception as error:
            handle.end(None, error)
        else:
            handle.end(result, None)
        return handle

    def execute(
        self, operation: Operation, *, context: ExecutionContext | None = None
    ) -> ExecutionResult:
        self._check(operation)
        machine = interpret(operation, self._context(context), self._observe)
        return drive(machine, self.state).result

    async def aexecute(
        self, operation: Operation, *, context: ExecutionContext | None = None
    ) -> ExecutionResult:
        self._check(operation)
        machine = interpret(operation, self._context(context), self._observe)
        return (await drive_async(machine, self.state)).result


class AsyncControlFlow(Flow):
    """Executes on its scheduler, one action an operation, whatever thread or loop asks.

    Executions of several callers take turns, operation by operation. `async` functions of
    `Call` run on the scheduler's loop; a plain one runs in the turn, or in the scheduler's
    pool when it stands in `HighLatency`.
    """

    def begin(
        self,
        operation: Operation,
        done: Done | None = None,
        *,
        context: ExecutionContext | None = None,
    ) -> Handle:
        self._check(operation)
        machine = interpret(operation, self._context(context), self._observe)
        return Execution(machine, self.state, self.scheduler, done)
