"""How far a comparison is, and how long it will still take.

Drawn between looks at the run under way, never by a thread of its own: a process that is
about to fork should have none.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Bar", "Progress", "bar"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a comparison.

    Attributes:
        done, total: runs.
        variant: the one that runs.
        left: seconds until the end, when runs go on as they have; None before the first.
    """

    done: int
    total: int
    variant: str
    left: float | None


class Bar:
    """Counts runs and tells somebody.

    Attributes:
        total, done: runs.
        until: when all should be over, by the monotonic clock; None when nobody knows.
    """

    def __init__(self, tell: Callable[[Progress], object]) -> None:
        self._tell = tell
        self._took: dict[str, list[float]] = {}
        self._variant = ""
        self._began = 0.0
        self.total = 0
        self.done = 0
        self.until: float | None = None

    def begin(self, variant: str) -> None:
        """A run has begun."""
        self._variant = variant
        self._began = time.monotonic()
        self.refresh()

    def end(self, seconds: float) -> None:
        """It is over and took so long."""
        self._took.setdefault(self._variant, []).append(seconds)
        self.done += 1
        self.refresh()

    def skip(self) -> None:
        """One that gave nothing, or will not run."""
        self.done += 1
        self.refresh()

    def refresh(self) -> None:
        """Tell."""
        self._tell(Progress(self.done, self.total, self._variant, self._left()))

    def _left(self) -> float | None:
        # The first run of a variant is a short one.
        took = [seconds for each in self._took.values() for seconds in each[1:]]
        now = time.monotonic()
        if self.done == self.total:
            return 0.0
        if not took:
            return None if self.until is None else max(0.0, self.until - now)
        rest = (self.total - self.done) * sum(took) / len(took) - (now - self._began)
        return max(0.0, rest)


@contextmanager
def bar(wanted: bool | Callable[[Progress], object] | None) -> Iterator[Bar]:
    """Where to tell; see `compare`."""
    if callable(wanted):
        yield Bar(wanted)
        return
    if wanted is None:
        wanted = sys.stderr.isatty()
    if not wanted:
        yield Bar(lambda _: None)
        return
    try:
        from rich import console, progress
    except ImportError:
        yield Bar(_line)
        return
    columns = (
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[left]}"),
        progress.TextColumn("{task.description}", markup=False),
    )
    drawn = progress.Progress(
        *columns, console=console.Console(stderr=True), transient=True, auto_refresh=False
    )
    with drawn:
        task = drawn.add_task("", total=None, left="")

        def tell(now: Progress) -> None:
            drawn.update(
                task,
                completed=now.done,
                total=now.total,
                description=now.variant,
                left=left(now),
            )
            drawn.refresh()

        yield Bar(tell)


def left(now: Progress) -> str:
    """The time that is left, for people."""
    if now.left is None:
        return "..."
    minutes, seconds = divmod(round(now.left), 60)
    return f"{minutes}:{seconds:02} left"


def _line(now: Progress) -> None:
    """Without rich: one line, over and over."""
    print(f"\r{now.done}/{now.total} {left(now)} {now.variant:30}", end="", file=sys.stderr)
