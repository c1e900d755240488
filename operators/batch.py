"""Size-or-time batching. The decisions are `_core.batching`; this arms timers and emits.

In place of reactivex's `buffer_with_time_or_count`, which emits empty lists while idle,
ages from the previous close and loses the open buffer on error and dispose.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from reactivex import abc

from rxotlp._core.batching import Batch, Batcher, Reason
from rxotlp._core.outcomes import rejected
from rxotlp.admission import Admission
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError
from rxotlp.merged import apart
from rxotlp.operators._described import described
from rxotlp.operators._limits import Followed, Limit, Limited, check_limit, initial
from rxotlp.operators._selector import Selector
from rxotlp.operators._shell import (
    Operator,
    Shell,
    check_count,
    check_seconds,
    describe,
    each,
    operator,
)
from rxotlp.operators._turn import Turn
from rxotlp.operators.split_by import as_key, pure
from rxotlp.shares import TAKEN, Share

__all__ = ["batch"]

DEFAULT_MAX_ITEMS = 8192  # as the OpenTelemetry Collector's batch processor
DEFAULT_MAX_BYTES = 4 << 20  # bytes; what many gRPC servers accept


@described
def batch(
    *,
    max_items: Limited = DEFAULT_MAX_ITEMS,
    max_bytes: Limited = DEFAULT_MAX_BYTES,
    max_delay: float = 0.2,
    max_idle: float | None = None,
    key: Selector | Callable[[TelemetryData], Hashable] | None = None,
    metadata: Sequence[str] = (),
    max_keys: int = 1000,
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Join elements into larger ones, up to a size or an age.

    ```
    batch(max_items=3, max_delay=5)          one character = one second, one item
        source  -a-b-c--d-----e|
        result  -----X-------Y-(Z,|)          X=a+b+c  Y=d  Z=e
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Rig, draw
        >>> with Rig(ops.batch(max_items=2, max_delay=5)) as rig:
        ...     heard = rig.play("-a-b--c----|")
        >>> draw(rig.happened)
        'ab@3  c@11  |@11'

    A batch opens with its first element and its age counts from there; it is never empty
    and an idle stream has no timer. An element that would overflow a batch closes it and
    opens the next. One too big alone is split: full parts leave at once, the rest opens the
    next batch. A batch also closes when its source's admission runs out of credit, because
    nothing can wait for credit that sits in a batch.

    Both sizes may be an Observable of numbers, or a `Limit` that says what they are until
    its first value. A batch with more in it than a lowered limit leaves at once, as it is.
    While a limit is 0 nothing leaves, for whatever reason; when it is above 0 again, all
    that waited leaves at once. What waits in a pause keeps its credit, so admission bounds
    it. The books count why batches closed: `pipeline.books["batch"].closed`.

    Args:
        max_items: items (spans, data points, records) a batch holds at most, 1 or more, or
            a `Limit`.
        max_bytes: bytes a batch holds at most, 1 or more, or a `Limit`; a single larger
            record leaves alone.
        max_delay: seconds that an element waits at most for others, above 0.
        max_idle: seconds without a new element after which a batch closes early, above 0 and
            below `max_delay`; None is never. For senders that wait for their answer before
            they send more: there is nobody left to wait for.
        key: elements with different keys never share a batch. A function of an element, or
            a selector such as `by_resource("service.name")`: one that cuts has a `split_by`
            of its own before the batch.
        metadata: names of metadata entries; elements in which one of them differs never
            share a batch. Signals never mix.
        max_keys: batches open at once; one more closes the oldest.
        name: the stage's name in the books; "batch" by default.
        scheduler: runs the timers.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    On completion and error, open batches leave first, also in a pause, within the last
    limits above 0. On dispose they fail as `disposed`.
    Order is kept within a key. A `key` that raises rejects its element.
    """
    nothing = "a batch that holds nothing can never close"
    items = check_limit("batch(max_items", max_items, default=DEFAULT_MAX_ITEMS, why=nothing)
    size = check_limit("batch(max_bytes", max_bytes, default=DEFAULT_MAX_BYTES, why=nothing)
    check_count("batch(max_keys", max_keys, why="every element needs a batch")
    check_seconds("batch(max_delay", max_delay, why="an element must be able to wait for others")
    if max_idle is not None:
        check_seconds("batch(max_idle", max_idle, why="a silence takes time")
        if max_idle >= max_delay:
            raise ValueError(
                f"batch(max_idle={max_idle}): expected less than max_delay={max_delay}; "
                "every batch would close before"
            )
    selector = None if key is None else as_key("batch(key=", key)
    if isinstance(metadata, str):
        raise TypeError(f"batch(metadata={metadata!r}): expected a sequence of names")
    names = tuple(metadata)

    return batching(
        "batch",
        items,
        size,
        max_delay=max_delay,
        max_idle=max_idle,
        key=selector,
        max_keys=max_keys,
        metadata=names,
        name=name,
        scheduler=scheduler,
    )


def batching(
    kind: str,
    max_items: int | Limit,
    max_bytes: int | Limit,
    *,
    max_delay: float,
    max_idle: float | None = None,
    key: Selector | None = None,
    max_keys: int = 1000,
    metadata: tuple[str, ...],
    name: str | None,
    scheduler: abc.SchedulerBase | None,
) -> Operator:
    """What `batch` makes of arguments that are checked; `kind` is the stage's usual name."""

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> Shell:
        batcher = Batcher[TelemetryData](
            max_items=DEFAULT_MAX_ITEMS,
            max_bytes=DEFAULT_MAX_BYTES,
            max_keys=max_keys,
            weigh=_weigh,
            split=_split,
        )
        batcher.set_limit(max_items=initial(max_items), max_bytes=initial(max_bytes))
        limits = {"max_items": max_items, "max_bytes": max_bytes}
        return _Batch(
            kind, observer, turn, name, batcher, limits, max_delay, max_idle, key, metadata
        )

    return pure(key, operator(build, scheduler))


class _Batch(Shell):
    __slots__ = (
        "_admissions",
        "_batcher",
        "_key",
        "_limits",
        "_max_delay",
        "_max_idle",
        "_metadata",
        "_quiet",
        "_timers",
    )

    def __init__(
        self,
        kind: str,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        name: str | None,
        batcher: Batcher[TelemetryData],
        limits: dict[str, int | Limit],
        max_delay: float,
        max_idle: float | None,
        key: Callable[[TelemetryData], Hashable] | None,
        metadata: tuple[str, ...],
    ) -> None:
        self._batcher = batcher
        super().__init__(kind, observer, turn, given=name)
        self._max_delay = max_delay
        self._max_idle = max_idle
        self._key = key
        self._metadata = metadata
        self._timers: dict[Batch[TelemetryData], abc.DisposableBase] = {}
        self._quiet: dict[Batch[TelemetryData], abc.DisposableBase] = {}  # timers of max_idle
        self._admissions: set[Admission] = set()
        self._limits = Followed(self, limits, self._change)

    def held(self) -> int:
        return self._batcher.items

    def on_next(self, data: TelemetryData) -> None:
        cell = [self.take(data)]
        del data
        self.turn.enter(lambda: self._add(cell.pop()))

    def _add(self, data: TelemetryData) -> None:
        share = data._share
        assert share is not None
        if self.disposed:
            self.fail_disposed(share)
            return
        try:
            key = self._key_of(data)
        except Exception as error:
            self.reject(data, error)
            return
        share.hold()
        now = 0.0 if self._max_idle is None else self.turn.seconds()
        try:
            closed, opened = self._batcher.offer(key, data, now)
        except DecodeError as error:  # it was too big, and could not be cut
            share.release()
            self.reject(data, error)
            return
        del data
        if opened is not None:
            self._timers[opened] = self.turn.later(self._max_delay, lambda: self._expire(opened))
            if self._max_idle is not None:
                self._listen(opened, self._max_idle)
        try:
            self._send(closed)
        finally:
            if not self.disposed:
                self._watch_admissions(share)

    def _change(self, name: str, limit: int) -> None:
        """A limit has changed."""
        paused = self._batcher.paused
        closed = self._batcher.set_limit(**{name: limit})
        if paused and not self._batcher.paused:
            closed += self._resumed(Reason.RESUMED)
        self._send(closed)

    def _resumed(self, reason: Reason) -> list[Batch[TelemetryData]]:
        """All that waited for a pause to end, in batches as full as they may be."""
        closed: list[Batch[TelemetryData]] = []
        for key, data in self._batcher.parked():
            try:
                closed += self._batcher.offer(key, data)[0]
            except DecodeError as error:
                assert data._share is not None
                data._share.release()
                self.reject(data, error)
        return closed + self._batcher.flush(reason)

    def _watch_admissions(self, share: Share) -> None:
        """Know whose credit the batches hold, and let go when somebody waits for it."""
        for receipt in share.receipts():
            for credit in receipt.credits():
                if credit.admission not in self._admissions:
                    self._admissions.add(credit.admission)
                    credit.admission.add_holder(self, self._hurry)
        if any(admission.waiting for admission in self._admissions):
            self._hurry()

    def _key_of(self, data: TelemetryData) -> Hashable:
        if self._key is None and not self._metadata:
            return data.signal
        return (
            data.signal,
            tuple(map(data.metadata.get, self._metadata)),
            None if self._key is None else self._key(data),
        )

    def _expire(self, batch: Batch[TelemetryData]) -> None:
        if self._batcher.expire(batch):
            self._send([batch])

    def _listen(self, batch: Batch[TelemetryData], seconds: float) -> None:
        """Look after `seconds` whether nothing was added to it; not a timer an element."""
        self._quiet[batch] = self.turn.later(seconds, lambda: self._listened(batch))

    def _listened(self, batch: Batch[TelemetryData]) -> None:
        assert self._max_idle is not None
        self._quiet.pop(batch, None)
        left = self._batcher.silent(batch, self.turn.seconds(), self._max_idle)
        if left:
            self._listen(batch, left)
        elif left is not None:
            self._send([batch])

    def _hurry(self) -> None:
        """Somebody waits for credit; runs in any thread."""
        self.turn.post(self._flush_hurried)

    def _flush_hurried(self) -> None:
        self._send(self._batcher.flush(Reason.CREDIT))

    def _send(self, closed: list[Batch[TelemetryData]]) -> None:
        each(self._send_one, closed)

    def _send_one(self, closed: list[Batch[TelemetryData]]) -> None:
        batch = closed.pop()
        for timers in (self._timers, self._quiet):
            timer = timers.pop(batch, None)
            if timer is not None:
                timer.dispose()
        assert batch.reason is not None
        counts = self.book.closed
        counts[batch.reason.value] = counts.get(batch.reason.value, 0) + 1
        cell = [_join(batch.elements)]
        self.emit(cell)

    def finish(self) -> None:
        try:
            self._batcher.resume()
            self._send(self._resumed(Reason.END))
        finally:
            self._leave_admissions()
            self.end()

    def discard(self) -> None:
        self._limits.dispose()
        self._leave_admissions()
        for timers in (self._timers, self._quiet):
            for timer in timers.values():
                timer.dispose()
            timers.clear()
        for _, data in self._batcher.parked():
            share = data._share
            assert share is not None
            share.release()
            self.fail_disposed(share)
        self._batcher.resume()
        for batch in self._batcher.flush(Reason.END):
            _release(batch.elements)
            while batch.elements:
                share = batch.elements.pop()._share
                assert share is not None
                self.fail_disposed(share)

    def _leave_admissions(self) -> None:
        for admission in self._admissions:
            admission.remove_holder(self)
        self._admissions.clear()


def _join(elements: list[TelemetryData]) -> TelemetryData:
    """One element of several, which are let go of."""
    _release(elements)
    joined = elements[0] if len(elements) == 1 else TelemetryData.merge(elements)
    elements.clear()
    return joined


def _weigh(data: TelemetryData) -> tuple[int, int]:
    return data.items, data.size


def _split(data: TelemetryData, max_items: int, max_bytes: int) -> list[TelemetryData]:
    share = data._share
    assert share is not None
    if not share.flags & TAKEN:
        share.also_left()
    groups = apart(data, max_items=max_items, max_bytes=max_bytes)
    parts: list[TelemetryData] = []
    try:
        for group in groups:
            parts += group.split(max_items=max_items, max_bytes=max_bytes)
    except DecodeError as error:  # all of it is rejected, so all of it must say so
        for group in groups:
            assert group._share is not None
            group._share.verdict(rejected(describe(error)))
        raise
    for part in parts:
        assert part._share is not None
        part._share.hold()
    share.release()
    return parts


def _release(elements: list[TelemetryData]) -> None:
    for element in elements:
        assert element._share is not None
        element._share.release()
