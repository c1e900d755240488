"""Nodes: the state decides where it goes, and loops end."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx

from rxotlp import operators as ops
from rxotlp.errors import ExecutionFailed, LoopLimitExceeded, NodeNotFound, PipelineError
from rxotlp.flows import (
    AddSpan,
    Call,
    ConditionalNode,
    ControlFlowOrganizer,
    EndTrace,
    ExecutionResult,
    ExecutionState,
    LoopNode,
    Metric,
    OperationNode,
    RecordMetric,
    StartTrace,
)
from rxotlp.flows.results import ControlFlow
from rxotlp.schedulers import AsyncScheduler, SerialScheduler, VirtualScheduler

COUNT = RecordMetric(Metric("n", 1))
NEVER = 30.0


def nothing(_: ExecutionState) -> None:
    """A node that is only visited."""


def add(name: str, by: int = 1) -> Callable[[ExecutionState], object]:
    return lambda state: state.change(name, lambda value: value + by, 0)


def run(organizer: ControlFlowOrganizer, start: str | None = None, **variables: Any) -> ControlFlow:
    result = organizer.execute_control_flow(start, variables=variables)
    assert isinstance(result, ControlFlow)
    return result


def test_a_conditions_outcome_selects_the_edge(scheduler: SerialScheduler) -> None:
    """The described organizer evaluates the condition, and follows every edge all the same."""
    nodes = (
        ConditionalNode("paid?", lambda state: state["paid"], "ship", "remind"),
        OperationNode("ship", COUNT),
        OperationNode("remind", COUNT),
    )

    def described(paid: bool) -> list[str]:
        """Its outcome becomes a result, and `control_edges` alone say what is next."""
        edges = {"paid?": ["ship", "remind"], "ship": [], "remind": []}
        path, stack = [], ["paid?"]
        while stack:
            at = stack.pop()
            path.append(at)
            if at == "paid?":
                _ = ("Branch", "ship" if paid else "remind")
            stack += edges[at]
        return path

    assert sorted(described(True)) == sorted(described(False)) == ["paid?", "remind", "ship"]
    organizer = ControlFlowOrganizer(*nodes, scheduler=scheduler)
    paid = run(organizer, paid=True)
    assert paid.path == ("paid?", "ship")
    assert paid.results[0] == ExecutionResult.Branch("ship", True)
    assert run(organizer, paid=False).path == ("paid?", "remind")


def test_a_loop_ends_when_operations_change_what_it_asks(scheduler: SerialScheduler) -> None:
    """The described state can be changed by nobody: its condition holds for ever, or never."""

    def described(limit: int) -> int:
        """`while condition(state)`, with a state that its body only reads."""
        state, rounds = {"n": 0}, 0
        while state["n"] < 3 and rounds < limit:
            dict(state)["n"] += 1  # what a body sees is its own
            rounds += 1
        return rounds

    assert described(10_000) == 10_000
    organizer = ControlFlowOrganizer(
        LoopNode("loop", lambda state: state.get("n", 0) < 3, "count", then="after"),
        OperationNode("count", add("n")),
        OperationNode("after", COUNT),
        scheduler=scheduler,
    )
    result = run(organizer)
    assert result.path == ("loop", "count", "count", "count", "after")
    loop = result.results[0]
    assert isinstance(loop, ExecutionResult.Loop)
    assert [type(one) for one in loop] == [ExecutionResult.Group] * 3


def test_a_loop_that_never_ends_is_an_error(scheduler: SerialScheduler) -> None:
    """With the path, and nothing after it is done."""
    organizer = ControlFlowOrganizer(
        LoopNode("loop", lambda _: True, "work", then="after", limit=5),
        OperationNode("work", COUNT),
        OperationNode("after", COUNT),
        scheduler=scheduler,
    )
    with pytest.raises(LoopLimitExceeded, match=r"loop: .* after 5 rounds") as caught:
        organizer.execute_control_flow()
    assert caught.value.path == ("loop", *["work"] * 5)
    assert organizer.statistics().performed == {"RecordMetric": 5}


def test_a_loop_may_go_as_often_as_its_limit(clock: VirtualScheduler) -> None:
    """The limit itself is no error."""
    organizer = ControlFlowOrganizer(
        LoopNode("loop", lambda state: state.get("n", 0) < 5, "count", limit=5),
        OperationNode("count", add("n")),
        scheduler=clock,
    )
    assert len(run(organizer).path) == 6


def test_it_goes_depth_first_and_visits_a_node_once(clock: VirtualScheduler) -> None:
    """In the order of the edges; where they join or lead back nothing is done again."""
    organizer = ControlFlowOrganizer(
        OperationNode("a", nothing, then=["b", "c"]),
        OperationNode("b", nothing, then=["d"]),
        OperationNode("c", nothing, then=["d", "a"]),
        OperationNode("d", nothing),
        scheduler=clock,
    )
    assert run(organizer).path == ("a", "b", "d", "c")
    assert run(organizer, "c").path == ("c", "d", "a", "b")


def test_a_round_follows_edges_and_loops_may_nest(clock: VirtualScheduler) -> None:
    """Conditions choose within a loop too; an edge back to the loop ends the round."""
    organizer = ControlFlowOrganizer(
        LoopNode("rows", lambda state: state.get("row", 0) < 2, "row", then="end"),
        OperationNode("row", lambda state: state.update(column=0), then="columns"),
        LoopNode("columns", lambda state: state["column"] < 2, "odd?", then="next"),
        ConditionalNode("odd?", lambda state: state["column"] % 2 == 1, "odd", "even"),
        OperationNode("odd", add("column"), then="columns"),
        OperationNode("even", add("column")),
        OperationNode("next", add("row"), then="rows"),
        OperationNode("end", nothing),
        scheduler=clock,
    )
    row = ("row", "columns", "odd?", "even", "odd?", "odd", "next")
    assert run(organizer).path == ("rows", *row, *row, "end")


def test_what_is_missing_is_found_before_anything_runs(clock: VirtualScheduler) -> None:
    """An edge is wrong whether or not somebody would take it."""
    ran: list[object] = []
    work = OperationNode("work", ran.append, then="choose")
    choose = ConditionalNode("choose", lambda _: True, None, "nowhere")
    with pytest.raises(NodeNotFound, match="choose: an edge leads to 'nowhere'"):
        ControlFlowOrganizer(work, choose, scheduler=clock).execute_control_flow()
    organizer = ControlFlowOrganizer(OperationNode("a", nothing), scheduler=clock)
    with pytest.raises(NodeNotFound, match="no node 'b' to start at"):
        organizer.execute_control_flow("b")
    with pytest.raises(NodeNotFound, match="it has no nodes"):
        ControlFlowOrganizer(scheduler=clock).execute_control_flow()
    clock.run()
    assert ran == []


def test_a_failure_has_the_path_to_it(scheduler: SerialScheduler) -> None:
    """Of an operation and of a condition, within a loop too."""

    def breaks(_: object) -> Any:
        raise ValueError("out of stock")

    organizer = ControlFlowOrganizer(
        OperationNode("a", COUNT, then="loop"),
        LoopNode("loop", lambda _: True, "ask"),
        ConditionalNode("ask", lambda state: state.get("n", 0) < 1 or breaks(state), "count"),
        OperationNode("count", add("n")),
        OperationNode("bad", breaks),
        scheduler=scheduler,
    )
    with pytest.raises(ExecutionFailed, match=r"ask, .* failed: out of stock") as caught:
        organizer.execute_control_flow()
    assert caught.value.path == ("a", "loop", "ask", "count", "ask")
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ExecutionFailed, match="bad, number 1 of the path"):
        organizer.execute_control_flow("bad")


def test_functions_of_the_state_may_be_async_or_block(scheduler: SerialScheduler) -> None:
    """And may return operations."""
    here = threading.get_ident()

    async def fetch(state: ExecutionState) -> None:
        await asyncio.sleep(0.001)
        state["found"] = True

    def block(state: ExecutionState) -> None:
        state["thread"] = threading.get_ident()

    organizer = ControlFlowOrganizer(
        OperationNode("start", StartTrace("search"), then="fetch"),
        OperationNode("fetch", fetch, then="block"),
        OperationNode("block", block, then="report", blocking=True),
        OperationNode("report", lambda _: [AddSpan(None, "found"), EndTrace()], then="end"),
        OperationNode("end", EndTrace()),
        scheduler=scheduler,
    )
    state = ExecutionState()
    result = organizer.execute_control_flow(variables=state)
    assert state["found"]
    assert isinstance(scheduler, VirtualScheduler) or state["thread"] != here
    assert list(state.results) == list(state.path) == ["start", "fetch", "block", "report", "end"]
    assert isinstance(result, ControlFlow)
    assert isinstance(result.results[3], ExecutionResult.Group)
    assert organizer.statistics().open_spans == 0


def test_runs_at_once_have_states_of_their_own(scheduler: SerialScheduler) -> None:
    """Eight threads, and each counts its own rounds."""
    if isinstance(scheduler, VirtualScheduler):
        return  # its time is one thread's
    organizer = ControlFlowOrganizer(
        LoopNode("loop", lambda state: state.get("n", 0) < state["limit"], "count"),
        OperationNode("count", add("n")),
        scheduler=scheduler,
    )
    rounds: dict[int, list[int]] = {}

    def work(limit: int) -> None:
        rounds[limit] = [len(run(organizer, limit=limit).path) - 1 for _ in range(5)]

    threads = [threading.Thread(target=work, args=(limit,)) for limit in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(NEVER)
    assert rounds == {limit: [limit] * 5 for limit in range(1, 9)}


def test_a_stream_of_variables_is_a_stream_of_paths(clock: VirtualScheduler) -> None:
    """One result each; what fails ends nothing."""
    organizer = ControlFlowOrganizer(
        ConditionalNode("paid?", lambda state: state["paid"], "ship"),
        OperationNode("ship", nothing),
        scheduler=clock,
    )
    results: list[Any] = []
    orders = rx.of({"paid": True}, {}, {"paid": False})
    orders.pipe(ops.execute(organizer)).subscribe(results.append)
    clock.run()
    paid, failed, unpaid = results
    assert paid.path == ("paid?", "ship")
    assert isinstance(failed, ExecutionResult.Failure)
    assert unpaid.path == ("paid?",)


def test_a_run_can_be_cancelled(clock: VirtualScheduler) -> None:
    """In the middle of a function that waits."""
    organizer = ControlFlowOrganizer(
        OperationNode("wait", lambda _: asyncio.sleep(60), then="never"),
        OperationNode("never", COUNT),
        scheduler=clock,
    )
    handle = organizer.begin()
    clock.advance_by(1)
    handle.cancel()
    clock.run()
    with pytest.raises(asyncio.CancelledError):
        handle.future.result()
    assert clock.clock < 2
    assert not organizer.statistics().performed


def test_it_is_awaited_on_the_loop_that_runs_it() -> None:
    """Waiting there would never end, and says so."""

    async def main() -> None:
        async with AsyncScheduler() as scheduler:
            organizer = ControlFlowOrganizer(OperationNode("a", COUNT), scheduler=scheduler)
            result = await organizer.aexecute_control_flow("a")
            assert isinstance(result, ControlFlow)
            with pytest.raises(PipelineError, match="aexecute_control_flow"):
                organizer.execute_control_flow()

    asyncio.run(main())


def test_it_draws_itself(clock: VirtualScheduler) -> None:
    """Conditions, loops and what is missing have their shapes."""
    organizer = ControlFlowOrganizer(
        LoopNode("loop", lambda _: False, "ask"),
        ConditionalNode("ask", lambda _: True, "gone"),
        scheduler=clock,
    )
    assert organizer.to_mermaid() == (
        "flowchart LR\n"
        '  n0{{"loop"}}\n'
        '  n1{"ask"}\n'
        '  n2["gone?"]\n'
        '  n0 -->|"body"| n1\n'
        '  n1 -->|"true"| n2\n'
    )


async def ask(_: ExecutionState) -> bool:
    return True


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: OperationNode("", COUNT), ValueError, "expected a name"),
        (lambda: OperationNode("a", 3), TypeError, "an operation, or a function"),  # type: ignore[arg-type]
        (lambda: OperationNode("a", COUNT, blocking=True), ValueError, "HighLatency"),
        (lambda: OperationNode("a", COUNT, then=3), TypeError, "an id, or several"),  # type: ignore[arg-type]
        (lambda: ConditionalNode("a", True), TypeError, "function of the state"),  # type: ignore[arg-type]
        (lambda: ConditionalNode("a", ask), TypeError, "a plain function"),
        (lambda: ConditionalNode("a", bool, ""), ValueError, "expected a name"),
        (lambda: LoopNode("a", bool, ()), ValueError, "one node or more"),
        (lambda: LoopNode("a", bool, "b", limit=0), ValueError, "1 or more"),
        (lambda: ControlFlowOrganizer("a"), TypeError, "an OperationNode"),  # type: ignore[arg-type]
        (
            lambda: ControlFlowOrganizer(*[OperationNode("a", COUNT)] * 2),
            ValueError,
            "'a' already",
        ),
        (lambda: ExecutionState(3), TypeError, "mapping"),  # type: ignore[arg-type]
        (
            lambda: ControlFlowOrganizer(OperationNode("a", COUNT), scheduler=3),  # type: ignore[arg-type]
            TypeError,
            "a scheduler of rxotlp",
        ),
        (
            lambda: ControlFlowOrganizer(OperationNode("a", Call(print)), logger=3),  # type: ignore[arg-type]
            TypeError,
            "a logger of rxotlp",
        ),
    ],
)
def test_bad_arguments_are_told(make: Any, error: type[Exception], text: str) -> None:
    """Where they are written."""
    with pytest.raises(error, match=text):
        make()
