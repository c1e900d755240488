"""Each element to every branch, the branches' results merged.

A required branch gets a part of the sender's receipt, so the sender hears the worst of what
those branches report. Any other branch gets the same bytes with a receipt that nobody
listens to: however slow it is and whatever it loses, no sender hears of it.
"""

from collections.abc import Iterable
from typing import Any

from reactivex import abc

from rxotlp.data import TelemetryData
from rxotlp.operators._branches import Branch, Branching, check_branch
from rxotlp.operators._described import described
from rxotlp.operators._shell import Operator, each, operator
from rxotlp.operators._turn import Turn
from rxotlp.receipt import Receipt

__all__ = ["broadcast"]


@described
def broadcast(
    *branches: Operator,
    required: Iterable[int] | None = None,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Send each element to every branch.

    ```
    broadcast(archive, backend)
        source   -a----b----|
        archive  -a----b----|
        backend  -a----b----|
        result   -(AA)-(BB)-|         what each branch gives
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Recorder, Rig
        >>> archive, backend = Recorder(), Recorder()
        >>> with Rig(ops.broadcast(ops.export(archive), ops.export(backend), required=[1])) as rig:
        ...     heard = rig.send([1, 2])
        >>> archive.delivered, backend.delivered
        ([1, 2], [1, 2])

    Args:
        branches: operators, one or more.
        required: positions of the branches whose outcome the sender hears, from 0; None for
            all of them. When one has delivered and another failed, the sender sends again,
            and the first gets it twice.
        name: the stage's name in the books; "broadcast" by default.
        scheduler: where results of branches on other schedulers are merged.

    Returns:
        An operator. Copies share the element's bytes. The books count each as `created`.

    Raises:
        ValueError: no branch, none required, or a position that no branch has.
        TypeError: a branch that is no operator, or `required` is no list of positions.

    Branches are isolated: one that ends or fails by itself is logged, and what is sent to it
    afterwards fails as `branch ended` if it is required; any other gets nothing more. What
    a branch that is not required holds is bounded by nobody: begin it with a `queue`. The
    result ends when the source has ended and every branch has. Dispose disposes every branch.
    """
    if not branches:
        raise ValueError("broadcast(): expected one branch or more")
    for branch in branches:
        check_branch("broadcast(", branch)
    if not isinstance(required, Iterable | None):
        raise TypeError(
            f"broadcast(required={required!r}): expected positions of branches, such as [0], "
            f"got {type(required).__name__}"
        )
    wanted = frozenset(range(len(branches)) if required is None else required)
    if not wanted:
        raise ValueError("broadcast(required=[]): expected one or more; senders must hear of one")
    for position in wanted:
        if position not in range(len(branches)):
            raise ValueError(
                f"broadcast(required={position!r}): expected positions "
                f"from 0 to {len(branches) - 1}; there is no other branch"
            )

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> _Broadcast:
        return _Broadcast(observer, turn, name, branches, wanted)

    return operator(build, scheduler)


class _Broadcast(Branching):
    __slots__ = ("_others", "_required")

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        operators: tuple[Operator, ...],
        required: frozenset[int],
    ) -> None:
        super().__init__("broadcast", observer, turn, given=name)
        attached = [self.attach(str(at), branch) for at, branch in enumerate(operators)]
        self._required = [branch for at, branch in enumerate(attached) if at in required]
        self._others = [branch for at, branch in enumerate(attached) if at not in required]

    def on_next(self, data: TelemetryData) -> None:
        data = self.take(data)
        share = data._share
        assert share is not None
        # All shares before the first emission: one branch that reports at once must not
        # settle the receipt that others still hold.
        shares = share.split([share.items] * len(self._required))
        self.book.created += share.items * (len(shares) - 1)
        copies: list[TelemetryData] = []
        targets: list[Branch] = []
        for branch, part in zip(self._required, shares, strict=True):
            if branch.closed or branch.entry is None:
                self.fail_ended(part, branch)
                part.retire()
            else:
                copies.append(data._with_share(part))
                targets.append(branch)
        for branch in self._others:
            if not branch.closed and branch.entry is not None:
                copies.append(Receipt(inbox=self.turn.inbox).attach(data.detached()))
                targets.append(branch)
                self.book.created += share.items
        del data, share, shares
        targets.reverse()  # as `each` takes the copies
        each(lambda cell: self.emit(cell, targets.pop().entry), copies)
