"""Shares: who is still responsible for which part of a request.

A source's receipt begins with one share. Every element holds a share; what is made from
an element holds a child share, so a request is a tree (a graph, once batches join
several), and a receipt settles when its root resolves. A share resolves when

    its element can no longer be reached    (CPython's reference count says so)
    every claim on it is reported           (an exporter's, or a stage's verdict)
    every child has resolved

and its outcome is then the worst of claims and children. A share that nobody ever claimed
and that has no child was lost, and the only question is whether on purpose:

    it died inside the emission that brought it, and the observer it was given to is
    still open                              FILTERED: that is what rx's filter does
    it died any other way                   FAILED: a resend, never an acknowledged loss

Finalizers run between any two instructions, so `element_died` only sets attributes,
appends to a list or puts into an inbox; everything else happens in the owner's turn.
The one lock here guards the graph and is never held while anybody else's code runs.

Between two stages of ours an element is on the *edge* of the last stage it left. What
native operators remove, copy or make there is booked on that edge (see `books`).
"""

import threading
from collections.abc import Sequence
from threading import get_ident
from typing import TYPE_CHECKING

from rxotlp._core.bracket import local
from rxotlp._core.inbox import Inbox
from rxotlp._core.outcomes import ABANDONED, DELIVERED, FILTERED, Kind, Outcome, rejected, worst

if TYPE_CHECKING:
    from rxotlp.books import Book
    from rxotlp.receipt import Receipt

__all__ = ["NEUTRAL_TEXT", "Claim", "Share"]

# What a sender hears about a batch that carried others' data too: never theirs.
NEUTRAL_TEXT = "a batch that carried some of this request was rejected in part by its destination"

_lock = threading.Lock()


class Share:
    """One element's part in its receipts. Made by receipts and elements, not by users.

    Attributes:
        items: items the element carried when the share was made.
        sender: the one receipt behind it, or None when several requests were joined.
        inbox: where its death is handled.
        edge: the book of the last stage that emitted it.
        taken: whether a stage has taken it since.
    """

    __slots__ = (
        "active",
        "alive",
        "broken",
        "carrier",
        "children",
        "claims",
        "dead",
        "edge",
        "in_time",
        "inbox",
        "items",
        "now",
        "origin",
        "orphans",
        "others",
        "pending",
        "refused",
        "resolved",
        "sender",
        "taken",
        "thread",
        "touched",
        "warning",
        "worst",
    )

    def __init__(
        self,
        items: int,
        origin: "Receipt | tuple[Share, ...]",
        sender: "Receipt | None",
        inbox: Inbox,
    ) -> None:
        self.items = items
        self.origin = origin
        self.sender = sender
        self.inbox = inbox
        # The graph. A share is alive until its element dies or its parts replace it.
        self.alive = True
        self.resolved = False
        self.touched = False  # claimed, judged or with a child, at any time
        self.claims = 0
        self.pending = 0  # children not yet resolved
        self.children: list[Share] | None = None
        self.worst = DELIVERED
        self.refused = 0  # items rejected
        self.warning = ""
        # The emission that brings it: `carrier` is the share whose emission that is.
        self.carrier: Share | None = None
        self.active = 0  # emissions under way
        self.thread = 0
        self.broken = False  # an observer was closed, or raised, while it had the element
        self.dead = False
        self.in_time = False
        self.orphans: list[Share] | None = None  # died inside this share's emission
        # The edge it is on.
        self.edge: Book | None = None
        self.now: Book | None = None  # whose emission is under way
        self.taken = False
        self.others: list[Book] | None = None  # further edges it was left on

    # -- making more of them ----------------------------------------------------------

    def child(self, items: int) -> "Share":
        """A share for an element made from this one; this one stays responsible too."""
        made = Share(items, (self,), self.sender, self.inbox)
        made.carrier = local.top
        with _lock:
            self._add(made)
        self._replace_on_edge(made)
        return made

    def split(self, counts: Sequence[int]) -> "list[Share]":
        """One share for each part, in place of this one."""
        parts = [self.child(count) for count in counts]
        self.retire()
        return parts

    @staticmethod
    def join(shares: "Sequence[Share]", items: int) -> "Share":
        """One share in place of several: its fate is theirs."""
        first = shares[0]
        sender = first.sender
        for share in shares:
            if share.sender is not sender:
                sender = None
        made = Share(items, tuple(shares), sender, first.inbox)
        made.carrier = local.top
        with _lock:
            for share in shares:
                share._add(made)
        made.taken = True
        for share in shares:
            if not share.taken:
                share._join_on_edge(made)
        for share in shares:
            share.retire()
        return made

    def _add(self, made: "Share") -> None:
        self.touched = True
        self.pending += 1
        if self.children is None:
            self.children = [made]
        else:
            self.children.append(made)

    def _replace_on_edge(self, made: "Share") -> None:
        """Native code between two stages made something of it: the child stands there now."""
        made.edge = edge = self.edge
        if self.taken:  # inside a stage of ours (which books what it makes), or a second copy
            made.taken = True
            return
        self.taken = True
        if edge is not None:
            edge.edge_changed(self.items, made.items)

    def _join_on_edge(self, made: "Share") -> None:
        edge = self.edge
        self.taken = True
        if made.taken:  # the first to arrive decides where the joined element stands
            made.edge, made.taken = edge, False
        elif made.edge is not edge:
            if edge is not None:
                edge.passed += self.items
            if made.edge is not None:
                made.edge.edge_created += self.items

    # -- claims and verdicts ----------------------------------------------------------

    def claim(self) -> "Claim":
        """Take responsibility; the share cannot resolve before the claim is reported."""
        with _lock:
            self.touched = True
            self.claims += 1
        return Claim(self)

    def verdict(self, outcome: Outcome) -> None:
        """Say what became of the element, there and then (a filter, a raise, a disposal)."""
        with _lock:
            self.touched = True
            self._fold(outcome)

    def _report(self, outcome: Outcome) -> None:
        with _lock:
            self._fold(outcome)
            self.claims -= 1
            done = self._done()
        if done:
            resolve(self)

    def _fold(self, outcome: Outcome) -> None:
        if outcome is not DELIVERED:
            self.worst = worst(self.worst, outcome)
            if outcome.kind is Kind.REJECTED:
                items = self.items if outcome.items is None else min(outcome.items, self.items)
                self.refused = max(self.refused, items)
            if outcome.warning:
                self.warning = outcome.warning

    def _done(self) -> bool:
        return not (self.alive or self.claims or self.pending or self.resolved)

    # -- death --------------------------------------------------------------------------

    def element_died(self) -> None:
        """The element's finalizer; see the module's text for what it may do."""
        if not self.alive:
            return
        self.dead = True
        carrier = self.carrier
        if carrier is not None and carrier.active and carrier.thread == get_ident():
            self.in_time = True
            if carrier is self:
                return  # `emit` looks as soon as the observer returns
            if carrier.orphans is None:
                carrier.orphans = [self]
            else:
                carrier.orphans.append(self)
            return
        self.inbox.put(self.bury)

    def bury(self) -> None:
        """Handle the element's death; the emission that brought it is over."""
        carrier = self.carrier
        wanted = self.in_time and carrier is not None and not carrier.broken
        if not self.taken:
            self._leave_edge(self.edge, wanted)
        if self.others is not None:
            for edge in self.others:
                self._leave_edge(edge, wanted)
            self.others = None
        with _lock:
            if not self.alive:
                return
            self.alive = False
            if not self.touched:
                self.touched = True
                self.worst = FILTERED if wanted else ABANDONED
            done = self._done()
        if done:
            resolve(self)

    def _leave_edge(self, edge: "Book | None", wanted: bool) -> None:
        self.taken = True
        if edge is not None:
            if wanted:
                edge.edge_filtered += self.items
            else:
                edge.edge_failed += self.items

    def retire(self) -> None:
        """Its parts speak for it from now on, whoever may still hold the element."""
        with _lock:
            self.alive = False
            done = self._done()
        if done:
            resolve(self)

    # -- looking ------------------------------------------------------------------------

    @property
    def withdrawn(self) -> bool:
        """Every sender behind it has been told to send again: it must not be sent now."""
        todo: list[Share] = [self]
        while todo:
            share = todo.pop()
            if share.sender is not None:
                if not share.sender.withdrawn:
                    return False
            elif isinstance(share.origin, tuple):
                if not share.origin:
                    return False
                todo.extend(share.origin)
        return True

    def receipts(self) -> "set[Receipt]":
        """Every receipt behind it that is not settled yet."""
        found: set[Receipt] = set()
        todo: list[Share] = [self]
        while todo:
            share = todo.pop()
            if share.sender is not None:
                found.add(share.sender)
            elif isinstance(share.origin, tuple):
                todo.extend(share.origin)
        return found

    def __repr__(self) -> str:
        state = "resolved" if self.resolved else "open"
        return f"<Share of {self.items} items, {state}, {self.worst.kind.name.lower()}>"


class Claim:
    """A promise to report what became of an element; broken promises count as failed."""

    __slots__ = ("_share",)

    def __init__(self, share: Share) -> None:
        self._share: Share | None = share

    def report(self, outcome: Outcome) -> None:
        """Settle the claim. The first report counts; later ones change nothing."""
        share, self._share = self._share, None
        if share is not None:
            share._report(outcome)

    @property
    def withdrawn(self) -> bool:
        """See `Share.withdrawn`."""
        return self._share is not None and self._share.withdrawn

    def __del__(self) -> None:
        share, self._share = self._share, None
        if share is not None:
            share.inbox.put(lambda: share._report(ABANDONED))


def resolve(share: Share) -> None:
    """Tell the parents, and theirs, what became of a share that is done."""
    todo = [share]
    settled: list[tuple[Receipt, Share]] = []
    while todo:
        share = todo.pop()
        with _lock:
            if share.resolved:
                continue
            share.resolved = True
            origin = share.origin
            # No cycle outlives the resolution, so no collection is needed to free shares.
            share.origin = ()
            share.carrier = None
            share.children = None
            if isinstance(origin, tuple):
                _tell(share, origin)
                for parent in origin:
                    parent.pending -= 1
                    if parent._done():
                        todo.append(parent)
            else:
                settled.append((origin, share))
    for receipt, root in settled:
        receipt.settle(root.worst, rejected=root.refused, warning=root.warning)


def _tell(share: Share, parents: tuple[Share, ...]) -> None:
    """Fold a resolved share into its parents, keeping senders' data apart."""
    outcome = share.worst
    warning = share.warning
    shared = share.sender is None
    if shared:
        warning = NEUTRAL_TEXT if warning else ""
    if outcome.kind is not Kind.REJECTED:
        for parent in parents:
            parent.worst = worst(parent.worst, outcome)
            parent.warning = parent.warning or warning
        return
    whole = share.refused >= share.items
    left = share.refused
    for parent in parents:
        if whole:
            part = parent.items if len(parents) > 1 else share.refused
        elif shared:  # nobody can tell whose items they were
            parent.warning = NEUTRAL_TEXT
            continue
        else:
            part = min(left, parent.items)
        left -= part
        if part:
            parent.refused = min(parent.items, parent.refused + part)
            parent.worst = worst(parent.worst, rejected(NEUTRAL_TEXT) if shared else outcome)


def unaccounted(root: Share) -> bool:
    """Whether anything below `root` is neither claimed and reported nor meant to go."""
    with _lock:
        todo = [root]
        while todo:
            share = todo.pop()
            if share.resolved:
                continue
            if share.claims or (share.alive and not share.touched):
                return True
            todo.extend(share.children or ())
    return False


def force(root: Share) -> None:
    """Resolve everything below `root` as if all elements were dead."""
    ready: list[Share] = []
    with _lock:
        todo = [root]
        while todo:
            share = todo.pop()
            if share.resolved:
                continue
            share.alive = False
            if share._done():
                ready.append(share)
            todo.extend(share.children or ())
    for share in ready:
        resolve(share)
