"""Ready-made processors for `ops.chain`, and the conditions that they take.

    ops.chain(
        filter_spans(~(attr("http.route") == "/health")),
        attributes(upsert={"deployment.environment.name": "prod"}, level="resource"),
        where(resource("service.name").matches("pay-*"), redact(keys=["card.number"])),
    )

Each is a plain function from an element to what goes on, so it works without an operator
too. README.md beside this file has a table of what each may filter, decodes and costs.
"""

from rxotlp.processors._condition import Condition
from rxotlp.processors._field import Field
from rxotlp.processors._ready import ReadyProcessor
from rxotlp.processors.attributes import attributes
from rxotlp.processors.conditions import (
    attr,
    body,
    duration,
    name,
    resource,
    scope,
    severity,
    status,
)
from rxotlp.processors.filters import (
    filter_logs,
    filter_metrics,
    filter_resources,
    filter_spans,
)
from rxotlp.processors.redact import redact
from rxotlp.processors.where import where

__all__ = [
    "Condition",
    "Field",
    "ReadyProcessor",
    "attr",
    "attributes",
    "body",
    "duration",
    "filter_logs",
    "filter_metrics",
    "filter_resources",
    "filter_spans",
    "name",
    "redact",
    "resource",
    "scope",
    "severity",
    "status",
    "where",
]
