"""Schedulers and loggers among the results: sections for `benchmarks.more`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.adaptive import measured as adaptive
from benchmarks.dynamic import SETTINGS
from benchmarks.dynamic import measured as dynamic
from benchmarks.loggers import LIMIT, logger_costs
from benchmarks.measures import Measure, Section, from_row, named
from benchmarks.tasks import lateness, no_ops, plot_queue, queue_cost
from rxotlp.schedulers import plot_decisions

__all__ = ["SCHEDULING"]

RESULTS = Path(__file__).parent / "results"
NO_OP_AT_LEAST = {"EventLoopScheduler": 1.0, "ThreadPoolScheduler": 10.0}
QUEUES = (1_000, 10_000, 100_000, 1_000_000)


def _tasks(smoke: bool) -> Iterator[Measure]:
    rounds, count = (1, 200) if smoke else (9, 20_000)
    for row in no_ops(rounds=rounds, count=count):
        known = {"spread": (row["low"], row["high"]), "ours_us": row["us"]}
        yield from_row(
            f"a no-op through {row['ours']}",
            {"ratio": row["ratio"]} | known,
            runs=rounds,
            peer=f"{named('reactivex')}, {row['peer']}",
            at_least=NO_OP_AT_LEAST[row["peer"]],
            note="" if row["peer"] == "EventLoopScheduler" else "see benchmarks/tasks.py",
        )
    sizes = QUEUES[:1] if smoke else QUEUES
    costs = {
        "as asked for": queue_cost(sizes=sizes),
        "shuffled": queue_cost(sizes=sizes, in_order=False),
    }
    for name, measured in costs.items():
        yield Measure(
            f"to add a task and take one, {name}: {max(sizes):,} waiting by {min(sizes):,}",
            measured[max(sizes)] / measured[min(sizes)],
            runs=1,
            at_most=2.0,  # log 1,000,000 by log 1,000
            note="best of 5 rounds each; see benchmarks/tasks.py",
            detail={f"{size:,}": cost for size, cost in measured.items()},
        )
    late = lateness(count=5 if smoke else 200)
    yield Measure(
        "lateness of a due task, median; spread: to the 99th percentile",
        late[0.5],
        unit="ms",
        spread=(late[0.5], late[0.99]),
        runs=1,
        at_most=5.0,
    )
    if not smoke:
        (RESULTS / "queue.svg").write_text(plot_queue(costs), encoding="utf-8")


def _adaptive(smoke: bool) -> Iterator[Measure]:
    rows, picture = adaptive(seconds=4.0 if smoke else 48.0)
    for row in rows:
        yield Measure(
            f"taken by a destination that is {row['destination']}",
            float(row["share"]),
            runs=1,
            at_least=None if smoke else 0.8,
            note="virtual time: the same in every run",
            detail=row,
        )
    if not smoke:
        (RESULTS / "adaptive.svg").write_text(picture, encoding="utf-8")


def _dynamic(smoke: bool) -> Iterator[Measure]:
    seconds = 60 if smoke else 600
    peaks: dict[bool, float] = {}
    for adjust in (False, True):
        samples, decisions, refused = dynamic(adjust=adjust, seconds=seconds)
        peaks[adjust] = max(one.memory_usage for one in samples)
        yield Measure(
            f"most memory, limits {'adjusted' if adjust else 'fixed'}",
            peaks[adjust],
            unit="of the budget",
            runs=1,
            at_most=1.0 if adjust else None,
            note="virtual time: the same in every run",
            detail={"refused": refused, "decisions": len(decisions) if adjust else 0},
        )
    if not smoke:
        picture = plot_decisions(samples, decisions, settings=SETTINGS)
        (RESULTS / "dynamic.svg").write_text(picture, encoding="utf-8")


def _loggers(smoke: bool) -> Iterator[Measure]:
    how: dict[str, Any] = {"rounds": 1, "turns": 1, "count": 2} if smoke else {}
    for row in logger_costs(**how):
        off = row["job"].endswith("off")
        yield from_row(
            row["job"],
            row,
            runs=1 if smoke else 9,
            payload="10 log records",
            at_most=LIMIT if off else None,
        )


SCHEDULING = (
    Section(
        "tasks",
        "TaskScheduler: a task, a full queue, lateness",
        _tasks,
        "reactivex's schedulers; its own queue of 1,000",
        "at most EventLoopScheduler, a tenth of ThreadPoolScheduler; logarithmic; 5 ms",
    ),
    Section(
        "dynamic",
        "DynamicScheduler under a load that rises and falls",
        _dynamic,
        "the same limits, fixed",
        "within the budget",
    ),
    Section(
        "adaptive",
        "adaptive_concurrency on simulated destinations",
        _adaptive,
        "the best fixed limit, found by a scan",
        "at least 80 % of it",
    ),
    Section(
        "loggers",
        "a logger that says nothing, in five stages",
        _loggers,
        "the same without a logger",
        "at most 2 % more when it is off",
    ),
)
