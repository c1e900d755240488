"""What is measured besides P1 to P10: sections of the same kind, by the pieces they are about.

A new benchmark is one entry in `MORE`: its name, what it does and a function that yields
measures. Its pictures it writes itself, into benchmarks/results/.
"""

import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.columns import SIZES, columns
from benchmarks.costs import costs
from benchmarks.json import json_ratios
from benchmarks.knee import knee
from benchmarks.measures import Measure, Section, from_row, named
from benchmarks.memory import memory
from benchmarks.operators import hand_over, sampling
from benchmarks.peers import peers
from benchmarks.pipelines import pipelines
from benchmarks.processors import processors
from benchmarks.scheduling import SCHEDULING
from benchmarks.sdk import on_end
from benchmarks.sdk_export import sdk_export
from benchmarks.transports import transports
from benchmarks.workloads import described

__all__ = ["MORE"]

# What processors are wanted to be; others are measured and have no goal.
PROCESSORS_AT_LEAST = {"attributes, resource": 10.0, "filter, status": 3.0}
MESSAGES = ("opentelemetry-proto", "protobuf")


def _json(smoke: bool) -> Iterator[Measure]:
    rounds, items = (1, 200) if smoke else (7, None)
    for row in json_ratios(rounds=rounds, items=items):
        workload = row["workload"]
        yield from_row(
            f"{row['job']}, {workload}",
            row,
            runs=rounds,
            payload=described(workload, items=None if workload == "tiny" else items),
            peer=named("protobuf"),
            at_least=5.0,
        )


def _processors(smoke: bool) -> Iterator[Measure]:
    rounds, items = (1, 200) if smoke else (7, None)
    for row in processors(rounds=rounds, items=items):
        yield from_row(
            f"{row['job']}, {row['workload']}",
            row,
            runs=rounds,
            payload=described(row["workload"], items=items),
            peer=named(*MESSAGES),
            at_least=PROCESSORS_AT_LEAST.get(row["job"]),
        )


def _operators(smoke: bool) -> Iterator[Measure]:
    rounds, items = (1, 200) if smoke else (7, None)
    for row in sampling(**({"rounds": 1, "items": 200} if smoke else {})):
        yield from_row(
            f"{row['job']}, {row['workload']}",
            row,
            runs=rounds,
            payload=described(row["workload"], items=items),
            peer=named(*MESSAGES),
            at_least=3.0,
        )
    added = hand_over(rounds=1, elements=50) if smoke else hand_over()
    yield Measure(
        "queue to another scheduler, added",
        statistics.median(added),
        unit="us an element",
        spread=(min(added), max(added)),
        runs=len(added),
        payload=described("tiny"),
        at_most=10.0,
    )


def _sdk(smoke: bool) -> Iterator[Measure]:
    rounds, spans = (1, 50) if smoke else (21, 5000)
    for row in on_end(rounds=rounds, spans=spans):
        peer = named("opentelemetry-sdk")
        yield from_row(f"{row['job']}, ours by the SDK's", row, runs=rounds, peer=peer, at_most=1.0)


def _costs(smoke: bool) -> Iterator[Measure]:
    how: dict[str, Any] = {"rounds": 1, "elements": 8, "items": 20} if smoke else {}
    for row in costs(**how):
        yield from_row(
            row["operator"],
            row,
            runs=1 if smoke else 9,
            payload=described("spans", items=20 if smoke else 500),
            peer=named("reactivex") + ", a Subject and a map",
        )


def _columns(smoke: bool) -> Iterator[Measure]:
    rounds, sizes = (1, (1, 32)) if smoke else (7, SIZES)
    for row in columns(rounds=rounds, sizes=sizes):
        yield from_row(
            f"{row['job']}, {row['size']} spans",
            row,
            runs=rounds,
            payload=described("spans", items=row["size"]),
            peer="filter_records with a function, map_records",
        )


def _memory(smoke: bool) -> Iterator[Measure]:
    row = memory(items=2000) if smoke else memory()
    yield Measure(
        f"growth from {row['early_items']} to {row['items']} items",
        row["growth_mib"],
        unit="MiB",
        runs=1,
        payload="spans, logs, metrics: 100 items a request",
        at_most=row["limit_mib"],
        detail=row,
    )


MORE = (
    Section("knee", "gateways in an open loop at rising rates", knee, "everybody of P2"),
    Section("transports", "one gateway over every way in and out", transports, "OTLP/HTTP"),
    Section(
        "pipelines",
        "one pipeline on sync, asyncio, threads and both; fused and not; sizes of batches",
        pipelines,
        "sync, fused, batches of 8192",
    ),
    Section(
        "peers",
        "batches of 8192, and five stages, in one process",
        peers,
        "reactivex, streamz, bytewax and asyncio by hand",
    ),
    Section(
        "sdk-export",
        "a program's span, from its start to the collector's answer",
        sdk_export,
        "opentelemetry-sdk's batch processor and OTLP exporters",
    ),
    Section("JSON", "OTLP/JSON both ways", _json, "json_format with ids put right", "5x or more"),
    Section(
        "processors",
        "ready-made processors on encoded requests",
        _processors,
        "the same in place on full messages",
    ),
    Section(
        "operators",
        "sampling without decoding; a queue between two schedulers",
        _operators,
        "the same on full messages; the pipeline without the queue",
    ),
    Section(
        "sdk",
        "an ended span in the application's thread",
        _sdk,
        "opentelemetry-sdk's BatchSpanProcessor",
        "at most 1x",
    ),
    Section(
        "costs",
        "what an operator adds to the way of an element of 500 spans",
        _costs,
        "a Subject with one map, in plain reactivex",
    ),
    Section(
        "columns",
        "an expression of pyarrow, by the size of a request; above 1x it is quicker",
        _columns,
        "the same by a function of each record",
    ),
    Section("memory", "the demo's gateway, a million items", _memory, "itself", "at most 32 MiB"),
    *SCHEDULING,
)
