"""`ControlFlowOrganizer`: a way through nodes that the state decides.

Depth-first: what the first edge leads to is done before the second edge is followed. Outside
loops, and within one round of a loop, each node is visited once, so edges may join and lead
back; only loops go round, and only so often.
"""

from collections.abc import Mapping
from typing import Any, Literal

from rxotlp.errors import ExecutionFailed, FlowError, LoopLimitExceeded, NodeNotFound
from rxotlp.flows import results
from rxotlp.flows._execution import Done, Execution, Handle
from rxotlp.flows._interpreter import Machine, take_apart
from rxotlp.flows._operator import Results, as_operator
from rxotlp.flows.base import Runner
from rxotlp.flows.context import ExecutionContext
from rxotlp.flows.loggers import Attached, ControlDecision
from rxotlp.flows.organizers._mermaid import flowchart
from rxotlp.flows.organizers.nodes import ConditionalNode, LoopNode, Node, OperationNode
from rxotlp.flows.organizers.state import ExecutionState
from rxotlp.flows.results import ExecutionResult
from rxotlp.flows.state import ControlState, Performed
from rxotlp.schedulers import SerialScheduler

__all__ = ["ControlFlowOrganizer"]

_SHAPES: dict[type, tuple[str, str]] = {
    OperationNode: ("[", "]"),
    ConditionalNode: ("{", "}"),
    LoopNode: ("{{", "}}"),
}


class ControlFlowOrganizer(Runner):
    """Executes nodes, from a start along the edges that their outcomes select.

    Args:
        nodes: `OperationNode`, `ConditionalNode` and `LoopNode`; `add` adds more.
        start: where a run begins; the first node without.
        state, scheduler, logger: as for every flow; a `ControlFlowLogger` hears of each
            decision and transition.

    Each run has an `ExecutionState` of its own. In a stream, each element is a mapping of
    variables to begin a run with: `orders.pipe(ops.execute(organizer))`.
    """

    def __init__(
        self,
        *nodes: Node,
        start: str | None = None,
        state: ControlState | None = None,
        scheduler: SerialScheduler | None = None,
        logger: Attached = None,
    ) -> None:
        super().__init__(state=state, scheduler=scheduler, logger=logger)
        self.nodes: dict[str, Node] = {}
        self.start = start
        self.add(*nodes)

    def add(self, *nodes: Node) -> None:
        """Add nodes; edges may lead to some that are added later."""
        for node in nodes:
            if not isinstance(node, Node):
                raise TypeError(
                    f"ControlFlowOrganizer({node!r}): expected an OperationNode, a "
                    "ConditionalNode or a LoopNode"
                )
            if node.id in self.nodes:
                raise ValueError(f"ControlFlowOrganizer: there is a node {node.id!r} already")
            self.nodes[node.id] = node

    def begin(
        self,
        variables: Mapping[str, Any] | None = None,
        done: Done | None = None,
        *,
        start: str | None = None,
        context: ExecutionContext | None = None,
    ) -> Handle:
        """Start a run, and return without waiting.

        Args:
            variables: to begin with; an `ExecutionState` is used as it is, by one run at a
                time.
            done: called once with (result, None) or (None, error), in the scheduler's turn.
            start: a node, in place of the organizer's.
            context: to execute in; one of its own without.

        Raises:
            NodeNotFound: the start, or the end of some edge, is no node; nothing has run.
        """
        first = self._check_graph(start)
        state = variables if isinstance(variables, ExecutionState) else ExecutionState(variables)
        run = _Run(self, state, self._context(context))
        return Execution(
            take_apart(run.walk(first), self._observe), self.state, self.scheduler, done
        )

    def execute_control_flow(
        self,
        start: str | None = None,
        *,
        variables: Mapping[str, Any] | None = None,
        context: ExecutionContext | None = None,
    ) -> ExecutionResult:
        """Run, and wait: a `ControlFlow` with the results, and the path that was taken.

        Args: see `begin`.

        Raises:
            NodeNotFound: see `begin`.
            LoopLimitExceeded: a loop's condition holds on; it has the path so far.
            ExecutionFailed: a node failed; it has the path to it and the results before it.
            PipelineError: called where waiting would wait for itself.
        """
        self._check_may_wait("execute_control_flow", "await organizer.aexecute_control_flow()")
        return self._wait(self.begin(variables, start=start, context=context))

    async def aexecute_control_flow(
        self,
        start: str | None = None,
        *,
        variables: Mapping[str, Any] | None = None,
        context: ExecutionContext | None = None,
    ) -> ExecutionResult:
        """The same, awaited; cancelling the task cancels the run."""
        return await self._await(self.begin(variables, start=start, context=context))

    def as_operator(
        self,
        *,
        max_concurrent: int = 1,
        max_waiting: int = 10_000,
        on_error: Literal["continue", "stop"] = "continue",
    ) -> Results:
        """An operator from mappings of variables to results, as `Flow.as_operator`."""
        return as_operator(
            self, max_concurrent=max_concurrent, max_waiting=max_waiting, on_error=on_error
        )

    def to_mermaid(self) -> str:
        """The graph, as a Mermaid flowchart."""
        nodes = {}
        for node in self.nodes.values():
            before, after = _SHAPES[type(node)]
            nodes[node.id] = (before, node.id, after)
        edges = []
        for node in self.nodes.values():
            for label, end in node.edges():
                edges.append((node.id, label, end))
                nodes.setdefault(end, ("[", f"{end}?", "]"))
        return flowchart(nodes, edges)

    def _check_graph(self, start: str | None) -> str:
        first = self.start if start is None else start
        if first is None:
            first = next(iter(self.nodes), None)
        if first is None:
            raise NodeNotFound("ControlFlowOrganizer: it has no nodes; expected one to start at")
        if first not in self.nodes:
            raise NodeNotFound(f"ControlFlowOrganizer: there is no node {first!r} to start at")
        for node in self.nodes.values():
            for _, end in node.edges():
                if end not in self.nodes:
                    raise NodeNotFound(
                        f"{node.id}: an edge leads to {end!r}, which is no node", operation=node
                    )
        return first


class _Run:
    """One way through the nodes."""

    __slots__ = ("_context", "_organizer", "_state")

    def __init__(
        self, organizer: ControlFlowOrganizer, state: ExecutionState, context: ExecutionContext
    ) -> None:
        self._organizer = organizer
        self._state = state
        self._context = context

    def walk(self, start: str) -> Machine:
        """From `start` to wherever edges end."""
        self._state.path.clear()
        self._state.results.clear()
        done: list[ExecutionResult] = []
        yield from self._level(None, (start,), frozenset(), done)
        path = tuple(self._state.path)
        return Performed(results.ControlFlow(tuple(done), path), self._context)

    # Machines all: they yield operations and are sent what they gave.
    def _level(
        self,
        before: str | None,
        starts: tuple[str, ...],
        around: frozenset[str],
        done: list[ExecutionResult],
    ) -> Any:
        seen = set(around)
        waiting = [(before, start) for start in reversed(starts)]
        while waiting:
            before, at = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            if before is not None:
                self._organizer._went(before, at, self._context)
            node = self._organizer.nodes[at]
            self._state.path.append(at)
            try:
                result, following = yield from self._visit(node, around)
            except Exception as error:
                told = isinstance(error, ExecutionFailed | LoopLimitExceeded)
                if told and isinstance(node, LoopNode):
                    raise  # by a node within it, or by the loop itself: it has the whole path
                path = tuple(self._state.path)
                raise ExecutionFailed(
                    f"{at}, number {len(path)} of the path, failed: {error}",
                    operation=node,
                    results=tuple(done),
                    path=path,
                ) from error
            self._state.results[at] = result
            done.append(result)
            waiting += [(at, end) for end in reversed(following)]

    def _visit(self, node: Node, around: frozenset[str]) -> Any:
        match node:
            case OperationNode():
                inside = self._context.inside(node.id)
                result, after = yield node.within(self._state), inside
                self._context = self._context.with_trace(after.trace)
                return result, node.then
            case ConditionalNode():
                outcome = bool(node.condition(self._state))
                chosen = node.true_branch if outcome else node.false_branch
                decision = ControlDecision(node.id, outcome, chosen, "condition")
                self._organizer._decided(decision, self._context)
                return results.Branch(chosen, outcome), () if chosen is None else (chosen,)
            case LoopNode():
                result = yield from self._loop(node, around)
                return result, node.then
        raise FlowError(f"{node!r}: expected a node")

    def _loop(self, node: LoopNode, around: frozenset[str]) -> Any:
        rounds: list[ExecutionResult] = []
        body, then = tuple(node.body), tuple(node.then)
        while True:
            again = bool(node.condition(self._state))
            onwards = body if again else then
            decision = ControlDecision(
                node.id, again, ", ".join(onwards) or None, f"after {len(rounds)} rounds"
            )
            self._organizer._decided(decision, self._context)
            if not again:
                return results.Loop(tuple(rounds))
            if len(rounds) == node.limit:
                raise LoopLimitExceeded(
                    f"{node.id}: its condition still holds after {node.limit} rounds; expected it "
                    "to end within `limit`",
                    operation=node,
                    path=tuple(self._state.path),
                )
            done: list[ExecutionResult] = []
            yield from self._level(node.id, body, around | {node.id}, done)
            rounds.append(results.Group(tuple(done)))
