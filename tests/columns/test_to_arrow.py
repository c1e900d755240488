"""`TelemetryData.to_arrow`: columns say of every record what its view says."""

import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from benchmarks.workloads import payload
from rxotlp import Signal, TelemetryData
from rxotlp.columns import fields, types
from rxotlp.errors import DecodeError
from rxotlp.testing import logs
from rxotlp.wire import values
from tests.support.requests import requests

ABOVE = ["attributes.k", "attributes.service.name", "resource.service.name", "scope.name"]
ANY = st.sampled_from(Signal).flatmap(
    lambda signal: requests(signal).map(lambda data: (signal, data))
)


def expected(view: Any, name: str) -> Any:
    """A column's value of one record, by the decoded message."""
    head, dot, key = name.partition(".")
    if head in ("attributes", "resource") and dot:
        found = view.attributes if head == "attributes" else view.resource.attributes
        return found.get(key)
    if dot:
        return getattr(getattr(view, head), key)
    message = view.message
    known = message.DESCRIPTOR.fields_by_name
    if name == "body":
        return values.value(message.body)
    if name not in known:
        return None
    absent = known[name].has_presence and not message.HasField(name)
    return None if absent else getattr(message, name)


@settings(max_examples=60, deadline=None)
@given(ANY)
def test_columns_are_what_views_say(request: tuple[Signal, bytes]) -> None:
    """Of whatever an encoder may write: fields twice, in pieces, of several kinds of points."""
    signal, data = request
    element = TelemetryData.from_bytes(signal, data)
    names = [*fields(signal), *ABOVE]
    if signal is Signal.METRICS:
        names += ["metric.name", "metric.unit"]
    batch = element.to_arrow(names)
    batch.validate(full=True)
    assert batch.schema.names == names
    wanted = [{name: expected(view, name) for name in names} for view in element.records()]
    assert batch.to_pylist() == wanted


def of(*bodies: Any, key: str | None = None) -> TelemetryData:
    """Log records with these bodies, or these values of an attribute."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for body in bodies:
        record = scope.log_records.add()
        if body is Ellipsis:
            continue
        value = values.any_value(body)
        if key is None:
            record.body.CopyFrom(value)
        else:
            record.attributes.add(key="other").value.string_value = "x"
            record.attributes.add(key=key).value.CopyFrom(value)
    return TelemetryData.from_message(request)


@pytest.mark.parametrize(
    ("found", "type_", "column"),
    [
        (["a", ..., ""], pa.string(), ["a", None, ""]),
        ([1, 0, ...], pa.int64(), [1, 0, None]),
        ([True, False], pa.bool_(), [True, False]),
        ([1.5, 2, ...], pa.float64(), [1.5, 2.0, None]),
        ([0.5, 2**53 + 1], pa.float64(), [0.5, 2.0**53]),
        ([b"a", b""], pa.binary(), [b"a", b""]),
        ([..., None], pa.null(), [None, None]),
        (["a", 1, True, None], pa.string(), ["a", "1", "true", None]),
        (["a", b"\0"], pa.string(), ["a", "AA=="]),
        ([["a", 1], ...], pa.string(), ['["a", 1]', None]),
        ([{"a": [b"\0", None]}], pa.string(), ['{"a": ["AA==", null]}']),
    ],
    ids=repr,
)
def test_a_column_of_values_has_their_type(found: list[Any], type_: Any, column: list[Any]) -> None:
    """Numbers compare as numbers; only where kinds are mixed is all of it text."""
    for key, name in ((None, "body"), ("k", "attributes.k")):
        made = of(*found, key=key).to_arrow([name])
        assert made[name].type == type_
        assert made[name].to_pylist() == column


def test_a_resources_values_have_their_type_too() -> None:
    """One value a group, repeated for each of its records."""
    request = ExportLogsServiceRequest()
    for value in (1, 2.5, None):
        group = request.resource_logs.add()
        if value is not None:
            pair = group.resource.attributes.add(key="k")
            pair.value.CopyFrom(values.any_value(value))
        scope = group.scope_logs.add()
        scope.log_records.add()
        scope.log_records.add()
    made = TelemetryData.from_message(request).to_arrow(["resource.k"])["resource.k"]
    assert made.type == pa.float64()
    assert made.to_pylist() == [1.0, 1.0, 2.5, 2.5, None, None]


def test_of_two_attributes_with_one_key_the_last_counts() -> None:
    """As everywhere else here."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for texts in (["a", "b"], ["c"], [], ["d", "e"]):
        record = scope.log_records.add()
        for text in texts:
            record.attributes.add(key="k").value.string_value = text
    made = TelemetryData.from_message(request).to_arrow(["attributes.k"])
    assert made["attributes.k"].to_pylist() == ["b", "c", None, "e"]


def test_a_mapping_says_which_types_the_columns_are_to_have() -> None:
    """So that batches of a stream go into one table, whatever each of them had."""
    types_ = {
        "attributes.k": pa.int64(),
        "time_unix_nano": pa.timestamp("ns", "UTC"),
        "flags": None,
    }
    batches = [of(*found, key="k").to_arrow(types_) for found in ([1], [...], ["2", "x"], [1.0])]
    table = pa.Table.from_batches(batches)
    assert table["attributes.k"].to_pylist() == [1, None, 2, None, 1]
    assert table.schema.field("time_unix_nano").type == pa.timestamp("ns", "UTC")
    with pytest.raises(TypeError, match=r"'attributes\.k': expected a pyarrow type, got 'int'"):
        of(1).to_arrow({"attributes.k": "int"})


def test_without_names_it_is_all_fields() -> None:
    """To look at what is there."""
    made = logs([1, 2]).to_arrow()
    assert made.schema.names == list(fields(Signal.LOGS))
    assert made["body"].to_pylist() == [1, 2]


@pytest.mark.parametrize("signal", list(Signal))
def test_a_request_without_records_has_columns_without_rows(signal: Signal) -> None:
    """With their types, so that a query over many batches does not stumble over one."""
    made = TelemetryData.from_bytes(signal, b"").to_arrow()
    assert made.num_rows == 0
    for name, type_ in types(signal).items():
        if name in made.schema.names:
            assert made.schema.field(name).type == type_


def test_types_do_not_depend_on_which_points_came() -> None:
    """Batches of gauges and of histograms go into one table."""
    signal, data = payload("metrics", items=40)
    gauges = TelemetryData.from_bytes(signal, data).filter_records(
        lambda point: point.metric.WhichOneof("data") == "gauge"
    )
    assert gauges is not None
    every = TelemetryData.from_bytes(signal, data).to_arrow()
    assert pa.Table.from_batches([every, gauges.to_arrow()]).num_rows == 40 + gauges.items


@pytest.mark.parametrize(
    ("signal", "names", "says"),
    [
        (Signal.LOGS, ["name"], "logs have no column 'name'; expected attributes.KEY"),
        (Signal.TRACES, ["body"], "traces have no column 'body'"),
        (Signal.TRACES, ["status"], "no column 'status'"),
        (Signal.TRACES, ["attributes"], "no column 'attributes'"),
        (Signal.TRACES, ["attributes."], "no column 'attributes.'"),
        (Signal.TRACES, ["metric.name"], "no column 'metric.name'"),
        (Signal.METRICS, ["scope.attributes"], "no column 'scope.attributes'"),
    ],
)
def test_an_unknown_column_is_refused(signal: Signal, names: list[str], says: str) -> None:
    """With the ones that there are, because OTLP's names are long."""
    with pytest.raises(ValueError, match=says):
        TelemetryData.from_bytes(signal, b"").to_arrow(names)


@pytest.mark.parametrize("names", ["name", 3, [3], {"name"}])
def test_what_is_no_sequence_of_names_is_refused(names: Any) -> None:
    """A text is a sequence of letters."""
    with pytest.raises(TypeError, match="expected"):
        TelemetryData.from_bytes(Signal.TRACES, b"").to_arrow(names)


@pytest.mark.parametrize(
    ("record", "name"),
    [(b"\x2a\x02\xff\xff", "name"), (b"\x4a\x09\x0a\x01k\x12\x04\x0a\x02\xff\xff", "attributes.k")],
)
def test_a_record_that_cannot_be_read_is_named(record: bytes, name: str) -> None:
    """As by every other method that looks."""
    good = b"\x12\x02\x2a\x00"
    scope = good + b"\x12" + bytes([len(record)]) + record
    group = b"\x12" + bytes([len(scope)]) + scope
    element = TelemetryData.from_bytes(Signal.TRACES, b"\x0a" + bytes([len(group)]) + group)
    assert element.items == 2
    with pytest.raises(DecodeError, match=r"resource_spans\[0\]\.scope_spans\[0\]\.spans\[1\]"):
        element.to_arrow([name])
    assert element.to_arrow(["kind"]).num_rows == 2  # what is not looked at is not decoded


_WITHOUT = """
import sys
sys.modules["{missing}"] = None
import pytest
from rxotlp import Signal, TelemetryData, operators as ops
assert "pyarrow" not in {{name for name, module in sys.modules.items() if module}}
for call in (
    lambda: TelemetryData.from_bytes(Signal.LOGS, b"").to_arrow(),
    lambda: ops.map_columns(lambda batch: batch),
):
    with pytest.raises(ImportError, match=r"pip install 'rxotlp\\[arrow\\]'"):
        call()
ops.filter_records(lambda record: True)
"""


@pytest.mark.parametrize("missing", ["pyarrow", "ptars"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    """And everything else works, without loading 50 MB of it."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT.format(missing=missing)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
