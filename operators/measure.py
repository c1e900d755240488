"""Count what passes a point of the stream: elements, items, bytes, and how fast."""

from dataclasses import dataclass
from typing import Any

from reactivex import Observable, abc

from rxotlp.data import TelemetryData
from rxotlp.operators._shell import operator
from rxotlp.operators._tap import Tap
from rxotlp.operators._turn import Turn
from rxotlp.shares import Share

__all__ = ["Measured", "Meter", "measure"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What passed a meter, in all subscriptions of it.

    Attributes:
        elements: elements that passed.
        items: items in them.
        bytes: their encoded size.
        seconds: from the first element to the last, on the scheduler's clock.
    """

    elements: int
    items: int
    bytes: int
    seconds: float

    @property
    def items_per_second(self) -> float:
        """The rate between the first element and the last; 0 when there is no time between."""
        return self.items / self.seconds if self.seconds else 0.0


class Meter:
    """An operator that counts; made by `measure`. Read `measured` at any time."""

    __slots__ = ("_bytes", "_elements", "_first", "_items", "_last", "_operator", "name")

    def __init__(self, name: str, scheduler: abc.SchedulerBase | None) -> None:
        self.name = name
        self._elements = self._items = self._bytes = 0
        self._first = self._last = 0.0
        self._operator = operator(lambda observer, turn: _Measure(observer, turn, self), scheduler)

    def __call__(self, source: Observable[TelemetryData]) -> Observable[TelemetryData]:
        """Apply it, as `pipe` does."""
        return self._operator(source)

    @property
    def measured(self) -> Measured:
        """What has passed up to now."""
        return Measured(self._elements, self._items, self._bytes, self._last - self._first)

    def note(self, items: int, size: int, now: float) -> None:
        """Count one element that passes `now`, in seconds."""
        if not self._elements:
            self._first = now
        self._last = now
        self._elements += 1
        self._items += items
        self._bytes += size

    def __repr__(self) -> str:
        return f"<Meter {self.name}: {self.measured}>"


def measure(name: str, *, scheduler: abc.SchedulerBase | None = None) -> Meter:
    """Count what passes, and send it on as it came.

    ```
    measure("after the filter")
        source  -a-b-c-|
        result  -a-b-c-|          meter.measured: 3 elements in 4 seconds
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Rig
        >>> meter = ops.measure("after the filter")
        >>> with Rig(meter) as rig:
        ...     heard = rig.play("-a-b-c-|")
        >>> meter.measured.elements, meter.measured.seconds, meter.measured.items_per_second
        (3, 4.0, 0.75)

    Args:
        name: the stage's name in the books.
        scheduler: whose clock is read.

    Returns:
        An operator that can be asked: keep it, and read its `measured`.

    Raises:
        ValueError, TypeError: `name` is no name.

    Counts without decoding. Completes, passes errors on, and holds nothing.
    """
    if not isinstance(name, str):
        raise TypeError(f"measure({name!r}): expected a name, got {type(name).__name__}")
    if not name:
        raise ValueError("measure(''): expected a name; it is how the books tell meters apart")
    return Meter(name, scheduler)


class _Measure(Tap):
    __slots__ = ("_meter",)

    def __init__(self, observer: abc.ObserverBase[Any], turn: Turn, meter: Meter) -> None:
        super().__init__("measure", observer, turn, given=meter.name)
        self._meter = meter

    def look(self, data: TelemetryData, share: Share) -> None:
        # Not `data.size`, which joins the parts of merged profiles.
        self._meter.note(share.items, sum(map(len, data._chunks)), self.turn.seconds())
