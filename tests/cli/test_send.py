"""`rxotlp send` as a process, to real servers: all of it arrives, also after a stop."""

import gzip
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from rxotlp.data import Signal, TelemetryData
from rxotlp.testing import ids_of, logs
from tests.support import otlp_grpc_server
from tests.support.otlp_http_server import Reply, Request, Server, closed_port, serve

OK = Reply(
    body=ExportLogsServiceResponse().SerializeToString(),
    headers={"Content-Type": "application/x-protobuf"},
)


@pytest.fixture
def backend() -> Iterator[Server]:
    """A server that takes everything."""
    with serve(lambda _: OK) as server:
        yield server


def received(server: Server) -> list[int]:
    """The ids of all records that it was sent."""
    return [
        number
        for request in server.requests
        for number in ids_of(TelemetryData.from_bytes(Signal.LOGS, request.payload))
    ]


def written(folder: Path, count: int, each: int = 10) -> Path:
    """A file of so many requests, each with `each` records."""
    path = folder / "logs.jsonl"
    lines = [logs(range(at * each, (at + 1) * each)).to_json() for at in range(count)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def send(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end, without variables of this machine's."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-m", "rxotlp", "send", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=environment,
        **options,
    )


def test_all_of_a_file_is_sent(tmp_path: Path, backend: Server) -> None:
    """Small requests are joined, and nothing is left behind."""
    path = written(tmp_path, 50)
    ran = send(path, "--endpoint", backend.url)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("sent 500 items in ")
    assert sorted(received(backend)) == list(range(500))
    assert len(backend.requests) < 50
    assert os.listdir(tmp_path) == ["logs.jsonl"]


def test_compressed_files_headers_and_compression(tmp_path: Path, backend: Server) -> None:
    """What a collector behind a login wants; the credential is printed nowhere."""
    path = tmp_path / "logs.jsonl.gz"
    path.write_bytes(gzip.compress(written(tmp_path, 3).read_bytes()))
    options = ("--header", "authorization=Bearer hunter2", "--compression", "gzip")
    ran = send(path, "--endpoint", backend.url, *options)
    assert ran.returncode == 0, ran.stderr
    assert sorted(received(backend)) == list(range(30))
    assert backend.requests[0].headers["authorization"] == "Bearer hunter2"
    assert backend.requests[0].headers["content-encoding"] == "gzip"
    assert "hunter2" not in ran.stdout + ran.stderr


def test_over_grpc(tmp_path: Path) -> None:
    """The other protocol."""
    with otlp_grpc_server.serve(lambda _: b"") as server:
        ran = send(written(tmp_path, 3), "--endpoint", server.url, "--protocol", "grpc")
        assert ran.returncode == 0, ran.stderr
        bodies = [TelemetryData.from_bytes(Signal.LOGS, call.body) for call in server.calls]
    assert sorted(number for body in bodies for number in ids_of(body)) == list(range(30))


def test_an_endpoint_that_is_down_is_told_and_how_to_go_on(tmp_path: Path, backend: Server) -> None:
    """And going on sends all of it."""
    path = written(tmp_path, 20)
    address = f"http://127.0.0.1:{closed_port()}"
    ran = send(path, "--endpoint", address, "--max-attempts", "2")
    assert ran.returncode == 3
    assert "cannot connect" in ran.stderr
    assert ran.stderr.count("given up after") == 1
    assert f"go on with: rxotlp send {path} --endpoint {address} --max-attempts 2 --resume" in (
        ran.stderr
    )
    again = send(path, "--endpoint", backend.url, "--resume")
    assert again.returncode == 0, again.stderr
    assert sorted(received(backend)) == list(range(200))


def test_a_backend_that_comes_back_gets_all_of_it(tmp_path: Path) -> None:
    """It was away for a few requests; each of them is tried again."""
    answers = iter([Reply(status=503)] * 3)

    with serve(lambda _: next(answers, OK)) as server:
        ran = send(written(tmp_path, 30), "--endpoint", server.url)
        assert ran.returncode == 0, ran.stderr
        assert set(received(server)) == set(range(300))


def test_ctrl_c_stops_and_resume_goes_on(tmp_path: Path) -> None:
    """Nothing is lost between the two; what was in flight may come twice."""
    path = written(tmp_path, 60, each=100)
    seen, go = threading.Event(), threading.Event()
    taken: list[Request] = []

    def slow(request: Request) -> Reply:
        if len(taken) >= 2:
            seen.set()
            go.wait(30)
        taken.append(request)
        return OK

    with serve(slow) as server:
        slowly = ["--endpoint", server.url, "--max-in-flight", "1", "--rate", "2000"]
        slowly += ["--drain-timeout", "0.5"]
        process = subprocess.Popen(
            [sys.executable, "-m", "rxotlp", "send", str(path), *slowly],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert seen.wait(30)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        go.set()
        assert process.returncode == 3, errors
        assert "go on with: rxotlp send" in errors
        acknowledged = len(taken)
    assert acknowledged < 60
    with serve(lambda _: OK) as other:
        again = send(path, "--endpoint", other.url, "--resume")
        assert again.returncode == 0, again.stderr
        first = [
            number
            for request in taken[:2]
            for number in ids_of(TelemetryData.from_bytes(Signal.LOGS, request.payload))
        ]
        rest = received(other)
    assert set(first) | set(rest) == set(range(6000))
    assert len(rest) < 6000  # it did go on, and did not begin anew


def test_what_a_backend_refuses_is_counted_with_its_reason(tmp_path: Path) -> None:
    """Sending it again would change nothing."""
    body = ExportLogsServiceResponse()
    body.partial_success.rejected_log_records = 4
    body.partial_success.error_message = "too old"
    refusing = Reply(
        body=body.SerializeToString(), headers={"Content-Type": "application/x-protobuf"}
    )
    with serve(lambda _: refusing) as server:
        ran = send(written(tmp_path, 1), "--endpoint", server.url)
    assert ran.returncode == 3
    assert "4 refused" in ran.stdout
    assert "4 items refused: " in ran.stderr
    assert "too old" in ran.stderr


def test_a_broken_line_is_named_and_the_rest_is_sent(tmp_path: Path, backend: Server) -> None:
    """One bad line in a night's file must not keep the others."""
    path = tmp_path / "logs.jsonl"
    path.write_text(f"{logs([1]).to_json()}\n{{broken\n{logs([2]).to_json()}\n")
    ran = send(path, "--endpoint", backend.url)
    assert ran.returncode == 3
    assert sorted(received(backend)) == [1, 2]
    assert "line 2" in ran.stderr
    assert "1 records could not be read" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["nowhere.jsonl"], 1, "nowhere.jsonl: No such file or directory"),
        (["."], 1, "Is a directory"),
        (["logs.binpb"], 2, "expected --signal"),
        (["logs.jsonl", "--header", "novalue"], 2, "--header number 1: expected NAME=VALUE"),
        (["logs.jsonl", "--endpoint", "ftp://x"], 2, "ftp"),
        (["logs.jsonl", "--rate", "-1"], 2, "rate_limit"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    tmp_path: Path, arguments: list[str], status: int, text: str
) -> None:
    """Without a traceback, and before anything is sent."""
    written(tmp_path, 1)
    (tmp_path / "logs.binpb").write_bytes(b"\x02\x0a\x00")
    ran = send(*arguments, "--max-attempts", "1", cwd=tmp_path)
    assert (ran.returncode, text in ran.stderr) == (status, True), ran.stderr
    assert "Traceback" not in ran.stderr


def test_without_a_terminal_progress_is_lines(tmp_path: Path, backend: Server) -> None:
    """A log file is no place for a bar."""
    ran = send(written(tmp_path, 30), "--endpoint", backend.url, "--rate", "30")
    assert ran.returncode == 0, ran.stderr
    assert "% read, " in ran.stderr
    assert "\x1b" not in ran.stderr
