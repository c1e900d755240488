"""Every operator and every processor of ours keeps the rules that we ask of others'."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from reactivex import operators as rx_ops

from rxotlp import operators as ops
from rxotlp import processors
from rxotlp._core.outcomes import failed
from rxotlp.data import TelemetryData
from rxotlp.processors import attr
from rxotlp.testing import Recorder, check_operator, check_processor, logs, spans


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest keeps log records, whose exceptions keep elements."""
    monkeypatch.setattr(logging.getLogger("rxotlp"), "disabled", True)


async def slowly(data: TelemetryData) -> TelemetryData:
    await asyncio.sleep(0.01)
    return data


def same(data: TelemetryData) -> TelemetryData:
    return data


Check = dict[str, Any]
CASES: dict[str, tuple[Callable[..., Any], Check]] = {
    "batch": (lambda: ops.batch(max_items=3, max_delay=1), {}),
    "batch idle": (lambda: ops.batch(max_items=30, max_delay=9, max_idle=0.01), {}),
    "broadcast": (
        lambda: ops.broadcast(ops.chain(same), ops.chain(slowly)),
        {"may": {"copy"}},
    ),
    "chain": (lambda: ops.chain(same), {}),
    "chain async": (lambda: ops.chain(same, slowly), {}),
    "circuit_breaker": (lambda: ops.circuit_breaker(ops.chain(slowly)), {}),
    "circuit_breaker export": (
        lambda exporter: ops.circuit_breaker(exporter, failures=2),
        {"exports": True},
    ),
    "collect": (lambda: ops.collect(max_records=3, max_delay=1), {}),
    "discarding": (
        lambda: ops.discarding("debounced", rx_ops.debounce(0.01)),
        {"may": {"drop"}},
    ),
    "export": (lambda exporter: ops.export(exporter), {"exports": True}),
    "export adaptive": (
        lambda exporter: ops.export(exporter, max_concurrent=ops.adaptive_concurrency()),
        {"exports": True},
    ),
    "failover": (lambda: ops.failover([ops.chain(same), ops.chain(slowly)], linger=1.0), {}),
    "failover batch": (
        lambda: ops.failover([ops.batch(max_items=3, max_delay=1), ops.chain(same)]),
        {},
    ),
    "failover export": (
        lambda exporter: ops.failover([Recorder(failed("down")), exporter]),
        {"exports": True},
    ),
    "filter_records": (
        lambda: ops.filter_records(lambda record: record.body != 3),
        {"may": {"filter"}},
    ),
    "log": (lambda: ops.log("here"), {}),
    "map_columns": (lambda: ops.map_columns(lambda batch: {}), {}),
    "map_records": (lambda: ops.map_records(lambda record: None), {}),
    "measure": (lambda: ops.measure("here"), {}),
    "mirror": (lambda: ops.mirror(ops.chain(slowly), 0.5), {}),
    "mirror export": (lambda: ops.mirror(Recorder(failed("down")), 1), {}),
    "parallel": (lambda: ops.parallel(slowly, max_concurrent=2), {"may": {"reorder"}}),
    "parallel blocking": (lambda: ops.parallel(same, max_concurrent=2), {"may": {"reorder"}}),
    "parallel ordered": (lambda: ops.parallel(slowly, max_concurrent=2, ordered=True), {}),
    "parallel priority": (
        lambda: ops.parallel(slowly, max_concurrent=2, priority=lambda data: data.items),
        {"may": {"reorder"}},
    ),
    "queue": (
        lambda: ops.queue(max_out=1, backoff=0.01, linger=5.0),
        {"may": {"acknowledge", "reorder"}},
    ),
    "rate_limit": (lambda: ops.rate_limit(1000, burst=3), {}),
    "records": (lambda: ops.records(), {}),
    "route": (
        lambda exporter: ops.route("signal", {}, default=ops.export(exporter)),
        {"exports": True},
    ),
    "route cut": (
        lambda exporter: ops.route(
            ops.by_attribute("id"), {3: ops.export(exporter)}, default=ops.export(exporter)
        ),
        {"exports": True, "element": spans},
    ),
    "sample_ratio": (
        lambda: ops.sample_ratio(0.5),
        {"may": {"filter"}, "element": spans},
    ),
    "scatter_gather": (
        lambda: ops.scatter_gather(slowly, same, merge=lambda parts: parts[0]),
        {},
    ),
    "split_by": (lambda: ops.split_by("service.name"), {}),
    "split_by selector": (lambda: ops.split_by(ops.by_scope()), {}),
    "time_limit": (lambda: ops.time_limit(ops.chain(slowly), 20), {}),
    "time_limit export": (
        lambda exporter: ops.time_limit(ops.export(exporter, retry=None), 20),
        {"exports": True},
    ),
    "wire_tap": (lambda: ops.wire_tap(lambda _: None), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_an_operator_of_ours_keeps_every_rule(case: str) -> None:
    """What we ask of other people's operators holds for all of ours."""
    make, options = CASES[case]
    check_operator(make, name=case, **options)


def test_no_operator_is_left_out() -> None:
    """A new one that nobody listed would be checked by nobody."""
    public = {
        name
        for name in ops.__all__
        if name[0].islower() and not hasattr(getattr(ops, name), "is_selector")
    }
    no_telemetry = {
        "adaptive_concurrency",  # a limit of `export`: tests/operators/test_adaptive.py
        "execute",  # its elements are operations: tests/flows/test_operator.py
    }
    assert {case.split()[0] for case in CASES} == public - no_telemetry


PROCESSORS: dict[str, tuple[Callable[..., Any], Check]] = {
    "attributes": (
        lambda: processors.attributes(upsert={"env": "test"}, level="record"),
        {},
    ),
    "filter_logs": (
        lambda: processors.filter_logs(where=lambda record: record.body != 3),
        {"may": {"filter"}},
    ),
    "filter_metrics": (lambda: processors.filter_metrics(where=attr("a") == 1), {}),
    "filter_resources": (
        lambda: processors.filter_resources(where=lambda _: True),
        {"may": {"filter"}},
    ),
    "filter_spans": (
        lambda: processors.filter_spans(where=attr("id") != 3),
        {"may": {"filter"}, "element": spans},
    ),
    "redact": (lambda: processors.redact(keys=["user.*"]), {"element": spans}),
    "where": (
        lambda: processors.where(attr("id") == 3, processors.attributes(upsert={"three": True})),
        {"element": spans},
    ),
}


@pytest.mark.parametrize("case", PROCESSORS)
def test_a_processor_of_ours_keeps_every_rule(case: str) -> None:
    """Processors are what people compose most."""
    make, options = PROCESSORS[case]
    check_processor(make(), name=case, **{"element": logs, **options})


def test_no_processor_is_left_out() -> None:
    """The rest of the package's names make conditions."""
    conditions = {"attr", "body", "duration", "name", "resource", "scope", "severity", "status"}
    public = {name for name in processors.__all__ if name[0].islower()} - conditions
    assert set(PROCESSORS) == public
