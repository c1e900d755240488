"""Limits that may change: a number, or an Observable of numbers.

A stage follows its limits for as long as it is subscribed. What a value means is decided in
`_core.limits`; this subscribes, on the stage's scheduler, and hands changes over in the
stage's turn. They are posted, never called: a control loop may well send a value from
within an emission of the very stage that it controls. Between two turns only the latest
value counts, so a fast loop cannot pile up work.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident

from reactivex import Observable
from reactivex.disposable import CompositeDisposable

from rxotlp._core.limits import Level
from rxotlp.operators._shell import Shell, check_count, describe

__all__ = ["Followed", "Limit", "Limited", "check_limit", "initial"]

logger = logging.getLogger("rxotlp")


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that an Observable of numbers changes while the stage runs.

    ```
    ops.export(exporter, max_concurrent=ops.Limit(slots, initial=2))
    ```

    A value counts from when it arrives; a fraction is rounded down, but 0.5 is 1. 0 pauses.
    What is no finite number of 0 or more is ignored, counted in the books and logged once.
    When the Observable ends or fails, its last value stays.

    Args:
        values: subscribed with the stage, on the stage's scheduler, and disposed with it.
            Values may come from any thread.
        initial: the limit until the first value, 0 or more.

    Raises:
        ValueError, TypeError: an argument is out of its range.
    """

    values: Observable[float]
    initial: int

    def __post_init__(self) -> None:
        if not isinstance(self.values, Observable):
            raise TypeError(
                f"Limit({self.values!r}): expected an Observable of numbers, "
                f"got {type(self.values).__name__}"
            )
        check_count("Limit(initial", self.initial, least=0, why="0 pauses")


Limited = int | Observable[float] | Limit


def check_limit(call: str, value: Limited, *, default: int, why: str) -> int | Limit:
    """The number or `Limit` that an argument is; an Observable starts with `default`.

    Raises:
        ValueError, TypeError: it is neither.
    """
    if isinstance(value, Limit):
        return value
    if isinstance(value, Observable):
        return Limit(value, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"{call}={value!r}): expected a whole number, an Observable of numbers or a Limit, "
            f"got {type(value).__name__}"
        )
    check_count(call, value, why=why)
    return value


def initial(limit: int | Limit) -> int:
    """What a limit is at first."""
    return limit.initial if isinstance(limit, Limit) else limit


class Followed:
    """The limits of one stage in one subscription.

    Args:
        stage: whose they are; its book shows them.
        limits: each limit by the name of its argument.
        change: told of a new value, in the turn.
        ended: called in the turn when a limit has got its last value.
    """

    __slots__ = ("_change", "_disposables", "_ended", "_levels", "_stage", "_warned")

    def __init__(
        self,
        stage: Shell,
        limits: dict[str, int | Limit],
        change: Callable[[str, int], object],
        ended: Callable[[], object] | None = None,
    ) -> None:
        self._stage = stage
        self._change = change
        self._ended = ended
        self._warned = False
        self._levels: dict[str, Level] = {}
        self._disposables: CompositeDisposable | None = None
        for name, limit in limits.items():
            if isinstance(limit, Limit):
                self._follow(name, limit)

    def over(self, name: str) -> bool:
        """Whether the limit of that name stays what it is."""
        level = self._levels.get(name)
        return level is None or level.over

    def dispose(self) -> None:
        """Follow them no longer."""
        if self._disposables is not None:
            self._disposables.dispose()

    def _follow(self, name: str, limit: Limit) -> None:
        stage = self._stage
        turn = stage.turn
        self._levels[name] = level = Level(limit.initial)
        stage.book.limits[name] = limit.initial
        told = limit.initial  # what the stage knows
        posted = False
        subscriber = get_ident()

        def tell() -> None:
            nonlocal told, posted
            posted = False  # first: a value that comes from now on is posted again
            value = level.value
            if value != told and not stage.disposed:
                told = stage.book.limits[name] = value
                self._change(name, value)

        def on_next(value: object) -> None:
            nonlocal posted
            if not level.offer(value):
                self._ignored(name, value)
            elif subscriber == get_ident():
                tell()  # nothing has come in yet, and nothing may before it is known
            elif not posted:
                posted = True
                turn.post(tell)

        def on_error(error: Exception) -> None:
            logger.warning(
                "%s: the limits of %s failed, so it stays %d: %s",
                stage.book.name,
                name,
                level.value,
                describe(error),
            )
            on_completed()

        def on_completed() -> None:
            level.over = True
            if self._ended is not None:
                turn.post(self._ended)  # behind the last value

        if self._disposables is None:
            self._disposables = CompositeDisposable()
        self._disposables.add(
            limit.values.subscribe(on_next, on_error, on_completed, scheduler=turn.scheduler)
        )
        subscriber = 0

    def _ignored(self, name: str, value: object) -> None:
        self._stage.book.ignored += 1
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s: ignored %.80r (%s) as %s: expected a finite number of 0 or more; "
                "more of these are only counted",
                self._stage.book.name,
                value,
                type(value).__name__,
                name,
            )
