"""One private thread with an asyncio loop, for coroutines of a scheduler without one."""

import asyncio
import logging
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable

__all__ = ["LoopThread"]

logger = logging.getLogger("rxotlp")


def _loop_factory() -> Callable[[], AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # an optional extra; where it exists it halves the cost of I/O
        return asyncio.new_event_loop
    return uvloop.new_event_loop


class LoopThread:
    """A loop that runs, from the start, until `close` on a daemon thread of its own."""

    __slots__ = ("_thread", "loop")

    def __init__(self) -> None:
        self.loop = _loop_factory()()
        self._thread = threading.Thread(
            target=_run, args=(self.loop,), name="rxotlp-loop", daemon=True
        )
        running = threading.Event()
        self.loop.call_soon(running.set)
        self._thread.start()
        running.wait()  # or who looks at once sees a loop that does not run

    def close(self, timeout: float) -> bool:
        """Cancel its tasks, wait for them and stop. False when that takes longer."""
        if self.loop.is_closed():
            return True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout)
        if self._thread.is_alive():
            logger.warning("coroutines still run %.1f s after close()", timeout)
            return False
        return True


def _run(loop: AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        # As asyncio.run ends: whoever awaits is told, and may clean up.
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
