"""Takes composed operations apart, for every flow alike.

A generator that yields one plain operation after the other, with its context, is sent what
doing it gave, and returns the result of the whole. Whoever drives it decides how: in the
caller's thread, an action each, a task. So a flow's order, contexts, depth and results are
decided in one place, and hold for all.

Levels are generators on a list, not Python calls in each other: a tree ten thousand levels
deep takes a list that long.

    plain       StartTrace, AddSpan, EndTrace, RecordMetric, RecursiveMetric, Call, and
                HighLatency around a Call (its driver may want to know)
    taken apart ComplexTrace, NestedTrace, BatchProcessing, HighLatency, NonBlocking
"""

from asyncio import CancelledError
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from typing import Any

from rxotlp.errors import ExecutionFailed, FlowError, MaxDepthExceeded, UnknownSpan
from rxotlp.flows import results
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.events import EventKind
from rxotlp.flows.operations import (
    AddSpan,
    BatchProcessing,
    Call,
    ComplexTrace,
    EndTrace,
    HighLatency,
    NestedTrace,
    NonBlocking,
    Operation,
    SpanStatus,
    StartTrace,
)
from rxotlp.flows.results import ExecutionResult
from rxotlp.flows.state import Performed

__all__ = ["Machine", "Observe", "Step", "in_group", "in_order", "interpret", "take_apart"]

Step = tuple[Operation, ExecutionContext]
Machine = Generator[Step, Performed, Performed]
Observe = Callable[
    [EventKind, Operation, ExecutionContext, ExecutionResult | None, BaseException | None], object
]


def interpret(
    operation: Operation,
    context: ExecutionContext,
    observe: Observe,
    *,
    max_depth: int | None = None,
) -> Machine:
    """Take `operation` apart.

    Args:
        observe: told when any operation starts and ends.
        max_depth: levels of `NestedTrace`; None for no limit.

    An exception thrown in (an operation's, or CancelledError) ends the levels it passes:
    their spans end with an error status.
    """
    return _run(_alone(operation, context), observe, max_depth)


def in_group(
    operations: Iterable[Operation], context: ExecutionContext, observe: Observe
) -> Machine:
    """Operations in order, each in the context that the one before it left; a `Group`."""
    return _run(_follow(operations, context), observe, None)


def in_order(
    operations: Iterable[Operation],
    context: ExecutionContext,
    observe: Observe,
    *,
    group: int | None = None,
) -> Machine:
    """The same; a `Batch`, and an error that says which failed.

    Args:
        group: which of several groups it is, for the error.

    Raises:
        ExecutionFailed: thrown out of the machine when one fails.
    """
    return _run(_until_one_fails(tuple(operations), context, group), observe, None)


def take_apart(machine: Machine, observe: Observe) -> Machine:
    """Take apart what another machine yields; what it returns is the result."""
    return _run(machine, observe, None)


def _run(first: Machine, observe: Observe, max_depth: int | None) -> Machine:
    # Each level with the operation that it takes apart; the lowest is of none.
    levels: list[tuple[Machine, Step | None]] = [(first, None)]
    performed: Any = None
    error: BaseException | None = None
    while levels:
        level, whole = levels[-1]
        try:
            if error is None:
                operation, context = level.send(performed)
            else:
                thrown, error = error, None
                operation, context = level.throw(thrown)
        except StopIteration as end:
            performed = end.value
            levels.pop()
            if whole is not None:
                observe(EventKind.FINISHED, *whole, performed.result, None)
            continue
        except (Exception, CancelledError) as raised:
            error = raised
            levels.pop()
            if whole is not None:
                observe(_kind(error), *whole, None, error)
            continue
        performed = None
        context = context.next()
        observe(EventKind.STARTED, operation, context, None, None)
        inner = _level(operation, context, max_depth)
        if inner is not None:
            levels.append((inner, (operation, context)))
            continue
        try:
            done = yield operation, context
            following = _following(operation, done)
        except (Exception, CancelledError) as raised:
            error = raised
            observe(_kind(error), operation, context, None, error)
            continue
        if following:
            levels.append((_follow(following, done.context), (operation, context)))
        else:
            performed = done
            observe(EventKind.FINISHED, operation, context, done.result, None)
    if error is not None:
        raise error
    result: Performed = performed
    return result


def _kind(error: BaseException) -> EventKind:
    return EventKind.CANCELLED if isinstance(error, CancelledError) else EventKind.FAILED


def _level(
    operation: Operation, context: ExecutionContext, max_depth: int | None
) -> Machine | None:
    match operation:
        case NestedTrace():
            return _nested(operation, context, max_depth)
        case ComplexTrace():
            return _complex(operation, context)
        case BatchProcessing(operations):
            return _batch(operations, operation, context)
        case HighLatency(Call()):
            return None
        case HighLatency(inner) | NonBlocking(inner):
            return _one(inner, operation, context)
    return None


def _in_order(
    operations: Iterable[Operation], context: ExecutionContext
) -> Generator[Step, Performed, tuple[tuple[ExecutionResult, ...], ExecutionContext]]:
    done = []
    for operation in operations:
        result, context = yield operation, context
        done.append(result)
    return tuple(done), context


def _nested(operation: NestedTrace, outer: ExecutionContext, max_depth: int | None) -> Machine:
    inner = outer.deeper(operation.label)
    if max_depth is not None and inner.depth > max_depth:
        raise MaxDepthExceeded(
            f"{operation.label}: expected at most {max_depth} levels (max_depth), this is one "
            f"more, within {' > '.join(outer.path[-3:])}",
            operation=operation,
            path=inner.path,
        )
    span = None
    if operation.name:
        opening = StartTrace if inner.trace is None else _child
        _, inner = yield opening(operation.name), inner
        span = inner.trace
    try:
        done, inner = yield from _in_order(operation.child_operations, inner)
    except (Exception, CancelledError) as error:
        if span is not None:
            with suppress(UnknownSpan):  # it was ended within, and `error` is what counts
                yield EndTrace(span.span_id, SpanStatus.ERROR, _text(error)), inner
        raise
    if span is not None:
        yield EndTrace(span.span_id), inner
    return Performed(results.Nested(done), outer)


def _text(error: BaseException) -> str:
    """What goes into a span's status: OTLP's strings are UTF-8, a message may be anything."""
    return (str(error) or type(error).__name__).encode("utf-8", "replace").decode()


def _child(name: str) -> AddSpan:
    return AddSpan(None, name)


def _complex(operation: ComplexTrace, context: ExecutionContext) -> Machine:
    first, after = yield from _in_order(operation.critical_parts, context.inside(operation.label))
    done = list(first)
    for part in operation.async_parts:  # each as it would be beside the others
        result, _ = yield part, after
        done.append(result)
    return Performed(results.Group(tuple(done)), context.with_trace(after.trace))


def _batch(operations: Iterable[Operation], whole: Operation, context: ExecutionContext) -> Machine:
    done, after = yield from _in_order(operations, context.inside(whole.label))
    return Performed(results.Batch(done), context.with_trace(after.trace))


def _one(inner: Operation, whole: Operation, context: ExecutionContext) -> Machine:
    result, after = yield inner, context.inside(whole.label)
    return Performed(result, context.with_trace(after.trace))


def _following(operation: Operation, performed: Performed) -> tuple[Operation, ...]:
    """The operations that a `Call`'s function returned."""
    if not isinstance(operation, Call | HighLatency):
        return ()
    result = performed.result
    value = result.value if isinstance(result, results.Success) else None
    if isinstance(value, Operation):
        return (value,)
    if isinstance(value, list | tuple) and value and isinstance(value[0], Operation):
        for one in value:
            if not isinstance(one, Operation):
                raise FlowError(
                    f"{operation.label}: returned {one!r} among operations; expected operations "
                    "alone",
                    operation=operation,
                )
        return tuple(value)
    return ()


def _alone(operation: Operation, context: ExecutionContext) -> Machine:
    return (yield operation, context)


def _until_one_fails(
    operations: tuple[Operation, ...], context: ExecutionContext, group: int | None
) -> Machine:
    done: list[ExecutionResult] = []
    for at, operation in enumerate(operations):
        try:
            result, context = yield operation, context
        except Exception as error:
            rest = operations[at + 1 :]
            where = "" if group is None else f" of group {group}"
            left = f"; never ran: {', '.join(one.label for one in rest[:5])}" if rest else ""
            more = f" and {len(rest) - 5} more" if len(rest) > 5 else ""
            raise ExecutionFailed(
                f"{operation.label}, number {at + 1} of {len(operations)}{where}, failed: "
                f"{error}{left}{more}",
                operation=operation,
                results=tuple(done),
                never_ran=rest,
                group=group,
                path=context.path,
            ) from error
        done.append(result)
    return Performed(results.Batch(tuple(done)), context)


def _follow(operations: Iterable[Operation], context: ExecutionContext) -> Machine:
    done, context = yield from _in_order(operations, context)
    return Performed(results.Group(done), context)
