"""docs/what-ok-means.md: what it claims and no other test shows; and every test it names exists."""

import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rxotlp import Pipeline, sources
from rxotlp import operators as ops
from rxotlp.testing import ids_of, spans
from tests.support.command import FREE, Running
from tests.support.scripted import TAKE, TRANSPORTS, Backend, Request, Step, backend, partial
from tests.support.senders import Heard, send

ROOT = Path(__file__).parent.parent
QUICK = ops.Retry(first=0.05, soon=0.02, most=0.2, jitter=0.0)
PAYLOAD = spans([1, 2, 3]).to_bytes()

QUEUED = """
from rxotlp import exporters, sources
from rxotlp import operators as ops

pipeline = sources.otlp().pipe({stages}ops.export(exporters.OtlpHttp({url!r})))
"""


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    """A claim whose test has gone is a claim that nobody holds."""
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    named = set(re.findall(r"\btest_\w+", re.sub(r"\(\S*\)", "", page.read_text(encoding="utf-8"))))
    assert named - defined == set()


def gateway(there: Backend, *stages: Any, **arguments: Any) -> Pipeline:
    """A gateway to a backend."""
    exporter = there.exporter(**arguments.pop("exporter", {}))
    stream: Any = sources.otlp(grpc="127.0.0.1:0", http="127.0.0.1:0", **arguments)
    for stage in (*stages, ops.export(exporter, retry=QUICK)):
        stream = stage(stream)
    return Pipeline(stream)


# -- a crash ------------------------------------------------------------------------------------


def crash(folder: Path, there: Backend, stages: str) -> tuple[Any, int]:
    """Kill a gateway, whose backend is away, while or after it answers; restart it."""
    (folder / "gateway.py").write_text(QUEUED.format(stages=stages, url=there.url))
    heard: Any = None
    there.wire.down()
    running = Running(folder, "gateway:pipeline", *FREE)
    try:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(send, "http", running.addresses["http"], PAYLOAD)
            if stages:
                heard = asked.result()
            else:
                running.heard("err", "cannot connect")
            running.signal(signal.SIGKILL)
            running.process.wait(30)
            if not stages:
                assert isinstance(asked.exception(), OSError)
    finally:
        running.clean_up()
    there.wire.up()
    running = Running(folder, "gateway:pipeline", *FREE)
    try:
        if not stages:  # its sender still has it
            heard = send("http", running.addresses["http"], PAYLOAD)
        assert running.addresses
        running.signal(signal.SIGTERM)
        running.status()
    finally:
        running.clean_up()
    return heard, len(there.requests)


def test_a_crash_loses_what_a_queue_has_acknowledged(tmp_path: Path) -> None:
    """OK meant that it was in memory."""
    with backend("http") as there:
        heard, requests = crash(tmp_path, there, "ops.queue(), ")
    assert (heard.word, requests) == ("success", 0)


def test_a_crash_without_a_queue_loses_nothing(tmp_path: Path) -> None:
    """The sender has heard nothing, still has its data, and sends it to the next process."""
    with backend("http") as there:
        heard, requests = crash(tmp_path, there, "")
    assert (heard.word, requests) == ("success", 1)
    assert ids_of(there.requests[0].data) == [1, 2, 3]


# -- doubled ------------------------------------------------------------------------------------


def slow(seconds: float) -> Any:
    """A backend that takes everything, the first request slowly."""
    first = threading.Lock()

    def script(_request: Request) -> Step:
        if first.acquire(blocking=False):
            time.sleep(seconds)
        return TAKE

    return script


@pytest.mark.parametrize(("patience", "times"), [(0.3, 2), (20.0, 1)])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_backend_slower_than_the_exporters_timeout_gets_it_twice(
    transport: str, patience: float, times: int
) -> None:
    """DEADLINE_EXCEEDED does not say that it was not taken; a longer timeout waits to hear."""
    with (
        backend(transport, script=slow(0.8)) as there,
        gateway(there, exporter={"timeout": patience}) as pipeline,
    ):
        assert send(transport, pipeline.addresses[transport], PAYLOAD).word == "success"
        while len(there.requests) < times:  # the slow one's answer comes after all
            time.sleep(0.005)
    assert len(there.taken) == times


@pytest.mark.parametrize(("ack_timeout", "times"), [(0.3, 2), (20.0, 1)])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_sender_that_was_answered_too_early_sends_twice(
    transport: str, ack_timeout: float, times: int
) -> None:
    """What is on its way cannot be called back; `ack_timeout` says how long to wait for it."""
    with (
        backend(transport, script=slow(1.0)) as there,
        gateway(there, ack_timeout=ack_timeout) as pipeline,
    ):
        heard = send(transport, pipeline.addresses[transport], PAYLOAD)
        if times == 2:
            assert heard.word == "unavailable"
            heard = send(transport, pipeline.addresses[transport], PAYLOAD)
        assert heard.word == "success"
        while len(there.requests) < times:
            time.sleep(0.005)
    assert [ids_of(request.data) for request in there.taken] == [[1, 2, 3]] * times


# -- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_rejection_in_a_batch_of_several_senders_blames_nobody(transport: str) -> None:
    """The backend says how many and not whose: each sender is told, none that its data is lost."""
    with (
        backend(transport, partial(1, "one is too old")) as there,
        gateway(there, ops.batch(max_items=6, max_delay=20)) as pipeline,
        ThreadPoolExecutor(2) as pool,
    ):
        address = pipeline.addresses[transport]

        def ask(first: int) -> Heard:
            return send(transport, address, spans(range(first, first + 3)).to_bytes())

        answers = list(pool.map(ask, [0, 3]))
    assert len(there.requests) == 1
    for heard in answers:
        assert heard.word == "success"
        assert heard.response.partial_success.rejected_spans == 0
        assert heard.response.partial_success.error_message
    assert pipeline.books["export"].rejected == 1
