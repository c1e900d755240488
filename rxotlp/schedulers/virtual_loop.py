"""An asyncio loop without I/O whose time is somebody else's.

Its timers are timers of that clock and its callbacks run when `step` is called, so a
coroutine that sleeps advances virtual time exactly and two runs are alike. Threads may call
`call_soon_threadsafe`; sockets, pipes and subprocesses raise.
"""

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple

from reactivex import abc

__all__ = ["VirtualLoop"]

_Ts = TypeVarTuple("_Ts")
_Arm = Callable[[float, Callable[[], object]], abc.DisposableBase]


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop driven from outside.

    Args:
        clock: seconds.
        arm: `arm(when, callback)` calls back when the clock reads `when`.
    """

    def __init__(self, clock: Callable[[], float], arm: _Arm) -> None:
        super().__init__()
        self._virtual_clock = clock
        self._arm = arm
        self._callbacks: deque[asyncio.Handle] = deque()

    def __del__(self) -> None:
        pass  # BaseEventLoop warns of loops that were not closed; this one holds nothing

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual_clock()

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call at the next step."""
        handle = asyncio.Handle(callback, args, self, context)
        self._callbacks.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # appending to a deque is

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call when virtual time is `when`."""
        handle = _TimerHandle(when, callback, args, self, context)
        handle.timer = self._arm(when, lambda: self._callbacks.append(handle))
        return handle

    @property
    def has_callbacks(self) -> bool:
        """True when a step would call something."""
        return bool(self._callbacks)

    def step(self) -> None:
        """Run the callbacks that wait now; those that they add wait for the next step."""
        outer = events._get_running_loop()
        events._set_running_loop(self)
        try:
            for _ in range(len(self._callbacks)):
                handle = self._callbacks.popleft()
                if not handle.cancelled():
                    handle._run()
                del handle
        finally:
            events._set_running_loop(outer)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        # BaseEventLoop counts its own timers here; ours have left the heap already.
        pass


class _TimerHandle(asyncio.TimerHandle):
    timer: abc.DisposableBase | None = None

    def cancel(self) -> None:
        super().cancel()
        if self.timer is not None:
            self.timer.dispose()
            self.timer = None
