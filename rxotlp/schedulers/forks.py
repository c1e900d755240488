"""What a fork does to schedulers: the child has none of their threads and none of their work.

Work that was queued belongs to the parent, which will do it; the child's copy of it is
dropped, and threads, loops and pools start again when the child first uses a scheduler.
"""

import os
import weakref
from typing import Protocol

__all__ = ["watch"]


class _Forked(Protocol):
    def _after_fork(self) -> None: ...


_watched: "weakref.WeakSet[_Forked]" = weakref.WeakSet()


def watch(scheduler: _Forked) -> None:
    """Call `scheduler._after_fork()` in every child, for as long as the scheduler lives."""
    _watched.add(scheduler)


def _in_child() -> None:
    for scheduler in list(_watched):
        scheduler._after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_in_child)
