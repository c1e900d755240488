"""The books: what every stage did with the items that reached it.

    in + created = out + delivered + filtered + dropped + rejected + failed + held

A stage keeps two accounts of that form. Its own says what the stage did. The one of its
outgoing edge says what happened between its `emit` and the next stage of ours: what
native reactivex operators removed, copied or made there.

`held` is what the holder itself says it holds, not the remainder of the others, so a
stage that loses an item does not balance. Counters are plain integers that one scheduler
writes in its turn. `+=` on a slot has no point at which CPython with the GIL switches
threads, so a native operator on a thread of its own does not corrupt them either.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from reactivex import Observable
from reactivex.subject import Subject

from rxotlp._core.outcomes import Kind, Outcome
from rxotlp.errors import PipelineError

if TYPE_CHECKING:
    from rxotlp.assembly import Assembly

__all__ = ["Account", "Book", "Books"]


@dataclass(frozen=True, slots=True)
class Account:
    """One balanced account, in items.

    Attributes:
        name: the stage (`batch#2`), or `batch#2 ->` for its outgoing edge.
        received: what came in (the `in` of the equation).
        created: what was made or copied here.
        sent: what went on (the `out`).
        delivered: what a destination took.
        filtered: what was meant to go.
        dropped: what a policy lost.
        rejected: what was refused for good.
        failed: what was lost in a way that asks for a resend.
        held: what is here right now.
        closed: batches, not items, that `batch` has closed, by why: "items", "bytes",
            "delay", "idle", "credit", "keys", "lowered", "resumed" or "end".
        limits: the limits that an Observable changes, by argument, as they are now.
        ignored: values for those limits that were no numbers of 0 or more.
    """

    name: str
    received: int = 0
    created: int = 0
    sent: int = 0
    delivered: int = 0
    filtered: int = 0
    dropped: int = 0
    rejected: int = 0
    failed: int = 0
    held: int = 0
    closed: Mapping[str, int] = field(default_factory=dict, hash=False)
    limits: Mapping[str, int] = field(default_factory=dict, hash=False)
    ignored: int = 0

    @property
    def difference(self) -> int:
        """What came in and cannot be found; 0 when the account balances."""
        return (
            self.received
            + self.created
            - self.sent
            - self.delivered
            - self.filtered
            - self.dropped
            - self.rejected
            - self.failed
            - self.held
        )

    @property
    def balanced(self) -> bool:
        """Whether every item is accounted for."""
        return self.difference == 0

    def __str__(self) -> str:
        counts = " ".join(
            f"{column.name}={_text(value)}"
            for column in fields(self)[1:]
            if (value := getattr(self, column.name))
        )
        return f"{self.name}: {counts or 'nothing'}"


def _text(value: int | Mapping[str, int]) -> str:
    if isinstance(value, int):
        return str(value)
    return ",".join(f"{name}:{count}" for name, count in value.items())


def _nothing() -> int:
    return 0


class Book:
    """One stage's running counts. Stages write it; readers take `account` and `edge`."""

    __slots__ = (
        "assembly",
        "closed",
        "created",
        "delivered",
        "dropped",
        "edge_created",
        "edge_dropped",
        "edge_failed",
        "edge_filtered",
        "failed",
        "filtered",
        "held",
        "holders",
        "ignored",
        "leaf",
        "limits",
        "name",
        "passed",
        "received",
        "rejected",
        "sent",
        "warned",
    )

    def __init__(self, name: str, *, held: Callable[[], int] = _nothing) -> None:
        self.name = name
        self.held = held
        self.assembly: Assembly | None = None  # of the pipeline whose books it is in
        self.holders: list[Callable[[], int]] | None = None  # of a book that several share
        self.leaf = False  # set for a stage whose emissions are not telemetry
        self.warned = False
        self.received = 0
        self.created = 0
        self.sent = 0
        self.delivered = 0
        self.filtered = 0
        self.dropped = 0
        self.rejected = 0
        self.failed = 0
        # Of `batch`, and of stages whose limits change.
        self.closed: dict[str, int] = {}
        self.limits: dict[str, int] = {}
        self.ignored = 0
        # The outgoing edge: what was emitted is `sent`, what the next stages took `passed`.
        self.passed = 0
        self.edge_created = 0
        self.edge_filtered = 0
        self.edge_dropped = 0
        self.edge_failed = 0

    def count(self, outcome: Outcome, items: int) -> None:
        """Book `items` that end here with `outcome`; a part refused leaves the rest delivered."""
        kind = outcome.kind
        if kind is Kind.DELIVERED:
            self.delivered += items
        elif kind is Kind.FILTERED:
            self.filtered += items
        elif kind is Kind.DROPPED:
            self.dropped += items
        elif kind is Kind.FAILED:
            self.failed += items
        else:
            refused = items if outcome.items is None else min(outcome.items, items)
            self.rejected += refused
            self.delivered += items - refused

    def transformed(self, before: int, after: int) -> None:
        """Book that `before` items became `after` items in this stage."""
        if after < before:
            self.filtered += before - after
        else:
            self.created += after - before

    def edge_changed(self, before: int, after: int) -> None:
        """Book that native code on the edge made `after` items of `before`."""
        if after < before:
            self.edge_filtered += before - after
        else:
            self.edge_created += after - before

    def edge_lost(self, items: int, fate: Outcome) -> None:
        """Book that `items` died on the edge: removed or discarded on purpose, or lost."""
        if fate.kind is Kind.FILTERED:
            self.edge_filtered += items
        elif fate.kind is Kind.DROPPED:
            self.edge_dropped += items
        else:
            self.edge_failed += items

    @property
    def account(self) -> Account:
        """The stage's own account, now."""
        return Account(
            self.name,
            self.received,
            self.created,
            self.sent,
            self.delivered,
            self.filtered,
            self.dropped,
            self.rejected,
            self.failed,
            self.held(),
            dict(self.closed),
            dict(self.limits),
            self.ignored,
        )

    @property
    def edge(self) -> Account:
        """The outgoing edge's account, now.

        What is on an edge cannot be asked (native operators hold it), so `held` is the
        remainder here; after a drain it must be 0, and it may never be negative.
        """
        gone = self.edge_filtered + self.edge_dropped + self.edge_failed
        here = self.sent + self.edge_created - self.passed - gone
        return Account(
            f"{self.name} ->",
            received=self.sent,
            created=self.edge_created,
            sent=self.passed,
            filtered=self.edge_filtered,
            dropped=self.edge_dropped,
            failed=self.edge_failed,
            held=here,
        )

    def __repr__(self) -> str:
        return f"<Book {self.account}>"


class Books:
    """The books of one pipeline: a snapshot to read and a stream to watch."""

    def __init__(self) -> None:
        self._books: list[Book] = []
        self._given: set[str] = set()
        self._inner: dict[str, Book] = {}
        self._numbered = 0  # books that have their final name
        self._changes: Subject[list[Account]] = Subject()

    def open(self, name: str, *, held: Callable[[], int] = _nothing, given: bool = False) -> Book:
        """Open a stage's book, behind those that are open.

        Args:
            name: the operator's name; several of one name are told apart by a number.
            held: says how many items the stage holds right now.
            given: the user chose the name; a second one of that name is an error.
        """
        if given:
            if name in self._given:
                raise PipelineError(f"two stages are named {name!r}: give each name= of its own")
            self._given.add(name)
        book = Book(name, held=held)
        self._books.append(book)
        return book

    def open_inner(self, name: str, held: Callable[[], int]) -> Book:
        """The book of stages that native operators subscribe while the pipeline runs.

        `group_by` and `flat_map` may subscribe any number of them; all of one name share
        one book, `name*`.
        """
        book = self._inner.get(name)
        if book is None:
            holders: list[Callable[[], int]] = []
            book = Book(f"{name}*", held=lambda: sum(holder() for holder in holders))
            book.holders = holders
            self._inner[name] = book
            self._books.append(book)
        assert book.holders is not None
        book.holders.append(held)
        return book

    @property
    def mark(self) -> int:
        """Where the next book will stand."""
        return len(self._books)

    def place_before(self, start: int, middle: int) -> None:
        """Put the books opened since `middle` before those opened since `start`.

        Rx subscribes from the end of a pipeline to its source; readers go the other way.
        """
        self._books[start:] = self._books[middle:] + self._books[start:middle]

    def _number(self) -> None:
        """Name the stages: the second `batch` in the order of the stream is `batch#2`."""
        if self._numbered == len(self._books):
            return
        self._numbered = len(self._books)
        seen: dict[str, int] = dict.fromkeys(self._given, 1)
        for book in self._books:
            if book.name in self._given or book.name.endswith("*"):
                continue
            name = book.name.partition("#")[0]
            seen[name] = count = seen.get(name, 0) + 1
            book.name = name if count == 1 else f"{name}#{count}"

    def snapshot(self) -> list[Account]:
        """Every stage's account, each followed by its edge where it has one."""
        self._number()
        accounts: list[Account] = []
        for book in self._books:
            accounts.append(book.account)
            if book.sent and not book.leaf:
                accounts.append(book.edge)
        return accounts

    @property
    def unbalanced(self) -> list[Account]:
        """The accounts in which items are missing or came from nowhere."""
        return [
            account
            for account in self.snapshot()
            if not account.balanced or account.held < 0 or account.received < 0
        ]

    @property
    def held(self) -> int:
        """Items that are inside the pipeline right now."""
        return sum(account.held for account in self.snapshot())

    @property
    def changes(self) -> Observable[list[Account]]:
        """Snapshots, as often as the pipeline publishes them."""
        return self._changes

    def publish(self) -> None:
        """Send a snapshot to whoever watches `changes`."""
        if self._changes.observers:
            self._changes.on_next(self.snapshot())

    def __getitem__(self, name: str) -> Account:
        for account in self.snapshot():
            if account.name == name:
                return account
        known = ", ".join(account.name for account in self.snapshot())
        raise KeyError(f"no account named {name!r}; there are: {known}")

    def __iter__(self) -> Iterator[Account]:
        return iter(self.snapshot())

    def __str__(self) -> str:
        return "\n".join(str(account) for account in self.snapshot())

    def __repr__(self) -> str:
        return f"<Books of {len(self._books)} stages, {self.held} items held>"
