"""A scheduler under check, and how a rule waits for what it does."""

import threading
import time
from collections.abc import Callable
from typing import Any

from rxotlp.schedulers import VirtualScheduler
from rxotlp.testing.rules import expect

__all__ = ["Stand"]


class Stand:
    """A scheduler, with time that passes: the wall clock's, or its own.

    Attributes:
        scheduler: the one under check.
        seconds: of the wall clock that something may take.
        unit: a time, in seconds, that is short and still measurable.
    """

    def __init__(self, scheduler: Any, seconds: float) -> None:
        self.scheduler = scheduler
        self.seconds = seconds
        self.unit = 0.02
        self.virtual = isinstance(scheduler, VirtualScheduler)

    def reached(self, predicate: Callable[[], bool], within: float | None = None) -> bool:
        """Let it run until the predicate holds; False when it never did."""
        limit = self.seconds if within is None else within
        if self.virtual:
            return bool(self.scheduler.wait_for(predicate, timeout=limit))
        deadline = time.monotonic() + limit
        while not predicate():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    def until(self, predicate: Callable[[], bool], otherwise: str) -> None:
        """The same, and it must hold."""
        expect(self.reached(predicate), f"{otherwise}, {self.seconds:g} s after it was asked for")

    def pause(self, units: float) -> None:
        """Let time pass."""
        if self.virtual:
            self.scheduler.advance_by(units * self.unit)
        else:
            time.sleep(units * self.unit)

    def from_thread(self, function: Callable[[], object]) -> threading.Thread:
        """Call on a thread of its own; the caller joins it."""
        thread = threading.Thread(target=function, daemon=True)
        thread.start()
        return thread
