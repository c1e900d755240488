"""The filters and `where`: what goes on, what the sender hears, and the books."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Kind, rejected
from rxotlp.data import Signal, TelemetryData
from rxotlp.processors import (
    attributes,
    body,
    filter_logs,
    filter_metrics,
    filter_resources,
    filter_spans,
    resource,
    where,
)
from rxotlp.testing import Recorder, Rig, ids_of, kind, logs
from rxotlp.wire import records
from tests.support.requests import records_of, requests

EVERY = pytest.mark.parametrize("signal", list(Signal), ids=lambda signal: signal.value)
FILTERS = {
    Signal.TRACES: filter_spans,
    Signal.METRICS: filter_metrics,
    Signal.LOGS: filter_logs,
}
quick = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
small = body < 3
ours = resource("service.name") == "ours"


def both_services() -> TelemetryData:
    """Records 1 and 2 of one service, 3 of another."""
    payload = logs([1, 2], service="ours").to_bytes() + logs([3], service="theirs").to_bytes()
    return TelemetryData.from_bytes(Signal.LOGS, payload)


def admit(rig: Rig, data: TelemetryData) -> Any:
    """Let an element in; its receipt."""
    receipt = rig.feed.admit(data)
    rig.wait(0)
    return receipt


@pytest.mark.parametrize("signal", FILTERS)
def test_a_filter_keeps_what_its_condition_is_true_of(signal: Signal) -> None:
    """The same records as by the same question of full messages, with all above them."""
    condition = resource("service.name") == "b"

    @quick
    @given(requests(signal))
    def check(payload: bytes) -> None:
        data = TelemetryData.from_bytes(signal, payload)
        flags = [
            view.resource.attributes.get("service.name") == "b"
            for view in records.views(signal, payload)
        ]
        whole = records_of(signal, payload)
        expected = [item for item, flag in zip(whole, flags, strict=True) if flag]
        for processor in (
            FILTERS[signal](condition),
            FILTERS[signal](lambda record: condition(record)),
            filter_resources(condition),
            filter_resources(lambda found: found.attributes.get("service.name") == "b"),
        ):
            made = processor(data)
            found = [] if made is None else records_of(signal, made.to_bytes())
            assert found == expected, processor

    check()


@pytest.mark.parametrize("name", ["filter_spans", "filter_metrics", "filter_logs"])
def test_other_signals_pass_as_they_are(name: str) -> None:
    """A filter of spans leaves logs alone, and is not even asked."""

    def never(record: Any) -> bool:
        raise AssertionError(record)

    make = {"filter_spans": filter_spans, "filter_metrics": filter_metrics}.get(name, filter_logs)
    for signal in Signal:
        if FILTERS.get(signal) is not make:
            data = TelemetryData.from_message(signal.names.request())
            assert make(never)(data) is data


@pytest.mark.parametrize(
    "processor",
    [
        filter_logs(small),
        filter_logs(ours),
        filter_logs(lambda record: record.body < 3),
        filter_resources(ours),
    ],
    ids=repr,
)
def test_the_sender_hears_success_and_the_books_count_what_went(processor: Any) -> None:
    """It was meant to go."""
    sink = Recorder()
    rig = Rig().run(ops.chain(processor), ops.export(sink))
    assert kind(admit(rig, both_services())) is Kind.DELIVERED
    assert sink.calls == [[1, 2]]
    assert kind(admit(rig, logs([7], service="theirs"))) is Kind.FILTERED
    assert rig.books["chain"].filtered == 2
    rig.check_books()


def test_an_empty_request_passes() -> None:
    """It has nothing that could be meant to go."""
    empty = TelemetryData.from_bytes(Signal.LOGS, b"")
    assert filter_resources(ours)(empty) is empty
    assert filter_logs(ours)(empty) is empty
    assert where(small, attributes(upsert={"a": 1}))(empty) is empty


@pytest.mark.parametrize("condition", [small, ours, lambda record: record.body < 3])
def test_where_changes_the_records_that_are_meant(condition: Any) -> None:
    """One request stays one, and the sender hears of all of it."""
    sink = Recorder()
    tag = where(condition, attributes(upsert={"tag": 1}))
    rig = Rig().run(ops.chain(tag), ops.export(sink))
    receipt = admit(rig, both_services())
    assert kind(receipt) is Kind.DELIVERED
    assert sink.calls == [[1, 2, 3]]
    rig.check_books()
    made: Any = tag(both_services())
    assert [dict(view.attributes) for view in made.records()] == [{"tag": 1}, {"tag": 1}, {}]


@EVERY
def test_where_loses_no_record(signal: Signal) -> None:
    """Any choice of records of any request comes out again, those that were meant first."""

    @quick
    @given(requests(signal), st.lists(st.booleans(), min_size=60, max_size=60))
    def check(payload: bytes, choice: list[bool]) -> None:
        flags = iter(choice)
        data = TelemetryData.from_bytes(signal, payload)
        seen: list[TelemetryData] = []

        def look(part: TelemetryData) -> TelemetryData:
            seen.append(part)
            return part

        made: Any = where(lambda record: next(flags), look)(data)
        whole = records_of(signal, payload)
        meant = [item for item, flag in zip(whole, choice, strict=False) if flag]
        others = [item for item, flag in zip(whole, choice, strict=False) if not flag]
        assert records_of(signal, made.to_bytes()) == meant + others
        assert [item for part in seen for item in records_of(signal, part.to_bytes())] == meant

    check()


def test_where_all_or_none_are_meant_nothing_is_cut() -> None:
    """The element goes to the processors, or past them, as it is."""
    data, seen = logs([1, 2]), []

    def look(part: TelemetryData) -> TelemetryData:
        seen.append(part)
        return part

    assert where(body < 9, look)(data) is data
    assert seen == [data]
    assert where(body > 9, look)(data) is data
    assert len(seen) == 1


def nothing(data: TelemetryData) -> None:
    """A processor that filters all it gets."""


def singles(data: TelemetryData) -> list[TelemetryData]:
    """A processor that cuts."""
    return data.split(max_items=1)


def renamed(data: TelemetryData) -> TelemetryData:
    """A processor that says something beside the data."""
    return data.replace(metadata={"who": "me"})


@pytest.mark.parametrize(
    ("processor", "calls"),
    [(nothing, [[3]]), (singles, [[1], [2], [3]]), (renamed, [[1, 2], [3]])],
)
@pytest.mark.parametrize("condition", [small, ours], ids=repr)
def test_what_processors_make_goes_on_as_they_made_it(
    processor: Any, calls: list[list[int]], condition: Any
) -> None:
    """`where` joins one element with the rest, and undoes no cut and no metadata."""
    sink = Recorder()
    rig = Rig().run(ops.chain(where(condition, processor)), ops.export(sink))
    receipt = admit(rig, both_services())
    rig.end()
    assert sink.calls == calls
    assert kind(receipt) is (Kind.FILTERED if processor is nothing else Kind.DELIVERED)
    rig.check_books()


def test_a_failed_delivery_of_either_part_is_heard() -> None:
    """The receipt speaks for both."""
    sink = Recorder()
    sink.outcome = lambda data: rejected("no") if 3 in ids_of(data) else DELIVERED
    rig = Rig().run(ops.chain(where(small, singles)), ops.export(sink))
    assert kind(admit(rig, both_services())) is Kind.REJECTED
    rig.check_books()


async def later(data: TelemetryData) -> TelemetryData:
    """A processor that waits."""
    return data


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: where(small), r"where\(body < 3\): expected one processor or more"),
        (lambda: where(3, nothing), r"where\(3, ...\): expected a condition"),  # type: ignore[arg-type]
        (lambda: where(small, 3), r"where\(body < 3, 3\): expected a function of an element"),  # type: ignore[arg-type]
        (lambda: where(small, later), "expected a plain function; put an async one into chain"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_fails_where_it_is_written(build: Callable[[], Any], message: str) -> None:
    """Not at the first element."""
    with pytest.raises((TypeError, ValueError), match=message):
        build()
