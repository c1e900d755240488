"""Execution flows: how several operations follow each other.

    SequentialExecutionFlow   one after the other
    ParallelExecutionFlow     groups at once, in each one after the other
    RecursiveExecutionFlow    one within the other, so deep and no deeper

All execute on their scheduler, an action an operation. What runs at once are groups: an
`async` function that awaits, or a `HighLatency` one in the pool, lets the others go on.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial

from rxotlp._core.slots import Entry, Slots
from rxotlp.errors import FlowError
from rxotlp.flows._execution import Done, Execution, Handle
from rxotlp.flows._groups import InSlot, Together
from rxotlp.flows._interpreter import in_order, interpret
from rxotlp.flows._limit import Following
from rxotlp.flows.base import Flow
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.loggers import Attached
from rxotlp.flows.operations import Operation
from rxotlp.flows.results import ExecutionResult
from rxotlp.flows.state import ControlState
from rxotlp.operators._limits import Limited, check_limit, initial
from rxotlp.operators._shell import check_count
from rxotlp.schedulers import SerialScheduler

__all__ = ["ParallelExecutionFlow", "RecursiveExecutionFlow", "SequentialExecutionFlow"]


class SequentialExecutionFlow(Flow):
    """Executes operations strictly in order.

    Args:
        operations: what `execute_sequential` executes; `add` adds more.
        state, scheduler, logger: as for every flow.

    `execute_sequential` takes the operations out: a second call has nothing to do and gives
    an empty `Batch`. What a failure left over never runs, and is in the error.
    """

    def __init__(
        self,
        operations: Iterable[Operation] = (),
        *,
        state: ControlState | None = None,
        scheduler: SerialScheduler | None = None,
        logger: Attached = None,
    ) -> None:
        super().__init__(state=state, scheduler=scheduler, logger=logger)
        self._operations: list[Operation] = []
        self.add(*operations)

    def add(self, *operations: Operation) -> None:
        """Add operations at the end."""
        for operation in operations:
            self._check(operation)
        self._operations += operations

    def begin(
        self,
        operation: Operation,
        done: Done | None = None,
        *,
        context: ExecutionContext | None = None,
    ) -> Handle:
        self._check(operation)
        machine = interpret(operation, self._context(context), self._observe)
        return Execution(machine, self.state, self.scheduler, done)

    def execute_sequential(self, *, context: ExecutionContext | None = None) -> ExecutionResult:
        """Execute all operations; their results, in order, are a `Batch`.

        Raises:
            ExecutionFailed: one failed; it says which, and which never ran.
            PipelineError: called where waiting would wait for itself.
        """
        self._check_may_wait("execute_sequential", "await flow.aexecute_sequential()")
        return self._wait(self._begin_all(context))

    async def aexecute_sequential(
        self, *, context: ExecutionContext | None = None
    ) -> ExecutionResult:
        """The same, awaited."""
        return await self._await(self._begin_all(context))

    def _begin_all(self, context: ExecutionContext | None) -> Handle:
        operations, self._operations = self._operations, []
        machine = in_order(operations, self._context(context), self._observe)
        return Execution(machine, self.state, self.scheduler)


class ParallelExecutionFlow(Flow):
    """Executes groups of operations at once, and each group in order.

    Every group has a copy of the context, so what is the current span in one is nothing to
    the others. Groups begin in their order.

    Args:
        groups: what `execute_parallel` executes; `add` adds more.
        concurrency_limit: groups that run at once, 1 or more; or an Observable of numbers,
            or an `ops.Limit`, followed while there are groups to run. Lowering it cancels
            nothing; while it is 0 none begins, and those that wait when its Observable has
            ended at 0 fail.
        cancel_others: when a group fails, cancel those that run and leave out those that
            wait. By default they are finished: what they do is no less wanted.
        as_finished: results in the order in which groups finish, not in theirs.
        state, scheduler, logger: as for every flow.
    """

    def __init__(
        self,
        groups: Iterable[Iterable[Operation]] = (),
        *,
        concurrency_limit: Limited = 8,
        cancel_others: bool = False,
        as_finished: bool = False,
        state: ControlState | None = None,
        scheduler: SerialScheduler | None = None,
        logger: Attached = None,
    ) -> None:
        super().__init__(state=state, scheduler=scheduler, logger=logger)
        limit = check_limit(
            "ParallelExecutionFlow(concurrency_limit",
            concurrency_limit,
            default=8,
            why="nothing could run",
        )
        self._slots = Slots[InSlot](initial(limit))
        self._limit = Following(limit, self.scheduler, self._change)
        # The slots bound what runs; a limit that changes leaves as_operator nothing to count.
        self._at_once = limit if isinstance(limit, int) else 10_000
        self._cancel_others = cancel_others
        self._as_finished = as_finished
        self._groups: list[tuple[Operation, ...]] = []
        for group in groups:
            self.add(*group)

    def add(self, *group: Operation) -> None:
        """Add one group at the end."""
        for operation in group:
            self._check(operation)
        self._groups.append(group)

    def begin(
        self,
        operation: Operation | Sequence[Operation],
        done: Done | None = None,
        *,
        context: ExecutionContext | None = None,
    ) -> Handle:
        """Start one group, or one operation as a group of its own, when there is room.

        As for every flow; a sequence of operations gives a `Batch`.
        """
        if isinstance(operation, Operation):
            machine = interpret(operation, self._context(context), self._observe)
        else:
            for one in operation:
                self._check(one)
            machine = in_order(operation, self._context(context), self._observe)
        return self._start_when_free(InSlot(machine, self.state, self.scheduler, done))

    def execute_parallel(self, *, context: ExecutionContext | None = None) -> ExecutionResult:
        """Execute all groups; a `Batch` with a `Group` for each.

        The groups are taken out: a second call has nothing to do.

        Raises:
            GroupsFailed: an ExceptionGroup of the failed groups' errors, with the results
                of the others.
            PipelineError: called where waiting would wait for itself.
        """
        self._check_may_wait("execute_parallel", "await flow.aexecute_parallel()")
        return self._wait(self._begin_all(context))

    async def aexecute_parallel(
        self, *, context: ExecutionContext | None = None
    ) -> ExecutionResult:
        """The same, awaited."""
        return await self._await(self._begin_all(context))

    def _begin_all(self, context: ExecutionContext | None) -> Handle:
        groups, self._groups = self._groups, []
        whole = self._context(context)
        together = Together(
            len(groups), cancel_others=self._cancel_others, as_finished=self._as_finished
        )
        for number, group in enumerate(groups):
            inside = whole.inside(f"group {number}")
            machine = in_order(group, inside, self._observe, group=number)
            done = together.one_done(number)
            together.members.append(InSlot(machine, self.state, self.scheduler, done))
        for member in together.members:  # all of them are known now, for whoever cancels
            self._start_when_free(member)
        return together

    def _start_when_free(self, member: InSlot) -> InSlot:
        self.scheduler.post(partial(self._arrived, member))
        return member

    # -- in the scheduler's turn -----------------------------------------------------------

    def _arrived(self, member: InSlot) -> None:
        self._limit.begin()
        self._start(self._slots.offer(member))
        self._give_up()

    def _change(self, limit: int) -> None:
        self._start(self._slots.set_limit(limit))
        self._give_up()

    def _give_up(self) -> None:
        """Fail what waits in a pause that nothing can end."""
        if self._limit.over and not self._slots.max_concurrent:
            for member in list(self._slots.take_waiting()):
                member.fail(FlowError("concurrency_limit is 0, and nothing can end the pause"))
            self._follow_unless_idle()

    def _follow_unless_idle(self) -> None:
        if self._slots.idle:
            self._limit.end()

    def _start(self, entries: list[Entry[InSlot]]) -> None:
        waiting = deque(entries)
        while waiting:
            entry = waiting.popleft()
            if not entry.work.begin(partial(self._finished, entry)):  # cancelled as it waited
                waiting += self._slots.finish(entry, None)[1]

    def _finished(self, entry: Entry[InSlot]) -> None:
        self._start(self._slots.finish(entry, None)[1])
        self._follow_unless_idle()


class RecursiveExecutionFlow(Flow):
    """Executes operations within operations, at most `max_depth` levels of `NestedTrace`.

    Depth belongs to the operation that is executed, not to the flow: executions at once do
    not add up, and one that failed leaves nothing behind.

    Args:
        max_depth: levels, 1 or more.
        state, scheduler, logger: as for every flow.
    """

    def __init__(
        self,
        max_depth: int = 64,
        *,
        state: ControlState | None = None,
        scheduler: SerialScheduler | None = None,
        logger: Attached = None,
    ) -> None:
        super().__init__(state=state, scheduler=scheduler, logger=logger)
        check_count("RecursiveExecutionFlow(max_depth", max_depth, why="nothing could be nested")
        self.max_depth = max_depth

    def begin(
        self,
        operation: Operation,
        done: Done | None = None,
        *,
        context: ExecutionContext | None = None,
    ) -> Handle:
        """Start executing.

        As for every flow; what is nested deeper fails with `MaxDepthExceeded`.
        """
        self._check(operation)
        within = self._context(context)
        machine = interpret(operation, within, self._observe, max_depth=self.max_depth)
        return Execution(machine, self.state, self.scheduler, done)
