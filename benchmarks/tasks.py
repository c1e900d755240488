"""What does a task cost through `TaskScheduler`, and how late does it start?

Unit: processor microseconds a task, those of all threads, from asking for the first to the end of
the last, by reactivex's for the same number in the same round (above 1 is better than theirs);
for the queue microseconds to add and take one while so many wait; for lateness milliseconds.
Baseline: reactivex's EventLoopScheduler (one thread, no priorities, no handle) and its
ThreadPoolScheduler.
Blind spot: tasks do nothing, and all are asked for by one thread that does nothing else.

    a no-op task    at most what EventLoopScheduler takes, a tenth of ThreadPoolScheduler
    a full queue    grows at most with the logarithm of what waits, 1,000 to 1,000,000. As tasks
                    are asked for it hardly grows; shuffled they are in a heap, whose comparisons
                    do, but a million tasks are in no cache, so each of them takes longer besides
    lateness        median at most 5 ms

Processor time, because on a machine that others use the waiting is theirs. By the wall clock, in
one process right after it, the medians were 1.10 of EventLoopScheduler (1.25 of processor time;
single rounds from 0.6 to 2.2) and 4.9 of ThreadPoolScheduler (4.8).

Why it is a fifth of ThreadPoolScheduler's and no tenth: theirs took 28 us where ours took 5.9, so a
tenth is 2.8 us, and asking alone takes 2.4 while the worker is busy. Each part timed by itself, as
the fastest of nine: the task with its context and handle 0.7, its entry and rank 0.4, a queue of
20,000 in and out 1.1, a lock with the clock 0.3, counts, budget and handle 0.3, the call in its
context 0.1. What is left, about 3 us, is arguments, the worker's loop and what two threads cost
each other; that was not taken apart. While the workers are busy, asking takes no lock and wakes
nobody. Handing a worker several tasks at once would save it the lock, and break the order: what is
asked for meanwhile and is more important would wait for all of them, and so would they for one
that blocks.

    python -m benchmarks.tasks [queue.svg]
"""

import math
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reactivex.scheduler import EventLoopScheduler, ThreadPoolScheduler

from rxotlp._core.chart import Panel, chart
from rxotlp._core.tasks import TaskQueue
from rxotlp.schedulers import TaskScheduler

__all__ = ["lateness", "no_ops", "plot_queue", "queue_cost"]


def _each(ask: Callable[[Callable[..., None]], object], count: int) -> float:
    """Microseconds a task."""
    ended = threading.Event()
    left = [count]

    def task(*_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            ended.set()

    began = time.process_time()
    for _ in range(count):
        ask(task)
    ended.wait(600)
    return (time.process_time() - began) / count * 1e6


def no_ops(*, rounds: int = 9, count: int = 20_000) -> list[dict[str, Any]]:
    """reactivex's schedulers by ours, alternating."""
    ours: list[float] = []
    strand: list[float] = []
    loop: list[float] = []
    pool: list[float] = []
    for _ in range(rounds):
        with TaskScheduler(max_workers=1) as tasks:
            ours.append(_each(tasks.schedule_task, count))
        with TaskScheduler(max_workers=1) as tasks:
            strand.append(_each(tasks.at(1).schedule, count))
        events = EventLoopScheduler()
        loop.append(_each(events.schedule, count))
        events.dispose()
        threads = ThreadPoolScheduler(1)
        pool.append(_each(threads.schedule, max(1, count // 10)))
        threads.executor.shutdown()
    rows = []
    for peer, theirs in (("EventLoopScheduler", loop), ("ThreadPoolScheduler", pool)):
        for name, mine in (("schedule_task", ours), ("at(1).schedule", strand)):
            ratios = [a / b for a, b in zip(theirs, mine, strict=True)]
            rows.append(
                {
                    "peer": peer,
                    "ours": name,
                    "ratio": statistics.median(ratios),
                    "low": min(ratios),
                    "high": max(ratios),
                    "us": statistics.median(mine),
                }
            )
    return rows


def queue_cost(
    *,
    sizes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000),
    rounds: int = 5,
    in_order: bool = True,
) -> dict[int, float]:
    """Microseconds to add one and take one, with so many waiting; the best of several rounds.

    Args:
        in_order: due as they are asked for, with five priorities; else all of it shuffled.
    """
    costs = {}
    for size in sizes:
        queue: TaskQueue[int] = TaskQueue(ageing=1.0)
        now = 0.0

        def add(number: int, queue: TaskQueue[int] = queue) -> None:
            nonlocal now
            now += 1e-6
            due = now if in_order else -float(number * 7919 % 1_000_003)
            queue.add(number, due=due, priority=number % 5, now=now)

        for number in range(size):
            add(number)
        calls = 2_000
        best = float("inf")
        for turn in range(rounds):
            began = time.process_time()
            for number in range(turn * calls, (turn + 1) * calls):
                add(number)
                queue.take(now)
            best = min(best, time.process_time() - began)
        costs[size] = best / calls * 1e6
    return costs


def plot_queue(costs: dict[str, dict[int, float]]) -> str:
    """The costs by the logarithm of what waits; at most a straight line is what is wanted."""
    lines: dict[str, Sequence[tuple[float, float]]] = {
        name: [(math.log10(size), cost) for size, cost in measured.items()]
        for name, measured in costs.items()
    }
    (first, low), *_, (last, _) = next(iter(lines.values()))
    lines["in proportion to the logarithm"] = [(at, low * at / first) for at in (first, last)]
    marks = [
        (
            math.log10(size),
            f"{size:,} waiting: "
            + ", ".join(f"{name} {measured[size]:.2f} us" for name, measured in costs.items()),
        )
        for size in next(iter(costs.values()))
    ]
    title = "microseconds to add a task and take one, by the logarithm of how many wait"
    return chart(
        "TaskScheduler's queue, 1,000 to 1,000,000 waiting",
        [Panel(title, lines)],
        marks,
        unit=" decades",
    )


def lateness(*, count: int = 200) -> dict[float, float]:
    """Milliseconds after its time that a task starts on an idle scheduler, as quantiles."""
    with TaskScheduler(max_workers=2) as tasks:
        for number in range(count):
            tasks.schedule_task(lambda: None, delay=0.005 * (number + 1))
        last = tasks.schedule_task(lambda: None, delay=0.005 * (count + 1))
        last.result(60)
        return {share: late * 1e3 for share, late in tasks.statistics().lateness.items()}


def main() -> None:
    """Print all of it."""
    for row in no_ops():
        print(
            f"{row['ours']:16} {row['us']:6.1f} us, {row['peer']} by it {row['ratio']:.2f} "
            f"({row['low']:.2f} to {row['high']:.2f})"
        )
    costs = {"as asked for": queue_cost(), "shuffled": queue_cost(in_order=False)}
    for name, measured in costs.items():
        for size, cost in measured.items():
            print(f"{size:9} waiting, {name}: {cost:.2f} us to add and take one")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(plot_queue(costs), encoding="utf-8")
    print("lateness in ms:", {share: round(late, 2) for share, late in lateness().items()})


if __name__ == "__main__":
    main()
