"""Each element to exactly one branch, the branches' results merged."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from reactivex import abc

from rxotlp.data import TelemetryData
from rxotlp.operators._branches import Branching, check_branch
from rxotlp.operators._shell import Operator, operator
from rxotlp.operators._turn import Turn

__all__ = ["Selector", "route"]

Selector = str | Callable[[TelemetryData], Hashable]


def route(
    by: Selector,
    branches: Mapping[Any, Operator],
    *,
    default: Operator | None = None,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Send each element to the branch that its key names.

    ```
    route("signal", {Signal.LOGS: archive}, default=backend)
        source   -t-l-m-|          traces, logs, metrics
        archive  ---l---|
        backend  -t---m-|
        result   -T-L-M-|
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp import Signal
        >>> from rxotlp.testing import Recorder, Rig, spans
        >>> archive, backend = Recorder(), Recorder()
        >>> to_archive = {Signal.LOGS: ops.export(archive)}
        >>> with Rig(ops.route("signal", to_archive, default=ops.export(backend))) as rig:
        ...     heard = rig.send([1]), rig.send(spans([2]))
        >>> archive.delivered, backend.delivered
        ([1], [2])

    Args:
        by: "signal", or a function of an element that gives a key. To route by resource,
            cut elements with `split_by` first.
        branches: an operator for each key.
        default: for every other key; without it such elements are dropped as `unrouted`,
            and their senders hear success.
        name: the stage's name in the books; "route" by default.
        scheduler: where results of branches on other schedulers are merged.

    Raises:
        ValueError: no branch at all, or an unknown selector.
        TypeError: a branch that is no operator.

    Branches are isolated: one that ends or fails by itself only fails what is sent to it
    afterwards, as `branch ended` (retryable), and its error is logged. A function that
    raises rejects its element. The result ends when the source has ended and every branch
    has. Dispose disposes every branch.
    """
    if isinstance(by, str):
        if by != "signal":
            raise ValueError(f"route({by!r}): expected 'signal' or a function of an element")
        select: Callable[[TelemetryData], Hashable] = _signal
    elif callable(by):
        select = by
    else:
        raise TypeError(f"route({by!r}): expected 'signal' or a function of an element")
    if not branches and default is None:
        raise ValueError("route(): expected one branch or more, or a default")
    for key, branch in [*branches.items(), ("default", default)]:
        if branch is not None:
            check_branch(f"route({key!r}: ", branch)
    table = dict(branches)

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> _Route:
        return _Route(observer, turn, name, select, table, default)

    return operator(build, scheduler)


class _Route(Branching):
    __slots__ = ("_default", "_select", "_table")

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        select: Callable[[TelemetryData], Hashable],
        table: Mapping[Any, Operator],
        default: Operator | None,
    ) -> None:
        super().__init__("route", observer, turn, given=name)
        self._select = select
        self._table = {key: self.attach(str(key), branch) for key, branch in table.items()}
        self._default = None if default is None else self.attach("default", default)

    def on_next(self, data: TelemetryData) -> None:
        data = self.take(data)
        share = data._share
        assert share is not None
        try:
            branch = self._table.get(self._select(data), self._default)
        except Exception as error:
            self.reject(data, error)
            return
        if branch is None:
            self.drop(share, "unrouted")
        elif branch.closed or branch.entry is None:
            self.fail_ended(share, branch)
        else:
            cell = [data]
            del data
            self.emit(cell, branch.entry)


def _signal(data: TelemetryData) -> Hashable:
    return data.signal
