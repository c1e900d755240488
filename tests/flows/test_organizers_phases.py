"""Phases: each when its own dependencies are done, whatever becomes of the others."""

import asyncio
import threading
from typing import Any

import pytest
import reactivex as rx
from reactivex import Subject

from rxotlp import operators as ops
from rxotlp.errors import (
    CircularDependency,
    ExecutionFailed,
    PhaseNotFound,
    PhasesFailed,
    PipelineError,
)
from rxotlp.flows import (
    AddSpan,
    Call,
    ComplexTrace,
    EndTrace,
    ExecutionContext,
    ExecutionFlowOrganizer,
    ExecutionPhase,
    ExecutionResult,
    ExecutionType,
    HighLatency,
    Metric,
    NestedTrace,
    Phases,
    RecordMetric,
    StartTrace,
)
from rxotlp.schedulers import AsyncScheduler, SerialScheduler, VirtualScheduler

ASYNC, HYBRID = ExecutionType.ASYNC, ExecutionType.HYBRID
COUNT = RecordMetric(Metric("n", 1))


class Diary:
    """Functions that take their time, and when they began and ended."""

    def __init__(self, clock: VirtualScheduler) -> None:
        self.clock = clock
        self.began: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.at_once = self.most = 0

    def takes(self, name: str, seconds: float) -> Call:
        async def work(_: ExecutionContext) -> str:
            self.began[name] = self.clock.clock
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            try:
                await asyncio.sleep(seconds)
            finally:
                self.at_once -= 1
            self.ended[name] = self.clock.clock
            return name

        return Call(work, name)


def fails(text: str = "out of stock") -> Call:
    def function(_: Any) -> None:
        raise ValueError(text)

    return Call(function)


def report(result: ExecutionResult) -> Phases:
    assert isinstance(result, Phases)
    return result


def test_phases_run_after_what_they_depend_on(scheduler: SerialScheduler) -> None:
    """On every scheduler, and in whatever order they were written."""
    organizer = ExecutionFlowOrganizer(
        [
            ExecutionPhase("ship", [COUNT], dependencies=["pay", "pack"]),
            ExecutionPhase("pack", [COUNT, COUNT], ASYNC, ["order"]),
            ExecutionPhase("pay", [COUNT], HYBRID, "order"),
            ExecutionPhase("order", [COUNT]),
        ],
        scheduler=scheduler,
    )
    for _ in range(2):  # a run uses nothing up
        result = report(organizer.execute_phases())
        assert result.ran[0] == "order"
        assert result.ran[-1] == "ship"
        assert sorted(result.ran) == ["order", "pack", "pay", "ship"]
        assert not result.failed
        assert not result.skipped
        assert isinstance(result, ExecutionResult.Batch)
    assert organizer.statistics().performed == {"RecordMetric": 10}


def test_a_phase_starts_with_its_own_dependencies_not_with_the_wave(
    clock: VirtualScheduler,
) -> None:
    """The described organizer joins all that are ready before it looks again: `after a` would
    begin at 10 there, held up by `b`, which it has nothing to do with."""
    diary = Diary(clock)
    phases = [
        ExecutionPhase("a", [diary.takes("a", 1)]),
        ExecutionPhase("b", [diary.takes("b", 10)]),
        ExecutionPhase("after a", [diary.takes("after a", 1)], dependencies=["a"]),
        ExecutionPhase("after all", [diary.takes("after all", 1)], dependencies=["after a", "b"]),
    ]

    async def described() -> None:
        """Waves: all that are ready, joined, and again."""
        done: set[str] = set()
        while len(done) < len(phases):
            wave = [
                phase
                for phase in phases
                if phase.id not in done and done.issuperset(phase.dependencies)
            ]
            work = [phase.operations[0].function(None) for phase in wave]  # type: ignore[index]
            await asyncio.gather(*work)
            done |= {phase.id for phase in wave}

    over: list[object] = []
    begun = clock.clock
    clock.run_coroutine(described(), lambda _result, error: over.append(error))
    clock.run()
    assert over == [None]
    assert diary.began["after a"] - begun == 10

    begun = clock.clock
    ExecutionFlowOrganizer(phases, scheduler=clock).execute_phases()
    assert diary.began["after a"] - begun == 1
    assert diary.began["after all"] - begun == 10


def test_a_phase_orders_its_operations_by_its_type(clock: VirtualScheduler) -> None:
    """SYNC in order, ASYNC at once, HYBRID what is critical first."""
    for kind, starts in [
        (ExecutionType.SYNC, [0, 1, 2, 3]),
        (ASYNC, [0, 0, 0, 0]),
        (HYBRID, [0, 2, 2, 1]),  # d is critical too, so it follows a
    ]:
        diary = Diary(clock)
        a, b, c, d = (diary.takes(name, 1) for name in "abcd")
        operations = (
            [ComplexTrace([a], [b]), HighLatency(NestedTrace([c])), d]
            if kind is HYBRID
            else [a, b, c, d]
        )
        begun = clock.clock
        organizer = ExecutionFlowOrganizer(
            [ExecutionPhase("only", operations, kind)], scheduler=clock
        )
        organizer.execute_phases()
        assert [diary.began[name] - begun for name in "abcd"] == starts, kind


def test_parts_of_a_hybrid_phase_are_children_of_its_critical_ones(
    clock: VirtualScheduler,
) -> None:
    """What is done at once continues where the critical parts ended."""
    parts = [NestedTrace([], name=name) for name in ("mail", "print")]
    organizer = ExecutionFlowOrganizer(
        [ExecutionPhase("order", [ComplexTrace([StartTrace("order")], parts)], HYBRID)],
        scheduler=clock,
    )
    seen: list[Any] = []
    organizer.telemetry.subscribe(lambda data: seen.extend(data.records()))
    organizer.execute_phases()
    organizer.complete()
    clock.run()
    root = next(span for span in seen if span.name == "order")
    assert {span.name: span.parent_span_id for span in seen if span.name != "order"} == {
        "mail": root.span_id,
        "print": root.span_id,
    }


def test_a_failing_phase_stops_its_dependents_alone(scheduler: SerialScheduler) -> None:
    """What does not depend on it is no less wanted, and the result tells all of it."""
    organizer = ExecutionFlowOrganizer(
        [
            ExecutionPhase("bad", [fails(), COUNT]),
            ExecutionPhase("next", [COUNT], dependencies=["bad"]),
            ExecutionPhase("last", [COUNT], dependencies=["next", "good"]),
            ExecutionPhase("good", [COUNT]),
            ExecutionPhase("after good", [COUNT], dependencies=["good"]),
        ],
        scheduler=scheduler,
    )
    with pytest.raises(PhasesFailed, match=r"1 of 5 .* bad .*skipped: next, last") as caught:
        organizer.execute_phases()
    result = report(caught.value.result)  # type: ignore[arg-type]
    assert sorted(result.ran) == ["after good", "good"]
    assert dict(result.skipped) == {"next": ("bad",), "last": ("next",)}
    failed = result.failed["bad"]
    assert isinstance(failed, ExecutionFailed)
    assert failed.never_ran == (COUNT,)
    assert caught.value.exceptions == (failed,)


def test_every_failure_of_a_phase_arrives(clock: VirtualScheduler) -> None:
    """Operations at once may fail at once."""
    phase = ExecutionPhase("p", [fails("a"), COUNT, fails("b")], ASYNC)
    with pytest.raises(PhasesFailed) as caught:
        ExecutionFlowOrganizer([phase], scheduler=clock).execute_phases()
    (group,) = caught.value.exceptions
    assert isinstance(group, ExceptionGroup)
    assert [str(error) for error in group.exceptions] == ["a", "b"]


def test_what_cannot_work_is_found_before_anything_runs(clock: VirtualScheduler) -> None:
    """The described organizer runs what it can, then finds out."""
    ran: list[object] = []
    first = ExecutionPhase("first", [Call(ran.append)])
    organizer = ExecutionFlowOrganizer(
        [
            first,
            ExecutionPhase("a", dependencies=["first", "c"]),
            ExecutionPhase("b", dependencies=["a"]),
            ExecutionPhase("c", dependencies=["b"]),
        ],
        scheduler=clock,
    )
    with pytest.raises(CircularDependency, match=r"a -> |-> a") as caught:
        organizer.execute_phases()
    assert {"a", "b", "c"} == set(caught.value.path)
    organizer = ExecutionFlowOrganizer(
        [first, ExecutionPhase("a", dependencies="none")], scheduler=clock
    )
    with pytest.raises(PhaseNotFound, match="a: depends on 'none', which is no phase"):
        organizer.execute_phases()
    clock.run()
    assert ran == []


def test_no_more_run_at_once_than_may(clock: VirtualScheduler) -> None:
    """Operations of ASYNC phases count as well as phases."""
    diary = Diary(clock)
    organizer = ExecutionFlowOrganizer(
        [
            ExecutionPhase(f"{n}", [diary.takes(f"{n}.{m}", 1) for m in range(10)], kind)
            for n, kind in enumerate([ASYNC, ASYNC, HYBRID])
        ],
        concurrency_limit=3,
        scheduler=clock,
    )
    organizer.execute_phases()
    assert diary.most == 3
    assert len(diary.ended) == 30


def test_a_limit_may_change(clock: VirtualScheduler) -> None:
    """As those of operators may."""
    limits: Subject[int] = Subject()
    diary = Diary(clock)
    organizer = ExecutionFlowOrganizer(
        [ExecutionPhase("p", [diary.takes(f"{n}", 1) for n in range(20)], ASYNC)],
        concurrency_limit=limits,
        scheduler=clock,
    )
    clock.schedule_relative(0.5, lambda *_: limits.on_next(2))
    handle = organizer.begin()
    clock.run()
    assert handle.future.done()
    assert len(diary.ended) == 20
    assert max(diary.ended.values()) == 7  # 8 in the first second, 2 in each after it


def test_a_run_can_be_cancelled(clock: VirtualScheduler) -> None:
    """What runs is cancelled, and what waits for it never starts."""
    diary = Diary(clock)
    organizer = ExecutionFlowOrganizer(
        [
            ExecutionPhase("a", [diary.takes("a", 10)]),
            ExecutionPhase("b", [diary.takes("b", 10), diary.takes("c", 10)], ASYNC),
            ExecutionPhase("d", [diary.takes("d", 1)], dependencies="a"),
        ],
        scheduler=clock,
    )
    ended: list[object] = []
    handle = organizer.begin(None, lambda _result, error: ended.append(type(error)))
    clock.advance_by(1)
    handle.cancel()
    handle.cancel()
    clock.run()
    assert ended == [asyncio.CancelledError]
    assert set(diary.began) == {"a", "b", "c"}
    assert not diary.ended
    handle = organizer.begin()
    handle.cancel()  # before it began
    clock.run()
    assert handle.future.done()
    assert not diary.ended


def test_it_is_awaited_on_the_loop_that_runs_it_and_not_waited_for() -> None:
    """Waiting there would never end."""

    async def main() -> None:
        async with AsyncScheduler() as scheduler:
            organizer = ExecutionFlowOrganizer([ExecutionPhase("a", [COUNT])], scheduler=scheduler)
            assert report(await organizer.aexecute_phases()).ran == ("a",)
            with pytest.raises(PipelineError, match="aexecute_phases"):
                organizer.execute_phases()
            task = asyncio.ensure_future(
                ExecutionFlowOrganizer(
                    [ExecutionPhase("long", [Call(lambda _: asyncio.sleep(60))])],
                    scheduler=scheduler,
                ).aexecute_phases()
            )
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_many_threads_may_run_one_organizer(scheduler: SerialScheduler) -> None:
    """Runs do not disturb each other."""
    if isinstance(scheduler, VirtualScheduler):
        return  # its time is one thread's
    organizer = ExecutionFlowOrganizer(
        [
            ExecutionPhase("a", [COUNT]),
            ExecutionPhase("b", [COUNT] * 5, ASYNC, ["a"]),
            ExecutionPhase("c", [COUNT], dependencies=["b"]),
        ],
        scheduler=scheduler,
    )
    ran: list[tuple[str, ...]] = []
    threads = [
        threading.Thread(
            target=lambda: ran.extend(report(organizer.execute_phases()).ran for _ in range(10))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ran == [("a", "b", "c")] * 80
    assert organizer.statistics().performed["RecordMetric"] == 560


def test_a_stream_starts_runs(clock: VirtualScheduler) -> None:
    """Each element's entries are attributes of a run's context."""
    seen: list[object] = []
    organizer = ExecutionFlowOrganizer(
        [ExecutionPhase("a", [Call(lambda context: seen.append(context.attributes["order"]))])],
        scheduler=clock,
    )
    results: list[Any] = []
    orders = rx.of({"order": 1}, "no mapping", {"order": 2})
    orders.pipe(ops.execute(organizer)).subscribe(results.append)
    clock.run()
    assert seen == [1, 2]
    assert [type(one).__name__ for one in results] == ["Phases", "Failure", "Phases"]


def test_a_run_happens_under_the_span_it_is_given(clock: VirtualScheduler) -> None:
    """And a span that one phase leaves open is nothing to another."""
    organizer = ExecutionFlowOrganizer(
        [
            ExecutionPhase("a", [AddSpan(None, "a")]),
            ExecutionPhase("b", [AddSpan(None, "b"), EndTrace()], dependencies="a"),
        ],
        scheduler=clock,
    )
    spans: list[Any] = []
    organizer.telemetry.subscribe(lambda data: spans.extend(data.records()))
    root = organizer.state.perform(StartTrace("root"), organizer.state.new_context())
    organizer.execute_phases(context=root.context)
    organizer.complete()
    clock.run()
    by_name = {span.name: span for span in spans}
    assert by_name["a"].parent_span_id == by_name["root"].span_id
    assert by_name["b"].parent_span_id == by_name["root"].span_id


def test_an_empty_organizer_and_an_empty_phase_are_done(clock: VirtualScheduler) -> None:
    """Nothing to wait for."""
    assert report(ExecutionFlowOrganizer(scheduler=clock).execute_phases()).ran == ()
    phases = [ExecutionPhase(kind.value, (), kind) for kind in ExecutionType]
    assert len(report(ExecutionFlowOrganizer(phases, scheduler=clock).execute_phases()).ran) == 3


def test_thousands_of_phases_may_follow_each_other(clock: VirtualScheduler) -> None:
    """Also when there is nothing to do in them."""
    for operations in ((), (COUNT,)):
        organizer = ExecutionFlowOrganizer(
            [
                ExecutionPhase(f"{n}", operations, dependencies=[f"{n - 1}"] if n else ())
                for n in range(3000)
            ],
            scheduler=clock,
        )
        assert len(report(organizer.execute_phases())) == 3000


def test_it_draws_itself(clock: VirtualScheduler) -> None:
    """With what is missing, too."""
    organizer = ExecutionFlowOrganizer(
        [ExecutionPhase("a", (), ASYNC, ["b"]), ExecutionPhase('"c"', (), dependencies=["a"])],
        scheduler=clock,
    )
    assert organizer.to_mermaid() == (
        "flowchart LR\n"
        '  n0["a, async"]\n'
        '  n1["#34;c#34;, sync"]\n'
        '  n2["b?"]\n'
        "  n2 --> n0\n"
        "  n0 --> n1\n"
    )


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: ExecutionPhase(""), ValueError, "expected a name"),
        (lambda: ExecutionPhase(3), TypeError, "expected a str"),  # type: ignore[arg-type]
        (lambda: ExecutionPhase("a", COUNT), TypeError, "as a list"),  # type: ignore[arg-type]
        (lambda: ExecutionPhase("a", [3]), TypeError, "got 3"),  # type: ignore[list-item]
        (lambda: ExecutionPhase("a", (), "sync"), TypeError, "ExecutionType"),  # type: ignore[arg-type]
        (lambda: ExecutionPhase("a", dependencies=3), TypeError, "an id, or several"),  # type: ignore[arg-type]
        (lambda: ExecutionPhase("a", dependencies=[3]), TypeError, "expected a str"),  # type: ignore[list-item]
        (lambda: ExecutionFlowOrganizer(["a"]), TypeError, "an ExecutionPhase"),  # type: ignore[list-item]
        (
            lambda: ExecutionFlowOrganizer([ExecutionPhase("a"), ExecutionPhase("a")]),
            ValueError,
            "'a' already",
        ),
        (lambda: ExecutionFlowOrganizer(concurrency_limit=0), ValueError, "1 or more"),
        (lambda: ExecutionFlowOrganizer().as_operator(max_concurrent=0), ValueError, "1 or more"),
        (lambda: ExecutionFlowOrganizer().begin("a"), TypeError, "mapping"),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_told(make: Any, error: type[Exception], text: str) -> None:
    """Where they are written."""
    with pytest.raises(error, match=text):
        make()
