"""When two variants differ: pairs of runs, a rank test, and a least effect.

Runs of one round happened beside each other, so what slowed the machine slowed both; the
ratio of the two is what counts. A difference is called when all of this holds:

    rank test    two-sided, exact Wilcoxon signed-rank on the logarithms of the ratios: such
                 a list, or a clearer one, comes up by chance in less than ALPHA of the cases
    effect       the median ratio is LEAST or more away from 1
    one sign     the interval of the median (95 % or more, by order statistics) lies on one
                 side of 1

With five figures a comparison, ALPHA keeps a variant from being told from itself in more
than about one of fifty comparisons. The price: fewer than nine rounds can show nothing, and
one round in the wrong direction can be enough to say nothing.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ALPHA", "LEAST", "NEEDED", "Difference", "compared", "interval", "signed_rank"]

ALPHA = 0.005
LEAST = 0.03  # of the median; what is smaller is not worth a change
NEEDED = 9  # rounds; 2 / 2**8 is more than ALPHA


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of a variant against the same of the first one.

    Attributes:
        figure, variant, baseline: which.
        ratio: the median of the rounds' ratios, variant by baseline.
        low, high: the interval of that median.
        chance: how often a variant would differ so, or more, from itself; 1 when too few
            rounds have both.
        rounds: that have both.
        called: whether it is one.
    """

    figure: str
    variant: str
    baseline: str
    ratio: float
    low: float
    high: float
    chance: float
    rounds: int
    called: bool


def compared(
    figure: str,
    variant: str,
    baseline: str,
    ours: Mapping[int, float],
    theirs: Mapping[int, float],
    *,
    least: float = 0.0,
) -> Difference:
    """Judge one figure.

    Args:
        figure, variant, baseline: names.
        ours: the variant's values, by round.
        theirs: the baseline's.
        least: a difference of less, in the figure's own unit, is none.
    """
    both = [(value, theirs[number]) for number, value in sorted(ours.items()) if number in theirs]
    logs = [math.log(value / other) for value, other in both if value > 0 and other > 0]
    if not logs:
        return Difference(figure, variant, baseline, 1.0, 0.0, math.inf, 1.0, 0, False)
    middle = statistics.median(logs)
    low, high = interval(logs)
    chance = signed_rank(logs)
    apart = statistics.median(value - other for value, other in both)
    large = abs(middle) >= math.log1p(LEAST) and abs(apart) >= least
    called = chance < ALPHA and large and (low > 0 or high < 0)
    return Difference(
        figure,
        variant,
        baseline,
        math.exp(middle),
        math.exp(low),
        math.exp(high),
        chance,
        len(logs),
        called,
    )


def interval(values: list[float]) -> tuple[float, float]:
    """The narrowest interval of two order statistics that has the median in 95 % of cases.

    Of fewer than six values the smallest and the largest, which is less than that.
    """
    ordered = sorted(values)
    n = len(ordered)
    outside = 0
    at = 0
    while at < (n - 1) // 2:
        outside += math.comb(n, at)
        if 2 * (outside + math.comb(n, at + 1)) > 0.05 * 2**n:
            break
        at += 1
    return ordered[at], ordered[n - 1 - at]


def signed_rank(values: list[float]) -> float:
    """Two-sided chance of such signs and ranks, or clearer ones, when both signs are as likely.

    Exact, ties included: it counts the assignments of signs. Zeros say nothing and are left
    out.
    """
    found = [value for value in values if value]
    if not found:
        return 1.0
    sizes = sorted(map(abs, found))
    # Twice the mean rank of equals, so that all ranks are whole.
    ranks = {size: sizes.index(size) * 2 + sizes.count(size) + 1 for size in sizes}
    total = sum(ranks[size] for size in sizes)
    positive = sum(ranks[abs(value)] for value in found if value > 0)
    ways = {0: 1}
    for size in sizes:
        added: dict[int, int] = {}
        for reached, count in ways.items():
            added[reached] = added.get(reached, 0) + count
            added[reached + ranks[size]] = added.get(reached + ranks[size], 0) + count
        ways = added
    least = min(positive, total - positive)
    tail = sum(count for reached, count in ways.items() if reached <= least)
    return min(1.0, 2.0 * tail / float(1 << len(found)))
