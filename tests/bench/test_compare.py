"""Comparisons as they are run: real processes, small workloads."""

import gc
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import (
    DELIVERED,
    AsyncScheduler,
    Outcome,
    Pipeline,
    Signal,
    SyncScheduler,
    VirtualScheduler,
    exporters,
    failed,
    rejected,
)
from rxotlp import operators as ops
from rxotlp.bench import Progress, Variant, compare, isolation, rounds, trial, workload
from rxotlp.bench.results import FIGURES, NOT_MEASURED
from rxotlp.data import TelemetryData

SMALL = workload("traces", items=4000, items_per_request=100)


def same(data: TelemetryData) -> TelemetryData:
    return data


def worth(data: TelemetryData) -> bool:
    return data.items > 0


def raising(data: TelemetryData) -> TelemetryData:
    raise ValueError("no such thing")


def quick(variants: dict[str, Any], **options: Any) -> Any:
    """Two rounds of 40 requests."""
    return compare(variants, options.pop("work", SMALL), **{"runs": 2, "time": 60, **options})


def test_every_figure_of_every_variant_is_there() -> None:
    """Throughput, CPU, latency, memory, batch sizes, closing reasons and books, per run."""
    found = quick({"batch": ops.batch(max_items=1000), "async": Variant(ops.batch(), "async")})
    for one in found.variants.values():
        assert one.problem is None
        assert [run.round for run in one.runs] == [0, 1]
        for run in one.runs:
            assert (run.items, run.requests) == (4000, 40)
            assert run.outcomes["delivered"] == 4000
            assert 0 < run.latency["p50"] <= run.latency["p90"] <= run.latency["max"]
            assert run.latency["max"] <= run.seconds
            assert run.cpu_seconds > 0
            assert all(figure.of(run) is not None for figure in FIGURES)
    run = found.variants["batch"].typical
    assert run.closed == {"batch": {"items": 4}}
    assert (run.exports, run.export_items) == (4, 1000)
    assert any(line.startswith("batch: received=4000 sent=4000") for line in run.books)
    assert found.variants["async"].scheduler == "async"


@pytest.mark.parametrize(
    "variant",
    [
        lambda source: source,
        lambda source: source.pipe(ops.export(exporters.Memory())),
        lambda source: source.pipe(ops.split_by("service.name"), ops.batch(), ops.queue()),
        lambda source: source.pipe(rx_ops.filter(worth), ops.records()),
        lambda source: Pipeline(source.pipe(ops.batch()), scheduler=AsyncScheduler()),
        lambda source: Pipeline(source.pipe(ops.batch()), scheduler=SyncScheduler()),
        lambda source: rx.merge(source.pipe(ops.batch()), rx.never()),
        ops.route("signal", {Signal.TRACES: ops.export(exporters.Memory())}),
        Variant(ops.batch(), SyncScheduler),
        Variant(ops.batch(), AsyncScheduler),
    ],
    ids=["nothing", "own export", "several", "native", "async pipeline", "sync pipeline",
         "endless", "route", "sync class", "async class"],
)  # fmt: skip
def test_any_stream_on_the_source_is_a_variant(variant: Any, monkeypatch: Any) -> None:
    """With an exporter of its own or without, whole pipelines, streams that never end."""
    monkeypatch.setattr(trial, "SILENT", 0.2)
    found = quick({"only": variant}, runs=1)
    assert found.variants["only"].problem is None
    assert found.variants["only"].runs[0].outcomes["delivered"] == 4000


@pytest.mark.parametrize(
    ("variant", "says"),
    [
        (lambda source: 7, r"got int: a variant is a function \(source\) -> source.pipe"),
        (lambda source: source.nothing, r"AttributeError: .*test_compare.py:\d+\)"),
        (ops.filter_records(lambda record: False), "nothing of the workload reached an exporter"),
        (ops.chain(raising), "rejected=3200"),
        (ops.route("signal", {Signal.LOGS: ops.batch()}, default=rx_ops.filter(lambda _: False)),
         "does the pipeline take this signal"),
        (lambda source: source.pipe(rx_ops.map(lambda _: 1 / 0)), "ZeroDivisionError"),
        (lambda source: rx.empty(), "ended before a request came through"),
        (lambda source: os._exit(3), "ended with status 3 before it had figures"),
        (lambda source: os.kill(os.getpid(), signal.SIGKILL), "too little memory"),
        (lambda source: os.kill(os.getpid(), signal.SIGUSR1), "died of SIGUSR1"),
        (lambda source: (_ for _ in ()).throw(MemoryError()), "too little memory"),
        (Variant(ops.batch(), lambda: 7), "its scheduler's function made a int"),  # type: ignore[arg-type, return-value]
        (Variant(ops.batch(), lambda: VirtualScheduler()), "virtual time has no speed"),
        (lambda source: Pipeline(source, scheduler=VirtualScheduler()), "virtual time"),
    ],
)  # fmt: skip
def test_a_variant_that_fails_says_why_and_the_others_run(variant: Any, says: str) -> None:
    """Also when it takes its process with it."""
    found = quick({"bad": variant, "good": ops.batch()})
    assert len(found.variants["good"].runs) == 2
    assert found.variants["bad"].runs == []
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(found.variants["bad"].problem)
    assert found.baseline == "good"


@pytest.mark.parametrize("scheduler", ["sync", "async"])
def test_one_that_hangs_is_ended(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In time, and with how far it came."""

    def sleep(data: TelemetryData) -> TelemetryData:
        time.sleep(60)
        return data

    stuck = Variant(ops.chain(sleep), scheduler)
    waiting = Variant(lambda source: source.pipe(rx_ops.delay(60.0)), scheduler)
    monkeypatch.setattr(isolation, "GRACE", 0.5)
    found = quick({"stuck": stuck, "waiting": waiting, "good": ops.batch()}, timeout=1)
    assert "did not finish within 1 s" in (found.variants["stuck"].problem or "")
    assert "0 of 8 requests came through" in (found.variants["waiting"].problem or "")
    assert len(found.variants["good"].runs) == 2


def test_what_fails_later_keeps_what_it_had(tmp_path: Path) -> None:
    """Partial results are results."""
    calls = tmp_path / "calls"

    def fail_later(source: Any) -> Any:
        with calls.open("a") as called:
            called.write("x")
        if calls.stat().st_size > 4:  # two for the short run, and two for each round
            raise ValueError("enough")
        return source

    found = quick({"later": fail_later, "good": ops.batch()}, runs=3)
    assert len(found.variants["later"].runs) == 1
    assert "enough" in (found.variants["later"].problem or "")
    assert len(found.variants["good"].runs) == 3
    assert "later: failed after 1 run: " in str(found)


def test_an_interrupt_keeps_what_there_is() -> None:
    """Ctrl-C in the third round, twenty minutes before the end."""

    def stop(now: Progress) -> None:
        if now.done == 6:
            raise KeyboardInterrupt

    found = quick({"a": ops.batch(), "b": ops.batch()}, runs=9, progress=stop)
    assert found.interrupted
    assert [len(one.runs) for one in found.variants.values()] == [2, 2]
    assert "interrupted in round 3 of 9" in str(found)


def test_an_unknown_name_is_noted_and_the_known_ones_run() -> None:
    """With the names that there are."""
    variants = {"a": ops.batch(), "b": ops.batch()}
    found = quick(variants, only=["b", "c"], runs=1)
    assert list(found.variants) == ["b"]
    assert "no variant 'c'; there are: 'a', 'b'" in found.notes
    with pytest.raises(ValueError, match=r"no such variant; there are: 'a', 'b'"):
        quick(variants, only=["c"])


def test_too_little_time_gives_fewer_rounds_and_says_so() -> None:
    """One round at least."""
    found = quick({"a": ops.batch()}, runs=50, time=0.01)
    assert found.rounds == 1
    assert "1 of 50 rounds: time=0.01 s was over" in str(found)


def test_the_time_decides_how_long_a_run_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the workload does not."""
    monkeypatch.setattr(rounds, "LONGEST", 0.5)
    work = workload([data.detached() for data in SMALL.elements])
    short, long = (
        compare({"a": ops.batch()}, work, runs=1, time=seconds).variants["a"].runs[0].items
        for seconds in (0.01, 30)
    )
    assert short < long


def test_little_memory_is_said_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel does not say why it kills."""
    monkeypatch.setattr(rounds, "LITTLE_MEMORY", 1 << 60)
    found = quick({"a": ops.batch()}, runs=1)
    assert "MiB of memory were free" in str(found)


def test_those_that_do_not_do_the_same_work_are_told_apart() -> None:
    """Half the work is no speed."""
    found = quick({"all": ops.batch(), "half": ops.filter_records(lambda span: span.kind == 3)})
    assert "they do not do the same work" in str(found)


def test_what_a_variant_warns_of_is_told_once() -> None:
    """Not a thousand lines in the terminal; and rejections are in the notes."""

    def answer(data: TelemetryData) -> Outcome:
        return rejected("too old") if data.items == 100 else DELIVERED

    mixed = workload([*SMALL.elements[:3], *workload("logs", items=7).elements], items=4000)
    refuse = exporters.Memory(outcome=answer)
    found = quick({"a": ops.export(refuse)}, work=mixed, runs=1)
    assert "rejected of its items" in str(found)
    assert "a warned: " in str(found)


def test_latency_at_a_rate_counts_from_when_a_request_was_due() -> None:
    """Or a pipeline that is behind would look quick: nobody would ask it while it sleeps."""
    work = workload("traces", items=2000, items_per_request=100, rate=100_000)

    def nap(data: TelemetryData) -> TelemetryData:
        time.sleep(0.01)
        return data

    slow = ops.chain(nap)
    found = quick({"quick": ops.chain(same), "slow": slow}, work=work, runs=1)
    quick_run, slow_run = (one.runs[0] for one in found.variants.values())
    assert quick_run.items_per_second <= 110_000
    assert slow_run.latency["max"] > 0.15  # 20 requests of 10 ms, due within 19
    assert "slow was behind: it took " in str(found)


def test_a_failure_tells_what_was_warned_of() -> None:
    """A destination that is down is tried again and again; the reason is in the log alone."""
    down = ops.export(exporters.Memory(outcome=failed("nobody is there")))
    found = quick({"down": down}, timeout=0.3)
    problem = found.variants["down"].problem or ""
    assert "nobody is there" in problem or "failed=" in problem


def test_memory_is_that_of_the_run() -> None:
    """Above what there was before, whatever this process holds; and given back again."""
    ballast = bytearray(64 << 20)

    def greedy(source: Any) -> Any:
        kept = bytearray(os.urandom(1 << 20) * 32)
        return source.pipe(rx_ops.map(lambda data: data if kept else None))

    found = quick({"greedy": greedy, "plain": lambda source: source}, runs=1)
    greedy_run, plain = (one.runs[0].memory for one in found.variants.values())
    if plain is None:
        pytest.skip("this system does not tell")
    assert len(ballast) > plain
    assert 30 << 20 < greedy_run - plain < 100 << 20


def test_without_fork_it_runs_here_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows."""
    monkeypatch.setattr(isolation, "ISOLATED", False)
    monkeypatch.setattr(rounds, "ISOLATED", False)
    threads = threading.active_count()
    found = quick({"a": ops.batch(), "bad": lambda source: 1 / 0}, runs=1)
    assert len(found.variants["a"].runs) == 1
    assert "division by zero" in (found.variants["bad"].problem or "")
    assert "no fork" in str(found)
    gc.collect()
    assert threading.active_count() <= threads + 1


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_everybody_has_every_place_equally_often(count: int) -> None:
    """Or the first of them would always have the cooler machine."""
    names = [str(number) for number in range(count)]
    turns = [rounds.order(names, number) for number in range(2 * count)]
    for name in names:
        places = [turn.index(name) for turn in turns]
        assert all(places.count(place) == 2 for place in range(count))
    assert turns[0] == names
    assert turns[1] == names[::-1]


def test_progress_says_how_far_it_is_and_how_long_it_takes() -> None:
    """A function hears it; there is no time left at the end."""
    heard: list[Progress] = []
    quick({"a": ops.batch(), "b": ops.batch()}, progress=heard.append)
    assert (heard[0].done, heard[0].left, heard[0].variant) == (0, None, "a")
    assert (heard[-1].done, heard[-1].total) == (6, 6)
    assert heard[-1].left == 0
    assert [one.done for one in heard] == sorted(one.done for one in heard)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"runs": 0}, "runs=0"), ({"time": 0}, "time=0"), ({"timeout": -1}, "timeout=-1")],
)
def test_bad_arguments_are_refused(options: dict[str, Any], says: str) -> None:
    """Before anything runs."""
    with pytest.raises(ValueError, match=says):
        quick({"a": ops.batch()}, **options)
    with pytest.raises(ValueError, match="expected a variant or more"):
        compare({})
    with pytest.raises(TypeError, match=r"variant 'a': .*expected a function"):
        compare({"a": 7})  # type: ignore[dict-item]


def test_it_says_what_it_does_not_measure() -> None:
    """Every time."""
    found = quick({"a": ops.batch()}, runs=1)
    assert all(line in str(found) for line in NOT_MEASURED)


@pytest.mark.parametrize("with_rich", [True, False])
def test_a_bar_is_drawn_on_stderr(
    with_rich: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the runs, the variant and the time that is left; rich makes it pretty."""
    if not with_rich:
        monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("FORCE_COLOR", "1")
    work = workload([data.detached() for data in SMALL.elements])
    quick({"[a]": ops.batch()}, work=work, runs=1, time=2, progress=True)
    drawn = capsys.readouterr().err
    for part in ("0/2", "2/2", "[a]", "0:02 left"):
        assert part in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
