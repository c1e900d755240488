"""Which way an element takes through a `HybridDataFlow`, and who of those that wait goes first."""

import enum
from collections.abc import Callable

from rxotlp.data import Signal, TelemetryData

__all__ = ["DataRoute", "DataRouter", "Priority"]

ERROR, FATAL = 17, 21  # OTLP's SeverityNumber: where ERROR and FATAL begin
FAILED = 2  # OTLP's StatusCode: ERROR
SMALL = 10  # items


class DataRoute(enum.Enum):
    """How an element is processed: at once, in a batch, or before those that wait."""

    SYNC = "sync"
    ASYNC = "async"
    PRIORITY = "priority"


class Priority(enum.IntEnum):
    """How much waiting matters; the larger number goes first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


class DataRouter:
    """Decides by two functions, which may be asked more than once about one element.

    Args:
        route: from an element to its `DataRoute`. By default what has a failed span or a log
            record of ERROR and above takes PRIORITY; of the rest, up to 10 items take SYNC
            and more take ASYNC. It looks at one field of each record, and decodes no other.
        priority: from an element on PRIORITY to a number, larger first. By default CRITICAL
            with a log record of FATAL, HIGH with a failed span or an ERROR, else NORMAL.
    """

    def __init__(
        self,
        route: Callable[[TelemetryData], DataRoute] | None = None,
        priority: Callable[[TelemetryData], float] | None = None,
    ) -> None:
        for name, function in (("route", route), ("priority", priority)):
            if function is not None and not callable(function):
                raise TypeError(
                    f"DataRouter({name}={function!r}): expected a function of an element"
                )
        self._route = _route if route is None else route
        self._priority = _priority if priority is None else priority

    def route_data(self, data: TelemetryData) -> DataRoute:
        """Which way `data` takes.

        Raises:
            TypeError: the function gave something else than a DataRoute.
        """
        route = self._route(data)
        if not isinstance(route, DataRoute):
            raise TypeError(f"DataRouter: {data!r} was routed to {route!r}; expected a DataRoute")
        return route

    def priority(self, data: TelemetryData) -> float:
        """Its place among those that wait on PRIORITY."""
        return self._priority(data)


def _worst(data: TelemetryData) -> Priority:
    if data.signal is Signal.TRACES:
        failed = any(record.status.code == FAILED for record in data.records())
        return Priority.HIGH if failed else Priority.NORMAL
    if data.signal is Signal.LOGS:
        worst = max((record.severity_number for record in data.records()), default=0)
        if worst >= FATAL:
            return Priority.CRITICAL
        return Priority.HIGH if worst >= ERROR else Priority.NORMAL
    return Priority.NORMAL


def _route(data: TelemetryData) -> DataRoute:
    if _worst(data) > Priority.NORMAL:
        return DataRoute.PRIORITY
    return DataRoute.SYNC if data.items <= SMALL else DataRoute.ASYNC


def _priority(data: TelemetryData) -> float:
    return _worst(data)
