"""Spans that are open, and the traces they are parts of. No clock, no lock, no I/O.

A trace leaves when its root ends. Spans that are open then, or when the flow is completed,
end with it, with an error status that says so: the receiver must not wait for them, and
nobody should take them for having ended well. A trace of which more than `max_waiting`
ended spans wait for the root sends those ahead, so a root that never ends holds little.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from rxotlp.errors import TooManySpans, UnknownSpan
from rxotlp.flows._arguments import Attributes
from rxotlp.flows.context import TraceContext
from rxotlp.flows.operations import AddSpan, EndTrace, SpanStatus, StartTrace
from rxotlp.wire.values import any_value

__all__ = ["Traces", "fill"]

UNENDED = "the span was not ended before {}"
_REMEMBERED = 10_000
_SAMPLED = 1  # W3C Trace Context, trace-flags


@dataclass(slots=True, eq=False)
class _Trace:
    trace_id: str
    root: str
    open: dict[str, tuple[Span, TraceContext]] = field(default_factory=dict)
    ended: list[Span] = field(default_factory=list)


class Traces:
    """The open traces of one flow.

    Args:
        make_id: random bytes, so many.
        max_open: spans that may be open at once.
        max_waiting: ended spans of one trace that wait for its root.
        leave: called with the spans of one trace that leave together.

    Attributes:
        unended: spans that were still open when their trace left.
    """

    __slots__ = ("_ended", "_leave", "_make_id", "_max_open", "_max_waiting", "_of", "unended")

    def __init__(
        self,
        make_id: Callable[[int], bytes],
        leave: Callable[[list[Span]], object],
        *,
        max_open: int,
        max_waiting: int,
    ) -> None:
        self._make_id = make_id
        self._leave = leave
        self._max_open = max_open
        self._max_waiting = max_waiting
        self._of: dict[str, _Trace] = {}  # by the id of each open span
        self._ended: OrderedDict[str, None] = OrderedDict()  # the latest, to tell apart
        self.unended = 0

    def __len__(self) -> int:
        return len(self._of)

    def traces(self) -> int:
        """How many traces are open."""
        return len(set(map(id, self._of.values())))

    def start(self, operation: StartTrace, outer: TraceContext | None, now: int) -> TraceContext:
        """Open a root."""
        span_id = self._new_span_id(operation)
        trace_id = operation.trace_id or self._make_id(16).hex()
        trace = _Trace(trace_id, span_id)
        return self._open(trace, span_id, operation.parent_span_id, operation, outer, now)

    def add(self, operation: AddSpan, current: TraceContext | None, now: int) -> TraceContext:
        """Open a child of the span that is named, or else of the current one."""
        parent = operation.parent or (None if current is None else current.span_id)
        trace = self._find(parent, operation, "a parent")
        span_id = self._new_span_id(operation)
        return self._open(trace, span_id, parent, operation, current, now)

    def end(self, operation: EndTrace, current: TraceContext | None, now: int) -> TraceContext:
        """End the span that is named, or else the current one; gives back its context."""
        span_id = operation.span_id or (None if current is None else current.span_id)
        trace = self._find(span_id, operation, "a span to end")
        assert span_id is not None  # else it was not found
        span, context = trace.open[span_id]
        fill(span.attributes, operation.attributes)
        self._close(trace, span_id, now, operation.status, operation.message)
        return context

    def nearest_open(self, context: TraceContext | None) -> TraceContext | None:
        """The span of `context`, or of those around it the first that has not ended."""
        while context is not None and context.span_id not in self._of:
            context = context.outer
        return context

    def complete(self, now: int) -> None:
        """End everything that is open; every trace leaves."""
        while self._of:
            trace = next(iter(self._of.values()))
            self._break_off(trace, now, "its flow was completed")
            self._leave(trace.ended)

    # -- parts -----------------------------------------------------------------------------

    def _new_span_id(self, operation: StartTrace | AddSpan) -> str:
        if len(self._of) >= self._max_open:
            raise TooManySpans(
                f"{operation.label}: {len(self._of)} spans are open, which is the limit "
                "(max_open_spans); expected some to be ended first",
                operation=operation,
            )
        span_id = operation.span_id
        if span_id is None:
            return self._make_id(8).hex()
        if span_id in self._of or span_id in self._ended:
            raise UnknownSpan(
                f"{operation.label}: span {span_id} is open or has ended already; expected an "
                "id of its own for every span",
                operation=operation,
            )
        return span_id

    def _find(self, span_id: str | None, operation: AddSpan | EndTrace, what: str) -> _Trace:
        if span_id is None:
            raise UnknownSpan(
                f"{operation.label}: there is no current span; expected the id of {what}, or a "
                "StartTrace before it in the same group",
                operation=operation,
            )
        trace = self._of.get(span_id)
        if trace is None:
            why = "has ended already" if span_id in self._ended else "was never opened here"
            raise UnknownSpan(
                f"{operation.label}: span {span_id} {why}; expected the id of an open span",
                operation=operation,
            )
        return trace

    def _open(
        self,
        trace: _Trace,
        span_id: str,
        parent: str | None,
        operation: StartTrace | AddSpan,
        outer: TraceContext | None,
        now: int,
    ) -> TraceContext:
        kind: Any = operation.kind.value
        span = Span(
            trace_id=bytes.fromhex(trace.trace_id),
            span_id=bytes.fromhex(span_id),
            parent_span_id=b"" if parent is None else bytes.fromhex(parent),
            name=operation.name,
            kind=kind,
            start_time_unix_nano=now,
            flags=_SAMPLED,
        )
        fill(span.attributes, operation.attributes)
        context = TraceContext(trace.trace_id, span_id, outer)
        trace.open[span_id] = (span, context)
        self._of[span_id] = trace
        return context

    def _close(
        self, trace: _Trace, span_id: str, now: int, status: SpanStatus, message: str
    ) -> None:
        self._finish(trace, span_id, now, status, message)
        if span_id == trace.root:
            self._break_off(trace, now, "its trace's root")
        elif len(trace.ended) <= self._max_waiting:
            return
        leaving, trace.ended = trace.ended, []
        self._leave(leaving)

    def _break_off(self, trace: _Trace, now: int, before: str) -> None:
        for span_id in list(trace.open):
            self.unended += 1
            self._finish(trace, span_id, now, SpanStatus.ERROR, UNENDED.format(before))

    def _finish(
        self, trace: _Trace, span_id: str, now: int, status: SpanStatus, message: str
    ) -> None:
        span, _ = trace.open.pop(span_id)
        del self._of[span_id]
        self._ended[span_id] = None
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        span.end_time_unix_nano = max(now, span.start_time_unix_nano)
        if status is not SpanStatus.UNSET or message:
            code: Any = status.value
            span.status.CopyFrom(Status(code=code, message=message))
        trace.ended.append(span)


def fill(pairs: Any, attributes: Attributes) -> None:
    """Put `attributes` into a message's list of KeyValues; a key that is there is replaced."""
    known: dict[str, Any] = {pair.key: pair for pair in pairs} if attributes else {}
    for key, value in attributes.items():
        pair = known.get(key) or pairs.add(key=key)
        pair.value.CopyFrom(any_value(value))
