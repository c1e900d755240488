"""Flows on every scheduler, and what their telemetry says."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from rxotlp.schedulers import AsyncScheduler, SerialScheduler, SyncScheduler, VirtualScheduler

PATIENCE = 30.0  # seconds; no test is meant to need one


@pytest.fixture(params=["sync", "async", "virtual"])
def scheduler(request: pytest.FixtureRequest) -> Iterator[SerialScheduler]:
    """Each of the schedulers; the asyncio one on a loop in another thread."""
    if request.param == "sync":
        with SyncScheduler() as sync:
            yield sync
    elif request.param == "virtual":
        with VirtualScheduler() as virtual:
            yield virtual
    else:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="test-loop")
        thread.start()
        asynchronous = AsyncScheduler(loop)
        yield asynchronous
        asyncio.run_coroutine_threadsafe(asynchronous.aclose(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


@pytest.fixture
def clock() -> Iterator[VirtualScheduler]:
    """Time that the test moves."""
    with VirtualScheduler() as virtual:
        yield virtual
