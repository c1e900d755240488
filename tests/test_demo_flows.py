"""`rxotlp demo flows` accounts for every order, and all that drives it is seen at work."""

import io
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from rxotlp.data import TelemetryData
from rxotlp.demo import flows
from rxotlp.demo.shop import SETTINGS, Backend, Shop
from rxotlp.flows import FlowType


def test_every_order_is_accounted_for(tmp_path: Path) -> None:
    """As a user runs it; and virtual time makes it the same here, decision by decision."""
    ran = subprocess.run(
        [sys.executable, "-m", "rxotlp", "demo", "flows", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for flow in ("SyncControlFlow", "HybridControlFlow", "RecursiveExecutionFlow"):
        assert flow in ran.stdout
    assert "NO " not in ran.stdout
    assert ran.stderr == ""
    picture = tmp_path / "decisions.svg"
    assert str(picture) in ran.stdout
    drawn = ElementTree.parse(picture)
    texts = [element.text or "" for element in drawn.iter("{http://www.w3.org/2000/svg}text")]

    shop = Shop(300, 1)
    shop.run()
    marks = [text for text in texts if " s: " in text]
    assert len(marks) == len(shop.decisions)
    for mark, decision in zip(marks, shop.decisions, strict=True):
        door = decision.action in ("refuse", "admit")
        done = decision.action if door else f"{decision.action} to {decision.after}"
        assert f": {done}: {decision.reason}" in mark


@pytest.fixture(scope="module")
def shop() -> Shop:
    """After a day."""
    ran = Shop(300, 2)
    ran.run()
    return ran


def test_limits_fall_and_rise_with_the_load_and_end_where_they_began(shop: Shop) -> None:
    """Both ways: a scheduler that only ever slows down would pass half of this."""
    actions = [decision.action for decision in shop.decisions]
    assert {"reduce_concurrency", "increase_batch_size", "refuse"} <= set(actions)
    last = {decision.action.partition("_")[2]: decision.after for decision in shop.decisions}
    assert last["concurrency"] == SETTINGS.concurrency
    assert last["batch_size"] == SETTINGS.batch_size
    assert actions.count("refuse") == actions.count("admit") == shop.door.times
    assert not shop.door.shut
    peak = max(shop.samples, key=lambda sample: sample.memory_usage)
    assert peak.memory_usage > SETTINGS.memory_high > shop.samples[-1].memory_usage


def test_what_has_no_class_is_executed_as_the_load_says(shop: Shop) -> None:
    """The strategy is asked for every order; the class decides for all others."""
    nested = {flow for operation, flow in shop.routed if operation == "NestedTrace"}
    assert nested == {FlowType.SYNC, FlowType.ASYNC}
    assert {flow for operation, flow in shop.routed if operation == "BatchProcessing"} == {
        FlowType.ASYNC
    }


def test_three_loggers_tell_the_opening_in_one_order(shop: Shop) -> None:
    """From the first phase to the last, numbered without a gap in what was told."""
    entries = shop.journal.entries
    opening = [entry for entry in entries if entry[1] == entries[0][1]]
    numbers = [number for _, _, number, _ in opening]
    assert numbers == sorted(set(numbers))
    texts = [f"{logger}: {text}" for logger, _, _, text in opening]
    steps = [
        "execution: execution starts: Call(try)",
        "data: data flow starts",
        "data: data flow ends",
        "execution: execution ends: Call(try)",
        "control: control transition: adjust -> orders",
        "execution: execution ends: Call(let in)",
    ]
    found = [next(n for n, text in enumerate(texts) if text.startswith(step)) for step in steps]
    assert found == sorted(found)


def test_a_lost_span_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A demo that cannot fail shows nothing."""
    note = Backend.note

    def loses(self: Backend, data: TelemetryData) -> None:
        kept = data.filter_records(lambda record: record.attributes.get("order") != 3)
        if kept is not None:
            note(self, kept)

    monkeypatch.setattr(Backend, "note", loses)
    out = io.StringIO()
    assert not flows.main(orders=8, console=Console(file=out), output=tmp_path)
    assert "orders without all of their spans: [3]" in out.getvalue()
    assert "NO   limits followed" in out.getvalue()  # and a load that never rises moves nothing
