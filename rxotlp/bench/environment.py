"""Where and with what something was measured: figures mean nothing without it."""

import importlib.metadata
import os
import platform
import subprocess
import sys

import psutil

__all__ = ["environment"]

DISTRIBUTIONS = ("rxotlp", "reactivex", "protobuf", "opentelemetry-proto", "uvloop")


def environment() -> dict[str, str]:
    """Machine, interpreter, versions, and the commit of the current directory."""
    found = {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, "
        f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}",
    }
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = _commit()
    if commit:
        found["commit"] = commit
    return found


def _commit() -> str:
    """ "" when this is no checkout, or there is no git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
