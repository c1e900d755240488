"""The README's examples run, and the tests that its table names exist."""

import re
from pathlib import Path

import pytest

PREAMBLE = """
import asyncio
import reactivex as rx
from rxotlp import operators as ops
from rxotlp.errors import *
from rxotlp.schedulers import *
from rxotlp.testing import Rig, SlowRecorder
"""

TESTS = Path(__file__).parent.parent
README = TESTS.parent / "rxotlp" / "schedulers" / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_runs(number: int) -> None:
    """And the asserts in it hold."""
    exec(compile(PREAMBLE + BLOCKS[number], f"{README.name}, block {number}", "exec"), {})


def test_the_table_names_what_is_there() -> None:
    """A test that was renamed leaves its row behind."""
    known = set()
    for path in TESTS.rglob("test_*.py"):
        known |= {path.stem, *re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))}
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert named
    assert named <= known
