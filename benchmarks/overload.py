"""What does a gateway do with twice what it can take?

Unit: goodput, ids that arrived a second while the overload lasted, as a share of what the same
gateway did at its knee just before and just after; ids that were acknowledged and never
arrived; MiB resident above what it had when idle; seconds from the end of the overload until
half the knee's rate is served without a refusal and promptly again.
Baseline: itself at the knee: a closed loop of 64 senders.
Work: `rxotlp run`, OTLP/HTTP in and out, validate="full", batches of 8192 or 200 ms, 64 MiB in
flight at most, as by default. The overload is an open loop on 512 connections: a request comes
every 1/rate seconds, whatever the answers, and is sent if a connection is free.

    wait      when_full="wait", as by default: senders wait for their answer
    reject    when_full="reject": refused with a time; each is not sent again, and the next
              comes at once, as from senders who do not listen. Goodput is reported: to refuse
              a request of 180 kB costs a quarter of what it costs to take it, because the body
              comes all the same, and half of all are refused.

Blind spot: load, gateway and sink share the machine's cores, so where there are two the
overload takes from the gateway what the load needs; `cores` says what it got.

    at least 95 % goodput, nothing acknowledged lost, at most 150 MiB above idle, 5 s

    python -m benchmarks.overload [SECONDS]        60 by default; into results/overload.json
"""

import asyncio
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bodies import IDS, Bodies
from benchmarks.control import Child, Command, child, serve
from benchmarks.gateways import Gateway, Running, Way, running
from benchmarks.load import Http, Load
from benchmarks.machine import machine
from benchmarks.measures import Measure, named, verdict
from benchmarks.sink import Sink, listen

__all__ = ["overload", "p6"]

RESULT = Path(__file__).parent / "results" / "overload.json"
SECONDS = 60.0
TIMES = 2.0  # the knee
GOODPUT, MEMORY, RECOVERY = 0.95, 150.0, 5.0  # share, MiB, seconds
SENDERS, CONNECTIONS = 64, 512  # 92 MB of requests: more than the 64 MiB that are let in
KNEE_SECONDS = 5.0
PROMPT = 1.0  # seconds, of the 99th of a hundred
WINDOW = 0.5  # seconds
LOOK_EVERY = 0.1  # seconds


class _Numbered:
    """Bodies made as they are sent: a minute of them would fill the memory."""

    def __init__(self, bodies: Bodies, first: int) -> None:
        self._bodies, self._first = bodies, first

    def __getitem__(self, number: int) -> bytes:
        return self._bodies.numbered(self._first + number)


class _Load(Load):
    """Load whose requests go on being numbered from part to part."""

    async def number(self, *, items: int | None, first: int) -> dict[str, int]:
        """The next run's first request has this number."""
        bodies = Bodies("spans", items=items)
        self._bodies = _Numbered(bodies, first)  # type: ignore[assignment]
        return {"items": bodies.items, "size": bodies.size}

    async def press(self, *, address: str, rate: float, seconds: float) -> dict[str, Any]:
        """An open loop that lasts so long; a request that finds no connection free is `late`."""
        loop = asyncio.get_running_loop()
        host, port = address.rsplit(":", 1)
        connection = partial(Http, address, gzip=False, json=False)
        # Made when they are needed: the gateway closes one that says nothing for long.
        free: list[Http | None] = [None] * CONNECTIONS
        answers: Counter[str] = Counter()
        refused: list[int] = []
        under_way: set[asyncio.Task[None]] = set()

        async def one(client: Http | None, number: int) -> None:
            if client is None or client.closed:
                _, client = await loop.create_connection(connection, host, int(port))
            answer = await client.send(self._bodies[number])
            answers[answer] += 1
            if answer:
                refused.append(number)
            free.append(client)

        began = loop.time()
        sent = late = 0
        while (at := (sent + late) / rate) < seconds:
            if (early := began + at - loop.time()) > 0:
                await asyncio.sleep(early)
            if free:
                task = loop.create_task(one(free.pop(), sent))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                sent += 1
            else:
                late += 1
        offered = loop.time() - began
        if under_way:
            await asyncio.wait(under_way)
        for client in free:
            if client is not None:
                client.close()
        tail = loop.time() - began - offered
        return {
            "answers": dict(answers),
            "refused": sorted(refused),
            "sent": sent,
            "late": late,
            "seconds": offered,
            "tail": tail,
        }


class _Ids(Sink):
    """Times that each id has arrived; a byte an id, so that millions can be told apart."""

    def __init__(self) -> None:
        super().__init__()
        self._items = 1
        self._times = bytearray()

    async def begin(self, *, items: int) -> None:
        """Forget everything; requests have so many items."""
        self._items, self._times, self._arrived = items, bytearray(), 0

    async def judge(self, *, first: int, requests: int, refused: list[int]) -> dict[str, int]:
        """What became of the ids of `requests` from the request `first` on."""
        items, times = self._items, self._times
        gone = set(refused)
        lost = doubled = 0
        for number in range(first, first + requests):
            part = times[number * items : (number + 1) * items]
            if number - first not in gone:
                lost += items - (len(part) - part.count(0))
            doubled += sum(part) - (len(part) - part.count(0))
        return {"lost": lost, "doubled": doubled}

    def take(self, body: bytes) -> None:
        """Count one body."""
        items, times = self._items, self._times
        for identity in IDS(body):
            at = int.from_bytes(identity[:6], "big") * items + int.from_bytes(identity[6:], "big")
            if at >= len(times):
                times.extend(bytes(max(1 << 20, at + 1 - len(times))))
            times[at] = min(255, times[at] + 1)
            self._arrived += 1


class _Drive:
    """The parts of a run: numbers of requests go on, so no id comes twice by itself."""

    def __init__(self, load: Child, sink: Child, process: Running, items: int | None) -> None:
        self._load, self._sink, self._process, self._given = load, sink, process, items
        self._next = 0
        about = load.ask("number", items=items, first=0)
        self.items: int = about["items"]
        self.size: int = about["size"]
        sink.ask("begin", items=self.items)
        self.lost = self.doubled = 0

    def run(self, requests: int, **how: Any) -> dict[str, Any]:
        """Send requests and judge them by id."""
        first = self._begin()
        said: dict[str, Any] = self._load.ask(
            "run", transport="http", address=self._process.address, requests=requests, **how
        )
        self._judge(first, requests, said["refused"])
        return said

    def press(self, rate: float, seconds: float) -> dict[str, Any]:
        """The overload, judged by id; what the gateway is like meanwhile, as `samples`."""
        first = self._begin()
        with _sampled(self._process, self._sink) as samples:  # which asks the sink, too
            said: dict[str, Any] = self._load.ask(
                "press", address=self._process.address, rate=rate, seconds=seconds
            )
        self._judge(first, said["sent"], said.pop("refused"))
        return said | {"samples": samples}

    def _begin(self) -> int:
        self._load.ask("number", items=self._given, first=self._next)
        return self._next

    def _judge(self, first: int, requests: int, refused: list[int]) -> None:
        self._next = first + requests
        said = self._sink.ask("judge", first=first, requests=requests, refused=refused)
        self.lost += said["lost"]
        self.doubled += said["doubled"]

    def knee(self, seconds: float) -> tuple[float, float]:
        """Requests a second in a closed loop, and requests a second of the gateway's CPU."""
        few = self.run(SENDERS * 2, senders=SENDERS)
        requests = max(SENDERS, round(SENDERS * 2 / few["seconds"] * seconds))
        cpu = self._process.cpu()
        said = self.run(requests, senders=SENDERS)
        cpu = max(0.01, self._process.cpu() - cpu)  # a tick
        return float(requests / said["seconds"]), requests / cpu

    def recovery(self, rate: float) -> float:
        """Seconds until a window of half the knee's rate is served as it should be."""
        began = time.monotonic()
        while time.monotonic() - began < 10 * RECOVERY:
            requests = max(1, round(rate / 2 * WINDOW))
            said = self.run(requests, senders=CONNECTIONS, rate=rate / 2)
            if not said["refused"] and said["latency"]["p99"] < PROMPT:
                break
        return time.monotonic() - began


def overload(
    when_full: str, seconds: float, *, items: int | None = None, knee: float = KNEE_SECONDS
) -> dict[str, Any]:
    """Find the knee, send twice as much for `seconds`, and look how it recovers.

    Args:
        when_full: "wait" or "reject".
        seconds: of overload.
        items: spans in a request; None is what the workload has.
        knee: seconds for each look for the knee.
    """
    with ExitStack() as stack:
        load, sink = (
            stack.enter_context(child("benchmarks.overload", name)) for name in ("load", "sink")
        )
        command = (sys.executable, "-m", "rxotlp", "run", "benchmarks.overloaded:pipeline")
        ours = Gateway("rxotlp", named("rxotlp"), command, "ours", {"BENCH_FULL": when_full})
        process = stack.enter_context(running(ours, Way("http"), str(sink.hello)))
        process.ready()
        drive = _Drive(load, sink, process, items)
        idle = process.memory()
        before, cheap = drive.knee(knee)
        rate = before * TIMES
        said = drive.press(rate, seconds)
        recovery = said["tail"] + drive.recovery(before)
        after, _ = drive.knee(knee)
    samples: list[_Sample] = said.pop("samples")
    first = samples[0]
    last = next((one for one in reversed(samples) if one.at - first.at <= seconds), samples[-1])
    cpu = max(0.01, last.cpu - first.cpu)
    goodput = (last.arrived - first.arrived) / (last.at - first.at)
    knees = [before * drive.items, after * drive.items]
    memory = [one.mib for one in samples]
    return said | {
        "payload": f"spans: {drive.items} spans a request, {drive.size} bytes",
        "knee": knees,
        "offered": rate * drive.items,
        "goodput": goodput,
        "share": goodput / (sum(knees) / 2),
        "cores": {"knee": before / cheap, "overload": cpu / (last.at - first.at)},
        "share_by_cpu": (last.arrived - first.arrived) / cpu / (cheap * drive.items),
        "lost": drive.lost,
        "doubled": drive.doubled,
        "idle_mib": idle,
        "most_mib": max(memory),
        "memory_mib": [round(mib, 1) for mib in memory[:: max(1, len(memory) // 60)]],
        "recovery": recovery,
    }


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    mib: float
    cpu: float
    arrived: int


@contextmanager
def _sampled(process: Running, sink: Child) -> Iterator[list[_Sample]]:
    """How the gateway is, now and then while the block lasts."""
    found: list[_Sample] = []
    done = threading.Event()

    def look() -> None:
        arrived = sink.ask("arrived")
        found.append(_Sample(time.monotonic(), process.memory(), process.cpu(), arrived))

    def keep_looking() -> None:
        while not done.wait(LOOK_EVERY):
            look()

    look()
    thread = threading.Thread(target=keep_looking)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
        look()


def p6(smoke: bool) -> Iterator[Measure]:
    """The goal."""
    for when_full in ("wait", "reject"):
        if smoke:
            row = overload(when_full, 1.0, items=16, knee=0.3)
        else:
            row = overload(when_full, SECONDS)
        yield from _measures(when_full, row)


def _measures(when_full: str, row: dict[str, Any]) -> Iterator[Measure]:
    known = {"runs": 1, "payload": row["payload"], "peer": "itself at the knee"}
    waits = when_full == "wait"
    low, high = sorted(row["goodput"] / knee for knee in row["knee"])
    work = f"{when_full}: goodput at {TIMES:g} times the knee, {row['seconds']:.0f} s"
    yield Measure(
        work,
        row["share"],
        spread=(low, high),
        at_least=GOODPUT if waits else None,
        note="" if waits else "refusing half of all requests takes CPU from the others",
        detail=row,
        **known,
    )
    yield Measure(
        f"{when_full}: goodput a second of the gateway's CPU, of that at the knee",
        row["share_by_cpu"],
        **known,
    )
    yield Measure(
        f"{when_full}: acknowledged and lost", row["lost"], unit="spans", at_most=0, **known
    )
    yield Measure(
        f"{when_full}: memory above idle",
        row["most_mib"] - row["idle_mib"],
        unit="MiB",
        at_most=MEMORY,
        **known,
    )
    yield Measure(
        f"{when_full}: until it is as before",
        row["recovery"],
        unit="s",
        at_most=RECOVERY if waits else None,
        **known,
    )


async def _run_load() -> None:
    load = _Load()
    await serve({}, {"number": load.number, "run": load.run, "press": load.press})


async def _run_sink() -> None:
    ids = _Ids()
    http = await listen(ids)
    host, port = http.sockets[0].getsockname()
    commands: dict[str, Command] = {"begin": ids.begin, "arrived": ids.arrived, "judge": ids.judge}
    await serve(f"{host}:{port}", commands)
    http.close()


def main(arguments: list[str]) -> None:
    """Be one of its processes, or run it; exit 1 when the goal is missed."""
    if arguments[:1] in (["load"], ["sink"]):
        asyncio.run(_run_load() if arguments[0] == "load" else _run_sink())
        return
    seconds = float(arguments[0]) if arguments else SECONDS
    measures = [
        measure
        for when_full in ("wait", "reject")
        for measure in _measures(when_full, overload(when_full, seconds))
    ]
    said = {"about": machine(), "verdict": verdict(measures)}
    RESULT.write_text(
        json.dumps(said | {"measures": [one.as_json() for one in measures]}, indent=1) + "\n"
    )
    for one in measures:
        print(f"{one.work}: {one.figure:.2f} {one.unit}, {one.wanted or 'no bound'}: {one.verdict}")
    sys.exit(0 if said["verdict"] == "met" else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
