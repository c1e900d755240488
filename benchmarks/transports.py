"""What does each way in and out cost the same gateway?

Unit: CPU microseconds a span of the gateway's process, and as a ratio, that by what OTLP/HTTP
without compression costs in the same round. All ways take turns.
Work and measuring: as P2 (`end_to_end`), rxotlp with validate="shape".
Baseline: itself over OTLP/HTTP. JSON comes in and leaves as protobuf; gzip is both ways.
Blind spot: as P2.

    python -m benchmarks.transports
"""

import statistics
from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.control import child
from benchmarks.end_to_end import Bench, Found
from benchmarks.gateways import Running, Way, check_room, gateways, running
from benchmarks.measures import Measure, alternating, not_shown

__all__ = ["transports"]

WAYS = (
    Way("http"),
    Way("http", gzip=True),
    Way("http", json=True),
    Way("grpc"),
    Way("grpc", gzip=True),
)


def transports(smoke: bool) -> Iterator[Measure]:
    """Every way, by plain OTLP/HTTP."""
    check_room()
    rounds, requests, items = (1, 24, 32) if smoke else (7, 500, None)
    with ExitStack() as stack:
        sink = stack.enter_context(child("benchmarks.sink"))
        started = []
        for way in WAYS:
            gateway = gateways(way)[0]
            process = stack.enter_context(running(gateway, way, sink.hello[way.transport]))
            started.append((way, process, stack.enter_context(child("benchmarks.load"))))
        sides: list[tuple[Way, Bench, Running, Found]] = []
        for way, process, load in started:
            process.ready()
            bench = Bench(way, load, sink, requests=requests, items=items)
            sides.append((way, bench, process, Found(process.gateway)))
        for turn in range(rounds if smoke else rounds + 1):
            for _, bench, process, found in sides:
                bench.round(process, found)
                if not turn and not smoke:  # the first warms up
                    found.us.clear()
        _, _, _, plain = sides[0]
        for way, bench, _, found in sides:
            if found.fault or plain.fault:
                yield not_shown(str(way), found.fault or plain.fault, payload=bench.payload)
                continue
            yield alternating(
                str(way),
                [us / max(base, 1e-9) for us, base in zip(found.us, plain.us, strict=True)],
                payload=bench.payload,
                peer="rxotlp over http",
                detail={"us_a_span": statistics.median(found.us)},
                note=f"{statistics.median(found.us):.2f} us a span",
            )


def main() -> None:
    """Print them."""
    for measure in transports(smoke=False):
        print(f"{measure.work}: {measure.figure or 0:.2f}x {measure.spread} {measure.note}")


if __name__ == "__main__":
    main()
