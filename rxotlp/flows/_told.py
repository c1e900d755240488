"""What loggers hear of one element's way through a data flow.

Whether anybody listens is asked once an element and not once an entry: so a logger that is
off, or whose entries reach nobody, costs that one look however many processors there are. A
level that is changed meanwhile counts from the next element.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rxotlp.data import TelemetryData
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.log import LogLevel
from rxotlp.flows.loggers import DataFlowLogger, FlowLogger
from rxotlp.operators.chain import Processor, as_list, is_async

__all__ = ["Way", "listened", "named", "of_data", "told", "told_failed", "walked"]

_NONE: Mapping[str, Any] = MappingProxyType({})


class Way:
    """One element's way, for those loggers that say something about it."""

    __slots__ = ("_context", "_to")

    def __init__(self, to: list[tuple[DataFlowLogger, int, bool]], context: ExecutionContext):
        self._to = to
        self._context = context

    @classmethod
    def begin(
        cls,
        loggers: Sequence[DataFlowLogger],
        data: TelemetryData,
        context: ExecutionContext | None = None,
        attributes: Mapping[str, Any] = _NONE,
    ) -> "Way":
        """Tell that `data` starts, to those who want to hear of its way.

        Args:
            context: its execution; one of its own, with `attributes`, without.
        """
        if context is None:
            context = _own(attributes)
        to = []
        for logger in loggers:
            if logger.enabled and logger.informs():
                now = logger.log.now()
                to.append((logger, now, logger.says(LogLevel.DEBUG)))
                logger.log_data_flow_start(data, context, time=now)
        return cls(to, context)

    def step(
        self,
        processor: str,
        given: TelemetryData,
        made: TelemetryData | Sequence[TelemetryData] | None,
    ) -> None:
        """Tell what a processor made of what it was given."""
        for logger, _, detailed in self._to:
            if detailed:
                logger.log_data_processing(processor, given, made, self._context)

    def end(self, made: TelemetryData | Sequence[TelemetryData] | None) -> None:
        """Tell what became of it, and how long it took."""
        for logger, began, _ in self._to:
            now = logger.log.now()
            logger.log_data_flow_end(made, (now - began) / 1e9, self._context, time=now)

    @property
    def context(self) -> ExecutionContext:
        """The execution that it is."""
        return self._context


def listened(loggers: Iterable[DataFlowLogger]) -> bool:
    """Whether anybody wants to hear of the next element's way."""
    for logger in loggers:  # noqa: SIM110  (a generator would take longer than the answer)
        if logger.enabled and logger.informs():
            return True
    return False


def told_failed(
    loggers: Iterable[DataFlowLogger],
    error: BaseException,
    way: Way | None,
    context: ExecutionContext | None = None,
    attributes: Mapping[str, Any] = _NONE,
) -> None:
    """Tell that an element failed: those too who did not hear of its start."""
    context = context if way is None else way.context
    for logger in loggers:
        if logger.enabled and logger.says(LogLevel.ERROR):
            context = context or _own(attributes)
            logger.log_data_flow_error(error, context)


def of_data(loggers: Iterable[FlowLogger]) -> tuple[DataFlowLogger, ...]:
    """Those that are told of data."""
    return tuple(one for one in loggers if isinstance(one, DataFlowLogger))


def named(processor: Callable[..., Any]) -> str:
    """What a processor is called in log entries."""
    name = getattr(processor, "__name__", "")
    return str(name or type(processor).__name__)


def walked(
    loggers: Sequence[DataFlowLogger],
    processors: Sequence[Processor],
    data: TelemetryData,
    context: ExecutionContext | None = None,
    attributes: Mapping[str, Any] = _NONE,
) -> list[TelemetryData]:
    """What plain processors, one after the other, make of `data`; told to who listens."""
    way = Way.begin(loggers, data, context, attributes) if listened(loggers) else None
    parts = [data]
    try:
        for processor in processors:
            made: list[TelemetryData] = []
            for part in parts:
                result: Any = processor(part)
                results = as_list(result)
                if way is not None:
                    way.step(named(processor), part, results)
                made += results
            parts = made
    except Exception as error:
        told_failed(loggers, error, way, context, attributes)
        raise
    if way is not None:
        way.end(parts)
    return parts


def told(
    loggers: tuple[DataFlowLogger, ...],
    *processors: Processor,
    attributes: Mapping[str, Any] = _NONE,
) -> Processor:
    """Plain `processors` as one, or a single `async` one, and each element's way told.

    Args:
        attributes: of each element's execution.
    """
    if len(processors) == 1 and is_async(processors[0]):
        return _told_async(loggers, processors[0], attributes)
    first: Callable[[TelemetryData], Any]
    first, *others = processors

    lone = loggers[0] if len(loggers) == 1 else None

    def processed(data: TelemetryData) -> Any:
        # Who says nothing costs little more than these two lines.
        if (lone.enabled and lone.informs()) if lone is not None else listened(loggers):
            parts = walked(loggers, processors, data, None, attributes)
            return parts[0] if len(parts) == 1 else parts
        try:
            made = first(data)
            if type(made) is not TelemetryData or others:
                made = _through(others, made)
        except Exception as error:
            told_failed(loggers, error, None, None, attributes)
            raise
        return made

    return processed


def _told_async(
    loggers: tuple[DataFlowLogger, ...], processor: Processor, attributes: Mapping[str, Any]
) -> Processor:
    called: Callable[[TelemetryData], Any] = processor

    async def processed(data: TelemetryData) -> Any:
        way = Way.begin(loggers, data, None, attributes) if listened(loggers) else None
        try:
            made = as_list(await called(data))  # a generator raises here, where it is told
        except BaseException as error:  # cancelled, too
            told_failed(loggers, error, way, None, attributes)
            raise
        if way is not None:
            way.step(named(processor), data, made)
            way.end(made)
        return made

    return processed


def _through(processors: Sequence[Callable[[TelemetryData], Any]], made: Any) -> Any:
    for at, processor in enumerate(processors):
        if type(made) is not TelemetryData:
            return [
                result
                for part in as_list(made)
                for result in as_list(_through(processors[at:], part))
            ]
        made = processor(made)
    return made if type(made) is TelemetryData else as_list(made)


def _own(attributes: Mapping[str, Any]) -> ExecutionContext:
    return ExecutionContext(os.urandom(16).hex(), attributes=attributes)
