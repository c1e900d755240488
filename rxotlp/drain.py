"""Ending a pipeline: when everything has settled, and what is left to report."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from rxotlp.books import Account

__all__ = ["Countdown", "Report"]


@dataclass(frozen=True, slots=True)
class Report:
    """What a pipeline leaves behind when it has stopped.

    Attributes:
        accounts: the books, at the end.
        unbalanced: the accounts in which items are missing; empty unless rxotlp, or a stage
            built on it, has a defect.
        undelivered: items that were in flight at the drain's deadline, and those that a
            source without a caller gave up.
        seconds: how long the drain took.
    """

    accounts: list[Account]
    unbalanced: list[Account]
    undelivered: int
    seconds: float


class Countdown:
    """Calls `done` at the last of `steps` calls of `step`, from whichever thread that is."""

    def __init__(self, steps: int, done: Callable[[], object]) -> None:
        self._left = steps
        self._done = done
        self._lock = threading.Lock()

    def step(self, _what: object = None) -> None:
        """One thing less to wait for."""
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._done()
