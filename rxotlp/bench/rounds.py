"""Who runs when, for how long, and what is kept when that cannot be.

Rounds: each has every variant once, in an order that is turned round from one to the next
and moved on after two (A B, B A, B A, A B, ...), so that nobody is always first and a
machine that becomes slower becomes so for everybody. How many items a run has is decided
once, from a short run of each, so that all rounds fit into the time.
"""

import time as clock
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import psutil

from rxotlp.bench.environment import environment
from rxotlp.bench.grid import Function, Variant, as_variant
from rxotlp.bench.isolation import ISOLATED, isolated
from rxotlp.bench.progress import Bar, Progress, bar
from rxotlp.bench.results import Comparison, Measured, Run
from rxotlp.bench.table import rounds
from rxotlp.bench.trial import Failed
from rxotlp.bench.verdicts import NEEDED
from rxotlp.bench.work import What, Workload, workload

__all__ = ["compare", "order"]

FIRST = 32  # requests of the short run
SHORTEST, LONGEST = 0.05, 2.0  # seconds of a run that `time` may make of it
LITTLE_MEMORY = 256 << 20  # bytes; the credit of a source, the workload, and Python
TIMEOUT = 60.0  # seconds
KEPT_UP = 0.9  # of the rate that was offered; the end of a run takes time of its own


def compare(
    variants: Mapping[str, Function | Variant],
    work: Workload | What | None = None,
    *,
    runs: int = 10,
    time: float = 60.0,
    only: Iterable[str] | None = None,
    timeout: float = TIMEOUT,
    progress: bool | Callable[[Progress], object] | None = None,
) -> Comparison:
    """Run variants of a pipeline alternately on the same telemetry, and compare them.

    ```python
    result = compare({"small": ops.batch(max_items=512), "large": ops.batch()}, "traces")
    print(result)
    ```

    Args:
        variants: functions `(source) -> stream` by name, or what `variants(...)` made. The
            first is what the others are compared with.
        work: a `Workload`, or what `workload` takes; generated traces by default.
        runs: of each variant, 1 or more; fewer than nine cannot show a difference.
        time: seconds for all of it, above 0. How many items a run has follows from it, where
            the workload does not say. When it is over, the round under way is finished.
        only: names of the variants to run; unknown ones are noted and the others run.
        timeout: seconds that one run may take, above 0; a variant that takes longer does not
            run again.
        progress: True draws a bar with the time that is left on stderr, and None does so
            where that is a terminal; a function is told after each run and now and then.

    Returns:
        What was found, also when it was interrupted with Ctrl-C (`interrupted`). A variant
        that fails has its `problem` there, and the others run on.

    Raises:
        ValueError: an argument out of its range, or no variant to run.
        TypeError: a variant that is no function.
    """
    if not variants:
        raise ValueError("compare({}): expected a variant or more")
    if runs < 1:
        raise ValueError(f"compare(runs={runs}): expected 1 or more")
    for argument, seconds in (("time", time), ("timeout", timeout)):
        if not 0 < seconds < float("inf"):
            raise ValueError(f"compare({argument}={seconds}): expected more than 0 seconds")
    known = {str(name): as_variant(str(name), given) for name, given in variants.items()}
    notes: list[str] = []
    chosen = _chosen(known, only, notes)
    if not isinstance(work, Workload):
        work = workload() if work is None else workload(work)
    notes += work.notes
    found = Comparison(
        str(work),
        environment(),
        {name: Measured(one.where) for name, one in chosen.items()},
        notes,
    )
    with bar(progress) as draw:
        try:
            _Rounds(chosen, work, found, runs, time, timeout, draw).run()
        except KeyboardInterrupt:
            found.interrupted = True
            notes.append(f"interrupted in round {found.rounds + 1} of {runs}")
    _remark(found, work)
    return found


def order(names: list[str], number: int) -> list[str]:
    """The order of a round, by its number from 0."""
    at = number // 2 % len(names)
    turned = names[at:] + names[:at]
    return turned[::-1] if number % 2 else turned


def _chosen(
    known: dict[str, Variant], only: Iterable[str] | None, notes: list[str]
) -> dict[str, Variant]:
    if only is None:
        return known
    wanted = [only] if isinstance(only, str) else list(only)
    there = ", ".join(map(repr, known))
    notes += [f"no variant {name!r}; there are: {there}" for name in wanted if name not in known]
    chosen = {name: one for name, one in known.items() if name in wanted}
    if not chosen:
        raise ValueError(f"compare(only={wanted}): no such variant; there are: {there}")
    return chosen


@dataclass(slots=True)
class _Rounds:
    """One comparison under way."""

    variants: dict[str, Variant]
    work: Workload
    found: Comparison
    runs: int
    time: float
    timeout: float
    draw: Bar

    def run(self) -> None:
        """All of it; what was found so far is in `found` at any moment."""
        free = psutil.virtual_memory().available
        if free < LITTLE_MEMORY:
            self.found.notes.append(
                f"only {free >> 20} MiB of memory were free; a run can need "
                f"{LITTLE_MEMORY >> 20} and more, and one that is killed has no figures"
            )
        began = clock.monotonic()
        self.draw.total = len(self.variants) * (self.runs + 1)
        count = FIRST
        if self.work.items is None:
            self.draw.until = began + self.time
        else:
            count = min(count, self.work.requests_for(self.work.items))
        first = {name: self._one(name, count, -1) for name in self.variants}
        requests = self._size({n: one for n, one in first.items() if one}, began)
        for number in range(self.runs):
            spent = clock.monotonic() - began
            if number and spent > self.time:
                self.found.notes.append(
                    f"{number} of {self.runs} rounds: time={self.time:g} s was over after "
                    f"{spent:.1f} s"
                )
                return
            for name in order(list(self.variants), number):
                self._one(name, requests, number)

    def _one(self, name: str, requests: int, number: int) -> tuple[Run, float] | None:
        """A run and how long it took with all around it; None when the variant has failed."""
        one = self.found.variants[name]
        if one.problem is not None:
            self.draw.skip()
            return None
        began = clock.monotonic()
        self.draw.begin(name)
        try:
            run = isolated(
                self.variants[name],
                self.work,
                requests,
                timeout=self.timeout,
                watch=self.draw.refresh,
            )
        except Failed as error:
            one.problem = str(error)
            self.draw.skip()
            return None
        took = clock.monotonic() - began
        if number >= 0:
            one.runs.append(replace(run, round=number))
        self.draw.end(took)
        return run, took

    def _size(self, first: dict[str, tuple[Run, float]], began: float) -> int:
        """Requests of a run."""
        if self.work.items is not None:
            return self.work.requests_for(self.work.items)
        if not first:
            return FIRST
        around = sum(took - run.seconds for run, took in first.values())
        each = sum(run.seconds / run.requests for run, _ in first.values())
        left = self.time - (clock.monotonic() - began)
        # The warm-up of a run is a quarter of it at most.
        budget = (left / self.runs - around) / len(first) / 1.25
        seconds = min(LONGEST, max(SHORTEST, budget))
        return max(1, int(seconds * len(first) / each))


def _remark(found: Comparison, work: Workload) -> None:
    """Notes on what was found: what it cannot show, and what makes it unfair."""
    if not ISOLATED:
        found.notes.append(
            "all runs were in one process, for this system has no fork: no memory is told"
        )
    ran = {name: one.typical for name, one in found.variants.items() if one.runs}
    if len(ran) > 1 and found.rounds < NEEDED:
        found.notes.append(f"{rounds(found.rounds)} cannot show a difference; {NEEDED} or more can")
    for name, run in ran.items():
        others = {kind: run.outcomes[kind] for kind in ("rejected", "failed") if run.outcomes[kind]}
        if others:
            lost = ", ".join(f"{count / run.items:.0%} {kind}" for kind, count in others.items())
            found.notes.append(f"{name}: {lost} of its items")
        if work.rate is not None and run.items_per_second < KEPT_UP * work.rate:
            found.notes.append(
                f"{name} was behind: it took {run.items_per_second:.4g} of {work.rate:g} items/s"
            )
        found.notes += [f"{name} warned: {text}" for text in run.logged]
    shares = {name: run.outcomes["delivered"] / run.items for name, run in ran.items()}
    if shares and max(shares.values()) - min(shares.values()) > 0.01:
        text = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        found.notes.append(f"they do not do the same work; of what came in was delivered: {text}")
