"""`PerformanceMonitor`: how much CPU and memory is used, and how long work takes.

    monitor = PerformanceMonitor()
    deliveries.subscribe(lambda delivery: monitor.observe(delivery.seconds))
    monitor.get_current_metrics()

CPU and memory are those of the cgroup where it has limits, else the machine's, by psutil
(see `cgroup`). Latency is a quantile over a window that forgets: what was slow an hour ago is
no reason to act now. Every part can be replaced by a function, for tests and what-if runs.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable

import psutil

from rxotlp._core.adjusting import Metrics
from rxotlp.schedulers.cgroup import Cgroup

__all__ = ["PerformanceMonitor"]

MOST = 4096  # latencies kept a class, whatever the window: 64 KiB, and a quantile is good enough
SHORTEST = 0.25  # seconds that CPU is measured over; the kernel counts it in hundredths


class PerformanceMonitor:
    """Measures when it is asked, and keeps the latencies that it is told.

    Args:
        window: seconds that a latency counts, above 0.
        quantile: which latency speaks for all, above 0 and at most 1.
        cpu, memory: called for a share of 0 to 1 instead of measuring.
        clock: seconds, on a clock that never goes back. Give a `VirtualScheduler`'s in
            virtual time.

    Raises:
        ValueError: an argument is out of its range.

    From any thread, as often as there is need: CPU is that since it was measured last, and is
    measured again after a quarter of a second at the soonest. The first call says 0.
    """

    def __init__(
        self,
        *,
        window: float = 30.0,
        quantile: float = 0.95,
        cpu: Callable[[], float] | None = None,
        memory: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if isinstance(window, bool) or not isinstance(window, int | float) or not window > 0:
            raise ValueError(f"PerformanceMonitor(window={window!r}): expected seconds above 0")
        if not isinstance(quantile, int | float) or not 0 < quantile <= 1:
            raise ValueError(
                f"PerformanceMonitor(quantile={quantile!r}): expected above 0, and at most 1"
            )
        self._window = window
        self._quantile = quantile
        self._clock = clock
        self._cgroup = Cgroup()
        self._cpu = cpu or self._cpu_usage
        self._memory = memory or self._memory_usage
        self._lock = threading.Lock()
        self._measuring = threading.Lock()
        self._measured = -math.inf  # when CPU was,
        self._share = 0.0  # and what it was
        self._times = (0.0, 0.0)  # of the machine since it started: busy, and all
        self._seen: dict[str | None, deque[tuple[float, float]]] = {None: deque(maxlen=MOST)}
        if cpu is None:
            self._cpu_usage()  # the first says nothing

    def observe(self, seconds: float, name: str | None = None) -> None:
        """Take one latency into account.

        Args:
            seconds: how long something took, 0 or more.
            name: the class it belongs to. It counts for all of them together as well.

        Raises:
            ValueError: the latency is no finite number of 0 or more.
        """
        if not math.isfinite(seconds) or seconds < 0:
            raise ValueError(f"observe({seconds!r}): expected seconds, 0 or more")
        at = self._clock()
        with self._lock:
            self._seen[None].append((at, seconds))
            if name is not None:
                if name not in self._seen:
                    self._seen[name] = deque(maxlen=MOST)
                self._seen[name].append((at, seconds))

    def get_current_metrics(self) -> Metrics:
        """Measure now."""
        now = self._clock()
        with self._lock:
            latencies = {name: self._latency(seen, now) for name, seen in self._seen.items()}
        return Metrics(
            at=now,
            cpu_usage=self._cpu(),
            memory_usage=self._memory(),
            latency=latencies.pop(None),
            latencies={
                name: latency
                for name, latency in latencies.items()
                if name is not None and latency is not None
            },
        )

    def _latency(self, seen: deque[tuple[float, float]], now: float) -> float | None:
        while seen and seen[0][0] < now - self._window:
            seen.popleft()
        ordered = sorted(seconds for _, seconds in seen)
        return ordered[math.ceil(self._quantile * len(ordered)) - 1] if ordered else None

    def _cpu_usage(self) -> float:
        with self._measuring:
            now = time.monotonic()
            if now - self._measured >= SHORTEST:
                used = self._cgroup.cpu_usage(now)
                # A quota may be overdrawn for a moment, which is no more than all of it.
                self._share = self._machine() if used is None else min(1.0, used)
                self._measured = now
            return self._share

    def _machine(self) -> float:
        # Not `psutil.cpu_percent`, which compares with whoever in the process asked before.
        times: dict[str, float] = psutil.cpu_times()._asdict()
        every = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
        busy = every - times["idle"] - times.get("iowait", 0.0)
        before, self._times = self._times, (busy, every)
        passed = every - before[1]
        if not before[1] or passed <= 0:
            return 0.0
        return min(1.0, max(0.0, (busy - before[0]) / passed))

    def _memory_usage(self) -> float:
        used = self._cgroup.memory_usage()
        if used is None:
            # Not `percent`, which rounds; available is what can be had without swapping.
            memory = psutil.virtual_memory()
            return float(1 - memory.available / memory.total)
        return min(1.0, used)
