"""Two ways to drive a machine of `_interpreter`: in the caller's thread, or action by action.

`Execution` posts every operation to a scheduler by itself, so that a long execution lets
others take their turn, and runs on any of ours, with virtual time too.
"""

import inspect
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from reactivex import abc
from reactivex.disposable import Disposable

from rxotlp.errors import UnsupportedOperation
from rxotlp.flows import results
from rxotlp.flows._interpreter import Machine, Step
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.operations import Call, HighLatency, Operation
from rxotlp.flows.results import ExecutionResult
from rxotlp.flows.state import ControlState, Performed
from rxotlp.schedulers import SerialScheduler

__all__ = ["Done", "Execution", "Handle", "call_of", "drive", "drive_async"]

Done = Callable[[ExecutionResult | None, BaseException | None], object]

_LATER = object()  # a function's value is not there yet


def call_of(operation: Operation) -> Call | None:
    """The `Call` that an operation of the interpreter's plain ones is, if any."""
    if isinstance(operation, HighLatency):
        operation = operation.operation
    return operation if isinstance(operation, Call) else None


def drive(machine: Machine, state: ControlState) -> Performed:
    """Run a machine to its end in this thread.

    Raises:
        UnsupportedOperation: an `async` function cannot be awaited here.
    """

    def perform(operation: Operation, context: ExecutionContext) -> Performed:
        call = call_of(operation)
        if call is None:
            return state.perform(operation, context)
        value = call.function(context)
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()
            raise UnsupportedOperation(
                f"{operation.label}: its function is async; expected a plain one in execute(), "
                "or `await flow.aexecute(...)`",
                operation=operation,
                path=context.path,
            )
        return Performed(results.Success(value=value), context)

    try:
        step = next(machine)
        while True:
            try:
                performed = perform(*step)
            except Exception as error:
                step = machine.throw(error)
            else:
                step = machine.send(performed)
    except StopIteration as end:
        result: Performed = end.value
        return result


async def drive_async(machine: Machine, state: ControlState) -> Performed:
    """The same in this task, which awaits what is `async`."""
    try:
        step = next(machine)
        while True:
            operation, context = step
            try:
                call = call_of(operation)
                if call is None:
                    performed = state.perform(operation, context)
                else:
                    value = call.function(context)
                    if inspect.isawaitable(value):
                        value = await value
                    performed = Performed(results.Success(value=value), context)
            except (Exception, CancelledError) as error:
                step = machine.throw(error)
            else:
                step = machine.send(performed)
    except StopIteration as end:
        result: Performed = end.value
        return result


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


class Handle(abc.DisposableBase):
    """An execution that somebody may wait for or cancel.

    Args:
        done: called once, with (result, None) or (None, error).

    Attributes:
        future: the result.
    """

    def __init__(self, done: Done | None = None) -> None:
        self.future: Future[ExecutionResult] = Future()
        self._done = done

    def cancel(self) -> None:
        """Stop before the next operation, and cancel an `async` function that runs.

        Levels that are open end their spans with an error status. From any thread; nothing
        happens when it is over.
        """

    def dispose(self) -> None:
        """The same as `cancel`."""
        self.cancel()

    def end(self, result: ExecutionResult | None, error: BaseException | None) -> None:
        """It is over; told once."""
        if self.future.set_running_or_notify_cancel():
            if isinstance(error, CancelledError):
                self.future.set_exception(CancelledError("the execution was cancelled"))
            elif error is not None:
                self.future.set_exception(error)
            else:
                assert result is not None
                self.future.set_result(result)
        done, self._done = self._done, None
        if done is not None:
            done(result, error)


class Execution(Handle):
    """One execution under way on a scheduler; `future` is done in a turn of it."""

    def __init__(
        self,
        machine: Machine,
        state: ControlState,
        scheduler: SerialScheduler,
        done: Done | None = None,
    ) -> None:
        super().__init__(done)
        self._machine = machine
        self._state = state
        self._scheduler = scheduler
        self._running: abc.DisposableBase = Disposable()
        self._cancelled = False
        self._over = False
        scheduler.post(self._begin)

    def cancel(self) -> None:
        self._scheduler.post(self._cancel)

    # -- in the scheduler's turn -----------------------------------------------------------

    def _begin(self) -> None:
        if not self._over:
            self._advance(lambda: next(self._machine))

    def _advance(self, resume: Callable[[], Step] | None) -> None:
        while resume is not None:
            try:
                step = resume()
            except StopIteration as end:
                self._end(end.value.result, None)
                return
            except (Exception, CancelledError) as error:
                self._end(None, error)
                return
            if not self._cancelled:
                self._scheduler.post(partial(self._perform_unless_over, step))
                return
            # Only what ends the levels that are open is left to do; there may be thousands.
            resume = self._perform(*step)

    def _perform_unless_over(self, step: Step) -> None:
        if not self._over and not self._cancelled:
            self._advance(self._perform(*step))

    def _perform(
        self, operation: Operation, context: ExecutionContext
    ) -> Callable[[], Step] | None:
        """Do it; gives back how to go on, or None when a function's end will tell."""
        call = call_of(operation)
        try:
            if call is None:
                performed = self._state.perform(operation, context)
            else:
                value = self._call(call, operation, context)
                if value is _LATER:
                    return None
                performed = Performed(results.Success(value=value), context)
        except Exception as error:
            raised = error
            return lambda: self._machine.throw(raised)
        return lambda: self._machine.send(performed)

    def _call(self, call: Call, operation: Operation, context: ExecutionContext) -> Any:
        def done(value: Any, error: BaseException | None) -> None:
            if self._over or self._cancelled:
                if inspect.iscoroutine(value):
                    value.close()
                return
            if inspect.isawaitable(value):  # of a plain function that called an async one
                self._running = self._scheduler.run_coroutine(_awaited(value), done)
                return
            self._running = Disposable()
            if error is not None:
                raised = error
                self._advance(lambda: self._machine.throw(raised))
            else:
                self._advance(
                    lambda: self._machine.send(Performed(results.Success(value=value), context))
                )

        function = call.function
        if inspect.iscoroutinefunction(function):
            self._running = self._scheduler.run_coroutine(function(context), done)
        elif isinstance(operation, HighLatency):
            self._running = self._scheduler.run_blocking(lambda: function(context), done)
        else:
            value = function(context)
            if not inspect.isawaitable(value):
                return value
            self._running = self._scheduler.run_coroutine(_awaited(value), done)
        return _LATER

    def _cancel(self) -> None:
        if self._over or self._cancelled:
            return
        self._cancelled = True
        self._running.dispose()
        if inspect.getgeneratorstate(self._machine) == inspect.GEN_CREATED:
            self._machine.close()
            self._end(None, CancelledError())
        else:
            self._advance(lambda: self._machine.throw(CancelledError()))

    def _end(self, result: ExecutionResult | None, error: BaseException | None) -> None:
        self._over = True
        self._running = Disposable()
        self.end(result, error)
