"""Exports run without instrumentation."""

import subprocess
import sys

from opentelemetry import context

from rxotlp.exporters.quiet import untraced


def test_inside_instrumentations_are_told_to_keep_quiet() -> None:
    """And told nothing any more afterwards, even after an error."""
    key = context._SUPPRESS_INSTRUMENTATION_KEY
    try:
        with untraced():
            assert context.get_value(key)
            raise RuntimeError
    except RuntimeError:
        assert not context.get_value(key)


def test_it_works_without_the_api() -> None:
    """An application that embeds rxotlp need not have opentelemetry-api."""
    program = """
import sys
sys.modules["opentelemetry.context"] = None
from rxotlp.exporters.quiet import untraced
with untraced():
    print("inside")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "inside\n", done.stderr
