"""What reaches a scheduler from outside its turn: posted actions and dead shares.

`put` may be called from any thread and from a finalizer: a finalizer can run between any
two instructions, even inside a lock that its own thread holds, so nothing here waits or
locks. SimpleQueue is the one queue of the standard library that promises this. The wake
function must keep the same promise (write to a pipe, put into a SimpleQueue; never set an
Event) and is called once until the next `pop` that finds the inbox empty.
"""

import queue
from collections.abc import Callable

__all__ = ["Inbox"]


class Inbox:
    """An unbounded first-in, first-out hand-over that never blocks who puts.

    Args:
        wake: called, from any thread or finalizer, when the inbox stops being empty.
    """

    __slots__ = ("_queue", "_wake", "_woken")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._wake = wake
        self._woken = False

    def put(self, action: Callable[[], object]) -> None:
        """Hand `action` over; it runs in the owner's turn."""
        self._queue.put(action)
        if not self._woken:
            self._woken = True
            self._wake()

    def pop(self) -> Callable[[], object] | None:
        """Take the oldest action, or None and arm the wake function again."""
        if self._queue.empty():
            self._woken = False
            # What was put between the look and the re-arming had no wake of its own.
            if self._queue.empty():
                return None
        try:
            return self._queue.get_nowait()
        except queue.Empty:  # another thread was faster
            return None

    def __len__(self) -> int:
        return self._queue.qsize()
