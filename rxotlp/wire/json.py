"""OTLP/JSON to protobuf messages and back.

OTLP/JSON is protobuf's JSON mapping with exceptions (OTLP specification, "JSON Protobuf
Encoding"), and `google.protobuf.json_format` has a switch for none of them: trace and span
ids are hex, enums are integers and never names, keys are lowerCamelCase only. Which bytes
are ids is decided by name: `trace_id`, `span_id` and `parent_span_id`. All other bytes,
`profile_id` included, are base64, as the specification names no others. Id lengths are not
checked here; `wire.validate` does.

    json.py        text and bytes, malformed JSON
    json_build.py  reads what nothing is wrong with, fast
    json_read.py   reads everything, and decides and says what is wrong
    json_write.py  writes; json_values.py the scalars
"""

import json
from typing import NoReturn

from google.protobuf.message import Message

from rxotlp.errors import DecodeError
from rxotlp.wire.json_build import Unusual, build
from rxotlp.wire.json_read import BadField, read_message
from rxotlp.wire.json_write import write_message
from rxotlp.wire.signals import Signal

__all__ = ["decode", "decode_message", "encode"]


def decode(signal: Signal, data: str | bytes) -> Message:
    """Read one export request.

    Args:
        signal: whose request it is.
        data: the JSON text; bytes must be UTF-8.

    Raises:
        DecodeError: it is no JSON (the message names line and column) or no OTLP (the
            message and `path` name the field).
    """
    return decode_message(signal.names.request, data)


def decode_message(cls: type[Message], data: str | bytes) -> Message:
    """Read any OTLP message, a response for example; like `decode` otherwise."""
    try:
        return build(cls, _parse(data))
    except Unusual:
        return _read(cls, _parse(data))  # again: the first value is used up


def encode(message: Message) -> str:
    """Write a message as OTLP/JSON on one line, without spaces.

    Unknown fields of the message have no JSON name and are left out.
    """
    return write_message(message)


def _read(cls: type[Message], value: object) -> Message:
    message = cls()
    try:
        read_message(message, value)
    except BadField as bad:
        where = bad.path or "the JSON document"
        raise DecodeError(f"{where}: {bad.reason}", path=bad.path) from None
    return message


def _parse(data: str | bytes) -> object:
    try:
        text = data if isinstance(data, str) else str(data, "utf-8")
        return json.loads(text, parse_constant=_bare_word)
    except UnicodeDecodeError as error:
        raise DecodeError(f"malformed JSON: invalid UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise DecodeError(
            f"malformed JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        raise DecodeError("malformed JSON: nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits
        raise DecodeError(f"malformed JSON: {error}") from None


def _bare_word(word: str) -> NoReturn:
    raise ValueError(f'{word} is no JSON; expected the string "{word}"')
