"""A comparison as text: the same rows for a terminal, a file and `print`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rxotlp.bench.results import FIGURES, NOT_MEASURED, OUTCOMES, Comparison, Measured, Spread
from rxotlp.bench.verdicts import ALPHA, LEAST, NEEDED, Difference

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["books", "number", "rich_text", "rounds", "text"]

Row = Sequence[str]
_TITLES = {figure.name: figure.title for figure in FIGURES}
_LESS = {
    "items_per_second": ("slower", "faster"),
    "cpu": ("less CPU", "more CPU"),
    "latency_p50": ("shorter latency p50", "longer latency p50"),
    "latency_p99": ("shorter latency p99", "longer latency p99"),
    "memory": ("less memory", "more memory"),
}


def text(found: Comparison) -> str:
    """All of it, in plain characters."""
    parts = [_head(found)]
    parts += [_aligned(rows) for rows in (_figures(found), _fates(found)) if len(rows) > 1]
    parts += [_lines(found)]
    return "\n\n".join(parts) + "\n"


def rich_text(found: Comparison) -> "RenderableType":
    """The same for a rich console."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [Text(_head(found), style="bold")]
    for rows in (_figures(found), _fates(found)):
        if len(rows) < 2:
            continue
        table = Table()
        for number, title in enumerate(rows[0]):
            table.add_column(Text(title), justify="right" if number else "left", overflow="fold")
        for row in rows[1:]:
            table.add_row(*map(Text, row))
        parts.append(table)
    return Group(*parts, Text(_lines(found)))


def books(found: Comparison) -> str:
    """Every variant's books, of its run with the median CPU."""
    return "\n\n".join(
        "\n".join([f"books of {name}", *(f"  {account}" for account in one.typical.books)])
        for name, one in found.variants.items()
        if one.runs
    )


def _head(found: Comparison) -> str:
    known = ", ".join(f"{name} {value}" for name, value in found.environment.items())
    return (
        f"{found.workload}\n{rounds(found.rounds)}, medians and quartiles; "
        f"{known.removeprefix('machine ')}"
    )


def rounds(count: int) -> str:
    """So many rounds, in words."""
    return f"{count} round{'' if count == 1 else 's'}"


def _figures(found: Comparison) -> list[Row]:
    rows: list[Row] = [["variant", *(figure.title for figure in FIGURES)]]
    for name, one in found.variants.items():
        if one.runs:
            rows.append([name, *(_spread(one.spread(figure)) for figure in FIGURES)])
    return rows


def _fates(found: Comparison) -> list[Row]:
    rows: list[Row] = [["variant", "items an export", "batches closed by", *OUTCOMES]]
    for name, one in found.variants.items():
        if one.runs:
            run = one.typical
            shares = [f"{run.outcomes[kind] / run.items:.4g}" for kind in OUTCOMES]
            rows.append([name, f"{run.export_items:g}", _closed(one), *shares])
    return rows


def _closed(one: Measured) -> str:
    stages = one.typical.closed
    told = {
        stage: ", ".join(
            f"{why} {count}" for why, count in sorted(reasons.items(), key=lambda kind: -kind[1])
        )
        for stage, reasons in stages.items()
    }
    if len(told) == 1:
        return next(iter(told.values()))
    return "; ".join(f"{stage}: {reasons}" for stage, reasons in told.items()) or "-"


def _lines(found: Comparison) -> str:
    lines: list[str] = []
    for name, one in found.variants.items():
        if one.problem is not None:
            count = len(one.runs)
            after = f" after {count} run{'' if count == 1 else 's'}" if count else ""
            lines.append(f"! {name}: failed{after}: {one.problem}")
    lines += [f"! {note}" for note in found.notes]
    lines += _verdicts(found)
    lines.append("Not measured here:")
    lines += [f"- {what}" for what in NOT_MEASURED]
    return "\n".join(lines)


def _verdicts(found: Comparison) -> list[str]:
    differences = found.differences
    if not differences or found.rounds < NEEDED:
        return []
    lines = [
        f"Against {found.baseline} (called: chance below {ALPHA:.1%} in a signed-rank test of "
        f"{found.rounds} rounds, and {LEAST:.0%} or more):"
    ]
    for name in dict.fromkeys(one.variant for one in differences):
        called = [one for one in differences if one.variant == name and one.called]
        lines.append(f"- {name}: {', '.join(map(_said, called)) or 'no difference shown'}")
    return lines


def _said(one: Difference) -> str:
    less, more = _LESS[one.figure]
    return f"{_change(one.ratio)} {less if one.ratio < 1 else more} ({_range(one)})"


def _change(ratio: float) -> str:
    return f"{abs(ratio - 1):.0%}" if ratio < 2 else f"{ratio:.2g} times"


def _range(one: Difference) -> str:
    return f"{one.low:.2f} to {one.high:.2f} times"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{number(spread.median)} ({number(spread.low)} to {number(spread.high)})"


def number(value: float) -> str:
    """Three digits, and thousands as people write them."""
    for least, unit in ((1e6, " M"), (1e4, " k")):
        if value >= least:
            scaled = value / (1e3 if unit == " k" else 1e6)
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.3g}{unit}"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _aligned(rows: list[Row]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first = row[0].ljust(widths[0])
        others = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)
