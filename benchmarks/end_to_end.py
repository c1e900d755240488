"""What does a span cost the process of a gateway, from OTLP in to OTLP out?

Unit: CPU microseconds a span of the gateway's process, user and system, all its threads; as a
ratio, the peer's by ours in the same round. Everybody takes turns in each round, the median
of the rounds counts, the smallest and largest are printed.
Baseline: the Collector of OTELCOL with batching, in whichever of its configurations uses
less here; and the gateway one writes by hand with asyncio and messages (`handwritten`).
Work: requests of 512 spans in a closed loop of 64, routed by signal, batched up to 8192 or
200 ms, sent on. Load and sink are other processes. What arrives is compared with what was
sent, decoded, before anything is measured, and by id after every round: whoever loses or
doubles one has no figure.
Blind spot: everything is on one machine, whose cores load, gateway and sink share, so
throughput and latency say little and CPU time is a little dearer than on a quiet machine.

    P2  OTLP/HTTP in and out: 3x less with validate="shape", 1.5x with "full"
    P3  with gzip both ways: 6x less (with "shape"; "full" is reported)
    P4  over gRPC: less with "shape", at most 1.5 times with "full"

    [OTELCOL=path] python -m benchmarks.end_to_end
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.control import Child, child
from benchmarks.gateways import Gateway, Running, Way, check_room, gateways, running
from benchmarks.measures import Measure, alternating, not_shown

__all__ = ["Bench", "p2", "p3", "p4"]

PAYLOAD = "spans"
SENDERS = 64  # four batches' worth: one is filled while others are under way
PATIENCE = 60.0  # seconds for what was acknowledged to arrive
NO_COLLECTOR = "no Collector: OTELCOL is not set"


@dataclass(slots=True)
class Found:
    """What one gateway's rounds gave."""

    gateway: Gateway
    us: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    idle: float = 0.0
    peak: float | None = None
    fault: str = ""


class Bench:
    """Load and sink, and one way between them.

    Args:
        way: how telemetry comes and goes.
        load: the process that sends.
        sink: the process where it arrives.
        requests: a round.
        items: spans in a request; None is what the workload has.
    """

    def __init__(
        self, way: Way, load: Child, sink: Child, *, requests: int, items: int | None = None
    ) -> None:
        self.way, self.load, self.sink, self.requests = way, load, sink, requests
        self.prepared = load.ask(
            "prepare",
            name=PAYLOAD,
            requests=requests,
            items=items,
            gzip=way.gzip and way.transport == "http",
            json=way.json,
        )
        self.items: int = self.prepared["items"]

    @property
    def backend(self) -> str:
        """Where the sink listens."""
        return str(self.sink.hello[self.way.transport])

    @property
    def payload(self) -> str:
        """What is sent, for the results."""
        sizes = f"{self.prepared['size']} bytes"
        if self.way.gzip:
            sizes += f", {self.prepared['sent']} in gzip"
        return f"{PAYLOAD}: {self.items} spans a request, {sizes}; {self.requests} requests a run"

    def send(self, address: str, *, requests: int | None = None, **how: Any) -> dict[str, Any]:
        """Send and wait until everything has arrived that will; what became of the ids, too."""
        requests = requests or self.requests
        self.sink.ask("reset")
        how = {"senders": SENDERS, "gzip": self.way.gzip} | how
        result: dict[str, Any] = self.load.ask(
            "run", transport=self.way.transport, address=address, requests=requests, **how
        )
        expected = (requests - len(result["refused"])) * self.items
        until = time.monotonic() + PATIENCE
        while self.sink.ask("arrived") < expected and time.monotonic() < until:
            time.sleep(0.02)
        ids = self.sink.ask(
            "report", requests=requests, items=self.items, refused=result["refused"]
        )
        return {**result, **ids}

    def written(self, address: str) -> str:
        """Every span that arrives of a few requests, as text."""
        requests = min(self.requests, 24)
        self.sink.ask("reset")
        self.sink.ask("keep")
        self.load.ask(
            "run",
            transport=self.way.transport,
            address=address,
            requests=requests,
            senders=SENDERS,
            gzip=self.way.gzip,
        )
        until = time.monotonic() + PATIENCE
        while self.sink.ask("arrived") < requests * self.items and time.monotonic() < until:
            time.sleep(0.02)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "spans"
            self.sink.ask("write", path=str(path))
            return path.read_text()

    def check(self, process: Running, expected: str) -> str:
        """What is wrong with what a gateway sends on; empty when nothing is."""
        if self.written(process.address) != expected:
            return "what arrives is not what was sent"
        return ""

    def round(self, process: Running, found: Found) -> None:
        """One round of one gateway."""
        before = process.cpu()
        result = self.send(process.address)
        spent = process.cpu() - before
        for kind in ("lost", "doubled", "strange", "refused"):
            if result[kind]:
                number = result[kind] if isinstance(result[kind], int) else len(result[kind])
                found.fault = f"{number} {kind}"
        spans = self.requests * self.items
        found.us.append(spent / spans * 1e6)
        found.rates.append(spans / result["seconds"])
        found.p99.append(result["latency"]["p99"])


def _measured(way: Way, *, smoke: bool) -> tuple[list[Found], str, bool]:
    """Everybody on one way; the payload; whether every round was made."""
    check_room()
    rounds, requests, items = (1, 24, 32) if smoke else (5, 1000, None)
    with ExitStack() as stack:
        load, sink = (stack.enter_context(child(f"benchmarks.{name}")) for name in ("load", "sink"))
        everybody: list[tuple[Running, Found]] = []
        for gateway in gateways(way):
            process = stack.enter_context(running(gateway, way, sink.hello[way.transport]))
            everybody.append((process, Found(gateway)))
        bench = Bench(way, load, sink, requests=requests, items=items)
        expected = bench.written(bench.backend)
        for process, found in everybody:
            process.ready()
            found.idle = process.memory()
            found.fault = bench.check(process, expected)
        try:
            for turn in range(rounds if smoke else rounds + 1):
                shift = turn % len(everybody)
                for process, found in everybody[shift:] + everybody[:shift]:
                    bench.round(process, found)
                    if not turn and not smoke:  # the first warms up
                        for runs in (found.us, found.rates, found.p99):
                            runs.clear()
                    found.peak = process.peak()
        except KeyboardInterrupt:
            whole = min(len(found.us) for _, found in everybody)
            for _, found in everybody:
                for runs in (found.us, found.rates, found.p99):
                    del runs[whole:]
            if not whole:
                raise
            return [found for _, found in everybody], bench.payload, False
        return [found for _, found in everybody], bench.payload, True


def _compared(way: Way, bounds: dict[str, float | None], *, smoke: bool) -> Iterator[Measure]:
    """Ours against the Collector, which has the goal, and against the Python peer."""
    found, payload, complete = _measured(way, smoke=smoke)
    by_side: dict[str, list[Found]] = {"ours": [], "python": [], "collector": []}
    for one in found:
        by_side[one.gateway.side].append(one)
    for ours in by_side["ours"]:
        validate = ours.gateway.environment["BENCH_VALIDATE"]
        work = f'{way}, validate="{validate}"'
        known: dict[str, Any] = {"payload": payload, "at_least": bounds[validate]}
        sound = [one for one in by_side["collector"] if not one.fault]
        if ours.fault:
            yield not_shown(work, f"ours: {ours.fault}", **known)
            continue
        if sound:
            best = min(sound, key=lambda one: statistics.median(one.us))
            yield _ratio(work, ours, best, note=_share(ours, by_side["ours"][0]), **known)
            for peer in sound:
                if peer is not best:
                    name = peer.gateway.name.removeprefix("Collector, ")
                    yield _ratio(f"{work}, {name}", ours, peer, payload=payload)
        else:
            faults = [f"{one.gateway.name}: {one.fault}" for one in by_side["collector"]]
            yield not_shown(work, "; ".join(faults) or NO_COLLECTOR, **known)
        for peer in by_side["python"]:
            if peer.fault:
                yield not_shown(f"{work}, by hand", peer.fault, payload=payload)
            else:
                yield _ratio(f"{work}, by hand", ours, peer, payload=payload)
    for one in found:
        if not one.fault and one.us:
            yield _alone(way, one, payload)
    if not complete:
        raise KeyboardInterrupt


def _alone(way: Way, found: Found, payload: str) -> Measure:
    """What one of them took."""
    rate, p99 = statistics.median(found.rates), statistics.median(found.p99)
    peak = "" if found.peak is None else f", {found.peak:.0f} at the most"
    return alternating(
        f"{way}, {found.gateway.name}",
        found.us,
        unit="us a span",
        payload=payload,
        note=f"{rate:.0f} spans a second in the closed loop, 99th of a hundred answers after "
        f"{p99 * 1000:.0f} ms; {found.idle:.0f} MiB idle{peak}",
        detail={
            "spans_a_second": rate,
            "p99_seconds": p99,
            "idle_mib": found.idle,
            "peak_mib": found.peak,
        },
    )


def _share(ours: Found, least: Found) -> str:
    """What full validation is of the whole; empty for who does not have it."""
    if ours is least or least.fault:
        return ""
    whole = statistics.median(ours.us)
    more = whole - statistics.median(least.us)
    return f"looking at every span is {more:.2f} of {whole:.2f} us a span"


def _ratio(work: str, ours: Found, peer: Found, **known: Any) -> Measure:
    runs = [theirs / max(mine, 1e-9) for mine, theirs in zip(ours.us, peer.us, strict=True)]
    detail = {"ours_us": statistics.median(ours.us), "peer_us": statistics.median(peer.us)}
    name = f"{peer.gateway.name} ({peer.gateway.version})"
    return alternating(work, runs, peer=name, detail=detail, **known)


def p2(smoke: bool) -> Iterator[Measure]:
    """P2."""
    yield from _compared(Way("http"), {"shape": 3.0, "full": 1.5}, smoke=smoke)


def p3(smoke: bool) -> Iterator[Measure]:
    """P3."""
    yield from _compared(Way("http", gzip=True), {"shape": 6.0, "full": None}, smoke=smoke)


def p4(smoke: bool) -> Iterator[Measure]:
    """P4."""
    yield from _compared(Way("grpc"), {"shape": 1.0, "full": 1 / 1.5}, smoke=smoke)


def main() -> None:
    """Print all three."""
    smoke = "--smoke" in sys.argv
    for measure in (*p2(smoke), *p3(smoke), *p4(smoke)):
        figure = measure.note if measure.figure is None else f"{measure.figure:.2f} {measure.unit}"
        print(f"{measure.work}: {figure} {measure.spread or ''} {measure.peer} {measure.verdict}")
        print(f"    {measure.detail}")


if __name__ == "__main__":
    main()
