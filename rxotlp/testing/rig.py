"""`Rig`: an operator, a source that the test feeds, and a clock that the test moves.

    with Rig(ops.batch(max_items=2, max_delay=5)) as rig:
        rig.play("-a-b--c----|")
        rig.expect("---A-------(C|)", A="ab")

Everything runs in the test's own thread, in virtual time, and is exact. `send` gives back
what the sender hears; `books` has what every stage counted; `check` says whether anything is
left over.
"""

import gc
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from reactivex import Observable, abc

from rxotlp._core.outcomes import Kind
from rxotlp.assembly import Assembly
from rxotlp.books import Books
from rxotlp.data import TelemetryData
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SerialScheduler, VirtualScheduler
from rxotlp.sources.base import Source
from rxotlp.testing.elements import ids_of, logs
from rxotlp.testing.marbles import Moment, draw, read

__all__ = ["Feed", "Rig", "kind"]

opened: "weakref.WeakSet[Rig]" = weakref.WeakSet()


class Feed(Source):
    """A source whose transport is the test: `admit(data)` lets an element in."""

    def __init__(self) -> None:
        super().__init__("feed")

    def _begin(self, scheduler: SerialScheduler) -> None:
        """There is nothing to bind."""

    def _release(self) -> None:
        """There is nothing to give back."""

    def fail(self, error: Exception) -> None:
        """End the stream with an error, after what was admitted before."""
        assert self._scheduler is not None
        self._scheduler.post(lambda: self._observers.on_error(error))

    @property
    def subscribed(self) -> bool:
        """Whether anybody is."""
        return self._observers.live


class Rig:
    """A feed, a virtual clock, and what a subscriber saw.

    Args:
        operators: what the feed is piped through; without any, `run` says it later.
        strict: an element that an operator made from nothing is an error, not a warning.

    Attributes:
        clock: the VirtualScheduler.
        feed: the source.
        books: what every stage counted.
        assembly: what a pipeline would know; `with rig.assembly:` subscribes in its name.
        receipts: of everything that was sent, in order.
        results: what came out and is no telemetry (the Deliveries of an `export`).
        happened: what came out, and when: letters, `|`, `#`; what is no telemetry is `*`.
        errors: what `on_error` brought, without traceback.
    """

    def __init__(self, *operators: Callable[[Any], Any], strict: bool = True) -> None:
        opened.add(self)
        self.clock = VirtualScheduler()
        self.feed = Feed()
        self.books = Books()
        self.assembly = Assembly(self.books, strict=strict)
        self.receipts: list[Receipt] = []
        self.results: list[Any] = []
        self.happened: list[Moment] = []
        self.errors: list[Exception] = []
        self.subscription: abc.DisposableBase | None = None
        if operators:
            self.run(*operators)

    def run(
        self,
        *operators: Callable[[Any], Any],
        stream: Callable[[Observable[Any]], Observable[Any]] | None = None,
        on_next: Callable[[Any], None] | None = None,
    ) -> Self:
        """Subscribe the feed through `operators`, and connect it.

        Args:
            stream: instead of operators, for what is no chain: from the feed to a stream.
            on_next: called with what comes out, besides what the rig notes.
        """
        whole: Observable[Any] = stream(self.feed) if stream else self.feed.pipe(*operators)

        def note(value: Any) -> None:
            self._next(value)
            if on_next is not None:
                on_next(value)

        with self.assembly:
            self.subscription = whole.subscribe(
                note, self._error, self._complete, scheduler=self.clock
            )
        self.feed.connect(self.clock)
        return self

    # -- what goes in ------------------------------------------------------------------------

    def send(self, what: TelemetryData | Iterable[int], *, service: str = "test") -> Receipt:
        """Let one element in and run what is due now; time does not pass.

        Args:
            what: an element without a receipt, or the ids of log records.
        """
        data = what if isinstance(what, TelemetryData) else logs(what, service=service)
        receipt = self.feed.admit(data)
        self.receipts.append(receipt)
        del data, what
        self.clock.advance_by(0)
        return receipt

    def play(
        self, marbles: str, values: Mapping[str, TelemetryData] | None = None
    ) -> list[Receipt]:
        """Play a diagram from now on, and then let everything run that is left.

        Args:
            values: elements for letters; any other is a log record whose id is the letter.

        Returns:
            What the sender of each element hears.
        """
        began = self.clock.clock
        receipts = []
        for moment in read(marbles).moments:
            self.clock.advance_to(began + moment.second)
            if moment.what == "|":
                self.feed.stop()
                self.clock.advance_by(0)
            elif moment.what == "#":
                self.feed.fail(RuntimeError("the error of a marble diagram"))
                self.clock.advance_by(0)
            elif values and moment.what in values:
                receipts.append(self.send(values[moment.what]))
            else:
                receipts.append(self.send([ord(moment.what)]))
        self.clock.run()
        return receipts

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance_by(seconds)

    def end(self) -> None:
        """Complete the source and run everything."""
        self.feed.stop()
        self.clock.run()

    def fail(self, error: Exception | None = None) -> None:
        """End the source with an error and run everything."""
        self.feed.fail(error or RuntimeError("the source failed"))
        self.clock.run()

    def dispose(self) -> None:
        """Dispose the subscription, let go of it and run what that causes."""
        subscription, self.subscription = self.subscription, None
        assert subscription is not None
        subscription.dispose()
        self.clock.advance_by(0)

    # -- what came out -----------------------------------------------------------------------

    def completed(self) -> bool:
        """Whether the stream has completed."""
        return any(moment.what == "|" for moment in self.happened)

    def expect(self, marbles: str, **meaning: str) -> None:
        """Compare what came out, and when, with a diagram.

        Args:
            meaning: which source letters an element carries: `A="ab"`.

        Raises:
            AssertionError: it was something else; both are drawn.
        """
        comment = " ".join(f"{name}={'+'.join(what)}" for name, what in meaning.items())
        expected = read(marbles, comment).happenings()
        if self.happened != expected:
            raise AssertionError(
                f"expected {draw(expected)}\n     got {draw(self.happened)}\n"
                f"in text  {_text(expected)}\n     got {_text(self.happened)}"
            )

    def check(self) -> None:
        """Nothing is left over: call it when all is done.

        Raises:
            AssertionError: a book does not balance, something is held, a sender has heard
                nothing, or a timer is armed.
        """
        gc.collect()
        self.clock.advance_by(0)
        self.check_books()
        silent = [at for at, receipt in enumerate(self.receipts) if receipt.outcome is None]
        assert not silent, f"the senders of elements {silent} have heard nothing\n{self.books}"
        timers = self.clock.statistics().timers
        assert not timers, f"{timers} timers are armed although all is done"

    def check_books(self) -> None:
        """Every account balances and nothing is held anywhere.

        Raises:
            AssertionError: it is not so; the books are shown.
        """
        assert self.books.unbalanced == [], f"books do not balance:\n{self.books}"
        assert self.books.held == 0, f"{self.books.held} items are held:\n{self.books}"

    # -- beginning and end -------------------------------------------------------------------

    def close(self) -> None:
        """Close the clock; what waits on it never runs."""
        self.clock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _next(self, value: Any) -> None:
        if isinstance(value, TelemetryData):
            what = "".join(chr(number) if number >= 32 else "?" for number in _ids(value))
        else:
            self.results.append(value)
            what = "*"
        self.happened.append(Moment(self.clock.clock, what))

    def _error(self, error: Exception) -> None:
        self.errors.append(error.with_traceback(None))
        self.happened.append(Moment(self.clock.clock, "#"))

    def _complete(self) -> None:
        self.happened.append(Moment(self.clock.clock, "|"))


def kind(receipt: Receipt) -> Kind | None:
    """What a sender heard, or None while it waits."""
    return None if receipt.outcome is None else receipt.outcome.kind


def _ids(data: TelemetryData) -> list[int]:
    try:
        return ids_of(data)
    except (ValueError, TypeError, KeyError):  # somebody's own elements
        return []


def _text(moments: list[Moment]) -> str:
    return ", ".join(f"{moment.what!r} at {moment.second:g} s" for moment in moments) or "nothing"
