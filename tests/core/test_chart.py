"""Pictures: whatever is drawn, its labels can be read."""

import itertools
import re
from collections.abc import Sequence
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxotlp._core.chart import Panel, chart

LETTER, LINE = 5.5, 9  # what a letter and a line take at the least, at the size it is written in


def overlapping(svg: str) -> list[tuple[str, str]]:
    """Texts that are written over each other."""
    boxes = []
    for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        width = len(text.text or "") * LETTER
        start = {"middle": width / 2, "end": width, None: 0.0, "start": 0.0}[
            text.get("text-anchor")
        ]
        left = float(text.get("x", "")) - start
        boxes.append((left, left + width, float(text.get("y", "")), text.text or ""))
    return [
        (one[3], other[3])
        for one, other in itertools.combinations(boxes, 2)
        if one[0] < other[1] and other[0] < one[1] and abs(one[2] - other[2]) < LINE
    ]


def numbers(svg: str) -> list[str]:
    """The labels of marks."""
    return re.findall(r'y="38" [^>]*>([^<]+)<', svg)


def drawn(marks: Sequence[float], most: float = 1.0) -> str:
    """Two panels with marks at these times."""
    shares: dict[str, Sequence[tuple[float, float]]] = {
        "CPU": [(0.0, 0.0), (100.0, most)],
        "memory": [(0.0, 0.0), (100.0, 0.3)],
    }
    panels = [
        Panel("CPU and memory (share)", shares, rules=(0.8, 0.9, 0.95)),
        Panel("batch size (items)", {"batch size": [(0.0, 65536.0), (50.0, 8.0)]}, steps=True),
    ]
    return chart("A title", panels, [(at, "something was done") for at in marks])


def test_decisions_of_the_same_second_share_a_label() -> None:
    """Their numbers were printed over each other."""
    svg = drawn([10.0, 42.0, 42.0, 42.0, 60.0])
    assert numbers(svg) == ["1", "2-4", "5"]
    assert overlapping(svg) == []


@given(st.lists(st.floats(0.0, 100.0), max_size=40).map(sorted))
def test_no_label_is_written_over_another(marks: list[float]) -> None:
    """However many decisions there were, and however close; and each is in some label."""
    svg = drawn(marks)
    assert overlapping(svg) == []
    named = [tuple(map(int, label.split("-"))) for label in numbers(svg)]
    found = [number for ends in named for number in range(ends[0], ends[-1] + 1)]
    assert found == [*range(1, len(marks) + 1)]


@pytest.mark.parametrize("most", [0.0, 0.5, 0.96, 1.0, 1.3, 30.0])
def test_levels_that_are_close_are_named_apart(most: float) -> None:
    """0.95 was printed over what the axis ends at."""
    svg = drawn([], most)
    assert overlapping(svg) == []
    assert "65,536" in svg
