"""What every test gets: rigs that are closed."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _closed_rigs() -> Iterator[None]:
    """Close the clocks that a test used, so that no task outlives it."""
    yield
    feed = sys.modules.get("tests.support.feed")
    while feed is not None and feed.Rig.used:
        feed.Rig.used.pop().clock.close()
