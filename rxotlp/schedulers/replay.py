"""A recorded series of measurements, played again: what would have been decided, and when.

    recorded: list[Metrics] = []
    dynamic.measurements.subscribe(recorded.append)
    ...
    decisions = replay(recorded, settings=AdjustmentSettings(cpu_high=0.7))

Virtual time: an hour takes milliseconds and is the same twice. What it cannot show is what
the decisions would have changed about the measurements.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from reactivex import abc

from rxotlp._core.adjusting import AdjustmentSettings, Decision, Metrics, PriorityClass
from rxotlp.schedulers.controller import AdjustmentController
from rxotlp.schedulers.virtual import VirtualScheduler

__all__ = ["read_series", "replay", "write_series"]


def replay(
    series: Iterable[Metrics],
    *,
    settings: AdjustmentSettings | None = None,
    classes: Mapping[str, PriorityClass] = MappingProxyType({}),
    follow: Callable[[AdjustmentController, VirtualScheduler], object] | None = None,
) -> list[Decision]:
    """Play a series, each sample at its time after the first.

    Args:
        series: in order of time.
        settings, classes: what to decide by.
        follow: called before the first sample, to subscribe to the controller's streams, or
            to run operators on the clock.

    Returns:
        All decisions; each has the sample that led to it.

    Raises:
        ValueError: a sample is earlier than the one before it.
    """
    samples = list(series)
    for before, after in itertools.pairwise(samples):
        if after.at < before.at:
            raise ValueError(
                f"replay(series): expected samples in order of time, "
                f"got {after.at!r} after {before.at!r}"
            )
    clock = VirtualScheduler()
    controller = AdjustmentController(settings, classes=classes)
    decisions: list[Decision] = []
    controller.decisions.subscribe(decisions.append)
    if follow is not None:
        follow(controller, clock)

    def take(_scheduler: abc.SchedulerBase, metrics: Metrics | None) -> None:
        assert metrics is not None
        controller.sample(metrics)

    for metrics in samples:
        clock.schedule_relative(metrics.at - samples[0].at, take, metrics)
    if samples:
        clock.advance_by(samples[-1].at - samples[0].at)
    controller.close()
    clock.close()
    return decisions


def write_series(path: str | Path, series: Iterable[Metrics]) -> None:
    """Write a series as JSON, a sample a line."""
    lines = [json.dumps({**asdict(one), "latencies": dict(one.latencies)}) for one in series]
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_series(path: str | Path) -> list[Metrics]:
    """Read what `write_series` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line of it is no sample; the message says which.
    """
    series = []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            series.append(_sample(**json.loads(line)))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path}:{number}: expected a sample, got {line:.80}: {error}"
            ) from None
    return series


def _sample(
    at: float,
    cpu_usage: float,
    memory_usage: float,
    latency: float | None = None,
    latencies: Mapping[str, float] = MappingProxyType({}),
) -> Metrics:
    latencies = dict(latencies)
    numbers = [at, cpu_usage, memory_usage, *latencies.values()]
    for number in numbers if latency is None else [*numbers, latency]:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"expected a number, got {number!r}")
    return Metrics(at, cpu_usage, memory_usage, latency, latencies)
