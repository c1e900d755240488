"""Where the time goes when a goal is missed: a profile of our side in one line.

`cProfile` counts own time of each function, built-in ones too; it slows Python's functions
more than C's, so the shares say where to look and not what would be won.
"""

import cProfile
import pstats
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.measures import MISSED, Measure

__all__ = ["explained"]

SECONDS = 0.5
NAMED = 6


def explained(measure: Measure, job: Callable[[], object]) -> Measure:
    """The measure; with a profile in its note when it is missed."""
    if measure.verdict != MISSED:
        return measure
    note = f"own time, profiled: {_profile(job)}"
    return replace(measure, note=f"{measure.note}; {note}" if measure.note else note)


def _profile(job: Callable[[], object]) -> str:
    profile = cProfile.Profile()
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        profile.runcall(job)
    stats = pstats.Stats(profile)
    own = {key: row[2] for key, row in stats.stats.items()}  # type: ignore[attr-defined]
    whole = sum(own.values()) or 1.0
    most = sorted(own, key=lambda key: -own[key])[:NAMED]
    return ", ".join(f"{own[key] / whole:.0%} {_name(key)}" for key in most)


def _name(key: tuple[str, int, str]) -> str:
    """A function as its file and name; a built-in one as it calls itself."""
    path, line, function = key
    if path == "~":
        return function.strip("<>").removeprefix("built-in method ").removeprefix("method ")
    return f"{Path(path).stem}.{function}:{line}"
