"""Processes that benchmarks measure or load: a gateway, a sink.

    python -m benchmarks.processes gateway FOLDER BACKEND
    python -m benchmarks.processes sink

Each prints its addresses as one line of JSON when it listens, and drains on SIGTERM.
"""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reactivex import Observable

from rxotlp import Pipeline, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.data import TelemetryData

__all__ = ["Running", "started"]


class Nowhere:
    """A destination that takes everything and keeps nothing."""

    def export(self, data: TelemetryData) -> Outcome:
        """Deliver to nobody."""
        return DELIVERED


class Running:
    """A process under test and where it listens."""

    def __init__(self, process: "subprocess.Popen[str]", addresses: dict[str, str]) -> None:
        self.pid = process.pid
        self.addresses = addresses


@contextmanager
def started(*arguments: str) -> Iterator[Running]:
    """Run one of the processes for as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.processes", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(arguments)} ended with {process.wait()} before it began")
        yield Running(process, json.loads(line))
    finally:
        process.terminate()
        process.wait(timeout=60)
        if process.stdout is not None:
            process.stdout.close()


async def _serve(stream: Observable[Any]) -> None:
    listen = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0"}
    async with Pipeline(stream, listen=listen) as pipeline:
        print(json.dumps(pipeline.addresses), flush=True)
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        await stopped.wait()


def main(arguments: list[str]) -> None:
    """Run the process that the arguments name."""
    if arguments[0] == "gateway":
        from rxotlp.demo.pipeline import gateway

        folder, backend = arguments[1:]
        stream = gateway(Path(folder), backend)
    elif arguments[0] == "sink":
        stream = sources.otlp(validate="shape").pipe(ops.export(Nowhere()))
    else:
        raise SystemExit(f"benchmarks.processes: expected gateway or sink, got {arguments[0]!r}")
    asyncio.run(_serve(stream))


if __name__ == "__main__":
    main(sys.argv[1:])
