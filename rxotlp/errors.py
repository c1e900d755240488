"""Errors, split by whose fault it is.

    OtlpError
    +-- DecodeError          the sender's: bytes that are no OTLP, or a bad field in them
    +-- RefusedError         the sender's or nobody's: no room, too large, stopping
    +-- ExportError          the backend's: it answered badly, late or not at all
    +-- LooseElementError    the pipeline's author's: an element without a receipt, in strict
    +-- FlowError            the author's of an operation, a phase or a node
    |   +-- UnsupportedOperation, UnknownSpan, TooManySpans, MaxDepthExceeded
    |   +-- ExecutionFailed, GroupsFailed, FlushFailed, TooManyWaiting
    |   +-- CircularDependency, PhaseNotFound, PhasesFailed, NodeNotFound, LoopLimitExceeded
    +-- PipelineError        the pipeline's author's: wiring that cannot work
        +-- UsageError       a command line or a MODULE:ATTR that cannot be followed

A wrong argument is a plain ValueError or TypeError that names call, value, range and
reason, raised where the pipeline is written.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

__all__ = [
    "CircularDependency",
    "DecodeError",
    "ExecutionFailed",
    "ExportError",
    "FlowError",
    "FlushFailed",
    "GroupsFailed",
    "LoopLimitExceeded",
    "LooseElementError",
    "MaxDepthExceeded",
    "NodeNotFound",
    "OtlpError",
    "PhaseNotFound",
    "PhasesFailed",
    "PipelineError",
    "RefusedError",
    "TooManySpans",
    "TooManyWaiting",
    "UnknownSpan",
    "UnsupportedOperation",
    "UsageError",
    "without_tracebacks",
]

E = TypeVar("E", bound=BaseException)


class OtlpError(Exception):
    """Everything that rxotlp raises on purpose, argument errors apart."""


class DecodeError(OtlpError):
    """Bytes are not what their signal's OTLP message says.

    Attributes:
        path: the field at fault (`resource_spans[2].scope_spans[0].spans[17].trace_id`),
            or "" when the whole frame cannot be read.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class RefusedError(OtlpError):
    """An element was not admitted.

    Attributes:
        retry_after: seconds after which a retry may succeed; None when unknown.
        permanent: True when no retry can succeed (larger than the whole limit).
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, permanent: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.permanent = permanent


class ExportError(OtlpError):
    """A destination did not take what it was sent."""


class PipelineError(OtlpError):
    """A pipeline is wired or used in a way that cannot work."""


class UsageError(PipelineError):
    """A command line, or the MODULE:ATTR in it, cannot be followed."""


class LooseElementError(OtlpError):
    """An element without a receipt reached a stage of a strict pipeline."""


class FlowError(OtlpError):
    """A flow cannot do what it was told; the message names the operation and what it takes.

    The names below are those of the analysis that `rxotlp.flows` is built after.

    Attributes:
        operation: what could not be done; None when it is not one operation's fault.
        path: the labels of the operations around it, the outermost first.
    """

    def __init__(
        self, message: str, *, operation: object = None, path: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.path = path


class UnsupportedOperation(FlowError):
    """This flow does not do such an operation."""


class UnknownSpan(FlowError):
    """No open span has this id: it never was one, or has ended."""


class TooManySpans(FlowError):
    """As many spans are open as may be."""


class MaxDepthExceeded(FlowError):
    """Operations are nested deeper than they may be."""


class ExecutionFailed(FlowError):
    """One of several operations failed; its own error is the `__cause__`.

    Attributes:
        results: of the operations before it, in order.
        never_ran: the operations after it.
        group: the number of its group, from 0; None when there are none.
    """

    def __init__(
        self,
        message: str,
        *,
        operation: object,
        results: tuple[object, ...] = (),
        never_ran: tuple[object, ...] = (),
        group: int | None = None,
        path: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, operation=operation, path=path)
        self.results = results
        self.never_ran = never_ran
        self.group = group


class TooManyWaiting(FlowError):
    """As many operations wait as may."""


class FlushFailed(FlowError):
    """An element of those that were kept could not be processed; its error is the cause.

    Attributes:
        results: of the elements before it; those after it are kept.
    """

    def __init__(
        self, message: str, *, operation: object, results: tuple[object, ...] = ()
    ) -> None:
        super().__init__(message, operation=operation)
        self.results = results


class GroupsFailed(ExceptionGroup[Exception], FlowError):
    """Some of several groups failed: each one's error, in the order of the groups.

    Attributes:
        results: of the groups that did not fail, by their number from 0.
    """

    def __new__(
        cls, message: str, errors: Sequence[Exception], results: Mapping[int, object]
    ) -> "GroupsFailed":
        return super().__new__(cls, message, errors)

    def __init__(
        self, message: str, errors: Sequence[Exception], results: Mapping[int, object]
    ) -> None:
        FlowError.__init__(self, message)
        self.results = dict(results)

    def derive(self, errors: Sequence[Exception], /) -> "GroupsFailed":  # type: ignore[override]
        """For `except*`: the same with some of the errors."""
        return GroupsFailed(self.message, errors, self.results)


class PhasesFailed(ExceptionGroup[Exception], FlowError):
    """Some phases failed: each one's error, in the order in which they did.

    Attributes:
        result: an `organizers.Phases`: which ran, failed and were skipped.
    """

    def __new__(cls, message: str, errors: Sequence[Exception], result: object) -> "PhasesFailed":
        return super().__new__(cls, message, errors)

    def __init__(self, message: str, errors: Sequence[Exception], result: object) -> None:
        FlowError.__init__(self, message)
        self.result = result

    def derive(self, errors: Sequence[Exception], /) -> "PhasesFailed":  # type: ignore[override]
        """For `except*`: the same with some of the errors."""
        return PhasesFailed(self.message, errors, self.result)


class CircularDependency(FlowError):
    """Phases wait for each other."""


class PhaseNotFound(FlowError):
    """A phase depends on one that does not exist."""


class NodeNotFound(FlowError):
    """An edge leads to a node that does not exist."""


class LoopLimitExceeded(FlowError):
    """A loop went round as often as it may."""


def without_tracebacks(error: E) -> E:
    """The same exception, to be kept: neither it nor its causes hold frames any more.

    Frames hold elements, and an element that can be reached never settles.
    """
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            todo += [one.__cause__, one.__context__]
            if isinstance(one, BaseExceptionGroup):
                todo += one.exceptions
    return error
