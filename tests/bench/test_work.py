"""Workloads."""

from pathlib import Path
from typing import Any

import pytest

from rxotlp import Pipeline, Signal, exporters, sources
from rxotlp import operators as ops
from rxotlp.bench import Workload, work, workload
from rxotlp.data import TelemetryData


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Two runs of a bench, a week apart, are about the same telemetry."""
    first, second, other = (workload("traces", items=2000, seed=seed) for seed in (1, 1, 2))
    assert [data.to_bytes() for data in first.elements] == [
        data.to_bytes() for data in second.elements
    ]
    assert first.elements[0].to_bytes() != other.elements[0].to_bytes()


def test_signals_take_turns() -> None:
    """By name or by signal, one or several."""
    both: list[str | Signal] = ["traces", Signal.LOGS]
    made = workload(both, items=4 * 512)
    assert [data.signal for data in made.elements] == [Signal.TRACES, Signal.LOGS] * 2
    assert made.name == "traces + logs"
    assert str(made).startswith("traces + logs, 512 items a request, ")


@pytest.mark.parametrize("items", [1, 511, 512, 513, 100_000])
def test_a_run_has_the_items_asked_for_and_less_than_a_request_more(items: int) -> None:
    """Elements go round and round, so a long run takes no more memory than a short one."""
    made = workload("metrics", items=items)
    assert len(made.elements) <= work.DISTINCT
    requests = made.requests_for(items)
    assert items <= made.items_of(requests) < items + 512


def test_a_file_is_read_once(tmp_path: Path) -> None:
    """What `rxotlp generate -o` wrote, or a gateway."""
    path = tmp_path / "spans.jsonl"
    generated = sources.generate(Signal.TRACES, items=1000, items_per_request=100)
    stream = generated.pipe(ops.export(exporters.File(str(path)), max_concurrent=1))
    with Pipeline(stream) as writing:
        assert writing.wait(30)
    made = workload(path)
    path.unlink()
    assert [data.items for data in made.elements] == [100] * 10
    assert made.name == "spans.jsonl"


def test_only_so_much_of_a_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is said: a day of telemetry does not fit into memory."""
    (data,) = workload("logs", items=10).elements
    monkeypatch.setattr(work, "MOST_BYTES", 3 * data.size)
    path = tmp_path / "logs.jsonl"
    path.write_text((data.to_json() + "\n") * 10)
    for made in (workload(path), workload([data] * 10)):
        assert len(made.elements) == 3
        assert "only the first 3 requests" in made.notes[0]


def test_elements_of_ones_own_are_taken_without_those_that_are_empty() -> None:
    """An empty request has nothing to measure."""
    (data,) = workload("logs", items=10, items_per_request=10).elements
    empty = TelemetryData.from_bytes(Signal.LOGS, b"")
    assert workload([data, empty]).elements[0].to_bytes() == data.to_bytes()
    assert len(workload([data, empty]).elements) == len(workload(data).elements) == 1


@pytest.mark.parametrize(
    ("what", "options", "says"),
    [
        ("nowhere.jsonl", {}, "no such file, and none of traces, metrics, logs"),
        (Signal.PROFILES, {}, "expected traces, metrics or logs"),
        (["traces", "spans"], {}, "expected signals"),
        ("traces", {"items": 0}, "items=0"),
        ("traces", {"items_per_request": 0}, "items_per_request=0"),
        ("traces", {"rate": 0.0}, "rate=0"),
        ("traces", {"services": 0}, "services=0"),
        ([], {}, "it has no items"),
        ([TelemetryData.from_bytes(Signal.LOGS, b"\x0a\x7f")], {}, "cannot be read"),
    ],
)
def test_bad_workloads_are_refused(what: Any, options: dict[str, Any], says: str) -> None:
    """With the value, and what was expected."""
    with pytest.raises(ValueError, match=says):
        workload(what, **options)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """Protobuf does not say of which signal it is."""
    path = tmp_path / "x.binpb"
    path.write_bytes(b"\x05hello")
    with pytest.raises(ValueError, match="of which signal"):
        workload(path)


def test_what_is_no_telemetry_is_refused() -> None:
    """A list of texts is a list of paths to nobody."""
    with pytest.raises(TypeError, match="element 0 is int"):
        workload([7])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a signal, the path of a file, or elements"):
        workload(7)  # type: ignore[arg-type]


def test_a_workload_says_its_pace() -> None:
    """Latency at a rate and latency at full speed are two things."""
    assert str(workload("logs", rate=1000, items=10)).endswith("1000 items/s")
    assert isinstance(workload(), Workload)
