"""Data along processors: in order, or side by side and united without doubling anything."""

import asyncio
import json
import threading
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.data import Signal, TelemetryData
from rxotlp.errors import ExecutionFailed, PipelineError
from rxotlp.flows import (
    AsyncControlFlow,
    DataFlowOrganizer,
    DataFlowState,
    DataProcessor,
    Metric,
    RecordMetric,
    StartTrace,
)
from rxotlp.flows.operations import Operation
from rxotlp.schedulers import AsyncScheduler, SerialScheduler, VirtualScheduler
from rxotlp.testing import Rig
from rxotlp.wire.values import any_value

Process = Callable[[TelemetryData, DataFlowState], Any]


def elements(clock: VirtualScheduler, *operations: Operation) -> list[TelemetryData]:
    """What operations make."""
    flow = AsyncControlFlow(scheduler=clock)
    made: list[TelemetryData] = []
    flow.telemetry.subscribe(made.append)
    for operation in operations:
        context = flow.state.new_context()
        flow.state.perform(operation, context)
    flow.complete()
    clock.run()
    return made


def spans(clock: VirtualScheduler, *names: str) -> TelemetryData:
    made = elements(clock, *(StartTrace(name, {"name": name}) for name in names))
    return TelemetryData.merge(made)


def puts(key: str, value: Any) -> Process:
    def process(data: TelemetryData, _: DataFlowState) -> TelemetryData:
        def change(record: Any) -> None:
            for pair in record.attributes:
                if pair.key == key:
                    pair.value.CopyFrom(any_value(value))
                    return
            record.attributes.add(key=key, value=any_value(value))

        return data.map_records(change)

    return process


def without(name: str) -> Process:
    return lambda data, _: data.filter_records(lambda record: record.name != name)


def beside(*processes: Process, **options: Any) -> DataFlowOrganizer:
    made = [DataProcessor(one, f"p{number}", True) for number, one in enumerate(processes)]
    return DataFlowOrganizer(made, **options)


def shown(data: TelemetryData | None) -> list[tuple[str, dict[str, Any]]]:
    assert data is not None
    return [(record.name, dict(record.attributes)) for record in data.records()]


def test_processors_follow_each_other(clock: VirtualScheduler) -> None:
    """Each is given what the one before it made, and they share a state."""

    class Counts:
        """A processor that is an object."""

        def process(self, data: TelemetryData, state: DataFlowState) -> TelemetryData:
            state.change("items", lambda items: items + data.items, 0)
            return data

    organizer = DataFlowOrganizer([without("a"), Counts(), puts("x", 1)], scheduler=clock)
    data = spans(clock, "a", "b")
    for _ in range(2):
        assert shown(organizer.execute_data_flow(data)) == [("b", {"name": "b", "x": 1})]
    assert organizer.state["items"] == 2
    assert organizer.execute_data_flow(spans(clock, "a")) is None


def test_what_works_side_by_side_is_united_not_doubled(clock: VirtualScheduler) -> None:
    """The described merge has the results of all copies: joined, each record is there twice, and
    each with one of the changes alone."""
    data = spans(clock, "a", "b")
    one, other = puts("x", 1), puts("y", 2)
    described = TelemetryData.merge([one(data, DataFlowState()), other(data, DataFlowState())])
    assert described.items == 4
    assert not any({"x", "y"} <= attributes.keys() for _, attributes in shown(described))

    ours = beside(one, other, scheduler=clock).execute_parallel_data_flow(data)
    assert shown(ours) == [
        ("a", {"name": "a", "x": 1, "y": 2}),
        ("b", {"name": "b", "x": 1, "y": 2}),
    ]


def test_parallel_processors_see_only_their_own_copy(clock: VirtualScheduler) -> None:
    """Then the others follow, in order, on what they made together."""
    seen: list[list[str]] = []

    def look(data: TelemetryData, _: DataFlowState) -> TelemetryData:
        seen.append(sorted({key for _, attributes in shown(data) for key in attributes}))
        return data

    organizer = DataFlowOrganizer(
        [
            look,
            DataProcessor(lambda data, state: look(puts("x", 1)(data, state), state), "x", True),
            DataProcessor(lambda data, state: look(puts("y", 1)(data, state), state), "y", True),
        ],
        scheduler=clock,
    )
    organizer.execute_parallel_data_flow(spans(clock, "a"))
    assert seen == [["name", "x"], ["name", "y"], ["name", "x", "y"]]


@pytest.mark.parametrize(("conflicts", "value"), [("first", 1), ("last", 2)])
def test_a_conflict_is_decided_by_policy(
    clock: VirtualScheduler, conflicts: Any, value: int
) -> None:
    """Never by who was faster."""

    async def slow(data: TelemetryData, state: DataFlowState) -> Any:
        await asyncio.sleep(5)
        return puts("x", 1)(data, state)

    organizer = beside(slow, puts("x", 2), conflicts=conflicts, scheduler=clock)
    made = organizer.execute_parallel_data_flow(spans(clock, "a"))
    assert shown(made) == [("a", {"name": "a", "x": value})]


def test_a_conflict_may_be_an_error(clock: VirtualScheduler) -> None:
    """Which says between whom, and over what; two that agree are none."""
    data = spans(clock, "a")
    organizer = beside(puts("x", 1), puts("x", 2), conflicts="error", scheduler=clock)
    with pytest.raises(ExecutionFailed, match="p0 and p1 changed attribute 'x'"):
        organizer.execute_parallel_data_flow(data)
    organizer = beside(puts("x", 1), puts("x", 1), conflicts="error", scheduler=clock)
    assert shown(organizer.execute_parallel_data_flow(data)) == [("a", {"name": "a", "x": 1})]


def test_what_one_removes_is_gone_and_what_one_adds_is_there_once(
    clock: VirtualScheduler,
) -> None:
    """Also when it is an attribute, and when several add the same."""
    data, more = spans(clock, "a", "b"), spans(clock, "new")

    def adds(given: TelemetryData, _: DataFlowState) -> TelemetryData:
        return TelemetryData.merge([given, more])

    def bare(given: TelemetryData, _: DataFlowState) -> TelemetryData:
        return given.map_records(lambda record: record.ClearField("attributes"))

    made = beside(without("b"), adds, adds, bare, scheduler=clock).execute_parallel_data_flow(data)
    assert shown(made) == [("a", {}), ("new", {"name": "new"})]
    organizer = beside(lambda _data, _state: None, adds, scheduler=clock)
    assert organizer.execute_parallel_data_flow(data) is None
    organizer = beside(without("a"), without("b"), scheduler=clock)
    assert organizer.execute_parallel_data_flow(data) is None


def test_fields_and_resources_are_united_too(clock: VirtualScheduler) -> None:
    """Not attributes of records alone."""
    data = spans(clock, "a", "b")

    def renames(given: TelemetryData, _: DataFlowState) -> TelemetryData:
        return given.map_records(lambda span: setattr(span, "name", span.name.upper()))

    def places(key: str) -> Process:
        def process(given: TelemetryData, _: DataFlowState) -> TelemetryData:
            message = given.message
            for group in message.resource_spans:
                group.resource.attributes.add(key=key, value=any_value(key))
                group.schema_url = "https://schema"
            return given.derive(message)

        return process

    organizer = beside(renames, places("host"), places("zone"), scheduler=clock)
    made = organizer.execute_parallel_data_flow(data)
    assert [name for name, _ in shown(made)] == ["A", "B"]
    assert made is not None
    (resource,) = made.resources()  # equal groups are one
    assert dict(resource.attributes) == {
        "service.name": "unknown_service",
        "host": "host",
        "zone": "zone",
    }
    assert made.message.resource_spans[0].schema_url == "https://schema"


def test_points_and_log_records_are_matched(clock: VirtualScheduler) -> None:
    """They have no ids; those that look alike are told apart by their order."""
    (metrics,) = elements(
        clock, *(RecordMetric(Metric("n", n, attributes={"n": n})) for n in range(4))
    )
    organizer = beside(puts("x", 1), puts("y", 2), scheduler=clock)
    made = organizer.execute_parallel_data_flow(metrics)
    assert made is not None
    assert [dict(point.attributes) for point in made.records()] == [
        {"n": n, "x": 1, "y": 2} for n in range(4)
    ]
    assert [point.metric.name for point in made.records()] == ["n"] * 4
    records = [{"body": {"stringValue": word}} for word in "aab"]
    logs = TelemetryData.from_json(
        Signal.LOGS,
        json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}),
    )
    made = organizer.execute_parallel_data_flow(logs)
    assert made is not None
    assert [(record.body, dict(record.attributes)) for record in made.records()] == [
        (word, {"x": 1, "y": 2}) for word in "aab"
    ]


@given(
    alike=st.lists(st.sampled_from([("1", "a"), ("1", "b"), ("2", "a")]), min_size=1, max_size=8),
    steps=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kind=st.sampled_from(["logs", "points"]),
)
def test_side_by_side_is_what_one_after_the_other_is(
    alike: list[tuple[str, str]], steps: tuple[int, int], kind: str
) -> None:
    """Of changes that do not meet, whichever records are changed and however alike they are."""
    if kind == "logs":
        signal = Signal.LOGS
        records: Any = [{"timeUnixNano": t, "body": {"stringValue": b}} for t, b in alike]
        group = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    else:
        signal = Signal.METRICS
        points = [{"timeUnixNano": t, "asInt": str(ord(b))} for t, b in alike]
        metrics = [{"name": "m", "gauge": {"dataPoints": points}}]
        group = {"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}
    data = TelemetryData.from_json(signal, json.dumps(group))

    def every(step: int, key: str) -> Process:
        def process(given: TelemetryData, _: DataFlowState) -> TelemetryData:
            numbers = count(1)

            def change(record: Any) -> None:
                if next(numbers) % step == 0:
                    record.attributes.add(key=key, value=any_value(step))

            return given.map_records(change)

        return process

    organizer = beside(every(steps[0], "x"), every(steps[1], "y"))
    together = organizer.execute_parallel_data_flow(data)
    in_order = organizer.execute_data_flow(data)
    assert together is not None
    assert in_order is not None
    assert together.message == in_order.message


def test_async_processors_work_at_once(scheduler: SerialScheduler) -> None:
    """On every scheduler; none waits for another to end."""
    with VirtualScheduler() as clock:
        data = spans(clock, "a")
    arrived: list[asyncio.Event] = []

    def meets(key: str) -> Process:
        async def process(given: TelemetryData, state: DataFlowState) -> Any:
            arrived.append(asyncio.Event())
            while len(arrived) < 3:
                await asyncio.sleep(0.001)
            return puts(key, 1)(given, state)

        return process

    organizer = beside(meets("x"), meets("y"), meets("z"), scheduler=scheduler)
    made = organizer.execute_parallel_data_flow(data)
    assert shown(made) == [("a", {"name": "a", "x": 1, "y": 1, "z": 1})]


def test_every_failure_arrives(clock: VirtualScheduler) -> None:
    """Named after its processor; the others are finished first."""
    finished: list[int] = []

    def breaks(_data: TelemetryData, _state: DataFlowState) -> None:
        raise ValueError("no such host")

    def fine(data: TelemetryData, _: DataFlowState) -> TelemetryData:
        finished.append(1)
        return data

    data = spans(clock, "a")
    with pytest.raises(ExecutionFailed, match="processor breaks failed: no such host"):
        DataFlowOrganizer([breaks], scheduler=clock).execute_data_flow(data)
    with pytest.raises(ExecutionFailed, match="p0 failed: no such host"):
        beside(breaks, fine, scheduler=clock).execute_parallel_data_flow(data)
    with pytest.raises(ExceptionGroup) as caught:
        beside(breaks, fine, breaks, scheduler=clock).execute_parallel_data_flow(data)
    assert len(caught.value.exceptions) == 2
    assert finished == [1, 1]
    organizer = DataFlowOrganizer([lambda _data, _state: 3], scheduler=clock)
    with pytest.raises(ExecutionFailed, match="returned 3; expected a TelemetryData or None"):
        organizer.execute_data_flow(data)


@pytest.mark.parametrize("waits", [False, True])
def test_in_a_stream_receipts_and_books_are_right(waits: bool) -> None:
    """Copies have none, so what comes out stands for what went in, whole."""

    async def slow(data: TelemetryData, _: DataFlowState) -> TelemetryData:
        await asyncio.sleep(1)
        return data

    def picky(data: TelemetryData, _: DataFlowState) -> TelemetryData | None:
        if data.record.body == ord("b"):
            return None
        if data.record.body == ord("c"):
            raise ValueError("c")
        return data

    processors: list[Any] = [
        DataProcessor(puts("x", 1), "x", True),
        DataProcessor(puts("y", 1), "y", True),
        picky,
    ]
    with Rig() as rig:
        organizer = DataFlowOrganizer([*processors, *([slow] if waits else [])])
        organizer.scheduler = rig.clock
        keys: list[set[str]] = []
        rig.run(
            ops.execute(organizer),
            on_next=lambda data: keys.extend(set(one.attributes) for one in data.records()),
        )
        receipts = rig.play("abcd|")
        assert [moment.what for moment in rig.happened] == ["a", "d", "|"]
        kinds = [receipt.outcome.kind for receipt in receipts if receipt.outcome is not None]
        assert kinds[2] is Kind.REJECTED
        assert len(kinds) == 4
        assert all({"x", "y"} <= one for one in keys)
        rig.check()


def test_dispose_cancels_what_works() -> None:
    """And its sender hears of it."""
    ended: list[str] = []

    async def long(data: TelemetryData, _: DataFlowState) -> TelemetryData:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")
        return data

    with Rig() as rig:
        organizer = beside(long, long, scheduler=rig.clock)
        rig.run(organizer.as_operator())
        rig.send([1])
        rig.wait(1)
        rig.dispose()
        rig.clock.run()
        assert ended == ["cancelled"] * 2
        rig.check()


def test_it_is_awaited_and_not_waited_for_on_its_own_loop(clock: VirtualScheduler) -> None:
    """Plain processors need no loop at all."""

    async def slow(data: TelemetryData, _: DataFlowState) -> TelemetryData:
        await asyncio.sleep(0.001)
        return data

    data = spans(clock, "a")

    async def main() -> None:
        async with AsyncScheduler() as scheduler:
            organizer = DataFlowOrganizer([slow], scheduler=scheduler)
            assert await organizer.aexecute_data_flow(data) is data
            assert await organizer.aexecute_parallel_data_flow(data) is data
            with pytest.raises(PipelineError, match=r"await organizer\.aexecute_data_flow"):
                organizer.execute_data_flow(data)
            organizer = DataFlowOrganizer([puts("x", 1)], scheduler=scheduler)
            assert organizer.execute_data_flow(data) is not None

            async def long(_data: TelemetryData, _state: DataFlowState) -> None:
                await asyncio.sleep(60)

            work = DataFlowOrganizer([long], scheduler=scheduler).aexecute_data_flow(data)
            task = asyncio.ensure_future(work)
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_many_threads_share_a_state_without_a_race(clock: VirtualScheduler) -> None:
    """`change` is one step."""

    def counts(data: TelemetryData, state: DataFlowState) -> TelemetryData:
        state.change("n", lambda n: n + 1, 0)
        return data

    data, organizer = spans(clock, "a"), beside(counts, counts)

    def work() -> None:
        for _ in range(50):
            organizer.execute_parallel_data_flow(data)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert organizer.state["n"] == 800


def test_it_draws_itself() -> None:
    """As it runs in parallel."""
    organizer = DataFlowOrganizer(
        [
            DataProcessor(without("a"), "filter"),
            DataProcessor(puts("x", 1), "x", True),
            DataProcessor(puts("y", 1), "y", True),
        ]
    )
    drawn = organizer.to_mermaid()
    assert drawn.startswith("flowchart LR\n")
    for label in ("filter", "x", "y", "united"):
        assert f'"{label}"' in drawn
    assert DataFlowOrganizer().to_mermaid().count("-->") == 1


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: DataProcessor(3), TypeError, "a function of an element"),  # type: ignore[arg-type]
        (lambda: DataFlowOrganizer([3]), TypeError, "process"),
        (lambda: DataFlowOrganizer(conflicts="both"), ValueError, "'first', 'last' or 'error'"),  # type: ignore[arg-type]
        (lambda: DataFlowOrganizer(state={}), TypeError, "a DataFlowState"),  # type: ignore[arg-type]
        (lambda: DataFlowOrganizer(scheduler=3), TypeError, "a scheduler"),  # type: ignore[arg-type]
        (lambda: DataFlowOrganizer().execute_data_flow(3), TypeError, "a TelemetryData"),  # type: ignore[arg-type]
        (lambda: DataFlowOrganizer().as_operator(on_error="no"), ValueError, "on_error='no'"),
    ],
)
def test_bad_arguments_are_told(make: Any, error: type[Exception], text: str) -> None:
    """Where they are written."""
    with pytest.raises(error, match=text):
        make()


def test_a_trace_is_still_a_trace(clock: VirtualScheduler) -> None:
    """Ids and times pass through what unites."""
    (data,) = elements(clock, StartTrace("a"))
    made = beside(puts("x", 1), puts("y", 1), scheduler=clock).execute_parallel_data_flow(data)
    assert made is not None
    before, after = data.record.message, made.record.message
    del after.attributes[:]
    assert before == after
