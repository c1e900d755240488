"""`rxotlp demo` as a user has it: the whole of it, small, in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import rxotlp.demo.pipeline


def demo(*arguments: str, before: str = "") -> list[str]:
    """The command of the demo, with `before` executed first."""
    return [
        sys.executable,
        "-c",
        f"{before}\nfrom rxotlp.__main__ import main\nmain()",
        "demo",
        *arguments,
    ]


def run(*arguments: str, before: str = "") -> "subprocess.CompletedProcess[str]":
    """Run the demo to its end, without a terminal."""
    return subprocess.run(
        demo(*arguments, before=before),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env=os.environ | {"COLUMNS": "200", "OTEL_SDK_DISABLED": "true"},  # not the demo's affair
    )


def test_the_demo_accounts_for_every_record(tmp_path: Path) -> None:
    """The product's promise on real input, as `make demo` shows it."""
    done = run("--records", "1500", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "by id: 1,500 sent = 1,450 delivered + 50 health checks filtered" in done.stdout
    assert "FAULT" not in done.stdout
    assert "\x1b" not in done.stdout, "escape sequences without a terminal"
    for name in ("gateway/logs", "backend/traces", "backend/metrics"):
        assert (tmp_path / "out" / f"{name}.jsonl").stat().st_size


def test_a_gateway_that_loses_a_record_fails_the_demo(tmp_path: Path) -> None:
    """A demo that cannot fail shows nothing; and a leak or a lost rule is found the same way."""
    broken = (
        "import rxotlp.demo.pipeline as p\n"
        "def useful(span): return not span.attributes['demo.id'].endswith('-7')\n"
        "p.useful = useful\n"
        "p.redact = lambda record: None"
    )
    done = run("--records", "90", "--output", str(tmp_path / "out"), before=broken)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAULT  1 lost: http-traces-7" in done.stdout
    assert "FAULT  3 not filtered: grpc-traces-0 in backend/traces" in done.stdout
    assert "FAULT  gateway/logs: line 1 has the secret" in done.stdout


def test_without_the_sdk_one_line_says_so() -> None:
    """It is a development dependency; the rest of the gateway extra works without."""
    done = run(before="import sys; sys.modules['opentelemetry.sdk'] = None")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("rxotlp: the demo's program needs opentelemetry.sdk: pip install")


def test_an_output_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    """Ids of an earlier run would count as never sent; deleting is not ours to decide."""
    (tmp_path / "mine.txt").write_text("precious")
    done = run("--output", str(tmp_path))
    assert done.returncode == 1
    assert "expected an empty folder" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_serving_says_where_to_point_a_program(tmp_path: Path) -> None:
    """The first thing someone tries with a program of his own."""
    for port in (4317, 4318):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            pytest.skip(f"port {port} is taken on this machine")
    with subprocess.Popen(
        demo("--serve", "--output", str(tmp_path / "out")),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "point your program at http://localhost:4318" in line:
                assert line.endswith("Ctrl-C ends it\n")
                process.send_signal(signal.SIGTERM)
                break
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, (said, out, errors)
    assert "The books" in out


def test_the_demo_pipeline_fits_on_a_page() -> None:
    """It is there to be copied."""
    text = Path(rxotlp.demo.pipeline.__file__).read_text()
    assert len(text.splitlines()) <= 60
