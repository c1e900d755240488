"""What every exporter is: one attempt to take telemetry out, and an rx observer.

    stream.pipe(ops.export(exporter))     deliver, and hear what became of each element
    stream.subscribe(exporter)            the same, for those who need not hear it

`export` makes one attempt and says what came of it. It never raises for what a backend
does, knows no receipt and keeps no element: claims, concurrency, deadlines and retries are
`ops.export`'s. So an exporter of your own is a class with one method.

`close` releases connections, files and threads; an export after it opens them again, so a
pipeline that is started again finds its exporters in working order.
"""

import logging
from collections.abc import Awaitable
from threading import Lock
from typing import ClassVar

from reactivex import abc
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.subject import Subject

from rxotlp._core.outcomes import Outcome
from rxotlp.data import TelemetryData
from rxotlp.operators.export import export

__all__ = ["Exporter"]

logger = logging.getLogger("rxotlp")


class Exporter(abc.ObserverBase[TelemetryData]):
    """Takes telemetry out of the process.

    Args:
        scheduler: runs the exports of `stream.subscribe(exporter)`; by default the
            scheduler that everything without one shares. `ops.export` has its own argument.

    Attributes:
        blocking: True when `export` is plain and may block; it then runs in a pool.
        destination: where telemetry goes, for texts: never a header or a credential.
    """

    blocking: ClassVar[bool] = False
    destination: str = ""

    def __init__(self, *, scheduler: abc.SchedulerBase | None = None) -> None:
        self._scheduler = scheduler
        self._subject: Subject[TelemetryData] | None = None
        self._streams: set[abc.DisposableBase] = set()  # also ended ones that are not delivered
        self._opening = Lock()

    def export(self, data: TelemetryData) -> Outcome | Awaitable[Outcome]:
        """Make one attempt to deliver `data`, which carries no receipt.

        Returns:
            What became of it: `DELIVERED`; `rejected(reason, items=n)` when the destination
            refused n items for good; `failed(reason, retry_after=s)` when a retry may help.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Release what is open. Idempotent, from any thread; a later export opens again.

        What `stream.subscribe(exporter)` brought and waits for its first or next attempt fails.
        """
        with self._opening:
            self._subject = None
            streams = list(self._streams)
            self._streams.clear()
        for stream in streams:
            stream.dispose()

    async def aclose(self) -> None:
        """`close`, waiting until connections of the running loop are really gone."""
        self.close()

    # -- the observer -------------------------------------------------------------------

    def on_next(self, value: TelemetryData) -> None:
        """Deliver one element; its sender hears the outcome through the receipt."""
        subject = self._subject
        if subject is None:
            subject = self._open_subject()
        subject.on_next(value)

    def on_error(self, error: Exception) -> None:
        """The stream failed: what is under way finishes."""
        logger.error("the stream into %r failed: %s: %s", self, type(error).__name__, error)
        self._end()

    def on_completed(self) -> None:
        """The stream is done: what is under way finishes."""
        self._end()

    def _open_subject(self) -> Subject[TelemetryData]:
        with self._opening:
            if self._subject is None:
                subject: Subject[TelemetryData] = Subject()
                stream = SingleAssignmentDisposable()
                self._streams.add(stream)

                def over(error: Exception | None = None) -> None:
                    self._streams.discard(stream)
                    if error is not None:
                        _log(error)

                stream.disposable = subject.pipe(export(self, scheduler=self._scheduler)).subscribe(
                    on_error=over, on_completed=over
                )
                self._subject = subject
            return self._subject

    def _end(self) -> None:
        with self._opening:
            subject, self._subject = self._subject, None
        if subject is not None:
            subject.on_completed()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.destination}>"


def _log(error: Exception) -> None:
    logger.error("an exporter's stream failed: %s: %s", type(error).__name__, error)
