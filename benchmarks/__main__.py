"""Run the benchmarks and write what they found to benchmarks/results/.

python -m benchmarks              everything; half an hour
python -m benchmarks P2 costs     only these; what else is in results/ stays
python -m benchmarks --smoke      each once, tiny, nothing written: does it still run?
python -m benchmarks --list       what there is

OTELCOL=path names the Collector that P2 to P4 compare with. Interrupted, or out of the time
that --minutes gives it, it keeps what it has.
"""

import argparse
import json
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.goals import GOALS
from benchmarks.machine import machine
from benchmarks.measures import Measure, Section, not_shown, verdict
from benchmarks.more import MORE
from benchmarks.page import page

RESULTS = Path(__file__).parent / "results"
COMMAND = "python -m benchmarks"


def run(section: Section, *, smoke: bool) -> tuple[dict[str, Any], bool]:
    """One section's measures as JSON, and whether it came to its end.

    What fails is reported and has no figure; the other sections still run.
    """
    measures: list[Measure] = []
    stopped = ""
    try:
        for measure in section.measure(smoke):
            measures.append(measure)
            print(f"    {said(measure)}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        stopped = "interrupted"
    except Exception as error:
        traceback.print_exc()
        stopped = f"{type(error).__name__}: {error}".splitlines()[0]
    if stopped:
        measures.append(not_shown("the rest", stopped))
    result = {
        "name": section.name,
        "work": section.work,
        "against": section.against,
        "wanted": section.wanted,
        "verdict": verdict(measures, complete=not stopped),
        "interrupted": stopped,
        "about": machine(),
        "measures": [measure.as_json() for measure in measures],
    }
    # As it will be read: a smoke run finds what cannot be written, too.
    return json.loads(json.dumps(result)), stopped == "interrupted"


def said(measure: Measure) -> str:
    """A measure in a line."""
    if measure.figure is None:
        return f"{measure.work}: not shown, {measure.note}"
    spread = " ({:.2f} to {:.2f})".format(*measure.spread) if measure.spread else ""
    wanted = f", {measure.wanted}: {measure.verdict}" if measure.wanted else ""
    return f"{measure.work}: {measure.figure:.2f} {measure.unit}{spread}{wanted}"


def write(found: dict[str, Any]) -> None:
    """The page, results.json and goals.json; what is there of other sections stays."""
    RESULTS.mkdir(exist_ok=True)
    kept: dict[str, Any] = {}
    for name in ("results.json", "goals.json"):
        path = RESULTS / name
        if path.exists():
            known = json.loads(path.read_text())
            kept |= {one["name"]: one for one in known} if isinstance(known, list) else {}
    for name, one in found.items():
        if name not in kept or any(part["figure"] is not None for part in one["measures"]):
            kept[name] = one  # what says nothing replaces nothing
    goals, more = (
        [kept[section.name] for section in sections if section.name in kept]
        for sections in (GOALS, MORE)
    )
    for name, value in (("goals.json", goals), ("results.json", more)):
        (RESULTS / name).write_text(json.dumps(value, indent=1) + "\n")
    pictures = [path.name for path in RESULTS.glob("*.svg")]
    (RESULTS / "README.md").write_text(page(goals, more, pictures))


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run what is asked for; the exit status is 1 when something could not be run."""
    sections = {section.name: section for section in (*GOALS, *MORE)}
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(sections))
    parser.add_argument("--smoke", action="store_true", help="each once at tiny size")
    parser.add_argument("--minutes", type=float, metavar="N", help="stop after so many")
    parser.add_argument("--list", action="store_true", help="print the names")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in sections]:
        parser.error(f"no benchmark {', '.join(unknown)}; expected some of {', '.join(sections)}")
    if asked.list:
        for section in sections.values():
            print(f"{section.name:12} {section.work}")
        return 0
    if asked.minutes is not None and not asked.minutes > 0:
        parser.error(f"--minutes {asked.minutes:g}: expected more than 0")
    signal.signal(signal.SIGTERM, _stop)
    if asked.minutes is not None:
        signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, asked.minutes * 60)
    found: dict[str, Any] = {}
    failed: list[str] = []
    for name in asked.names or sections:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found[name], interrupted = run(sections[name], smoke=asked.smoke)
        if found[name]["interrupted"]:
            failed.append(name)
        if not asked.smoke:
            write(found)
        if interrupted:
            break
    print(f"{len(found) - len(failed)} passed, {len(failed)} failed {' '.join(failed)}".rstrip())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
