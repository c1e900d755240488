"""Messages to JSON text, straight from their bytes.

Asking a message object for an attribute costs more than everything else here: protobuf makes
a Python object for every nested message and looks the name up. So a message is serialized, in
C, and its bytes are walked: each message type gets a table once, from tag to key and what
writes the value. Attributes repeat, within a request and from one to the next (a dozen routes,
one host), so their texts are kept by their bytes, a few thousand of those that are not long.

The bytes come from protobuf's serializer, never from outside, and the walk rests on what it
does: repeated fields stand together, repeated numbers are packed, strings are UTF-8. Unknown
fields have no JSON name: when one is met, the walk is done again without them.
"""

from collections.abc import Callable
from functools import cache
from json.encoder import encode_basestring
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from rxotlp.wire.json_values import EIGHT, FOUR, SIZED, VARINT, Slice, read_varint, value_writer

__all__ = ["write_message"]

_KEY_VALUE = "opentelemetry.proto.common.v1.KeyValue"

_MESSAGE, _RUN = 3, 4  # what follows a tag, besides wire types: one message; several values

_MOST_TEXTS, _LONGEST = 4096, 1024  # attributes that are kept, and bytes of one: 10 MB at worst

_Texts = dict[bytes, str]  # of attributes that were written before
_Walk = Callable[[bytes, int, int, list[str], _Texts], object]  # adds data[at:stop] to the list
_Run = Callable[[bytes, int, int, list[str], _Texts], int]  # and says where it ended
_Entry = tuple[int, str, str, Any]  # what follows, "{" and ",", each with the key, what writes


# Shared by threads: each step on it is one of the dict's own, and one that is lost is redone.
_texts: _Texts = {}


class _UnknownField(Exception):
    """The walk cannot go past it."""


def write_message(message: Message) -> str:
    """The JSON object of a message, without spaces or line breaks."""
    try:
        return _written(_walker(message.DESCRIPTOR), message.SerializeToString(), _texts)
    except _UnknownField:
        known = type(message)()
        known.CopyFrom(message)
        known.DiscardUnknownFields()
        return _written(_walker(message.DESCRIPTOR), known.SerializeToString(), _texts)


def _written(walk: _Walk, data: bytes, texts: _Texts) -> str:
    out: list[str] = []
    walk(data, 0, len(data), out, texts)
    return "".join(out)


@cache
def _walker(descriptor: Descriptor) -> _Walk:
    table: dict[int, _Entry] = {}

    def walk(data: bytes, at: int, stop: int, out: list[str], texts: _Texts) -> None:
        if not table:  # filled when first used: message types may contain themselves
            table.update(dict(map(_entry, descriptor.fields)))  # at once, for other threads
        if at == stop:
            out.append("{}")
            return
        start = at
        while at < stop:
            tag = data[at]
            if tag > 127:
                at += 1
                tag += (data[at] - 1) << 7
            try:
                follows, opening, key, write = table[tag]
            except KeyError:
                raise _UnknownField from None
            if start >= 0:
                key, start = opening, -1
            at += 1
            if follows == SIZED:
                end = data[at]
                at += 1
                if end > 127:
                    end, at = read_varint(data, at - 1)
                end += at
                out.append(key + write(data, at, end))
                at = end
            elif follows in (EIGHT, FOUR):
                end = at + (8 if follows == EIGHT else 4)
                out.append(key + write(data, at, end))
                at = end
            elif follows == VARINT:
                value = data[at]
                at += 1
                if value > 127:
                    value, at = read_varint(data, at - 1)
                out.append(key + write(value))
            elif follows == _MESSAGE:
                end = data[at]
                at += 1
                if end > 127:
                    end, at = read_varint(data, at - 1)
                end += at
                out.append(key)
                write(data, at, end, out, texts)
                at = end
            else:
                out.append(key)
                at = write(data, at, stop, out, texts)
        out.append("}")

    return walk


def _run(walk: _Walk, tag: bytes) -> _Run:
    """Writes values that follow each other, each behind the same tag but for the first."""

    def write_run(data: bytes, at: int, stop: int, out: list[str], texts: _Texts) -> int:
        out.append("[")
        while True:
            end = data[at]
            at += 1
            if end > 127:
                end, at = read_varint(data, at - 1)
            end += at
            walk(data, at, end, out, texts)
            at = end
            if at == stop or not data.startswith(tag, at):
                out.append("]")
                return at
            out.append(",")
            at += len(tag)

    return write_run


def _run_of_attributes(descriptor: Descriptor, tag: bytes) -> _Run:
    """Like `_run`, for KeyValues: most were written before."""
    walk = _walker(descriptor)
    walk_value = _walker(descriptor.fields_by_name["value"].message_type)
    (first,) = tag

    def attribute(pair: bytes, texts: _Texts) -> str:
        size = len(pair)
        if 4 <= size < 128 and pair[0] == 10:  # so every size in it is one byte
            value = pair[1] + 4  # after the key: a tag, a size, the value
            if value <= size and pair[value - 2] == 18 and value + pair[value - 1] == size:
                key = encode_basestring(str(pair[2 : value - 2], "utf-8"))
                if pair[value : value + 1] == b"\n" and value + 2 + pair[value + 1] == size:
                    string = encode_basestring(str(pair[value + 2 :], "utf-8"))
                    return f'{{"key":{key},"value":{{"stringValue":{string}}}}}'
                return f'{{"key":{key},"value":{_written(walk_value, pair[value:], texts)}}}'
        return _written(walk, pair, texts)

    def write_run(data: bytes, at: int, stop: int, out: list[str], texts: _Texts) -> int:
        written = []
        while True:
            end = data[at]
            at += 1
            if end > 127:
                end, at = read_varint(data, at - 1)
            end += at
            pair = data[at:end]
            at = end
            text = texts.get(pair)
            if text is None:
                text = attribute(pair, texts)
                if len(pair) <= _LONGEST:
                    if len(texts) >= _MOST_TEXTS:
                        texts.clear()
                    texts[pair] = text
            written.append(text)
            if at == stop or data[at] != first:
                out.append(f"[{','.join(written)}]")
                return at
            at += 1

    return write_run


def _entry(field: FieldDescriptor) -> tuple[int, _Entry]:
    """Tag, and the entry for it."""
    message = field.message_type
    wire_type, write = (_MESSAGE, _walker(message)) if message else value_writer(field)
    follows: int = wire_type
    tag = field.number << 3 | (SIZED if message else wire_type)
    if field.is_repeated and not field.is_packed:
        follows, write = _RUN, _run_writer(message, write, tag)
    key = f'"{field.json_name}":'
    return tag, (follows, "{" + key, "," + key, write)


def _run_writer(message: Descriptor | None, write: Any, tag: int) -> _Run:
    encoded = bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])
    if message is None:
        return _run(_walk_of(write), encoded)
    if message.full_name == _KEY_VALUE and len(encoded) == 1:
        return _run_of_attributes(message, encoded)
    return _run(write, encoded)


def _walk_of(write: Slice) -> _Walk:
    return lambda data, at, stop, out, texts: out.append(write(data, at, stop))
