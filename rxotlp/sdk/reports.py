"""What the log says of a buffer: when it begins to drop, when it stops, and at the end.

One line each however many records there are, in the words of the signal. The last one has
all the numbers, so that what a process could not keep is known when the process is gone.
"""

import logging

from rxotlp._core.outcomes import Outcome
from rxotlp.data import Signal
from rxotlp.sdk.intake import Intake
from rxotlp.sdk.settings import Limits

__all__ = ["Reports"]

logger = logging.getLogger("rxotlp")


class Reports:
    """Of the buffer whose way in is `intake`."""

    __slots__ = ("_intake", "_items", "_limits")

    def __init__(self, intake: Intake, signal: Signal, limits: Limits) -> None:
        self._intake = intake
        self._items = signal.names.items
        self._limits = limits

    def full(self, shut: bool) -> None:
        """From now on something is dropped."""
        if shut:
            why = "shut down"
        elif self._intake.room < self._limits.max_queue_size:
            why = f"the buffer of {self._limits.max_queue_bytes} bytes is full"
        else:
            why = f"the buffer of {self._limits.max_queue_size} is full"
        logger.warning("sdk: %s; %s that come now are dropped", why, self._items)

    def room(self) -> None:
        """It takes in again."""
        logger.warning(
            "sdk: there is room again; %d %s were dropped so far",
            *(self._intake.dropped, self._items),
        )

    def refused(self, items: int, reason: str) -> None:
        """Some were refused for good."""
        logger.warning("sdk: %d %s refused for good: %s", items, self._items, reason)

    def given_up(self, items: int, reason: str) -> None:
        """A last attempt failed."""
        logger.error("sdk: %d %s given up: %s", items, self._items, reason)

    def rest(self, failures: int, outcome: Outcome, seconds: float) -> None:
        """The first of several failures in a row is worth a warning."""
        level = logging.WARNING if failures == 1 else logging.DEBUG
        logger.log(level, "sdk: %s; again in %.1f s", outcome.reason, seconds)

    def end(self) -> None:
        """The numbers of this process; a warning when something was lost."""
        counts = self._intake.statistics()
        if counts.received:
            lossless = counts.received == counts.succeeded
            logger.log(
                logging.INFO if lossless else logging.WARNING,
                "sdk: shut down; of %d %s %d succeeded, %d rejected, %d dropped, %d given up",
                *(counts.received, self._items, counts.succeeded),
                *(counts.rejected, counts.dropped, counts.given_up + counts.held),
            )
