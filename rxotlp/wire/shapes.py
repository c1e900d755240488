"""Shallow descriptors: how much of a request protobuf decodes is ours to say.

protobuf's C core parses what a descriptor names and keeps everything else as unknown
fields. So each signal gets, in a pool of our own, message types that carry OTLP's real field
numbers (taken from `opentelemetry-proto`, none is written down here) and stop where nobody
looks:

    frame    Frame{groups: bytes}                                  tier 0
    keys     Keys{groups: {resource: bytes}}                       tier 1
    shape    Shape{groups: {scopes: {records: bytes}}}             tier 1
    sketch   Sketch{groups: {scopes: {records: {numbers}}}}        tier 2

Every signal uses the same field names, so one piece of code serves all: `groups`, `scopes`,
`records`. Metrics have a level more: `metrics`, each with OTLP's own `data` oneof, whose
members hold `records`.

Above the records every singular message and string is declared as *repeated bytes*. On the
wire a singular message may come twice and must then be merged, an empty one may be present,
and text need not be UTF-8; a list of occurrences keeps all of that as it came, and a real
decoder that reads them later does the merging. Joining the occurrences of a message is the
same as merging them. What is not declared stays too, as unknown fields.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import Message
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from rxotlp.errors import DecodeError
from rxotlp.wire.signals import Signal
from rxotlp.wire.values import StatusView

__all__ = ["LAYOUTS", "Layout", "children", "read"]

_Field = descriptor_pb2.FieldDescriptorProto

# The repeated fields from the request down to the records.
_PATHS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.PROFILES: ("resource_profiles", "scope_profiles", "profiles"),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A field of every record; how to find it is for `wire.columns` to know.

    Attributes:
        marks: for fields that have a length on the wire: a message with `field`, a list of
            its occurrences. None for numbers, which are in the sketch.
        tag: the field's tag on the wire.
        decode: makes a value of its bytes; None leaves them as they are.
        convert: makes the same value of what a full message has; None likewise.
        merges: whether several occurrences are joined, or the last counts.
    """

    marks: type[Any] | None = None
    tag: bytes = b""
    decode: Callable[[bytes], Any] | None = None
    convert: Callable[[Any], Any] | None = None
    merges: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """One signal's message types, from tier 0 to tier 3.

    Attributes:
        frame, keys, shape, sketch: see the module's text.
        depth: lists above the records: groups, scopes and, for metrics only, metrics.
        path: OTLP's names of the lists from the request down.
        record: the full message class of a record; for metrics by the name of the oneof
            member that holds it, otherwise under "".
        columns: the record fields that can be read for all records at once, likewise.
    """

    frame: type[Any]
    keys: type[Any]
    shape: type[Any]
    sketch: type[Any]
    depth: int
    path: tuple[str, ...]
    record: dict[str, type[Any]]
    columns: dict[str, dict[str, Column]]


def read(message_class: type[Any], signal: Signal, payload: bytes) -> Any:
    """Decode, with an error that says what was being read.

    Raises:
        DecodeError: the bytes are not what the class needs them to be.
    """
    try:
        return message_class.FromString(payload)
    except ProtobufDecodeError as error:
        raise DecodeError(
            f"{signal.value}: {len(payload)} bytes cannot be read as an "
            f"{signal.names.request.DESCRIPTOR.name}: {error}"
        ) from None


def children(node: Any, level: int, depth: int) -> Any:
    """The list right below a shape's or sketch's node; level 0 is the request.

    At `depth` it holds records. A metric without data, or with data of a kind that we do not
    know, has none.
    """
    if level == 0:
        return node.groups
    if level == 1:
        return node.scopes
    if level == 2:
        return node.records if depth == 2 else node.metrics
    kind = node.WhichOneof("data")
    return () if kind is None else getattr(node, kind).records


class _Builder:
    """Writes message types into one file of a private pool."""

    def __init__(self, name: str) -> None:
        self.package = f"rxotlp.wire.{name}"
        self.file = descriptor_pb2.FileDescriptorProto(
            name=f"{self.package}.proto", package=self.package, syntax="proto3"
        )

    def add(self, name: str) -> "_Type":
        return _Type(self.file.message_type.add(name=name), f".{self.package}.{name}")

    def classes(self, *names: str) -> list[type[Message]]:
        pool = DescriptorPool()
        pool.Add(self.file)
        find = pool.FindMessageTypeByName
        return [message_factory.GetMessageClass(find(f"{self.package}.{name}")) for name in names]


class _Type:
    """One message type being written."""

    def __init__(self, proto: descriptor_pb2.DescriptorProto, name: str) -> None:
        self.proto = proto
        self.name = name

    def bytes(self, field: FieldDescriptor, name: str | None = None) -> "_Type":
        """Declare `field` as repeated bytes."""
        self.proto.field.add(
            name=name or field.name,
            number=field.number,
            type=_Field.TYPE_BYTES,
            label=_Field.LABEL_REPEATED,
        )
        return self

    def messages(self, field: FieldDescriptor, of: "_Type", name: str | None = None) -> "_Type":
        """Declare `field` as a list of the given type."""
        self.proto.field.add(
            name=name or field.name,
            number=field.number,
            type=_Field.TYPE_MESSAGE,
            type_name=of.name,
            label=_Field.LABEL_REPEATED,
        )
        return self

    def merged(self, field: FieldDescriptor, of: "_Type", name: str) -> "_Type":
        """Declare a list as one message: its elements are merged, so their fields are lists."""
        self.proto.field.add(
            name=name,
            number=field.number,
            type=_Field.TYPE_MESSAGE,
            type_name=of.name,
            label=_Field.LABEL_OPTIONAL,
        )
        return self

    def headers(self, descriptor: Descriptor) -> "_Type":
        """Declare every singular message and string of OTLP's type, oneof members apart."""
        for field in descriptor.fields:
            kinds = (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_STRING)
            if field.type in kinds and not field.is_repeated and not field.containing_oneof:
                self.bytes(field)
        return self

    def member(self, field: FieldDescriptor, of: "_Type") -> None:
        """Declare `field` as a member of this type's one oneof."""
        if not self.proto.oneof_decl:
            assert field.containing_oneof is not None
            self.proto.oneof_decl.add(name=field.containing_oneof.name)
        self.proto.field.add(
            name=field.name,
            number=field.number,
            type=_Field.TYPE_MESSAGE,
            type_name=of.name,
            label=_Field.LABEL_OPTIONAL,
            oneof_index=0,
        )

    def scalar(self, field: FieldDescriptor) -> None:
        """Declare a singular scalar as it is; enums become the integers that they are.

        A oneof stays one: of two members on the wire only the last counts.
        """
        kind: Any = _Field.TYPE_INT32 if field.type == FieldDescriptor.TYPE_ENUM else field.type
        made = self.proto.field.add(
            name=field.name, number=field.number, type=kind, label=_Field.LABEL_OPTIONAL
        )
        oneof = field.containing_oneof
        if oneof is not None and len(oneof.fields) > 1:
            names = [known.name for known in self.proto.oneof_decl]
            if oneof.name not in names:
                self.proto.oneof_decl.add(name=oneof.name)
                names.append(oneof.name)
            made.oneof_index = names.index(oneof.name)


def _columns(builder: _Builder, name: str, real: Descriptor) -> tuple[_Type, dict[str, Column]]:
    """A record type with numbers only, and every column that its records have.

    Columns are numbers, texts, ids and a span's status. `original_payload` is a whole
    foreign profile and is none.
    """
    made = builder.add(name)
    columns: dict[str, Column] = {}
    for field in real.fields:
        if field.is_repeated or field.name == "original_payload":
            continue
        if field.message_type is not None:
            if field.name == "status":
                columns[field.name] = _marked(field, _status, convert=StatusView.of, merges=True)
        elif field.type == FieldDescriptor.TYPE_STRING:
            columns[field.name] = _marked(field, _text)
        elif field.type == FieldDescriptor.TYPE_BYTES:
            columns[field.name] = _marked(field, None)
        else:
            made.scalar(field)
            columns[field.name] = Column()
    return made, columns


def _marked(
    field: FieldDescriptor,
    decode: Callable[[bytes], Any] | None,
    *,
    convert: Callable[[Any], Any] | None = None,
    merges: bool = False,
) -> Column:
    builder = _Builder(f"marks.{field.full_name}")
    builder.add("Marks").bytes(field, "field")
    (marks,) = builder.classes("Marks")
    return Column(marks, _tag(field), decode, convert, merges)


def _status(value: bytes) -> StatusView:
    return StatusView.of(Status.FromString(value))


def _text(value: bytes) -> str:
    return str(value, "utf-8")


def _tag(field: FieldDescriptor) -> bytes:
    """The tag of a field with a length, as it is on the wire."""
    number = field.number << 3 | 2
    return bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7])


def _layout(signal: Signal) -> Layout:
    groups, scopes, records = _PATHS[signal]
    request: Any = signal.names.request.DESCRIPTOR
    group_field = request.fields_by_name[groups]
    group = _below(group_field)
    scope_field = group.fields_by_name[scopes]
    scope = _below(scope_field)
    record_field = scope.fields_by_name[records]
    record = _below(record_field)
    resource_field = group.fields_by_name["resource"]
    builder = _Builder(signal.value)

    builder.add("Frame").bytes(group_field, "groups").headers(request)
    key = builder.add("Key").bytes(resource_field)
    for field in group.fields:
        if field.name == "schema_url":
            key.bytes(field)
    builder.add("Keys").messages(group_field, key, "groups").headers(request)

    full: dict[str, type[Any]] = {}
    columns: dict[str, dict[str, Column]] = {}
    for tier in ("Shape", "Sketch"):
        made_scope = builder.add(f"{tier}Scope").headers(scope)
        made_group = builder.add(f"{tier}Group").headers(group)
        made_group.messages(scope_field, made_scope, "scopes")
        builder.add(tier).messages(group_field, made_group, "groups").headers(request)
        if signal is not Signal.METRICS:
            full[""] = _real(record)
            if tier == "Shape":
                made_scope.bytes(record_field, "records")
            else:
                made, columns[""] = _columns(builder, "Record", record)
                made_scope.messages(record_field, made, "records")
            continue
        metric = builder.add(f"{tier}Metric").headers(record)
        made_scope.messages(record_field, metric, "metrics")
        for field in record.oneofs_by_name["data"].fields:
            points_field = _below(field).fields_by_name["data_points"]
            full[field.name] = _real(_below(points_field))
            member = builder.add(f"{tier}_{field.name}")
            if tier == "Shape":
                member.bytes(points_field, "records")
            else:
                made, columns[field.name] = _columns(
                    builder, f"Record_{field.name}", _below(points_field)
                )
                member.messages(points_field, made, "records")
            metric.member(field, member)

    frame, keys, shape, sketch = builder.classes("Frame", "Keys", "Shape", "Sketch")
    return Layout(
        frame=frame,
        keys=keys,
        shape=shape,
        sketch=sketch,
        depth=3 if signal is Signal.METRICS else 2,
        path=_PATHS[signal],
        record=full,
        columns=columns,
    )


def _below(field: FieldDescriptor) -> Descriptor:
    descriptor: Any = field.message_type
    found: Descriptor = descriptor
    return found


def _real(descriptor: Descriptor) -> type[Message]:
    return message_factory.GetMessageClass(descriptor)


LAYOUTS = {signal: _layout(signal) for signal in Signal}
