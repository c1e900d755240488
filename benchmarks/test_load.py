"""Load and sink are what loss and duplicates are judged by: they are held to it themselves."""

import pytest

from benchmarks.bodies import IDS, Bodies, expected_ids, gunzip
from benchmarks.control import child
from rxotlp.data import Signal, TelemetryData
from rxotlp.wire.json import decode


def test_every_span_of_every_body_has_an_id_of_its_own() -> None:
    """What is counted must be what was sent, also after it was cut and joined."""
    bodies = Bodies("spans", items=20)
    sent = [TelemetryData.from_bytes(Signal.TRACES, bodies.numbered(n)) for n in range(3)]
    parts = [part for element in sent for part in element.split(max_items=7)]
    arrived = IDS(TelemetryData.merge(parts).to_bytes())
    assert len(arrived) == 60
    assert set(arrived) == expected_ids(range(3), 20)


def test_gzip_changes_nothing_but_the_size() -> None:
    """P3 sends what P2 sends."""
    plain, packed = Bodies("spans", items=50), Bodies("spans", items=50, gzip=True)
    assert gunzip(packed.numbered(7)) == plain.numbered(7)
    assert len(packed.numbered(7)) < plain.size


def test_json_has_the_same_ids() -> None:
    """What comes as JSON leaves as protobuf, and is counted there."""
    body = Bodies("spans", items=5, json=True).numbered(3).decode()
    message = decode(Signal.TRACES, body)
    assert set(IDS(message.SerializeToString())) == expected_ids(range(3, 4), 5)


def test_only_spans_can_be_numbered() -> None:
    """An id that is not there would count as lost."""
    with pytest.raises(ValueError, match="expected spans"):
        Bodies("logs", items=2)


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("rate", [None, 400.0], ids=["closed", "open"])
def test_what_is_lost_doubled_or_strange_is_counted_by_id(
    transport: str, rate: float | None
) -> None:
    """A gateway that loses one span in a million must not go unseen."""
    with child("benchmarks.load") as load, child("benchmarks.sink") as sink:
        load.ask("prepare", name="spans", items=5, requests=20)
        address = sink.hello[transport]

        def send(requests: int) -> None:
            said = load.ask(
                "run",
                transport=transport,
                address=address,
                requests=requests,
                senders=4,
                rate=rate,
            )
            assert said["answers"] == {"": requests}
            assert said["refused"] == []

        send(20)
        whole = {"arrived": 100, "lost": 0, "doubled": 0, "strange": 0, "bodies": 20}
        assert sink.ask("report", requests=20, items=5, refused=[]) == whole
        assert sink.ask("report", requests=21, items=5, refused=[])["lost"] == 5
        assert sink.ask("report", requests=21, items=5, refused=[20])["lost"] == 0
        assert sink.ask("report", requests=19, items=5, refused=[])["strange"] == 5
        send(1)
        assert sink.ask("report", requests=20, items=5, refused=[])["doubled"] == 5


def test_gzip_arrives() -> None:
    """Both ends know it."""
    with child("benchmarks.load") as load, child("benchmarks.sink") as sink:
        load.ask("prepare", name="spans", items=5, gzip=True, requests=3)
        load.ask("run", transport="http", address=sink.hello["http"], requests=3, senders=1)
        assert sink.ask("report", requests=3, items=5, refused=[])["lost"] == 0


def test_a_command_that_fails_is_an_error_here() -> None:
    """A benchmark that goes on without its load measures nothing."""
    with child("benchmarks.load") as load, pytest.raises(RuntimeError, match="no-such-workload"):
        load.ask("prepare", name="no-such-workload", requests=1)
