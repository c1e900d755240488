"""What a figure means nothing without: machine, Python, libraries, commit, time."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.control import ROOT

__all__ = ["machine"]

LIBRARIES = (
    "reactivex",
    "protobuf",
    "opentelemetry-proto",
    "opentelemetry-sdk",
    "grpcio",
    "aiohttp",
    "uvicorn",
    "uvloop",
    "isal",
    "streamz",
    "bytewax",
)


def machine() -> dict[str, Any]:
    """Of this run, as JSON."""
    libraries = {}
    for name in LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "libraries": libraries,
        "commit": _commit(),
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _processor() -> str:
    """The processor's name where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """The commit that was measured; "+" when the package's files differ from it."""

    def git(*arguments: str) -> str:
        said = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return said.stdout.strip()

    commit = git("rev-parse", "--short", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "rxotlp", "operators")
    return f"{commit}{'+' if changed else ''}" if commit else "not a checkout"
