"""`DataFlowOrganizer`: processors that data goes through, one after the other or side by side.

Those side by side each get a copy without a receipt, and what they made is united by a
stated rule (see `_united`); the element that comes out stands for the one that went in.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from reactivex import abc

from rxotlp.data import TelemetryData
from rxotlp.errors import ExecutionFailed, PipelineError
from rxotlp.flows._told import Way, listened, of_data, told_failed
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.loggers import Attached, attached
from rxotlp.flows.organizers._mermaid import flowchart
from rxotlp.flows.organizers._united import Conflicts, check_conflicts, united
from rxotlp.flows.organizers.state import DataFlowState
from rxotlp.operators._shell import Operator
from rxotlp.operators.chain import OnError, chain, is_async
from rxotlp.schedulers import SerialScheduler, VirtualScheduler, default_scheduler

__all__ = ["DataFlowOrganizer", "DataProcessor"]

Process = Callable[[TelemetryData, DataFlowState], Any]


@dataclass(frozen=True, slots=True)
class DataProcessor:
    """A step that data goes through.

    Args:
        process: from an element and the `DataFlowState` to an element, or None to filter it;
            plain or `async`.
        name: for logs and pictures; the function's own by default.
        parallel: may work beside the others that may, on a copy of its own.
    """

    process: Process
    name: str = ""
    parallel: bool = False

    def __post_init__(self) -> None:
        if not callable(self.process):
            raise TypeError(
                f"DataProcessor(process={self.process!r}): expected a function of an element and "
                "the state"
            )
        if not self.name:
            object.__setattr__(self, "name", getattr(self.process, "__name__", "processor"))


class DataFlowOrganizer:
    """Takes elements through processors.

    Args:
        processors: `DataProcessor`s, functions, or objects with `process(data, state)` and,
            if they like, `name` and `parallel`; in order.
        conflicts: what counts when processors that work side by side change the same thing
            differently: what the "first" or the "last" of them made, in their order; or
            "error".
        state: what processors remember; one of the organizer's own without.
        scheduler: for times, and where `async` processors run.
        logger: a `DataFlowLogger` hears of each element; as for every flow.

    Attributes:
        state: as given or made; shared by all elements.
    """

    def __init__(
        self,
        processors: Iterable[Any] = (),
        *,
        conflicts: Conflicts = "first",
        state: DataFlowState | None = None,
        scheduler: SerialScheduler | None = None,
        logger: Attached = None,
    ) -> None:
        check_conflicts("DataFlowOrganizer(conflicts", conflicts)
        if state is not None and not isinstance(state, DataFlowState):
            raise TypeError(f"DataFlowOrganizer(state={state!r}): expected a DataFlowState")
        if scheduler is not None and not isinstance(scheduler, SerialScheduler):
            raise TypeError(
                f"DataFlowOrganizer(scheduler={scheduler!r}): expected a scheduler of "
                "rxotlp.schedulers"
            )
        self.state = DataFlowState() if state is None else state
        self.scheduler = default_scheduler() if scheduler is None else scheduler
        self.processors: list[DataProcessor] = []
        self._conflicts: Conflicts = conflicts
        self._loggers = of_data(attached("DataFlowOrganizer", logger, self.scheduler))
        self.add(*processors)

    def add(self, *processors: Any) -> None:
        """Add processors at the end."""
        self.processors += map(_processor, processors)

    # -- executing -----------------------------------------------------------------------------

    def execute_data_flow(
        self, data: TelemetryData, *, context: ExecutionContext | None = None
    ) -> TelemetryData | None:
        """Take `data` through all processors, in order; None when one filtered it.

        In this thread when all of them are plain, else on the scheduler's loop.

        Raises:
            ExecutionFailed: a processor failed; it says which.
            PipelineError: called where waiting would wait for itself.
        """
        return self._wait("execute_data_flow", data, False, context)

    def execute_parallel_data_flow(
        self, data: TelemetryData, *, context: ExecutionContext | None = None
    ) -> TelemetryData | None:
        """Take `data` through the parallel processors side by side, then the others in order.

        Attributes are united, conflicts decided by `conflicts`, records matched by identity
        and never doubled; a record that one of them removed is gone.

        Raises:
            ExecutionFailed: a processor failed, or they cannot be united; an ExceptionGroup
                of such when several did.
            PipelineError: called where waiting would wait for itself.
        """
        return self._wait("execute_parallel_data_flow", data, True, context)

    async def aexecute_data_flow(
        self, data: TelemetryData, *, context: ExecutionContext | None = None
    ) -> TelemetryData | None:
        """`execute_data_flow`, awaited."""
        return await self._await(self._run(data, False, context))

    async def aexecute_parallel_data_flow(
        self, data: TelemetryData, *, context: ExecutionContext | None = None
    ) -> TelemetryData | None:
        """`execute_parallel_data_flow`, awaited."""
        return await self._await(self._run(data, True, context))

    def as_operator(
        self, *, parallel: bool = True, on_error: OnError = "reject", name: str = "data flow"
    ) -> Operator:
        """An operator on streams of telemetry, as `ops.chain`; `ops.execute(self)` is the same.

        Args:
            parallel: whether parallel processors work side by side.
            on_error, name: as for `ops.chain`.
        """
        if self._is_plain():
            return chain(
                lambda data: _stands_for(
                    data, _finished(self._run(data.detached(), parallel, None))
                ),
                on_error=on_error,
                name=name,
                scheduler=self.scheduler,
            )

        async def process(data: TelemetryData) -> TelemetryData | None:
            return _stands_for(data, await self._run(data.detached(), parallel, None))

        return chain(process, on_error=on_error, name=name, scheduler=self.scheduler)

    def to_mermaid(self) -> str:
        """The way of `execute_parallel_data_flow`, as a Mermaid flowchart."""
        nodes = {"in": ("([", "data", "])")}
        edges = []
        last = "in"
        beside = [(n, one) for n, one in enumerate(self.processors) if one.parallel]
        if beside:
            for number, one in beside:
                nodes[str(number)] = ("[", one.name, "]")
                edges += [("in", "", str(number)), (str(number), "", "united")]
            nodes["united"] = ("((", "united", "))")
            last = "united"
        for number, one in enumerate(self.processors):
            if not one.parallel:
                nodes[str(number)] = ("[", one.name, "]")
                edges.append((last, "", str(number)))
                last = str(number)
        nodes["out"] = ("([", "data", "])")
        edges.append((last, "", "out"))
        return flowchart(nodes, edges)

    # -- one element ---------------------------------------------------------------------------

    async def _run(
        self, data: TelemetryData, parallel: bool, given: ExecutionContext | None
    ) -> TelemetryData | None:
        if not isinstance(data, TelemetryData):
            raise TypeError(f"DataFlowOrganizer: expected a TelemetryData, got {data!r}")
        way = Way.begin(self._loggers, data, given) if listened(self._loggers) else None
        try:
            made = await self._processed(data, parallel, given, way)
        except (Exception, asyncio.CancelledError) as error:
            told_failed(self._loggers, error, way, given)
            raise
        if way is not None:
            way.end(made)
        return made

    async def _processed(
        self,
        data: TelemetryData,
        parallel: bool,
        given: ExecutionContext | None,
        way: Way | None,
    ) -> TelemetryData | None:
        made: TelemetryData | None = data
        following = list(self.processors)
        if parallel and any(one.parallel for one in following):
            beside = [one for one in following if one.parallel]
            following = [one for one in following if not one.parallel]
            made = await self._side_by_side(beside, data, given, way)
        for one in following:
            if made is None:
                return None
            made = await self._process(one, made, given, way)
        return made

    async def _side_by_side(
        self,
        beside: list[DataProcessor],
        data: TelemetryData,
        given: ExecutionContext | None,
        way: Way | None,
    ) -> TelemetryData | None:
        work = [self._process(one, data.detached(), given, way) for one in beside]
        if any(is_async(one.process) for one in beside):
            ended = await asyncio.gather(*work, return_exceptions=True)
        else:  # nothing to wait for, and perhaps no loop here
            ended = [_outcome(one) for one in work]
        failed = [one for one in ended if isinstance(one, Exception)]
        if len(failed) == 1:
            raise failed[0]
        if failed:
            raise ExceptionGroup(f"{len(failed)} of {len(beside)} processors failed", failed)
        for one in ended:
            if isinstance(one, BaseException):
                raise one
        made = [one for one in ended if not isinstance(one, BaseException)]
        try:
            return united(data, made, [one.name for one in beside], self._conflicts)
        except ValueError as error:
            names = ", ".join(one.name for one in beside)
            raise ExecutionFailed(
                f"what {names} made cannot be united: {error}", operation=beside[0]
            ) from error

    async def _process(
        self,
        one: DataProcessor,
        data: TelemetryData,
        given: ExecutionContext | None,
        way: Way | None,
    ) -> TelemetryData | None:
        try:
            made = one.process(data, self.state)
            if inspect.isawaitable(made):
                made = await made
            if made is not None and not isinstance(made, TelemetryData):
                raise TypeError(f"it returned {made!r}; expected a TelemetryData or None")
        except Exception as error:
            raise ExecutionFailed(
                f"processor {one.name} failed: {error}",
                operation=one,
                path=() if given is None else given.path,
            ) from error
        if way is not None:
            way.step(one.name, data, made)
        result: TelemetryData | None = made
        return result

    # -- waiting -------------------------------------------------------------------------------

    def _is_plain(self) -> bool:
        return not any(is_async(one.process) for one in self.processors)

    def _wait(
        self, call: str, data: TelemetryData, parallel: bool, context: ExecutionContext | None
    ) -> TelemetryData | None:
        work = self._run(data, parallel, context)
        if self._is_plain():
            return _finished(work)
        scheduler = self.scheduler
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if scheduler.running_here or (here is not None and here is scheduler.loop):
            work.close()
            raise PipelineError(
                f"DataFlowOrganizer.{call}() on the thread that runs its processors would wait "
                f"for itself; use `await organizer.a{call}(data)`, or ops.execute(organizer)"
            )
        future, _ = self._start(work)
        if isinstance(scheduler, VirtualScheduler) and not scheduler.wait_for(future.done):
            raise PipelineError(
                "DataFlowOrganizer: nothing is left on the virtual clock that could end this; "
                "a processor waits for something outside"
            )
        return future.result()

    async def _await(self, work: Coroutine[Any, Any, TelemetryData | None]) -> TelemetryData | None:
        if self._is_plain():
            return await work
        future, task = self._start(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task.dispose()
            raise

    def _start(
        self, work: Coroutine[Any, Any, TelemetryData | None]
    ) -> "tuple[Future[TelemetryData | None], abc.DisposableBase]":
        future: Future[TelemetryData | None] = Future()

        def done(made: TelemetryData | None, error: BaseException | None) -> None:
            if future.set_running_or_notify_cancel():
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(made)

        return future, self.scheduler.run_coroutine(work, done)


def _processor(given: Any) -> DataProcessor:
    if isinstance(given, DataProcessor):
        return given
    process = getattr(given, "process", given)
    if not callable(process):
        raise TypeError(
            f"DataFlowOrganizer({given!r}): expected a DataProcessor, a function of an element "
            "and the state, or an object with process(data, state)"
        )
    named = getattr(given, "name", "") or getattr(given, "__name__", type(given).__name__)
    return DataProcessor(process, str(named), bool(getattr(given, "parallel", False)))


def _stands_for(data: TelemetryData, made: TelemetryData | None) -> TelemetryData | None:
    """`made`, in the name of `data`.

    Processors work on a copy: what they make on the way to a failure is nothing to the sender,
    whose element is rejected as a whole.
    """
    if made is None:
        return None
    if made.signal is not data.signal:
        return data.derive(made.message, metadata=made.metadata)
    payload = made.to_bytes()
    if payload == data.to_bytes() and made.metadata == data.metadata:
        return data
    return data.derive(payload, metadata=made.metadata)


def _finished(work: Coroutine[Any, Any, TelemetryData | None]) -> TelemetryData | None:
    """What a coroutine returns that awaits nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        result: TelemetryData | None = end.value
        return result
    work.close()
    raise PipelineError(
        "DataFlowOrganizer: a plain processor returned something to be awaited; expected "
        "`async def`, which says so beforehand"
    )


def _outcome(
    work: Coroutine[Any, Any, TelemetryData | None],
) -> TelemetryData | BaseException | None:
    try:
        return _finished(work)
    except Exception as error:
        return error
