"""A pipeline: a stream that is assembled, run in the background, drained and stopped.

    with Pipeline(stream) as p:          # a SyncScheduler of its own
        ...
    async with Pipeline(stream) as p:    # the running loop's AsyncScheduler
        ...

Leaving the block drains: sources refuse, holders flush, running work finishes, senders are
answered, and what is left at the deadline is failed and reported. It never raises the
stream's own fault: `error` holds it.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import SingleAssignmentDisposable

from rxotlp._core.outcomes import failed
from rxotlp.assembly import Assembly, Rejected
from rxotlp.books import Books
from rxotlp.data import TelemetryData
from rxotlp.drain import Countdown, Report, aclose_all, call_async, close_all
from rxotlp.drawing import sketch
from rxotlp.errors import PipelineError, without_tracebacks
from rxotlp.picture import to_mermaid
from rxotlp.schedulers import AsyncScheduler, SerialScheduler, SyncScheduler, VirtualScheduler
from rxotlp.shares import BROKEN, TOUCHED

__all__ = ["Pipeline", "Report"]

DEFAULT_DRAIN_TIMEOUT = 10.0  # seconds; as long as OTLP exporters wait for an answer

logger = logging.getLogger("rxotlp")

_LATE = "the drain's deadline of %s s passed"
_NOT_EXPORTED = failed("it reached the end of the pipeline and no exporter had taken it")


class Pipeline:
    """Runs a stream in the background of the caller.

    Args:
        stream: what to subscribe; its sources connect when the pipeline starts.
        scheduler: where it runs. By default a SyncScheduler of its own in a `with` block,
            and the running loop's AsyncScheduler in an `async with` block. A scheduler that
            is given is not closed.
        strict: an element without a receipt is an error instead of a warning.
        drain_timeout: seconds that leaving the block waits for what is in flight.
        listen: addresses for the stream's one OTLP source in place of its own, so that a
            test or a second instance runs the same stream: `{"grpc": "127.0.0.1:0"}`.

    Attributes:
        listen: as given; it may be changed until the pipeline starts.
        error: what ended the stream, without its traceback (which would hold elements), or
            None.
        report: None until it has stopped.
    """

    def __init__(
        self,
        stream: Observable[Any],
        *,
        scheduler: SerialScheduler | None = None,
        strict: bool = False,
        drain_timeout: float = DEFAULT_DRAIN_TIMEOUT,
        listen: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(stream, Observable):
            raise TypeError(
                f"Pipeline({stream!r}): expected an Observable, got {type(stream).__name__}"
            )
        if scheduler is not None and not isinstance(scheduler, SerialScheduler):
            raise TypeError(
                f"Pipeline(scheduler={scheduler!r}): expected a SyncScheduler, AsyncScheduler "
                "or VirtualScheduler"
            )
        if not drain_timeout >= 0:
            raise ValueError(f"Pipeline(drain_timeout={drain_timeout}): expected 0 or more seconds")
        self._stream = stream
        self._given = scheduler
        self._scheduler: SerialScheduler | None = None
        self._drain_timeout = drain_timeout
        self._assembly = Assembly(Books(), strict=strict)
        self._subscription = SingleAssignmentDisposable()
        self._ended = threading.Event()
        self._started = False
        self._warned = False
        self._on_end: list[Callable[[], object]] = []
        self.listen: dict[str, str] = dict(listen or {})
        self.error: Exception | None = None
        self.report: Report | None = None

    # -- looking --------------------------------------------------------------------------

    @property
    def books(self) -> Books:
        """Every stage's counts, live."""
        return self._assembly.books

    @property
    def rejected(self) -> Observable[Rejected]:
        """What stages could not process, without receipts: for a dead-letter exporter."""
        return self._assembly.rejected

    @property
    def addresses(self) -> dict[str, str]:
        """Where its sources listen: `{"grpc": "127.0.0.1:4317", ...}`."""
        return self._assembly.addresses

    @property
    def scheduler(self) -> SerialScheduler:
        """Where it runs.

        Raises:
            PipelineError: it has not been started.
        """
        if self._scheduler is None:
            raise PipelineError("this pipeline has not been started")
        return self._scheduler

    @property
    def running(self) -> bool:
        """Started, and its stream has not ended."""
        return self._started and self.report is None and not self._ended.is_set()

    def to_mermaid(self, *, counts: bool = False) -> str:
        """A picture of it, as a Mermaid flowchart; started or not, no port is bound for it.

        Native operators are not boxes: an arrow that passes through some is dotted. Streams
        that operators make while it runs (`group_by`) are not in it.

        Args:
            counts: show each stage's books, as they are now.
        """
        drawn = self._assembly.sketch if self._assembly.running else sketch(self._stream)
        return to_mermaid(drawn, self.books if counts else ())

    def _repr_mimebundle_(self, **_options: object) -> dict[str, str]:
        """What notebooks show: the picture where they can draw it, a line where not."""
        drawn = self.to_mermaid()
        return {
            "text/plain": repr(self),
            "text/vnd.mermaid": drawn,
            "text/markdown": f"```mermaid\n{drawn}```\n",
        }

    def __repr__(self) -> str:
        state = "stopped" if self.report else "running" if self._started else "not started"
        return f"<Pipeline {state}, {len(self._assembly.sources)} sources>"

    # -- running --------------------------------------------------------------------------

    def __enter__(self) -> "Pipeline":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> "Pipeline":
        await self.astart()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.astop()

    def start(self) -> None:
        """Subscribe the stream and connect its sources.

        Raises:
            OSError: a source's address is taken or may not be used.
            PipelineError: it was started before, is wired in a way that cannot work, needs
                `async with`, or has not the one OTLP source that `listen` is for.
        """
        if isinstance(self._given, AsyncScheduler):
            raise PipelineError(
                "a pipeline on an AsyncScheduler is entered with `async with` (or astart())"
            )
        subscribed = self._begin(self._given or SyncScheduler())
        try:
            subscribed.wait()  # a scheduler that is shared may be busy with others' actions
            self._check_wiring()
            for source in self._assembly.sources:
                source.connect(self.scheduler)
        except BaseException:
            self._abandon()
            raise

    async def astart(self) -> None:
        """As `start`, from a coroutine."""
        if self._given is not None and not isinstance(self._given, AsyncScheduler):
            await asyncio.to_thread(self.start)
            return
        subscribed = self._begin(self._given or AsyncScheduler())
        try:
            while not subscribed.is_set():  # as in start
                await asyncio.sleep(0)
            self._check_wiring()
            for source in self._assembly.sources:
                await call_async(source, "aconnect", source.connect, self.scheduler)
        except BaseException:
            self._end()
            self._subscription.dispose()
            await aclose_all(self._assembly.sources)
            if self._given is None and isinstance(self._scheduler, AsyncScheduler):
                await self._scheduler.aclose()
            raise

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the stream has ended by itself. False when `timeout` passed first.

        Not for pipelines on an AsyncScheduler: use `await await_end()` there.
        """
        if isinstance(self._scheduler, VirtualScheduler):
            self._scheduler.run()
            return self._ended.is_set()
        return self._ended.wait(timeout)

    async def await_end(self) -> None:
        """Wait until the stream has ended by itself."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self._when_ended(lambda: loop.call_soon_threadsafe(ended.set))
        await ended.wait()

    def stop(self, *, drain_timeout: float | None = None) -> Report:
        """Drain and stop. Called again it only returns the report.

        Raises:
            PipelineError: it was not started, or this is called inside one of its actions,
                which would wait for itself.
        """
        if self.report is None:
            scheduler = self.scheduler
            if scheduler.running_here:
                raise PipelineError(
                    "Pipeline.stop() inside one of its own actions waits for itself; "
                    "end the stream there, and stop it from outside"
                )
            began = time.monotonic()
            timeout = self._drain_timeout if drain_timeout is None else drain_timeout
            self._refuse()
            if isinstance(scheduler, VirtualScheduler):
                scheduler.run()
            else:
                done = threading.Event()
                self._when_drained(done.set)
                if not done.wait(timeout):
                    logger.warning(_LATE, timeout)
            undelivered = self._cut_off()
            close_all([*self._assembly.sources, *self._assembly.resources])
            if self._given is None:
                scheduler.close()
            self._finish(began, undelivered)
        assert self.report is not None
        return self.report

    async def astop(self, *, drain_timeout: float | None = None) -> Report:
        """As `stop`, from a coroutine."""
        if not isinstance(self._scheduler, AsyncScheduler):
            return await asyncio.to_thread(self.stop, drain_timeout=drain_timeout)
        if self.report is None:
            began = time.monotonic()
            timeout = self._drain_timeout if drain_timeout is None else drain_timeout
            self._refuse()
            loop = asyncio.get_running_loop()
            done = asyncio.Event()
            self._when_drained(lambda: loop.call_soon_threadsafe(done.set))
            try:
                await asyncio.wait_for(done.wait(), timeout)
            except TimeoutError:
                logger.warning(_LATE, timeout)
            undelivered = self._cut_off()
            await aclose_all([*self._assembly.sources, *self._assembly.resources])
            if self._given is None:
                await self._scheduler.aclose()
            self._finish(began, undelivered)
        assert self.report is not None
        return self.report

    # -- the steps ------------------------------------------------------------------------

    def _begin(self, scheduler: SerialScheduler) -> threading.Event:
        """Have the stream subscribed in the scheduler's turn; the event says when it is."""
        if self._started:
            raise PipelineError("this pipeline was started before; make a new one")
        self._started = True
        self._scheduler = scheduler
        subscribed = threading.Event()

        def subscribe(_scheduler: abc.SchedulerBase, _state: Any) -> None:
            try:
                with self._assembly:
                    self._subscription.disposable = self._stream.subscribe(
                        self._on_next, self._on_error, self._on_completed, scheduler=scheduler
                    )
            finally:
                subscribed.set()

        if scheduler.running_here:
            subscribe(scheduler, None)
        else:
            scheduler.schedule(subscribe)
        return subscribed

    def _check_wiring(self) -> None:
        if isinstance(self.error, PipelineError):  # its author's mistake, not the stream's fault
            raise self.error
        self._assembly.running = True
        if self.listen and not self._ended.is_set():  # with an error of its own, perhaps
            self._assembly.redirect(self.listen)

    def _on_next(self, value: Any) -> None:
        if type(value) is TelemetryData and value._share is not None:
            share = value._share
            if not share.flags & TOUCHED:  # no stage has answered for it, nor ever will
                share.verdict(_NOT_EXPORTED)
                share.flags |= BROKEN  # so that the books call it lost, as its sender does
                if not self._warned:
                    self._warned = True
                    logger.warning(
                        "telemetry reached the pipeline's end and no exporter had taken it; "
                        "its senders are told to send again (end the stream with ops.export)"
                    )

    def _on_error(self, error: Exception) -> None:
        self.error = without_tracebacks(error)
        logger.error("the stream ended with %s: %s", type(error).__name__, error)
        self._end()

    def _on_completed(self) -> None:
        self._end()

    def _end(self) -> None:
        self._ended.set()
        self._tell_ended()

    def _when_ended(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when the stream has ended."""
        self._on_end.append(callback)
        if self._ended.is_set():  # perhaps since a moment ago, and told already
            self._tell_ended()

    def _tell_ended(self) -> None:
        while self._on_end:
            try:
                callback = self._on_end.pop(0)
            except IndexError:  # another thread was faster
                return
            callback()

    def _refuse(self) -> None:
        for source in self._assembly.sources:
            source.stop()

    def _when_drained(self, done: Any) -> None:
        """Call `done` once the stream has ended and every receipt is settled."""
        if not (self._assembly.sources or self.books.held):
            done()  # nobody can tell a foreign source to end, and nothing waits for it
            return
        open_receipts = [
            receipt for source in self._assembly.sources for receipt in source.open_receipts()
        ]
        countdown = Countdown(len(open_receipts) + 1, done)
        for receipt in open_receipts:
            receipt.on_settle(countdown.step)
        self._when_ended(countdown.step)

    def _cut_off(self) -> int:
        """The drain is over: fail what is left. Returns the items that were left."""
        undelivered = self.books.held  # what a source gives up because of us is among them
        undelivered += sum(getattr(source, "given_up", 0) for source in self._assembly.sources)
        scheduler = self.scheduler
        self._subscription.dispose()
        for source in self._assembly.sources:
            for receipt in source.open_receipts():
                receipt.expire("the pipeline stopped before it was delivered")
        if isinstance(scheduler, VirtualScheduler):
            scheduler.run()
        return undelivered

    def _finish(self, began: float, undelivered: int) -> None:
        unbalanced = self.books.unbalanced
        if unbalanced:
            logger.error("books do not balance: %s", "; ".join(map(str, unbalanced)))
        self.report = Report(
            self.books.snapshot(), unbalanced, undelivered, time.monotonic() - began
        )

    def _abandon(self) -> None:
        self._end()
        self._subscription.dispose()
        close_all(self._assembly.sources)
        if self._given is None and self._scheduler is not None:
            self._scheduler.close()
