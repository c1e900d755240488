"""Each element to exactly one branch, the branches' results merged.

What a selector cuts is sent in one turn, part by part, each with a share of its own: the
sender hears of all of them.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from reactivex import abc

from rxotlp.data import TelemetryData
from rxotlp.operators._branches import Branch, Branching, check_branch
from rxotlp.operators._described import described
from rxotlp.operators._selector import BY_SIGNAL, Divide, Selector, as_selector
from rxotlp.operators._shell import Operator, each, operator
from rxotlp.operators._turn import Turn
from rxotlp.wire.signals import Signal

__all__ = ["route"]


@described
def route(
    by: Selector | str | Callable[[TelemetryData], Hashable],
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
        by: "signal"; `by_resource`, `by_scope`, `by_attribute`, `by_metadata` or
            `first_match`, which find a key; `weighted`, `round_robin` or `consistent_hash`,
            which choose one; or a function of an element that gives a key. An element that
            belongs to several branches is cut, and each gets one part; its sender hears of all.
        branches: an operator for each key.
        default: for every other key, None among them unless it has a branch; without it
            such elements are dropped as `unrouted`, and their senders hear success.
        name: the stage's name in the books; "route" by default.
        scheduler: where results of branches on other schedulers are merged.

    Raises:
        ValueError: no branch at all, an unknown selector, or one that chooses from branches
            that are not there; "signal", and a branch for something else.
        TypeError: a branch that is no operator, or a selector that is none.

    Branches are isolated: one that ends or fails by itself only fails what is sent to it
    afterwards, as `branch ended` (retryable), and its error is logged. A function that
    raises rejects its element. The result ends when the source has ended and every branch
    has. Dispose disposes every branch. A key that is not hashable rejects its element.
    """
    selector = as_selector("route(", by)
    if not branches and default is None:
        raise ValueError("route(): expected one branch or more, or a default")
    for key, branch in [*branches.items(), ("default", default)]:
        if branch is not None:
            check_branch(f"route({key!r}: ", branch)
    table = dict(branches)
    _check_names(selector, table, default)

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> _Route:
        return _Route(observer, turn, name, selector.begin(list(table)), table, default)

    return operator(build, scheduler)


class _Route(Branching):
    __slots__ = ("_divide", "_into")

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        divide: Divide,
        table: Mapping[Any, Operator],
        default: Operator | None,
    ) -> None:
        super().__init__("route", observer, turn, given=name)
        attached = {key: self.attach(str(key), branch) for key, branch in table.items()}
        otherwise = None if default is None else self.attach("default", default)
        self._divide = divide
        self._into: Callable[[Hashable], Branch | None] = lambda key: attached.get(key, otherwise)

    def on_next(self, data: TelemetryData) -> None:
        data = self.take(data)
        share = data._share
        assert share is not None
        try:
            parts = self._divide(data, self._into)
        except Exception as error:
            self.reject(data, error)
            return
        del data
        branches: list[Any] = [branch for branch, _ in parts]
        cells = [part for _, part in parts]
        del parts
        if len(cells) > 1:
            self.book.transformed(share.items, sum(part.items for part in cells))
        branches.reverse()  # as `each` takes the parts
        each(lambda cell: self._send(cell, branches.pop()), cells)

    def _send(self, cell: list[TelemetryData], branch: Branch | None) -> None:
        share = cell[0]._share
        assert share is not None
        if branch is None:
            self.drop(share, "unrouted")
        elif branch.closed or branch.entry is None:
            self.fail_ended(share, branch)
        else:
            self.emit(cell, branch.entry)


def _check_names(
    selector: Selector, table: Mapping[Any, Operator], default: Operator | None
) -> None:
    """Raise when a selector would choose a branch that is not there, or never one that is."""
    for key in table:
        if selector is BY_SIGNAL and not isinstance(key, Signal):
            raise ValueError(
                f"route('signal', {{{key!r}: ...}}): expected Signals, such as Signal.LOGS; "
                "no element has another"
            )
    for key in selector.names:
        if key not in table and not (key is None and default is not None):
            raise ValueError(
                f"route({selector!r}): expected names of branches, not {key!r}; "
                f"there are {', '.join(map(repr, table)) or 'none'}"
            )
    if selector.wants_names and not table:
        raise ValueError(f"route({selector!r}): expected one branch or more to choose from")
    selector.begin(list(table))  # says so when it can do nothing with their names
