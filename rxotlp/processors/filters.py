"""Filters by condition: `filter_spans`, `filter_metrics`, `filter_logs`, `filter_resources`.

Like `ops.filter_records` they keep what the condition is true of. What they have beside it:
a condition that looks at resources alone is decided once a resource and moves whole groups,
and one that can never be true of the signal is refused where it is written.
"""

from collections.abc import Callable
from typing import Any

from rxotlp.data import ResourceView, Signal, TelemetryData
from rxotlp.processors._condition import Condition, OnlyResource, as_condition
from rxotlp.processors._ready import ReadyProcessor
from rxotlp.processors._select import selected
from rxotlp.wire.group import select_groups

__all__ = ["filter_logs", "filter_metrics", "filter_resources", "filter_spans"]

Kept = TelemetryData | None


def filter_spans(where: Condition | Callable[[Any], object]) -> ReadyProcessor[Kept]:
    """Keep the spans of which `where` is true; other signals pass as they are.

    Example:
        >>> from rxotlp import TelemetryData
        >>> from rxotlp.processors import attr, duration, filter_spans, status
        >>> from rxotlp.testing import ids_of, spans
        >>> data = TelemetryData.merge([spans([1], **{"http.route": "/health"}), spans([2])])
        >>> ids_of(filter_spans(~(attr("http.route") == "/health"))(data))
        [2]
        >>> ids_of(filter_spans(status.is_error | (duration > 0.5))(data))  # each takes a second
        [1, 2]

    Args:
        where: a condition, or a function of a record view (see `TelemetryData.records`).

    Spans that stay keep their bytes; a scope or group that loses its last one goes too, and
    an element of which nothing is left is filtered. A span that cannot be decoded as far as
    the condition looks makes the processor raise, and `chain` rejects the element.

    Raises:
        TypeError: it is neither.
        ValueError: it looks at a field that no span has.
    """
    return _of_records("filter_spans", Signal.TRACES, where)


def filter_metrics(where: Condition | Callable[[Any], object]) -> ReadyProcessor[Kept]:
    """Keep the data points of which `where` is true; other signals pass as they are.

    Example:
        >>> from rxotlp import Signal, TelemetryData
        >>> from rxotlp.processors import filter_metrics, name
        >>> gauge = '{"name": "%s", "gauge": {"dataPoints": [{}]}}'
        >>> both = gauge % "go.gc" + ", " + gauge % "requests"
        >>> text = '{"resourceMetrics": [{"scopeMetrics": [{"metrics": [%s]}]}]}' % both
        >>> data = TelemetryData.from_json(Signal.METRICS, text)
        >>> [point.metric.name for point in filter_metrics(~name.matches("go.*"))(data).records()]
        ['requests']

    Args:
        where: a condition, of which `name` is the metric's and `attr` the point's; or a
            function of a view, which has `.metric`.

    A metric that loses its last point goes too. All else is as for `filter_spans`.
    """
    return _of_records("filter_metrics", Signal.METRICS, where)


def filter_logs(where: Condition | Callable[[Any], object]) -> ReadyProcessor[Kept]:
    """Keep the log records of which `where` is true; other signals pass as they are.

    Example:
        >>> from rxotlp import TelemetryData
        >>> from rxotlp.processors import filter_logs, resource, severity
        >>> from rxotlp.testing import ids_of, logs
        >>> data = TelemetryData.merge([logs([1], service="pay-eu"), logs([2], service="shop")])
        >>> wanted = (severity >= "WARN") | resource("service.name").matches("pay-*")
        >>> ids_of(filter_logs(wanted)(data))
        [1]

    Args:
        where: a condition, or a function of a record view.

    All else is as for `filter_spans`.
    """
    return _of_records("filter_logs", Signal.LOGS, where)


def filter_resources(where: Condition | Callable[[ResourceView], object]) -> ReadyProcessor[Kept]:
    """Keep the resources of which `where` is true, with all that they hold, on every signal.

    Example:
        >>> from rxotlp import TelemetryData
        >>> from rxotlp.processors import filter_resources, resource
        >>> from rxotlp.testing import ids_of, logs
        >>> data = TelemetryData.merge([logs([1], service="pay"), logs([2], service="shop")])
        >>> ids_of(filter_resources(resource("service.name") == "pay")(data))
        [1]

    Args:
        where: a condition that looks at nothing but `resource`, or a function of a resource
            view (see `TelemetryData.resources`).

    Decodes resources and nothing else. A resource that cannot be decoded makes the
    processor raise, and `chain` rejects the element.

    Raises:
        TypeError: it is neither.
        ValueError: it looks at other fields.
    """
    asked = as_condition("filter_resources(where=", where, ")")
    if not isinstance(where, Condition):
        return ReadyProcessor(
            f"filter_resources(where={asked!r})", lambda data: _by_resource(data, asked.test)
        )
    if not asked.above_records:
        others = ", ".join(sorted(need.name for need in asked.needs if need.name != "resource"))
        raise ValueError(
            f"filter_resources(where={asked!r}): expected a condition on resources; "
            f"a resource has no {others}"
        )
    return ReadyProcessor(f"filter_resources(where={asked!r})", lambda data: _groups(data, asked))


def _of_records(
    call: str, signal: Signal, where: Condition | Callable[[Any], object]
) -> ReadyProcessor[Kept]:
    asked = as_condition(f"{call}(where=", where, ")")
    for need in sorted(asked.needs, key=repr):
        if signal not in need.signals:
            raise ValueError(
                f"{call}(where={asked!r}): expected fields of {signal.names.items}; "
                f"no {signal.names.item} has {need}"
            )

    def keep(data: TelemetryData) -> Kept:
        if data.signal is not signal:
            return data
        return _groups(data, asked) if asked.above_records else selected(data, asked.choose)

    return ReadyProcessor(f"{call}(where={asked!r})", keep)


def _groups(data: TelemetryData, asked: Condition) -> Kept:
    return _by_resource(data, lambda resource: asked.test(OnlyResource(resource)))


def _by_resource(data: TelemetryData, keep: Callable[[ResourceView], object]) -> Kept:
    whole = data.to_bytes()
    made = select_groups(data.signal, whole, keep)
    if made is None:
        return None
    return data if made is whole else data.derive(made)
