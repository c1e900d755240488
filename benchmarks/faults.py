"""Is anything acknowledged ever lost, whatever the backend does? The long form of a test.

Unit: faults, which must be none: items lost, doubled without cause, invented, or missing in
the books, id by id; complaints nobody would have heard; things left after a stop.
Baseline: none; it holds or it does not.
Blind spot: what takes days, a kernel under memory pressure, and a backend that lies in a way
nobody has thought of.

    outage     every transport and answer at once, with a backend that is away for minutes
    faults     70 % UNAVAILABLE, hangs, half answers, garbage, wrong counts, short outages,
               restarts under load
    schedules  the same with threads switched every microsecond, asyncio in debug mode
    cycles     a thousand starts and stops of a whole gateway
    virtual    outages of minutes with the policy users have, many seeds

    python -m benchmarks.faults [SECONDS]     600 by default; at least a round of each
"""

import gc
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import machine
from rxotlp import operators as ops
from rxotlp.testing import no_leaks
from tests.support.faults import VARIANTS, Drill, drill
from tests.support.scripted import TRANSPORTS, backend
from tests.support.virtual_faults import virtual_drill
from tests.support.watching import cycle, watched

__all__ = ["faults"]

RESULT = Path(__file__).parent / "results" / "faults.json"
CYCLES = 1000
PATIENT = ops.Retry(first=1.0, soon=0.2, most=5.0)  # an outage of minutes is no time to hurry

Row = dict[str, Any]


def faults(*, seconds: float = 600.0, cycles: int = CYCLES) -> list[Row]:
    """Run every part; `seconds` bounds what has no size of its own.

    Args:
        seconds: for all of it. An outage takes a fifth.
        cycles: starts and stops.
    """
    ends = time.monotonic() + seconds
    rows = [_row("outage", _outage(seconds / 5))]
    rows.append(_cycles(cycles))
    rows.append(_row("virtual", [virtual_drill(v, seed=s) for s in range(5) for v in VARIANTS]))
    half = (ends - time.monotonic()) / 2
    rows.append(_row("faults", list(_rounds(half, seed=100))))
    # A queue says what a restart costs; the ledger sees that it is no more than was reported.
    with _debug(), watched("queue dropped ") as complaints:
        drills = list(_rounds(half, seed=10_000))
        gc.collect()
    rows.append(_row("schedules", drills, complaints))
    return rows


def _outage(down: float) -> list[Drill]:
    """Every combination at once: waiting costs no CPU."""
    kinds = [(transport, variant) for transport in TRANSPORTS for variant in VARIANTS]
    with ThreadPoolExecutor(len(kinds)) as pool:
        return list(
            pool.map(
                lambda kind: drill(*kind, requests=100, down=down, retry=PATIENT, seed=7), kinds
            )
        )


def _rounds(seconds: float, *, seed: int) -> Iterator[Drill]:
    """Drills of every kind, one after the other, with seeds of their own."""
    ends = time.monotonic() + seconds
    first = True
    while first or time.monotonic() < ends:
        first = False
        for transport in TRANSPORTS:
            for variant in VARIANTS:
                seed += 1
                yield drill(
                    transport,
                    variant,
                    requests=100,
                    down=1.0,
                    outages=2,
                    restarts=seed % 3,
                    on_loop=seed % 2 == 0,
                    seed=seed,
                )


def _cycles(count: int) -> Row:
    """Starts and stops of every kind; what is left of them."""
    wrong: list[str] = []
    process = psutil.Process()
    began = time.monotonic()
    kinds = [(transport, kind) for transport in TRANSPORTS for kind in ("sync", "async")]
    with _debug(), watched() as complaints:
        for transport, kind in kinds:
            with backend(transport) as there:
                for _ in range(5):  # what libraries open once and keep
                    cycle(transport, kind, there)
                gc.collect()
                before = process.num_fds()
                try:
                    with no_leaks():
                        for _ in range(count // len(kinds)):
                            cycle(transport, kind, there)
                except AssertionError as error:
                    wrong.append(f"{transport}, {kind}: {error}")
                time.sleep(0.5)  # the backend closes its half of connections
                left = process.num_fds() - before
                if left > 0:
                    wrong.append(f"{transport}, {kind}: {left} files or sockets are left")
        gc.collect()
    return {
        "part": "cycles",
        "cycles": count // len(kinds) * len(kinds),
        "seconds": time.monotonic() - began,
        "faults": wrong + complaints,
        "met": not wrong and not complaints,
    }


def _row(part: str, drills: list[Drill], complaints: list[str] | None = None) -> Row:
    """What drills came to, together."""
    wrong = [
        f"{one.transport}, {one.variant}: {fault}" for one in drills for fault in one.faults
    ] + (complaints or [])
    names = ("requests", "items", "acknowledged", "refused", "resent", "attempts", "doubled")
    kinds: dict[str, Row] = {}
    for one in drills:
        sums = kinds.setdefault(f"{one.transport} {one.variant}", dict.fromkeys(names, 0))
        for name in names:
            sums[name] += asdict(one)[name]
    return {
        "part": part,
        "drills": len(drills),
        "longest_seconds": max(one.seconds for one in drills),
        "kinds": kinds,
        "faults": wrong,
        "met": not wrong,
    }


@contextmanager
def _debug() -> Iterator[None]:
    """Loops made inside are in debug mode, and every warning is an error."""
    before = os.environ.get("PYTHONASYNCIODEBUG")
    os.environ["PYTHONASYNCIODEBUG"] = "1"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        if before is None:
            del os.environ["PYTHONASYNCIODEBUG"]
        else:
            os.environ["PYTHONASYNCIODEBUG"] = before


def main() -> None:
    """Write benchmarks/results/faults.json; exit 1 when anything was wrong."""
    rows = faults(seconds=float(sys.argv[1]) if len(sys.argv) > 1 else 600.0)
    RESULT.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    for row in rows:
        size = f"{row['drills']} drills" if "drills" in row else f"{row['cycles']} cycles"
        print(f"{row['part']}: {size}: {'met' if row['met'] else 'missed'}")
        for fault in row["faults"][:10]:
            print(f"    {fault}")
    sys.exit(0 if all(row["met"] for row in rows) else 1)


if __name__ == "__main__":
    main()
