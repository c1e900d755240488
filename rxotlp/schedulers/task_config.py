"""How a `TaskScheduler` runs tasks, and what it counts."""

from dataclasses import dataclass
from math import isfinite

__all__ = ["SchedulerConfig", "TaskStatistics"]


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """How tasks are run.

    Args:
        max_workers: tasks that run at once, 1 or more.
        ageing: seconds of waiting that weigh as much as one step of priority, above 0.
        max_retries: retries of a task that says nothing else, 0 or more.
        retry_delay: seconds before the first retry, above 0.
        retry_factor: growth of that from one retry to the next, 1 or more.
        max_retry_delay: seconds that no delay exceeds.
        retry_jitter: 0 to 1; how far delays are spread.
        retry_share: retries that each success allows.
        retry_reserve: retries allowed from the start.

    Raises:
        ValueError: one is out of its range.
    """

    max_workers: int = 4
    ageing: float = 1.0
    max_retries: int = 0
    retry_delay: float = 1.0
    retry_factor: float = 2.0
    max_retry_delay: float = 30.0
    retry_jitter: float = 0.2
    retry_share: float = 0.2
    retry_reserve: float = 100.0

    def __post_init__(self) -> None:
        for name, least, why in (
            ("max_workers", 1, "nothing could ever run"),
            ("max_retries", 0, "it counts retries"),
            ("retry_factor", 1, "delays must not shrink"),
            ("retry_share", 0, "it counts retries"),
            ("retry_reserve", 0, "it counts retries"),
            ("retry_jitter", 0, "it is a share"),
        ):
            value = getattr(self, name)
            whole = name.startswith("max_")
            if not _finite(value) or value < least or (whole and not isinstance(value, int)):
                kind = "a whole number of " if whole else ""
                raise ValueError(
                    f"SchedulerConfig({name}={value!r}): expected {kind}{least} or more; {why}"
                )
        if self.retry_jitter > 1:
            raise ValueError(
                f"SchedulerConfig(retry_jitter={self.retry_jitter}): expected at most 1; a delay "
                "cannot be negative"
            )
        for name in ("ageing", "retry_delay", "max_retry_delay"):
            value = getattr(self, name)
            if not _finite(value) or value <= 0:
                raise ValueError(f"SchedulerConfig({name}={value!r}): expected seconds above 0")


def _finite(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and isfinite(value)


@dataclass(frozen=True, slots=True)
class TaskStatistics:
    """Counts of now.

    Attributes:
        queued: tasks that wait, due or not.
        running: tasks that run.
        done, failed, cancelled: tasks that ended, by how.
        retried: retries made.
        refused: retries that the budget did not allow.
        lateness: seconds between due time and start of the latest 1,024 tasks, as quantiles.
    """

    queued: int
    running: int
    done: int
    failed: int
    cancelled: int
    retried: int
    refused: int
    lateness: dict[float, float]
