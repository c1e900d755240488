"""What an execution hands down from operation to operation.

A context is frozen: whoever changes the current span does it in a copy, so groups that run
at once and levels that nest cannot disturb each other. One thing is shared by all copies of
an execution's context: the counter that `sequence` comes from, so that whatever its parts
log or emit falls into one order.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

__all__ = ["ExecutionContext", "TraceContext"]

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span to be the parent of others: W3C Trace Context's ids, as hex digits.

    Attributes:
        trace_id: 32 digits.
        span_id: 16 digits.
        outer: what was current when the span was opened, and is again when it has ended.
    """

    trace_id: str
    span_id: str
    outer: "TraceContext | None" = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class _Path:
    """A place in a tree of operations; linked, because a tree may be thousands deep."""

    label: str
    above: "_Path | None"


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """Where and in what an operation is executed.

    Attributes:
        execution_id: the same for everything that one call of `execute` caused.
        sequence: grows with every operation of the execution.
        trace: the current span, or None outside any.
        attributes: of the execution; for log entries.
        depth: levels of `NestedTrace` above.
    """

    execution_id: str
    sequence: int = 0
    trace: TraceContext | None = None
    attributes: Mapping[str, Any] = field(default_factory=lambda: _NONE, hash=False)
    depth: int = 0
    _place: _Path | None = field(default=None, repr=False, compare=False)
    _counter: Iterator[int] = field(
        default_factory=lambda: itertools.count(1), repr=False, compare=False
    )

    @property
    def path(self) -> tuple[str, ...]:
        """The labels of the operations around this one, the outermost first."""
        labels = []
        place = self._place
        while place is not None:
            labels.append(place.label)
            place = place.above
        return tuple(reversed(labels))

    def next(self) -> "ExecutionContext":
        """For the next operation: the next number in sequence."""
        return replace(self, sequence=next(self._counter))

    def inside(self, label: str) -> "ExecutionContext":
        """For what is done within the operation called `label`."""
        return replace(self, _place=_Path(label, self._place))

    def deeper(self, label: str) -> "ExecutionContext":
        """For the children of a level called `label`."""
        return replace(self, _place=_Path(label, self._place), depth=self.depth + 1)

    def with_trace(self, trace: TraceContext | None) -> "ExecutionContext":
        """With another current span."""
        return replace(self, trace=trace)
