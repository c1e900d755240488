"""Ending a pipeline: when everything has settled, and what is left to report."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rxotlp.assembly import Connectable, Resource
from rxotlp.books import Account, Books

__all__ = [
    "Countdown",
    "Report",
    "aclose_all",
    "call_async",
    "close_all",
    "left_behind",
    "when_settled",
]

logger = logging.getLogger("rxotlp")

_NOT_CLOSED = "closing %r raised; the pipeline stops all the same"


@dataclass(frozen=True, slots=True)
class Report:
    """What a pipeline leaves behind when it has stopped.

    Attributes:
        accounts: the books, at the end.
        unbalanced: the accounts in which items are missing; empty unless rxotlp, or a stage
            built on it, has a defect.
        undelivered: items that were in flight at the drain's deadline, and those that a
            source without a caller gave up.
        seconds: how long the drain took.
        left: where the undelivered items were, by the name of the stage's account
            (`batch ->` is between it and the next), in the order of the stream.
    """

    accounts: list[Account]
    unbalanced: list[Account]
    undelivered: int
    seconds: float
    left: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """`3 items undelivered: 2 in export, 1 in queue`, and what does not balance."""
        where = ", ".join(f"{items} in {name}" for name, items in self.left.items())
        items = "1 item" if self.undelivered == 1 else f"{self.undelivered} items"
        text = f"{items} undelivered: {where}" if where else f"{items} undelivered"
        if self.unbalanced:
            text += f"; books do not balance: {'; '.join(map(str, self.unbalanced))}"
        return text


def when_settled(sources: Sequence[Connectable], done: Callable[[], object]) -> "Countdown":
    """Call `done` once every receipt of the sources is settled and one more `step` was made."""
    receipts = [receipt for source in sources for receipt in source.open_receipts()]
    countdown = Countdown(len(receipts) + 1, done)
    for receipt in receipts:
        receipt.on_settle(countdown.step)
    return countdown


def left_behind(books: Books, sources: Sequence[Connectable]) -> dict[str, int]:
    """How many items are still in which stage, and how many a source without a caller gave up.

    What a source gives up because the pipeline stops is still among what stages hold.
    """
    left = {account.name: account.held for account in books if account.held > 0}
    for source in sources:
        given_up: int = getattr(source, "given_up", 0)
        if given_up:
            name = str(getattr(source, "name", source))
            left[name] = left.get(name, 0) + given_up
    return left


class Countdown:
    """Calls `done` at the last of `steps` calls of `step`, from whichever thread that is."""

    def __init__(self, steps: int, done: Callable[[], object]) -> None:
        self._left = steps
        self._done = done
        self._lock = threading.Lock()

    def step(self, _what: object = None) -> None:
        """One thing less to wait for."""
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._done()


def close_all(things: Sequence[Resource]) -> None:
    """Close each, whatever the others make of it."""
    for thing in things:
        try:
            thing.close()
        except Exception:
            logger.exception(_NOT_CLOSED, thing)


async def aclose_all(things: Sequence[Resource]) -> None:
    """As `close_all`, awaiting the `aclose` of those that have one."""
    for thing in things:
        try:
            await call_async(thing, "aclose", thing.close)
        except Exception:
            logger.exception(_NOT_CLOSED, thing)


async def call_async(
    thing: object, name: str, plain: Callable[..., object], *arguments: Any
) -> None:
    """Await `thing`'s async method where it has one, else call the plain one."""
    method = getattr(thing, name, None)
    if method is not None:
        await method(*arguments)
    else:
        plain(*arguments)
