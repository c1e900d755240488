"""How much CPU and memory this process may use, and uses, when a cgroup says so.

In a container the machine's figures mislead: a process with a quarter of a CPU is throttled
on a machine that is nine tenths idle, and killed at its own limit, not the machine's. So the
figures of the cgroup count wherever it, or one above it, has a limit; with several the one
that is nearest to its limit. Version 2 (one tree) and version 1 (a tree a controller).

Memory is what cannot be taken back: `inactive_file`, the page cache that the kernel drops
first, is left out, as `kubectl top` and the kernel's own killer do.
"""

from collections.abc import Iterator
from pathlib import Path

__all__ = ["Cgroup"]

NO_LIMIT = 1 << 60  # bytes; version 1 writes "none" as a number near 2**63


class Cgroup:
    """The cgroups of this process that have limits.

    Args:
        root: where they are mounted.
        membership: which are this process's.

    What cannot be read counts as without limit; a kernel or a platform without cgroups has
    none.
    """

    __slots__ = ("_cpu", "_memory", "_used")

    def __init__(
        self,
        *,
        root: Path = Path("/sys/fs/cgroup"),
        membership: Path = Path("/proc/self/cgroup"),
    ) -> None:
        self._cpu: list[tuple[Path, bool]] = []
        self._memory: list[tuple[Path, bool]] = []
        for line in (_read(membership) or "").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                self._cpu += [(folder, True) for folder in _upwards(root, path)]
                self._memory += [(folder, True) for folder in _upwards(root, path)]
            for names, folders in (("cpu", self._cpu), ("memory", self._memory)):
                if names in controllers.split(","):
                    tree = root / controllers if (root / controllers).is_dir() else root / names
                    folders += [(folder, False) for folder in _upwards(tree, path)]
        self._used: dict[Path, tuple[float, float]] = {}

    def cpu_usage(self, now: float) -> float | None:
        """Share of the quota that was used since the last call; None without a quota.

        Args:
            now: seconds, on a clock that never goes back.

        The first call has nothing to compare with, and says 0.
        """
        shares = []
        for folder, unified in self._cpu:
            quota = _quota(folder, unified)
            used = _cpu_seconds(folder, unified)
            if quota is None or used is None:
                continue
            before, since = self._used.get(folder, (used, now))
            self._used[folder] = used, now
            shares.append((used - before) / (now - since) / quota if now > since else 0.0)
        return max(shares, default=None)

    def memory_usage(self) -> float | None:
        """Share of the limit that is in use; None without a limit."""
        shares = []
        for folder, unified in self._memory:
            limit = _number(folder / ("memory.max" if unified else "memory.limit_in_bytes"))
            used = _number(folder / ("memory.current" if unified else "memory.usage_in_bytes"))
            if limit is None or used is None or not 0 < limit < NO_LIMIT:
                continue
            cache = _field(
                folder / "memory.stat", "inactive_file" if unified else "total_inactive_file"
            )
            shares.append(max(0.0, used - (cache or 0.0)) / limit)
        return max(shares, default=None)


def _upwards(tree: Path, path: str) -> Iterator[Path]:
    """The folder of a cgroup, and those above it. In a namespace only the tree may be there."""
    folder = tree / path.strip("/")
    while folder != tree:
        yield folder
        folder = folder.parent
    yield tree


def _quota(folder: Path, unified: bool) -> float | None:
    """CPUs that may be used at once."""
    if unified:
        words = (_read(folder / "cpu.max") or "max").split()
        quota = None if words[0] == "max" else float(words[0])
        period = float(words[1]) if len(words) > 1 else 100_000.0  # Linux, cgroup-v2: default
    else:
        quota = _number(folder / "cpu.cfs_quota_us")
        period = _number(folder / "cpu.cfs_period_us") or 100_000.0
    return quota / period if quota is not None and quota > 0 else None


def _cpu_seconds(folder: Path, unified: bool) -> float | None:
    if unified:
        used = _field(folder / "cpu.stat", "usage_usec")
        return None if used is None else used / 1e6
    used = _number(folder / "cpuacct.usage")
    if used is None:  # mounted apart from `cpu`
        parts = ["cpuacct" if part in ("cpu", "cpu,cpuacct") else part for part in folder.parts]
        used = _number(Path(*parts) / "cpuacct.usage")
    return None if used is None else used / 1e9


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def _number(path: Path) -> float | None:
    text = (_read(path) or "max").strip()
    return None if text == "max" else float(text)


def _field(path: Path, name: str) -> float | None:
    for line in (_read(path) or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return float(value)
    return None
