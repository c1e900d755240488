"""What every test gets: rigs that are closed."""

import gc
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _closed_rigs() -> Iterator[None]:
    """Close the clocks that a test used, so that no task outlives it."""
    yield
    rig = sys.modules.get("rxotlp.testing.rig")
    while rig is not None and rig.opened:
        rig.opened.pop().close()


@pytest.fixture(autouse=True, scope="module")
def _small_heap() -> None:
    """Take what exists by now out of the collector's sight.

    Hundreds of tests collect garbage to see that elements die; with thousands of modules and
    what earlier tests left in memory each collection would cost a tenth of a second.
    """
    gc.collect()
    gc.freeze()
