"""What every test gets: rigs that are closed."""

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
