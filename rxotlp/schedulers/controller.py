"""`AdjustmentController`: limits that change, for whoever follows them.

    controller = AdjustmentController()
    source.pipe(ops.batch(max_items=controller.batch_size), ops.export(...))
    controller.sample(monitor.get_current_metrics())

What it is time to do is decided in `_core.adjusting`; this publishes it, in the order in
which it was decided, whichever threads ask. No lock is held while anybody is told, an observer
may ask for the next step, and one that raises keeps nothing from the others.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Protocol, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.subject import BehaviorSubject, Subject

from rxotlp._core.adjusting import Adjuster, AdjustmentSettings, Decision, Metrics, PriorityClass

__all__ = ["AdjustmentController", "Door"]

logger = logging.getLogger("rxotlp")

T = TypeVar("T")


class Door(Protocol):
    """What can turn senders away: a source's `admission`."""

    def refuse(self, reason: str, *, retry_after: float, by: object) -> None:
        """Let nothing more in until the same `by` readmits."""

    def readmit(self, *, by: object) -> None:
        """Let in again what there is room for, unless somebody else refuses."""


class AdjustmentController:
    """The limits as they are, every change of them, and the steps that change them.

    Args:
        settings: see `AdjustmentSettings`.
        classes: work that belongs together, by name; see `PriorityClass`.

    Attributes:
        settings: as given.
        concurrency, batch_size: Observables of the limit: what it is, then what it becomes.
            `max_concurrent=` and `max_items=` take them as they are.
        decisions: an Observable of every `Decision`, with the figures that led to it.
        measurements: an Observable of every sample; a list of them can be replayed.

    From any thread.
    """

    def __init__(
        self,
        settings: AdjustmentSettings | None = None,
        *,
        classes: Mapping[str, PriorityClass] = MappingProxyType({}),
    ) -> None:
        if settings is not None and not isinstance(settings, AdjustmentSettings):
            raise TypeError(f"AdjustmentController({settings!r}): expected AdjustmentSettings")
        if not isinstance(classes, Mapping):
            raise TypeError(
                f"AdjustmentController(classes={classes!r}): expected names and PriorityClasses"
            )
        for name, one in classes.items():
            if not isinstance(one, PriorityClass):
                raise TypeError(
                    f"AdjustmentController(classes={{{name!r}: {one!r}}}): expected a PriorityClass"
                )
        self.settings = AdjustmentSettings() if settings is None else settings
        self._adjuster = Adjuster(self.settings, classes)
        self._lock = threading.Lock()  # the adjuster and the order of what it decided
        self._waiting: deque[Callable[[], object]] = deque()
        self._telling = threading.Lock()
        self._doors: dict[object, Door] = {}  # by whom they are refused: a guard each
        self._shut: Decision | None = None  # as the doors know it
        self._closed = False
        self._concurrency = BehaviorSubject[float](self._adjuster.concurrency)
        self._batch_size = BehaviorSubject[float](self._adjuster.batch_size)
        self._decisions: Subject[Decision] = Subject()
        self._measurements: Subject[Metrics] = Subject()
        self.concurrency: Observable[float] = self._apart(self._concurrency)
        self.batch_size: Observable[float] = self._apart(self._batch_size)
        self.decisions: Observable[Decision] = self._apart(self._decisions)
        self.measurements: Observable[Metrics] = self._apart(self._measurements)

    def sample(self, metrics: Metrics) -> list[Decision]:
        """Take one sample, and do what it is time to do.

        Returns:
            What was done; nothing, mostly.
        """
        with self._lock:
            made = self._adjuster.sample(metrics)
            self._waiting.append(partial(self._measurements.on_next, metrics))
            self._waiting += [partial(self._publish, decision) for decision in made]
        self._tell()
        return made

    def priority(self, name: str) -> float:
        """What a class's priority is now, with what it has gained.

        ```
        ops.parallel(lookup, priority=lambda data: dynamic.priority("bulk"))
        ```

        Raises:
            ValueError: there is no such class.
        """
        adjuster = self._adjuster
        one = adjuster.classes.get(name)
        if one is None:
            raise ValueError(
                f"priority({name!r}): expected one of {sorted(adjuster.classes)}, the classes given"
            )
        return one.priority + adjuster.boosts[name]

    def guard(self, door: Door) -> abc.DisposableBase:
        """Have a source's `admission` refuse while memory is nearly gone.

        Returns:
            A disposable that lets it in again, and forgets it.
        """
        if not callable(getattr(door, "refuse", None)):
            raise TypeError(f"guard({door!r}): expected an admission, such as source.admission")
        key = object()  # not this: two guards of one door must not end each other
        self._later(partial(self._add_door, key, door))
        return Disposable(lambda: self._later(partial(self._remove_door, key)))

    def close(self) -> None:
        """Complete all streams, and open every door. Who follows a limit keeps its last value."""
        self._later(self._complete)

    # -- one step by hand --------------------------------------------------------------------

    def reduce_concurrency(self) -> Decision | None:
        """Run less at once. None at the bound."""
        return self._step(self._adjuster.reduce_concurrency)

    def restore_concurrency(self) -> Decision | None:
        """A step of the way back. None at its end."""
        return self._step(self._adjuster.restore_concurrency)

    def increase_batch_size(self) -> Decision | None:
        """Batch more. None at the bound."""
        return self._step(self._adjuster.increase_batch_size)

    def restore_batch_size(self) -> Decision | None:
        """A step of the way back. None at its end."""
        return self._step(self._adjuster.restore_batch_size)

    def optimize_priorities(self, latencies: Mapping[str, float]) -> Decision | None:
        """Boost the classes that miss their targets, each by how far. None when none gains.

        Args:
            latencies: seconds, by class.
        """
        return self._step(partial(self._adjuster.optimize_priorities, latencies))

    def restore_priorities(self) -> Decision | None:
        """A step of the way back for every class. None at its end."""
        return self._step(self._adjuster.restore_priorities)

    def _step(self, step: Callable[[], Decision | None]) -> Decision | None:
        with self._lock:
            made = step()
            if made is not None:
                self._waiting.append(partial(self._publish, made))
        self._tell()
        return made

    # -- telling -----------------------------------------------------------------------------

    def _later(self, tell: Callable[[], object]) -> None:
        self._waiting.append(tell)
        self._tell()

    def _tell(self) -> None:
        # Whoever tells looks again after letting go, so nothing is stranded.
        while self._waiting and self._telling.acquire(blocking=False):
            try:
                while self._waiting:
                    self._told(self._waiting.popleft())
            finally:
                self._telling.release()

    def _apart(self, subject: Subject[T]) -> Observable[T]:
        """The stream whose observers cannot keep each other from hearing."""

        def subscribe(
            observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            return subject.subscribe(
                lambda value: self._told(partial(observer.on_next, value)),
                observer.on_error,
                lambda: self._told(observer.on_completed),
                scheduler=scheduler,
            )

        return Observable(subscribe)

    def _told(self, tell: Callable[[], object]) -> None:
        try:
            tell()
        except Exception:  # an observer's; a control loop must not end with it
            logger.exception("an observer of %r raised", self)

    def _publish(self, decision: Decision) -> None:
        if decision.action in ("refuse", "admit"):
            self._shut = decision if decision.action == "refuse" else None
            for key in self._doors:
                self._told(partial(self._move, key))
        elif decision.action.endswith("concurrency"):
            self._concurrency.on_next(decision.after)  # type: ignore[arg-type]
        elif decision.action.endswith("batch_size"):
            self._batch_size.on_next(decision.after)  # type: ignore[arg-type]
        logger.info(
            "%s: %s to %s because of %s",
            decision.action,
            decision.before,
            decision.after,
            decision.reason,
        )
        self._decisions.on_next(decision)

    def _move(self, key: object) -> None:
        if self._shut is None:
            self._doors[key].readmit(by=key)
        else:
            self._doors[key].refuse(
                self._shut.reason, retry_after=self.settings.retry_after, by=key
            )

    def _add_door(self, key: object, door: Door) -> None:
        if self._closed:
            return  # nobody would ever let it in again
        self._doors[key] = door
        if self._shut is not None:
            self._move(key)

    def _remove_door(self, key: object) -> None:
        door = self._doors.pop(key, None)
        if door is not None:
            door.readmit(by=key)

    def _complete(self) -> None:
        self._closed = True
        for key in list(self._doors):
            self._told(partial(self._remove_door, key))
        for subject in (
            self._concurrency,
            self._batch_size,
            self._decisions,
            self._measurements,
        ):
            subject.on_completed()

    def __repr__(self) -> str:
        adjuster = self._adjuster
        door = ", refusing" if adjuster.refusing else ""
        return (
            f"<{type(self).__name__} concurrency {adjuster.concurrency}, "
            f"batch_size {adjuster.batch_size}{door}>"
        )
