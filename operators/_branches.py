"""What stages with branches have in common: attaching, merging, isolation, the end.

A branch is an operator of the user's, subscribed once a subscription of the stage. What
its results are goes to the stage's observer; when it ends or fails by itself, that concerns
what is sent to it and nobody else.
"""

import logging
from contextlib import nullcontext
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxotlp._core.outcomes import failed
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError
from rxotlp.operators._shell import Operator, Shell, describe
from rxotlp.operators._turn import Turn
from rxotlp.shares import Share

__all__ = ["Branch", "Branching", "check_branch"]

logger = logging.getLogger("rxotlp")


class Branch:
    """One branch: where elements for it go, and whether it still takes any."""

    __slots__ = ("closed", "disposable", "entry", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.entry: abc.ObserverBase[TelemetryData] | None = None
        self.closed = False
        self.disposable: abc.DisposableBase | None = None


class Branching(Shell):
    """A stage with branches. Subclasses `attach` them and implement `on_next`."""

    __slots__ = ("_open", "branches")

    def __init__(
        self, name: str, observer: abc.ObserverBase[Any], turn: Turn, *, given: str | None
    ) -> None:
        super().__init__(name, observer, turn, given=given)
        self.branches: list[Branch] = []
        self._open = 0

    def attach(self, name: str, apply: Operator, *, merged: bool = True) -> Branch:
        """Subscribe a branch; what it gives is merged into the result, as `_merge` does.

        Args:
            name: the branch's.
            apply: the operator.
            merged: False when what it gives goes nowhere, for the picture.
        """
        branch = Branch(name)
        self.branches.append(branch)
        self._open += 1

        assembly = self.assembly  # a picture has what was there at the start
        sketch = None if assembly is None or assembly.running else assembly.sketch
        place = None if sketch is None else sketch.built

        def enter(
            entry: abc.ObserverBase[TelemetryData], _scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            branch.entry = entry
            if sketch is not None and place is not None:
                sketch.branch(place, entrance, name, merged=merged)
            return Disposable()

        attaching = True

        def fail(error: Exception) -> None:
            if attaching and isinstance(error, PipelineError):
                mistakes.append(error)  # its author's, and not the branch's own end
            self._ended_by(branch, error)

        mistakes: list[PipelineError] = []
        try:
            entrance: Observable[TelemetryData] = Observable(enter)
            results = apply(entrance)
            with nullcontext() if sketch is None else sketch.attaching(results if merged else None):
                branch.disposable = results.subscribe(
                    self._merge,
                    fail,
                    lambda: self._ended_by(branch, None),
                    scheduler=self.turn.scheduler,
                )
            if mistakes:
                raise mistakes[0]
        except BaseException:
            self.discard()  # nobody else knows of the branches that are attached already
            raise
        attaching = False
        return branch

    def _merge(self, value: Any) -> None:
        if self.turn.here:
            self.observer.on_next(value)
        else:
            self.turn.enter(lambda: self.observer.on_next(value))

    def fail_ended(self, share: Share, branch: Branch) -> None:
        """Book an element for a branch that takes none any more."""
        share.verdict(failed(f"{self.book.name}: branch ended: {branch.name}"))
        self.book.failed += share.items

    def _ended_by(self, branch: Branch, error: Exception | None) -> None:
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
        for branch in self.branches:
            entry = branch.entry
            if entry is not None and not branch.closed:
                if error is not None:
                    entry.on_error(error)
                else:
                    entry.on_completed()
        self._maybe_end()

    def _maybe_end(self) -> None:
        if self._ended and not self._open and not self.disposed:
            self.turn.enter_last(self.end)  # behind what branches gave on other threads

    def discard(self) -> None:
        for branch in self.branches:
            disposable, branch.disposable = branch.disposable, None
            branch.closed = True
            branch.entry = None  # see Shell: native operators in there hold what they hold
            if disposable is not None:
                disposable.dispose()


def check_branch(call: str, branch: Any) -> None:
    """Raise when it is no operator."""
    if not callable(branch):
        raise TypeError(
            f"{call}{branch!r}): expected an operator, got {type(branch).__name__}; "
            "an exporter is put in a branch with ops.export(exporter)"
        )
