"""Merging profiles requests, whose parts refer to one dictionary per request.

Joining the bytes of two such requests would leave the second one's references pointing
into the first one's dictionary. So requests are decoded, every entry of every dictionary
is put into one merged dictionary (once, however many requests have it), and every
reference is rewritten to where its entry went.

Which fields refer to which table is read from the descriptors and the protocol's naming,
not from a list: `x_strindex` refers to `string_table`, `x_index` and `x_indices` to
`x_table`. A test compares what was found with what we know; should an installed protocol
have a reference whose table does not exist, nothing is merged rather than merged wrongly.

Entry 0 of every table is the zero value, so that 0 means "not set" (profiles.proto,
ProfilesDictionary); a dictionary that breaks this is refused, as are references past a
table's end and a dictionary with a table that this version of the protocol does not know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.profiles.v1development.profiles_pb2 import ProfilesDictionary

from rxotlp.errors import DecodeError, PipelineError

__all__ = ["check_dictionary", "merge", "reference_fields", "rewrite"]

Tables = Mapping[str, Sequence[int]]
"""For each table, the new index of every old one."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one message type holds: references of its own, and messages that have some."""

    references: tuple[tuple[str, str, bool], ...]  # field, table, repeated
    children: tuple[tuple[str, bool], ...]  # field, repeated


def merge(payloads: Sequence[bytes]) -> bytes:
    """Merge profiles requests into one that says the same with one dictionary.

    Args:
        payloads: encoded `ExportProfilesServiceRequest`s, 1 or more.

    Returns:
        The encoded merged request; a single payload comes back as the object it was.

    Raises:
        DecodeError: one cannot be read, or refers to an entry that is not there.
    """
    if not payloads:
        raise ValueError("merge([]): expected 1 or more payloads; there is nothing to merge")
    if len(payloads) == 1:
        return payloads[0]
    merged = ExportProfilesServiceRequest()
    dictionary = _Dictionary(merged.dictionary)
    for payload in payloads:
        try:
            request = ExportProfilesServiceRequest.FromString(payload)
        except ProtobufDecodeError as error:
            raise DecodeError(f"profiles request cannot be read: {error}") from None
        tables = dictionary.take(request.dictionary)
        for index, resource in enumerate(request.resource_profiles):
            rewrite(resource, tables, f"resource_profiles[{index}]")
        request.ClearField("dictionary")
        merged.MergeFrom(request)
    return merged.SerializeToString()


def check_dictionary(dictionary: ProfilesDictionary) -> Tables:
    """Check a dictionary by itself; returns tables with which `rewrite` checks.

    Raises:
        DecodeError: an entry 0 is not the zero value, a reference leads nowhere, or there
            is a table that this version does not know.
    """
    tables = {table: range(len(getattr(dictionary, table))) for table in _ORDER}
    _check_shape(dictionary)
    for table in _ORDER:
        if table in _PLANNED_TABLES:
            for index, entry in enumerate(getattr(dictionary, table)):
                rewrite(entry, tables, f"dictionary.{table}[{index}]")
    return tables


def rewrite(message: Message, tables: Tables, path: str) -> None:
    """Rewrite every reference in a message to where its entry is now.

    Raises:
        DecodeError: a reference leads to no entry; the path begins with `path`.
    """
    try:
        _rewrite(message, tables)
    except _LostReference as lost:
        where = f"{path}.{lost.path}"
        raise DecodeError(f"{where}: {lost.reason}", path=where) from None


def reference_fields() -> dict[str, str]:
    """Every reference field (`Message.field`) that requests can hold, and its table."""
    return {
        f"{descriptor.name}.{field}": table
        for descriptor, plan in _PLANS.items()
        for field, table, _ in plan.references
    }


class _Dictionary:
    """The merged dictionary while it grows."""

    __slots__ = ("_message", "_places")

    def __init__(self, message: ProfilesDictionary) -> None:
        self._message = message
        self._places: dict[str, dict[str | bytes, int]] = {}
        for table in _ORDER:
            entries = getattr(message, table)
            if table in _MESSAGE_TABLES:
                entries.add()
                self._places[table] = {b"": 0}
            else:
                entries.append("")
                self._places[table] = {"": 0}

    def take(self, other: ProfilesDictionary) -> Tables:
        """Add another dictionary's entries; returns where each of them is now."""
        _check_shape(other)
        tables: dict[str, list[int]] = {}
        for table in _ORDER:  # an entry's own references are rewritten before it is compared
            places = self._places[table]
            entries = getattr(self._message, table)
            tables[table] = moved = []
            for index, entry in enumerate(getattr(other, table)):
                key = entry
                if table in _MESSAGE_TABLES:
                    if table in _PLANNED_TABLES:
                        rewrite(entry, tables, f"dictionary.{table}[{index}]")
                    key = entry.SerializeToString(deterministic=True)
                place = places.get(key)
                if place is None:
                    place = places[key] = len(entries)
                    entries.append(entry)
                moved.append(place)
        return tables


def _check_shape(dictionary: ProfilesDictionary) -> None:
    if _UNKNOWN_TABLES:
        raise PipelineError(
            f"profiles refer to {', '.join(_UNKNOWN_TABLES)}, which this version of rxotlp does "
            "not know; use an older opentelemetry-proto"
        )
    if len(UnknownFieldSet(dictionary)):
        raise DecodeError(
            "dictionary: a table that this version of the protocol does not know; "
            "references into it cannot be followed",
            path="dictionary",
        )
    for table in _ORDER:
        entries = getattr(dictionary, table)
        if entries and (entries[0].ByteSize() if table in _MESSAGE_TABLES else entries[0]):
            path = f"dictionary.{table}[0]"
            raise DecodeError(f"{path}: not empty, expected the zero value", path=path)


class _LostReference(Exception):
    """A reference that leads to no entry; the path grows while the walk unwinds."""

    def __init__(self, path: str, index: int, table: str, size: int) -> None:
        super().__init__(path)
        self.path = path
        self.reason = f"{index}, expected an index into the {size} entries of {table}"


def _rewrite(message: Any, tables: Tables) -> None:
    plan = _PLANS[message.DESCRIPTOR]
    for field, table, repeated in plan.references:
        value = getattr(message, field)
        moved = tables[table]
        if not value:  # 0 is "not set" before and after, and must not set a oneof
            continue
        if not repeated:
            if not 0 < value < len(moved):
                raise _LostReference(field, value, table, len(moved))
            setattr(message, field, moved[value])
            continue
        for position, index in enumerate(value):
            if 0 <= index < len(moved):
                value[position] = moved[index]
            elif index:  # an absent table still has its zero value
                raise _LostReference(f"{field}[{position}]", index, table, len(moved))
    for field, repeated in plan.children:
        if repeated:
            for position, child in enumerate(getattr(message, field)):
                try:
                    _rewrite(child, tables)
                except _LostReference as lost:
                    lost.path = f"{field}[{position}].{lost.path}"
                    raise
        elif message.HasField(field):
            try:
                _rewrite(getattr(message, field), tables)
            except _LostReference as lost:
                lost.path = f"{field}.{lost.path}"
                raise


# What the descriptors say


def _table_of(field: FieldDescriptor) -> str | None:
    if field.cpp_type != FieldDescriptor.CPPTYPE_INT32:
        return None
    if field.name.endswith("_strindex"):
        return "string_table"
    for ending in ("_index", "_indices"):
        if field.name.endswith(ending):
            return field.name.removesuffix(ending) + "_table"
    return None


def _plans() -> dict[Descriptor, _Plan]:
    """A plan for every message type from which a reference can be reached."""
    found: dict[Descriptor, None] = {}

    def collect(descriptor: Descriptor) -> None:
        if descriptor not in found:
            found[descriptor] = None
            for field in descriptor.fields:
                if field.message_type is not None:
                    collect(field.message_type)

    collect(ExportProfilesServiceRequest.DESCRIPTOR)
    reaching = {d for d in found if any(_table_of(field) for field in d.fields)}
    while more := {
        d for d in found if d not in reaching and any(f.message_type in reaching for f in d.fields)
    }:
        reaching |= more
    return {
        d: _Plan(
            tuple((f.name, table, f.is_repeated) for f in d.fields if (table := _table_of(f))),
            tuple((f.name, f.is_repeated) for f in d.fields if f.message_type in reaching),
        )
        for d in found
        if d in reaching
    }


def _graph() -> dict[str, set[str]]:
    """For each of the dictionary's tables, those that its entries refer to."""
    graph: dict[str, set[str]] = {}
    for table in ProfilesDictionary.DESCRIPTOR.fields:
        seen: set[Descriptor] = set()
        graph[table.name] = set()
        waiting = [table.message_type]
        while waiting:
            descriptor = waiting.pop()
            if descriptor is None or descriptor in seen or descriptor not in _PLANS:
                continue
            seen.add(descriptor)
            graph[table.name] |= {target for _, target, _ in _PLANS[descriptor].references}
            for child, _ in _PLANS[descriptor].children:
                waiting.append(descriptor.fields_by_name[child].message_type)
    return graph


_PLANS = _plans()
_TABLES = ProfilesDictionary.DESCRIPTOR.fields_by_name
_ORDER = tuple(name for name in TopologicalSorter(_graph()).static_order() if name in _TABLES)
_UNKNOWN_TABLES = sorted(set(reference_fields().values()) - set(_ORDER))
_MESSAGE_TABLES = frozenset(name for name in _ORDER if _TABLES[name].message_type is not None)
_PLANNED_TABLES = frozenset(
    name for name in _MESSAGE_TABLES if _TABLES[name].message_type in _PLANS
)
