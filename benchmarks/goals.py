"""P1 to P10: the work, the peer, the goal, and which benchmark measures it.

A goal is judged against every peer's best way of doing the work, and a part that could not be
measured is "not shown", never "met".
"""

from collections.abc import Iterator

from benchmarks.end_to_end import p2, p3, p4
from benchmarks.graph import p7
from benchmarks.measures import Measure, Section, from_row, named
from benchmarks.overload import p6
from benchmarks.sdk_encoding import sdk_encoding
from benchmarks.sizes import p10
from benchmarks.where import explained
from benchmarks.wire import p1, p8
from benchmarks.workers import p9
from benchmarks.workloads import described

__all__ = ["GOALS"]

P1_ON_SPANS = {"count": 20.0, "merge 16": 50.0, "split in 2": 10.0, "by resource": 15.0}
P1_ELSEWHERE = 5.0
P5_AT_LEAST = 5.0
P7_STAGES, P7_FUSED = 3.0, 1.0
P8_AT_LEAST = 3.0

MESSAGES = ("opentelemetry-proto", "protobuf")
SDK_ENCODER = ("opentelemetry-exporter-otlp-proto-common", "protobuf")
ROUNDS = 7


def _p1(smoke: bool) -> Iterator[Measure]:
    rounds, items = (1, 200) if smoke else (ROUNDS, None)
    for row in p1(rounds=rounds, items=items):
        on_spans = row["workload"] == "spans"
        measure = from_row(
            f"{row['job']}, {row['workload']}",
            row,
            runs=rounds,
            payload=described(row["workload"], items=items),
            peer=named(*MESSAGES),
            at_least=P1_ON_SPANS[row["job"]] if on_spans else P1_ELSEWHERE,
        )
        yield explained(measure, row["ours"])


def _p5(smoke: bool) -> Iterator[Measure]:
    rounds, items = (1, 50) if smoke else (ROUNDS, 512)
    for row in sdk_encoding(rounds=rounds, items=items):
        single = row["workload"] == "one"  # a batch of one is all fixed costs, and reported
        yield from_row(
            row["workload"],
            row,
            runs=rounds,
            payload=row["payload"],
            peer=named(*SDK_ENCODER),
            at_least=None if single else P5_AT_LEAST,
        )


def _p7(smoke: bool) -> Iterator[Measure]:
    rounds, elements = (1, 50) if smoke else (9, 5000)
    for row in p7(rounds=rounds, elements=elements):
        measure = from_row(
            f"{row['work']}: {row['shape']}",
            row,
            runs=rounds,
            payload=described("tiny"),
            peer=named("reactivex"),
            at_most=P7_FUSED if row["shape"] == "fused" else P7_STAGES,
        )
        yield explained(measure, row["ours"])


def _p8(smoke: bool) -> Iterator[Measure]:
    rounds, items = (1, 200) if smoke else (ROUNDS, None)
    for row in p8(rounds=rounds, items=items):
        measure = from_row(
            f"{row['job']}, {row['workload']}",
            row,
            runs=rounds,
            payload=described(row["workload"], items=items),
            peer=named(*MESSAGES),
            at_least=P8_AT_LEAST,
        )
        yield explained(measure, row["ours"])


GOALS = (
    Section(
        "P1",
        "count, merge 16, split in 2, split by resource",
        _p1,
        "decode, regroup, encode with opentelemetry-proto messages",
        "on spans 20x, 50x, 10x, 15x or more; elsewhere 5x or more",
    ),
    Section(
        "P2",
        "gateway OTLP/HTTP in, route, batch 8192, OTLP/HTTP out: CPU us a span",
        p2,
        "the Go Collector with batching",
        'at least 3x less with validate="shape", 1.5x with "full"',
    ),
    Section("P3", "the same with gzip both ways", p3, "the Go Collector", "at least 6x less"),
    Section(
        "P4",
        "the same over gRPC",
        p4,
        "the Go Collector",
        'less with "shape", at most 1.5x with "full"',
    ),
    Section(
        "P5",
        "what opentelemetry-sdk made to OTLP bytes",
        _p5,
        "opentelemetry-sdk's encoder",
        "at least 5x less, equal messages",
    ),
    Section(
        "P6",
        "twice what it can take, for 60 s",
        p6,
        "itself at the knee",
        "at least 95 % goodput, no acknowledged id lost, at most 150 MiB above idle",
    ),
    Section(
        "P7",
        "graph overhead: 5 stages, receipts and books on",
        _p7,
        "plain reactivex, the same 5 functions behind a Subject",
        "at most 3x, fused at most 1x",
    ),
    Section(
        "P8",
        "a Python predicate on every span, half of them go",
        _p8,
        "decode, filter, encode with messages",
        "at least 3x less",
    ),
    Section(
        "P9",
        "a second worker process on two cores",
        p9,
        "one worker",
        "at least 1.8x",
    ),
    Section(
        "P10",
        "cost against size: items a request, resources a request, stages",
        p10,
        "itself",
        "a straight line: the upper half's slope at most 1.5 times the lower's",
    ),
)
