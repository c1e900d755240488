"""`no_leaks`: whatever ran inside has let go of every element, and of its threads.

    with no_leaks():
        with Pipeline(stream, scheduler=clock) as pipeline:
            ...

An element that somebody still refers to is one whose sender is kept waiting. The usual
culprits are a loop variable, a suspended coroutine's local, a stored exception's traceback,
and operators that keep the last value.
"""

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rxotlp.data import TelemetryData
from rxotlp.schedulers import default_scheduler

__all__ = ["no_leaks"]


@contextmanager
def no_leaks(*, seconds: float = 5.0) -> Iterator[None]:
    """Raise when elements with receipts, or threads, are left that were not there before.

    Args:
        seconds: of the wall clock that threads may take to end.

    Raises:
        AssertionError: something is left; it says what, and what refers to it.
    """
    default_scheduler().inbox  # noqa: B018 (its worker is the process's, and no leak)
    elements = set(map(id, _elements()))
    threads = set(threading.enumerate())
    yield
    gc.collect()
    left = [data for data in _elements() if id(data) not in elements]
    if left:
        holders = sorted(
            {
                type(holder).__name__
                for data in left
                for holder in gc.get_referrers(data)
                if holder is not left
            }
        )
        raise AssertionError(
            f"{len(left)} elements are still referred to, by {', '.join(holders)}: {left[:3]}"
        )
    deadline = time.monotonic() + seconds
    while more := [thread for thread in threading.enumerate() if thread not in threads]:
        if time.monotonic() > deadline:
            names = ", ".join(sorted(thread.name for thread in more))
            raise AssertionError(f"{len(more)} threads still run: {names}")
        time.sleep(0.005)


def _elements() -> list[TelemetryData]:
    return [
        data for data in gc.get_objects() if type(data) is TelemetryData and data._share is not None
    ]
