"""The records of one list (a scope's, or a metric's points) with all that is above them."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Any

from google.protobuf.message import DecodeError as ProtobufDecodeError
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from rxotlp.errors import DecodeError
from rxotlp.wire import values
from rxotlp.wire.columns import numbers, texts
from rxotlp.wire.dictionary import read_dictionary
from rxotlp.wire.shapes import LAYOUTS, Layout, children
from rxotlp.wire.signals import Signal
from rxotlp.wire.values import ResourceView, ScopeView
from rxotlp.wire.views import RecordView, maker

__all__ = ["Rows", "Source"]

_FEW = 4  # records; below that it is quicker to decode each in full than to make columns


class Source:
    """One request whose records are looked at.

    Attributes:
        touched: the columns that some view was asked for, in that order.
    """

    def __init__(self, signal: Signal, payload: bytes, shape: Any) -> None:
        self.signal = signal
        self.layout: Layout = LAYOUTS[signal]
        self.touched: dict[str, None] = {}
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
        return read_dictionary(self._shape)

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
        source: the request it is in.
        place: the indices of group, scope and, for metrics, metric.
        kind: of data points, the metric's member that holds them; "" for other records.
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
        self.kind = kind
        self._class: Any = source.layout.record[kind]
        self._columns: dict[str, list[Any]] = {}

    def views(self) -> Iterator[RecordView]:
        """A view of each record; the first shows which columns the others should come with."""
        first = 0
        if not self.source.touched:
            yield from maker(self._class, ())(self, 0, self.raw[:1])
            first = 1
        known = self.source.layout.columns[self.kind]
        names = tuple(name for name in self.source.touched if name in known)
        columns = [self.column(name)[first:] for name in names]
        yield from maker(self._class, names)(self, first, self.raw[first:], *columns)

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

    @property
    def resource(self) -> ResourceView:
        """The resource above the list."""
        return self.source.resource(self)

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
        del getattr(header, self.kind).records[:]
        try:
            return Metric.FromString(header.SerializeToString())
        except ProtobufDecodeError as error:
            raise self.bad(self.path(0).rpartition(f".{self.kind}")[0], error) from None

    @property
    def columns(self) -> Collection[str]:
        """The fields that `column` knows."""
        return self.source.layout.columns[self.kind]

    def column(self, name: str) -> list[Any]:
        """One field of every record."""
        found = self._columns.get(name)
        if found is None:
            self._columns[name] = found = self._read(name)
            self.source.touched[name] = None
        return found

    def _read(self, name: str) -> list[Any]:
        column = self.source.layout.columns[self.kind][name]
        found = None
        if len(self.raw) >= _FEW:
            found = self._numbers(name) if column.marks is None else texts(column, self.raw)
        if found is None:  # few, or one is not what it should be: the error says which
            records = [getattr(self.message(index), name) for index in range(len(self.raw))]
            found = list(map(column.convert, records)) if column.convert else records
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
        if self.kind:
            return f"{where}.{self.kind}.data_points[{index}]"
        return f"{where}.{names[-1]}[{index}]"

    def bad(self, path: str, error: Exception) -> DecodeError:
        """The error for something that cannot be decoded."""
        return DecodeError(f"{self.source.signal.value}: {path}: {error}", path=path)
