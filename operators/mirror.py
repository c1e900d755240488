"""Everything passes on unchanged, and some of it goes to another operator as well, as a copy.

A copy has a receipt of this stage's own: no sender hears of it, waits for it or withdraws it.
It is handed over in a turn of its own, after the element it is of has gone on.
"""

import logging
import random
from collections import deque
from typing import TYPE_CHECKING, Any

from reactivex import abc
from reactivex.disposable import SerialDisposable

from rxotlp._core.outcomes import DISPOSED
from rxotlp.data import TelemetryData
from rxotlp.errors import PipelineError
from rxotlp.operators._branches import Branching
from rxotlp.operators._described import described
from rxotlp.operators._shell import Operator, check_count, check_seconds, describe, operator
from rxotlp.operators._turn import Turn
from rxotlp.operators._watched import as_branch
from rxotlp.receipt import Receipt

if TYPE_CHECKING:
    from rxotlp.operators.export import Exporter

__all__ = ["mirror"]

logger = logging.getLogger("rxotlp")

SLICE = 64  # copies handed over in one action, so that a scheduler's others get their turn


@described
def mirror(
    copies: "Operator | Exporter",
    ratio: float,
    *,
    seed: int = 0,
    max_items: int = 65_536,
    max_bytes: int = 16 << 20,
    linger: float = 5.0,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Pass elements on, and give copies of some to another operator.

    ```
    mirror(trial, 0.5)
        source  -a-b-c-d-|
        trial   -----c-d-|          those that the dice pick
        result  -a-b-c-d-|
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp import failed
        >>> from rxotlp.testing import Recorder, Rig
        >>> trial, backend = Recorder(failed("down")), Recorder()
        >>> with Rig(ops.mirror(trial, 0.5), ops.export(backend)) as rig:
        ...     heard = [rig.send([number]) for number in (1, 2, 3, 4)]
        >>> trial.ids, backend.delivered, heard[1].outcome.kind.name
        ([3, 4], [1, 2, 3, 4], 'DELIVERED')

    Args:
        copies: an operator, or an exporter, which is put in an `export` without retries. It
            gets detached copies, which share the element's bytes; what it gives goes nowhere.
        ratio: of the elements, above 0 and up to 1. To copy whole traces, take 1 and begin
            `copies` with `ops.sample_ratio`.
        seed: of the dice that pick them: the same elements in the same order are picked again.
        max_items: items of copies that have not settled, at most, 1 or more. A copy for which
            there is no room is dropped, and counted in the books; the first is logged.
        max_bytes: and their bytes, 1 or more.
        linger: once the source has ended, seconds after which the end is passed on although
            `copies` has not ended; what it holds then is disposed. Above 0.
        name: the stage's name in the books; "mirror" by default.
        scheduler: where copies are handed over: with one of its own thread, what blocks in
            `copies` holds up nobody here.

    Raises:
        ValueError, TypeError: an argument is out of its range, or `copies` is neither.

    What becomes of copies is booked where it happens, and nobody hears of it: not the
    sender, whose element goes on first, and not what follows. If `copies` ends or fails by
    itself, that is logged, and no more are made. Books: a copy is `created`.

    On completion and error, completes `copies` and ends when it has, within `linger`. On
    dispose, disposes it. Delays and reorders nothing. A second subscription has dice of its own.
    """
    branch = as_branch("mirror(", copies)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float):
        raise TypeError(
            f"mirror(..., ratio={ratio!r}): expected a number, got {type(ratio).__name__}"
        )
    if not 0 < ratio <= 1:
        raise ValueError(
            f"mirror(..., ratio={ratio}): expected more than 0 and up to 1; "
            "a mirror that shows nothing can be left out"
        )
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"mirror(seed={seed!r}): expected a whole number")
    check_count("mirror(max_items", max_items, why="it could copy nothing")
    check_count("mirror(max_bytes", max_bytes, why="it could copy nothing")
    check_seconds("mirror(linger", linger, why="copies that are out need time to settle")

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> _Mirror:
        return _Mirror(observer, turn, name, branch, ratio, seed, (max_items, max_bytes), linger)

    return operator(build, scheduler)


class _Mirror(Branching):
    __slots__ = (
        "_bytes",
        "_called",
        "_copies",
        "_dice",
        "_full",
        "_holding",
        "_items",
        "_linger",
        "_max_bytes",
        "_max_items",
        "_patience",
        "_ratio",
        "_waiting",
    )

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        copies: Operator,
        ratio: float,
        seed: int,
        room: tuple[int, int],
        linger: float,
    ) -> None:
        self._holding = 0
        super().__init__("mirror", observer, turn, given=name)
        self._dice = random.Random(seed)
        self._ratio = ratio
        self._max_items, self._max_bytes = room
        self._linger = linger
        self._patience = SerialDisposable()
        self._items = self._bytes = 0  # of copies that have not settled
        self._waiting: deque[TelemetryData] = deque()  # copies without a receipt
        self._called = False  # somebody will hand them over
        self._full = False  # and it was logged
        self._copies = self.attach("copies", copies, merged=False)

    def held(self) -> int:
        return self._holding

    def on_next(self, data: TelemetryData) -> None:
        cell = [self.take(data)]
        del data
        if self._dice.random() < self._ratio:
            self._copy(cell[0].detached())
        self.emit(cell)

    def _copy(self, copy: TelemetryData) -> None:
        branch = self._copies
        if branch.closed or self.disposed:
            return
        items, size = copy.items, copy.size
        self.book.created += items
        if self._items + items > self._max_items or self._bytes + size > self._max_bytes:
            self.book.dropped += items
            if not self._full:
                self._full = True
                logger.warning(
                    "%s drops copies: %d items of them have not settled; this is logged once",
                    self.book.name,
                    self._items,
                )
            return
        self._items += items
        self._bytes += size
        self._holding += items
        self._waiting.append(copy)
        if not self._called:
            self._called = True
            try:
                self.turn.post(self._hand_over)
            except PipelineError:  # its scheduler is closed: nobody will
                self._called = False
                while (late := self._next()) is not None:
                    self._lose(late)

    def _hand_over(self) -> None:
        self._called = False
        for _ in range(SLICE):
            copy = self._next()
            if copy is None:
                return
            self._give([copy])
            del copy
        if not self._called:
            self._called = True
            self.turn.post(self._hand_over)

    def _next(self) -> TelemetryData | None:
        """The next copy that waits, on its way out of here."""
        try:
            copy = self._waiting.popleft()
        except IndexError:  # there is none, or whoever ended the branch was faster
            return None
        self._holding -= copy.items
        return copy

    def _give(self, cell: list[TelemetryData]) -> None:
        entry = self._copies.entry
        if self._copies.closed or entry is None:
            self._lose(cell.pop())
            return
        size = cell[0].size

        def settled(receipt: Receipt) -> None:
            self._items -= receipt.items
            self._bytes -= size

        receipt = Receipt(inbox=self.turn.inbox, on_settle=settled)
        cell.append(receipt.attach(cell.pop()))
        try:
            self.emit(cell, entry)
        except Exception as error:  # it is theirs, and nobody's here
            logger.error("%s: its copies raised %s", self.book.name, describe(error))

    def _lose(self, copy: TelemetryData) -> None:
        """Book one that nobody takes."""
        self._items -= copy.items
        self._bytes -= copy.size
        self.book.count(DISPOSED, copy.items)

    def _merge(self, value: Any) -> None:
        """What comes of copies is nobody's."""

    # -- the end ----------------------------------------------------------------------------

    def _source_ended(self, error: Exception | None) -> None:
        while self._waiting:  # the end overtakes nothing
            self._hand_over()
        super()._source_ended(error)

    def finish(self) -> None:
        self._patience.disposable = self.turn.later(self._linger, self._too_late)
        super().finish()

    def _too_late(self) -> None:
        logger.warning(
            "%s: its copies had not ended %g s after its source; they are disposed",
            self.book.name,
            self._linger,
        )
        self.end()

    def end(self) -> None:
        self._patience.dispose()
        super().end()

    def discard(self) -> None:
        self._patience.dispose()
        super().discard()
