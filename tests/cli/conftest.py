"""What the tests of commands share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Running, Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `rxotlp run app:pipeline` with that source in the current directory."""
    running = []

    def starter(source: str, *arguments: str, target: str = "app:pipeline") -> Running:
        (tmp_path / "app.py").write_text(source)
        running.append(Running(tmp_path, target, *arguments))
        return running[-1]

    yield starter
    for one in running:
        one.clean_up()
