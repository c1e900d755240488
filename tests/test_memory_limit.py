"""The memory limit: when it refuses, how hard, and when it lets in again."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from rxotlp import operators as ops
from rxotlp.admission import Admission, Refusal
from rxotlp.errors import RefusedError
from rxotlp.memory_limit import Level, MemoryGuard, MemoryLimit
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import SyncScheduler, VirtualScheduler
from rxotlp.testing import Feed, Recorder, logs


class Scripted:
    """What is in use, as a test says."""

    def __init__(self, used: float = 0.1) -> None:
        self.used = used

    def __call__(self) -> float:
        return self.used


def level(guard: MemoryGuard) -> Level:
    """Asked anew each time, for the type checker."""
    return guard.level


def refusal(admission: Admission) -> Refusal | None:
    """As `level`."""
    return admission.refusal


def refuses(admission: Admission) -> bool:
    """Whether it lets nothing in."""
    return admission.refusal is not None


@contextmanager
def guarded(**limits: Any) -> Iterator[tuple[VirtualScheduler, Admission, MemoryGuard, Scripted]]:
    """A guard over one admission, in virtual time."""
    memory, admission = Scripted(), Admission(retry_after=1.0)
    with VirtualScheduler() as clock:
        guard = MemoryGuard(MemoryLimit(measure=memory, **limits), [admission], clock)
        yield clock, admission, guard, memory
        guard.dispose()


def test_above_the_soft_limit_senders_are_refused_with_a_time() -> None:
    """They come back; a process that is killed loses what it has acknowledged."""
    with guarded(retry_after=7) as (clock, admission, guard, memory):
        clock.advance_by(10)
        admission.reserve(1)
        memory.used = 0.81
        clock.advance_by(0.5)
        assert level(guard) is Level.SOFT
        with pytest.raises(RefusedError, match="memory: 81% in use, more than 80%") as refused:
            admission.reserve(1)
        assert (refused.value.retry_after, refused.value.permanent) == (7, False)
        assert admission.refusal is not None
        assert not admission.refusal.unread


def test_above_the_hard_limit_requests_are_refused_unread() -> None:
    """What is being read may be what fills the memory."""
    with guarded() as (clock, admission, guard, memory):
        body = admission.reserve(10)
        memory.used = 0.96
        clock.advance_by(0.5)
        assert level(guard) is Level.HARD
        assert admission.refusal is not None
        assert admission.refusal.unread
        with pytest.raises(RefusedError, match="more than 95%"):
            body.resize(20)
        memory.used = 0.9
        clock.advance_by(0.5)
        assert level(guard) is Level.SOFT
        body.resize(20)


def test_it_lets_in_again_only_well_below_the_limit() -> None:
    """At the limit itself a few requests would shut it again, and again."""
    with guarded() as (clock, admission, guard, memory):
        memory.used = 0.85
        clock.advance_by(0.5)
        memory.used = 0.78
        clock.advance_by(60)
        assert level(guard) is Level.SOFT
        memory.used = 0.75
        clock.advance_by(0.5)
        assert level(guard) is Level.OPEN
        assert refusal(admission) is None
        memory.used = 0.78
        clock.advance_by(60)
        assert level(guard) is Level.OPEN


def test_it_does_not_undo_what_others_refuse() -> None:
    """A control loop may have reasons of its own."""
    with guarded() as (clock, admission, guard, memory):
        admission.refuse("busy", retry_after=2)
        memory.used = 0.9
        clock.advance_by(0.5)
        memory.used = 0.1
        clock.advance_by(0.5)
        assert level(guard) is Level.OPEN
        with pytest.raises(RefusedError, match="busy"):
            admission.reserve(1)


def test_disposed_it_lets_in_and_looks_no_more() -> None:
    """A source outlives its pipeline, and must not be shut for ever."""
    with guarded() as (clock, admission, guard, memory):
        memory.used = 0.9
        clock.advance_by(0.5)
        guard.dispose()
        assert refusal(admission) is None
        clock.advance_by(60)
        assert refusal(admission) is None


def test_a_pipeline_guards_its_sources_while_it_runs() -> None:
    """One argument, and one line in the way of senders."""
    feed, memory, clock = Feed(), Scripted(0.99), VirtualScheduler()
    limit = MemoryLimit(measure=memory)
    stream = feed.pipe(ops.batch(max_delay=3600), ops.export(Recorder()))
    with clock:
        with Pipeline(stream, scheduler=clock, memory_limit=limit) as pipeline:
            held = feed.admit(logs([1]), credit=feed.admission.reserve(10))
            clock.advance_by(1)
            assert pipeline.unready == "feed refuses: memory: 99% in use, more than 95%"
            assert held.settled, "whoever holds something is told to hurry"
            memory.used = 0.5
            clock.advance_by(1)
            assert not refuses(feed.admission)
            memory.used = 0.99
            clock.advance_by(1)
        assert refusal(feed.admission) is None
        assert clock.clock < 10, "a drain in virtual time waits for no look at the memory"


def test_what_really_is_in_use_is_measured() -> None:
    """In shares of the cgroup or machine, and in bytes of this process."""
    with SyncScheduler() as scheduler:
        for limit in (MemoryLimit(soft=1e-6, every=0.01), MemoryLimit(soft=1 << 20, every=0.01)):
            admission = Admission()
            guard = MemoryGuard(limit, [admission], scheduler)
            assert scheduler.wait_for(partial(refuses, admission), timeout=30)
            assert guard.used > limit.soft
            guard.dispose()
        open_door = Admission()
        roomy = MemoryGuard(MemoryLimit(soft=1 << 50, every=0.01), [open_door], scheduler)
        assert scheduler.wait_for(lambda: roomy.used > 1 << 20, timeout=30)
        assert open_door.refusal is None
        roomy.dispose()


@pytest.mark.parametrize(
    ("text", "soft", "ceiling"),
    [
        ("80%", 0.8, 0.95),
        ("90%", 0.9, 1.0),
        ("70%, 75%", 0.7, 0.75),
        ("800MiB", 800 << 20, 950 << 20),
        ("1GiB,1.5GiB", 1 << 30, 3 << 29),
        ("1048576", 1 << 20, (1 << 20) * 0.95 / 0.8),
    ],
)
def test_limits_as_people_write_them(text: str, soft: float, ceiling: float) -> None:
    """On a command line."""
    limit = MemoryLimit.parse(text)
    assert limit.soft == pytest.approx(soft)
    assert limit.ceiling == pytest.approx(ceiling)


@pytest.mark.parametrize(
    "text", ["", "0%", "101%", "many", "80%,", "1MiB,2MiB,3MiB", "0.5", "-1MiB", "80%,1GiB", "5%5"]
)
def test_what_is_no_limit_is_told(text: str) -> None:
    """Before anything listens."""
    with pytest.raises(ValueError, match="expected"):
        MemoryLimit.parse(text)


@pytest.mark.parametrize(
    "bad",
    [
        {"soft": 0},
        {"soft": float("nan")},
        {"soft": 0.8, "hard": 0.7},
        {"soft": 0.8, "hard": 2},
        {"every": 0},
        {"retry_after": -1},
    ],
)
def test_arguments_out_of_range(bad: dict[str, float]) -> None:
    """They fail where they are written."""
    with pytest.raises(ValueError, match=r"MemoryLimit\("):
        MemoryLimit(**bad)  # type: ignore[arg-type]


def test_a_pipeline_takes_only_a_limit() -> None:
    """A bare number would not say of what."""
    with pytest.raises(TypeError, match="expected a MemoryLimit"):
        Pipeline(Feed(), memory_limit=0.8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected 'stop' or 'restart'"):
        Pipeline(Feed(), on_error="again")  # type: ignore[arg-type]
