"""The texts that JSON keeps of attributes: bounded, and never another attribute's."""

import json
from concurrent.futures import ThreadPoolExecutor

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from rxotlp.wire import json_write
from rxotlp.wire.json import decode, encode
from rxotlp.wire.signals import Signal


def request(*values: str) -> ExportLogsServiceRequest:
    """A request with a record that has these attributes."""
    made = ExportLogsServiceRequest()
    record = made.resource_logs.add().scope_logs.add().log_records.add()
    for value in values:
        record.attributes.add(key="k").value.string_value = value
    return made


def test_what_is_kept_is_bounded_however_many_differ() -> None:
    """A gateway runs for months, and attributes have ids in them."""
    many = request(*(f"{number}" for number in range(json_write._MOST_TEXTS * 2 + 7)))
    assert decode(Signal.LOGS, encode(many)) == many
    assert len(json_write._texts) <= json_write._MOST_TEXTS
    long = "x" * (json_write._LONGEST + 1)
    encode(request(long))
    assert all(len(pair) <= json_write._LONGEST for pair in json_write._texts)


def test_threads_that_write_at_once_get_their_own_texts() -> None:
    """Exporters encode in a pool."""

    def write(seed: int) -> bool:
        values = [f"{seed} {number}" for number in range(3000)]
        text = json.loads(encode(request(*values)))
        found = text["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["attributes"]
        return [one["value"]["stringValue"] for one in found] == values

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(write, range(12)))
