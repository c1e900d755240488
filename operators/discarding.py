"""Say that a native operator discards on purpose what it keeps and then lets go of.

An element that dies after the emission that brought it was lost, as far as anybody can tell,
and its sender sends again. For `debounce`, `sample` and their like that is wrong: what they
supersede was meant to go. Two stages around the operator mark what is inside it.
"""

from typing import Any

import reactivex as rx
from reactivex import abc

from rxotlp._core.outcomes import ABANDONED, Outcome, dropped
from rxotlp.claims import Discard
from rxotlp.data import TelemetryData
from rxotlp.operators._described import described
from rxotlp.operators._shell import Operator, Shell, operator
from rxotlp.operators._turn import Turn

__all__ = ["discarding"]


@described
def discarding(
    reason: str,
    wrapped: Operator,
    *,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Book what a native operator discards as dropped, and tell its sender success.

    ```
    discarding("debounced", rx_ops.debounce(2))
        source  -ab-----c|
        result  ----B----(C,|)    a is dropped as `debounced`
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from reactivex import operators as rx_ops
        >>> from rxotlp.testing import Rig, draw
        >>> with Rig(ops.discarding("debounced", rx_ops.debounce(2))) as rig:
        ...     heard = rig.play("-ab-----c|")
        >>> draw(rig.happened), heard[0].outcome.reason
        ('----b----(c|)', 'discarding: debounced')

    Args:
        reason: why, for the sender's outcome.
        wrapped: the operator, such as `rx_ops.debounce(1)` or `rx_ops.sample(10)`.
        name: the stage's name in the books; "discarding" by default. What is discarded is
            booked on its edge; what comes out is counted by a second stage, "name out".
        scheduler: not used to wait; for elements made by hand.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    What the operator removes inside the emission is filtered, as without this. What it
    holds when it ends, raises or is disposed was not discarded on purpose, and fails. What
    becomes of held elements on completion and error is the operator's own business. What it
    sends counts for the sender there and then; what it sends once more later does not.
    """
    if not isinstance(reason, str):
        raise TypeError(f"discarding({reason!r}): expected a reason, got {type(reason).__name__}")
    if not reason:
        raise ValueError("discarding(''): expected a reason; the books need one")
    if not callable(wrapped):
        raise TypeError(
            f"discarding({wrapped!r}): expected an operator, got {type(wrapped).__name__}"
        )

    def enter(observer: abc.ObserverBase[Any], turn: Turn) -> Shell:
        return _Enter("discarding", observer, turn, name, reason)

    def leave(observer: abc.ObserverBase[Any], turn: Turn) -> Shell:
        given = None if name is None else f"{name} out"
        return _Leave("discarding out", observer, turn, given=given)

    return rx.compose(operator(enter, scheduler), wrapped, operator(leave, scheduler))


class _Nested(Discard):
    """The mark of an operator inside another that discards too, whose mark comes back after."""

    __slots__ = ("_inner", "outer")

    def __init__(self, inner: Discard, outer: Discard) -> None:
        self._inner = inner  # its stage's own: a disposal changes it for all
        self.outer = outer

    @property
    def outcome(self) -> Outcome:  # type: ignore[override]  # nobody sets a share's mark
        return self._inner.outcome


class _Enter(Shell):
    __slots__ = ("_mark",)

    def __init__(
        self,
        kind: str,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        reason: str,
    ) -> None:
        super().__init__(kind, observer, turn, given=name)
        self._mark = Discard(dropped(f"{self.book.name}: {reason}"))

    def on_next(self, data: TelemetryData) -> None:
        cell = [self.take(data)]
        del data
        share = cell[0]._share
        assert share is not None
        outer = share.discards
        share.discards = self._mark if outer is None else _Nested(self._mark, outer)
        self.emit(cell)

    def discard(self) -> None:
        self._mark.outcome = ABANDONED


class _Leave(Shell):
    __slots__ = ()

    def on_next(self, data: TelemetryData) -> None:
        data = self.take(data)
        share = data._share
        assert share is not None
        mark = share.discards
        share.discards = mark.outer if isinstance(mark, _Nested) else None
        # `debounce` and `sample` refer to what they have sent until another comes. What goes
        # on is the same data with a share of its own, so no sender waits for them to let go:
        # once this turn is over, in which it may well be sent again, the copies speak for it.
        cell = [data._with_share(share.child(share.items))]
        share.inbox.put(share.retire)
        del data, share
        self.emit(cell)
