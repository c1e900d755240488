"""Marble diagrams of telemetry: read, played on a virtual clock, compared.

-a-(bc)-|        one character is a second; what stands in brackets happens at the
                 second of the opening one and takes as many as it has characters
a  b  c          elements; by default each has one record, whose id is the letter
|  #             completion; an error
A=a+b  X=abc     behind a diagram: which letters an element carries. An upper-case
                 letter that nobody explains carries its lower-case one
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Diagram", "Moment", "diagrams", "draw", "read"]


@dataclass(frozen=True)
class Moment:
    """Something that happens at a second: the letter of an element, `|` or `#`."""

    second: float
    what: str


@dataclass(frozen=True)
class Diagram:
    """One row of a marble diagram."""

    moments: list[Moment]
    meaning: Mapping[str, str] = field(default_factory=dict)

    def letters(self, letter: str) -> str:
        """The source letters that an element carries."""
        return self.meaning.get(letter, letter.lower())

    def happenings(self) -> list[Moment]:
        """The moments, with what elements carry instead of their names."""
        return [
            moment if moment.what in "|#" else Moment(moment.second, self.letters(moment.what))
            for moment in self.moments
        ]


def read(text: str, comment: str = "") -> Diagram:
    """Read one row; `comment` explains its letters.

    Raises:
        ValueError: a character means nothing, or a bracket is not closed.
    """
    moments: list[Moment] = []
    group: int | None = None
    for at, character in enumerate(text):
        if character == "(" and group is None:
            group = at
        elif character == ")" and group is not None:
            group = None
        elif character.isalpha() or character in "|#":
            moments.append(Moment(at if group is None else group, character))
        elif character not in "-,":
            raise ValueError(f"marble diagram {text!r}: {character!r} at {at} means nothing")
    if group is not None:
        raise ValueError(f"marble diagram {text!r}: the bracket at {group} is never closed")
    meaning = {
        name: parts.replace("+", "") for name, parts in re.findall(r"(\w)=(\w(?:\+\w)*)", comment)
    }
    return Diagram(moments, meaning)


def draw(moments: Iterable[Moment]) -> str:
    """A row for people, as like a diagram as whole seconds allow.

    What happens between seconds, or carries several letters, is written out.
    """
    known = list(moments)
    if all(moment.second == int(moment.second) and len(moment.what) == 1 for moment in known):
        row: dict[int, str] = {}
        for moment in known:
            row[int(moment.second)] = row.get(int(moment.second), "") + moment.what
        text = ""
        for second in sorted(row):  # a bracket may reach into the next second; `read` tells
            text += "-" * (second - len(text))
            text += row[second] if len(row[second]) == 1 else f"({row[second]})"
        if known and read(text).moments == known:
            return text
    return "  ".join(f"{moment.what}@{moment.second:g}" for moment in known) or "(nothing)"


def diagrams(operator: Callable[..., Any]) -> dict[str, Diagram]:
    """The rows of the diagram in an operator's docstring, by name.

    Raises:
        ValueError: there is none, or a row cannot be read.
    """
    block = re.search(r"```\n(.*?)```", inspect.getdoc(operator) or "", re.DOTALL)
    if block is None:
        raise ValueError(f"{operator.__name__} has no marble diagram in its docstring")
    rows: dict[str, Diagram] = {}
    for line in block[1].splitlines()[1:]:
        name, text, *comment = line.split(None, 2)
        rows[name] = read(text, "".join(comment))
    return rows
