"""A stage: how telemetry enters and leaves an operator of ours.

`take` books an element as it comes in and makes sure that it has a share; `emit` books it
as it leaves and is the one place that calls a downstream `on_next` with telemetry.

`emit` is given the element in a list and pops it into the call, and neither function keeps
it in a local: an element that a native operator drops must be dead when its `on_next`
returns, because that is how we know that it was dropped on purpose.
"""

import logging
from threading import get_ident
from typing import TYPE_CHECKING, Any

from reactivex import abc

from rxotlp import assembly
from rxotlp._core.bracket import local
from rxotlp._core.inbox import Inbox
from rxotlp.books import Book
from rxotlp.errors import LooseElementError
from rxotlp.receipt import Receipt
from rxotlp.shares import BROKEN, DEAD, TAKEN, Share

if TYPE_CHECKING:
    from rxotlp.data import TelemetryData

__all__ = ["Stage"]

logger = logging.getLogger("rxotlp")


class Stage:
    """One operator in one subscription.

    Args:
        name: the operator's name; `given` says that the user chose it.
        observer: where it emits to (reactivex gives operators an auto-detaching one).
        inbox: the inbox of the scheduler the stage runs on; for elements made by hand.
    """

    __slots__ = ("assembly", "book", "inbox", "observer", "strict")

    def __init__(
        self,
        name: str,
        observer: "abc.ObserverBase[Any]",
        *,
        given: bool = False,
        inbox: Inbox | None = None,
    ) -> None:
        self.observer = observer
        self.inbox = inbox
        pipeline = assembly.emitting()
        if pipeline is not None:
            self.book = pipeline.books.open_inner(name, self.held)
        elif (pipeline := assembly.current()) is not None:
            books = pipeline.books
            if pipeline.running:
                self.book = books.open_inner(name, self.held)
            else:
                self.book = books.open(name, held=self.held, given=given)
        else:
            self.book = Book(name, held=self.held)
        self.book.assembly = self.assembly = pipeline
        self.strict = pipeline is not None and pipeline.strict

    def held(self) -> int:
        """Items inside the stage right now."""
        return 0

    def take(self, data: "TelemetryData") -> "TelemetryData":
        """Book an element that came in.

        Returns:
            The element, with a share; usually the same object.
        """
        try:
            share = data._share
        except AttributeError:
            raise TypeError(
                f"{self.book.name}: expected TelemetryData, got {type(data).__name__}; what is "
                "behind an export gets Deliveries"
            ) from None
        if share is None:
            data = self._adopt(data)
            share = data._share
            assert share is not None
        items = share.items
        self.book.received += items
        edge = share.edge
        if share.flags & TAKEN or (share.now is not edge and share.now is not None):
            _take_again(share)
        else:
            share.flags |= TAKEN
            if edge is not None:
                edge.passed += items
        return data

    def emit(
        self, cell: "list[TelemetryData]", to: "abc.ObserverBase[TelemetryData] | None" = None
    ) -> None:
        """Send the element in `cell` on, to `to` or to the stage's observer.

        The cell is empty afterwards.
        """
        share: Share | None = cell[0]._share
        assert share is not None  # `take` gave it one, or what it was made from had one
        observer: Any = self.observer if to is None else to
        book = self.book
        book.sent += share.items
        outer = share.now
        if share.flags & TAKEN:
            share.flags &= ~TAKEN
        elif share.edge is not None:  # another branch has sent it on too
            share.also_left()
            share.flags &= ~TAKEN
        share.edge = share.now = book
        top = local.top
        if top is share:  # passed on as it was: the emission that brought it looks after it
            try:
                observer.on_next(cell.pop())
            except BaseException:
                share.flags |= BROKEN
                raise
            finally:
                share.now = outer
                if observer.is_stopped:
                    share.flags |= BROKEN
            return
        thread = get_ident()
        nested = share.thread == thread
        local.top = share
        share.thread = thread
        try:
            observer.on_next(cell.pop())
        except BaseException:
            share.flags |= BROKEN
            raise
        finally:
            local.top = top
            share.now = outer
            if not nested:
                share.thread = 0  # from here on its death is no filter's doing
            if observer.is_stopped:
                share.flags |= BROKEN
            share.carrier = None
            if share.flags & DEAD:
                share.bury()
            if share.orphans is not None:
                orphans, share.orphans = share.orphans, None
                for orphan in orphans:
                    orphan.bury()

    def _adopt(self, data: "TelemetryData") -> "TelemetryData":
        """Give an element that was made by hand the share it should have."""
        top = local.top
        if top is not None:
            return data._with_share(top.child(data.items))
        text = (
            f"{self.book.name}: an element without a receipt, made outside any emission; "
            "make it with data.derive(...) from the element it stands for"
        )
        if self.strict:
            raise LooseElementError(text)
        if not self.book.warned:
            self.book.warned = True
            logger.warning("%s; it is booked as created and nobody hears of its fate", text)
        receipt = Receipt(inbox=self.inbox)
        data = receipt.attach(data)
        # Booked as created, not as received: nothing came in.
        self.book.created += data.items
        self.book.received -= data.items
        return data


def _take_again(share: Share) -> None:
    """Book a second stage that takes what another took, or left on another edge."""
    items = share.items
    now = share.now
    if now is not None and now is not share.edge:
        # Another branch of an emission that is still open: a copy on that stage's edge.
        if not share.flags & TAKEN:
            share.also_left()
        edge = now
    elif share.others:
        share.others.pop(0).passed += items
        share.flags |= TAKEN
        return
    elif share.edge is not None:
        edge = share.edge
    else:
        share.flags |= TAKEN
        return
    edge.edge_created += items
    edge.passed += items
    share.flags |= TAKEN
