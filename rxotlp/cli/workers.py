"""`rxotlp run --workers N`: one process a worker, on shared ports, and this one over them.

The kernel gives each new connection to one of the workers (SO_REUSEPORT), so no byte of
telemetry passes here. This process holds the ports, starts a worker again that died, hands
on the signal to stop, and adds up what they tell: readiness and books while they run, over
a socket of each in a folder of its own; their reports at the end, from files there.

    starting --ready--> running --died--> resting --after a while--> starting
                          |
                          +--its stream ended, or it was told to stop--> ended

A worker that never became ready would not the next time either: its fault ends them all.
"""

import asyncio
import contextlib
import enum
import logging
import os
import random
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rxotlp._core.backoff import Backoff
from rxotlp.admin import Admin
from rxotlp.cli.running import Signals, run_on_a_loop
from rxotlp.cli.status import Status, worst
from rxotlp.cli.sums import add_reports, read_report
from rxotlp.cli.workers_view import Inquiry, WorkersView
from rxotlp.drain import Report
from rxotlp.errors import UsageError
from rxotlp.lifeline import HEALTHY
from rxotlp.sources.addresses import bind, format_address, parse_address

__all__ = ["Phase", "Worker", "hold", "supervise"]

logger = logging.getLogger("rxotlp")

LOOK_EVERY = 0.1  # seconds between two looks at a worker that starts
GRACE = 15.0  # seconds beyond its drain that a worker may take to end
NO_FAULT = frozenset((Status.GOOD, Status.UNDELIVERED, Status.UNBALANCED))


class Phase(enum.Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    RESTING = "resting"
    ENDED = "ended"


class Worker:
    """One worker: the process that it is at present, and what is known of those before.

    Args:
        number: from 1.
        folder: for its socket and its reports.
    """

    def __init__(self, number: int, folder: Path) -> None:
        self.number = number
        self.phase = Phase.STARTING
        self.process: asyncio.subprocess.Process | None = None
        self.socket = folder / f"{number}.sock"  # its admin endpoint
        self.addresses = ""
        self.reports: list[Report] = []
        self.status = 0
        self.starts = 0
        self.deaths = 0  # in a row
        self.lost = 0  # processes that were killed, books and all

    def __str__(self) -> str:
        at = "" if self.process is None else f" (process {self.process.pid})"
        return f"worker {self.number}{at}"


def hold(listen: Mapping[str, str], stack: ExitStack) -> dict[str, str]:
    """Take the ports for all workers, until the stack is closed; nobody listens here.

    Returns:
        The addresses, with the ports that were taken where 0 was asked for.

    Raises:
        OSError: somebody else has one.
        UsageError: the system cannot share ports.
    """
    if sys.platform != "linux":
        raise UsageError("--workers needs Linux: elsewhere ports are not shared fairly")
    taken: dict[str, str] = {}
    for name, address in listen.items():
        what = f"OTLP/{name}"
        host, port = parse_address("--listen", name, address)
        if port:
            bind(what, host, port).close()  # or another user of the port would go unnoticed
        held = stack.enter_context(bind(what, host, port, reuse_port=True))
        taken[name] = format_address(host, held.getsockname()[1])
    return taken


def supervise(
    command: Sequence[str], *, count: int, admin: str | None, drain_timeout: float
) -> tuple[Report, Status]:
    """Run workers until all have ended or a signal; all have ended when this returns.

    Args:
        command: arguments of the `rxotlp` command; `--worker PID:START:SOCKET` is added.
        count: how many.
        admin: where the endpoint for all listens.
        drain_timeout: seconds that each takes at most to drain.

    Returns:
        The sum of what they report, and the worst status.

    Raises:
        OSError: the admin endpoint's address cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="rxotlp-") as folder, ExitStack() as stack:
        workers = [Worker(number, Path(folder)) for number in range(1, count + 1)]
        supervisor = _Supervisor(command, workers, drain_timeout)
        if admin is not None:
            endpoint = stack.enter_context(Admin(WorkersView(workers, supervisor), admin))
            logger.info("admin endpoint on %s", endpoint.address)
        run_on_a_loop(supervisor.run())
    lost = sum(worker.lost for worker in workers)
    if lost:
        logger.error("the books of %d processes that were killed are lost", lost)
    reports = [report for worker in workers for report in worker.reports]
    return add_reports(reports), worst([supervisor.fault, *(worker.status for worker in workers)])


class _Supervisor:
    """Starts, watches, restarts and stops the workers; see `supervise`."""

    def __init__(self, command: Sequence[str], workers: list[Worker], timeout: float) -> None:
        self._command = command
        self._workers = workers
        self._timeout = timeout
        self._backoff = Backoff(random.random, first=1.0, factor=2.0, most=30.0, jitter=0.2)
        self._stop: asyncio.Event
        self._told = False
        self.stopping = False
        self.fault = Status.GOOD

    async def run(self) -> None:
        """Until every worker has ended."""
        self._stop = asyncio.Event()
        with Signals(asyncio.get_running_loop(), self._stop, at_once=self._kill):
            async with Inquiry() as ask:
                keepers = [asyncio.create_task(self._keep(worker, ask)) for worker in self._workers]
                ended = asyncio.gather(*keepers)
                asked = asyncio.create_task(self._stop.wait())
                await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
                asked.cancel()
                self.stopping = True
                if not ended.done():
                    logger.info("stopping: draining for up to %g s", self._timeout)
                    for worker in self._workers:
                        _send(worker, signal.SIGTERM)
                    await asyncio.wait((ended,), timeout=self._timeout + GRACE)
                    if not ended.done():
                        logger.error("workers that have not ended in time are killed")
                        self._kill()
                await ended

    async def _keep(self, worker: Worker, ask: Inquiry) -> None:
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            began = loop.time()
            worker.phase = Phase.STARTING
            worker.starts += 1
            path = worker.socket.with_suffix(f".{worker.starts}")
            worker.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "rxotlp",
                *self._command,
                "--worker",
                f"{os.getpid()}:{worker.starts}:{worker.socket}",
                stdin=asyncio.subprocess.DEVNULL,
            )
            if self._stop.is_set():  # since it was asked for
                _send(worker, signal.SIGTERM)
            looking = asyncio.create_task(self._await_ready(worker, ask))
            worker.status = await worker.process.wait()
            looking.cancel()
            report = read_report(path)
            if report is not None:
                worker.reports.append(report)
            else:
                worker.lost += worker.status < 0
            if self._is_over(worker):
                break
            if loop.time() - began >= HEALTHY:
                worker.deaths = 0
            worker.deaths += 1
            pause = self._backoff.delay(worker.deaths)
            logger.error("%s %s; started again in %.1f s", worker, _fate(worker.status), pause)
            worker.phase = Phase.RESTING
            worker.process = None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
        if worker.phase is Phase.RESTING:
            worker.status = Status.FAILED
        worker.phase = Phase.ENDED

    def _is_over(self, worker: Worker) -> bool:
        if self._stop.is_set() or worker.status in NO_FAULT:
            return True
        if worker.status == Status.USAGE or (worker.phase is Phase.STARTING and worker.starts == 1):
            logger.error("%s %s before it was ready", worker, _fate(worker.status))
            self._stop.set()
            return True
        return False

    async def _await_ready(self, worker: Worker, ask: Inquiry) -> None:
        while True:
            said = await ask(worker.socket, "/readyz")
            if said is not None and said["ready"]:
                break
            await asyncio.sleep(LOOK_EVERY)
        worker.phase = Phase.RUNNING
        worker.addresses = " ".join(f"{name}={at}" for name, at in said["addresses"].items())
        if self._told or any(one.phase is not Phase.RUNNING for one in self._workers):
            return
        self._told = True
        listening = sorted({one.addresses for one in self._workers})
        if len(listening) == 1:
            logger.info("%d workers are ready: %s", len(self._workers), worker.addresses)
        else:
            logger.error(
                "workers took ports of their own (%s); tell them one with --listen",
                "; ".join(listening),
            )
            self.fault = Status.USAGE
            self._stop.set()

    def _kill(self) -> None:
        for worker in self._workers:
            _send(worker, signal.SIGKILL)


def _send(worker: Worker, number: signal.Signals) -> None:
    if worker.process is not None and worker.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            worker.process.send_signal(number)


def _fate(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"
