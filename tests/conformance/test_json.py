"""OTLP/JSON, row by row: posted to our receiver, and as our exporter writes it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rxotlp.data import TelemetryData
from rxotlp.wire.signals import Signal
from tests.support.scripted import backend
from tests.support.senders import JSON, Heard, post

Serving = Callable[..., Any]

CORPUS = Path(__file__).parent.parent / "corpus"
EXAMPLES = {
    "trace.json": Signal.TRACES,
    "metrics.json": Signal.METRICS,
    "logs.json": Signal.LOGS,
    "events.json": Signal.LOGS,
}
SPAN = '{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708"%s}'


def posted(server: Any, text: str | bytes, signal: Signal = Signal.TRACES) -> Heard:
    """One request in JSON."""
    body = text.encode() if isinstance(text, str) else text
    address = server.addresses["http"]
    return post(address, signal.names.http_path, body, {"Content-Type": JSON}, signal=signal)


def request(fields: str = "", *, span: str | None = None) -> str:
    """A request of one span with these fields besides its ids."""
    return '{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}' % (span or SPAN % fields)


def received(serving: Serving, text: str) -> Any:
    """The span that arrives."""
    with serving() as server:
        assert posted(server, text).word == "success"
        (data,) = server.seen
        return data.message.resource_spans[0].scope_spans[0].spans[0]


def written(data: TelemetryData, gateway: Callable[..., Any]) -> str:
    """What our exporter makes of it, as it arrives at a backend."""
    with (
        backend("http") as there,
        gateway(there.exporter(protocol="http/json")) as pipeline,
    ):
        address = pipeline.addresses["http"]
        kind = {"Content-Type": "application/x-protobuf"}
        heard = post(address, data.signal.names.http_path, data.to_bytes(), kind)
        assert heard.word == "success"
    assert there.requests[0].headers["content-type"] == JSON
    return there.requests[0].body.decode()


@pytest.mark.parametrize(("name", "signal"), EXAMPLES.items())
def test_j1_j2_j3_j5_the_specifications_examples_come_through(
    serving: Serving, gateway: Callable[..., Any], name: str, signal: Signal
) -> None:
    """Read, answered, and written again with the same meaning."""
    text = (CORPUS / name).read_bytes()
    with serving() as server:
        assert posted(server, text, signal).word == "success"
        (data,) = server.seen
    again = json.loads(written(data.detached(), gateway))
    assert _plain(again) == _plain(json.loads(text))


def _plain(value: Any) -> Any:
    """Without what JSON may spell in two ways: numbers, the case of ids, defaults."""
    if isinstance(value, dict):
        plain = {
            key: item.lower() if key.endswith("Id") else _plain(item) for key, item in value.items()
        }
        return {key: item for key, item in plain.items() if item not in (0, False)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        return float(value)
    return float(value) if type(value) is int else value


@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_j1_ids_are_hex_in_either_case(serving: Serving, change: Callable[[str], str]) -> None:
    """Base64 ids are what every general protobuf JSON library gets wrong."""
    ids = change("0a0b0c0d0e0f000102030405060708ff"), change("0a0b0c0d0e0f00ff")
    span = received(serving, request(span=f'{{"traceId":"{ids[0]}","spanId":"{ids[1]}"}}'))
    assert (span.trace_id.hex(), span.span_id.hex()) == (ids[0].lower(), ids[1].lower())


def test_j1_other_bytes_are_base64(serving: Serving, gateway: Callable[..., Any]) -> None:
    """Ids alone are hex; a bytes attribute is not."""
    span = received(
        serving, request(',"attributes":[{"key":"k","value":{"bytesValue":"+/+/AA=="}}]')
    )
    assert span.attributes[0].value.bytes_value == b"\xfb\xff\xbf\x00"
    data = TelemetryData.from_message(_message(span))
    text = written(data, gateway)
    assert '"bytesValue":"+/+/AA=="' in text
    assert '"traceId":"0102030405060708090a0b0c0d0e0f10"' in text


def test_j2_enums_are_integers(serving: Serving, gateway: Callable[..., Any]) -> None:
    """A name accepted here would have to be written where others must refuse it."""
    span = received(serving, request(',"kind":2,"status":{"code":1}'))
    assert (span.kind, span.status.code) == (2, 1)
    text = written(TelemetryData.from_message(_message(span)), gateway)
    assert '"kind":2' in text
    assert '"code":1' in text
    with serving() as server:
        heard = posted(server, request(',"kind":"SPAN_KIND_SERVER"'))
        assert heard.word == "invalid"
        assert heard.status is not None
        assert "kind" in heard.status.message


def test_j3_keys_are_lower_camel_case(serving: Serving, gateway: Callable[..., Any]) -> None:
    """The names of the .proto files are not keys."""
    text = request(',"start_time_unix_nano":"5","endTimeUnixNano":"7","name":"a"')
    span = received(serving, text)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (0, 7)
    keys = re.findall(r'"(\w+)":', written(TelemetryData.from_message(_message(span)), gateway))
    assert "endTimeUnixNano" in keys
    assert not [key for key in keys if "_" in key]


def test_j4_unknown_fields_are_ignored(serving: Serving) -> None:
    """A sender of a newer protocol must not fail with an older receiver."""
    text = request(',"name":"a","noSuchField":{"x":[1,{"y":null}]}')
    assert received(serving, text[:-1] + ',"alsoNone":[[]]}').name == "a"


@pytest.mark.parametrize("number", ['"18446744073709551615"', "18446744073709551615"])
def test_j5_64_bit_integers_are_read_as_strings_and_numbers(
    serving: Serving, gateway: Callable[..., Any], number: str
) -> None:
    """And written as strings: JavaScript cannot hold them as numbers."""
    span = received(serving, request(f',"startTimeUnixNano":{number}'))
    assert span.start_time_unix_nano == 2**64 - 1
    text = written(TelemetryData.from_message(_message(span)), gateway)
    assert '"startTimeUnixNano":"18446744073709551615"' in text


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"resourceSpans":\n [}', "line 2 column 3"),
        ("", "line 1 column 1"),
        ("[]", "expected an object"),
        ('{"resourceSpans":7}', "resource_spans"),
        (request(',"traceState":7'), "spans[0].trace_state"),
    ],
)
def test_j6_malformed_json_is_400_and_says_where_in_json(
    serving: Serving, text: str, where: str
) -> None:
    """A bad request without a place is a debugging session at the sender's."""
    with serving() as server:
        heard = posted(server, text)
        assert (heard.code, heard.headers["content-type"]) == ("400", JSON)
        assert heard.status is not None
        assert where in heard.status.message
        assert server.seen == []


def _message(span: Any) -> Any:
    message: Any = Signal.TRACES.names.request()
    message.resource_spans.add().scope_spans.add().spans.append(span)
    return message
