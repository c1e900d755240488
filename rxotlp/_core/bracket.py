"""Which element is being emitted on this thread right now.

`local.top` is the share of the innermost emission of ours on the calling thread, or
None. It is a thread-local, never a ContextVar: a task started inside an emission copies
its context and would keep the share for as long as it runs. Whoever runs a scheduler's
action puts None there first and restores what it found, because an action may run on a
thread that is in the middle of somebody else's emission.
"""

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxotlp.shares import Share

__all__ = ["local"]


class _Local(threading.local):
    top: "Share | None" = None


local = _Local()
