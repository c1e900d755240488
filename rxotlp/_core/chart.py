"""Lines and marks over time, as SVG: a picture without a plotting library.

Panels share the axis of time and lie below one another. A line is drawn through its points,
a step from one level to the next, a rule across at a threshold; marks are numbered verticals
in every panel, with their texts below. Any browser shows it, and so does a README.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Panel", "chart"]

Point = tuple[float, float]
WIDTH, HEIGHT, LEFT, RIGHT, GAP = 860, 130, 70, 50, 34
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

    top = 40
    out: list[str] = []
    for panel in panels:
        out += _panel(panel, top, x, (first, first + span))
        for at, _ in marks:
            out.append(_line((x(at), top), (x(at), top + HEIGHT), "#b0b0b0", dash="2 3"))
        top += HEIGHT + GAP
    bottom = top - GAP
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = first + share * span
        out.append(_text(x(at), bottom + 14, f"{at - first:g}{unit}", "middle"))
    top = bottom + 34
    for number, (at, text) in enumerate(marks, start=1):
        out.append(_text(x(at), 36, str(number), "middle"))
        out.append(_text(LEFT, top, f"{number}. {at - first:g}{unit}: {text}", "start"))
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
    most = max(values, default=1.0) * 1.05 or 1.0

    def y(value: float) -> float:
        return round(top + HEIGHT - value / most * HEIGHT, 1)

    left, right = x(ends[0]), x(ends[1])
    out = [
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{HEIGHT}" fill="none" '
        'stroke="#d8d8d8"/>',
        _text(left - 6, top + 10, f"{most:.3g}", "end"),
        _text(left - 6, top + HEIGHT, "0", "end"),
        _text(left + 4, top - 5, panel.title, "start"),
    ]
    for number, rule in enumerate(panel.rules):  # left and right, for they may be close
        out.append(_line((left, y(rule)), (right, y(rule)), "#c03030", dash="6 4"))
        label, anchor = (right + 6, "start") if number % 2 else (left - 6, "end")
        out.append(_text(label, y(rule) + 4, f"{rule:g}", anchor))
    for number, (name, line) in enumerate(panel.lines.items()):
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
        out.append(_text(right - 6, top + 14 + 13 * number, name, "end", colour))
    return out


def _line(start: Point, end: Point, colour: str, *, dash: str) -> str:
    return (
        f'<line x1="{start[0]:g}" y1="{start[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}" '
        f'stroke="{colour}" stroke-dasharray="{dash}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#404040") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
