"""What a flow's telemetry says, in a form that tests compare."""

from dataclasses import dataclass
from typing import Any

from rxotlp.data import Signal, TelemetryData
from rxotlp.flows.base import Flow

__all__ = ["Recorded", "record"]


@dataclass(frozen=True)
class Span:
    """One span, its parent by name."""

    name: str
    parent: str | None
    status: int
    message: str


class Recorded:
    """Everything that a flow's telemetry brought."""

    def __init__(self) -> None:
        self.elements: list[TelemetryData] = []

    def messages(self) -> list[Any]:
        """The spans' OTLP messages, in the order in which they left."""
        return [
            span
            for data in self.elements
            if data.signal is Signal.TRACES
            for group in data.message.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]

    def spans(self) -> list[Span]:
        """The spans, sorted."""
        messages = self.messages()
        names = {message.span_id: message.name for message in messages}
        made = [
            Span(
                message.name,
                names.get(message.parent_span_id, message.parent_span_id.hex() or None),
                message.status.code,
                message.status.message,
            )
            for message in messages
        ]
        return sorted(made, key=lambda span: (span.name, span.parent or "", span.status))

    def tree(self) -> list[tuple[str, str | None]]:
        """Names, with the name of the parent."""
        return [(span.name, span.parent) for span in self.spans()]

    def metrics(self) -> dict[str, Any]:
        """The metrics' OTLP messages by name; the last one counts."""
        return {
            metric.name: metric
            for data in self.elements
            if data.signal is Signal.METRICS
            for group in data.message.resource_metrics
            for scope in group.scope_metrics
            for metric in scope.metrics
        }

    def trace_ids(self) -> set[str]:
        """The traces that spans belong to."""
        return {message.trace_id.hex() for message in self.messages()}


def record(flow: Flow) -> Recorded:
    """Subscribe to a flow's telemetry, and keep detached copies of all of it."""
    recorded = Recorded()
    flow.telemetry.subscribe(lambda data: recorded.elements.append(data.detached()))
    return recorded
