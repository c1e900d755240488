"""What a benchmark says, and whether that is what was wanted.

A measure has a figure with its spread, what it was measured on and against, and a bound: at
least or at most so much, or none, when it is only reported. Its verdict is one of

    met        the figure is within the bound
    missed     it is not
    not shown  there is no figure: the peer was not there, or the run did not get so far
    reported   there is no bound

and nothing that was not measured is ever "met". A section is a set of measures that one
function makes; it yields them one by one, so that an interrupted run keeps what it has.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = [
    "MISSED",
    "Measure",
    "Section",
    "alternating",
    "from_row",
    "named",
    "not_shown",
    "verdict",
]

MET, MISSED, NOT_SHOWN, REPORTED = "met", "missed", "not shown", "reported"


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure.

    Attributes:
        work: what was done, in a few words.
        figure: the median of the runs; None when there is none.
        unit: "x" for a ratio inside one run, else the figure's unit.
        spread: the smallest and the largest of the runs.
        runs: how many; 5 or more for a claim.
        payload: which one, with its size and shape.
        peer: against what, with its version; empty when against nothing.
        at_least: the bound below, or None.
        at_most: the bound above, or None.
        note: why there is no figure, or where the time goes when it is missed.
        detail: what else was measured with it.
    """

    work: str
    figure: float | None
    unit: str = "x"
    spread: tuple[float, float] | None = None
    runs: int = 0
    payload: str = ""
    peer: str = ""
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """See the module."""
        if self.figure is None:
            return NOT_SHOWN
        if self.at_least is None and self.at_most is None:
            return REPORTED
        above = self.at_least is None or self.figure >= self.at_least
        below = self.at_most is None or self.figure <= self.at_most
        return MET if above and below else MISSED

    @property
    def wanted(self) -> str:
        """The bound in words; empty when there is none."""
        unit = self.unit if self.unit == "x" else f" {self.unit}"
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return ", ".join(f"{word} {bound:g}{unit}" for word, bound in bounds if bound is not None)

    def as_json(self) -> dict[str, Any]:
        """Everything, for results.json and goals.json."""
        return asdict(self) | {"verdict": self.verdict, "wanted": self.wanted}


@dataclass(frozen=True, slots=True)
class Section:
    """Measures that belong together.

    Attributes:
        name: "P1", or what the command line calls it.
        work: what is done.
        against: what it is compared with.
        wanted: the goal, in words; empty when there is none.
        measure: makes the measures; its argument is whether once and tiny is enough.
    """

    name: str
    work: str
    measure: Callable[[bool], Iterable[Measure]]
    against: str = ""
    wanted: str = ""


def verdict(measures: Iterable[Measure], *, complete: bool = True) -> str:
    """What a set of measures says together: the worst of those that have a bound.

    A goal is missed when any part of it is, and not shown while any part of it is not, or
    when the run did not come to its end.
    """
    bounded = [one.verdict for one in measures if one.wanted]
    if MISSED in bounded:
        return MISSED
    return MET if complete and bounded and NOT_SHOWN not in bounded else NOT_SHOWN


def not_shown(work: str, why: str, **known: Any) -> Measure:
    """A measure that could not be made, and why."""
    return Measure(work, None, note=why, **known)


def alternating(work: str, runs: Sequence[float], *, unit: str = "x", **known: Any) -> Measure:
    """The median of what alternating runs gave, with its spread."""
    return Measure(
        work,
        statistics.median(runs),
        unit=unit,
        spread=(min(runs), max(runs)),
        runs=len(runs),
        **known,
    )


def from_row(work: str, row: dict[str, Any], *, runs: int, **known: Any) -> Measure:
    """A measure of a row with `ratio` and `spread`; what else it has is the detail."""
    low, high = row["spread"]
    about = {"ratio", "spread", "job", "work", "shape", "workload", "goal", "limit", "met", "ours"}
    detail = {name: value for name, value in row.items() if name not in about}
    return Measure(work, row["ratio"], spread=(low, high), runs=runs, detail=detail, **known)


def named(*packages: str) -> str:
    """Packages with their versions, for `peer`; one that is not installed says so."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package}, not installed")
    return ", ".join(found)
