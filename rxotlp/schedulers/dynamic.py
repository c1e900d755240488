"""`DynamicScheduler`: a `TaskScheduler` whose limits follow CPU, memory and latency.

    with DynamicScheduler(classes={"alerts": PriorityClass(3, target=0.05)}) as dynamic:
        dynamic.guard(source.admission)
        dynamic.start_dynamic_adjustment()
        dynamic.schedule_task(send, "alerts")

It is three parts, each usable alone: the base that runs tasks, a `PerformanceMonitor` that
measures, and an `AdjustmentController` that decides (by the table in `_core.adjusting`) and
publishes. Its workers follow `concurrency`; operators take the same limits:

    source.pipe(
        ops.batch(max_items=dynamic.batch_size),      # its max_bytes and max_delay stay
        ops.export(exporter, max_concurrent=dynamic.concurrency),
    )

Ten seconds between samples are slow on purpose: it answers to the machine. What a backend
takes is learnt within a round trip, and within these limits, by
`ops.adaptive_concurrency(max_concurrent=dynamic.concurrency)`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol, Self

from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable

from rxotlp._core.adjusting import AdjustmentSettings, Decision, Metrics, PriorityClass
from rxotlp.errors import PipelineError
from rxotlp.schedulers.base import SerialScheduler
from rxotlp.schedulers.controller import AdjustmentController, Door
from rxotlp.schedulers.default import default_scheduler
from rxotlp.schedulers.monitor import PerformanceMonitor
from rxotlp.schedulers.scheduled_task import ScheduledTask
from rxotlp.schedulers.task import TaskScheduler

__all__ = ["DynamicScheduler", "Monitor"]

DEFAULT_INTERVAL = 10.0  # seconds, as the analysis has it


class Monitor(Protocol):
    """What a `DynamicScheduler` measures with."""

    def get_current_metrics(self) -> Metrics:
        """Measure now."""

    def observe(self, seconds: float, name: str | None = None) -> None:
        """Take one latency into account."""


class DynamicScheduler:
    """Adjusts. See the module.

    Args:
        base: what runs tasks; one of its own by default, shut down with this. Its workers
            are set to `settings.concurrency`, and follow it.
        monitor: what measures; a `PerformanceMonitor` by default.
        settings: thresholds, steps and bounds.
        classes: work that belongs together, by name.
        scheduler: whose timer adjusts; the default one, or the one whose time is virtual.

    Attributes:
        base, monitor, controller: its parts.
        concurrency, batch_size: Observables of the limits, for operators.
        decisions: an Observable of every `Decision`, with the figures that led to it.
        measurements: an Observable of every sample.
    """

    def __init__(
        self,
        base: TaskScheduler | None = None,
        *,
        monitor: Monitor | None = None,
        settings: AdjustmentSettings | None = None,
        classes: Mapping[str, PriorityClass] = MappingProxyType({}),
        scheduler: SerialScheduler | None = None,
    ) -> None:
        if base is not None and not isinstance(base, TaskScheduler):
            raise TypeError(f"DynamicScheduler({base!r}): expected a TaskScheduler")
        if scheduler is not None and not isinstance(scheduler, SerialScheduler):
            raise TypeError(
                f"DynamicScheduler(scheduler={scheduler!r}): expected a scheduler of "
                "rxotlp.schedulers"
            )
        if monitor is not None and not callable(getattr(monitor, "get_current_metrics", None)):
            raise TypeError(f"DynamicScheduler(monitor={monitor!r}): expected a PerformanceMonitor")
        self.controller = AdjustmentController(settings, classes=classes)
        self._own = base is None
        self.base = TaskScheduler() if base is None else base
        self.monitor: Monitor = PerformanceMonitor() if monitor is None else monitor
        self._scheduler = scheduler
        self._timer = SerialDisposable()
        self.concurrency: Observable[float] = self.controller.concurrency
        self.batch_size: Observable[float] = self.controller.batch_size
        self.decisions: Observable[Decision] = self.controller.decisions
        self.measurements: Observable[Metrics] = self.controller.measurements
        self._workers = self.concurrency.subscribe(lambda limit: self.base.resize(int(limit)))

    def adjust_scheduling(self) -> list[Decision]:
        """Measure, and make one step, if it is time for one.

        Returns:
            What was done.
        """
        return self.controller.sample(self.monitor.get_current_metrics())

    def start_dynamic_adjustment(self, interval: float = DEFAULT_INTERVAL) -> abc.DisposableBase:
        """Adjust every `interval` seconds, the first time after one. Again replaces it.

        Args:
            interval: seconds, above 0.

        Returns:
            A disposable that stops it; the limits stay as they are.

        Raises:
            ValueError: the interval is out of its range.
            PipelineError: it is closed.

        A monitor that raises is reported by the scheduler, and asked again next time.
        """
        number = isinstance(interval, int | float) and not isinstance(interval, bool)
        if not number or not 0 < interval < 1e10:
            raise ValueError(
                f"start_dynamic_adjustment({interval!r}): expected seconds above 0; "
                "without a pause nothing else would ever run"
            )
        if self._timer.is_disposed:
            raise PipelineError("start_dynamic_adjustment() after close(): nobody would hear of it")
        scheduler = default_scheduler() if self._scheduler is None else self._scheduler
        timer = scheduler.schedule_periodic(float(interval), self._adjust)
        self._timer.disposable = timer
        return timer

    def _adjust(self, _state: None) -> None:
        self.adjust_scheduling()

    def schedule_task(
        self,
        task: Callable[[], Any],
        name: str,
        *,
        delay: float = 0.0,
        retries: int | None = None,
    ) -> ScheduledTask:
        """Run a task of a class, by its priority of now, and time it.

        Args:
            task: as for `TaskScheduler.schedule_task`.
            name: the class. What it gains later counts for what comes later: tasks that
                wait keep their places.
            delay, retries: as there.

        Raises:
            ValueError: there is no such class, or an argument is out of its range.
            PipelineError: the scheduler is shut down.
        """
        priority = self.controller.priority(name)
        began = self.base.clock
        scheduled = self.base.schedule_task(task, priority, delay=delay, retries=retries)
        due = began + delay

        def ended() -> None:
            if scheduled.state == "done":
                self.monitor.observe(max(0.0, self.base.clock - due), name)

        scheduled.when_done(ended)
        return scheduled

    def priority(self, name: str) -> float:
        """What a class's priority is now; see `AdjustmentController.priority`."""
        return self.controller.priority(name)

    def guard(self, door: Door) -> abc.DisposableBase:
        """Have a source's `admission` refuse while memory is nearly gone.

        Larger batches alone make memory worse, for what fills them is held; only taking in
        less helps. Senders hear `settings.retry_after`.

        Returns:
            A disposable that lets it in again, and forgets it.
        """
        return self.controller.guard(door)

    def close(self) -> None:
        """Adjust no more, complete the streams and open every door. Idempotent."""
        self._timer.dispose()
        self._workers.dispose()
        self.controller.close()
        if self._own:
            self.base.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<DynamicScheduler {self.controller!r} on {self.base!r}>"
