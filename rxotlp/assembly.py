"""What a pipeline learns while it is being subscribed.

`Pipeline` enters an assembly, subscribes the stream, and leaves it. Stages and sources
that are subscribed meanwhile register here by themselves, so native reactivex operators in
between hide nothing from the pipeline's books, its drain or its picture. Without a
pipeline there is no assembly, and everything works all the same.
"""

import logging
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from reactivex import abc
from reactivex.subject import Subject

from rxotlp._core.bracket import local
from rxotlp.books import Books
from rxotlp.errors import PipelineError
from rxotlp.picture import Sketch

if TYPE_CHECKING:
    from rxotlp.data import TelemetryData
    from rxotlp.receipt import Receipt

__all__ = ["Assembly", "Connectable", "Rejected", "Resource", "current", "emitting"]


logger = logging.getLogger("rxotlp")


@dataclass(frozen=True, slots=True)
class Rejected:
    """An element that a stage could not process; its sender has been told.

    Attributes:
        stage: the stage's name in the books.
        data: the element, without its receipt: keeping it holds nobody up.
        reason: what went wrong, in one line.
    """

    stage: str
    data: "TelemetryData"
    reason: str


class Connectable(Protocol):
    """A source as its pipeline sees it: hot, connected once, stopped before it is closed."""

    def connect(self, scheduler: abc.SchedulerBase) -> None:
        """Begin: bind ports or start reading. Emissions run on `scheduler`.

        Raises:
            OSError: an address that is taken or may not be used.
        """

    def stop(self) -> None:
        """Let nothing in any more; late senders get a retryable answer."""

    def open_receipts(self) -> "list[Receipt]":
        """The receipts that are not settled yet, for the drain's deadline."""

    def close(self) -> None:
        """Release ports and threads, after answers are given. Idempotent."""


class Resource(Protocol):
    """Something a stage uses that must be given back at the end: an exporter."""

    def close(self) -> None:
        """Release connections and files. Idempotent."""


@dataclass(slots=True)
class Assembly:
    """The pipeline being assembled: its books, sources and resources, in order of subscription.

    Once it is `running`, stages of one name share a book: actions go on in the context of
    their subscription, and may subscribe any number of stages there.
    """

    books: Books
    strict: bool = False
    running: bool = False
    sources: list[Connectable] = field(default_factory=list)
    resources: list[Resource] = field(default_factory=list)
    sketch: Sketch = field(default_factory=Sketch)
    rejected: "Subject[Rejected]" = field(default_factory=Subject)
    _before: "Token[Assembly | None] | None" = None

    def add_source(self, source: Connectable) -> None:
        """Register a source; subscribing it twice registers it once."""
        if any(known is source for known in self.sources):
            return
        self.sources.append(source)
        if self.running:
            logger.warning(
                "%r was subscribed after its pipeline had started; nobody connects it, so it "
                "lets nothing in (subscribe it with the stream, or connect it yourself)",
                source,
            )

    def add_resource(self, resource: Resource) -> None:
        """Register something to close at the end, once."""
        if not any(known is resource for known in self.resources):
            self.resources.append(resource)

    @property
    def addresses(self) -> dict[str, str]:
        """Where its sources listen."""
        found: dict[str, str] = {}
        for source in self.sources:
            found.update(getattr(source, "addresses", {}))
        return found

    def redirect(self, listen: Mapping[str, str]) -> None:
        """Tell the one OTLP source where to listen.

        Raises:
            PipelineError: there is none, or several.
        """
        receivers = [
            source for source in self.sources if callable(getattr(source, "listen_on", None))
        ]
        if len(receivers) != 1:
            raise PipelineError(
                f"Pipeline(listen={listen}): expected a stream with one OTLP source, this "
                f"has {len(receivers)}; nobody could tell which is meant"
            )
        receivers[0].listen_on(**listen)  # type: ignore[attr-defined]

    def __enter__(self) -> "Assembly":
        self._before = _current.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._before is not None
        _current.reset(self._before)
        self._before = None


# A context variable: `rx.merge` and its like subscribe in actions of their own, which run
# after the subscription that scheduled them, in its context.
_current: ContextVar[Assembly | None] = ContextVar("rxotlp.assembly", default=None)


def current() -> Assembly | None:
    """The assembly of the pipeline that is being subscribed in this context, if any."""
    return _current.get()


def emitting() -> Assembly | None:
    """The assembly of the pipeline that is emitting on this thread, if any.

    Whatever is subscribed meanwhile (by `group_by`, `flat_map`) belongs to it.
    """
    top = local.top
    return None if top is None or top.now is None else top.now.assembly
