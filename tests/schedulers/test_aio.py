"""The asyncio scheduler: one loop, and the ways onto it."""

import asyncio
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from rxotlp.errors import PipelineError
from rxotlp.schedulers import AsyncScheduler
from rxotlp.schedulers.executor import BUDGET

PATIENCE = 30.0


def test_everything_runs_on_the_loops_thread() -> None:
    """Handlers of an asyncio application expect its thread."""

    async def main() -> set[int]:
        threads: set[int] = set()
        count = 0

        def note(*_: Any) -> None:
            nonlocal count
            count += 1
            threads.add(threading.get_ident())

        async with AsyncScheduler() as scheduler:
            scheduler.schedule(note)
            scheduler.post(note)
            scheduler.schedule_relative(0.001, note)
            scheduler.run_blocking(lambda: None, note)
            scheduler.run_coroutine(asyncio.sleep(0), note)
            other = threading.Thread(target=lambda: scheduler.schedule(note))
            other.start()
            assert await scheduler.wait_for_async(lambda: count == 6, timeout=PATIENCE)
            other.join()
        return threads

    assert asyncio.run(main()) == {threading.get_ident()}


def test_without_a_loop_the_first_use_says_what_to_do() -> None:
    """The plain mistake: made and used before asyncio.run."""
    scheduler = AsyncScheduler()
    with pytest.raises(PipelineError, match=r"AsyncScheduler\(loop\)"):
        scheduler.schedule(lambda *_: None)
    with pytest.raises(PipelineError, match=r"AsyncScheduler\(loop\)"):
        _ = scheduler.loop
    # And the mistake can be mended.
    ran: list[int] = []

    async def main() -> None:
        scheduler.schedule(lambda *_: ran.append(1))
        await scheduler.aclose()

    asyncio.run(main())
    assert ran == [1]


def test_actions_given_before_the_loop_runs_wait_for_it() -> None:
    """A pipeline may be put together before `run_until_complete`."""
    loop = asyncio.new_event_loop()
    scheduler = AsyncScheduler(loop)
    ran: list[str] = []
    scheduler.schedule(lambda *_: ran.append("scheduled"))
    scheduler.post(lambda: ran.append("posted"))
    scheduler.schedule_relative(0.001, lambda *_: ran.append("timer"))
    assert ran == []
    loop.run_until_complete(scheduler.wait_for_async(lambda: len(ran) == 3, timeout=PATIENCE))
    loop.run_until_complete(scheduler.aclose())
    loop.close()
    assert sorted(ran) == ["posted", "scheduled", "timer"]


def test_wait_for_names_the_way_out() -> None:
    """Blocking the loop would stop the actions that are waited for."""

    async def main() -> None:
        async with AsyncScheduler() as scheduler:
            with pytest.raises(PipelineError, match=r"await scheduler\.wait_for_async"):
                scheduler.wait_for(lambda: True)

    asyncio.run(main())


def test_wait_for_async_gives_up_after_its_timeout_and_leaves_nothing_behind() -> None:
    """A source that is stopped must be able to leave."""

    async def main() -> None:
        async with AsyncScheduler() as scheduler:
            assert not await scheduler.wait_for_async(lambda: False, timeout=0.02)
            assert not scheduler._waiters

    asyncio.run(main())


def test_wait_for_async_on_another_loop_raises() -> None:
    """Its events belong to the scheduler's loop."""
    loop = asyncio.new_event_loop()
    scheduler = AsyncScheduler(loop)
    with pytest.raises(PipelineError, match="another loop"):
        asyncio.run(scheduler.wait_for_async(lambda: True))
    scheduler.close()
    loop.close()


def test_the_loop_gets_its_turn_between_many_posted_actions() -> None:
    """A burst of telemetry must not make the application's other handlers wait for its end."""

    async def main() -> list[int]:
        ran = 0
        seen: list[int] = []

        def action() -> None:
            nonlocal ran
            ran += 1

        async with AsyncScheduler() as scheduler:
            for _ in range(10 * BUDGET):
                scheduler.post(action)
            while ran < 10 * BUDGET:
                await asyncio.sleep(0)
                seen.append(ran)
        return seen

    steps = asyncio.run(main())
    assert max(b - a for a, b in zip([0, *steps], steps, strict=False)) <= BUDGET


def test_a_finalizer_may_post_while_its_thread_is_in_the_scheduler() -> None:
    """`call_soon_threadsafe` takes locks on some loops; a write to an eventfd takes none."""

    class Dying:
        def __init__(self, inbox: Any, action: Callable[[], object]) -> None:
            self._inbox, self._action = inbox, action

        def __del__(self) -> None:
            self._inbox.put(self._action)

    async def main() -> list[int]:
        ran: list[int] = []
        async with AsyncScheduler() as scheduler:
            dying = [Dying(scheduler.inbox, lambda: ran.append(1)) for _ in range(2)]
            with scheduler._starting:
                dying.pop()
            scheduler._turn.acquire()
            dying.pop()
            scheduler._owner = threading.get_ident()
            scheduler._leave()
            assert await scheduler.wait_for_async(lambda: len(ran) == 2, timeout=PATIENCE)
        return ran

    assert asyncio.run(main()) == [1, 1]


def test_close_from_another_thread_closes_on_the_loop(
    recwarn: pytest.WarningsRecorder,
) -> None:
    """Readers and timers of a loop are touched on its own thread only."""

    async def main() -> tuple[int, list[Any]]:
        scheduler = AsyncScheduler()
        ends: list[Any] = []
        scheduler.run_coroutine(asyncio.sleep(1000), lambda *end: ends.append(end))
        scheduler.schedule_relative(1000.0, lambda *_: None)
        return await asyncio.to_thread(scheduler.close), ends

    discarded, ends = asyncio.run(main())
    assert discarded == 1
    assert [type(error) for _, error in ends] == [asyncio.CancelledError]


def test_after_close_another_thread_is_refused() -> None:
    """Its action could only run on the loop, which no longer listens."""

    async def main() -> None:
        scheduler = AsyncScheduler()
        scheduler.schedule(lambda *_: None)
        await scheduler.aclose()

        def late() -> None:
            with pytest.raises(PipelineError, match="after close"):
                scheduler.schedule(lambda *_: None)

        await asyncio.to_thread(late)

    asyncio.run(main())


def test_aclose_waits_for_coroutines_and_calls_that_have_begun() -> None:
    """`async with` ends when the work has."""
    release = threading.Event()
    ends: list[Any] = []

    async def main() -> None:
        async with AsyncScheduler() as scheduler:
            scheduler.run_blocking(release.wait, lambda *end: ends.append(end))
            scheduler.run_coroutine(asyncio.sleep(1000), lambda *end: ends.append(end))
            asyncio.get_running_loop().call_later(0.02, release.set)

    asyncio.run(main())
    assert len(ends) == 2
    assert not [t for t in threading.enumerate() if "AsyncScheduler" in t.name]


def test_it_runs_on_uvloop_as_well() -> None:
    """The gateway uses it where it exists."""
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    ran: list[Any] = []

    async def main() -> None:
        async with AsyncScheduler() as scheduler:
            scheduler.post(lambda: ran.append("posted"))
            scheduler.schedule_relative(0.001, lambda *_: ran.append("timer"))
            scheduler.run_coroutine(asyncio.sleep(0, 1), lambda *_: ran.append("coroutine"))
            other = threading.Thread(target=lambda: scheduler.schedule(lambda *_: ran.append("x")))
            other.start()
            assert await scheduler.wait_for_async(lambda: len(ran) == 4, timeout=PATIENCE)
            other.join()

    loop.run_until_complete(main())
    loop.close()


def test_after_a_fork_it_runs_on_the_childs_loop_and_does_not_wake_the_parent() -> None:
    """The parent's loop does not run in the child, and a shared eventfd would ring there."""
    ran: list[str] = []

    async def parent() -> AsyncScheduler:
        scheduler = AsyncScheduler()
        scheduler.post(lambda: ran.append("parent"))
        assert await scheduler.wait_for_async(lambda: bool(ran), timeout=PATIENCE)
        scheduler.schedule_relative(1000.0, lambda *_: None)
        return scheduler

    loop = asyncio.new_event_loop()
    scheduler = loop.run_until_complete(parent())
    inbox = scheduler.inbox
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on
        child = os.fork()
    if child == 0:
        try:
            ran.clear()

            async def check() -> None:
                assert scheduler.statistics()[:2] == (0, 0)
                scheduler.schedule(lambda *_: ran.append("inline"))
                scheduler.schedule_relative(0.001, lambda *_: ran.append("timer"))
                inbox.put(lambda: ran.append("death"))
                assert await scheduler.wait_for_async(lambda: len(ran) == 3, timeout=PATIENCE)

            asyncio.run(check())
            os.write(writer, b"ok")
        except BaseException as error:  # whatever it is, the parent must hear of it
            os.write(writer, repr(error).encode()[:1000])
        finally:
            os._exit(0)
    os.close(writer)
    assert os.read(reader, 1000) == b"ok"
    os.close(reader)
    os.waitpid(child, 0)
    with pytest.raises(BlockingIOError):
        os.read(scheduler._bell.reader, 8)  # nobody rang in the parent
    assert loop.run_until_complete(scheduler.aclose()) == 1
    loop.close()


def test_a_finalizer_may_ring_after_the_bell_is_gone() -> None:
    """One collection may find both; writing to a closed number would reach another file."""
    from rxotlp.schedulers.aio import _Bell

    bell = _Bell()
    bell.ring()
    bell.silence()
    reader = bell.reader
    bell.__del__()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)
    bell.ring()
    # The real finalizer must find something to close.
    bell.reader, bell._writer = os.pipe()


def test_inside_its_block_any_thread_may_be_the_first() -> None:
    """The loop is the one that runs the block; a thread has none of its own to offer."""

    async def main() -> None:
        async with AsyncScheduler() as scheduler:
            ran = asyncio.Event()
            await asyncio.to_thread(scheduler.post, ran.set)
            await asyncio.wait_for(ran.wait(), 30)

    asyncio.run(main())
