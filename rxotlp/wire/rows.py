"""The records of one list (a scope's, or a metric's points), and a view of each.

A view decodes a field when it is touched, and then for the whole list at once: the field's
*column*. That is what makes a predicate over every record cheap, because protobuf is called
once a list and not once a record. What is no column decodes that one record in full.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import Message
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.profiles.v1development.profiles_pb2 import ProfilesDictionary

from rxotlp.errors import DecodeError
from rxotlp.wire import values
from rxotlp.wire.columns import numbers, texts
from rxotlp.wire.shapes import LAYOUTS, Column, Layout, children
from rxotlp.wire.signals import Signal
from rxotlp.wire.values import ResourceView, ScopeView

__all__ = ["RecordView", "Rows", "Source"]


class RecordView:
    """A record under the OTLP message's own field names; read-only.

    `attributes` is a mapping to Python values and a log record's `body` is such a value.
    `resource` and `scope` are views; a data point has `metric`, OTLP's `Metric` without its
    points. `message` is the whole record, and whatever else is asked for comes from it.
    """

    __slots__ = ("_attributes", "_columns", "_full", "_index", "_rows")

    _attributes: Any
    _columns: "_Columns"
    _full: Any
    _index: int
    _rows: "Rows"

    @property
    def message(self) -> Any:
        """The whole record, decoded once a view; changing it changes nothing else."""
        return self._full

    @property
    def attributes(self) -> Any:
        """The record's attributes as a read-only mapping."""
        return self._attributes

    @property
    def resource(self) -> ResourceView:
        """What the record is about."""
        return self._rows.source.resource(self._rows)

    @property
    def scope(self) -> ScopeView:
        """Which instrumentation wrote it."""
        return self._rows.scope

    @property
    def metric(self) -> Any:
        """A data point's metric, without points.

        Raises:
            AttributeError: the record is no data point.
        """
        return self._rows.metric

    def to_bytes(self) -> bytes:
        """The record as it came."""
        return self._rows.raw[self._index]

    def __getattr__(self, name: str) -> Any:
        # Slots that are filled when first asked for, then fields that are no column.
        if name == "_full":
            self._full = full = self._rows.message(self._index)
            return full
        if name == "_attributes":
            self._attributes = found = self._rows.attributes(self._full)
            return found
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._full, name)

    def __repr__(self) -> str:
        return f"<RecordView {self._rows.path(self._index)}>"


def _column(name: str) -> property:
    def get(self: RecordView) -> Any:
        return self._columns[name][self._index]

    return property(get, doc=f"OTLP's `{name}`.")


def _body(self: RecordView) -> Any:
    return values.value(self._full.body)


class _Columns(dict[str, "Sequence[Any]"]):
    """A list's columns, each decoded when first asked for."""

    __slots__ = ("rows",)

    rows: "Rows"

    def __missing__(self, name: str) -> Sequence[Any]:
        self[name] = made = self.rows.column(name)
        return made


class Source:
    """One request whose records are looked at."""

    def __init__(self, signal: Signal, payload: bytes, shape: Any) -> None:
        self.signal = signal
        self.layout: Layout = LAYOUTS[signal]
        self._payload = payload
        self._shape = shape
        self._resources: dict[int, ResourceView] = {}

    def walk(self) -> "Iterator[Rows]":
        """Every list that has records, in order."""
        metrics = self.layout.depth == 3
        for at, group in enumerate(self._shape.groups):
            for within, scope in enumerate(group.scopes):
                if metrics:
                    for number, metric in enumerate(scope.metrics):
                        kind = metric.WhichOneof("data")
                        if kind is not None:
                            place = (at, within, number)
                            records = getattr(metric, kind).records
                            if records:
                                yield Rows(self, place, kind, records, (group, scope, metric))
                elif scope.records:
                    yield Rows(self, (at, within), "", scope.records, (group, scope))

    def resource(self, rows: "Rows") -> ResourceView:
        """The resource above a list, decoded once a group."""
        at = rows.place[0]
        found = self._resources.get(at)
        if found is None:
            try:
                found = ResourceView.read(rows.nodes[0], self.strings)
            except (ProtobufDecodeError, UnicodeDecodeError) as error:
                raise rows.bad(f"{self.layout.path[0]}[{at}].resource", error) from None
            self._resources[at] = found
        return found

    @cached_property
    def dictionary(self) -> Any:
        """A profiles request's dictionary."""
        try:
            return ProfilesDictionary.FromString(b"".join(self._shape.dictionary))
        except ProtobufDecodeError as error:
            raise DecodeError(f"dictionary: {error}", path="dictionary") from None

    @property
    def strings(self) -> Sequence[str]:
        """A profiles request's string table; others have none."""
        if self.signal is not Signal.PROFILES:
            return ()
        table: Sequence[str] = self.dictionary.string_table
        return table

    @cached_property
    def sketch(self) -> Any:
        """The numbers of all records."""
        return self.layout.sketch.FromString(self._payload)


class Rows:
    """One list of records.

    Attributes:
        place: the indices of group, scope and, for metrics, metric.
        nodes: those nodes of the shape.
        raw: the records' bytes.
    """

    def __init__(
        self,
        source: Source,
        place: tuple[int, ...],
        kind: str,
        records: Any,
        nodes: tuple[Any, ...],
    ) -> None:
        self.source = source
        self.place = place
        self.nodes = nodes
        self.raw: list[bytes] = list(records)
        self._records = records
        self._kind = kind
        self._class: type[Message] = source.layout.record[kind]

    def views(self) -> Iterator[RecordView]:
        """A view of each record."""
        made_class = _VIEWS[self._class]
        columns = _Columns()
        columns.rows = self
        for index in range(len(self.raw)):
            view = made_class()
            view._rows = self
            view._columns = columns
            view._index = index
            yield view

    def put(self, records: list[bytes]) -> None:
        """Put other records in the shape, in place of these."""
        del self._records[:]
        self._records.extend(records)

    def message(self, index: int) -> Any:
        """One record in full."""
        try:
            return self._class.FromString(self.raw[index])
        except ProtobufDecodeError as error:
            raise self.bad(self.path(index), error) from None

    def attributes(self, message: Any) -> Any:
        """A decoded record's attributes."""
        source = self.source
        if source.signal is not Signal.PROFILES:
            return values.attributes(message.attributes)
        table, strings = source.dictionary.attribute_table, source.strings
        return values.attributes([table[index] for index in message.attribute_indices], strings)

    @cached_property
    def scope(self) -> ScopeView:
        """The scope above the list."""
        try:
            return ScopeView.read(self.nodes[1], self.source.strings)
        except (ProtobufDecodeError, UnicodeDecodeError) as error:
            names = self.source.layout.path
            where = f"{names[0]}[{self.place[0]}].{names[1]}[{self.place[1]}].scope"
            raise self.bad(where, error) from None

    @cached_property
    def metric(self) -> Any:
        """The metric above the list, without its points."""
        if len(self.nodes) < 3:
            raise AttributeError("metric: only a data point has one")
        node = self.nodes[2]
        header = type(node)()
        header.CopyFrom(node)
        del getattr(header, self._kind).records[:]
        try:
            return Metric.FromString(header.SerializeToString())
        except ProtobufDecodeError as error:
            raise self.bad(self.path(0).rpartition(f".{self._kind}")[0], error) from None

    def column(self, name: str) -> list[Any]:
        """One field of every record."""
        column: Column = self.source.layout.columns[self._kind][name]
        found = self._numbers(name) if column.marks is None else texts(column, self.raw)
        if found is None:  # some record is not what it should be: find out which
            return [getattr(self.message(index), name) for index in range(len(self.raw))]
        return found

    def _numbers(self, name: str) -> list[Any] | None:
        try:
            node = self.source.sketch
        except ProtobufDecodeError:
            return None
        depth = self.source.layout.depth
        for level, index in enumerate(self.place):
            node = children(node, level, depth)[index]
        return numbers(children(node, depth, depth), name)

    def path(self, index: int) -> str:
        """Where a record is in its request, as errors say it."""
        names = self.source.layout.path
        where = ".".join(f"{name}[{at}]" for name, at in zip(names, self.place, strict=False))
        if self._kind:
            return f"{where}.{self._kind}.data_points[{index}]"
        return f"{where}.{names[-1]}[{index}]"

    def bad(self, path: str, error: Exception) -> DecodeError:
        """The error for something that cannot be decoded."""
        return DecodeError(f"{self.source.signal.value}: {path}: {error}", path=path)


def _view_class(record: type[Message], names: Sequence[str]) -> type[RecordView]:
    members: dict[str, Any] = {"__slots__": (), "__doc__": RecordView.__doc__}
    members.update((name, _column(name)) for name in names)
    if "body" in record.DESCRIPTOR.fields_by_name:
        members["body"] = property(_body, doc="A log record's body as a Python value.")
    return type(f"{record.DESCRIPTOR.name}View", (RecordView,), members)


_VIEWS = {
    record: _view_class(record, tuple(layout.columns[kind]))
    for layout in LAYOUTS.values()
    for kind, record in layout.record.items()
}
