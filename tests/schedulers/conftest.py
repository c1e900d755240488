"""One rig a scheduler, so that what all three promise is tested on all three."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from rxotlp.schedulers import AsyncScheduler, SerialScheduler, SyncScheduler, VirtualScheduler

T = TypeVar("T")

PATIENCE = 30.0  # seconds; no test is meant to need one


class Rig:
    """A scheduler and how a test gets at its turn; this one is for SyncScheduler."""

    def __init__(self, scheduler: SerialScheduler) -> None:
        self.scheduler = scheduler

    def call(self, function: Callable[[], T]) -> T:
        """Call where `schedule` runs inline."""
        return function()

    def until(self, predicate: Callable[[], bool]) -> None:
        """Let the scheduler run until the predicate holds."""
        assert self.scheduler.wait_for(predicate, timeout=PATIENCE)

    def close(self) -> int:
        return self.scheduler.close()

    def end(self) -> None:
        self.scheduler.close()


class AsyncRig(Rig):
    """An AsyncScheduler on a loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="test-loop")
        self.thread.start()
        super().__init__(AsyncScheduler(self.loop))

    def call(self, function: Callable[[], T]) -> T:
        async def called() -> T:
            return function()

        return self._on_loop(called())

    def until(self, predicate: Callable[[], bool]) -> None:
        assert isinstance(self.scheduler, AsyncScheduler)
        waiting = self.scheduler.wait_for_async(predicate, timeout=PATIENCE)
        assert self._on_loop(waiting)

    def _on_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def end(self) -> None:
        self.scheduler.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


_RIGS: dict[str, Callable[[], Rig]] = {
    "sync": lambda: Rig(SyncScheduler()),
    "async": AsyncRig,
    "virtual": lambda: Rig(VirtualScheduler()),
}


@pytest.fixture(params=list(_RIGS))
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Each scheduler in turn."""
    made = _RIGS[request.param]()
    yield made
    made.end()


@pytest.fixture(params=["sync", "async"])
def threaded_rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The schedulers that several threads use at once."""
    made = _RIGS[request.param]()
    yield made
    made.end()
