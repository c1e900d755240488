"""The examples in docstrings run, and the README's table has every processor."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

from rxotlp import processors

PROCESSORS = sorted(
    name
    for name in processors.__all__
    if name in {"attributes", "redact", "where"} or name.startswith("filter_")
)
README = Path(processors.__file__).parent / "README.md"


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_example_in_the_docstring_runs(name: str) -> None:
    """It is what a reader copies."""
    function = getattr(processors, name)
    assert "\nExample:\n    >>> " in (inspect.getdoc(function) or ""), "no Example: section"
    found = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    assert any(example.want for test in found for example in test.examples), "it shows no result"
    for test in found:
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
        assert result.failed == 0, test.name


def test_the_table_lists_every_processor() -> None:
    """That is where a user looks for what one filters and costs."""
    table = README.read_text(encoding="utf-8").partition("| processor |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE)) == PROCESSORS


def test_the_words_of_conditions_are_listed() -> None:
    """A word that is exported and told nowhere is not found."""
    module = importlib.import_module("rxotlp.processors.conditions")
    text = README.read_text(encoding="utf-8")
    for word in module.__all__:
        assert f"`{word}" in text, word


def test_the_readmes_examples_run() -> None:
    """Its Python block is a chain that can be written."""
    for block in re.findall(
        r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL
    ):
        exec(compile(block, str(README), "exec"), {})
