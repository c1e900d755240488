"""A flow as an operator: operations in, results out.

One result for each operation, a `Failure` for one that failed, so a bad operation ends
nothing and whoever counts finds them all.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from rxotlp.errors import FlowError, TooManyWaiting
from rxotlp.flows.results import ExecutionResult, Failure
from rxotlp.operators._shell import check_count
from rxotlp.operators._turn import Turn, turn_for

if TYPE_CHECKING:
    from rxotlp.flows._execution import Done, Handle
    from rxotlp.schedulers import SerialScheduler

__all__ = ["Begins", "Results", "as_operator"]

Results = Callable[[Observable[Any]], Observable[ExecutionResult]]


class Begins(Protocol):
    """What can be an operator: a flow, or an organizer."""

    @property
    def scheduler(self) -> "SerialScheduler":
        """Whose turn it takes."""
        ...

    @property
    def begin(self) -> "Callable[[Any, Done], Handle]":
        """Starts with one element, and tells when it is done."""
        ...


def as_operator(
    flow: Begins, *, max_concurrent: int, max_waiting: int, on_error: Literal["continue", "stop"]
) -> Results:
    """See `Flow.as_operator`, whose arguments these are."""
    call = f"{type(flow).__name__}.as_operator"
    check_count(f"{call}(max_concurrent", max_concurrent, why="nothing could ever run")
    check_count(f"{call}(max_waiting", max_waiting, least=0, why="it counts operations")
    if on_error not in ("continue", "stop"):
        raise ValueError(f"{call}(on_error={on_error!r}): expected 'continue' or 'stop'")
    stop = on_error == "stop"

    def apply(source: Observable[Any]) -> Observable[ExecutionResult]:
        def subscribe(
            observer: abc.ObserverBase[ExecutionResult],
            scheduler: abc.SchedulerBase | None = None,
        ) -> abc.DisposableBase:
            turn = turn_for(flow.scheduler)
            stage = _Executing(flow, observer, turn, max_concurrent, max_waiting, stop)
            upstream = source.subscribe(
                stage.on_next, stage.on_error, stage.on_completed, scheduler=scheduler
            )
            return CompositeDisposable(upstream, Disposable(stage.dispose))

        return Observable(subscribe)

    return apply


class _Executing:
    """One subscription."""

    __slots__ = (
        "_ended",
        "_error",
        "_flow",
        "_max_concurrent",
        "_max_waiting",
        "_observer",
        "_over",
        "_running",
        "_starting",
        "_stop",
        "_turn",
        "_waiting",
    )

    def __init__(
        self,
        flow: Begins,
        observer: abc.ObserverBase[ExecutionResult],
        turn: Turn,
        max_concurrent: int,
        max_waiting: int,
        stop: bool,
    ) -> None:
        self._flow = flow
        self._observer = observer
        self._turn = turn
        self._max_concurrent = max_concurrent
        self._max_waiting = max_waiting
        self._stop = stop
        self._waiting: deque[Any] = deque()
        self._running: dict[object, abc.DisposableBase | None] = {}
        self._ended = False
        self._error: Exception | None = None
        self._over = False
        self._starting = False

    def on_next(self, operation: Any) -> None:
        self._turn.enter(partial(self._arrived, operation))

    def on_error(self, error: Exception) -> None:
        self._turn.enter_last(partial(self._source_ended, error))

    def on_completed(self) -> None:
        self._turn.enter_last(partial(self._source_ended, None))

    def dispose(self) -> None:
        """Cancel what runs; what waits never starts."""
        self._turn.enter(self._dispose)

    # -- in the turn -------------------------------------------------------------------------

    def _arrived(self, operation: Any) -> None:
        if self._over:
            return
        if len(self._running) < self._max_concurrent:
            self._start(operation)
        elif len(self._waiting) < self._max_waiting:
            self._waiting.append(operation)
        else:
            self._emit(
                operation,
                None,
                TooManyWaiting(
                    f"{type(self._flow).__name__}: {self._max_waiting} operations wait already "
                    "(max_waiting); expected a slower source or a larger max_concurrent",
                    operation=operation,
                ),
            )

    def _start(self, operation: Any) -> None:
        token = object()
        self._running[token] = None

        def done(result: ExecutionResult | None, error: BaseException | None) -> None:
            self._turn.enter(partial(self._finished, token, operation, result, error))

        try:
            handle = self._flow.begin(operation, done)
        except Exception as error:
            self._finished(token, operation, None, error)
        else:
            if token in self._running:
                self._running[token] = handle

    def _finished(
        self,
        token: object,
        operation: Any,
        result: ExecutionResult | None,
        error: BaseException | None,
    ) -> None:
        if self._running.pop(token, self) is self or self._over:
            return
        self._emit(operation, result, error)
        # One loop, however many finish inside `_start`: thousands may wait for a flow that
        # works in this very thread.
        if not self._starting:
            self._starting = True
            try:
                while self._waiting and len(self._running) < self._max_concurrent:
                    self._start(self._waiting.popleft())
            finally:
                self._starting = False
            self._look_for_end()

    def _emit(
        self, operation: Any, result: ExecutionResult | None, error: BaseException | None
    ) -> None:
        if error is None:
            assert result is not None
            self._observer.on_next(result)
            return
        if not isinstance(error, Exception):  # cancelled by somebody else than this stream
            error = FlowError(f"{operation!r} was cancelled", operation=operation)
        if self._stop:
            self._over = True
            self._cancel_all()
            self._observer.on_error(error)
        else:
            self._observer.on_next(Failure(operation, error))

    def _source_ended(self, error: Exception | None) -> None:
        self._ended = True
        self._error = error
        self._look_for_end()

    def _look_for_end(self) -> None:
        if self._ended and not self._over and not self._running and not self._waiting:
            self._over = True
            if self._error is None:
                self._observer.on_completed()
            else:
                self._observer.on_error(self._error)

    def _dispose(self) -> None:
        self._over = True
        self._cancel_all()

    def _cancel_all(self) -> None:
        self._waiting.clear()
        running, self._running = self._running, {}
        for handle in running.values():
            if handle is not None:
                handle.dispose()
