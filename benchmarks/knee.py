"""How much can a gateway take, and what happens beyond it?

Unit: spans a second. In an open loop one request comes every 1/rate seconds, whatever the
answers; rates are shares of what the same gateway does in a closed loop in the same run. The
knee is the largest rate at which at least 98 % of what was offered was acknowledged and has
arrived, within half a second more than it took to offer it, and the 99th of a hundred
requests had its answer within a second of when it was due. Goodput is ids that arrived a
second; loss is ids that were acknowledged and never came.
Baseline: everybody of P2, one after the other.
Blind spot: load, gateway and sink share the machine's cores, so a knee here is lower than on
a machine of its own, and the gateways with threads for every core suffer most; rates are
tried once each.

    python -m benchmarks.knee
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.control import child
from benchmarks.end_to_end import NO_COLLECTOR, Bench
from benchmarks.gateways import Running, Way, check_room, gateways, running
from benchmarks.measures import Measure, not_shown
from rxotlp._core.chart import Panel, chart

__all__ = ["knee"]

SHARES = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5)
ENOUGH = 0.98  # of what was offered
SLACK = 0.5  # seconds that the last answers may take
PROMPT = 1.0  # seconds, of the 99th of a hundred
CONNECTIONS = 256
PICTURE = Path(__file__).parent / "results" / "knee.svg"

Point = tuple[float, float]


def knee(smoke: bool) -> Iterator[Measure]:
    """Everybody's knee over OTLP/HTTP."""
    check_room()
    way = Way("http")
    seconds = 0.3 if smoke else 3.0
    goodput: dict[str, Sequence[Point]] = {}
    latency: dict[str, Sequence[Point]] = {}
    with ExitStack() as stack:
        load, sink = (stack.enter_context(child(f"benchmarks.{name}")) for name in ("load", "sink"))
        bench = Bench(way, load, sink, requests=64 if smoke else 2500, items=32 if smoke else None)
        everybody = gateways(way)
        for gateway in everybody:
            with running(gateway, way, bench.backend) as process:
                process.ready()
                found = _steps(bench, process, SHARES[:2] if smoke else SHARES, seconds)
            best = max((step["offered"] for step in found if step["good"]), default=0.0)
            lost, doubled = (sum(step[kind] for step in found) for kind in ("lost", "doubled"))
            yield Measure(
                f"{gateway.name}: the knee",
                best,
                unit="spans a second",
                runs=len(found),
                payload=bench.payload,
                peer="" if gateway.side == "ours" else f"{gateway.name} ({gateway.version})",
                note=f"{lost:.0f} spans lost, {doubled:.0f} doubled over all rates"
                if lost or doubled
                else "",
                detail={"steps": found},
            )
            goodput[gateway.name] = [
                (0.0, 0.0),
                *((step["offered"], step["goodput"]) for step in found),
            ]
            latency[gateway.name] = [(step["offered"], step["p99"] * 1000) for step in found]
        if not any(gateway.side == "collector" for gateway in everybody):
            yield not_shown("Collector: the knee", NO_COLLECTOR)
    if not smoke:
        most = max(offered for line in goodput.values() for offered, _ in line)
        goodput["as offered"] = [(0.0, 0.0), (most, most)]
        panels = [
            Panel("goodput, spans a second that arrived", goodput),
            Panel("latency, 99th of a hundred, ms from when it was due", latency),
        ]
        PICTURE.write_text(chart("Offered spans a second, open loop", panels, unit=" spans/s"))


def _steps(
    bench: Bench, process: Running, shares: tuple[float, ...], seconds: float
) -> list[dict[str, float]]:
    """A gateway at rising rates; what it does in a closed loop comes first."""
    closed = bench.send(process.address, requests=min(bench.requests, 500))
    closed = bench.send(process.address, requests=min(bench.requests, 500))  # now it is warm
    rate = min(bench.requests, 500) / closed["seconds"]
    found = []
    for share in shares:
        offered = rate * share
        requests = max(1, min(bench.requests, round(offered * seconds)))
        said = bench.send(process.address, requests=requests, senders=CONNECTIONS, rate=offered)
        took, due = said["seconds"], requests / offered
        arrived = said["arrived"] / (requests * bench.items)
        p99 = said["latency"]["p99"]
        good = arrived >= ENOUGH and took <= due + SLACK and p99 <= PROMPT and not said["lost"]
        found.append(
            {
                "share": share,
                "offered": offered * bench.items,
                "goodput": said["arrived"] / took,
                "p50": said["latency"]["p50"],
                "p99": p99,
                "refused": len(said["refused"]),
                "lost": said["lost"],
                "doubled": said["doubled"],
                "mib": process.memory(),
                "good": good,
            }
        )
    return found


def main() -> None:
    """Print it."""
    for measure in knee(smoke=False):
        print(f"{measure.work}: {measure.figure or 0:.0f} {measure.unit} {measure.note}")
        for step in measure.detail.get("steps", ()):
            print("   ", {name: round(value, 3) for name, value in step.items()})


if __name__ == "__main__":
    main()
