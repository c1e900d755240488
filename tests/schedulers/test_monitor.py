"""Measurements: a container's own limits, and latencies that are forgotten."""

from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from rxotlp.flows import SystemLoad
from rxotlp.schedulers import PerformanceMonitor, VirtualScheduler
from rxotlp.schedulers.cgroup import Cgroup


class _Times(NamedTuple):
    user: float
    idle: float


def written(root: Path, files: dict[str, str]) -> Path:
    """A tree of files, as the kernel would show it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


V2 = {
    "self": "0::/pod/app\n",
    "pod/app/cpu.max": "max 100000\n",
    "pod/app/cpu.stat": "usage_usec 1000000\nuser_usec 1\n",
    "pod/app/memory.max": "1000\n",
    "pod/app/memory.current": "800\n",
    "pod/app/memory.stat": "anon 500\ninactive_file 300\n",
    "pod/cpu.max": "50000 100000\n",
    "pod/cpu.stat": "usage_usec 1000000\n",
    "pod/memory.max": "max\n",
    "pod/memory.current": "900\n",
}
V1 = {
    "self": "5:memory:/app\n4:cpu,cpuacct:/app\n",
    "memory/app/memory.limit_in_bytes": "1000\n",
    "memory/app/memory.usage_in_bytes": "800\n",
    "memory/app/memory.stat": "inactive_file 1\ntotal_inactive_file 300\n",
    "memory/memory.limit_in_bytes": "9223372036854771712\n",
    "memory/memory.usage_in_bytes": "5\n",
    "cpu,cpuacct/app/cpu.cfs_quota_us": "50000\n",
    "cpu,cpuacct/app/cpu.cfs_period_us": "100000\n",
    "cpu,cpuacct/app/cpuacct.usage": "1000000000\n",
    "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
}


@pytest.mark.parametrize(
    ("files", "later"),
    [
        (V2, {"pod/cpu.stat": "usage_usec 2000000\n"}),
        (V1, {"cpu,cpuacct/app/cpuacct.usage": "2000000000\n"}),
    ],
    ids=["version 2", "version 1"],
)
def test_a_containers_limits_count(
    tmp_path: Path, files: dict[str, str], later: dict[str, str]
) -> None:
    """On an idle machine it is throttled all the same, and killed at its own limit."""
    root = written(tmp_path, files)
    cgroup = Cgroup(root=root, membership=root / "self")
    assert cgroup.memory_usage() == 0.5  # without what the kernel can drop
    assert cgroup.cpu_usage(10.0) == 0.0
    written(root, later)
    assert cgroup.cpu_usage(14.0) == 0.5  # one second in four, of half a CPU


def test_without_limits_the_machine_counts(tmp_path: Path) -> None:
    """Most machines, every laptop, and systems without cgroups."""
    cgroup = Cgroup(root=tmp_path, membership=tmp_path / "none")
    assert cgroup.memory_usage() is None
    assert cgroup.cpu_usage(1.0) is None


def test_asking_often_measures_no_shorter_than_means_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A strategy asks for each operation; over a microsecond a CPU is all busy or all idle."""
    now, times = [100.0], {"user": 10.0, "idle": 10.0}
    monkeypatch.setattr("rxotlp.schedulers.monitor.time.monotonic", lambda: now[0])
    monkeypatch.setattr(psutil, "cpu_times", lambda: _Times(**times))
    monkeypatch.setattr(Cgroup, "cpu_usage", lambda *_: None)
    monitor, other = PerformanceMonitor(), PerformanceMonitor()
    now[0], times["user"], times["idle"] = 101.0, 10.5, 10.5
    assert monitor.get_current_metrics().cpu_usage == 0.5
    assert other.get_current_metrics().cpu_usage == 0.5  # each compares with its own last time
    now[0], times["user"] = 101.01, 10.51
    assert monitor.get_current_metrics().cpu_usage == 0.5
    now[0], times["user"], times["idle"] = 102.0, 11.5, 10.5
    assert monitor.get_current_metrics().cpu_usage == 1.0


def test_a_quota_that_is_overdrawn_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may for a moment; a strategy that makes a `SystemLoad` of it must not fail."""
    monkeypatch.setattr(Cgroup, "cpu_usage", lambda *_: 1.3)
    monkeypatch.setattr(Cgroup, "memory_usage", lambda *_: 1.01)
    metrics = PerformanceMonitor().get_current_metrics()
    assert SystemLoad(metrics.cpu_usage, metrics.memory_usage) == SystemLoad(1.0, 1.0)


def test_a_real_measurement_is_a_share() -> None:
    """Whatever this machine is."""
    metrics = PerformanceMonitor().get_current_metrics()
    assert 0 <= metrics.cpu_usage <= 1
    assert 0 < metrics.memory_usage <= 1
    assert metrics.latency is None


def test_latency_is_a_quantile_of_what_is_recent() -> None:
    """What was slow an hour ago is no reason to act now, nor is one slow request."""
    clock = VirtualScheduler()
    monitor = PerformanceMonitor(
        window=10, quantile=0.9, cpu=lambda: 0.25, memory=lambda: 0.5, clock=lambda: clock.clock
    )
    monitor.observe(99.0)
    clock.advance_to(11)
    for tenth in range(1, 11):
        monitor.observe(tenth / 10, "odd" if tenth % 2 else "even")
    metrics = monitor.get_current_metrics()
    assert (metrics.at, metrics.cpu_usage, metrics.memory_usage) == (11, 0.25, 0.5)
    assert metrics.latency == 0.9
    assert metrics.latencies == {"odd": 0.9, "even": 1.0}
    clock.advance_to(22)
    assert monitor.get_current_metrics().latency is None
    assert monitor.get_current_metrics().latencies == {}


def test_latencies_are_bounded() -> None:
    """A million a second must not cost memory, of all things."""
    monitor = PerformanceMonitor(window=1e9)
    for _ in range(10_000):
        monitor.observe(0.1, "a")
    assert all(len(seen) <= 4096 for seen in monitor._seen.values())


@pytest.mark.parametrize(
    "arguments", [{"window": 0}, {"window": "1"}, {"quantile": 0}, {"quantile": 1.1}]
)
def test_a_monitor_refuses_what_it_cannot_do(arguments: dict[str, Any]) -> None:
    """By name, range and reason."""
    with pytest.raises(ValueError, match="PerformanceMonitor"):
        PerformanceMonitor(**arguments)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_latency_that_is_none_is_refused(seconds: float) -> None:
    """It would poison every quantile of its window."""
    with pytest.raises(ValueError, match="observe"):
        PerformanceMonitor().observe(seconds)
