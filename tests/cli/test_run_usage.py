"""What `rxotlp run` says and logs: JSON lines, and one line for what cannot be followed."""

import json
import signal
import socket
import subprocess
import sys

import pytest

from tests.support.command import FREE, GATEWAY, Start


def test_log_lines_are_json_when_asked(start: Start) -> None:
    """A log shipper reads them; one stray line breaks its parser."""
    running = start(GATEWAY.format(delay=1), *FREE, "--log-format", "json")
    running.heard("err", "listening on")
    running.signal(signal.SIGTERM)
    assert running.status() == 0
    entries = [json.loads(line) for line in running.lines["err"]]
    assert {"time", "level", "logger", "message"} == set(entries[0])


def test_a_port_in_use_is_one_line(start: Start) -> None:
    """The most common mistake at start deserves a sentence, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = start(GATEWAY.format(delay=1), *FREE[:2], "--listen", f"http=127.0.0.1:{port}")
        assert running.status() == 1
    (line,) = running.lines["err"]
    assert f"cannot listen on 127.0.0.1:{port}: address already in use" in line


@pytest.mark.parametrize(
    ("target", "source", "arguments", "says"),
    [
        ("app", "", (), "expected MODULE:ATTR"),
        ("app.py:pipeline", "", (), "is it app:pipeline?"),
        (".app:pipeline", "", (), "without a leading dot"),
        ("nowhere:pipeline", "", (), "no module 'nowhere'"),
        ("app:pipeline", "import sys\nsys.exit()", (), "importing app raised SystemExit"),
        ("app:pipeline", "import nowhere", (), "app needs the module 'nowhere'"),
        ("app:pipeline", "", (), "app has no attribute 'pipeline'"),
        ("app:pipeline", "pipeline = 3", (), "expected a stream (an Observable) or a Pipeline"),
        ("app:pipeline", "x = = 3", (), "SyntaxError"),
        (
            "app:pipeline",
            "from rxotlp import operators as ops\nops.batch(max_items=0)",
            (),
            "app.py:2",
        ),
        (
            "app:pipeline",
            GATEWAY.format(delay=1),
            ("--listen", "htp=127.0.0.1:0"),
            "expected grpc=HOST:PORT or http=HOST:PORT",
        ),
        (
            "app:pipeline",
            GATEWAY.format(delay=1),
            ("--listen", "http=4318"),
            "expected 'host:port'",
        ),
    ],
)
def test_what_cannot_be_followed_is_one_line_and_status_2(
    start: Start, target: str, source: str, arguments: tuple[str, ...], says: str
) -> None:
    """Whoever typed it reads the reason, not our call stack."""
    running = start(source, *arguments, target=target)
    assert running.status() == 2, running.lines
    (line,) = running.lines["err"]
    assert line.startswith("rxotlp: ")
    assert says in line


def test_listen_needs_one_source_to_speak_of(start: Start) -> None:
    """With two receivers nobody could tell which port was meant."""
    running = start(
        """
import reactivex as rx
from rxotlp import exporters, sources
from rxotlp import operators as ops

pipeline = rx.merge(sources.otlp(name="one"), sources.otlp(name="two")).pipe(
    ops.export(exporters.Memory())
)
""",
        *FREE,
    )
    assert running.status() == 1
    (line,) = running.lines["err"]
    assert "expected a stream with one OTLP source, this has 2" in line


def test_without_typer_one_line_says_how_to_get_it() -> None:
    """An application embeds rxotlp without the gateway extra; the command is there all the same."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['typer'] = None\nfrom rxotlp.__main__ import main\nmain()",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == ("rxotlp: the command line needs typer: pip install 'rxotlp[gateway]'\n")
