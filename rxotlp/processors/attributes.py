"""`attributes`: set, rename, hash and remove attributes at one level.

At the levels of resources and scopes no record is decoded and records keep their bytes. At
record level a record is decoded only when the bytes of a key occur in it: keys are text and
stand on the wire as they are, so a record without those bytes has no such attribute. What
is then to be added is the same for all of them, and appending the bytes of list entries to
a message appends to the list.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import message_factory
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError as ProtobufDecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from rxotlp.data import RecordView, Signal, TelemetryData
from rxotlp.processors._edit import Edit
from rxotlp.processors._ready import ReadyProcessor, check_key, mapping, named
from rxotlp.wire.rewrite import rewrite
from rxotlp.wire.values import any_value

__all__ = ["attributes"]

_CALL = "attributes"
_LEVELS = ("record", "scope", "resource")


def attributes(
    *,
    delete: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
    insert: Mapping[str, Any] | None = None,
    update: Mapping[str, Any] | None = None,
    upsert: Mapping[str, Any] | None = None,
    hash: Iterable[str] = (),
    level: str = "record",
) -> ReadyProcessor[TelemetryData]:
    """Change attributes, in the order of the arguments here.

    Example:
        >>> from rxotlp import Signal, TelemetryData
        >>> from rxotlp.processors import attributes
        >>> logs = TelemetryData.from_json(Signal.LOGS, '{"resourceLogs": [{"resource": {}}]}')
        >>> staged = attributes(upsert={"deployment.environment.name": "staging"}, level="resource")
        >>> dict(staged(logs).resources()[0].attributes)
        {'deployment.environment.name': 'staging'}

    Args:
        delete: keys of attributes to remove.
        rename: new keys by old ones; an attribute that is under the new key already goes.
        insert: values of attributes to add where the key is absent.
        update: values to set where the key is there.
        upsert: values to set in either case.
        hash: keys of attributes whose value becomes its SHA-256 in hex: of a text's UTF-8, of
            bytes as they are, of anything else as Python writes it. Who knows all possible
            values can find the one; `redact` leaves nothing to find.
        level: whose attributes: "record" (spans, data points, log records), "scope", or
            "resource". The latter two decode no record.

    Values are None, bool, int, float, str, bytes, and lists and mappings of these.

    Profiles have attributes of their resources and scopes changed; at record level they pass
    as they are, because a profile's attributes are entries of a table that it shares with
    mappings, locations and samples. In a profiles request, what is removed or hashed may
    still be in its string table.

    An element in which nothing changes is passed on itself. One that cannot be read as far
    down as the level makes the processor raise, and `chain` rejects it with the path.

    Raises:
        TypeError, ValueError: an argument is not of this form, or there is nothing to do.
    """
    if level not in _LEVELS:
        raise ValueError(
            f"{_CALL}(level={level!r}): expected one of {', '.join(map(repr, _LEVELS))}"
        )
    renames = mapping(_CALL, "rename", rename or {})
    for new in renames.values():
        check_key(_CALL, "rename", new)
    if len(set(renames.values())) < len(renames):
        raise ValueError(f"{_CALL}(rename={rename!r}): expected new keys that differ")
    edit = Edit(
        delete=named(_CALL, "delete", delete),
        rename=renames,
        insert=_encoded("insert", insert),
        update=_encoded("update", update),
        upsert=_encoded("upsert", upsert),
        hash=named(_CALL, "hash", hash),
    )
    if not edit.keys:
        raise ValueError(f"{_CALL}(): expected something to delete, rename, set or hash")
    given = {
        "delete": delete,
        "rename": rename,
        "insert": insert,
        "update": update,
        "upsert": upsert,
        "hash": hash,
    }
    texts = [f"{name}={value!r}" for name, value in given.items() if value]
    text = f"{_CALL}({', '.join([*texts, f'level={level!r}'])})"
    return ReadyProcessor(text, _AtRecords(edit) if level == "record" else _Above(edit, level))


def _encoded(argument: str, entries: Mapping[str, Any] | None) -> dict[str, AnyValue]:
    made = {}
    for key, plain in mapping(_CALL, argument, entries or {}).items():
        try:
            made[key] = any_value(plain)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{_CALL}({argument}={{{key!r}: {plain!r}}}): {error}") from None
    return made


class _Above:
    """At the level of resources or scopes."""

    __slots__ = ("_edit", "_level")

    def __init__(self, edit: Edit, level: str) -> None:
        self._edit = edit
        self._level = level

    def __call__(self, data: TelemetryData) -> TelemetryData:
        payload = data.to_bytes()
        if self._level == "scope":
            made = rewrite(data.signal, payload, scope=self._change)
        else:
            made = rewrite(data.signal, payload, resource=self._change)
        return data if made is payload else data.derive(made)

    def _change(self, message: Any, strings: Any) -> bool:
        return self._edit.apply(message.attributes, strings)


class _AtRecords:
    """At the level of records."""

    __slots__ = ("_added", "_edit", "_needles")

    def __init__(self, edit: Edit) -> None:
        self._edit = edit
        self._needles = [key.encode() for key in sorted(edit.keys)]
        self._added: dict[Any, bytes] = {}  # by record type: what a record without keys gets

    def __call__(self, data: TelemetryData) -> TelemetryData:
        if data.signal is Signal.PROFILES:
            return data
        payload = data.to_bytes()
        made = rewrite(data.signal, payload, record=self._change)
        return data if made is payload else data.derive(made)

    def _change(self, view: RecordView) -> bytes:
        raw = view.to_bytes()
        for needle in self._needles:
            if needle in raw:
                record = view.message
                if not self._edit.apply(record.attributes):
                    return raw
                changed: bytes = record.SerializeToString()
                return changed
        added = self._added.get(view.DESCRIPTOR)
        if added is None:
            message: Any = message_factory.GetMessageClass(view.DESCRIPTOR)()
            self._edit.apply(message.attributes)
            added = self._added[view.DESCRIPTOR] = message.SerializeToString()
        if not added:
            return raw
        try:
            Empty.FromString(raw)  # appending to a record that breaks off would alter it
        except ProtobufDecodeError:
            return raw
        return raw + added
