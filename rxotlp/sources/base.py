"""The hot base of every source.

`subscribe` only attaches an observer; `connect` begins, once, and everybody attached shares
what comes in. So two exporters on one receiver share one port, and a pipeline can look at
all of its sources before the first of them lets anything in.

What a transport received becomes an element in `admit`, in the transport's own thread, and
is emitted by a posted action of the scheduler: no pipeline runs inside a transport's
callback. The transport keeps the receipt. The element itself travels in a cell that `emit`
empties; nothing here holds one in a local, a closure or a frame, because an element that
can be reached never settles.

    new --connect--> open --stop--> stopping --close--> closed (and may be connected again)

Without an observer that still listens nothing is accepted, and what was on its way fails:
a source never answers success into the void.
"""

import enum
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxotlp import assembly
from rxotlp._core.outcomes import failed
from rxotlp.admission import Admission, Credit
from rxotlp.errors import PipelineError
from rxotlp.receipt import Receipt
from rxotlp.sources.deadlines import COARSEST, Deadlines
from rxotlp.stage import Stage

if TYPE_CHECKING:
    from rxotlp.data import TelemetryData
    from rxotlp.schedulers import SerialScheduler

__all__ = ["Source", "State"]

logger = logging.getLogger("rxotlp")

LATE = "no outcome in time; what was not sent by now is not going to be"
NOBODY = "nothing is subscribed to this source any more"
STOPPED = "the pipeline is stopping"


class State(enum.Enum):
    """Where a source is in its life."""

    NEW = "new"
    OPEN = "open"
    STOPPING = "stopping"
    CLOSED = "closed"


class Source(Observable["TelemetryData"]):
    """A hot observable of telemetry; implements `rxotlp.assembly.Connectable`.

    Args:
        name: in the books; `given` says that the user chose it.
        admission: bounds what is in flight; one of 64 MiB by default.
        ack_timeout: for sources with a caller; see `deadlines`.

    Attributes:
        revivable: somebody will subscribe again when nobody is subscribed any more; a source
            that nobody waits for keeps what it has until then.
    """

    offers_again: ClassVar[bool] = False  # what failed, by a policy of its own

    def __init__(
        self,
        name: str,
        *,
        given: bool = False,
        admission: Admission | None = None,
        ack_timeout: float | None = None,
    ) -> None:
        super().__init__()
        if ack_timeout is not None and not ack_timeout > 0:
            raise ValueError(
                f"{name}(ack_timeout={ack_timeout}): expected more than 0 seconds, or None for "
                "the caller's deadline less a margin"
            )
        self.name = name
        self.given = given
        self.admission = Admission() if admission is None else admission
        self.ack_timeout = ack_timeout
        self.state = State.NEW
        self._observers = _FanOut()
        self._stage: Stage | None = None
        self._scheduler: SerialScheduler | None = None
        self._deadlines: Deadlines | None = None
        self._open: dict[Receipt, int] = {}  # and the bucket of its deadline; 0 is none
        self._over = False  # the stream has completed, whoever was subscribed then
        self.revivable = False

    # -- what a pipeline and its operators see -------------------------------------------------

    def connect(self, scheduler: abc.SchedulerBase) -> None:
        """Begin; emissions run on `scheduler`, one of rxotlp's.

        Raises:
            PipelineError: it runs already, or the scheduler is not one of ours.
            OSError: an address or a file that cannot be used.
        """
        ours = self._prepare(scheduler)
        try:
            self._begin(ours)
        except BaseException:
            self.state = State.CLOSED
            raise

    def _prepare(self, scheduler: abc.SchedulerBase) -> "SerialScheduler":
        from rxotlp.schedulers import SerialScheduler

        if self.state in (State.OPEN, State.STOPPING):
            raise PipelineError(f"{self.name}: connected already; close it before it starts again")
        if not isinstance(scheduler, SerialScheduler):
            raise PipelineError(
                f"{self.name}: connect({type(scheduler).__name__}): expected a scheduler of "
                "rxotlp.schedulers; another one cannot take what arrives on foreign threads"
            )
        if self._stage is None:
            self._stage = Stage(self.name, self._observers, given=self.given)
        self._stage.inbox = scheduler.inbox
        self._scheduler = scheduler
        tick = COARSEST if self.ack_timeout is None else min(COARSEST, self.ack_timeout / 4)
        self._deadlines = Deadlines(scheduler, scheduler.post, reason=LATE, tick=tick)
        self.state = State.OPEN
        self._over = False
        return scheduler

    def stop(self) -> None:
        """Let nothing in any more, and complete the stream after what was let in.

        Late senders get a retryable answer.
        """
        if self.state is State.OPEN:
            self.state = State.STOPPING
            self.end()

    def open_receipts(self) -> list[Receipt]:
        """The receipts that are not settled yet."""
        return list(self._open)

    def close(self) -> None:
        """Settle what is open as retryable, then release everything. Idempotent."""
        if self.state is State.CLOSED:
            return
        connected = self.state is not State.NEW
        self.stop()
        self.state = State.CLOSED
        if connected:
            self.settle_all(STOPPED)
            self._release()

    def end(self) -> None:
        """Complete the stream, in the scheduler's turn, after what was admitted before."""
        assert self._scheduler is not None  # only a connected source comes to an end
        self._over = True
        self._scheduler.post(self._observers.on_completed)

    @property
    def accepting(self) -> bool:
        """Whether an element that came in now would reach somebody."""
        return self.state is State.OPEN and self._observers.live

    @property
    def abandoned(self) -> bool:
        """Whether nothing that comes in will ever reach anybody again."""
        return not self.accepting and not (self.revivable and self.state is State.OPEN)

    # -- what a source of a certain kind does --------------------------------------------------

    def _begin(self, scheduler: "SerialScheduler") -> None:
        """Bind and start; raise what went wrong."""
        raise NotImplementedError

    def _release(self) -> None:
        """Give back what `_begin` took; every receipt is settled."""
        raise NotImplementedError

    def _resumed(self) -> None:
        """Somebody subscribes while it runs: a stream that had died, perhaps."""
        if self._over:
            self.end()

    # -- emitting ------------------------------------------------------------------------------

    def admit(
        self,
        data: "TelemetryData",
        *,
        credit: Credit | None = None,
        position: object = None,
        on_settle: Callable[[Receipt], object] | None = None,
        patience: float | None = None,
        again: bool = False,
    ) -> Receipt:
        """Make `data` an element of the stream and post its emission; from any thread.

        Args:
            data: without a receipt; only a copy that shares its bytes is emitted.
            credit: returned when the receipt settles.
            position: kept with the receipt.
            on_settle: called with the receipt, in the turn of whoever settles it.
            patience: seconds after which it is settled all the same; None for sources that
                nobody waits for.
            again: it was offered before, and is booked as created: it came in only once.

        Raises:
            DecodeError: the items of `data` cannot be counted.
        """
        scheduler, deadlines = self._scheduler, self._deadlines
        assert scheduler is not None
        assert deadlines is not None
        receipt = Receipt(
            inbox=scheduler.inbox, on_settle=self._settled, position=position, credit=credit
        )
        if self.offers_again:
            receipt.offered_again = True
        cell = [receipt.attach(data)]
        if on_settle is not None:
            receipt.on_settle(on_settle)
        self._open[receipt] = 0
        if patience is not None:
            due = deadlines.add(receipt, patience)
            if receipt in self._open:  # else it has expired since
                self._open[receipt] = due
        scheduler.post(partial(self._emit, cell, receipt, again))
        if self.state is State.CLOSED:  # since the caller looked
            receipt.settle(failed(STOPPED, retry_after=self.admission.retry_after))
        return receipt

    def book_rejected(self, items: int) -> None:
        """Book items that came in and were refused before they became an element."""
        scheduler = self._scheduler
        assert scheduler is not None
        if items:
            scheduler.post(partial(self._book_rejected, items))

    def settle_all(self, reason: str) -> None:
        """Fail every open receipt; what has not been sent will not be."""
        for receipt in self.open_receipts():
            receipt.withdrawn = True
            receipt.settle(failed(reason, retry_after=self.admission.retry_after))

    def _emit(self, cell: "list[TelemetryData]", receipt: Receipt, again: bool) -> None:
        stage = self._stage
        share = cell[0]._share
        assert stage is not None
        assert share is not None
        book = stage.book
        if again:
            book.created += share.items
        else:
            book.received += share.items
        if receipt.settled:  # it waited too long for its turn
            book.failed += share.items
            cell.clear()
        elif not self._observers.live:
            book.failed += share.items
            cell.clear()
            receipt.settle(failed(NOBODY, retry_after=self.admission.retry_after))
        else:
            stage.emit(cell)

    def _book_rejected(self, items: int) -> None:
        stage = self._stage
        assert stage is not None
        stage.book.received += items
        stage.book.rejected += items

    def _settled(self, receipt: Receipt) -> None:
        due = self._open.pop(receipt, 0)
        if due and self._deadlines is not None:
            self._deadlines.discard(receipt, due)

    # -- subscribing ---------------------------------------------------------------------------

    def _subscribe_core(
        self,
        observer: "abc.ObserverBase[TelemetryData]",
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        pipeline = assembly.current()
        if pipeline is not None:
            pipeline.sketch.add_source(self, self.name)
            if pipeline.sketch.dry:
                return Disposable()
        if self._stage is None or (pipeline is not None and self._stage.assembly is not pipeline):
            if self.state in (State.OPEN, State.STOPPING):
                raise PipelineError(
                    f"{self.name}: it runs for another pipeline; close that one first, or give "
                    "each pipeline a source of its own"
                )
            self._stage = Stage(self.name, self._observers, given=self.given)
        if pipeline is not None:
            pipeline.add_source(self)
        self._observers.add(observer)
        self._aim()
        if self.state in (State.OPEN, State.STOPPING):
            self._resumed()

        def detach() -> None:
            self._observers.remove(observer)
            self._aim()

        return Disposable(detach)

    def _aim(self) -> None:
        """Emit straight to the one observer; there is rarely another."""
        if self._stage is not None:
            self._stage.observer = self._observers.only or self._observers

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.state.value}>"


class _FanOut(abc.ObserverBase["TelemetryData"]):
    """Gives everything to every attached observer.

    `is_stopped` is what a stage looks at after an emission: True when any observer closed
    meanwhile. With several, nobody can tell whether the one that closed or another let the
    element go, and the cautious answer costs a resend at most.
    """

    def __init__(self) -> None:
        self._attached: tuple[abc.ObserverBase[TelemetryData], ...] = ()
        self.is_stopped = False

    @property
    def live(self) -> bool:
        """Whether anybody listens."""
        return bool(self._attached)

    @property
    def only(self) -> "abc.ObserverBase[TelemetryData] | None":
        """The observer, if there is exactly one."""
        return self._attached[0] if len(self._attached) == 1 else None

    def add(self, observer: "abc.ObserverBase[TelemetryData]") -> None:
        self._attached = (*self._attached, observer)

    def remove(self, observer: "abc.ObserverBase[TelemetryData]") -> None:
        self._attached = tuple(known for known in self._attached if known is not observer)

    def on_next(self, value: "TelemetryData") -> None:
        attached = self._attached
        for observer in attached:
            observer.on_next(value)
        self.is_stopped = self._attached != attached

    def on_error(self, error: Exception) -> None:
        attached, self._attached = self._attached, ()
        for observer in attached:
            observer.on_error(error)

    def on_completed(self) -> None:
        attached, self._attached = self._attached, ()
        for observer in attached:
            observer.on_completed()
