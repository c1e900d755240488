"""Bounded parallel merge. Who runs next is `_core.slots`; this starts work and emits.

In place of reactivex's `merge(max_concurrent)`, whose waiting list is unbounded and can
strand an element, and `flat_map`, which has no limit and costs 40 µs an element.
"""

from collections.abc import Callable, Hashable
from typing import Any

from reactivex import abc

from rxotlp._core.outcomes import failed
from rxotlp._core.slots import Entry, Slots
from rxotlp.data import TelemetryData
from rxotlp.operators._shell import Operator, check_count, operator
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

__all__ = ["parallel"]


def parallel(
    function: Processor,
    *,
    max_concurrent: int = 8,
    ordered: bool = False,
    key: Callable[[TelemetryData], Hashable] | None = None,
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

    Args:
        function: as a processor of `chain`. An `async def` one runs as a task on the
            scheduler's loop; a plain one may block, and runs in the scheduler's pool.
        max_concurrent: how many run at once, 1 or more.
        ordered: results leave in order of arrival. An element keeps its slot until its
            result has left, so finished results cannot pile up.
        key: elements with equal keys run one at a time, in order.
        max_waiting: elements that may wait for a slot; one more fails as retryable. None
            leaves the bound to the source's admission.
        on_error: as in `chain`.
        name: the stage's name in the books; "parallel" by default.
        scheduler: where async functions run and results are emitted.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    On completion and error, what runs and waits is finished first. On dispose, what runs is
    cancelled, and all of it fails as `disposed`. Without `ordered`, results leave as they
    are ready.
    """
    check_processors("parallel", (function,))
    check_count("parallel(max_concurrent", max_concurrent, why="nothing could ever run")
    if max_waiting is not None:
        check_count("parallel(max_waiting", max_waiting, least=0, why="it counts elements")
    if key is not None and not callable(key):
        raise TypeError(f"parallel(key={key!r}): expected a function of an element")
    check_on_error("parallel", on_error)

    def build(observer: abc.ObserverBase[Any], turn: Turn) -> _Parallel:
        slots = Slots[TelemetryData](max_concurrent, ordered=ordered)
        return _Parallel(observer, turn, function, on_error, name, slots, key, max_waiting)

    return operator(build, scheduler)


class _Parallel(Chain):
    __slots__ = ("_async", "_key", "_max_waiting", "_running", "_slots")

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        function: Processor,
        on_error: OnError,
        name: str | None,
        slots: Slots[TelemetryData],
        key: Callable[[TelemetryData], Hashable] | None,
        max_waiting: int | None,
    ) -> None:
        super().__init__("parallel", observer, turn, (function,), on_error, name)
        self._async = is_async(function)
        self._slots = slots
        self._key = key
        self._max_waiting = max_waiting
        self._running: dict[Entry[TelemetryData], abc.DisposableBase] = {}

    def on_next(self, data: TelemetryData) -> None:
        cell = [self.take(data)]
        del data
        share = cell[0]._share
        assert share is not None
        self.holding += share.items
        self.turn.enter(lambda: self._add(cell.pop()))

    def _add(self, data: TelemetryData) -> None:
        share = data._share
        assert share is not None
        if self.disposed:
            self._let_go(share.items)
            self.fail_disposed(share)
            return
        if self._max_waiting is not None and (
            self._slots.running >= self._slots.max_concurrent
            and self._slots.waiting >= self._max_waiting
        ):
            self._let_go(share.items)
            share.verdict(failed(f"{self.book.name}: {self._max_waiting} elements wait already"))
            self.book.failed += share.items
            return
        try:
            key = None if self._key is None else self._key(data)
        except Exception as error:
            self._let_go(share.items)
            self.reject(data, error)
            return
        started = self._slots.offer(data, key=key)
        del data
        self._start(started)

    def _start(self, entries: list[Entry[TelemetryData]]) -> None:
        for entry in entries:
            processor: Any = self._processors[0]

            def done(
                result: Any, error: BaseException | None, entry: Entry[TelemetryData] = entry
            ) -> None:
                self._done(entry, result, error)

            if self._async:
                self._running[entry] = self.turn.run_coroutine(processor(entry.work), done)
            else:
                self._running[entry] = self.turn.run_blocking(_Call(processor, entry), done)

    def _done(self, entry: Entry[TelemetryData], result: Any, error: BaseException | None) -> None:
        if self._running.pop(entry, None) is None:
            return  # disposed meanwhile, and settled then
        leaving, started = self._slots.finish(entry, (result, error))
        del entry, result, error
        self._start(started)
        while leaving:
            gone = leaving.pop(0)
            result, error = gone.result
            data = gone.work
            del gone
            self._let_go(data.items)
            self._settle(data, result, error)
            del data, result, error
        if self._ended and self._slots.idle and not self.disposed:
            self.end()

    def _settle(self, data: TelemetryData, result: Any, error: BaseException | None) -> None:
        if error is not None:
            self._raised(data, as_exception(error))
            return
        try:
            results = as_list(result)
        except Exception as wrong:
            self._raised(data, wrong)
            return
        del result
        self._leave(data, results)

    def finish(self) -> None:
        if self._slots.idle:
            self.end()

    def discard(self) -> None:
        for data in self._slots.take_waiting():
            self._dispose_of(data)
            del data
        while self._running:
            entry, running = self._running.popitem()
            running.dispose()
            self._dispose_of(entry.work)
        for entry in self._slots.take_finished():
            self._dispose_of(entry.work)

    def _dispose_of(self, data: TelemetryData) -> None:
        share = data._share
        assert share is not None
        self._let_go(share.items)
        self.fail_disposed(share)

    def _let_go(self, items: int) -> None:
        self.holding -= items


class _Call:
    """A blocking call that keeps its element only while it runs."""

    __slots__ = ("_entry", "_function")

    def __init__(self, function: Callable[[TelemetryData], Any], entry: Entry[TelemetryData]):
        self._function = function
        self._entry = entry

    def __call__(self) -> Any:
        return self._function(self._entry.work)
