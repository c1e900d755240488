"""What hostile bytes may do to each reader: be read, or be refused in the right words.

Each function takes bytes as they come from outside and raises only when the reader broke a
promise: another exception than a DecodeError (or RefusedError for what is too large), or a
result that contradicts itself. Hypothesis feeds them in `tests/test_fuzz.py`, and atheris, led
by coverage, in `fuzz/`.
"""

from typing import Any

from rxotlp._core import answers, statuses
from rxotlp.data import TelemetryData
from rxotlp.errors import DecodeError, RefusedError
from rxotlp.wire import compression, json
from rxotlp.wire.framing import Lines, Sized
from rxotlp.wire.signals import Signal
from rxotlp.wire.validate import validate

__all__ = ["ENCODINGS", "LIMIT", "compressed", "framed", "json_text", "responses", "wire"]

LIMIT = 1 << 20  # bytes after decompression
ENCODINGS = tuple(name for name in compression.ENCODINGS if name != "identity")


def wire(signal: Signal, payload: bytes) -> None:
    """A request in protobuf: validated, looked at, taken apart and written as JSON."""
    checked = None
    try:
        checked = validate(signal, payload)
    except DecodeError as error:
        fault = str(error)
    if checked is None:
        assert fault.isprintable()
        _usable(signal, payload, strict=False)
        return
    assert checked.accepted >= 0
    assert checked.rejected >= 0
    assert len(checked.payload) <= len(payload) + 64
    again = validate(signal, checked.payload)
    assert (again.accepted, again.rejected) == (checked.accepted, 0)
    _usable(signal, checked.payload, strict=True)
    _usable(signal, payload, strict=False)


def _usable(signal: Signal, payload: bytes, *, strict: bool) -> None:
    """What operators do with an element; nothing may fail on what a receiver has let in."""
    data = TelemetryData.from_bytes(signal, payload)
    try:
        items = data.items
        assert sum(1 for _ in data.records()) == items
        parts = data.split(max_items=2)
        assert sum(part.items for part in parts) == items
        data.split_by("service.name")
        text = data.to_json()
    except DecodeError:
        assert not strict
        return
    if strict:
        assert TelemetryData.from_json(signal, text).items == items


def json_text(signal: Signal, data: bytes) -> None:
    """A request in JSON; what is read can be written and read again."""
    message: Any = None
    try:
        message = json.decode(signal, data)
    except DecodeError as error:
        fault = str(error)
    if message is None:
        assert len(fault) < 10_000
        return
    payload = message.SerializeToString()
    json.decode(signal, json.encode(message))
    wire(signal, payload)


def compressed(encoding: str, data: bytes) -> None:
    """A compressed body."""
    try:
        body = compression.decompress(encoding, data, LIMIT)
    except (DecodeError, RefusedError):
        return
    assert len(body) <= LIMIT


def framed(data: bytes) -> None:
    """A file of lines, or of messages with their length, in pieces as they are read."""
    for cutter in (Lines(max_size=100), Sized(max_size=100)):
        try:
            for start in range(0, len(data), 7):
                cutter.feed(data[start : start + 7])
                while (record := cutter.cut()) is not None:
                    assert len(record) <= 100
            cutter.rest()
        except DecodeError:
            pass


def responses(signal: Signal, data: bytes) -> None:
    """What a backend answers, as success and as an error."""
    for kind in (statuses.PROTOBUF, statuses.JSON):
        try:
            count, _ = answers.read_response(signal, data, kind)
            assert count >= 0
        except DecodeError:
            pass
        try:
            status = statuses.decode_status(data, kind)
        except DecodeError:
            continue
        wait = statuses.retry_delay(status)
        assert wait is None or wait >= 0
        statuses.violations(status)
    wait = statuses.parse_retry_after(data.decode("latin-1"), 0.0)
    assert wait is None or wait >= 0
