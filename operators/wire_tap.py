"""Show an observer what passes by, without holding, losing or slowing any of it."""

from collections.abc import Callable
from typing import Any

from reactivex import abc

from rxotlp._core.bracket import local
from rxotlp.data import TelemetryData
from rxotlp.operators._described import described
from rxotlp.operators._shell import Operator, operator
from rxotlp.operators._tap import Tap
from rxotlp.operators._turn import Turn
from rxotlp.receipt import Receipt
from rxotlp.shares import Share

__all__ = ["wire_tap"]

Looker = abc.ObserverBase[TelemetryData] | Callable[[TelemetryData], object]


@described
def wire_tap(
    observer: Looker, *, name: str | None = None, scheduler: abc.SchedulerBase | None = None
) -> Operator:
    """Show each element to an observer, then send it on as it came.

    ```
    wire_tap(observer)
        source    -a-b-c-|
        observer  -a-b-c-|
        result    -a-b-c-|
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Rig, draw
        >>> seen = []
        >>> with Rig(ops.wire_tap(lambda data: seen.append(data.items))) as rig:
        ...     heard = rig.play("-a-b-|")
        >>> seen, draw(rig.happened)
        ([1, 1], '-a-b-|')

    Args:
        observer: an observer (a subject, an exporter) or a function. It gets detached
            copies, which share the element's bytes: keeping one keeps no sender waiting, and
            nobody hears what becomes of it. It runs inside the emission, so what takes long
            belongs behind a `broadcast` or a scheduler. What it raises is logged once.
        name: the stage's name in the books; "wire_tap" by default.
        scheduler: not used to wait; for elements made by hand.

    Raises:
        TypeError: it is neither.

    On completion and error, an observer is told, then the end is passed on. On dispose it is
    told nothing. Holds nothing.
    """
    shown = getattr(observer, "on_next", observer)
    if not callable(shown):
        raise TypeError(
            f"wire_tap({observer!r}): expected an observer or a function of an element, "
            f"got {type(observer).__name__}"
        )

    def build(stage_observer: abc.ObserverBase[Any], turn: Turn) -> _WireTap:
        return _WireTap(stage_observer, turn, name, observer, shown)

    return operator(build, scheduler)


class _WireTap(Tap):
    __slots__ = ("_looker", "_show")

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        looker: Any,
        show: Callable[[TelemetryData], object],
    ) -> None:
        super().__init__("wire_tap", observer, turn, given=name)
        self._looker = looker
        self._show = show

    def look(self, data: TelemetryData, share: Share) -> None:
        # Outside the emission: a stage of ours behind the observer would take what has no
        # receipt, or is made from it, for a part of the element, and hold the sender up.
        top, local.top = local.top, None
        try:
            self._show(Receipt(inbox=self.turn.inbox).attach(data.detached()))
        finally:
            local.top = top

    def look_at_end(self, error: Exception | None) -> None:
        if self._show is self._looker:
            return
        if error is not None:
            self._looker.on_error(error)
        else:
            self._looker.on_completed()
