"""What a predicate gets to see of a record: its fields, decoded when they are touched.

A field that can be read for a whole list of records at once is a *column*. The first view
that is asked for one has it made for the whole list; the views after it come with the value
in a slot, so that reading it is as quick as reading an attribute of a plain object. For that
there is a class for every set of columns that has been in use together, made when needed.
What is no column decodes that one record in full.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from rxotlp.wire import values
from rxotlp.wire.shapes import LAYOUTS
from rxotlp.wire.values import ResourceView, ScopeView

if TYPE_CHECKING:
    from rxotlp.wire.rows import Rows

__all__ = ["RecordView", "maker"]


class RecordView:
    """A record under the OTLP message's own field names; read-only.

    `attributes` is a mapping to Python values and a log record's `body` is such a value.
    `resource` and `scope` are views; a data point has `metric`, OTLP's `Metric` without its
    points. `message` is the whole record. Two views are equal when they are the same view.
    """

    __slots__ = ("_attributes", "_full", "_index", "_rows")

    _index: int
    _rows: "Rows"

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Every field of the OTLP message."""

    @property
    def message(self) -> Any:
        """The whole record, decoded once a view; changing it changes nothing else."""
        try:
            return self._full
        except AttributeError:
            self._full: Any = self._rows.message(self._index)
            return self._full

    @property
    def attributes(self) -> Any:
        """The record's attributes as a read-only mapping."""
        try:
            return self._attributes
        except AttributeError:
            self._attributes: Any = self._rows.attributes(self.message)
            return self._attributes

    @property
    def resource(self) -> ResourceView:
        """What the record is about."""
        return self._rows.resource

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

    def HasField(self, name: str) -> bool:
        """As of the OTLP message."""
        found: bool = self.message.HasField(name)
        return found

    def WhichOneof(self, name: str) -> str | None:
        """As of the OTLP message."""
        found: str | None = self.message.WhichOneof(name)
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._rows.path(self._index)}>"


def _column(name: str) -> property:
    def get(self: RecordView) -> Any:
        return self._rows.column(name)[self._index]

    return property(get, doc=f"OTLP's `{name}`.")


def _field(name: str) -> property:
    def get(self: RecordView) -> Any:
        return getattr(self.message, name)

    return property(get, doc=f"OTLP's `{name}`.")


def _body(self: RecordView) -> Any:
    return values.value(self.message.body)


def _base(record: type[Message], columns: Sequence[str]) -> type[RecordView]:
    """The view class of a record type, none of its columns in use."""
    members: dict[str, Any] = {
        field.name: _column(field.name) if field.name in columns else _field(field.name)
        for field in record.DESCRIPTOR.fields
        if field.name != "attributes"
    }
    if "body" in members:
        members["body"] = property(_body, doc="A log record's body as a Python value.")
    members |= {"__slots__": (), "DESCRIPTOR": record.DESCRIPTOR}
    return type(f"{record.DESCRIPTOR.name}View", (RecordView,), members)


_BASES = {
    record: _base(record, tuple(layout.columns[kind]))
    for layout in LAYOUTS.values()
    for kind, record in layout.record.items()
}

_MAKER = """
def make(rows, first, records, {columns}):
    for index, value in enumerate({lead}, first):
        view = new()
        view._rows = rows
        view._index = index
        {fill}
        yield view
"""


@lru_cache(maxsize=512)
def maker(record: Any, names: tuple[str, ...]) -> Callable[..., Iterator[RecordView]]:
    """A function that makes views of a record type, with the values of columns in slots.

    It takes the rows, the index of the first record to view, and then, each from that record
    on, the records and the named columns.
    """
    base = _BASES[record]
    made = type(base.__name__, (base,), {"__slots__": names})
    # Written out, as dataclasses are: setting slots by name costs twice as much.
    fill = [f"view.{name} = {name}[index - first]" for name in names]
    if names:
        fill[0] = f"view.{names[0]} = value"
    source = _MAKER.format(
        columns=", ".join(names),
        lead=names[0] if names else "records",
        fill="; ".join(fill) or "pass",
    )
    scope: dict[str, Any] = {"new": made}
    exec(source, scope)
    make: Callable[..., Iterator[RecordView]] = scope["make"]
    return make
