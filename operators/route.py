"""Each element to exactly one branch, the branches' results merged."""

import logging
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from rxotlp._core.outcomes import failed
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError
from rxotlp.operators._shell import Operator, Shell, describe, operator
from rxotlp.operators._turn import Turn

__all__ = ["Selector", "route"]

Selector = str | Callable[[TelemetryData], Hashable]

logger = logging.getLogger("rxotlp")


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
        if branch is not None and not callable(branch):
            raise TypeError(
                f"route({key!r}: {branch!r}): expected an operator, got {type(branch).__name__}; "
                "an exporter is put in a branch with ops.export(exporter)"
            )
    table = dict(branches)

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> _Route:
        return _Route(observer, turn, name, select, table, default)

    return operator(build, scheduler)


class _Branch:
    """One branch: where elements for it go, and whether it still takes any."""

    __slots__ = ("closed", "disposable", "entry", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.entry: abc.ObserverBase[TelemetryData] | None = None
        self.closed = False
        self.disposable: abc.DisposableBase | None = None


class _Route(Shell):
    __slots__ = ("_branches", "_default", "_open", "_select")

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
        self._open = len(table) + (default is not None)
        self._branches = {key: self._attach(str(key), branch) for key, branch in table.items()}
        self._default = None if default is None else self._attach("default", default)

    def _attach(self, name: str, apply: Operator) -> _Branch:
        branch = _Branch(name)

        def enter(
            entry: abc.ObserverBase[TelemetryData], _scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            branch.entry = entry
            return Disposable()

        attaching = True

        def fail(error: Exception) -> None:
            if attaching and isinstance(error, PipelineError):
                mistakes.append(error)  # its author's, and not the branch's own end
            self._ended_by(branch, error)

        mistakes: list[PipelineError] = []
        branch.disposable = apply(Observable(enter)).subscribe(
            self._merge,
            fail,
            lambda: self._ended_by(branch, None),
            scheduler=self.turn.scheduler,
        )
        attaching = False
        if mistakes:
            raise mistakes[0]
        return branch

    def _merge(self, value: Any) -> None:
        if self.turn.here:
            self.observer.on_next(value)
        else:
            self.turn.enter(lambda: self.observer.on_next(value))

    def on_next(self, data: TelemetryData) -> None:
        data = self.take(data)
        share = data._share
        assert share is not None
        try:
            branch = self._branches.get(self._select(data), self._default)
        except Exception as error:
            self.reject(data, error)
            return
        if branch is None:
            self.drop(share, "unrouted")
        elif branch.closed or branch.entry is None:
            share.verdict(failed(f"{self.book.name}: branch ended: {branch.name}"))
            self.book.failed += share.items
        else:
            cell = [data]
            del data
            self.emit(cell, branch.entry)

    def _ended_by(self, branch: _Branch, error: Exception | None) -> None:
        if branch.closed:
            return
        branch.closed = True
        if not self._ended:
            logger.warning(
                "%s: branch %s ended%s; what is sent to it fails from now on",
                self.book.name,
                branch.name,
                "" if error is None else f" with {describe(error)}",
            )
        self._open -= 1
        self._maybe_end()

    def finish(self) -> None:
        error = self._error
        for branch in self._all():
            entry = branch.entry
            if entry is not None and not branch.closed:
                if error is not None:
                    entry.on_error(error)
                else:
                    entry.on_completed()
        self._maybe_end()

    def _maybe_end(self) -> None:
        if self._ended and not self._open and not self.disposed:
            self.turn.enter(self.end)

    def discard(self) -> None:
        CompositeDisposable(
            *(branch.disposable for branch in self._all() if branch.disposable is not None)
        ).dispose()

    def _all(self) -> list[_Branch]:
        branches = list(self._branches.values())
        return branches if self._default is None else [*branches, self._default]


def _signal(data: TelemetryData) -> Hashable:
    return data.signal
