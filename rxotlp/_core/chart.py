"""Lines and marks over time, as SVG: a picture without a plotting library.

Panels share the axis of time and lie below one another. A line is drawn through its points,
a step from one level to the next, a rule across at a threshold; marks are numbered verticals
in every panel, with their texts below. No label is written over another: close marks share one,
and close rules are named on either side. Any browser shows it, and so does a README.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Panel", "chart"]

Point = tuple[float, float]
WIDTH, HEIGHT, LEFT, RIGHT, GAP = 860, 130, 70, 50, 34
LETTER, LINE = 5.8, 11  # what a letter and a line of text take, about
COLOURS = ("#1f6fb4", "#d1602c", "#3a923a", "#8d57b0", "#7a7a7a")


@dataclass(frozen=True, slots=True)
class Panel:
    """One field of the chart.

    Attributes:
        title: what its vertical axis is, with its unit.
        lines: by name; points in order of time.
        steps: the lines that keep a level until the next point.
        rules: levels to draw across.
    """

    title: str
    lines: dict[str, Sequence[Point]]
    steps: bool = False
    rules: tuple[float, ...] = ()


def chart(
    title: str,
    panels: Sequence[Panel],
    marks: Sequence[tuple[float, str]] = (),
    *,
    unit: str = " s",
) -> str:
    """The SVG document.

    Args:
        title: the picture's.
        panels: from top to bottom, one or more.
        marks: times and texts.
        unit: what stands behind a number of the axis that all panels share.
    """
    times = [at for panel in panels for line in panel.lines.values() for at, _ in line]
    times += [at for at, _ in marks]
    first, last = min(times, default=0.0), max(times, default=1.0)
    span = last - first or 1.0
    inner = WIDTH - LEFT - RIGHT

    def x(at: float) -> float:
        return round(LEFT + (at - first) / span * inner, 1)

    top = 58 if marks else 40
    out: list[str] = []
    for panel in panels:
        out += _panel(panel, top, x, (first, first + span))
        for at, _ in marks:
            out.append(_line((x(at), top), (x(at), top + HEIGHT), "#b0b0b0", dash="2 3"))
        top += HEIGHT + GAP
    bottom = top - GAP
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = first + share * span
        out.append(_text(x(at), bottom + 14, f"{_number(at - first)}{unit}", "middle"))
    out += [_text(at, 38, text, "middle") for at, text in _numbered([x(at) for at, _ in marks])]
    top = bottom + 34
    for number, (at, text) in enumerate(marks, start=1):
        out.append(_text(LEFT, top, f"{number}. {_number(at - first)}{unit}: {text}", "start"))
        top += 15
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top + 10}" '
        f'viewBox="0 0 {WIDTH} {top + 10}" font-family="sans-serif" font-size="11">'
    )
    background = '<rect width="100%" height="100%" fill="#ffffff"/>'
    heading = f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>'
    return "\n".join([head, background, heading, *out, "</svg>"]) + "\n"


def _panel(panel: Panel, top: int, x: Callable[[float], float], ends: Point) -> list[str]:
    values = [value for line in panel.lines.values() for _, value in line] + list(panel.rules)
    most = max(values, default=1.0) or 1.0

    def y(value: float) -> float:
        return round(top + HEIGHT - value / most * HEIGHT / 1.05, 1)

    left, right = x(ends[0]), x(ends[1])
    out = [
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{HEIGHT}" fill="none" '
        'stroke="#d8d8d8"/>',
        _text(left + 4, top - 5, panel.title, "start"),
    ]
    out += [_line((left, y(rule)), (right, y(rule)), "#c03030", dash="6 4") for rule in panel.rules]
    levels = [0.0, *dict.fromkeys(sorted(panel.rules, reverse=True))]
    if most not in panel.rules:
        levels.insert(1, most)
    out += _levels(levels, y, (left, right))
    legend = right
    for number, (name, line) in reversed([*enumerate(panel.lines.items())]):
        colour = COLOURS[number % len(COLOURS)]
        points: list[Point] = []
        for at, value in line:
            if panel.steps and points:
                points.append((x(at), points[-1][1]))
            points.append((x(at), y(value)))
        if panel.steps and points:
            points.append((right, points[-1][1]))
        path = " ".join(f"{px:g},{py:g}" for px, py in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        out.append(_text(legend, top - 5, name, "end", colour))
        legend -= len(name) * LETTER + 8
    return out


def _levels(levels: Sequence[float], y: Callable[[float], float], ends: Point) -> list[str]:
    """What levels are called: left, or right where that is too close to another."""
    out: list[str] = []
    left: list[float] = []
    right: list[float] = []
    for level in levels:  # from top to bottom, after the first
        at = y(level) + 4
        if all(abs(at - other) >= LINE for other in left):
            left.append(at)
            out.append(_text(ends[0] - 6, at, _number(level), "end"))
        else:
            at = max([at, *(other + LINE for other in right)])
            right.append(at)
            out.append(_text(ends[1] + 6, at, _number(level), "start"))
    return out


def _numbered(places: Sequence[float]) -> list[tuple[float, str]]:
    """The numbers of marks, each where its mark is, or of several where these are."""
    labels: list[tuple[float, str]] = []
    groups: list[list[int]] = []
    for number in sorted(range(len(places)), key=places.__getitem__):
        groups.append([number])
        while True:
            label = _label(places, groups[-1])
            if not labels or _reach(label, -1) > _reach(labels[-1], 1) + 2 * LETTER:
                break
            labels.pop()
            groups[-2:] = [groups[-2] + groups[-1]]
        labels.append(label)
    return labels


def _label(places: Sequence[float], group: list[int]) -> tuple[float, str]:
    first, last = min(group) + 1, max(group) + 1
    text = f"{first}" if first == last else f"{first}-{last}"
    return (places[group[0]] + places[group[-1]]) / 2, text


def _reach(label: tuple[float, str], way: int) -> float:
    return label[0] + way * len(label[1]) * LETTER / 2


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _line(start: Point, end: Point, colour: str, *, dash: str) -> str:
    return (
        f'<line x1="{start[0]:g}" y1="{start[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}" '
        f'stroke="{colour}" stroke-dasharray="{dash}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#404040") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
