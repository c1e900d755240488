"""Does `adaptive_concurrency` find what somebody who knew would have written?

Unit: requests taken in virtual time, as a share of what the best fixed limit gets (and their
mean latency against its). Destinations are simulated: constant, shifting, jittery, refusing.
The baseline is a scan over fixed limits, with the same chance. Exact, and the same twice.
Blind spot: always more to send than is taken, one sender, and no real network.

    python -m benchmarks.adaptive results/adaptive.svg
"""

import sys
from pathlib import Path

from rxotlp import operators as ops
from rxotlp._core.chart import Panel, chart
from tests.support.backends import BACKENDS, run

__all__ = ["measured"]

FIXED = (2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32)


def measured(*, seconds: float = 48.0) -> tuple[list[dict[str, float | str]], str]:
    """Rows, one a destination, and a picture of the limits over time."""
    rows: list[dict[str, float | str]] = []
    panels = []
    for name in BACKENDS:
        fixed = {limit: run(name, limit, seconds=seconds) for limit in FIXED}
        best = max(fixed, key=lambda limit: (fixed[limit].taken, -limit))
        learnt = run(name, ops.adaptive_concurrency(), seconds=seconds)
        share = learnt.taken / fixed[best].taken
        rows.append(
            {
                "destination": name,
                "best_fixed": best,
                "share": share,
                "latency": learnt.latency / fixed[best].latency,
            }
        )
        panels.append(
            Panel(
                f"{name}: limit; {share:.0%} of the best fixed one, {best}",
                {"learnt": learnt.limits},
                steps=True,
                rules=(best,),
            )
        )
    return rows, chart("adaptive_concurrency on simulated destinations", panels)


if __name__ == "__main__":
    found, picture = measured()
    for row in found:
        print(
            f"{row['destination']:10} {row['share']:.2f} of the best fixed limit "
            f"({row['best_fixed']}), {row['latency']:.2f} times its latency"
        )
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(picture, encoding="utf-8")
