"""Who waits until what had come by then has a final outcome.

What comes in is numbered in the order in which it came, so a waiter is a number and an event:
it has what it waits for when nothing that came before its number is open.
"""

import threading

__all__ = ["Flush", "Flushes"]


class Flush:
    """One waiter, for all that is numbered below `target`."""

    __slots__ = ("done", "target")

    def __init__(self, target: int) -> None:
        self.target = target
        self.done = threading.Event()


class Flushes:
    """All waiters; touched in the worker's turn alone. True while there are any."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Flush] = []

    def add(self, flush: Flush) -> None:
        """Somebody waits."""
        self._waiting.append(flush)

    def forget(self, flush: Flush) -> None:
        """Its time has passed."""
        if flush in self._waiting:
            self._waiting.remove(flush)

    def answer(self, oldest: int | None) -> None:
        """Let those go for whom nothing below `oldest` is open; None for all."""
        for flush in list(self._waiting):
            if oldest is None or oldest >= flush.target:
                self._waiting.remove(flush)
                flush.done.set()

    def __bool__(self) -> bool:
        return bool(self._waiting)
