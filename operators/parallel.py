"""Bounded parallel merge. Who runs next is `_core.slots`; this starts work and emits.

In place of reactivex's `merge(max_concurrent)`, whose waiting list is unbounded and can
strand an element, and `flat_map`, which has no limit and costs 40 µs an element.
"""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from reactivex import abc

from rxotlp._core.outcomes import failed
from rxotlp._core.slots import Entry, Slots
from rxotlp.data import TelemetryData
from rxotlp.operators._described import described
from rxotlp.operators._limits import Followed, Limit, Limited, check_limit, initial
from rxotlp.operators._priority import Priority, Ranking, ranking
from rxotlp.operators._selector import Selector
from rxotlp.operators._shell import Operator, check_count, each, operator
from rxotlp.operators._turn import Turn
from rxotlp.operators.chain import (
    Chain,
    OnError,
    Processor,
    as_exception,
    as_list,
    check_on_error,
    check_processors,
    is_async,
)
from rxotlp.operators.split_by import as_key, pure

__all__ = ["parallel"]

DEFAULT_MAX_CONCURRENT = 8

# An element at work. A cell, because entries, tasks and futures are kept for longer than
# the element may be.
Cell = list[TelemetryData]


@described
def parallel(
    function: Processor,
    *,
    max_concurrent: Limited = DEFAULT_MAX_CONCURRENT,
    ordered: bool = False,
    key: Selector | Callable[[TelemetryData], Hashable] | None = None,
    priority: Priority | None = None,
    ageing: float = 1.0,
    max_waiting: int | None = None,
    on_error: OnError = "reject",
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Run a function on several elements at once.

    ```
    parallel(lookup, max_concurrent=2)        b takes one second, the others four
        source  -a-b-c-----|
        result  ----BA---C-|
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> import asyncio
        >>> from rxotlp.testing import Rig, draw, ids_of
        >>> async def lookup(data):
        ...     await asyncio.sleep(1 if ids_of(data) == [ord("b")] else 4)
        ...     return data
        >>> with Rig(ops.parallel(lookup, max_concurrent=2)) as rig:
        ...     heard = rig.play("-a-b-c-----|")
        >>> draw(rig.happened)
        '----ba---c-|'

    Args:
        function: as a processor of `chain`. An `async def` one runs as a task on the
            scheduler's loop; a plain one may block, and runs in the scheduler's pool.
        max_concurrent: how many run at once, 1 or more; or an Observable of numbers, or a
            `Limit` that says what it is until the first. Lowering it cancels nothing; while
            it is 0 nothing is begun.
        ordered: results leave in order of arrival. An element keeps its slot until its
            result has left, so finished results cannot pile up.
        key: elements with equal keys run one at a time, in order of arrival whatever their
            priorities; one that is important waits for those of its key before it. A
            function of an element, or a selector: one that cuts has a `split_by` of its own
            before the function.
        priority: gives an element's priority, any finite number; the larger starts sooner,
            equal ones in order of arrival. Called once, when the element arrives. A raise,
            or what is no number, rejects the element with the reason. Not with `ordered`.
        ageing: seconds of waiting that weigh as much as 1 of priority, above 0. Under any
            load, an element is overtaken only by those that come at most `ageing` times the
            difference of their priorities after it.
        max_waiting: elements that may wait for a slot; one more fails as retryable. None
            leaves the bound to the source's admission.
        on_error: as in `chain`.
        name: the stage's name in the books; "parallel" by default.
        scheduler: where async functions run and results are emitted.

    Raises:
        ValueError, TypeError: an argument is out of its range, or `ordered` with `priority`.

    On completion and error, what runs and waits is finished first, a pause included; what
    waits in a pause that nothing can end, because its Observable has, fails as retryable.
    On dispose, what runs is cancelled, and all of it fails as `disposed`. Without
    `ordered`, results leave as they are ready.
    """
    check_processors("parallel", (function,))
    limit = check_limit(
        "parallel(max_concurrent",
        max_concurrent,
        default=DEFAULT_MAX_CONCURRENT,
        why="nothing could ever run",
    )
    if max_waiting is not None:
        check_count("parallel(max_waiting", max_waiting, least=0, why="it counts elements")
    selector = None if key is None else as_key("parallel(key=", key)
    ranks = ranking("parallel", priority, ageing)
    if ordered and priority is not None:
        raise ValueError(
            "parallel(ordered=True, priority=...): expected one of them; what leaves in order "
            "of arrival gains nothing by starting sooner"
        )
    check_on_error("parallel", on_error)

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> _Parallel:
        slots = Slots[Cell](initial(limit), ordered=ordered)
        return _Parallel(
            observer, turn, function, on_error, name, slots, limit, selector, ranks, max_waiting
        )

    return pure(selector, operator(build, scheduler))


class _Parallel(Chain):
    __slots__ = ("_async", "_key", "_limit", "_max_waiting", "_ranks", "_running", "_slots")

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        function: Processor,
        on_error: OnError,
        name: str | None,
        slots: Slots[Cell],
        limit: int | Limit,
        key: Callable[[TelemetryData], Hashable] | None,
        ranks: Ranking | None,
        max_waiting: int | None,
    ) -> None:
        super().__init__("parallel", observer, turn, (function,), on_error, name)
        self._async = is_async(function)
        self._slots = slots
        self._key = key
        self._ranks = ranks
        self._max_waiting = max_waiting
        self._running: dict[Entry[Cell], abc.DisposableBase] = {}
        self._limit = Followed(self, {"max_concurrent": limit}, self._change, self._give_up)

    def on_next(self, data: TelemetryData) -> None:
        cell = [self._hold(self.take(data))]
        del data
        self.turn.enter(lambda: self._add(cell))

    def _add(self, cell: list[TelemetryData]) -> None:
        if self.disposed:
            self._dispose_of(cell)
            return
        if self._max_waiting is not None and (
            self._slots.running >= self._slots.max_concurrent
            and self._slots.waiting >= self._max_waiting
        ):
            share = self._let_go(cell.pop())
            share.verdict(failed(f"{self.book.name}: {self._max_waiting} elements wait already"))
            self.book.failed += share.items
            return
        try:
            key = None if self._key is None else self._key(cell[0])
            rank = 0.0 if self._ranks is None else self._ranks(cell[0], self.turn.seconds())
        except Exception as error:
            self._let_go(cell[0])
            self.reject(cell.pop(), error)
            return
        self._start(self._slots.offer(cell, key=key, rank=rank))

    def _start(self, entries: list[Entry[Cell]]) -> None:
        for entry in entries:
            processor: Any = self._processors[0]

            def done(
                results: list[TelemetryData] | None,
                error: BaseException | None,
                entry: Entry[Cell] = entry,
            ) -> None:
                self._done(entry, results, error)

            if self._async:
                coroutine = _awaited(processor, entry.work)
                self._running[entry] = self.turn.run_coroutine(coroutine, done)
            else:
                call = partial(_called, processor, entry.work)
                self._running[entry] = self.turn.run_blocking(call, done)

    def _done(
        self,
        entry: Entry[Cell],
        results: list[TelemetryData] | None,
        error: BaseException | None,
    ) -> None:
        if self._running.pop(entry, None) is None:
            return  # disposed meanwhile, and settled then
        leaving, started = self._slots.finish(entry, (results, error))
        del entry, results, error
        self._start(started)
        try:
            each(self._settle, leaving)
        finally:
            if self._ended and self._slots.idle and not self.disposed:
                self.end()

    def _settle(self, entries: list[Entry[Cell]]) -> None:
        cell = entries[0].work
        results, error = entries.pop().result
        share = self._let_go(cell[0])
        if results is None:
            self._raised(cell, as_exception(error))
        else:
            cell.clear()
            self._leave(share, results)

    def finish(self) -> None:
        if self._slots.idle:
            self.end()
        else:
            self._give_up()

    def _change(self, _name: str, limit: int) -> None:
        self._start(self._slots.set_limit(limit))

    def _give_up(self) -> None:
        """Fail what waits when the source has ended in a pause that nothing can end."""
        if self.disposed or not self._ended or self._slots.max_concurrent:
            return
        if self._slots.waiting and self._limit.over("max_concurrent"):
            for cell in self._slots.take_waiting():
                share = self._let_go(cell.pop())
                share.verdict(failed(f"{self.book.name}: paused, and nothing can end the pause"))
                self.book.failed += share.items
            if self._slots.idle:
                self.end()

    def discard(self) -> None:
        self._limit.dispose()
        for cell in self._slots.take_waiting():
            self._dispose_of(cell)
        while self._running:
            entry, running = self._running.popitem()
            running.dispose()
            self._dispose_of(entry.work)
        for entry in self._slots.take_finished():
            self._dispose_of(entry.work)

    def _dispose_of(self, cell: Cell) -> None:
        self.fail_disposed(self._let_go(cell.pop()))


async def _awaited(function: Callable[[TelemetryData], Any], cell: Cell) -> list[TelemetryData]:
    return as_list(await function(cell[0]))


def _called(function: Callable[[TelemetryData], Any], cell: Cell) -> list[TelemetryData]:
    return as_list(function(cell[0]))
