"""Gateways in processes of their own, told apart by nothing but their command.

Each takes OTLP on one address, batches 8192 spans or 200 ms, and sends to the backend. What
is asked of each is the CPU time of its process, all threads, from the operating system, and
its memory: how it does its work is its own business.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from benchmarks.control import ROOT
from benchmarks.measures import named

__all__ = ["Gateway", "Running", "Way", "check_room", "collector", "gateways", "running"]

# Both configurations as they are, and the quicker of them with memory traded for CPU: its garbage
# collector lets the heap grow fivefold instead of twofold.
COLLECTORS: tuple[tuple[str, dict[str, str]], ...] = (
    ("processor", {}),
    ("exporter", {}),
    ("exporter", {"GOGC": "400"}),
)
ROOM = 3.0  # GiB
PATIENCE = 90.0  # seconds for a process to listen; many start at once


@dataclass(frozen=True, slots=True)
class Way:
    """How telemetry comes and goes."""

    transport: str  # "http" or "grpc"
    gzip: bool = False
    json: bool = False  # in; out is always protobuf

    def __str__(self) -> str:
        return self.transport + (" gzip" if self.gzip else "") + (" JSON" if self.json else "")


@dataclass(frozen=True, slots=True)
class Gateway:
    """One of those that are compared.

    Attributes:
        name: what it is called in results.
        version: of what makes it what it is.
        command: how it is started.
        environment: what it is told besides.
        side: "ours", "collector" or "python".
    """

    name: str
    version: str
    command: tuple[str, ...]
    side: str
    environment: dict[str, str] = field(default_factory=dict)


class Running:
    """A gateway's process."""

    def __init__(
        self, gateway: Gateway, process: psutil.Popen, address: str, said: IO[str]
    ) -> None:
        self.gateway = gateway
        self.address = address
        self.pid = int(process.pid)
        self._process = process
        self._said = said

    def ready(self) -> None:
        """Return when it listens.

        Raises:
            RuntimeError: it ended, or did not listen in time; with the last of what it said.
        """
        if not _listens(self._process, self.address):
            self._said.seek(0)
            raise RuntimeError(f"{self.gateway.name} does not listen: {self._said.read()[-2000:]}")

    def cpu(self) -> float:
        """Seconds of CPU that its process has used, user and system, all threads."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> float:
        """MiB resident now."""
        return float(self._process.memory_info().rss) / 2**20

    def peak(self) -> float | None:
        """MiB resident at most since it began; None where the system does not say."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return None
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line)


def check_room() -> None:
    """Refuse to begin where a gateway that keeps what it cannot send would have no room.

    Raises:
        RuntimeError: too little memory is free.
    """
    free = psutil.virtual_memory().available / 2**30
    if free < ROOM:
        raise RuntimeError(
            f"{free:.1f} GiB of memory are free, expected {ROOM:g} or more; a Collector that takes "
            "more than it can send keeps the rest"
        )


def gateways(way: Way) -> list[Gateway]:
    """Everybody who can do it here: rxotlp twice, the Python peer, the Collector if there."""
    ours = [
        Gateway(
            f"rxotlp, {validate}",
            named("rxotlp"),
            (sys.executable, "-m", "rxotlp", "run", "benchmarks.served:pipeline"),
            "ours",
            {"BENCH_VALIDATE": validate},
        )
        for validate in ("shape", "full")
    ]
    library = "aiohttp" if way.transport == "http" else "grpcio"
    peer = Gateway(
        "asyncio by hand",
        named(library, "opentelemetry-proto", "protobuf"),
        (sys.executable, "-m", "benchmarks.handwritten"),
        "python",
    )
    return [*ours, peer, *collector()]


def collector() -> list[Gateway]:
    """The Collector of OTELCOL in its configurations; none when the variable is not set.

    Raises:
        ValueError: OTELCOL names nothing that can be run.
    """
    path = os.environ.get("OTELCOL", "")
    if not path:
        return []
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60)
    except OSError as error:
        raise ValueError(f"OTELCOL={path}: expected the Collector's binary; {error}") from None
    if said.returncode:
        raise ValueError(f"OTELCOL={path}: `--version` ended with {said.returncode}")
    version = f"OpenTelemetry Collector, {said.stdout.strip()}"
    return [
        Gateway(
            f"Collector, batch {kind}" + "".join(f", {name}={text}" for name, text in told.items()),
            version,
            (path, "--config", str(ROOT / "benchmarks" / "otelcol" / f"{kind}.yaml")),
            "collector",
            told,
        )
        for kind, told in COLLECTORS
    ]


@contextmanager
def running(gateway: Gateway, way: Way, backend: str) -> Iterator[Running]:
    """Run a gateway for as long as the block lasts; the block says when it must be `ready`."""
    address, other = _free(), _free()
    http = way.transport == "http"
    command = list(gateway.command)
    if gateway.side == "ours":
        command += ["--listen", f"{way.transport}={address}", "--log-level", "warning"]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "BENCH_TRANSPORT": way.transport,
        "BENCH_COMPRESSION": "gzip" if way.gzip else "none",
        "BENCH_BACKEND": f"http://{backend}" if http or gateway.side != "collector" else backend,
        "BENCH_ADDRESS": address,
        "BENCH_HTTP": address if http else other,
        "BENCH_GRPC": other if http else address,
        "BENCH_EXPORTER": "otlphttp" if http else "otlp",
    }
    with tempfile.TemporaryFile("w+") as said:
        process = psutil.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=said,
            cwd=ROOT,
            env=environment | gateway.environment,
            start_new_session=True,  # Ctrl-C is for the benchmark, which ends it
        )
        try:
            yield Running(gateway, process, address, said)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait()


def _free() -> str:
    """An address nobody listens on; for as long as nobody else takes it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _listens(process: psutil.Popen, address: str) -> bool:
    host, port = address.rsplit(":", 1)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False
