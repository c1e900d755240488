"""What every operator's stage has in common: arguments, subscription, rejection.

A stage is a slotted object a subscription rather than closures three deep, so a debugger
and a repr show its state. It is the observer of its source and stands between it and its
own observer.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from reactivex import Observable, Observer, abc
from reactivex.disposable import CompositeDisposable, Disposable

from rxotlp._core.outcomes import DISPOSED, dropped, rejected
from rxotlp._core.text import printable
from rxotlp.assembly import Rejected, current
from rxotlp.data import TelemetryData
from rxotlp.operators._turn import Turn, turn_for
from rxotlp.picture import Sketch
from rxotlp.shares import Share
from rxotlp.stage import Stage

__all__ = ["Operator", "Shell", "check_count", "check_seconds", "describe", "each", "operator"]

T = TypeVar("T")
Operator = Callable[[Observable[TelemetryData]], Observable[Any]]

logger = logging.getLogger("rxotlp")


def operator(
    build: "Callable[[abc.ObserverBase[Any], Turn], Shell]",
    scheduler: abc.SchedulerBase | None,
    *,
    exporter: object = None,
) -> Operator:
    """An operator whose every subscription is a stage made by `build`.

    Args:
        build: makes a stage.
        scheduler: the one that the user gave.
        exporter: where its telemetry leaves the process, for the picture.
    """

    def apply(source: Observable[TelemetryData]) -> Observable[Any]:
        def subscribe(
            observer: abc.ObserverBase[Any], scheduler_: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            assembling = current()
            if assembling is None:
                stage = build(observer, turn_for(scheduler, scheduler_))
                upstream = source.subscribe(
                    stage.on_next, stage.on_error, stage.on_completed, scheduler=scheduler_
                )
                return CompositeDisposable(upstream, Disposable(stage.dispose))
            books, sketch = assembling.books, assembling.sketch
            if assembling.running:
                sketch = Sketch()  # for nobody: a picture has what was there at the start
            start = books.mark
            place = sketch.add("stage", made)
            with sketch.building(place):
                stage = build(observer, turn_for(None if sketch.dry else scheduler, scheduler_))
            sketch.nodes[place].book = stage.book
            if exporter is not None:
                sketch.leads_to(place, exporter)
            middle = books.mark
            hear = Observer[Any](on_error=observer.on_error) if sketch.dry else stage
            with sketch.subscribing(place, source):
                upstream = source.subscribe(
                    hear.on_next, hear.on_error, hear.on_completed, scheduler=scheduler_
                )
            books.place_before(start, middle)
            return CompositeDisposable(upstream, Disposable(stage.dispose))

        made = Observable(subscribe)
        return made

    return apply


class Shell(Stage):
    """A stage that observes its source.

    Subclasses implement `on_next`; those that hold elements also `finish` (the source has
    ended: send what is held, then call `end`) and `discard` (disposed: settle what is held).
    """

    __slots__ = ("_ended", "_error", "disposed", "turn")

    def __init__(
        self, name: str, observer: abc.ObserverBase[Any], turn: Turn, *, given: str | None
    ) -> None:
        super().__init__(
            name if given is None else given,
            observer,
            given=given is not None,
            inbox=turn.inbox,
        )
        self.turn = turn
        self.disposed = False
        self._ended = False
        self._error: Exception | None = None

    def on_next(self, data: TelemetryData) -> None:
        """One element from the source."""
        raise NotImplementedError

    def on_error(self, error: Exception) -> None:
        """The source failed: what is held leaves first."""
        self.turn.enter_last(lambda: self._source_ended(error))

    def on_completed(self) -> None:
        """The source is done: what is held leaves first."""
        self.turn.enter_last(lambda: self._source_ended(None))

    def _source_ended(self, error: Exception | None) -> None:
        """In the turn, so after everything that the source sent before it ended."""
        self._error = error
        self._ended = True
        self.finish()

    def finish(self) -> None:
        """In the turn, after the source's end. Holders send what they hold, then `end`."""
        self.end()

    def end(self) -> None:
        """Pass the source's end on."""
        error, self._error = self._error, None
        if error is not None:
            self.observer.on_error(error)
        else:
            self.observer.on_completed()

    def dispose(self) -> None:
        """Nobody listens any more."""
        if not self.disposed:
            self.disposed = True
            self.turn.enter(self._discard)

    def _discard(self) -> None:
        self.discard()
        self.forget()
        # The books keep this stage, and through its observer they would keep what native
        # operators behind it hold: a `delay` never empties its queue.
        self.observer = _NOBODY

    def forget(self) -> None:
        """Once disposed: leave a book that several share, unless work of ours still runs."""
        holders = self.book.holders
        if holders is not None and not self.held() and self.held in holders:
            holders.remove(self.held)

    def discard(self) -> None:
        """In the turn, after disposal. Holders settle what they hold."""

    def fail_disposed(self, share: Share) -> None:
        """Book one held element as lost to a disposal, whoever may still refer to it."""
        share.verdict(DISPOSED)
        share.retire()  # nothing can be worse, so there is nothing to wait for
        self.book.failed += share.items

    def drop(self, share: Share, reason: str) -> None:
        """Book one element as lost by a policy that the user wrote."""
        share.verdict(dropped(reason))
        self.book.dropped += share.items

    def reject(self, data: TelemetryData, error: BaseException) -> None:
        """Book an element whose callback raised, and publish it without its receipt."""
        reason = describe(error)
        share = data._share
        assert share is not None
        share.verdict(rejected(f"{self.book.name}: {reason}"))
        self.book.rejected += share.items
        if self.assembly is not None and self.assembly.rejected.observers:
            try:
                self.assembly.rejected.on_next(Rejected(self.book.name, data.detached(), reason))
            except Exception:  # a dead-letter observer's fault must not end the stream it watches
                logger.exception("an observer of what %s rejected raised", self.book.name)
        else:
            logger.warning("%s rejected %d items: %s", self.book.name, share.items, reason)


class _Nobody(abc.ObserverBase[Any]):
    """Where a disposed stage emits to: what still comes is lost, not filtered."""

    is_stopped = True

    def on_next(self, value: Any) -> None:
        """Nobody looks."""

    def on_error(self, error: Exception) -> None:
        """Nobody minds."""

    def on_completed(self) -> None:
        """Nobody waits."""


_NOBODY = _Nobody()


def each(action: Callable[[list[T]], object], things: list[T]) -> None:
    """Call `action([thing])` on each, in order, and keep none of them.

    reactivex lets an observer raise through us and carries on, so a raise concerns one
    thing only: the others have their turn before the first error goes its way.
    """
    if len(things) == 1:
        action(things)
        return
    things.reverse()
    fault: Exception | None = None
    while things:
        try:
            action([things.pop()])
        except Exception as error:
            fault = fault or error
    if fault is not None:
        try:
            raise fault
        finally:
            fault = None  # no cycle with this frame, which would need a collection


def describe(error: BaseException) -> str:
    """An error in one printable line: its type and what it says."""
    text = printable(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def check_count(call: str, value: int, *, least: int = 1, why: str) -> None:
    """Raise when `value` is no whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{call}={value!r}): expected a whole number, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{call}={value}): expected {least} or more; {why}")


def check_seconds(call: str, value: float, *, why: str) -> None:
    """Raise when `value` is no duration above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{call}={value!r}): expected seconds, got {type(value).__name__}")
    if not value > 0 or value == float("inf"):
        raise ValueError(f"{call}={value}): expected seconds above 0; {why}")
