"""`tests/support/web.py` under real gunicorn and real load, through restarts of everything.

Flask served by two forked workers, a backend in a process of its own. Workers are replaced
while requests come in, with the backend there and with the backend away; the backend goes
and comes back. Each request is one span. What every process says about itself in its last
log line must agree with what the visitors saw and with what the backend has, process by
process.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PROGRAMS = Path(__file__).parent.parent / "support"

BACKEND = """
import signal, sys
from rxotlp import Pipeline, exporters, operators as ops, sources

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
taken = exporters.File(sys.argv[2])
with Pipeline(sources.otlp(grpc=None, http=sys.argv[1]).pipe(ops.export(taken))) as pipeline:
    print(pipeline.addresses["http"], flush=True)
    signal.sigwait([signal.SIGTERM])
"""

# The last line of each process, with the process it is from.
CONFIG = """
import logging
logging.basicConfig(level=logging.INFO, format="%(process)d %(message)s")
"""

SUMMARY = re.compile(
    r"^(\d+) sdk: shut down; of (\d+) spans (\d+) succeeded, (\d+) rejected, (\d+) dropped, "
    r"(\d+) given up$"
)


class Backend:
    """A receiver in a process of its own that writes what it takes to a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: subprocess.Popen[str] | None = None
        self._starts = 0
        self.address = "127.0.0.1:0"

    def start(self) -> None:
        self._starts += 1
        path = self._folder / f"{self._starts}.jsonl"
        self._running = subprocess.Popen(
            [sys.executable, "-c", BACKEND, self.address, path], stdout=subprocess.PIPE, text=True
        )
        assert self._running.stdout is not None
        self.address = self._running.stdout.readline().strip()

    def stop(self) -> None:
        if self._running is not None:
            with self._running as running:
                running.terminate()
            self._running = None

    def spans(self) -> list[tuple[str, int]]:
        """Name and process of each span it took."""
        return [
            (span["name"], int(span["attributes"][0]["value"]["intValue"]))
            for path in self._folder.glob("*.jsonl")
            for line in path.read_text(encoding="utf-8").splitlines()
            for resource in json.loads(line)["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]


@pytest.fixture(name="backend")
def _backend(tmp_path: Path) -> Iterator[Backend]:
    backend = Backend(tmp_path)
    backend.start()
    yield backend
    backend.stop()


class Site:
    """A running gunicorn."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log
        self.port = int(self._find(r"Listening at: http://127\.0\.0\.1:(\d+)")[0])
        self.served: Counter[int] = Counter()

    def lines(self) -> list[str]:
        return self._log.read_text(encoding="utf-8").splitlines()

    def _find(self, pattern: str, count: int = 1) -> list[str]:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = re.findall(pattern, "\n".join(self.lines()))
            if len(found) >= count:
                return found
            assert self.process.poll() is None, "\n".join(self.lines())
            time.sleep(0.02)
        raise AssertionError(f"no {pattern!r} in\n" + "\n".join(self.lines()))

    def visit(self, numbers: range) -> None:
        """Concurrent requests; each is answered by some worker."""

        def one(number: int) -> int:
            with urlopen(f"http://127.0.0.1:{self.port}/orders/{number}", timeout=30) as answer:
                pid: int = json.loads(answer.read())["pid"]
                return pid

        with ThreadPoolExecutor(4) as visitors:
            self.served.update(visitors.map(one, numbers))

    def replace_workers(self, during: Callable[[], object]) -> None:
        """SIGHUP: new workers, and the old ones end when they have answered."""
        booted = len(self._find(r"Booting worker with pid: (\d+)", 2))
        self.process.send_signal(signal.SIGHUP)
        during()
        self._find(r"Booting worker with pid: (\d+)", booted + 2)

    def summaries(self) -> dict[int, Counter[str]]:
        """What each process said about itself as it ended."""
        found: dict[int, Counter[str]] = {}
        for line in self.lines():
            if match := SUMMARY.match(line):
                pid, *counts = map(int, match.groups())
                names = ("received", "succeeded", "rejected", "dropped", "given_up")
                assert pid not in found
                found[pid] = Counter(dict(zip(names, counts, strict=True)))
        return found


@contextmanager
def gunicorn(folder: Path, backend: Backend, *options: str, room: int) -> Iterator[Site]:
    log, config = folder / "gunicorn.log", folder / "gunicorn.conf.py"
    config.write_text(CONFIG, encoding="utf-8")
    environ = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{backend.address}",
        "OTEL_BSP_MAX_QUEUE_SIZE": str(room),
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
        "OTEL_BSP_SCHEDULE_DELAY": "10",
    }
    command = [sys.executable, "-m", "gunicorn", "-c", str(config), "--chdir", str(PROGRAMS)]
    command += ["--bind", "127.0.0.1:0", "--workers", "2", *options, "web:app"]
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=output, text=True, env=environ) as process,
    ):
        try:
            yield Site(process, log)
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.parametrize("room", [2048, 30], ids=["room for all", "little room"])
@pytest.mark.parametrize(
    "options",
    [("--preload",), (), ("--preload", "--threads", "4", "--max-requests", "60")],
    ids=["preload", "no preload", "preload, threads, max-requests"],
)
def test_every_request_is_a_span_at_the_backend_or_counted_by_its_process(
    tmp_path: Path, backend: Backend, options: tuple[str, ...], room: int
) -> None:
    """The promise to somebody who changes two lines of a web program."""
    with gunicorn(tmp_path, backend, *options, room=room) as site:
        site.visit(range(100))
        site.replace_workers(lambda: site.visit(range(100, 150)))
        backend.stop()
        site.visit(range(150, 350))
        backend_away = len(site.summaries())
        site.replace_workers(lambda: site.visit(range(350, 400)))
        backend.start()
        site.visit(range(400, 500))
    told = site.summaries()
    arrived = backend.spans()
    by_process = Counter(pid for _, pid in arrived)
    total: Counter[str] = sum(told.values(), Counter())
    assert len(arrived) == len({name for name, _ in arrived}), "something came twice"
    assert {pid: told[pid]["received"] for pid in site.served} == dict(site.served)
    assert {pid: told[pid]["succeeded"] for pid in site.served} == {
        pid: by_process[pid] for pid in site.served
    }
    assert total["received"] == 500
    assert total["received"] == len(arrived) + total["dropped"] + total["given_up"]
    # A worker that is replaced before it is up has nothing to tell; those that served have.
    assert len(site.served) >= 3, "workers were replaced twice"
    assert backend_away
    if room == 30:
        assert total["dropped"] > 0
