"""A process for every run: nobody's memory, threads or mistakes are another's.

The child is forked, so that a variant may be any function, a lambda in a notebook too; it
begins with the workload in memory and without threads of the parent's. Where there is no
fork the run is in this process, and its memory is not told.
"""

import logging
import multiprocessing
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from rxotlp.bench.grid import Variant
from rxotlp.bench.results import Run
from rxotlp.bench.trial import Failed, trial
from rxotlp.bench.work import Workload

__all__ = ["ISOLATED", "isolated"]

ISOLATED = hasattr(os, "fork")
LOOK_EVERY = 0.2  # seconds
GRACE = 15.0  # seconds that a child has beyond its own timeouts, for warming up and draining

logger = logging.getLogger("rxotlp")


def isolated(
    variant: Variant,
    work: Workload,
    requests: int,
    *,
    timeout: float,
    watch: Callable[[], object] = lambda: None,
) -> Run:
    """`trial` in a process of its own.

    Args:
        watch: called now and then while it runs.

    Raises:
        Failed: it gave no figures, whatever it did.
    """
    if not ISOLATED:
        try:
            return trial(variant, work, requests, timeout=timeout)
        except Exception as error:
            raise _failure(error) from None
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_child, args=(theirs, variant, work, requests, timeout), name="rxotlp-bench"
    )
    with warnings.catch_warnings():
        # Of fork beside threads, from Python 3.12: the child starts none of theirs and takes
        # none of their locks but the interpreter's own, which know about forks.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    until = time.monotonic() + 2 * timeout + GRACE
    try:
        while not ours.poll(LOOK_EVERY):
            watch()
            if time.monotonic() > until:
                raise Failed(f"did not finish within {timeout:g} s, and did not stop either")
        found: Run | str = ours.recv()
    except EOFError:
        process.join()
        raise Failed(_death(process.exitcode)) from None
    finally:
        ours.close()
        process.kill()
        process.join()
        process.close()
    if isinstance(found, str):
        raise Failed(found)
    return found


def _child(
    connection: Connection, variant: Variant, work: Workload, requests: int, timeout: float
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent decides what they mean
        signal.signal(number, signal.SIG_IGN)
    try:
        found: Run | str = trial(variant, work, requests, timeout=timeout)
    except Exception as error:
        found = str(_failure(error))
    connection.send(found)
    connection.close()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)  # threads that a variant left behind hold nobody up


def _failure(error: Exception) -> Failed:
    """What a run raised, with the line of the user's own that raised it."""
    if isinstance(error, Failed):
        return error
    if isinstance(error, MemoryError):
        return Failed("there was too little memory for it")
    ours = str(Path(__file__).parent)
    places = [
        f" ({frame.f_code.co_filename}:{line})"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith(ours)
    ]
    return Failed(f"{type(error).__name__}: {error}{places[-1] if places else ''}")


def _death(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed: most often there was too little memory for it"
    if code is not None and code < 0:
        return f"its process died of {signal.Signals(-code).name}"
    return f"its process ended with status {code} before it had figures"
