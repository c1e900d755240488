"""Run the benchmarks and write what they found to benchmarks/results/.

python -m benchmarks              P1, P7, P8 and memory; minutes
python -m benchmarks --smoke      each once, tiny, nothing written: does it still run?
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.graph import p7
from benchmarks.json import json_ratios
from benchmarks.memory import memory
from benchmarks.wire import p1, p8

RESULTS = Path(__file__).parent / "results"
COMMAND = "python -m benchmarks"

# P1 wants these on `spans`, and five times on everything else.
AT_LEAST = {
    ("spans", "count"): 20.0,
    ("spans", "merge 16"): 50.0,
    ("spans", "split in 2"): 10.0,
    ("spans", "by resource"): 15.0,
}

Row = dict[str, Any]


def machine() -> Row:
    """What a figure means nothing without."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "libraries": {name: version(name) for name in ("reactivex", "protobuf", "grpcio")},
        "commit": commit or "not a checkout",
        "command": COMMAND,
    }


def ratio_line(row: Row) -> str:
    """One row of a table of ratios."""
    low, high = row["spread"]
    what = " ".join(str(row[name]) for name in ("job", "work", "shape", "workload") if name in row)
    goal = row.get("goal_text", "")
    return f"| {row['goal']} | {what} | {row['ratio']:.2f} | {low:.2f} to {high:.2f} | {goal} |"


def page(about: Row, rows: list[Row], grown: Row) -> str:
    """The results as a page."""
    libraries = ", ".join(f"{name} {number}" for name, number in about["libraries"].items())
    return "\n".join(
        [
            "# Results",
            "",
            f"Made by `{about['command']}` at {about['commit']}: Python {about['python']} on "
            f"{about['machine']}; {libraries}.",
            "",
            "Ratios inside one run, both sides alternating: the median of the rounds, and the",
            "smallest and the largest. What each compares, and its blind spot, stands at the top",
            "of its module.",
            "",
            "| goal | work | ratio | spread | wanted |",
            "| --- | --- | --- | --- | --- |",
            *map(ratio_line, rows),
            "",
            f"Memory of the demo's gateway: {grown['early_mib']:.0f} MiB after "
            f"{grown['early_items']} items, {grown['last_mib']:.0f} MiB after {grown['items']} in "
            f"{grown['requests']} requests; at most {grown['limit_mib']:.0f} MiB more: "
            f"{'met' if grown['met'] else 'missed'}.",
            "",
        ]
    )


def with_goal(row: Row) -> Row:
    """Say what was wanted, and whether it is so."""
    if row["goal"] == "P7":
        text = f"at most {row['limit']:g}x"
    else:
        least = AT_LEAST.get((row["workload"], row["job"]), 3.0 if row["goal"] == "P8" else 5.0)
        row["met"] = row["ratio"] >= least
        text = f"at least {least:g}x"
    return row | {"goal_text": f"{text}: {'met' if row['met'] else 'missed'}"}


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="each once at tiny size")
    smoke = parser.parse_args().smoke
    steps: list[tuple[str, Callable[[], list[Row]]]] = [
        ("P1", lambda: p1(rounds=1, items=200) if smoke else p1()),
        ("P8", lambda: p8(rounds=1, items=200) if smoke else p8()),
        ("JSON", lambda: json_ratios(rounds=1, items=200) if smoke else json_ratios()),
        ("P7", lambda: p7(rounds=1, elements=50) if smoke else p7()),
    ]
    rows: list[Row] = []
    for name, step in steps:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += [with_goal({"goal": name} | row) for row in step()]
    print("memory ...", file=sys.stderr, flush=True)
    grown = memory(items=2000) if smoke else memory()
    about = machine()
    text = page(about, rows, grown)
    print(text)
    if smoke:
        print(f"{len(rows) + 1} passed, 0 failed")
        return
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "README.md").write_text(text)
    (RESULTS / "results.json").write_text(
        json.dumps({"about": about, "rows": rows, "memory": grown}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
