"""What becomes of an element's share when others are made of it."""

import gc
import pickle
import weakref
from collections.abc import Callable

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)

from rxotlp._core.inbox import Inbox
from rxotlp._core.outcomes import DELIVERED, Kind, rejected
from rxotlp.data import Signal, TelemetryData
from rxotlp.receipt import Receipt


def logs(items: int, service: str = "shop") -> TelemetryData:
    """So many log records."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    scope = group.scope_logs.add()
    for number in range(items):
        scope.log_records.add(severity_number=number % 24)
    return TelemetryData.from_message(request)


class Senders:
    """Receipts whose deaths are handled when told."""

    def __init__(self) -> None:
        self.inbox = Inbox(lambda: None)

    def send(self, data: TelemetryData) -> tuple[Receipt, TelemetryData]:
        """An element with a receipt."""
        receipt = Receipt(inbox=self.inbox)
        return receipt, receipt.attach(data)

    def drain(self) -> None:
        """Handle what has died."""
        while (action := self.inbox.pop()) is not None:
            action()


def deliver(data: TelemetryData) -> None:
    """Claim and report, as an exporter does."""
    assert data._share is not None
    data._share.claim().report(DELIVERED)


MAKERS: dict[str, Callable[[TelemetryData], list[TelemetryData]]] = {
    "derive": lambda data: [data.derive(data.to_bytes())],
    "replace metadata": lambda data: [data.replace(metadata={"a": "b"})],
    "replace payload": lambda data: [data.replace(payload=data.to_bytes())],
    "map_records": lambda data: [data.map_records(lambda record: None)],
    "filter_records": lambda data: [
        kept for kept in [data.filter_records(lambda record: record.severity_number)] if kept
    ],
    "split": lambda data: data.split(max_items=1),
    "split_by": lambda data: [part for _, part in data.split_by("service.name")],
    "merge": lambda data: [TelemetryData.merge([data, logs(1)])],
}


@pytest.mark.parametrize("how", MAKERS)
def test_a_sender_hears_what_became_of_what_was_made_of_its_element(how: str) -> None:
    """Whatever a processor does by an element's own methods, the answer stays true."""
    senders = Senders()
    two = TelemetryData.merge([logs(2, "a"), logs(1, "b")])
    receipt, data = senders.send(two)
    made = MAKERS[how](data)
    assert all(part._share is not None for part in made)
    del data
    senders.drain()
    assert not receipt.settled  # the parts are still somewhere
    for part in made:
        deliver(part)
    del part, made
    senders.drain()
    assert receipt.outcome is DELIVERED


@pytest.mark.parametrize("how", MAKERS)
def test_what_is_made_of_an_element_without_a_receipt_has_none(how: str) -> None:
    """By hand and in tests there is nobody to answer."""
    data = TelemetryData.merge([logs(2, "a"), logs(1, "b")])
    assert all(part._share is None for part in MAKERS[how](data))


def test_parts_that_were_lost_are_not_delivered() -> None:
    """One part that nobody took is enough for the sender to send again."""
    senders = Senders()
    receipt, data = senders.send(logs(2))
    first, second = data.split(max_items=1)
    del data
    deliver(first)
    del first, second
    senders.drain()
    assert receipt.outcome is not None
    assert receipt.outcome.kind is Kind.FAILED


def test_shares_know_their_items() -> None:
    """Books and partial success count items by shares."""
    senders = Senders()
    receipt, data = senders.send(logs(5))
    parts = data.split(max_items=2)
    del data
    assert [part._share.items for part in parts if part._share] == [2, 2, 1]
    kept = parts[2].filter_records(lambda record: True)
    assert kept is parts[2]
    assert parts[2]._share is not None
    parts[2]._share.claim().report(rejected("bad"))
    deliver(parts[0])
    deliver(parts[1])
    del parts, kept
    senders.drain()
    assert receipt.rejected == 1


def test_copies_keep_nobody_waiting() -> None:
    """`detached` is what caches, dead letters and taps are given."""
    senders = Senders()
    receipt, data = senders.send(logs(1))
    copies = [data.detached(), pickle.loads(pickle.dumps(data))]
    deliver(data)
    del data
    senders.drain()
    assert receipt.settled
    assert [copied.items for copied in copies] == [1, 1]


def test_a_merged_element_keeps_no_part_alive() -> None:
    """A part that was still reachable would count as held by somebody."""
    senders = Senders()
    _, first = senders.send(logs(1))
    _, second = senders.send(logs(1))
    died = [weakref.ref(first), weakref.ref(second)]
    merged = TelemetryData.merge([first, second])
    del first, second
    assert [found() for found in died] == [None, None]  # at once, without a collection
    deliver(merged)


@pytest.mark.parametrize("joined", [False, True], ids=["apart", "joined"])
def test_withdrawn_parts_are_left_out_of_what_is_sent(joined: bool) -> None:
    """Their senders have been told to send again; sending them too would double them."""
    senders = Senders()
    receipts, elements = zip(
        *(senders.send(logs(count, f"s{count}")) for count in (1, 2, 4)), strict=True
    )
    inner = TelemetryData.merge(elements[:2])
    merged = TelemetryData.merge([inner, elements[2], logs(8, "none")])
    if joined:
        merged.to_bytes()
    assert merged._outgoing() is merged
    receipts[1].withdrawn = True
    sent = merged._with_share(None)._outgoing()
    assert sent.items == 13
    names = [found.attributes["service.name"] for found in sent.resources()]
    assert names == ["s1", "s4", "none"]
    for receipt in receipts:
        receipt.withdrawn = True
    assert merged._outgoing().items == 8  # what has no sender is nobody's to withdraw
    deliver(merged)


def test_withdrawn_profiles_are_left_out_before_they_are_merged() -> None:
    """Their dictionaries become one when bytes are asked for; until then parts are apart."""

    def profile(word: str) -> TelemetryData:
        request = ExportProfilesServiceRequest()
        request.dictionary.string_table.extend(["", word])
        scope = request.resource_profiles.add().scope_profiles.add()
        scope.profiles.add().sample_type.type_strindex = 1
        return TelemetryData.from_message(request)

    senders = Senders()
    first, one = senders.send(profile("cpu"))
    _, two = senders.send(profile("heap"))
    merged = TelemetryData.merge([one, two])
    first.withdrawn = True
    sent = merged._outgoing()
    assert list(sent.message.dictionary.string_table) == ["", "heap"]
    merged.to_bytes()
    assert merged._outgoing() is merged  # too late: the parts cannot be told apart
    deliver(merged)
    del merged, sent
    gc.collect()


def test_a_failed_merge_or_split_leaves_the_shares_as_they_were() -> None:
    """A sender must hear of the element that is still there."""
    senders = Senders()
    receipt, data = senders.send(logs(1))
    with pytest.raises(ValueError, match="one signal"):
        TelemetryData.merge([data, TelemetryData.from_bytes(Signal.TRACES, b"")])
    with pytest.raises(ZeroDivisionError):
        data.split_by(lambda resource: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        data.map_records(lambda record: 1 // 0)
    deliver(data)
    del data
    senders.drain()
    assert receipt.outcome is DELIVERED
