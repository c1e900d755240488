"""A data flow with a stream inside: what comes in by calls, operators, what comes out.

Every element has a receipt: one of its own when it is given in from nowhere, which bounds
what is in the flow, or the one that it had, which then hears what became of it.
"""

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxotlp._core.outcomes import DELIVERED, Outcome
from rxotlp.admission import Admission, Credit
from rxotlp.assembly import Assembly
from rxotlp.books import Books
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError
from rxotlp.flows._hot import Hot
from rxotlp.operators._shell import each
from rxotlp.operators.export import export
from rxotlp.operators.route import route
from rxotlp.receipt import Receipt
from rxotlp.schedulers import SerialScheduler, VirtualScheduler, default_scheduler
from rxotlp.sources.base import Source

__all__ = ["Operator", "Output", "StreamFlow"]

Operator = Callable[[Observable[Any]], Observable[Any]]


class Intake(Source):
    """What callers give in."""

    def __init__(self, admission: Admission) -> None:
        super().__init__("intake", admission=admission)

    def _begin(self, scheduler: SerialScheduler) -> None:
        """There is nothing to bind."""

    def _release(self) -> None:
        """There is nothing to give back."""


class Output(Hot[TelemetryData]):
    """What a flow made, for whoever subscribes; a hot stream that outlives stops.

    Attributes:
        unobserved: items that came out while nobody was subscribed. For their senders they
            were delivered: processing them was what they were given in for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unobserved = 0

    def put(self, value: Any) -> None:
        """One result, in the scheduler's turn; Deliveries of what nobody took are not shown.

        An observer that raises keeps it from no other.
        """
        if isinstance(value, TelemetryData):
            each(lambda cell: cell.pop().on_next(value), list(self._observers))

    def export(self, data: TelemetryData) -> Outcome:
        """Take what nobody is subscribed to."""
        self.unobserved += data.items
        return DELIVERED


class _Run(NamedTuple):
    """From one start to its stop; the next one may begin while this one ends."""

    intake: Intake
    subscription: abc.DisposableBase
    ended: threading.Event


class StreamFlow:
    """Elements in by `process`, results out by `output`.

    Args:
        operator: makes what elements go through; it is told whether that is alone, and may
            give its stages names, or one of the many stages of a stream.
        max_items, max_bytes: what may be in the flow at once.
        scheduler: whose turn and time it is; the process's default one without.

    Attributes:
        output: what came out.
        books: what every stage counted, since the last start.
    """

    def __init__(
        self,
        operator: Callable[[bool], Operator],
        *,
        max_items: int,
        max_bytes: int,
        scheduler: SerialScheduler | None,
    ) -> None:
        name = type(self).__name__
        if scheduler is not None and not isinstance(scheduler, SerialScheduler):
            raise TypeError(
                f"{name}(scheduler={scheduler!r}): expected a scheduler of rxotlp.schedulers"
            )
        self.scheduler = default_scheduler() if scheduler is None else scheduler
        self.admission = Admission(max_bytes=max_bytes, max_items=max_items)
        self.output = Output()
        self.books = Books()
        self._operator = operator
        self._lock = threading.Lock()
        self._run: _Run | None = None

    # -- giving in -----------------------------------------------------------------------------

    def process(self, data: TelemetryData) -> Receipt:
        """Give an element in, and return at once. From any thread.

        Returns:
            Its receipt: `outcome` is None until it is known what became of it;
            `on_settle(callback)` tells.

        Raises:
            RefusedError: there is no room; `retry_after` says when to try again.
            TypeError: it is no telemetry.
        """
        self._check(data)
        credit = self.admission.reserve(data.size)
        try:
            credit.resize(data.size, items=data.items)
        except BaseException:
            credit.release()
            raise
        return self._let_in(data, credit)

    async def aprocess(self, data: TelemetryData) -> Outcome:
        """Give an element in when there is room, and await what becomes of it.

        Cancelling the task while it waits for room gives nothing in; afterwards the element
        goes its way, and only the waiting ends.
        """
        self._check(data)
        loop = asyncio.get_running_loop()
        room: asyncio.Future[Credit] = loop.create_future()

        def granted(credit: Credit) -> None:
            loop.call_soon_threadsafe(_give, room, credit)

        stop_waiting = self.admission.acquire(data.size, granted, items=data.items)
        try:
            credit = await room
        except asyncio.CancelledError:
            stop_waiting()
            if not room.cancelled():  # granted at the same moment
                room.result().release()
            raise
        settled: asyncio.Future[Outcome] = loop.create_future()

        def tell(receipt: Receipt) -> None:
            loop.call_soon_threadsafe(_resolve, settled, receipt.outcome)

        receipt = self._let_in(data, credit)
        del data  # what this frame keeps would never settle
        receipt.on_settle(tell)
        return await settled

    # -- beginning and end -----------------------------------------------------------------------

    def start(self) -> Self:
        """Begin; `process` does so by itself. Idempotent."""
        self._started()
        return self

    def stop(self, *, timeout: float = 10.0) -> bool:
        """Let nothing more in, process what is there, and end.

        Args:
            timeout: seconds; what is not done by then fails as retryable.

        Returns:
            Whether everything was done in time.

        Raises:
            PipelineError: called where waiting would wait for itself.
        """
        scheduler = self.scheduler
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if scheduler.running_here or (here is not None and here is scheduler.loop):
            raise PipelineError(
                f"{type(self).__name__}.stop() on the thread that runs its actions would wait for "
                "itself; use `await flow.astop()`"
            )
        run = self._closing()
        if run is None:
            return True
        if isinstance(scheduler, VirtualScheduler):
            done = scheduler.wait_for(run.ended.is_set, timeout=timeout)
        else:
            done = run.ended.wait(timeout)
        self._close(run)
        return done

    async def astop(self, *, timeout: float = 10.0) -> bool:
        """The same, awaited."""
        scheduler = self.scheduler
        if isinstance(scheduler, VirtualScheduler) and not scheduler.running_here:
            return self.stop(timeout=timeout)  # there, time is what this thread makes it
        run = self._closing()
        if run is None:
            return True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not run.ended.is_set() and loop.time() < deadline:
            await asyncio.sleep(0.005)
        self._close(run)
        return run.ended.is_set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.astop()

    def as_operator(self) -> Operator:
        """What elements go through, as an operator; `ops.execute(flow)` is the same.

        It is a stage of whatever stream it stands in, with receipts and books of that.
        """
        return self._operator(False)

    def __repr__(self) -> str:
        state = "stopped" if self._run is None else "running"
        return f"<{type(self).__name__} {state}, {self.admission.items} items in it>"

    # -- parts -----------------------------------------------------------------------------------

    def _check(self, data: object) -> None:
        if not isinstance(data, TelemetryData):
            raise TypeError(
                f"{type(self).__name__}.process({type(data).__name__}): expected TelemetryData"
            )

    def _inline(self, data: TelemetryData) -> bool:
        """Whether to process it in the caller's thread, if the scheduler is free."""
        return False

    def _let_in(self, data: TelemetryData, credit: Credit) -> Receipt:
        try:
            intake = (self._run or self._started()).intake
            share = data._share
            claim = None if share is None else share.claim()
            inline = self._inline(data)
        except BaseException:
            credit.release()
            raise
        receipt = intake.admit(data.detached(), credit=credit)
        del data
        if inline:
            # Whoever takes the turn does what was handed over meanwhile.
            self.scheduler.schedule(_nothing)
        if claim is not None:
            receipt.on_settle(lambda settled: claim.report(settled.outcome or DELIVERED))
        return receipt

    def _started(self) -> _Run:
        with self._lock:
            if self._run is not None:
                return self._run
            intake = Intake(self.admission)
            books = Books()
            ended = threading.Event()
            output = self.output

            def observed(_: TelemetryData) -> bool:
                return output.observed

            stream = intake.pipe(
                self._operator(True),
                route(
                    observed,
                    {True: lambda source: source},
                    default=export(output, name="unobserved"),
                    name="output",
                ),
            )
            with Assembly(books):
                subscription = stream.subscribe(
                    output.put, lambda _: ended.set(), ended.set, scheduler=self.scheduler
                )
            intake.connect(self.scheduler)
            self.books = books
            self._run = _Run(intake, subscription, ended)
            return self._run

    def _closing(self) -> _Run | None:
        with self._lock:
            run, self._run = self._run, None
        if run is not None:
            try:
                run.intake.stop()
            except PipelineError:  # its scheduler is closed: nothing will be done any more
                run.intake.close()
                raise
        return run

    def _close(self, run: _Run) -> None:
        run.subscription.dispose()
        run.intake.close()


def _give(room: "asyncio.Future[Credit]", credit: Credit) -> None:
    if room.done():  # cancelled meanwhile
        credit.release()
    else:
        room.set_result(credit)


def _resolve(settled: "asyncio.Future[Outcome]", outcome: Outcome | None) -> None:
    if not settled.done():
        settled.set_result(DELIVERED if outcome is None else outcome)


def _nothing(_scheduler: abc.SchedulerBase, _state: Any) -> abc.DisposableBase:
    return Disposable()
