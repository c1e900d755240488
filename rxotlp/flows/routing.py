"""Which flow an operation belongs to."""

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from rxotlp.flows.operations import (
    BatchProcessing,
    ComplexTrace,
    HighLatency,
    NonBlocking,
    Operation,
)

__all__ = ["FlowRouter", "FlowType", "Routes"]


class FlowType(enum.Enum):
    """How an operation is executed.

    SYNC in the caller's thread, ASYNC on the scheduler, HYBRID the critical parts of a
    `ComplexTrace` in the caller's thread and the others on the scheduler.
    """

    SYNC = "sync"
    ASYNC = "async"
    HYBRID = "hybrid"


class Routes(Protocol):
    """What a `HybridControlFlow` asks: a `FlowRouter`, or a strategy."""

    def route_operation(self, operation: Operation) -> FlowType:
        """Where `operation` goes."""
        ...


class _Strategy(Protocol):
    def select_execution_mode(self, operation: Operation) -> Any: ...


_BY_DEFAULT: Mapping[type, FlowType] = {
    ComplexTrace: FlowType.HYBRID,
    HighLatency: FlowType.ASYNC,
    BatchProcessing: FlowType.ASYNC,
    NonBlocking: FlowType.ASYNC,
}


class FlowRouter:
    """Decides by a function.

    Args:
        decide: from an operation to a `FlowType`. By default a `ComplexTrace` is HYBRID;
            `HighLatency`, `BatchProcessing` and `NonBlocking` are ASYNC; the rest is SYNC.
    """

    def __init__(self, decide: Callable[[Operation], FlowType] | None = None) -> None:
        if decide is not None and not callable(decide):
            raise TypeError(f"FlowRouter(decide={decide!r}): expected a function of an operation")
        self._decide = decide or (lambda operation: _BY_DEFAULT.get(type(operation), FlowType.SYNC))

    def route_operation(self, operation: Operation) -> FlowType:
        """Where `operation` goes.

        Raises:
            TypeError: the function gave something else than a FlowType.
        """
        flow = self._decide(operation)
        if not isinstance(flow, FlowType):
            raise TypeError(
                f"FlowRouter: {operation.label} was routed to {flow!r}; expected a FlowType"
            )
        return flow

    @classmethod
    def by_type(
        cls, flows: Mapping[type[Operation], FlowType], *, default: FlowType = FlowType.SYNC
    ) -> "FlowRouter":
        """By an operation's class; of several that fit, the nearest base counts."""
        known = dict(flows)
        for kind, flow in known.items():
            if not (isinstance(kind, type) and issubclass(kind, Operation)):
                raise TypeError(f"FlowRouter.by_type({kind!r}): expected classes of operations")
            _check_flow(f"FlowRouter.by_type({kind.__name__}", flow)
        _check_flow("FlowRouter.by_type(default", default)

        def decide(operation: Operation) -> FlowType:
            for base in type(operation).__mro__:
                if base in known:
                    return known[base]
            return default

        return cls(decide)

    @classmethod
    def by_predicate(
        cls,
        cases: Iterable[tuple[Callable[[Operation], bool], FlowType]],
        *,
        default: FlowType = FlowType.SYNC,
    ) -> "FlowRouter":
        """By the first predicate that is true."""
        known = list(cases)
        for number, (predicate, flow) in enumerate(known):
            if not callable(predicate):
                raise TypeError(
                    f"FlowRouter.by_predicate(cases[{number}]={predicate!r}): expected a function "
                    "of an operation"
                )
            _check_flow(f"FlowRouter.by_predicate(cases[{number}]", flow)
        _check_flow("FlowRouter.by_predicate(default", default)

        def decide(operation: Operation) -> FlowType:
            for predicate, flow in known:
                if predicate(operation):
                    return flow
            return default

        return cls(decide)

    @classmethod
    def by_strategy(cls, strategy: _Strategy) -> "FlowRouter":
        """By what a strategy's `select_execution_mode` says; a `ComplexTrace` is HYBRID."""
        if not callable(getattr(strategy, "select_execution_mode", None)):
            raise TypeError(
                f"FlowRouter.by_strategy({strategy!r}): expected something with "
                "select_execution_mode(operation)"
            )

        def decide(operation: Operation) -> FlowType:
            if isinstance(operation, ComplexTrace):
                return FlowType.HYBRID
            return FlowType(strategy.select_execution_mode(operation).value)

        return cls(decide)


def _check_flow(call: str, flow: object) -> None:
    if not isinstance(flow, FlowType):
        raise TypeError(f"{call}={flow!r}): expected a FlowType")
