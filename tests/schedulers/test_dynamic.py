"""The dynamic scheduler: its limits move, everyone who follows them hears, and it ends well."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import reactivex as rx

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.admission import Admission
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError, RefusedError
from rxotlp.schedulers import (
    AdjustmentController,
    AdjustmentSettings,
    Decision,
    DynamicScheduler,
    Metrics,
    PerformanceMonitor,
    PriorityClass,
    TaskScheduler,
    VirtualScheduler,
)
from rxotlp.testing import Recorder, Rig, SlowRecorder, logs

CLASSES = {"alerts": PriorityClass(3, target=0.05), "bulk": PriorityClass(0, target=60.0)}
BUSY = Metrics(0.0, 0.9, 0.5)


class Machine:
    """What the monitor will say."""

    def __init__(self) -> None:
        self.cpu = self.memory = 0.1


@pytest.fixture
def clock() -> Iterator[VirtualScheduler]:
    with VirtualScheduler() as virtual:
        yield virtual


def dynamic_on(
    clock: VirtualScheduler, machine: Machine, settings: AdjustmentSettings | None = None
) -> DynamicScheduler:
    """One in virtual time, with a scripted machine."""
    return DynamicScheduler(
        TaskScheduler(on=clock),
        monitor=PerformanceMonitor(
            cpu=lambda: machine.cpu, memory=lambda: machine.memory, clock=lambda: clock.clock
        ),
        settings=settings,
        classes=CLASSES,
        scheduler=clock,
    )


def names(decisions: list[Decision]) -> list[str]:
    return [decision.action for decision in decisions]


# -- adjusting -----------------------------------------------------------------------------------


def test_it_adjusts_every_ten_seconds_and_goes_all_the_way_back(clock: VirtualScheduler) -> None:
    """A peak of CPU lowers concurrency; when it is over, everything is as before."""
    machine = Machine()
    heard: list[Decision] = []
    limits: list[float] = []
    with dynamic_on(clock, machine) as dynamic:
        dynamic.decisions.subscribe(heard.append)
        dynamic.concurrency.subscribe(limits.append)
        dynamic.start_dynamic_adjustment()
        machine.cpu = 0.95
        clock.advance_to(45)
        assert limits == [8, 4, 2]
        assert dynamic.base._workers.max_workers == 2
        machine.cpu = 0.2
        clock.advance_to(1000)
        assert limits == [8, 4, 2, 3, 4, 5, 6, 7, 8]
    first = heard[0]
    assert first.metrics is not None
    assert (first.metrics.at, first.metrics.cpu_usage) == (20.0, 0.95)
    assert first.reason == "CPU 0.95 > 0.8 in 2 samples"


def test_by_hand_one_sample_makes_one_step(clock: VirtualScheduler) -> None:
    """For programs that have a loop of their own, and for tests."""
    machine = Machine()
    machine.memory = 0.92
    with dynamic_on(clock, machine) as dynamic:
        assert dynamic.adjust_scheduling() == []
        assert names(dynamic.adjust_scheduling()) == ["increase_batch_size"]


def test_starting_again_replaces_the_interval_and_disposing_stops(clock: VirtualScheduler) -> None:
    """Two loops would count every sample twice."""
    with dynamic_on(clock, Machine()) as dynamic:
        samples: list[Metrics] = []
        dynamic.measurements.subscribe(samples.append)
        dynamic.start_dynamic_adjustment(1.0)
        running = dynamic.start_dynamic_adjustment(5.0)
        clock.advance_to(10)
        assert [sample.at for sample in samples] == [5.0, 10.0]
        running.dispose()
        clock.advance_to(100)
        assert len(samples) == 2


def test_a_monitor_that_raises_is_asked_again(
    clock: VirtualScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    """A file of /sys that is missing for a moment must not end the control loop."""
    machine = Machine()
    asked = 0

    def memory() -> float:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise OSError("gone for a moment")
        return machine.memory

    base = TaskScheduler(on=clock)
    monitor = PerformanceMonitor(cpu=lambda: 0.9, memory=memory, clock=lambda: clock.clock)
    with DynamicScheduler(base, monitor=monitor, scheduler=clock) as dynamic:
        dynamic.start_dynamic_adjustment()
        clock.advance_to(30)
        assert "gone for a moment" in caplog.text
        assert asked == 3
        assert dynamic.controller.settings.concurrency == 8
        assert "concurrency 4" in repr(dynamic)


# -- tasks ---------------------------------------------------------------------------------------


def test_a_class_that_misses_its_target_gains_and_loses_it_again(clock: VirtualScheduler) -> None:
    """Alerts that come after bulk work that waits already are late; then they are not."""
    settings = AdjustmentSettings(concurrency=1)
    with dynamic_on(clock, Machine(), settings) as dynamic:
        dynamic.start_dynamic_adjustment(1.0)
        decided: list[Decision] = []
        dynamic.decisions.subscribe(decided.append)
        for _ in range(3):
            dynamic.monitor.observe(0.2, "alerts")
            clock.advance_by(1.0)
        assert decided[0].before == {"alerts": 0.0, "bulk": 0.0}
        assert decided[0].after == {"alerts": 2.0, "bulk": 0.0}
        assert dynamic.priority("alerts") == 5.0
        assert dynamic.priority("bulk") == 0.0
        clock.advance_by(60)  # what was late is forgotten
        assert dynamic.priority("alerts") == 3.0


def test_tasks_are_timed_by_class(clock: VirtualScheduler) -> None:
    """From when they were due to their end: waiting is what a user feels."""
    with dynamic_on(clock, Machine()) as dynamic:
        dynamic.schedule_task(lambda: asyncio.sleep(0.5), "bulk", delay=2.0)
        dynamic.schedule_task(lambda: 1 / 0, "alerts")
        clock.advance_by(5.0)
        metrics = dynamic.monitor.get_current_metrics()
        assert metrics.latencies == pytest.approx({"bulk": 0.5})  # what failed says nothing


def test_the_workers_follow_the_limit_on_threads() -> None:
    """Fewer stop nothing; more begin at once what waits."""
    with TaskScheduler(max_workers=3) as tasks:
        gate = threading.Semaphore(0)
        begun = threading.Semaphore(0)
        done = []

        def work() -> None:
            begun.release()
            gate.acquire(timeout=30)

        done = [tasks.schedule_task(work) for _ in range(12)]
        for _ in range(3):
            assert begun.acquire(timeout=30)
        tasks.resize(1)
        gate.release(3)
        assert begun.acquire(timeout=30)
        assert not begun.acquire(timeout=0.05)
        assert tasks.statistics().running == 1
        tasks.resize(4)
        for _ in range(3):
            assert begun.acquire(timeout=30)
        gate.release(12)
        for one in done:
            one.result(30)
        tasks.resize(1)
        assert tasks.schedule_task(lambda: 7).result(30) == 7
        assert len(tasks._workers._threads) <= 1  # type: ignore[attr-defined]


# -- operators and sources -----------------------------------------------------------------------


def test_operators_follow_the_limits_and_the_byte_cap_stays() -> None:
    """A larger batch is still no larger than what the backend takes in one request."""
    controller = AdjustmentController(AdjustmentSettings(batch_size=2, max_batch_size=1000))
    sizes: list[int] = []

    def weigh(data: TelemetryData) -> Outcome:
        sizes.append(data.size)
        return DELIVERED

    backend = Recorder(weigh)
    with Rig(
        ops.batch(max_items=controller.batch_size, max_bytes=300, max_delay=60),
        ops.export(backend, max_concurrent=controller.concurrency),
    ) as rig:
        rig.send([1])
        rig.send([2])
        assert backend.delivered == [1, 2]
        while controller.increase_batch_size() is not None:
            rig.clock.advance_by(0)
        assert rig.books["batch"].limits == {"max_items": 1000}
        for number in range(100):
            rig.send([number])
        assert len(sizes) > 5
        assert max(sizes) <= 300
        rig.clock.advance_by(61)
        assert len(backend.delivered) == 102


def test_admission_refuses_at_once_with_a_time_and_lets_in_again(clock: VirtualScheduler) -> None:
    """Who is refused comes back; who is killed for its memory does not."""
    machine = Machine()
    admission = Admission(max_bytes=1000, retry_after=1.0)
    late = Admission()
    waited: list[Any] = []
    with dynamic_on(clock, machine) as dynamic:
        dynamic.guard(admission)
        held = admission.reserve(400)
        machine.memory = 0.96
        assert names(dynamic.adjust_scheduling()) == ["refuse"]
        with pytest.raises(RefusedError, match=r"memory 0\.96 >= 0\.95") as refused:
            admission.reserve(1)
        assert refused.value.retry_after == 10.0
        held.resize(500)  # what is in may finish
        admission.acquire(10, waited.append)
        held.release()
        assert waited == []
        guarded = dynamic.guard(late)  # one that comes late is told
        with pytest.raises(RefusedError):
            late.reserve(1)
        guarded.dispose()
        late.reserve(1)
        machine.memory = 0.5
        assert names(dynamic.adjust_scheduling() + dynamic.adjust_scheduling()) == []
        assert names(dynamic.adjust_scheduling()) == ["admit"]
        assert len(waited) == 1
        assert admission.reserve(1).size == 1
        assert admission.retry_after == 1.0


def test_closing_opens_every_door_and_completes_the_streams(clock: VirtualScheduler) -> None:
    """A control loop that was ended while it refused must not refuse for ever."""
    machine = Machine()
    machine.memory = 0.99
    admission = Admission()
    ended: list[str] = []
    dynamic = dynamic_on(clock, machine)
    dynamic.guard(admission)
    for name in ("concurrency", "batch_size", "decisions", "measurements"):
        stream: rx.Observable[Any] = getattr(dynamic, name)
        stream.subscribe(on_completed=lambda name=name: ended.append(name))  # type: ignore[misc]
    dynamic.adjust_scheduling()
    dynamic.close()
    dynamic.close()
    admission.reserve(1)
    with pytest.raises(PipelineError, match=r"after close\(\)"):
        dynamic.start_dynamic_adjustment()
    assert sorted(ended) == ["batch_size", "concurrency", "decisions", "measurements"]


def test_a_door_that_several_guard_is_open_when_the_last_of_them_opens_it(
    clock: VirtualScheduler,
) -> None:
    """One loop that calms down must not let in what another, or a memory limit, keeps out."""
    machine, other = Machine(), Machine()
    machine.memory = other.memory = 0.99
    admission = Admission()
    one, two = dynamic_on(clock, machine), dynamic_on(clock, other)
    guards = [one.guard(admission), one.guard(admission), two.guard(admission)]
    one.adjust_scheduling()
    two.adjust_scheduling()
    for guard in guards[:2]:
        guard.dispose()
        guard.dispose()
        with pytest.raises(RefusedError):
            admission.reserve(1)
    two.close()
    admission.reserve(1)
    two.guard(admission)  # after its end it would never be opened again
    admission.reserve(1)
    one.close()


def test_no_observer_keeps_another_from_hearing() -> None:
    """Whatever one makes of a limit, an operator that follows it must not miss a step."""
    controller = AdjustmentController()
    heard: list[tuple[str, Any]] = []

    def raises(_value: Any) -> None:
        raise RuntimeError("an observer's")

    for name in ("concurrency", "batch_size", "decisions", "measurements"):
        stream: rx.Observable[Any] = getattr(controller, name)
        stream.subscribe(raises, on_completed=lambda: raises(None))
        stream.subscribe(
            lambda _, name=name: heard.append((name, "next")),  # type: ignore[misc]
            on_completed=lambda name=name: heard.append((name, "end")),  # type: ignore[misc]
        )
    heard.clear()  # the limits as they were
    controller.reduce_concurrency()
    controller.increase_batch_size()
    controller.sample(Metrics(at=0.0, cpu_usage=0.7, memory_usage=0.8))
    controller.close()
    assert heard == [
        ("concurrency", "next"),
        ("decisions", "next"),
        ("batch_size", "next"),
        ("decisions", "next"),
        ("measurements", "next"),
        ("concurrency", "end"),
        ("batch_size", "end"),
        ("decisions", "end"),
        ("measurements", "end"),
    ]


@pytest.mark.parametrize("refuses", [False, True])
def test_larger_batches_alone_make_memory_worse(clock: VirtualScheduler, refuses: bool) -> None:
    """What fills a batch is held. Only taking in less keeps a process within its memory."""
    budget = 8_000  # bytes; the process is killed above it
    machine = Machine()
    peak = 0.0
    with Rig() as rig:
        settings = AdjustmentSettings(
            batch_size=10, max_batch_size=100_000, memory_refuse=0.95 if refuses else 99.0
        )
        dynamic = DynamicScheduler(
            TaskScheduler(on=rig.clock),
            monitor=PerformanceMonitor(
                cpu=lambda: 0.1,
                memory=lambda: rig.feed.admission.bytes / budget,
                clock=lambda: rig.clock.clock,
            ),
            settings=settings,
            scheduler=rig.clock,
        )
        dynamic.guard(rig.feed.admission)
        dynamic.start_dynamic_adjustment(0.1)
        rig.run(
            ops.batch(max_items=dynamic.batch_size, max_delay=3.0),
            ops.export(SlowRecorder(1.0), max_concurrent=2),
        )
        refused = 0
        for _ in range(600):
            data = logs([1])
            try:
                credit = rig.feed.admission.reserve(100)
            except RefusedError:
                refused += 1
            else:
                rig.feed.admit(data, credit=credit)
            del data
            rig.clock.advance_by(0.01)
            peak = max(peak, rig.feed.admission.bytes / budget)
        assert (refused > 0) is refuses
        assert (peak <= 1.1) is refuses
        assert machine.memory == 0.1
        dynamic.close()
        rig.clock.advance_by(30)


# -- the controller ------------------------------------------------------------------------------


def test_an_observer_may_ask_for_the_next_step_and_one_that_raises_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Observers are other people's code, and run inside the control loop."""
    controller = AdjustmentController()
    limits: list[float] = []
    controller.concurrency.subscribe(limits.append)

    def again(_decision: Decision) -> None:
        controller.reduce_concurrency()

    controller.decisions.subscribe(again)
    controller.reduce_concurrency()
    assert limits == [8, 4, 2, 1]

    def raises(_decision: Decision) -> None:
        raise RuntimeError("an observer's")

    controller.decisions.subscribe(raises)
    controller.restore_concurrency()
    assert limits[4:] == [2, 1]
    assert "an observer's" in caplog.text


def test_threads_that_adjust_at_once_publish_one_order() -> None:
    """The last value that a stage hears is the limit, or it runs with a wrong one for ever."""
    controller = AdjustmentController(AdjustmentSettings(concurrency=1000))
    limits: list[float] = []
    controller.concurrency.subscribe(limits.append)

    def work() -> None:
        for _ in range(200):
            controller.reduce_concurrency()
            controller.restore_concurrency()
            controller.sample(BUSY)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert limits[-1] == controller._adjuster.concurrency
    assert all(before != after for before, after in itertools.pairwise(limits))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: DynamicScheduler(7), TypeError, "expected a TaskScheduler"),  # type: ignore[arg-type]
        (
            lambda: DynamicScheduler(scheduler=rx.scheduler.ImmediateScheduler()),  # type: ignore[arg-type]
            TypeError,
            "expected a scheduler of",
        ),
        (
            lambda: AdjustmentController({"cpu_high": 1}),  # type: ignore[arg-type]
            TypeError,
            "expected AdjustmentSettings",
        ),
        (
            lambda: AdjustmentController(classes={"a": 3}),  # type: ignore[dict-item]
            TypeError,
            "expected a PriorityClass",
        ),
        (
            lambda: AdjustmentController(classes=["a"]),  # type: ignore[arg-type]
            TypeError,
            "expected names",
        ),
        (
            lambda: DynamicScheduler(monitor=3),  # type: ignore[arg-type]
            TypeError,
            "expected a PerformanceMonitor",
        ),
        (lambda: AdjustmentController().guard(3), TypeError, "expected an admission"),  # type: ignore[arg-type]
        (lambda: AdjustmentController().priority("no"), ValueError, "expected one of"),
        (
            lambda: DynamicScheduler().start_dynamic_adjustment(0),
            ValueError,
            "expected seconds above 0",
        ),
        (
            lambda: DynamicScheduler().start_dynamic_adjustment(1e300),
            ValueError,
            "expected seconds above 0",
        ),
        (lambda: TaskScheduler().resize(0), ValueError, "expected 1 or more"),
    ],
)
def test_what_cannot_work_is_refused(make: Any, error: type[Exception], text: str) -> None:
    """By name, value and reason, where it was written."""
    with pytest.raises(error, match=text):
        make()
