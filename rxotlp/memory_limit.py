"""`MemoryLimit`: sources refuse while too much memory is in use, and let in again by themselves.

    Pipeline(stream, memory_limit=MemoryLimit())             80 and 95 % of what it may use
    Pipeline(stream, memory_limit=MemoryLimit(soft=800 << 20))      bytes of this process

    open --above soft--> refusing --above hard--> refusing unread
         <--below resume--        <--below soft--

Admission bounds what is in flight; this bounds what nobody counted: a batch of decoded
messages, a processor's cache, a neighbour in the same container. Shares are those of the
cgroup's limit where there is one, else of the machine's memory; bytes are what this process
keeps resident.

A process rarely gives memory back by itself (receivers even tell glibc to keep it, see
`sources.memory`), so what is merely kept is given back before anybody is refused, and each
time that is looked at while somebody is.
"""

import ctypes
import enum
import gc
import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import psutil
from reactivex import abc

from rxotlp.admission import Admission
from rxotlp.schedulers.base import SerialScheduler
from rxotlp.schedulers.monitor import PerformanceMonitor

__all__ = ["Level", "MemoryGuard", "MemoryLimit"]

logger = logging.getLogger("rxotlp")

HARD = 0.95 / 0.8  # of the soft limit, where no hard one is given
RESUME = 0.95  # of the soft limit: below it sources let in again
UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """How much memory may be in use.

    Attributes:
        soft: above it nothing more is let in; senders are told to come back. A share of what
            the process may use, above 0 and at most 1, or bytes, above 1.
        hard: above it requests are refused before they are read where the transport allows
            it (OTLP/HTTP refuses unread above `soft` already), and bodies that are being read
            may not grow. In the unit of `soft`, not below it; by default 0.95 for 0.8.
        every: seconds between two looks.
        retry_after: seconds that refused senders are told to wait.
        measure: what is in use, in the unit of `soft`, instead of measuring it.

    Raises:
        ValueError: a value out of its range.
    """

    soft: float = 0.8
    hard: float | None = None
    every: float = 0.5
    retry_after: float = 5.0
    measure: Callable[[], float] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        share = self.soft <= 1
        if not self.soft > 0:
            raise ValueError(
                f"MemoryLimit(soft={self.soft!r}): expected a share above 0 and at most 1, "
                "or bytes; without memory nothing could ever be let in"
            )
        if self.hard is not None and (self.hard < self.soft or (share and self.hard > 1)):
            raise ValueError(
                f"MemoryLimit(soft={self.soft!r}, hard={self.hard!r}): expected a hard limit "
                f"from {self.soft!r} {'to 1' if share else 'on'}, in the unit of the soft one"
            )
        for name in ("every", "retry_after"):
            seconds = getattr(self, name)
            if not seconds > 0:
                raise ValueError(f"MemoryLimit({name}={seconds!r}): expected seconds above 0")

    @classmethod
    def parse(cls, text: str) -> "MemoryLimit":
        """`80%`, `80%,95%`, `800MiB` or `800MiB,1GiB`: the soft and the hard limit.

        Raises:
            ValueError: it is none of these.
        """
        amounts = [_amount(part) for part in text.split(",")]
        if not 1 <= len(amounts) <= 2 or None in amounts:
            raise ValueError(
                f"memory limit {text!r}: expected SOFT or SOFT,HARD, each a share such as 80% "
                "or a size such as 800MiB"
            )
        return cls(*amounts)  # type: ignore[arg-type]  # None is not among them

    @property
    def ceiling(self) -> float:
        """The hard limit, in the unit of the soft one."""
        if self.hard is not None:
            return self.hard
        return min(1.0, self.soft * HARD) if self.soft <= 1 else self.soft * HARD

    def text(self, used: float) -> str:
        """An amount of memory, as this limit counts it."""
        return f"{used:.0%}" if self.soft <= 1 else f"{used / 2**20:.0f} MiB"


class Level(enum.Enum):
    """What a guard lets in."""

    OPEN = "open"
    SOFT = "soft"
    HARD = "hard"


class MemoryGuard:
    """Looks at the memory now and then, and has admissions refuse; for one pipeline.

    Args:
        limit: how much may be in use.
        admissions: of its sources.
        scheduler: in whose turn it looks.

    Attributes:
        level: what is let in.
        used: what was in use at the last look.
    """

    __slots__ = ("_admissions", "_disposed", "_limit", "_measure", "_timer", "level", "used")

    def __init__(
        self, limit: MemoryLimit, admissions: Sequence[Admission], scheduler: SerialScheduler
    ) -> None:
        self._limit = limit
        self._admissions = admissions
        self._measure = limit.measure or _measuring(limit)
        self._disposed = False
        self.level = Level.OPEN
        self.used = 0.0
        self._timer: abc.DisposableBase = scheduler.schedule_periodic(limit.every, self._look)

    def dispose(self) -> None:
        """Look no more, and let in again. Idempotent, from any thread."""
        self._disposed = True
        self._timer.dispose()
        for admission in self._admissions:
            admission.readmit(by=self)

    def _look(self, _state: Any = None) -> None:
        limit = self._limit
        used = self._measure()
        if used > limit.soft:
            if self.level is Level.OPEN:
                gc.collect()  # once on the way up: it takes a while
            _give_back()
            used = self._measure()
        self.used = used
        level = self._decide(used)
        if level is self.level:
            return
        before, self.level = self.level, level
        if level is Level.OPEN:
            logger.info("memory: %s in use; sources let in again", limit.text(used))
            for admission in self._admissions:
                admission.readmit(by=self)
            return
        bound = limit.ceiling if level is Level.HARD else limit.soft
        reason = f"memory: {limit.text(used)} in use, more than {limit.text(bound)}"
        if before is not Level.HARD:
            logger.warning("%s; sources refuse%s", reason, _UNREAD[level])
        for admission in self._admissions:
            admission.refuse(
                reason,
                retry_after=limit.retry_after,
                by=self,
                unread=level is Level.HARD,
            )
        if self._disposed:  # on another thread, since this look began
            self.dispose()

    def _decide(self, used: float) -> Level:
        limit = self._limit
        if used > limit.ceiling:
            return Level.HARD
        if used > limit.soft:
            return Level.SOFT
        if self.level is not Level.OPEN and used > limit.soft * RESUME:
            return Level.SOFT  # or a few requests would shut it again
        return Level.OPEN

    def __repr__(self) -> str:
        return f"<MemoryGuard {self.level.value}, {self._limit.text(self.used)} in use>"


_UNREAD = {Level.SOFT: "", Level.HARD: " what they have not read"}


def _measuring(limit: MemoryLimit) -> Callable[[], float]:
    if limit.soft <= 1:
        monitor = PerformanceMonitor()
        return lambda: monitor.get_current_metrics().memory_usage
    process = psutil.Process()
    return lambda: float(process.memory_info().rss)


@cache
def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"


def _give_back() -> None:
    """Return to the kernel what the allocator merely keeps; nothing where it is not glibc."""
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _amount(text: str) -> float | None:
    """A share or a number of bytes; None where it is neither."""
    text = text.strip()
    number = text.rstrip("%BKMGibkmg ")
    unit = text[len(number) :].strip().lower()
    try:
        amount = float(number)
    except ValueError:
        return None
    if unit == "%":
        return amount / 100 if 0 < amount <= 100 else None
    if unit not in UNITS or amount * UNITS[unit] <= 1:
        return None
    return amount * UNITS[unit]
