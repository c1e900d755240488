"""The results as a page that a person reads: verdicts first, then every figure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["page"]

Found = Mapping[str, Any]

INTRODUCTION = """\
# Results

Made by `make bench`; how to run it and how to read this stands in [../README.md](../README.md).
Ratios are taken inside one run, both sides alternating: the median of the runs, with the
smallest and the largest. What each compares, and its blind spot, stands at the top of its
module. A goal is met when every part of it is; "not shown" means that there is no figure,
and why.
"""


def page(goals: Sequence[Found], more: Sequence[Found], pictures: Iterable[str]) -> str:
    """The page.

    Args:
        goals: P1 to P10, as goals.json has them.
        more: the other sections, of the same kind.
        pictures: names of SVG files beside the page.
    """
    lines = [
        INTRODUCTION,
        "| goal | work | against | wanted | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for goal in goals:
        parts = [part for part in goal["measures"] if part["wanted"]]
        good = sum(part["verdict"] == "met" for part in parts)
        share = f" ({good} of {len(parts)} parts)" if parts else ""
        lines.append(
            _row(
                f"[{goal['name']}](#{goal['name'].lower()})",
                goal["work"],
                goal["against"],
                goal["wanted"],
                f"**{goal['verdict']}**{share}",
            )
        )
    for found in (*goals, *more):
        lines += ["", *_section(found)]
    lines += ["", "## Pictures", ""]
    lines += [f"![{name.removesuffix('.svg')}]({name})" for name in sorted(pictures)]
    return "\n".join(lines) + "\n"


def _section(found: Found) -> list[str]:
    about = found["about"]
    against = f", against {found['against']}" if found["against"] else ""
    wanted = f" Wanted: {found['wanted']}: **{found['verdict']}**." if found["wanted"] else ""
    lines = [f"## {found['name']}", "", f"{found['work']}{against}.{wanted}"]
    if found.get("interrupted"):
        lines.append(f"Not complete: {found['interrupted']}.")
    lines += [
        "",
        f"At {about['commit']}, {about['at']}: {about['python']}, {about['machine']}.",
        "",
    ]
    lines += [
        "| work | figure | spread | runs | wanted | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for part in found["measures"]:
        verdict = part["verdict"] if part["wanted"] else ""
        lines.append(
            _row(
                part["work"],
                _figure(part),
                _spread(part),
                part["runs"] or "",
                part["wanted"],
                verdict,
            )
        )
    notes = [f"- {part['work']}: {part['note']}" for part in found["measures"] if part["note"]]
    if notes:
        lines += ["", *dict.fromkeys(notes)]
    for title, key in (("Against", "peer"), ("On", "payload")):
        values = dict.fromkeys(part[key] for part in found["measures"] if part[key])
        if values:
            lines += ["", f"{title} {'; '.join(values)}."]
    return lines


def _figure(part: Found) -> str:
    if part["figure"] is None:
        return "not shown"
    unit = part["unit"]
    return f"{_number(part['figure'])}{'x' if unit == 'x' else ' ' + unit}"


def _spread(part: Found) -> str:
    if part["spread"] is None:
        return ""
    low, high = part["spread"]
    return f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    """Three digits that matter, and none that do not."""
    if abs(value) >= 1000:
        return f"{value:.0f}"
    if abs(value) >= 100:
        return f"{value:.1f}"
    return f"{value:.2f}"


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
