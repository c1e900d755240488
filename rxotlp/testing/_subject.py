"""An operator under check, and one run of it in virtual time."""

import gc
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from rxotlp._core.outcomes import DELIVERED, Kind, Outcome
from rxotlp.data import TelemetryData
from rxotlp.operators._shell import Operator
from rxotlp.operators.export import export
from rxotlp.receipt import Receipt
from rxotlp.testing.recorder import Recorder
from rxotlp.testing.rig import Rig
from rxotlp.testing.rules import expect

__all__ = ["May", "Run", "Subject"]

May = Literal["filter", "drop", "reject", "fail", "reorder", "copy", "acknowledge"]


class Subject(NamedTuple):
    """What `check_operator` was given."""

    make: Callable[..., Operator]
    may: frozenset[May]
    exports: bool
    element: Callable[[Sequence[int]], TelemetryData]
    patience: float
    seconds: float

    def stages(self, exporter: Any) -> list[Callable[[Any], Any]]:
        """The operator, and behind it an export to `exporter` if it has none of its own."""
        if self.exports:
            return [self.make(exporter)]
        return [self.make(), export(exporter, max_concurrent=1, retry=None)]

    def lossless(self) -> bool:
        """Whether everything that is sent must arrive."""
        return not self.may & {"filter", "drop", "reject", "fail"}


class Run:
    """The operator between a feed and an exporter, on a virtual clock.

    Attributes:
        rig: see there.
        exporter: what arrived.
        operator: the one under check.
        sent: the ids that were sent, in order.
        raised: exceptions that reached nobody but the scheduler.
    """

    def __init__(
        self, subject: Subject, outcome: Outcome | Callable[[TelemetryData], Outcome] = DELIVERED
    ) -> None:
        self.subject = subject
        self.exporter = Recorder(outcome)
        self.rig = Rig()
        self.raised: list[str] = []
        self.rig.clock.on_error = lambda error: self.raised.append(repr(error))
        stages = subject.stages(self.exporter)
        self.operator = stages[0]
        self.rig.run(*stages)
        self.sent: list[int] = []

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exc: object) -> None:
        self.rig.close()

    def send(self, *ids: int) -> Receipt:
        """Let one element in."""
        self.sent += ids
        return self.rig.send(self.subject.element(ids))

    def feed(self) -> None:
        """A few elements of several sizes, with pauses between them."""
        self.send(1, 2, 3)
        self.send(4)
        self.rig.wait(0.5)
        self.send(5, 6)
        self.rig.wait(3)
        self.send(7)

    def let_go(self) -> None:
        """Wait as long as the operator may hold anything."""
        self.rig.wait(self.subject.patience)
        gc.collect()  # what it kept in cycles, and tracebacks, is let go of
        self.rig.wait(0)

    def end(self) -> None:
        """Complete, and wait."""
        self.rig.feed.stop()
        self.let_go()

    def answered(self) -> None:
        """Every sender has heard something; a receipt itself sees to it that it is one thing."""
        silent = [at for at, heard in enumerate(self.outcomes()) if heard is None]
        expect(not silent, f"the senders of elements {silent} have heard nothing\n{self.rig.books}")

    def balanced(self) -> None:
        """The books balance, and nothing is held."""
        books = self.rig.books
        expect(not books.unbalanced, f"books do not balance: {books.unbalanced}\n{books}")
        expect(books.held == 0, f"{books.held} items are held although all is done\n{books}")

    def arrived(self) -> None:
        """What was sent arrived as often as it may."""
        ids = self.exporter.ids
        may = self.subject.may
        strange = sorted(set(ids) - set(self.sent))
        expect(not strange, f"ids {strange} arrived and were never sent")
        if "copy" not in may:
            twice = sorted({number for number in ids if ids.count(number) > 1})
            expect(not twice, f"ids {twice} arrived more than once")
        if self.subject.lossless():
            lost = sorted(set(self.sent) - set(ids))
            expect(not lost, f"ids {lost} never arrived")

    def outcomes(self) -> list[Kind | None]:
        """What each sender heard."""
        return [
            None if receipt.outcome is None else receipt.outcome.kind
            for receipt in self.rig.receipts
        ]
