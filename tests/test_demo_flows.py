"""`rxotlp demo flows` accounts for every order, as a process and when something is missing."""

import io
import subprocess
import sys

import pytest
from rich.console import Console

from rxotlp.data import TelemetryData
from rxotlp.demo import flows


def test_every_order_is_accounted_for() -> None:
    """As a user runs it."""
    ran = subprocess.run(
        [sys.executable, "-m", "rxotlp", "demo", "flows"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for flow in ("SyncControlFlow", "HybridControlFlow", "RecursiveExecutionFlow"):
        assert flow in ran.stdout
    assert "NO " not in ran.stdout
    assert ran.stderr == ""


def test_a_lost_span_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo that cannot fail shows nothing."""
    note = flows.Arrivals.note

    def loses(self: flows.Arrivals, data: TelemetryData) -> TelemetryData | None:
        lost = any(record.attributes.get("order") == 3 for record in data.records())
        return None if lost else note(self, data)

    monkeypatch.setattr(flows.Arrivals, "note", loses)
    out = io.StringIO()
    assert not flows.main(orders=8, console=Console(file=out))
    assert "orders without all of their spans: [3]" in out.getvalue()
