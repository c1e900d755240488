"""The arguments `priority` and `ageing`, which mean the same wherever elements wait."""

from collections.abc import Callable

from rxotlp._core.priorities import rank
from rxotlp.data import TelemetryData
from rxotlp.operators._shell import check_seconds

__all__ = ["Priority", "Ranking", "ranking"]

Priority = Callable[[TelemetryData], float]
Ranking = Callable[[TelemetryData, float], float]  # of an element and since when it waits


def ranking(call: str, priority: Priority | None, ageing: float) -> Ranking | None:
    """What gives an element its rank (see `_core.priorities`); None without a priority.

    Raises:
        ValueError, TypeError: an argument is out of its range.
    """
    check_seconds(f"{call}(ageing", ageing, why="what is never important must have its turn too")
    if priority is None:
        return None
    if not callable(priority):
        raise TypeError(f"{call}(priority={priority!r}): expected a function of an element")

    def ranked(data: TelemetryData, since: float) -> float:
        return rank(priority(data), since=since, ageing=ageing)

    return ranked
