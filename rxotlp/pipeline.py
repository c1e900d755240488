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
from collections.abc import Mapping
from typing import Any, Literal

from reactivex import Observable

from rxotlp.assembly import Assembly, Rejected
from rxotlp.books import Books
from rxotlp.drain import Report, aclose_all, call_async, close_all, left_behind, when_settled
from rxotlp.drawing import sketch
from rxotlp.errors import PipelineError
from rxotlp.lifeline import Lifeline
from rxotlp.memory_limit import MemoryGuard, MemoryLimit
from rxotlp.picture import to_mermaid
from rxotlp.schedulers import AsyncScheduler, SerialScheduler, SyncScheduler, VirtualScheduler

__all__ = ["Pipeline", "Report"]

DEFAULT_DRAIN_TIMEOUT = 10.0  # seconds; as long as OTLP exporters wait for an answer

logger = logging.getLogger("rxotlp")

_LATE = "the drain's deadline of %s s passed"


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
        reuse_port: other processes run the same stream on the same ports (Linux); see
            `rxotlp run --workers`.
        on_error: what happens when the stream has died. "stop": it has ended. "restart": it
            is subscribed anew after 1 to 30 seconds. Sources stay connected, and refuse
            meanwhile. A stream with reactivex's `share` or `publish` cannot live again.
        memory_limit: sources refuse while more memory is in use; see `MemoryLimit`.

    Attributes:
        listen, reuse_port, on_error, memory_limit: as given; they may be changed until the
            pipeline starts.
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
        reuse_port: bool = False,
        on_error: Literal["stop", "restart"] = "stop",
        memory_limit: MemoryLimit | None = None,
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
        if on_error not in ("stop", "restart"):
            raise ValueError(f"Pipeline(on_error={on_error!r}): expected 'stop' or 'restart'")
        if memory_limit is not None and not isinstance(memory_limit, MemoryLimit):
            raise TypeError(
                f"Pipeline(memory_limit={memory_limit!r}): expected a MemoryLimit, such as "
                "MemoryLimit() or MemoryLimit(soft=800 << 20)"
            )
        self._stream = stream
        self._given = scheduler
        self._scheduler: SerialScheduler | None = None
        self._drain_timeout = drain_timeout
        self._assembly = Assembly(Books(), strict=strict)
        self._life = Lifeline(stream, self._assembly)
        self._guard: MemoryGuard | None = None
        self._started = self._connected = self._stopping = False
        self.listen: dict[str, str] = dict(listen or {})
        self.reuse_port = reuse_port
        self.on_error = on_error
        self.memory_limit = memory_limit
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
    def error(self) -> Exception | None:
        """What ended the stream, without its traceback (which would hold elements), or None.

        With `on_error="restart"` what it died of, until it is subscribed anew.
        """
        return self._life.error

    @property
    def restarts(self) -> int:
        """How often the stream was subscribed anew."""
        return self._life.restarts

    @property
    def unready(self) -> str | None:
        """Why its senders are refused at present, in a few words; None: they are not."""
        error = self.error
        if self.report is not None:
            return "stopped"
        if self._stopping:
            return "draining"
        if error is not None:
            return f"the stream died of {type(error).__name__}: {error}"
        if self._life.ended.is_set():
            return "the stream has ended"
        if not self._connected:
            return "starting"
        for source in self._assembly.sources:
            refusal = getattr(getattr(source, "admission", None), "refusal", None)
            if refusal is not None:
                return f"{getattr(source, 'name', source)} refuses: {refusal.reason}"
        return None

    @property
    def running(self) -> bool:
        """Started, and its stream has not ended."""
        return self._started and self.report is None and not self._life.ended.is_set()

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
            self._connect_done()
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
            self._connect_done()
        except BaseException:
            self._life.end()
            self._life.dispose()
            await aclose_all(self._assembly.sources)
            if self._given is None and isinstance(self._scheduler, AsyncScheduler):
                await self._scheduler.aclose()
            raise

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the stream has ended by itself. False when `timeout` passed first.

        Not for pipelines on an AsyncScheduler: use `await await_end()` there.
        """
        if isinstance(self._scheduler, VirtualScheduler):
            return self._scheduler.wait_for(self._life.ended.is_set, timeout=timeout)
        return self._life.ended.wait(timeout)

    async def await_end(self) -> None:
        """Wait until the stream has ended by itself."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self._life.when_ended(lambda: loop.call_soon_threadsafe(ended.set))
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
            done = threading.Event()
            self._when_drained(done.set)
            if isinstance(scheduler, VirtualScheduler):
                in_time = scheduler.wait_for(done.is_set, timeout=timeout)
            else:
                in_time = done.wait(timeout)
            if not in_time:
                logger.warning(_LATE, timeout)
            left = self._cut_off()
            close_all([*self._assembly.sources, *self._assembly.resources])
            if self._given is None:
                scheduler.close()
            self._finish(began, left)
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
            left = self._cut_off()
            await aclose_all([*self._assembly.sources, *self._assembly.resources])
            if self._given is None:
                await self._scheduler.aclose()
            self._finish(began, left)
        assert self.report is not None
        return self.report

    # -- the steps ------------------------------------------------------------------------

    def _begin(self, scheduler: SerialScheduler) -> threading.Event:
        """Have the stream subscribed in the scheduler's turn; the event says when it is."""
        if self._started:
            raise PipelineError("this pipeline was started before; make a new one")
        self._started = True
        self._scheduler = scheduler
        return self._life.begin(scheduler, restart=self.on_error == "restart")

    def _check_wiring(self) -> None:
        if isinstance(self.error, PipelineError):  # its author's mistake, not the stream's fault
            raise self.error
        self._assembly.running = True
        if self.listen and not self._life.ended.is_set():  # with an error of its own, perhaps
            self._assembly.redirect(self.listen)
        for source in self._assembly.sources:
            if hasattr(source, "reuse_port"):
                source.reuse_port = self.reuse_port
            if hasattr(source, "revivable"):
                source.revivable = self.on_error == "restart"

    def _connect_done(self) -> None:
        self._connected = True
        if self.memory_limit is not None:
            admissions = [getattr(source, "admission", None) for source in self._assembly.sources]
            self._guard = guard = MemoryGuard(
                self.memory_limit, [one for one in admissions if one is not None], self.scheduler
            )
            self._life.when_ended(guard.dispose)

    def _refuse(self) -> None:
        self._stopping = True
        if self._guard is not None:
            self._guard.dispose()
        for source in self._assembly.sources:
            source.stop()
        self._life.stop()

    def _when_drained(self, done: Any) -> None:
        """Call `done` once the stream has ended and every receipt is settled."""
        if not (self._assembly.sources or self.books.held):
            done()  # nobody can tell a foreign source to end, and nothing waits for it
            return
        countdown = when_settled(self._assembly.sources, done)
        self._life.when_ended(countdown.step)

    def _cut_off(self) -> dict[str, int]:
        """The drain is over: fail what is left. Returns how many items were left, and where."""
        left = left_behind(self.books, self._assembly.sources)
        scheduler = self.scheduler
        self._life.dispose()
        for source in self._assembly.sources:
            for receipt in source.open_receipts():
                receipt.expire("the pipeline stopped before it was delivered")
        if isinstance(scheduler, VirtualScheduler):
            scheduler.run()
        return left

    def _finish(self, began: float, left: dict[str, int]) -> None:
        unbalanced = self.books.unbalanced
        if unbalanced:
            logger.error("books do not balance: %s", "; ".join(map(str, unbalanced)))
        self.report = Report(
            self.books.snapshot(), unbalanced, sum(left.values()), time.monotonic() - began, left
        )

    def _abandon(self) -> None:
        self._life.end()
        self._life.dispose()
        close_all(self._assembly.sources)
        if self._given is None and self._scheduler is not None:
            self._scheduler.close()
