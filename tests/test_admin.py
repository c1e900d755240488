"""What probes, load balancers and people see of a pipeline."""

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import MemoryLimit, admin
from rxotlp import operators as ops
from rxotlp.data import TelemetryData
from rxotlp.pipeline import Pipeline
from rxotlp.schedulers import AsyncScheduler, SyncScheduler, VirtualScheduler
from rxotlp.testing import Feed, Recorder, logs


def get(endpoint: admin.Admin, path: str) -> tuple[int, Any]:
    """Status and JSON of one request."""
    try:
        with urllib.request.urlopen(f"http://{endpoint.address}{path}", timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def ready(endpoint: admin.Admin) -> str | None:
    """Why it is not ready."""
    status, said = get(endpoint, "/readyz")
    assert (status == 200) == said["ready"]
    reason: str | None = said.get("reason")
    return reason


def test_it_says_starting_ready_and_stopped() -> None:
    """A rollout sends nobody to what has not started, and nobody to what has ended."""
    feed = Feed()
    pipeline = Pipeline(feed.pipe(ops.export(Recorder())))
    with admin.serve(pipeline) as endpoint:
        assert ready(endpoint) == "starting"
        assert get(endpoint, "/healthz") == (200, {"healthy": True})
        with pipeline:
            feed.admit(logs([1, 2]))
            pipeline.scheduler.wait_for(lambda: pipeline.books["export"].delivered == 2)
            assert ready(endpoint) is None
            status, books = get(endpoint, "/books")
            assert (status, books["held"], books["balanced"]) == (200, 0, True)
            assert [one["delivered"] for one in books["accounts"] if one["name"] == "export"] == [2]
        assert ready(endpoint) == "stopped"
        assert get(endpoint, "/healthz") == (200, {"healthy": True})


def test_it_says_draining_while_something_is_left() -> None:
    """Nobody new may be sent to a process that is going."""
    go = threading.Event()

    class Slow(Recorder):
        blocking = True

        def export(self, data: Any) -> Any:
            go.wait(30)
            return super().export(data)

    feed = Feed()
    pipeline = Pipeline(feed.pipe(ops.export(Slow())), drain_timeout=30)
    with admin.serve(pipeline) as endpoint:
        pipeline.start()
        feed.admit(logs([1]))
        stopping = threading.Thread(target=pipeline.stop)
        stopping.start()
        while ready(endpoint) is None:
            pass
        assert ready(endpoint) == "draining"
        go.set()
        stopping.join(30)


def test_a_stream_that_died_says_of_what() -> None:
    """The first question of whoever is called at night."""
    feed = Feed()

    def divides(_data: TelemetryData) -> TelemetryData:
        raise ZeroDivisionError("division by zero")

    stream = feed.pipe(rx_ops.map(divides), ops.export(Recorder()))
    with Pipeline(stream) as pipeline, admin.serve(pipeline) as endpoint:
        feed.admit(logs([1]))
        assert pipeline.wait(30)
        assert ready(endpoint) == "the stream died of ZeroDivisionError: division by zero"
    with Pipeline(rx.empty()) as pipeline, admin.serve(pipeline) as endpoint:
        assert pipeline.wait(30)
        assert ready(endpoint) == "the stream has ended"


def test_sources_that_refuse_say_why() -> None:
    """A load balancer sends them elsewhere, and people know what is short."""
    feed = Feed()
    limit = MemoryLimit(soft=100, hard=200, every=0.01, measure=lambda: 150 * 2**20)
    with (
        Pipeline(feed.pipe(ops.export(Recorder())), memory_limit=limit) as pipeline,
        admin.serve(pipeline) as endpoint,
    ):
        pipeline.scheduler.wait_for(lambda: feed.admission.refusal is not None)
        reason = ready(endpoint)
        assert reason is not None
        assert "refuses: memory: 150 MiB in use" in reason


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_scheduler_that_is_stuck_is_unwell(kind: str) -> None:
    """Only a restart helps then, and only who looks from outside can ask for one."""
    go, began = threading.Event(), threading.Event()

    def stuck() -> None:
        began.set()
        go.wait(30)

    async def on_a_loop(pipeline: Pipeline) -> None:
        async with pipeline:
            pipeline.scheduler.post(stuck)
            while not go.is_set():
                await asyncio.sleep(0.01)

    scheduler = SyncScheduler() if kind == "sync" else None
    pipeline = Pipeline(rx.never(), scheduler=scheduler, drain_timeout=0)
    view = admin.PipelineView(pipeline, patience=0.1)
    with admin.Admin(view, "0") as endpoint:
        if scheduler is not None:
            pipeline.start()
            scheduler.post(stuck)
            thread = None
        else:
            thread = threading.Thread(target=lambda: asyncio.run(on_a_loop(pipeline)))
            thread.start()
        assert began.wait(30)
        status, said = get(endpoint, "/healthz")
        assert (status, said["reason"]) == (503, "its scheduler has run nothing for 0.1 s")
        go.set()
        if thread is None:
            assert scheduler is not None
            pipeline.stop()
            scheduler.close()
        else:
            thread.join(30)
            assert isinstance(pipeline.scheduler, AsyncScheduler)


def test_a_pipeline_in_virtual_time_is_well() -> None:
    """It runs when it is told to; that is no fault."""
    with VirtualScheduler() as clock:
        pipeline = Pipeline(Feed().pipe(ops.export(Recorder())), scheduler=clock)
        with pipeline, admin.serve(pipeline) as endpoint:
            assert get(endpoint, "/healthz")[0] == 200


def test_other_paths_and_methods_are_refused() -> None:
    """It changes nothing, whoever asks."""
    with admin.serve(Pipeline(rx.never())) as endpoint:
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            urllib.request.urlopen(f"http://{endpoint.address}/", timeout=20)
        refused.value.close()
        with pytest.raises(urllib.error.HTTPError, match="405") as refused:
            urllib.request.urlopen(f"http://{endpoint.address}/readyz", data=b"x", timeout=20)
        refused.value.close()


def test_it_listens_on_loopback_unless_told() -> None:
    """What a process says of itself is not everybody's business."""
    assert admin.parse("8080") == ("127.0.0.1", 8080)
    assert admin.parse(":8080") == ("127.0.0.1", 8080)
    assert admin.parse("0.0.0.0:8080") == ("0.0.0.0", 8080)
    assert admin.parse("[::1]:0") == ("::1", 0)
    assert admin.parse("unix:/run/x.sock") == ("/run/x.sock", None)


@pytest.mark.parametrize("address", ["", "host", "host:", "1.2.3.4:65536", "::1:80", "unix:"])
def test_what_is_no_address_is_told(address: str) -> None:
    """One line, at the place where it is written."""
    with pytest.raises(ValueError, match="expected PORT, HOST:PORT or unix:PATH"):
        admin.serve(Pipeline(rx.never()), address)


def test_a_port_in_use_is_told_and_leaves_nothing_behind() -> None:
    """Two instances on one machine is the usual reason."""
    before = threading.active_count()
    with admin.serve(Pipeline(rx.never())) as endpoint:
        with pytest.raises(OSError, match=f"cannot listen on {endpoint.address}: address already"):
            admin.serve(Pipeline(rx.never()), endpoint.address)
        endpoint.close()
        endpoint.close()
    assert threading.active_count() == before


def test_a_socket_in_the_file_system_replaces_one_that_was_left(tmp_path: Path) -> None:
    """A process that was killed leaves its own; another kind of file is somebody's."""
    path = tmp_path / "admin.sock"
    for _ in range(2):
        endpoint = admin.serve(Pipeline(rx.never()), f"unix:{path}")
        assert endpoint.address == f"unix:{path}"
        endpoint.close()
        assert not path.exists()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    path.unlink()
    path.write_text("precious")
    with pytest.raises(OSError, match="cannot listen on unix:"):
        admin.serve(Pipeline(rx.never()), f"unix:{path}")
    assert path.read_text() == "precious"
