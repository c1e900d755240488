"""Shares: who is still responsible for which part of a request.

A source's receipt is the first share. Every element holds a share; what is made from an
element holds a child share, so a request is a tree (a graph, once batches join several),
and a receipt settles when it resolves. A share resolves when

    its element can no longer be reached    (CPython's reference count says so)
    every claim on it is reported           (an exporter's, or a stage's verdict)
    every child has resolved

and its outcome is then the worst of claims and children. A share that nobody ever claimed
and that has no child was lost, and the only question is whether on purpose:

    it died inside the emission that brought it, and the observer it was given to is
    still open                              FILTERED: that is what rx's filter does
    it died inside an operator that the user
    said discards on purpose (`Discard`)    DROPPED, unless that operator ended or raised
    it died any other way                   FAILED: a resend, never an acknowledged loss

Finalizers run between any two instructions, so `element_died` only sets attributes,
appends to a list or puts into an inbox; everything else happens in the owner's turn.

Thread safety without a lock on the way of success: CPython with the GIL switches threads
only at calls, at backward jumps and where a function begins, so `x.n += 1` and "test a
flag, then set it" are whole when no call stands between. What needs calls (folding in an
outcome that is no success, walking the graph) takes the lock, which is never held while
anybody else's code runs.

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
from rxotlp.claims import Claim, Discard

if TYPE_CHECKING:
    from rxotlp.books import Book
    from rxotlp.receipt import Receipt

__all__ = ["NEUTRAL_TEXT", "Share"]

# What a sender hears about a batch that carried others' data too: never theirs.
NEUTRAL_TEXT = "a batch that carried some of this request was rejected in part by its destination"

# A share's flags.
TOUCHED = 1  # claimed, judged or with a child, at any time
DEAD = 2  # its element was finalized
IN_TIME = 4  # ... inside the emission that brought it
GONE = 8  # dead and booked, or replaced by its parts
RESOLVED = 16
BROKEN = 32  # an observer was closed, or raised, while it had the element
TAKEN = 64  # a stage has taken it since it was last emitted
DIED_IN_TIME = DEAD | IN_TIME

lock = threading.Lock()


class Share:
    """One element's part in its receipts. Made by receipts and elements, not by users.

    Attributes:
        items: items the element carried when the share was made.
        parents: the shares it was made from; empty for a receipt.
        inbox: where its death is handled.
        flags: see the constants above.
        claims: claims not yet reported, and holds.
        pending: children not yet resolved.
        worst: the worst outcome so far.
        thread: the thread on which an emission of it is under way, or 0.
        edge: the book of the last stage that emitted it.
        now: the book of the stage whose emission of it is under way.
        children: the shares made from it.
        refused: items rejected.
        warning: what a destination said beside a success.
        carrier: the share inside whose emission it was made.
        orphans: shares that were made and died inside its emission.
        others: further edges it was left on.
        discards: the mark of an operator that discards on purpose, while it is inside.
    """

    # All of them slots: to find a default in the class takes four times as long.
    __slots__ = (
        "_sender", "carrier", "children", "claims", "discards", "edge", "flags", "inbox", "items",
        "now", "orphans", "others", "parents", "pending", "refused", "thread", "warning", "worst",
    )  # fmt: skip

    def __init__(
        self, items: int, parents: "tuple[Share, ...]", sender: "Receipt | None", inbox: Inbox
    ) -> None:
        self.items = items
        self.parents = parents
        self._sender = sender
        self.inbox = inbox
        self.flags = 0
        self.claims = 0
        self.pending = 0
        self.worst = DELIVERED
        self.thread = 0
        self.edge: Book | None = None
        self.now: Book | None = None
        self.children: list[Share] | None = None
        self.carrier: Share | None = None
        self.orphans: list[Share] | None = None
        self.others: list[Book] | None = None
        self.discards: Discard | None = None
        self.refused = 0
        self.warning = ""

    @property
    def sender(self) -> "Receipt | None":
        """The one receipt behind it, or None when several requests were joined."""
        return self._sender

    # -- making more of them ----------------------------------------------------------

    def child(self, items: int) -> "Share":
        """A share for an element made from this one; this one stays responsible too."""
        made = self._child(items)
        if not made.flags:
            self._left_to_native_code(items)
        return made

    def split(self, counts: Sequence[int]) -> "list[Share]":
        """One share for each part, in place of this one."""
        parts = [self._child(items) for items in counts]
        if not self.flags & TAKEN:
            self._left_to_native_code(sum(counts))
        self.retire()
        return parts

    def _child(self, items: int) -> "Share":
        made = Share(items, (self,), self.sender, self.inbox)
        made.carrier = local.top
        made.edge = self.edge
        made.discards = self.discards
        # In a stage of ours, which books what it makes; or a copy, booked when taken.
        made.flags = self.flags & TAKEN
        self._add(made)
        return made

    def _left_to_native_code(self, items: int) -> None:
        """Code between two stages has made others of it: they stand there now."""
        self.flags |= TAKEN
        if self.edge is not None:
            self.edge.edge_changed(self.items, items)

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
        made.discards = first.discards
        for share in shares:
            share._add(made)
        made._stand_for(shares)
        for share in shares:
            share.retire()
        return made

    def _stand_for(self, shares: "Sequence[Share]") -> None:
        """Take the place of several, on the edge of the first that is on one."""
        waiting = [share for share in shares if not share.flags & TAKEN]
        if not waiting:  # in a stage of ours, which books what it makes
            self.flags = TAKEN
            return
        self.edge = edge = waiting[0].edge
        here = 0
        for share in waiting:
            if not share.flags & TAKEN:  # it may be there twice
                share.flags |= TAKEN
                if share.edge is edge:
                    here += share.items
                elif share.edge is not None:
                    share.edge.passed += share.items
        if edge is not None:
            edge.edge_changed(here, self.items)

    def _add(self, made: "Share") -> None:
        self.flags |= TOUCHED
        self.pending += 1
        if self.children is None:
            self.children = [made]
        else:
            self.children.append(made)

    # -- holds, claims and verdicts ---------------------------------------------------

    def hold(self) -> None:
        """A stage keeps the element: until `release` a deadline finds it unaccounted for.

        Another branch may have delivered the same element meanwhile.
        """
        self.claims += 1

    def release(self) -> None:
        """End a hold, which says nothing of what becomes of the element."""
        self.claims -= 1
        if not self.flags & TAKEN:
            self.also_left()
        self.settle_if_done()

    def also_left(self) -> None:
        """A stage of ours has it that another branch has sent on since: it is there too."""
        self.flags |= TAKEN
        if self.edge is not None:
            if self.others is None:
                self.others = [self.edge]
            else:
                self.others.append(self.edge)

    def claim(self) -> "Claim":
        """Take responsibility; the share cannot resolve before the claim is reported."""
        self.claims += 1
        self.flags |= TOUCHED
        return Claim(self)

    def verdict(self, outcome: Outcome) -> None:
        """Say what became of the element, there and then (a filter, a raise, a disposal)."""
        self.flags |= TOUCHED
        if outcome is not DELIVERED:
            self._fold(outcome)

    def report(self, outcome: Outcome) -> None:
        """End a claim."""
        if outcome is not DELIVERED:
            self._fold(outcome)
        self.claims -= 1
        self.settle_if_done()

    def _fold(self, outcome: Outcome) -> None:
        with lock:
            self.worst = worst(self.worst, outcome)
            if outcome.kind is Kind.REJECTED:
                items = self.items if outcome.items is None else min(outcome.items, self.items)
                self.refused = max(self.refused, items)
            if outcome.warning:
                self.warning = outcome.warning

    # -- death --------------------------------------------------------------------------

    def element_died(self) -> None:
        """The element's finalizer; see the module's text for what it may do."""
        if self.flags & (GONE | TAKEN) == GONE | TAKEN and self.others is None:
            return
        thread = get_ident()
        if self.thread == thread:
            self.flags |= DIED_IN_TIME  # `emit` looks as soon as the observer returns
            return
        self.flags |= DEAD
        carrier = self.carrier
        if carrier is not None and carrier.thread == thread:
            self.flags |= IN_TIME
            if carrier.orphans is None:
                carrier.orphans = [self]
            else:
                carrier.orphans.append(self)
        else:
            self.inbox.put(self.bury)

    def bury(self) -> None:
        """Handle the element's death; the emission that brought it is over."""
        flags = self.flags
        carrier = self.carrier
        broken = flags & BROKEN or (carrier is not None and carrier.flags & BROKEN)
        fate = FILTERED if flags & IN_TIME and not broken else ABANDONED
        if fate is ABANDONED and self.discards is not None and not broken:
            fate = self.discards.outcome
        edge = self.edge
        if not flags & TAKEN and edge is not None:
            if fate is FILTERED:
                edge.edge_filtered += self.items
            else:
                edge.edge_lost(self.items, fate)
        if self.others is not None:
            for edge in self.others:
                edge.edge_lost(self.items, fate)
            self.others = None
        if flags & GONE:
            self.flags |= TAKEN
            return
        if not flags & TOUCHED:
            self.worst = fate
        if self.claims or self.pending:
            self.flags |= GONE | TOUCHED | TAKEN
        else:
            self.flags |= GONE | TOUCHED | TAKEN | RESOLVED
            self._resolved()

    def retire(self) -> None:
        """Its parts speak for it from now on, whoever may still hold the element."""
        self.flags |= GONE
        self.settle_if_done()

    # -- resolution ---------------------------------------------------------------------

    def settle_if_done(self) -> None:
        """Resolve, and tell the parents and theirs, if nothing is outstanding any more."""
        if self.claims or self.pending or self.flags & (GONE | RESOLVED) != GONE:
            return
        self.flags |= RESOLVED
        self._resolved()

    def _resolved(self) -> None:
        todo = self._tell_parents()
        while todo:  # not recursive: a chain of shares can be long
            share = todo.pop()
            if not (share.claims or share.pending or share.flags & (GONE | RESOLVED) != GONE):
                share.flags |= RESOLVED
                if share.parents:
                    todo += share._tell_parents()
                else:
                    share._resolved()

    def _tell_parents(self) -> "list[Share]":
        parents = self.parents
        outcome = self.worst
        # No cycle outlives the resolution, so no collection is needed to free shares.
        self.parents = ()
        self.carrier = self.children = None
        if outcome is not DELIVERED or self.warning:
            with lock:
                _tell(self, parents)
        for parent in parents:
            parent.pending -= 1
        return list(parents)

    # -- looking ------------------------------------------------------------------------

    @property
    def withdrawn(self) -> bool:
        """Every sender behind it has been told to send again: it must not be sent now."""
        todo: list[Share] = [self]
        while todo:
            share = todo.pop()
            sender = share.sender
            if sender is None and share.parents:
                todo.extend(share.parents)
            elif sender is None or not sender.withdrawn:
                return False
        return True

    def first_due(self) -> float:
        """When the first sender behind it must have its answer; 0 when none waits."""
        return min((r.due for r in self.receipts() if r.due and r.outcome is None), default=0.0)

    def all_offered_again(self) -> bool:
        """Whether the sources of all receipts behind it offer it again when it fails."""
        return all(receipt.offered_again for receipt in self.receipts())

    def receipts(self) -> "set[Receipt]":
        """Every receipt behind it."""
        found: set[Receipt] = set()
        todo: list[Share] = [self]
        while todo:
            share = todo.pop()
            sender = share.sender
            if sender is not None:
                found.add(sender)
            else:
                todo.extend(share.parents)
        return found

    def __repr__(self) -> str:
        state = "resolved" if self.flags & RESOLVED else "open"
        return f"<Share of {self.items} items, {state}, {self.worst.kind.name.lower()}>"


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
            if warning and not parent.warning:
                parent.warning = warning
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
