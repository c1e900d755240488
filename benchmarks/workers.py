"""What does a second worker process add?

Unit: spans a second that arrived, of `rxotlp run --workers 2` by those of one process, in the
same round; both take turns, the median of the rounds counts.
Baseline: the same stream in one process.
Work: requests of 512 spans over OTLP/HTTP, validate="full", batched and sent on, in a closed
loop of enough senders for both. Every id is looked for at the end of every round.
Blind spot: load, sink and gateway share the cores, and take two thirds of what a worker takes.
Where one worker alone does not get most of a core, a second one shows nothing and the figure
is "not shown"; spans a CPU second then say at least what workers lose to each other.

    1.8x or more

    python -m benchmarks.workers
"""

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import psutil

from benchmarks.control import child
from benchmarks.end_to_end import Bench
from benchmarks.gateways import Gateway, Running, Way, gateways, running
from benchmarks.measures import Measure, alternating, not_shown

__all__ = ["p9"]

AT_LEAST = 1.8
SENDERS = 128
ROUNDS = 5
PATIENCE = 60.0  # seconds
SATURATED = 0.8  # of a core: one worker with less has not shown what it can do
NEEDED = 4  # cores: two for workers, and one each for load and sink


class _Processes:
    """CPU time of a gateway and its workers."""

    def __init__(self, process: Running) -> None:
        self._root = psutil.Process(process.pid)

    def await_workers(self, count: int) -> None:
        """Return when so many listen; the kernel gives connections to those that do.

        Raises:
            RuntimeError: they do not in time.
        """
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if sum(map(_listens, self._root.children())) == count:
                return
            time.sleep(0.1)
        raise RuntimeError(f"{count} workers did not listen within {PATIENCE:g} s")

    def cpu(self) -> float:
        """Seconds, user and system, of all that are there."""
        return sum(
            one.cpu_times().user + one.cpu_times().system
            for one in [self._root, *self._root.children(recursive=True)]
        )


def _listens(process: psutil.Process) -> bool:
    return any(one.status == psutil.CONN_LISTEN for one in process.net_connections("tcp"))


def p9(smoke: bool) -> Iterator[Measure]:
    """The goal."""
    way, rounds = Way("http"), 1 if smoke else ROUNDS
    one = next(gateway for gateway in gateways(way) if gateway.name == "rxotlp, full")
    two = replace(one, name="two workers", command=(*one.command, "--workers", "2"))
    with ExitStack() as stack:
        load, sink = (stack.enter_context(child(f"benchmarks.{name}")) for name in ("load", "sink"))
        bench = Bench(way, load, sink, requests=64 if smoke else 2000, items=32 if smoke else None)
        runs: dict[str, list[dict[str, float]]] = {one.name: [], two.name: []}
        for _ in range(rounds):
            for gateway in (one, two):
                runs[gateway.name].append(_round(bench, gateway, way))
    yield from _measures(runs[one.name], runs[two.name], bench.payload)


def _round(bench: Bench, gateway: Gateway, way: Way) -> dict[str, float]:
    with running(gateway, way, bench.backend) as process:
        process.ready()
        processes = _Processes(process)
        if "--workers" in gateway.command:
            processes.await_workers(2)
        bench.send(process.address, requests=min(bench.requests, 300), senders=SENDERS)  # warm
        cpu, began = processes.cpu(), time.perf_counter()
        said = bench.send(process.address, senders=SENDERS)
        cpu, seconds = processes.cpu() - cpu, time.perf_counter() - began
    if said["lost"] or said["doubled"] or said["refused"]:
        raise RuntimeError(
            f"{gateway.name}: {said['lost']} spans lost, {said['doubled']} doubled, "
            f"{len(said['refused'])} requests refused"
        )
    rate = said["arrived"] / said["seconds"]
    return {"rate": rate, "cores": cpu / seconds, "by_cpu": said["arrived"] / cpu}


def _measures(
    one: list[dict[str, float]], two: list[dict[str, float]], payload: str
) -> Iterator[Measure]:
    cores = os.cpu_count() or 1
    known: dict[str, Any] = {"payload": payload, "peer": "one worker"}

    def ratios(what: str) -> list[float]:
        return [second[what] / first[what] for first, second in zip(one, two, strict=True)]

    busy = statistics.median(run["cores"] for run in one)
    if busy < SATURATED:
        yield not_shown(
            "two workers, spans a second",
            f"one worker got {busy:.2f} of {cores} cores, which load, sink and whatever else runs "
            f"here left it, so it was not the limit; ratio {statistics.median(ratios('rate')):.2f}",
            at_least=AT_LEAST,
            detail={"one": one, "two": two},
            **known,
        )
    else:
        yield alternating(
            "two workers, spans a second",
            ratios("rate"),
            at_least=AT_LEAST,
            note="" if cores >= NEEDED else f"{cores} cores for two workers, load and sink",
            detail={"one": one, "two": two},
            **known,
        )
    yield alternating("two workers, spans a CPU second", ratios("by_cpu"), **known)
    yield alternating("two workers, cores in use", ratios("cores"), **known)


def main() -> None:
    """Print it."""
    for measure in p9("--smoke" in sys.argv):
        spread = "" if measure.spread is None else "{:.2f} to {:.2f}".format(*measure.spread)
        figure = "-" if measure.figure is None else f"{measure.figure:.2f} x"
        print(f"{measure.work}: {figure} ({spread}) {measure.verdict} {measure.note}")
        for name, runs in measure.detail.items():
            for run in runs:
                print("   ", name, {what: round(value, 2) for what, value in run.items()})


if __name__ == "__main__":
    main()
