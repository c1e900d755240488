"""A line in the log for each element that passes a point of the stream."""

import logging
from typing import Any

from reactivex import abc

from rxotlp.data import TelemetryData
from rxotlp.operators._described import described
from rxotlp.operators._shell import Operator, describe, operator
from rxotlp.operators._tap import Tap
from rxotlp.operators._turn import Turn
from rxotlp.shares import Share

__all__ = ["log"]


@described
def log(
    text: str,
    *,
    level: int = logging.INFO,
    logger: logging.Logger | None = None,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Log a line for each element and for the end, and send them on as they came.

    ```
    log("after the filter")
        source  -a-b-c-|
        result  -a-b-c-|          INFO after the filter: 1 log record, 43 bytes
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> import logging, sys
        >>> from rxotlp.testing import Rig
        >>> logger = logging.Logger("example")
        >>> logger.addHandler(logging.StreamHandler(sys.stdout))
        >>> with Rig(ops.log("after the filter", logger=logger)) as rig:
        ...     heard = rig.play("-a-|")
        after the filter: 1 log record, 36 bytes
        after the filter: completed

    Args:
        text: what each line begins with.
        level: a level of `logging`.
        logger: where to log; "rxotlp" by default.
        name: the stage's name in the books; "log" by default.
        scheduler: not used to wait; for elements made by hand.

    Raises:
        TypeError: `text` is no text, `level` no number or `logger` no logger.

    A line says signal, items and bytes, and nothing of what the telemetry itself says:
    nothing is decoded, and nobody's data leaks into a log. Completes, passes errors on, and
    holds nothing.
    """
    if not isinstance(text, str):
        raise TypeError(f"log({text!r}): expected a text, got {type(text).__name__}")
    if isinstance(level, bool) or not isinstance(level, int):
        raise TypeError(f"log(level={level!r}): expected a level of logging, as logging.INFO")
    if logger is not None and not isinstance(logger, logging.Logger):
        raise TypeError(f"log(logger={logger!r}): expected a logging.Logger")
    where = logging.getLogger("rxotlp") if logger is None else logger

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> _Log:
        return _Log(observer, turn, name, text, level, where)

    return operator(build, scheduler)


class _Log(Tap):
    __slots__ = ("_level", "_logger", "_text")

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        text: str,
        level: int,
        logger: logging.Logger,
    ) -> None:
        super().__init__("log", observer, turn, given=name)
        self._text = text
        self._level = level
        self._logger = logger

    def look(self, data: TelemetryData, share: Share) -> None:
        if self._logger.isEnabledFor(self._level):
            names = data.signal.names
            items = share.items
            self._logger.log(
                self._level,
                "%s: %d %s, %d bytes",
                self._text,
                items,
                names.item if items == 1 else names.items,
                sum(map(len, data._chunks)),  # `data.size` joins the parts of merged profiles
            )

    def look_at_end(self, error: Exception | None) -> None:
        end = "completed" if error is None else f"failed with {describe(error)}"
        self._logger.log(self._level, "%s: %s", self._text, end)
