"""Receipts: what a source learns about the element it let in, exactly once.

    receipt = Receipt(on_settle=answer)
    stream.on_next(receipt.attach(data))      # and let go of `data`

The receipt settles when every part of the element has an outcome (see `shares`), or when
its source's patience ends (`expire`). A source keeps the receipt and never the element: an
element that somebody can still reach is not settled.
"""

import gc
import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from rxotlp import shares
from rxotlp._core.bracket import local
from rxotlp._core.inbox import Inbox
from rxotlp._core.outcomes import DELIVERED, Kind, Outcome, failed

if TYPE_CHECKING:
    from rxotlp.admission import Credit
    from rxotlp.data import TelemetryData

__all__ = ["Receipt", "default_inbox"]

logger = logging.getLogger("rxotlp")


class Receipt(shares.Share):
    """What became of one admitted element; the first share of it.

    Args:
        inbox: where deaths of its elements are handled: a scheduler's inbox; by default
            that of a thread of our own.
        on_settle: called with the receipt once it is settled, in the turn of whoever
            settled it. It must be quick and must not raise.
        position: where the element came from (a file's offset), for sources that nobody
            waits for; kept as it is.
        credit: returned to its admission when the receipt settles.

    Attributes:
        outcome: None until settled. With a rejection `rejected` says how many items.
        withdrawn: the sender has been told to send again; what was not sent yet must
            not be sent any more.
        lingered: something still held the element when the answer was due.
        offered_again: its source offers the element again when it fails, so nobody else
            need try.
        due: when the sender must have its answer, in seconds of its source's scheduler; 0
            when nobody waits for it.
    """

    __slots__ = ("__dict__", "_callbacks", "credit", "due", "outcome")

    # What few receipts ever need, and nobody looks for on the usual way.
    position: object = None
    withdrawn: bool = False
    lingered: bool = False
    offered_again: bool = False

    def __init__(
        self,
        *,
        inbox: Inbox | None = None,
        on_settle: "Callable[[Receipt], object] | None" = None,
        position: object = None,
        credit: "Credit | None" = None,
    ) -> None:
        # Not through Share.__init__: this is the one object that every request pays for.
        self.items = -1
        self.parents = ()
        self._sender = None
        self.inbox = default_inbox() if inbox is None else inbox
        self.flags = self.claims = self.pending = self.thread = 0
        self.worst = DELIVERED
        self.edge = self.now = self.children = self.carrier = None
        self.orphans = self.others = self.discards = None
        self.refused = 0
        self.warning = ""
        # Taken from the end of the list one by one, by whoever settles or comes after.
        self._callbacks: list[Callable[[Receipt], object]] = (
            [] if on_settle is None else [on_settle]
        )
        self.credit = credit
        self.due = 0.0
        self.outcome: Outcome | None = None
        if position is not None:
            self.position = position

    @property
    def sender(self) -> "Receipt":
        """Itself."""
        return self

    def attach(self, data: "TelemetryData") -> "TelemetryData":
        """The element to send in: the same data, with this receipt.

        Raises:
            ValueError: the receipt has an element already.
        """
        if self.items >= 0:
            raise ValueError("Receipt.attach(): this receipt has its element already")
        self.items = data.items
        if data._parts is None:
            return data._with_share(self)
        return self._attach_joined(data)

    def _attach_joined(self, data: "TelemetryData") -> "TelemetryData":
        """The same for an element that still knows its parts.

        Who cuts it between them claims their shares, so those must lead here.
        """
        parts = data._parts or ()
        before = [share for _, share in parts if share is not None]
        if len(before) < len(parts):  # they cannot be told apart
            return data._with_share(self)
        shares = self._shares_of(before)
        joined = self.join(shares, self.items)
        made = data._with_share(joined)
        made._parts = tuple((size, share) for (size, _), share in zip(parts, shares, strict=True))
        return made

    def _shares_of(self, before: "list[shares.Share]") -> "list[shares.Share]":
        """The shares of a joined element's parts here, in place of those they have."""
        return self.split([share.items for share in before])

    @property
    def rejected(self) -> int:
        """Items refused for good; 0 when all of them are to be sent again anyway."""
        refused = self.outcome is not None and self.outcome.kind is Kind.REJECTED
        return self.refused if refused else 0

    def credits(self) -> "list[Credit]":
        """The credit that its settlement returns."""
        return [] if self.credit is None else [self.credit]

    def on_settle(self, callback: "Callable[[Receipt], object]") -> None:
        """Call `callback` with the receipt when it settles, or now if it has."""
        self._callbacks.insert(0, callback)
        if self.outcome is not None:  # perhaps since a moment ago, and told already
            self._tell_callbacks()

    def settle(self, outcome: Outcome) -> bool:
        """Settle it. The first call counts; False says that it came too late."""
        if self.outcome is not None:
            return False
        self.outcome = outcome
        credit = self.credit
        if credit is not None:
            self.credit = None
            credit.release()
        self._tell_callbacks()
        return True

    def _tell_callbacks(self) -> None:
        while self._callbacks:
            try:
                callback = self._callbacks.pop()
            except IndexError:  # another thread was faster
                return
            try:
                callback(self)
            except Exception:
                logger.exception("a receipt's on_settle callback raised; its sender may wait")

    def _resolved(self) -> None:
        self.children = None
        self.settle(self.worst)

    @property
    def settled(self) -> bool:
        """Whether the outcome is known."""
        return self.outcome is not None

    def expire(self, reason: str) -> None:
        """The answer is due: settle from what is known, or withdraw.

        When every item is accounted for and only a reference lingers, the outcome is the
        one the element's death would give. Otherwise the receipt fails with `reason` and
        what has not been sent yet is withdrawn, so that a resend does not double it.
        """
        if self.outcome is not None:
            return
        if self.items >= 0 and not _unaccounted(self):
            self.lingered = True
            if logger.isEnabledFor(logging.WARNING):
                logger.warning(
                    "an element lingered past its deadline, held by: %s", ", ".join(holders(self))
                )
            _force(self)
            return
        self.withdrawn = True
        self.settle(failed(reason))

    def __repr__(self) -> str:
        outcome = self.outcome
        state = "open" if outcome is None else outcome.kind.name.lower()
        return f"<Receipt {state}{'' if self.position is None else f' at {self.position!r}'}>"


def _unaccounted(root: "shares.Share") -> bool:
    """Whether anything below `root` is neither claimed and reported nor meant to go."""
    with shares.lock:
        todo = [root]
        while todo:
            share = todo.pop()
            if share.flags & shares.RESOLVED:
                continue
            if share.claims or not share.flags & (shares.GONE | shares.TOUCHED):
                return True
            todo.extend(share.children or ())
    return False


def _force(root: "shares.Share") -> None:
    """Resolve everything below `root` as if all elements were dead."""
    family = [root]
    for share in family:  # grows while it is walked
        if not share.flags & shares.RESOLVED:
            family.extend(share.children or ())
    for share in reversed(family):
        share.retire()


def holders(root: "shares.Share") -> list[str]:
    """The types that still refer to elements of a share or of its descendants.

    Looks at every object the collector tracks: for the log line of a missed deadline only.
    """
    from rxotlp.data import TelemetryData

    frozen = gc.get_freeze_count()
    if frozen:
        gc.unfreeze()  # what is frozen is not looked through
    family: set[int] = set()
    todo = [root]
    while todo:
        share = todo.pop()
        family.add(id(share))
        todo.extend(share.children or ())
    elements = [
        thing
        for thing in gc.get_objects()
        if type(thing) is TelemetryData and id(thing._share) in family
    ]
    names = {
        f"{type(holder).__module__}.{type(holder).__qualname__}"
        for element in elements
        for holder in gc.get_referrers(element)
        if holder is not elements
    }
    if frozen:
        gc.freeze()
    return sorted(names) or ["nothing that the collector can see"]


class _DefaultInbox:
    """The inbox of elements that belong to no scheduler of ours, drained by one thread."""

    def __init__(self) -> None:
        self._wakes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.inbox = Inbox(self._wake)
        self.process = os.getpid()
        threading.Thread(target=self._run, name="rxotlp-settle", daemon=True).start()

    def _wake(self) -> None:
        self._wakes.put(True)

    def _run(self) -> None:
        while True:
            self._wakes.get()
            while (action := self.inbox.pop()) is not None:
                local.top = None
                try:
                    action()
                except Exception:
                    logger.exception("settling an element raised")


_default: _DefaultInbox | None = None
_default_lock = threading.Lock()


def default_inbox() -> Inbox:
    """The inbox for receipts made without a scheduler; starts its thread when first used."""
    global _default
    if _default is None or _default.process != os.getpid():
        with _default_lock:
            if _default is None or _default.process != os.getpid():
                _default = _DefaultInbox()
    return _default.inbox
