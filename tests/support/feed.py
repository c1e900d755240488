"""A source that a test feeds by hand, on a virtual clock, and a scriptable destination."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from reactivex import Observable, abc

from rxotlp._core.outcomes import DELIVERED, Kind, Outcome
from rxotlp.assembly import Assembly
from rxotlp.books import Books
from rxotlp.data import TelemetryData
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SerialScheduler, VirtualScheduler
from rxotlp.sources.base import Source
from tests.support.logs import ids_of, logs

__all__ = ["Feed", "Rig", "Sink", "kind"]


class Feed(Source):
    """A source whose transport is the test."""

    def __init__(self) -> None:
        super().__init__("feed")

    def _begin(self, scheduler: SerialScheduler) -> None:
        """Nothing to bind."""

    def _release(self) -> None:
        """Nothing to give back."""


class Sink:
    """An exporter that remembers ids and answers as told."""

    def __init__(self, outcome: Outcome | Callable[[TelemetryData], Outcome] = DELIVERED) -> None:
        self.outcome = outcome
        self.ids: list[int] = []
        self.calls: list[list[int]] = []

    def export(self, data: TelemetryData) -> Outcome:
        ids = ids_of(data)
        self.ids += ids
        self.calls.append(ids)
        return self.outcome(data) if callable(self.outcome) else self.outcome


class Rig:
    """A feed, a virtual clock, and what a subscriber saw of the stream's end."""

    used: ClassVar[list["Rig"]] = []  # closed after each test, see tests/conftest.py

    def __init__(self) -> None:
        self.used.append(self)
        self.clock = VirtualScheduler()
        self.feed = Feed()
        self.books = Books()
        self.assembly = Assembly(self.books)
        self.errors: list[Exception] = []
        self.results: list[Any] = []
        self._completed = False
        self.subscription: abc.DisposableBase | None = None

    def run(
        self,
        *operators: Callable[[Any], Any],
        stream: Callable[[Observable[Any]], Observable[Any]] | None = None,
        on_next: Callable[[Any], None] | None = None,
    ) -> "Rig":
        """Subscribe the feed through `operators`, and connect it."""
        whole: Observable[Any] = stream(self.feed) if stream else self.feed.pipe(*operators)
        with self.assembly:
            self.subscription = whole.subscribe(
                on_next or self._next, self._error, self._complete, scheduler=self.clock
            )
        self.feed.connect(self.clock)
        return self

    def _next(self, value: Any) -> None:
        if not isinstance(value, TelemetryData):
            self.results.append(value)

    def _error(self, error: Exception) -> None:
        self.errors.append(error.with_traceback(None))

    def _complete(self) -> None:
        self._completed = True

    def completed(self) -> bool:
        """Whether the stream has completed."""
        return self._completed

    def send(self, ids: Iterable[int], *, service: str = "test") -> Receipt:
        """Let one element in and run what is due now; time does not pass."""
        receipt = self.feed.admit(logs(ids, service=service))
        self.clock.advance_by(0)
        return receipt

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance_by(seconds)

    def end(self) -> None:
        """Complete the source and run everything."""
        self.feed.stop()
        self.clock.run()

    def dispose(self) -> None:
        """Dispose the subscription and run what that causes."""
        assert self.subscription is not None
        self.subscription.dispose()
        self.clock.advance_by(0)

    def check_books(self) -> None:
        """Every account balances and nothing is held anywhere."""
        assert self.books.unbalanced == [], str(self.books)
        assert self.books.held == 0, str(self.books)


def kind(receipt: Receipt) -> Kind | None:
    """What a sender heard, or None while it waits."""
    return None if receipt.outcome is None else receipt.outcome.kind
