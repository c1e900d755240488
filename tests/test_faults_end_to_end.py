"""Whatever a backend does: nothing acknowledged is lost, and nothing is doubled without cause.

A short form of `make soak`, in virtual time (an outage of minutes) and over real sockets;
once more with threads switched every microsecond and asyncio's debug mode, which finds what
an ordinary run is too quick for; starting and stopping; and a wall clock that jumps.
"""

import asyncio
import gc
import threading
import time
from collections import Counter

import psutil
import pytest

from rxotlp import Pipeline, exporters, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed
from rxotlp.data import TelemetryData
from rxotlp.testing import no_leaks, spans
from tests.support.faults import VARIANTS, drill
from tests.support.ledger import Ledger
from tests.support.scripted import TRANSPORTS, backend
from tests.support.senders import send
from tests.support.virtual_faults import virtual_drill
from tests.support.watching import cycle, use, watched

PAYLOAD = spans([1, 2, 3]).to_bytes()


@pytest.fixture
def debug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops made from now on are in debug mode: coroutines never awaited, wrong threads."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")


# -- faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_acknowledged_is_lost_in_minutes_of_outage(variant: str, seed: int) -> None:
    """Five minutes without a backend, before and after it 70 % errors and every misdeed."""
    result = virtual_drill(variant, requests=100, senders=5, seed=seed)
    assert result.faults == []
    assert result.acknowledged + result.refused == result.items
    assert result.acknowledged > 0.6 * result.items  # a wrong count refuses some
    assert result.seconds > 300


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nothing_acknowledged_is_lost_over_sockets(transport: str, variant: str) -> None:
    """The same with real connections that break, hang and are refused for a while."""
    result = drill(transport, variant, requests=20, on_loop=transport == "http")
    assert result.faults == []
    assert result.acknowledged + result.refused == result.items
    assert result.attempts > result.items / 40  # faults happened


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_restarts_under_load_lose_no_more_than_they_report(transport: str, variant: str) -> None:
    """Without a queue that is nothing; with one, at most what the report says was left."""
    result = drill(transport, variant, requests=20, outages=0, restarts=2)
    assert result.faults == []
    assert result.acknowledged + result.refused == result.items


# -- schedules --------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("variant", ["batch", "queue"])
@pytest.mark.usefixtures("debug")
def test_the_same_holds_when_threads_switch_all_the_time(transport: str, variant: str) -> None:
    """A race that needs a switch between two lines gets it; nothing complains in the dark."""
    with watched() as complaints, no_leaks():
        result = drill(transport, variant, requests=16, down=0.2, on_loop=transport == "grpc")
        gc.collect()
    assert result.faults == []
    assert complaints == []


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.usefixtures("debug")
def test_starting_and_stopping_leaves_nothing_behind(transport: str, kind: str) -> None:
    """No thread, task, socket, file or element: a program that reloads its pipelines lives on."""
    with backend(transport) as there, watched() as complaints:
        for _ in range(5):  # what libraries open once and keep
            cycle(transport, kind, there)
        gc.collect()
        process = psutil.Process()
        before = process.num_fds()
        with no_leaks():
            for _ in range(13):
                cycle(transport, kind, there)
        deadline = time.monotonic() + 10
        while process.num_fds() > before and time.monotonic() < deadline:
            time.sleep(0.01)  # the relay closes its half of a connection when it hears of it
        assert process.num_fds() <= before
        assert len(there.taken) == 18
    assert complaints == []


# -- the clock --------------------------------------------------------------------------------


class Answers:
    """A destination that fails once, and says when it was asked."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def export(self, _data: TelemetryData) -> Outcome:
        self.asked.append(time.monotonic())
        await asyncio.sleep(0)
        return failed("once") if len(self.asked) == 1 else DELIVERED


@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_wall_clock_that_jumps_changes_no_timeout(
    hours: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks are set; a batch must not wait an hour for it, nor a retry come at once."""
    real, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    destination = Answers()
    began: list[float] = []
    retry = ops.Retry(soon=0.3, first=0.3, most=1.0, jitter=0.0)
    stream = sources.otlp(grpc=None, http="127.0.0.1:0").pipe(
        ops.batch(max_delay=0.3), ops.export(destination, retry=retry)
    )

    def jump() -> None:
        offset[0] += hours * 3600

    def sent() -> None:
        began.append(time.monotonic())
        jumps = [threading.Timer(delay, jump) for delay in (0.1, 0.45)]
        for one in jumps:  # while the batch is open, and while the retry waits
            one.start()
        assert send("http", pipeline.addresses["http"], PAYLOAD).word == "success"
        for one in jumps:
            one.join()

    pipeline = Pipeline(stream)
    use(pipeline, sent, on_loop=kind == "async")
    first, second = destination.asked
    assert 0.29 <= first - began[0] < 15
    assert 0.29 <= second - first < 15


@pytest.mark.parametrize("hours", [1, -1])
def test_a_wall_clock_that_jumps_changes_no_senders_deadline(
    hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender is answered when its time is up, not an hour later and not at once."""
    real, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    memory = exporters.Memory(outcome=failed("down"))
    retry = ops.Retry(soon=10, first=10, most=30)
    stream = sources.otlp(grpc=None, http="127.0.0.1:0", ack_timeout=0.6).pipe(
        ops.batch(max_delay=60), ops.export(memory, retry=retry)
    )
    with Pipeline(stream) as pipeline:
        jump = threading.Timer(0.2, lambda: offset.__setitem__(0, hours * 3600.0))
        jump.start()
        began = time.monotonic()
        assert send("http", pipeline.addresses["http"], PAYLOAD).word == "unavailable"
        assert 0.59 <= time.monotonic() - began < 15
        jump.join()


def test_the_drill_notices_a_loss() -> None:
    """A proof that cannot fail proves nothing."""
    ledger = Ledger()
    ledger.send([1, 2, 3])
    ledger.hear([1, 2], acknowledged=True)
    outcome = Outcome(Kind.DELIVERED)
    ledger.attempt([1], outcome)
    ledger.attempt([1], outcome)
    assert ledger.faults(Counter({1: 2, 9: 1, 507: 1})) == [
        "1 lost: [2]",
        "1 doubled: [1]",
        "2 invented: [9, 507]",
        "1 smuggled: [507]",
        "1 unanswered: [3]",
    ]
