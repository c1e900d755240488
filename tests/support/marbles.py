"""Marble diagrams of docstrings: read, played on a virtual clock, and compared.

One character is one second. A letter is an element, `|` completion, `#` an error, and what
stands in brackets happens at the second of the opening one. `X=a+b` behind a diagram says
which source letters an element carries; an upper-case letter carries its lower-case one.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Diagram", "Moment", "diagrams", "read"]


@dataclass(frozen=True)
class Moment:
    """Something that happens at a second: the letter of an element, `|` or `#`."""

    second: int
    what: str


@dataclass(frozen=True)
class Diagram:
    """One row of a marble diagram."""

    moments: list[Moment]
    meaning: dict[str, str]

    def letters(self, letter: str) -> str:
        """The source letters that an element carries."""
        return self.meaning.get(letter, letter.lower())


def read(text: str, comment: str = "") -> Diagram:
    """Read one row."""
    moments: list[Moment] = []
    group: int | None = None
    for at, character in enumerate(text):
        if character == "(":
            group = at
        elif character == ")":
            group = None
        elif character.isalpha() or character in "|#":
            moments.append(Moment(at if group is None else group, character))
        elif character not in "-,":
            raise ValueError(f"marble diagram {text!r}: {character!r} means nothing")
    meaning = {
        name: parts.replace("+", "") for name, parts in re.findall(r"(\w)=(\w(?:\+\w)*)", comment)
    }
    return Diagram(moments, meaning)


def diagrams(operator: Callable[..., Any]) -> dict[str, Diagram]:
    """The rows of the diagram in an operator's docstring, by name."""
    block = re.search(r"```\n(.*?)```", inspect.getdoc(operator) or "", re.DOTALL)
    if block is None:
        raise ValueError(f"{operator.__name__} has no marble diagram in its docstring")
    rows: dict[str, Diagram] = {}
    for line in block[1].splitlines()[1:]:
        name, text, *comment = line.split(None, 2)
        rows[name] = read(text, "".join(comment))
    return rows
