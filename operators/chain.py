"""Sequential processors, fused into one stage.

A processor is a function from an element to what should go on: an element, several (a list
or a generator), or None. Plain ones run one after the other in one call, so a chain costs
one stage however long it is. With an `async` one among them, elements are processed one at
a time, in order, and those that arrive meanwhile wait.
"""

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from reactivex import abc

from rxotlp._core.outcomes import ABANDONED, FILTERED, failed
from rxotlp.claims import Discard
from rxotlp.data import TelemetryData
from rxotlp.errors import without_tracebacks
from rxotlp.operators._described import Described, described
from rxotlp.operators._shell import Operator, Shell, describe, each, operator
from rxotlp.operators._turn import Turn
from rxotlp.shares import Share

__all__ = ["OnError", "Processor", "chain"]

Made = TelemetryData | Iterable[TelemetryData] | None
Processor = Callable[[TelemetryData], Made | Awaitable[Made]]
OnError = str | Callable[[TelemetryData, Exception], Made]

_POLICIES = ("reject", "drop", "stop")


@described
def chain(
    *processors: Processor,
    on_error: OnError = "reject",
    name: str | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """Run processors on each element, one after the other.

    ```
    chain(double, odd_only)
        source  -a-b-c-|
        result  -A---C-|          double, then b is filtered
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Rig, draw
        >>> def without_a(data):
        ...     return data.filter_records(lambda record: record.body != ord("a"))
        >>> with Rig(ops.chain(without_a)) as rig:
        ...     heard = rig.play("-a-b-c-|")
        >>> draw(rig.happened)
        '---b-c-|'

    Args:
        processors: each takes an element and returns what goes on: an element, an iterable
            of elements, or None to filter it. `async def` ones are awaited on the
            scheduler's loop, one element at a time. A generator is drained before its first
            part leaves, so a raise anywhere rejects the whole input.
        on_error: what a raising processor does to its element. "reject" tells the sender
            that no retry can help; "drop" loses it under the reason and tells the sender
            success; "stop" ends the stream as reactivex does, and the element may be sent
            again; a function gets the element and the exception and returns what a
            processor may return.
        name: the stage's name in the books; "chain" by default.
        scheduler: where async processors run.

    Returns:
        An operator. What processors return stands for what went in: derive new elements
        from their input (`data.derive`, `data.filter_records`, ...) or make them by hand.

    Raises:
        ValueError: no processor, or an unknown `on_error`.
        TypeError: a processor that cannot be called.

    On completion and error, what runs and waits is finished first. On dispose, what runs is
    cancelled, and it and what waits fail as `disposed`.
    """
    check_processors("chain", processors)
    check_on_error("chain", on_error)
    return one_stage(processors, on_error=on_error, name=name, scheduler=scheduler)


def one_stage(
    processors: tuple[Processor, ...],
    *,
    on_error: OnError,
    name: str | None,
    kind: str = "chain",
    scheduler: abc.SchedulerBase | None = None,
) -> Operator:
    """The operator behind `chain`; `kind` names it in the books where `name` does not."""
    stage = _Async if any(map(is_async, processors)) else _Plain
    return operator(
        lambda observer, turn: stage(kind, observer, turn, processors, on_error, name), scheduler
    )


def check_processors(call: str, processors: tuple[Processor, ...]) -> None:
    """Raise when there is none, or one that is no function of an element."""
    if not processors:
        raise ValueError(f"{call}(): expected one processor or more")
    for processor in processors:
        if not callable(processor):
            raise TypeError(
                f"{call}({processor!r}): expected a function of an element, "
                f"got {type(processor).__name__}"
            )
        if isinstance(processor, Described):
            raise TypeError(
                f"{call}({processor!r}): expected a function of an element; "
                "an operator stands in `pipe`"
            )


def check_on_error(call: str, on_error: OnError) -> None:
    """Raise when it is no known policy and no function."""
    if not callable(on_error) and on_error not in _POLICIES:
        raise ValueError(
            f"{call}(on_error={on_error!r}): expected one of {', '.join(map(repr, _POLICIES))} "
            "or a function of the element and the exception"
        )


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  (an instance with an async __call__)
    )


class _Processing(Discard):
    """Marks what is made of an element while its processors are at work outside an emission."""

    __slots__ = ("outer",)

    def __init__(self, outer: Discard | None) -> None:
        super().__init__(FILTERED)
        self.outer = outer  # of an operator around this one


class Chain(Shell):
    """What both kinds share: what comes out, and what a raise does."""

    __slots__ = ("_on_error", "_processors", "holding")

    def __init__(
        self,
        kind: str,
        observer: abc.ObserverBase[Any],
        turn: Turn,
        processors: tuple[Processor, ...],
        on_error: OnError,
        name: str | None,
    ) -> None:
        self.holding = 0  # items that wait or are being processed
        super().__init__(kind, observer, turn, given=name)
        self._processors = processors
        self._on_error = on_error

    def held(self) -> int:
        return self.holding

    def _hold(self, data: TelemetryData) -> TelemetryData:
        """Book an element that waits or is processed; from any thread.

        Returns:
            The same data to work on, with a share of the stage's own: what processors make of
            it and let go of in their turn is filtered, as it is inside an emission.
        """
        share = data._share
        assert share is not None
        own = share.child(share.items)
        own.discards = _Processing(share.discards)
        self.holding += own.items
        own.hold()
        return data._with_share(own)

    def _let_go(self, data: TelemetryData) -> Share:
        """Undo `_hold`; the element's share is the caller's business now."""
        share = data._share
        assert share is not None
        self.holding -= share.items
        if share.discards is not None:
            share.discards.outcome = ABANDONED  # what processors keep for longer may be lost
        share.release()
        return share

    def _leave(self, share: Share, results: list[TelemetryData]) -> None:
        """Send on what became of the element of `share`, which nobody here may still hold."""
        if not results:
            share.verdict(FILTERED)
            self.book.filtered += share.items
            return
        mark = share.discards
        made = results[0]
        if mark is None and len(results) == 1 and made._share is not None:  # as nearly always
            if made._items != share.items:
                self.book.transformed(share.items, made.items)
            del made
            self.emit(results)
            return
        for at, made in enumerate(results):
            if made._share is None:  # made by hand from the element
                results[at] = made = made._with_share(share.child(made.items))
            if type(mark) is _Processing and made._share is not None:
                made._share.discards = mark.outer
            del made
        self.book.transformed(share.items, sum(made.items for made in results))
        each(self.emit, results)

    def _raised(self, cell: list[TelemetryData], error: Exception) -> None:
        """A processor raised; the fate of the element in `cell` is the policy's."""
        policy = self._on_error
        share = cell[0]._share
        assert share is not None
        if callable(policy):
            try:
                results = as_list(policy(cell[0], error))
            except Exception as again:
                self.reject(cell.pop(), again)
            else:
                cell.clear()
                without_tracebacks(error)
                self._leave(share, results)
        elif policy == "drop":
            self.drop(share, f"{self.book.name}: {describe(error)}")
        elif policy == "stop":
            share.verdict(failed(f"{self.book.name} stopped the stream: {describe(error)}"))
            self.book.failed += share.items
            self.observer.on_error(without_tracebacks(error))
        else:
            self.reject(cell.pop(), error)


class _Plain(Chain):
    """Every processor is a plain function: no queue, no turn, one call."""

    __slots__ = ()

    def on_next(self, data: TelemetryData) -> None:
        data = self.take(data)
        made: Any = data
        processors = iter(self._processors)
        try:
            for processor in processors:
                made = processor(made)
                if type(made) is not TelemetryData:
                    results = _spread(made, tuple(processors))
                    break
            else:
                results = [made]
        except Exception as error:
            cell = [data]
            del data, made
            self._raised(cell, error)
            return
        if made is data:  # looked at, not changed
            cell = [data]
            del data, made, results
            self.emit(cell)
            return
        share = data._share
        assert share is not None
        del data, made
        self._leave(share, results)


class _Async(Chain):
    """Some processor is async: one element at a time, the others wait in order."""

    __slots__ = ("_current", "_running", "_waiting")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._waiting: deque[TelemetryData] = deque()
        self._current: TelemetryData | None = None
        self._running: abc.DisposableBase | None = None

    def on_next(self, data: TelemetryData) -> None:
        self._waiting.append(self._hold(self.take(data)))
        del data
        self.turn.enter(self._start)

    def _start(self) -> None:
        while self._waiting and self._current is None:
            if self.disposed:
                self.discard()
                return
            self._current = self._waiting.popleft()
            self._running = self.turn.run_coroutine(
                _run(self._processors, self._current), self._done
            )

    def _done(self, results: list[TelemetryData] | None, error: BaseException | None) -> None:
        data, self._current = self._current, None
        self._running = None
        if data is not None:  # else it was disposed meanwhile
            share = self._let_go(data)
            cell = [data]
            del data
            try:
                if results is not None:
                    cell.clear()
                    self._leave(share, results)
                else:
                    self._raised(cell, as_exception(error))
            finally:  # whatever the observer makes of this one, the others go on
                self._go_on()
        else:
            self._go_on()

    def _go_on(self) -> None:
        self._start()
        if self._ended and self._current is None and not self.disposed:
            self.end()

    def finish(self) -> None:
        if self._current is None and not self._waiting:
            self.end()

    def discard(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.dispose()
        current, self._current = self._current, None
        if current is not None:
            self._waiting.appendleft(current)
            del current
        while self._waiting:
            self.fail_disposed(self._let_go(self._waiting.popleft()))


def _spread(made: Any, processors: tuple[Processor, ...]) -> list[TelemetryData]:
    """Run the processors that are left on each part of what one of them gave."""
    results: list[TelemetryData] = []
    part: Any
    for part in as_list(made):
        rest = iter(processors)
        for processor in rest:
            part = processor(part)
            if type(part) is not TelemetryData:
                results += _spread(part, tuple(rest))
                break
        else:
            results.append(part)
    return results


async def _run(processors: tuple[Processor, ...], data: TelemetryData) -> list[TelemetryData]:
    """All processors on one element, awaiting those that want it."""
    parts = [data]
    del data
    for processor in processors:
        made: list[TelemetryData] = []
        for part in parts:
            result = processor(part)
            made += as_list(await result if inspect.isawaitable(result) else result)
        parts = made
    return parts


def as_list(made: Any) -> list[TelemetryData]:
    """What a processor returned, as a list.

    Raises:
        TypeError: it is no element, no iterable of elements and not None.
    """
    if made is None:
        return []
    if type(made) is TelemetryData:
        return [made]
    if inspect.iscoroutine(made):
        made.close()
        raise TypeError("a processor returned a coroutine: declare it with `async def`")
    if not isinstance(made, Iterable):  # an Observable would be counted through without end
        raise TypeError(
            f"a processor returned {type(made).__name__}, expected TelemetryData, "
            "an iterable of it, or None"
        )
    parts = list(made)
    for part in parts:
        if type(part) is not TelemetryData:
            raise TypeError(
                "a processor returned a list with an item of type "
                f"{type(part).__name__}, expected TelemetryData"
            )
    return parts


def as_exception(error: BaseException | None) -> Exception:
    """What an `on_error` policy can be given, of what stopped a processor."""
    if isinstance(error, Exception):
        return error
    # A processor that lets itself be cancelled is that processor's failure, not the stream's.
    return RuntimeError(f"the processor was cancelled: {error!r}")
