"""Every operator has an example that runs, a diagram and rows in the README's tables."""

import doctest
import inspect
import re
from pathlib import Path
from types import FunctionType

import pytest

from rxotlp import operators

OPERATORS = sorted(
    name
    for name in operators.__all__
    if isinstance(value := getattr(operators, name), FunctionType)
    and not hasattr(value, "is_selector")  # what `route` is given
)
README = Path(operators.__file__).parent / "README.md"


@pytest.mark.parametrize("name", OPERATORS)
def test_the_example_in_the_docstring_runs(name: str) -> None:
    """It is what a reader copies, and what `rxotlp operators NAME` shows."""
    function = getattr(operators, name)
    assert "\nExample:\n    >>> " in (inspect.getdoc(function) or ""), "no Example: section"
    found = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    assert any(example.want for test in found for example in test.examples), "it shows no result"
    for test in found:
        result = doctest.DocTestRunner().run(test)
        assert result.failed == 0, test.name


@pytest.mark.parametrize("heading", ["does", "on completion", "measured cost"])
def test_the_tables_list_every_operator(heading: str) -> None:
    """That is where a user looks for what one loses, keeps and costs."""
    table = re.search(
        rf"^\| operator[^\n]* {heading}[^\n]*\n(.*?)(?:\n\n|\Z)",
        README.read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
    assert table is not None, f"no table with a column {heading!r}"
    rows = [row for row in table[1].splitlines() if row.startswith("| `")]
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    # Several may share a row; one that is there twice is a mistake.
    assert sorted(names) == OPERATORS
