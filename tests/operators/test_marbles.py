"""Every operator's docstring has a marble diagram, and it is what the operator does."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome, failed
from rxotlp.data import Signal, TelemetryData
from rxotlp.testing import Moment, Recorder, Rig, SlowRecorder, diagrams, ids_of, logs

# The elements of `execute` are operations: its diagram is played in tests/flows/test_operator.py.
OPERATORS = sorted(
    name
    for name in ops.__all__
    if name[0].islower() and name != "execute" and not hasattr(getattr(ops, name), "is_selector")
)


async def slow_but_b(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(1 if letters(data) == "b" else 4)
    return data


async def two_seconds(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(2)
    return data


class SlowSink:
    async def export(self, data: TelemetryData) -> Any:
        await slow_but_b(data)
        return DELIVERED


def letters(data: TelemetryData) -> str:
    return "".join(map(chr, ids_of(data)))


def element(text: str) -> TelemetryData:
    return logs(map(ord, text))


def as_span(data: TelemetryData) -> TelemetryData:
    """Its letter is the span's name; b belongs to a trace without a chance."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name=letters(data))
    span.trace_id = b"\x01" * 9 + (b"\0" if span.name == "b" else b"\xff") * 7
    return data.derive(request)


def as_log(data: TelemetryData) -> TelemetryData:
    (record,) = data.records()
    return data.derive(element(record.name).message)


def not_b(data: TelemetryData) -> TelemetryData | None:
    return None if letters(data) == "b" else data


def as_it_is(data: TelemetryData) -> TelemetryData:
    return data


def down_until(element: str) -> Recorder:
    """A backend that fails everything before that element."""

    def answer(data: TelemetryData) -> Outcome:
        return DELIVERED if letters(data) >= element else failed("down")

    return Recorder(answer)


# What comes out are Deliveries, which have no letters.
DELIVERIES = ["adaptive_concurrency", "circuit_breaker", "export", "failover", "time_limit"]

EXAMPLES: dict[str, Callable[[], Any]] = {
    "adaptive_concurrency": lambda: ops.export(
        SlowRecorder(4.0), max_concurrent=ops.adaptive_concurrency()
    ),
    "batch": lambda: ops.batch(max_items=3, max_delay=5),
    "broadcast": lambda: ops.broadcast(ops.chain(as_it_is), ops.chain(as_it_is)),
    "chain": lambda: ops.chain(lambda data: data.derive(data.to_bytes()), not_b),
    "circuit_breaker": lambda: ops.circuit_breaker(down_until("d"), failures=2, open_for=4),
    "collect": lambda: ops.collect(max_records=3, max_delay=5),
    "discarding": lambda: ops.discarding("debounced", rx_ops.debounce(2.0)),
    "export": lambda: ops.export(SlowSink(), max_concurrent=2),
    "failover": lambda: ops.failover([down_until("c"), Recorder()], recover_after=6),
    "filter_records": lambda: ops.filter_records(lambda record: record.body != ord("b")),
    "log": lambda: ops.log("here"),
    "map_columns": lambda: ops.map_columns(lambda batch: {"severity_number": [9]}),
    "map_records": lambda: ops.map_records(lambda record: setattr(record, "severity_number", 9)),
    "measure": lambda: ops.measure("here"),
    "mirror": lambda: ops.mirror(Recorder(), 0.5),
    "parallel": lambda: ops.parallel(slow_but_b, max_concurrent=2),
    "queue": lambda: rx.compose(ops.queue(max_out=1), ops.chain(two_seconds)),
    "rate_limit": lambda: ops.rate_limit(0.5, burst=1),
    "records": lambda: ops.records(),
    "sample_ratio": lambda: rx.compose(
        ops.chain(as_span), ops.sample_ratio(0.5), ops.chain(as_log)
    ),
    "scatter_gather": lambda: ops.scatter_gather(as_it_is, as_it_is, merge=TelemetryData.merge),
    "split_by": lambda: ops.split_by("service.name"),
    "time_limit": lambda: ops.time_limit(ops.export(SlowRecorder(4.0), max_concurrent=1), 5),
    "wire_tap": lambda: ops.wire_tap(letters),
}


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "route"])
def test_the_diagram_in_the_docstring_is_what_the_operator_does(name: str) -> None:
    """A diagram that nobody runs is wrong within a month."""
    rows = diagrams(getattr(ops, name))
    source, expected = rows["source"], rows["result"]
    rig = Rig()
    seen: list[Moment] = []
    contents: list[str] = []

    def note(value: Any) -> None:
        text = letters(value) if isinstance(value, TelemetryData) else ""
        contents.append(text)
        seen.append(Moment(round(rig.clock.clock), "*"))

    with rig.assembly:
        rig.feed.pipe(EXAMPLES[name]()).subscribe(
            note,
            on_completed=lambda: seen.append(Moment(round(rig.clock.clock), "|")),
            scheduler=rig.clock,
        )
    rig.feed.connect(rig.clock)
    for moment in source.moments:
        rig.clock.advance_to(moment.second)
        if moment.what == "|":
            rig.feed.stop()
            rig.clock.advance_by(0)
        elif name in ("split_by", "records") and moment.what == "a":
            rig.feed.admit(TelemetryData.from_bytes(Signal.LOGS, two_services()))
            rig.clock.advance_by(0)
        else:
            rig.send([ord(moment.what)])
    rig.clock.run()
    assert seen == [
        Moment(moment.second, "|" if moment.what == "|" else "*") for moment in expected.moments
    ]
    if name not in DELIVERIES:
        wanted = [expected.letters(moment.what) for moment in expected.moments[:-1]]
        assert contents == wanted


def two_services() -> bytes:
    return logs([ord("x")], service="x").to_bytes() + logs([ord("y")], service="y").to_bytes()


def test_the_diagram_of_route_is_what_it_does() -> None:
    """The same, with its branches."""
    rows = diagrams(ops.route)
    rig = Rig()
    archive, backend = Recorder(), Recorder()
    branches = {"archive": archive, "backend": backend}

    def with_letter(data: TelemetryData) -> str:
        return letters(data)

    rig.run(
        ops.route(with_letter, {"l": ops.export(archive)}, default=ops.export(backend)),
    )
    times: dict[str, list[Moment]] = {name: [] for name in branches}
    for moment in rows["source"].moments:
        rig.clock.advance_to(moment.second)
        if moment.what == "|":
            rig.end()
            continue
        before = {name: len(sink.ids) for name, sink in branches.items()}
        rig.send([ord(moment.what)])
        for name, sink in branches.items():
            times[name] += [
                Moment(moment.second, chr(number)) for number in sink.ids[before[name] :]
            ]
    for name in branches:
        assert times[name] == [moment for moment in rows[name].moments if moment.what != "|"]
    assert len(rig.results) == len(rows["result"].moments) - 1
    assert rig.completed()


def test_every_operator_is_played() -> None:
    """A new operator without an example would slip through."""
    assert sorted([*EXAMPLES, "route"]) == OPERATORS
    assert all(callable(getattr(ops, name)) for name in OPERATORS)
