"""What a run is asked beside its clocks: the memory of the process, and what it warns of."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["forget_peak", "heard", "peak", "resident"]

KEPT = 3  # different texts of what a run logs


def resident() -> int | None:
    """Bytes of memory that this process has now; None where the kernel is not Linux's."""
    return _status("VmRSS:")


def peak() -> int | None:
    """The most it had, since `forget_peak` where that works."""
    return _status("VmHWM:")


def forget_peak() -> None:
    """Have the kernel count from now on, where it can; else a fork was the last beginning."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): reset the high water mark


def _status(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return None


@contextmanager
def heard() -> Iterator[dict[str, int]]:
    """What rxotlp warns of meanwhile and how often, in place of a terminal full of it.

    The first few texts are kept: a run may warn of every request.
    """
    logged: dict[str, int] = {}

    class Count(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if text.startswith("the drain's deadline"):
                return  # how a run is ended is our doing
            if text in logged or len(logged) < KEPT:
                logged[text] = logged.get(text, 0) + 1

    logger = logging.getLogger("rxotlp")
    before = logger.propagate, logger.handlers
    logger.propagate, logger.handlers = False, [Count(logging.WARNING)]
    try:
        yield logged
    finally:
        logger.propagate, logger.handlers = before
