"""Executes operations that arrive in a stream, by whatever can.

Flows are built on operators, so no operator knows them: `execute` takes anything that says
how it is one itself. The elements are operations and results, not telemetry: no receipts,
no books. What operations make leaves by the flow's own `telemetry`.
"""

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

__all__ = ["Executes", "execute"]

_Options = ParamSpec("_Options")
_Made = TypeVar("_Made", covariant=True)


class Executes(Protocol[_Options, _Made]):
    """What can be an operator by itself, as every flow of `rxotlp.flows`."""

    @property
    def as_operator(self) -> Callable[_Options, _Made]:
        """Makes an operator from operations to results."""
        ...


def execute(
    flow: Executes[_Options, _Made], *none: _Options.args, **options: _Options.kwargs
) -> _Made:
    """Execute each operation, and emit its result.

    ```
    execute(flow)                    b fails
        source  -a-b-c-|
        result  -A-B-C-|             B is a Failure, and the stream goes on
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> import reactivex as rx
        >>> from rxotlp.flows import AsyncControlFlow, Call
        >>> from rxotlp.schedulers import VirtualScheduler
        >>> with VirtualScheduler() as clock:
        ...     flow, results = AsyncControlFlow(scheduler=clock), []
        ...     operations = rx.of(Call(lambda _: 1), Call(lambda _: 1 / 0))
        ...     subscription = operations.pipe(ops.execute(flow)).subscribe(results.append)
        ...     clock.advance_by(1)
        >>> [type(result).__name__ for result in results]
        ['Success', 'Failure']

    Args:
        flow: a flow of `rxotlp.flows`, or anything with `as_operator`.
        none: nothing; `as_operator` takes its options by name.
        options: of `flow.as_operator`: `max_concurrent`, `max_waiting`, `on_error`.

    Raises:
        TypeError: `flow` has no `as_operator`, or an option is unknown to it.
        ValueError: an option is out of its range.

    On completion and error, what runs and waits is executed first. On dispose, what runs is
    cancelled and what waits never starts.
    """
    if not callable(getattr(flow, "as_operator", None)):
        raise TypeError(
            f"execute({flow!r}): expected a flow of rxotlp.flows, or something else with "
            "as_operator(), which gives an operator from operations to results"
        )
    return flow.as_operator(*none, **options)
