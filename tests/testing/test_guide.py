"""The guide's code runs as it stands; a guide that does not is worse than none."""

import re
from pathlib import Path

import pytest

PREAMBLE = """
from reactivex import Observable
from reactivex.disposable import CompositeDisposable, Disposable
from rxotlp import DELIVERED, VirtualScheduler, failed
from rxotlp import operators as ops
from rxotlp._core.outcomes import Kind
from rxotlp.testing import *
"""

GUIDE = Path(__file__).parent.parent.parent / "rxotlp" / "testing" / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_guide_runs(number: int) -> None:
    """And the asserts in it hold."""
    exec(compile(PREAMBLE + BLOCKS[number], f"{GUIDE.name}, block {number}", "exec"), {})


def test_the_guide_keeps_its_promise_of_length() -> None:
    """A stateful operator in thirty lines, it says."""
    (operator,) = [block for block in BLOCKS if "def one_behind" in block]
    code = operator[: operator.index("check_operator")].strip().splitlines()
    assert len(code) <= 30
