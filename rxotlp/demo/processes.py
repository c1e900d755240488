"""The demo's other processes: Python with a clean environment, and the second receiver."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TextIO

from rxotlp.errors import PipelineError

__all__ = ["FREE_PORTS", "Backend", "start"]

START_TIMEOUT = 30.0  # seconds; a loaded machine imports slowly
STOP_TIMEOUT = 30.0
FREE_PORTS = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0"}


def start(
    arguments: list[str],
    *,
    env: dict[str, str] | None = None,
    stdout: TextIO | int | None = None,
    stderr: TextIO | int | None = None,
) -> "subprocess.Popen[str]":
    """Start Python. In a session of its own: Ctrl-C is for us, who stop it in its order."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=_clean_environment() | (env or {}),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def _clean_environment() -> dict[str, str]:
    """Without OTEL_ variables: they are about other programs and would change this one."""
    return {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}


class Backend:
    """The second receiver, as a process of its own.

    Args:
        folder: where it writes what it gets.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._heard = threading.Event()
        self._lines: list[str] = []
        self.endpoint = ""

    def __enter__(self) -> "Backend":
        arguments = ["run", "rxotlp.demo.backend:pipeline", "--log-format", "json"]
        for transport, address in FREE_PORTS.items():
            arguments += ["--listen", f"{transport}={address}"]
        with open(self._folder / "books.txt", "w", encoding="utf-8") as books:
            self._process = start(
                ["-m", "rxotlp", *arguments],
                env={"RXOTLP_DEMO_OUTPUT": str(self._folder)},
                stdout=books,
                stderr=subprocess.PIPE,
            )
        self._reader = threading.Thread(target=self._read, name="demo-backend", daemon=True)
        self._reader.start()
        if not self._heard.wait(START_TIMEOUT) or not self.endpoint:
            self._kill()
            raise PipelineError("the demo's receiver did not start: " + " / ".join(self._lines))
        return self

    def __exit__(self, *exc: object) -> None:
        self._kill()

    def stop(self) -> list[str]:
        """Let it drain. Returns what is wrong with how it ended."""
        process = self._process
        assert process is not None
        process.terminate()
        try:
            status = process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            return [f"the receiver did not stop within {STOP_TIMEOUT:g} s"]
        if os.name == "posix" and status:  # elsewhere terminating is no request
            return [f"the receiver ended with status {status}: {' / '.join(self._lines[-3:])}"]
        return []

    def _read(self) -> None:
        process = self._process
        assert process is not None
        assert process.stderr is not None
        for line in process.stderr:
            self._lines.append(line.strip())
            _, found, addresses = _message(line).partition("listening on ")
            if found:
                http = dict(part.split("=") for part in addresses.split())["http"]
                self.endpoint = f"http://{http}"
                self._heard.set()
        self._heard.set()  # it ended

    def _kill(self) -> None:
        process = self._process
        assert process is not None
        if process.poll() is None:
            process.kill()
            process.wait()
        if self._reader is not None:
            self._reader.join()
        if process.stderr is not None:
            process.stderr.close()


def _message(line: str) -> str:
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return ""  # not a log line of ours: a traceback, say
