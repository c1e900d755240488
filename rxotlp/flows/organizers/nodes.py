"""The nodes of a control flow; plain values, joined by their ids."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rxotlp.flows.operations import Call, HighLatency, Operation
from rxotlp.flows.organizers.state import ExecutionState
from rxotlp.operators._shell import check_count
from rxotlp.operators.chain import is_async

__all__ = ["ConditionalNode", "LoopNode", "Node", "OperationNode", "check_id", "ids"]

Condition = Callable[[ExecutionState], object]


@dataclass(frozen=True, slots=True)
class OperationNode:
    """Does something.

    Args:
        id: its name.
        operation: an operation; or a function of the `ExecutionState`, plain or `async`,
            which may return what a `Call`'s may.
        then: the nodes after it, the first one first.
        blocking: of a function: it may block, and so runs in the scheduler's pool.
    """

    id: str
    operation: Operation | Callable[[ExecutionState], Any]
    then: str | Iterable[str] = ()
    blocking: bool = False

    def __post_init__(self) -> None:
        check_id("OperationNode", self.id)
        if not isinstance(self.operation, Operation) and not callable(self.operation):
            raise TypeError(
                f"OperationNode({self.id!r}, operation={self.operation!r}): expected an operation, "
                "or a function of the state"
            )
        if self.blocking and isinstance(self.operation, Operation):
            raise ValueError(
                f"OperationNode({self.id!r}, blocking=True): expected a function; an operation "
                "says it with HighLatency"
            )
        object.__setattr__(self, "then", ids(f"OperationNode({self.id!r}, then", self.then))

    def edges(self) -> tuple[tuple[str, str], ...]:
        """What each edge is called, and where it leads."""
        return tuple(("", end) for end in self.then)

    def within(self, state: ExecutionState) -> Operation:
        """The operation to execute."""
        function = self.operation
        if isinstance(function, Operation):
            return function
        with_state = _with_state_async if is_async(function) else _with_state
        call = Call(partial(with_state, function, state), self.id)
        return HighLatency(call) if self.blocking else call


@dataclass(frozen=True, slots=True)
class ConditionalNode:
    """Chooses an edge.

    Args:
        id: its name.
        condition: a plain function of the `ExecutionState`; true or false.
        true_branch, false_branch: the node after it; None for none.
    """

    id: str
    condition: Condition
    true_branch: str | None = None
    false_branch: str | None = None

    def __post_init__(self) -> None:
        check_id("ConditionalNode", self.id)
        _check_condition(f"ConditionalNode({self.id!r}", self.condition)
        for branch in (self.true_branch, self.false_branch):
            if branch is not None:
                check_id(f"ConditionalNode({self.id!r}), a branch of it", branch)

    def edges(self) -> tuple[tuple[str, str], ...]:
        """What each edge is called, and where it leads."""
        branches = (("true", self.true_branch), ("false", self.false_branch))
        return tuple((name, end) for name, end in branches if end is not None)


@dataclass(frozen=True, slots=True)
class LoopNode:
    """Goes round its body while a condition holds.

    Args:
        id: its name.
        condition: asked before each round; a plain function of the `ExecutionState`.
        body: where each round begins, the first one first; a round follows edges from there,
            and ends where there are none or one leads back to the loop.
        then: the nodes after the loop.
        limit: rounds it may go, 1 or more; one more is `LoopLimitExceeded`.
    """

    id: str
    condition: Condition
    body: str | Iterable[str]
    then: str | Iterable[str] = ()
    limit: int = 1000

    def __post_init__(self) -> None:
        check_id("LoopNode", self.id)
        call = f"LoopNode({self.id!r}"
        _check_condition(call, self.condition)
        check_count(f"{call}, limit", self.limit, why="it could never go round")
        object.__setattr__(self, "body", ids(f"{call}, body", self.body))
        object.__setattr__(self, "then", ids(f"{call}, then", self.then))
        if not self.body:
            raise ValueError(f"{call}, body=()): expected one node or more; it could only spin")

    def edges(self) -> tuple[tuple[str, str], ...]:
        """What each edge is called, and where it leads."""
        return (*(("body", end) for end in self.body), *(("", end) for end in self.then))


Node = OperationNode | ConditionalNode | LoopNode


def check_id(call: str, given: object) -> None:
    """Raise when `given` cannot be the name of a node or a phase."""
    if not isinstance(given, str):
        raise TypeError(f"{call}(id={given!r}): expected a str")
    if not given:
        raise ValueError(f"{call}(id=''): expected a name")


def ids(call: str, given: object) -> tuple[str, ...]:
    """One id or several, as a tuple."""
    if isinstance(given, str):
        given = (given,)
    if not isinstance(given, Iterable):
        raise TypeError(f"{call}={given!r}): expected an id, or several")
    kept = tuple(given)
    for one in kept:
        check_id(f"{call}={kept!r}); in it ", one)
    return kept


def _with_state(function: Callable[[ExecutionState], Any], state: ExecutionState, _: Any) -> Any:
    return function(state)


async def _with_state_async(
    function: Callable[[ExecutionState], Any], state: ExecutionState, _: Any
) -> Any:
    return await function(state)


def _check_condition(call: str, condition: object) -> None:
    if not callable(condition):
        raise TypeError(f"{call}, condition={condition!r}): expected a function of the state")
    if is_async(condition):
        raise TypeError(
            f"{call}, condition={condition!r}): expected a plain function; what must be awaited "
            "is an OperationNode before it, which puts the answer into the state"
        )
