"""A comparison as a picture: a panel a figure, a row a variant, every run a dot.

The box is from the first quartile to the third, the line in it the median. All axes begin at
0, so that a small difference looks small; what was called a difference is filled in colour.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure as Sheet
from matplotlib.ticker import EngFormatter, MaxNLocator

from rxotlp.bench.results import FIGURES, Comparison, Figure
from rxotlp.bench.table import number, rounds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

BETTER, WORSE, SAME, LINE = "#3a923a", "#d1602c", "#c9d4e0", "#1f4e79"
ROW, PANEL = 0.42, 2.9  # inches
NAME = 34  # characters of a variant's name


def draw(found: Comparison, path: Path) -> None:
    """Write it as PNG or SVG, as the path ends."""
    names = [name for name, one in found.variants.items() if one.runs]
    shown = [
        figure
        for figure in FIGURES
        if any(found.variants[name].spread(figure) is not None for name in names)
    ]
    sheet = Sheet(
        figsize=(2.2 + PANEL * max(1, len(shown)), 1.9 + ROW * max(1, len(names))),
        layout="constrained",
    )
    if not names:
        sheet.text(0.5, 0.5, "no variant has a run", ha="center")
    else:
        for number, figure in enumerate(shown):
            axes: Any = sheet.add_subplot(1, len(shown), number + 1)
            _panel(axes, found, figure, names, first=number == 0)
    sheet.suptitle(found.workload, fontsize=10)
    versions = ", ".join(f"{name} {value}" for name, value in found.environment.items())
    partial = "  INTERRUPTED" if found.interrupted else ""
    sheet.supxlabel(
        f"{rounds(found.rounds)}; a dot is a run, the box goes from quartile to quartile; green "
        f"is better than {found.baseline}, orange worse, grey not shown to differ{partial}\n"
        f"{versions.removeprefix('machine ')}",
        fontsize=7,
        color="#606060",
    )
    with rc_context({"svg.fonttype": "none"}):  # text that can be searched and read aloud
        sheet.savefig(path, dpi=150)


def _panel(
    axes: "Axes", found: Comparison, figure: Figure, names: list[str], *, first: bool
) -> None:
    colours = {
        one.variant: _colour(one.ratio, figure)
        for one in found.differences
        if one.figure == figure.name and one.called
    }
    for row, name in enumerate(names):
        values = list(found.variants[name].by_round(figure).values())
        spread = found.variants[name].spread(figure)
        if spread is None:
            continue
        colour = colours.get(name, SAME)
        called = name in colours
        axes.barh(
            row, spread.high - spread.low, left=spread.low, height=0.6, color=colour, alpha=0.7
        )
        axes.plot([spread.median] * 2, [row - 0.3, row + 0.3], color=LINE, linewidth=2)
        axes.plot(values, [row] * len(values), ".", color=LINE, markersize=3, alpha=0.6)
        axes.annotate(
            number(spread.median),
            (spread.median, row - 0.33),
            ha="center",
            va="bottom",
            fontsize=7,
            color=colour if called else "black",
            fontweight="bold" if called else "normal",
        )
    axes.set_xlim(0, axes.get_xlim()[1] * 1.05)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    if figure.name == "items_per_second":
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.set_yticks(range(len(names)), [_short(name) for name in names] if first else [])
    axes.set_title(figure.title, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _colour(ratio: float, figure: Figure) -> str:
    return BETTER if (ratio > 1) is figure.more_is_better else WORSE


def _short(name: str) -> str:
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"
