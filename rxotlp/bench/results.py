"""What a comparison found: every run, as it was, and what can be said of the differences.

Figures are medians over the runs with their quartiles; no best run is ever reported. The
JSON has everything, so a picture or a verdict can be made again without running anything.
"""

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rxotlp.bench.verdicts import Difference, compared

__all__ = [
    "FIGURES",
    "NOT_MEASURED",
    "OUTCOMES",
    "Comparison",
    "Figure",
    "Measured",
    "Run",
    "Spread",
]

OUTCOMES = ("delivered", "filtered", "dropped", "rejected", "failed")

NOT_MEASURED = (
    "receiving and decoding OTLP from a network, and exporting to one, unless a variant does "
    "so itself: requests are in memory, and go nowhere",
    "CPU of other processes, a variant's children among them, and of the kernel on their behalf",
    "latency at less than full speed, unless a rate is given: in a closed loop much of it is "
    "waiting for the others",
    "what a queue does after it has answered: a request's way ends with its sender's answer",
    "hours: leaks, fragmentation, a backend that goes down",
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one variant.

    Attributes:
        items, requests: that were let in.
        seconds: from the first request to the end of the stream.
        cpu_seconds: of the process, user and system, all its threads, in that time.
        latency: seconds from source to exporter, of requests: "p50", "p90", "p99", "max".
        memory: highest resident bytes above those before the variant was built; None where
            that cannot be told.
        exports: how often something was exported.
        export_items: items of an export, the median.
        closed: batches by why they closed, by stage.
        outcomes: items by what became of them; several branches count each.
        books: every account, as text.
        logged: what it warned of.
        round: runs of one round are compared with each other.
    """

    items: int
    requests: int
    seconds: float
    cpu_seconds: float
    latency: Mapping[str, float]
    memory: int | None
    exports: int
    export_items: float
    closed: Mapping[str, Mapping[str, int]]
    outcomes: Mapping[str, int]
    books: list[str]
    logged: list[str]
    round: int = 0

    @property
    def items_per_second(self) -> float:
        """Throughput."""
        return self.items / self.seconds if self.seconds else 0.0

    @property
    def cpu_us_per_item(self) -> float:
        """Microseconds of CPU an item."""
        return self.cpu_seconds * 1e6 / self.items


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that variants are compared by.

    Attributes:
        name: in JSON and for `Comparison.difference`.
        title: in tables and pictures, with the unit.
        of: the value of a run; None when it has none.
        more_is_better: which way is good.
        least: a smaller difference of medians is none, whatever the ratio.
    """

    name: str
    title: str
    of: Callable[[Run], float | None]
    more_is_better: bool = False
    least: float = 0.0


FIGURES = (
    Figure("items_per_second", "items/s", lambda run: run.items_per_second, True),
    Figure("cpu", "CPU µs/item", lambda run: run.cpu_us_per_item),
    Figure("latency_p50", "latency p50, ms", lambda run: run.latency["p50"] * 1e3),
    Figure("latency_p99", "latency p99, ms", lambda run: run.latency["p99"] * 1e3),
    Figure(
        "memory",
        "peak memory, MiB",
        lambda run: None if run.memory is None else run.memory / 2**20,
        least=1.0,  # of what an allocator asks for at once, more or less by chance
    ),
)


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several runs."""

    median: float
    low: float  # the first quartile
    high: float  # the third

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """The median and the quartiles of one value or more."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(slots=True)
class Measured:
    """One variant's runs.

    Attributes:
        scheduler: where it ran.
        runs: in order.
        problem: why there are no more of them; None when nothing went wrong.
    """

    scheduler: str
    runs: list[Run] = field(default_factory=list)
    problem: str | None = None

    def spread(self, figure: Figure) -> Spread | None:
        """A figure over its runs; None when none has it."""
        values = [value for run in self.runs if (value := figure.of(run)) is not None]
        return Spread.of(values) if values else None

    def by_round(self, figure: Figure) -> dict[int, float]:
        """A figure of each run, by the round."""
        found = {run.round: figure.of(run) for run in self.runs}
        return {number: value for number, value in found.items() if value is not None}

    @property
    def typical(self) -> Run:
        """The run with the median CPU: for books and batches."""
        return sorted(self.runs, key=lambda run: run.cpu_us_per_item)[len(self.runs) // 2]


@dataclass(slots=True)
class Comparison:
    """What `compare` found, complete or not.

    Attributes:
        workload: what every run was given, in words.
        environment: machine, versions and commit.
        variants: by name, in order; the first that has runs is what others are compared with.
        notes: what a reader must know: what was left out, and why.
        interrupted: it was stopped before its end.
    """

    workload: str
    environment: Mapping[str, str]
    variants: dict[str, Measured]
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def baseline(self) -> str | None:
        """What the others are compared with; None when nothing has run."""
        return next((name for name, one in self.variants.items() if one.runs), None)

    @property
    def rounds(self) -> int:
        """Runs of the variant that has most of them."""
        return max((len(one.runs) for one in self.variants.values()), default=0)

    @property
    def differences(self) -> list[Difference]:
        """Every variant against the first, by every figure; not all of them are `called`."""
        first = self.baseline
        if first is None:
            return []
        return [
            compared(figure.name, name, first, one.by_round(figure), base, least=figure.least)
            for figure in FIGURES
            for base in [self.variants[first].by_round(figure)]
            for name, one in self.variants.items()
            if name != first and one.runs
        ]

    def difference(self, variant: str, figure: str = "cpu") -> Difference:
        """One of them.

        Raises:
            KeyError: there is none; the text has the names that there are.
        """
        for one in self.differences:
            if (one.variant, one.figure) == (variant, figure):
                return one
        names = ", ".join(repr(name) for name in self.variants if name != self.baseline)
        figures = ", ".join(repr(known.name) for known in FIGURES)
        raise KeyError(f"no {figure!r} of {variant!r}: there are {figures} of {names or 'nothing'}")

    def to_json(self) -> str:
        """Everything, as a JSON document."""
        return json.dumps(self.to_dict(), indent=1)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            "workload": self.workload,
            "environment": dict(self.environment),
            "interrupted": self.interrupted,
            "notes": self.notes,
            "not_measured": list(NOT_MEASURED),
            "variants": {
                name: {
                    "scheduler": one.scheduler,
                    "problem": one.problem,
                    "figures": {
                        figure.name: spread and asdict(spread)
                        for figure in FIGURES
                        for spread in [one.spread(figure)]
                    },
                    "runs": [asdict(run) for run in one.runs],
                }
                for name, one in self.variants.items()
            },
            "differences": [asdict(one) for one in self.differences],
        }

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """What `to_json` wrote, to be drawn or judged again."""
        read: Any = json.loads(text)
        return cls(
            read["workload"],
            read["environment"],
            {
                name: Measured(
                    one["scheduler"], [Run(**run) for run in one["runs"]], one["problem"]
                )
                for name, one in read["variants"].items()
            },
            read["notes"],
            read["interrupted"],
        )

    def save(self, path: str | Path) -> Path:
        """Write it, as the ending says: .json, .png, .svg, or .txt for the tables.

        Raises:
            ValueError: another ending.
            ImportError: a picture without matplotlib; the text says how to get it.
        """
        from rxotlp.bench.files import write

        return write(self, Path(path))

    def __str__(self) -> str:
        from rxotlp.bench.table import text

        return text(self)
