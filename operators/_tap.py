"""What stages that only look on have in common: every element leaves as it came.

Looking on must change nothing: not what a sender hears, not when, not the books. So what
raises while it looks is logged once a subscription, and the element goes on.
"""

import logging
from typing import Any

from reactivex import abc

from rxotlp.data import TelemetryData
from rxotlp.operators._shell import Shell, describe
from rxotlp.operators._turn import Turn
from rxotlp.shares import Share

__all__ = ["Tap"]

logger = logging.getLogger("rxotlp")


class Tap(Shell):
    """A stage that looks on. Subclasses implement `look`, and `look_at_end` if they care."""

    __slots__ = ("_faulty",)

    def __init__(
        self, name: str, observer: abc.ObserverBase[Any], turn: Turn, *, given: str | None
    ) -> None:
        super().__init__(name, observer, turn, given=given)
        self._faulty = False

    def on_next(self, data: TelemetryData) -> None:
        data = self.take(data)
        share = data._share
        assert share is not None
        try:
            self.look(data, share)
        except Exception as error:
            self._fault(error)
        cell = [data]
        del data, share
        self.emit(cell)

    def look(self, data: TelemetryData, share: Share) -> None:
        """Look at one element, and keep nothing of it but detached data."""
        raise NotImplementedError

    def look_at_end(self, error: Exception | None) -> None:
        """The source has ended."""

    def finish(self) -> None:
        try:
            self.look_at_end(self._error)
        except Exception as error:
            self._fault(error)
        self.end()

    def _fault(self, error: Exception) -> None:
        # Without its traceback, whose frames hold the element: handlers may keep records.
        if not self._faulty:
            self._faulty = True
            logger.error(
                "%s: what looks on raised %s; the stream goes on, and this is logged once",
                self.book.name,
                describe(error),
            )
