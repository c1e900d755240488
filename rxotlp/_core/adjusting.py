"""When to run less at once, batch more, favour a class, or take nothing more in.

One sample of measurements after the other, and for each what it is time to do:

    CPU > 0.8            reduce_concurrency     otherwise
    memory > 0.9         increase_batch_size    otherwise
    latency > 0.1 s      optimize_priorities
    memory >= 0.95       refuse, whatever else, at the first sample

The first measurement that is over its threshold is the one that counts, and it acts when it
has been over for two samples in a row, then after two more: a step's effect must be seen
before the next. The way back is a step at a time too, after three samples in a row at or
below a lower threshold, and not while CPU or memory is over its own: raising concurrency
because CPU is idle would make a full memory fuller. Latency that is over keeps nothing from
going back, for too little concurrency may be why.

Larger batches are fewer requests and so less overhead, but what fills a batch is held: alone
they make memory worse. That is why `refuse` exists, and why it does not wait for two samples.

No clock, no threads, nothing measured here: samples come in, decisions come out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from types import MappingProxyType
from typing import Any, Literal

__all__ = ["Action", "Adjuster", "AdjustmentSettings", "Decision", "Metrics", "PriorityClass"]

Action = Literal[
    "admit",
    "increase_batch_size",
    "optimize_priorities",
    "reduce_concurrency",
    "refuse",
    "restore_batch_size",
    "restore_concurrency",
    "restore_priorities",
]
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Metrics:
    """What was measured at one time.

    Attributes:
        at: seconds, on the clock of whoever measured.
        cpu_usage: share of the CPU that there is, 0 to 1.
        memory_usage: share of the memory that there is, 0 to 1.
        latency: seconds, a quantile over the latest; None when nothing ended lately.
        latencies: the same by class, for classes that had any.
    """

    at: float
    cpu_usage: float
    memory_usage: float
    latency: float | None = None
    latencies: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PriorityClass:
    """Work that belongs together.

    Args:
        priority: a finite number; larger is sooner.
        target: seconds that its latency should not exceed, above 0.

    Raises:
        ValueError: an argument is out of its range.
    """

    priority: float = 0.0
    target: float = 0.1

    def __post_init__(self) -> None:
        if not _number(self.priority):
            raise ValueError(f"PriorityClass(priority={self.priority!r}): expected a finite number")
        if not _number(self.target) or self.target <= 0:
            raise ValueError(
                f"PriorityClass(target={self.target!r}): expected seconds above 0; "
                "no latency is shorter than none"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustmentSettings:
    """Thresholds, steps and bounds.

    Args:
        cpu_high, memory_high, latency_high: above these it is too much: a share of 1 for CPU
            and memory, seconds for latency.
        cpu_low, memory_low, latency_low: at or below these there is room for the way back.
        memory_refuse: at or above this nothing more is let in.
        memory_admit: at or below this it is again.
        to_act, to_relax: samples in a row, 1 or more.
        concurrency: where it starts, and where the way back ends.
        min_concurrency: what it never falls below, 1 or more.
        concurrency_factor: what one step multiplies it by, above 0 and below 1.
        concurrency_step: what one step back adds, 1 or more.
        batch_size: items; where it starts, and where the way back ends.
        max_batch_size: items that it never exceeds. `batch` keeps its bytes and its age.
        batch_factor: what one step multiplies it by, above 1; a step back divides by it.
        boost_step: priority that a class gains in a step which takes twice its target, and so
            in proportion.
        max_boost: priority that it never gains more than.
        retry_after: seconds that refused senders are told to wait.

    Raises:
        ValueError: one is out of its range, or a lower threshold is above the upper one.
    """

    cpu_high: float = 0.8
    cpu_low: float = 0.6
    memory_high: float = 0.9
    memory_low: float = 0.75
    latency_high: float = 0.1
    latency_low: float = 0.05
    memory_refuse: float = 0.95
    memory_admit: float = 0.9
    to_act: int = 2
    to_relax: int = 3
    concurrency: int = 8
    min_concurrency: int = 1
    concurrency_factor: float = 0.5
    concurrency_step: int = 1
    batch_size: int = 8192
    max_batch_size: int = 65536
    batch_factor: float = 2.0
    boost_step: float = 1.0
    max_boost: float = 8.0
    retry_after: float = 10.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            whole = self.__dataclass_fields__[name].type is int
            if not _number(value) or value <= 0 or (whole and not isinstance(value, int)):
                kind = "a whole number of 1 or more" if whole else "a number above 0"
                raise ValueError(f"AdjustmentSettings({name}={value!r}): expected {kind}")
        for low, high in (
            ("cpu_low", "cpu_high"),
            ("memory_low", "memory_high"),
            ("latency_low", "latency_high"),
            ("memory_admit", "memory_refuse"),
            ("min_concurrency", "concurrency"),
            ("batch_size", "max_batch_size"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(
                    f"AdjustmentSettings({low}={getattr(self, low)}, {high}="
                    f"{getattr(self, high)}): expected {low} to be at most {high}"
                )
        if self.concurrency_factor >= 1:
            raise ValueError(
                f"AdjustmentSettings(concurrency_factor={self.concurrency_factor}): expected "
                "less than 1; it would reduce nothing"
            )
        if self.batch_factor <= 1:
            raise ValueError(
                f"AdjustmentSettings(batch_factor={self.batch_factor}): expected more than 1; "
                "it would increase nothing"
            )


@dataclass(frozen=True, slots=True)
class Decision:
    """What was changed, and why.

    Attributes:
        action: what was done.
        metrics: the sample that led to it; None by hand.
        before, after: the limit; the boost of each class for priorities; 1 and 0 for
            admission, where 1 is open.
        reason: the figures, for people.
    """

    action: Action
    metrics: Metrics | None
    before: float | Mapping[str, float]
    after: float | Mapping[str, float]
    reason: str


class Adjuster:
    """The limits as they are, and the samples in a row that there have been.

    Args:
        settings: see `AdjustmentSettings`.
        classes: by name.

    Attributes:
        concurrency, batch_size: the limits.
        boosts: priority that each class has gained.
        refusing: nothing more is let in.
    """

    __slots__ = ("_rows", "batch_size", "boosts", "classes", "concurrency", "refusing", "settings")

    def __init__(
        self,
        settings: AdjustmentSettings,
        classes: Mapping[str, PriorityClass] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        self.classes = dict(classes)
        self.concurrency = settings.concurrency
        self.batch_size = settings.batch_size
        self.boosts = dict.fromkeys(self.classes, 0.0)
        self.refusing = False
        self._rows: dict[str, int] = {}

    def sample(self, metrics: Metrics) -> list[Decision]:
        """Take one sample.

        Returns:
            What it was time to do, done already to the limits here: at most one thing
            against too much, steps of the way back, and whether to refuse or admit.
        """
        made = self._door(metrics)
        limits = self._limits(metrics)
        over = [name for name, (value, _, high) in limits.items() if value > high]
        full = over[:1] if over[:1] != ["latency"] else []
        for name, (value, low, _) in limits.items():
            self._count(f"{name} over", name in over)
            self._count(f"{name} calm", not full and value <= low)
        if over and self._rows[f"{over[0]} over"] >= self.settings.to_act:
            made += self._act(over[0], metrics, limits[over[0]])
        for name, (value, low, _) in limits.items():
            if self._rows[f"{name} calm"] >= self.settings.to_relax:
                made += self._relax(name, metrics, value, low)
        return made

    # -- one step by hand, or because of a sample ------------------------------------------------

    def reduce_concurrency(
        self, metrics: Metrics | None = None, reason: str = "by hand"
    ) -> Decision | None:
        """Run less at once. None at the bound."""
        settings = self.settings
        least = settings.min_concurrency
        after = max(least, int(self.concurrency * settings.concurrency_factor))
        return self._set_concurrency("reduce_concurrency", after, metrics, reason)

    def restore_concurrency(
        self, metrics: Metrics | None = None, reason: str = "by hand"
    ) -> Decision | None:
        """A step of the way back. None at its end."""
        settings = self.settings
        after = min(settings.concurrency, self.concurrency + settings.concurrency_step)
        return self._set_concurrency("restore_concurrency", after, metrics, reason)

    def increase_batch_size(
        self, metrics: Metrics | None = None, reason: str = "by hand"
    ) -> Decision | None:
        """Batch more. None at the bound."""
        settings = self.settings
        grown = max(self.batch_size + 1, int(self.batch_size * settings.batch_factor))
        after = min(settings.max_batch_size, grown)
        return self._set_batch_size("increase_batch_size", after, metrics, reason)

    def restore_batch_size(
        self, metrics: Metrics | None = None, reason: str = "by hand"
    ) -> Decision | None:
        """A step of the way back. None at its end."""
        after = max(self.settings.batch_size, int(self.batch_size / self.settings.batch_factor))
        return self._set_batch_size("restore_batch_size", after, metrics, reason)

    def optimize_priorities(
        self,
        latencies: Mapping[str, float],
        metrics: Metrics | None = None,
        reason: str = "by hand",
    ) -> Decision | None:
        """Boost the classes that miss their targets, each by how far. None when none gains."""
        settings = self.settings
        boosts = dict(self.boosts)
        for name, one in self.classes.items():
            missed = latencies.get(name, 0.0) / one.target - 1.0
            if missed > 0:  # at most twice the step, or one bad sample would decide alone
                gain = settings.boost_step * min(2.0, missed)
                boosts[name] = min(settings.max_boost, boosts[name] + gain)
        return self._set_boosts("optimize_priorities", boosts, metrics, reason)

    def restore_priorities(
        self, metrics: Metrics | None = None, reason: str = "by hand"
    ) -> Decision | None:
        """A step of the way back for every class. None at its end."""
        step = self.settings.boost_step
        boosts = {name: max(0.0, boost - step) for name, boost in self.boosts.items()}
        return self._set_boosts("restore_priorities", boosts, metrics, reason)

    # -- samples -----------------------------------------------------------------------------

    def _limits(self, metrics: Metrics) -> dict[str, tuple[float, float, float]]:
        """Value, lower and upper threshold of each measurement, in the order they count."""
        s = self.settings
        latency = 0.0 if metrics.latency is None else metrics.latency
        return {
            "CPU": (metrics.cpu_usage, s.cpu_low, s.cpu_high),
            "memory": (metrics.memory_usage, s.memory_low, s.memory_high),
            "latency": (latency, s.latency_low, s.latency_high),
        }

    def _count(self, row: str, more: bool) -> None:
        self._rows[row] = self._rows.get(row, 0) + 1 if more else 0

    def _act(
        self, name: str, metrics: Metrics, limits: tuple[float, float, float]
    ) -> list[Decision]:
        self._rows[f"{name} over"] = 0
        reason = f"{name} {limits[0]:.3g} > {limits[2]:g} in {self.settings.to_act} samples"
        if name == "CPU":
            made = self.reduce_concurrency(metrics, reason)
        elif name == "memory":
            made = self.increase_batch_size(metrics, reason)
        else:
            made = self.optimize_priorities(metrics.latencies, metrics, reason)
        return [] if made is None else [made]

    def _relax(self, name: str, metrics: Metrics, value: float, low: float) -> list[Decision]:
        self._rows[f"{name} calm"] = 0
        reason = f"{name} {value:.3g} <= {low:g} in {self.settings.to_relax} samples"
        back = {
            "CPU": self.restore_concurrency,
            "memory": self.restore_batch_size,
            "latency": self.restore_priorities,
        }
        made = back[name](metrics, reason)
        return [] if made is None else [made]

    def _door(self, metrics: Metrics) -> list[Decision]:
        settings, memory = self.settings, metrics.memory_usage
        self._count("low", memory <= settings.memory_admit)
        if not self.refusing and memory >= settings.memory_refuse:
            self.refusing = True
            reason = f"memory {memory:.3g} >= {settings.memory_refuse:g}"
            return [Decision("refuse", metrics, 1, 0, reason)]
        if self.refusing and self._rows["low"] >= settings.to_relax:
            self.refusing = False
            reason = (
                f"memory {memory:.3g} <= {settings.memory_admit:g} in {settings.to_relax} samples"
            )
            return [Decision("admit", metrics, 0, 1, reason)]
        return []

    # -- limits ------------------------------------------------------------------------------

    def _set_concurrency(
        self, action: Action, after: int, metrics: Metrics | None, reason: str
    ) -> Decision | None:
        before, self.concurrency = self.concurrency, after
        return None if after == before else Decision(action, metrics, before, after, reason)

    def _set_batch_size(
        self, action: Action, after: int, metrics: Metrics | None, reason: str
    ) -> Decision | None:
        before, self.batch_size = self.batch_size, after
        return None if after == before else Decision(action, metrics, before, after, reason)

    def _set_boosts(
        self, action: Action, after: dict[str, float], metrics: Metrics | None, reason: str
    ) -> Decision | None:
        before, self.boosts = self.boosts, after
        return None if after == before else Decision(action, metrics, before, after, reason)


def _number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and isfinite(float(value))
