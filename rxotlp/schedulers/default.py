"""The scheduler that operators use when nobody names one."""

import threading

from rxotlp.schedulers.sync import SyncScheduler

__all__ = ["default_scheduler"]

_lock = threading.Lock()
_default: SyncScheduler | None = None


def default_scheduler() -> SyncScheduler:
    """One SyncScheduler a process, made when first asked for and never closed.

    reactivex's own default for timers is a thread a timer.
    """
    global _default
    if _default is None:
        with _lock:
            if _default is None:
                _default = SyncScheduler()
    return _default
