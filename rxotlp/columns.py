"""The records of a request as columns of Arrow.

`ptars` reads the wanted fields of all records in one call, by a descriptor that declares only
those (`wire.projection`). What stands above the records (resource, scope, metric) is read once
a list of records and repeated. Needs the extra: `pip install 'rxotlp[arrow]'`.

    name, kind, trace_id, ...        a field of the record, by OTLP's name
    status.code, status.message      of a span
    body                             of a log record: a value, as an attribute's
    attributes.KEY                   an attribute of the record
    resource.KEY                     an attribute of the resource
    scope.name, scope.version        of the scope
    metric.name, .unit, .description of a data point's metric

A column of values has the type that the values have: bool, int64, double (whole numbers among
them too), string or binary. Where kinds are mixed, and for lists and mappings, it is string:
texts as they are, all else as JSON. Where there is no value it is null; when nowhere is one,
the column has the type null.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain, repeat
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from rxotlp.columns_extra import HandlerPool, pa, pc
from rxotlp.columns_values import KINDS, apart, cast, from_python, joined, several
from rxotlp.errors import DecodeError
from rxotlp.wire import values
from rxotlp.wire.projection import projection
from rxotlp.wire.rows import Rows, Source
from rxotlp.wire.shapes import LAYOUTS, read
from rxotlp.wire.signals import Signal

__all__ = ["Reading", "check", "check_any", "fields", "named", "read_columns", "to_batch", "types"]

_STATUS = ("status.code", "status.message")
_SCOPE = ("scope.name", "scope.version")
_METRIC = ("metric.name", "metric.unit", "metric.description")
_VALUES = ("attributes", "resource")  # what has a KEY


@cache
def fields(signal: Signal) -> tuple[str, ...]:
    """The columns that a signal's records have, without those with a key."""
    found: dict[str, None] = {}
    for columns in LAYOUTS[signal].columns.values():
        for name in columns:
            found |= dict.fromkeys(_STATUS if name == "status" else (name,))
    if signal is Signal.LOGS:
        found["body"] = None
    return tuple(found)


def check(call: str, signal: Signal, names: Iterable[str]) -> None:
    """Refuse what is no column of a signal.

    Raises:
        ValueError, TypeError: with `call` in front.
    """
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{call}: expected names of columns, got {type(name).__name__}")
        if not _known(signal, name):
            raise ValueError(
                f"{call}: {signal.value} have no column {name!r}; expected attributes.KEY, "
                f"resource.KEY or one of {', '.join([*fields(signal), *_above(signal)])}"
            )


def check_any(call: str, signal: Signal | None, names: Sequence[str]) -> None:
    """The same before a signal is known: refuse what is no column of any.

    Raises:
        ValueError, TypeError: with `call` in front.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"{call}: expected a sequence of names of columns, got {names!r}")
    if signal is not None:
        check(call, signal, names)
        return
    for name in names:
        if any(isinstance(name, str) and _known(one, name) for one in Signal):
            continue
        every = dict.fromkeys(chain(*(fields(one) for one in Signal), *map(_above, Signal)))
        raise ValueError(
            f"{call}: no records have a column {name!r}; expected attributes.KEY, "
            f"resource.KEY or one of {', '.join(every)}"
        )


def named(call: str, signal: Signal, names: Sequence[str] | None) -> Sequence[str]:
    """What a caller wants to see, checked; all `fields` when it does not say.

    Raises:
        ValueError, TypeError: as `check`.
    """
    if names is None:
        return fields(signal)
    check_any(f"{call}(columns)", signal, names)
    return names


@cache
def types(signal: Signal) -> dict[str, Any]:
    """The types of the columns without a key; a log record's `body` has none of its own."""
    found: dict[str, Any] = {}
    records: Any = LAYOUTS[signal].record.values()
    for record in records:
        names = record.DESCRIPTOR.fields_by_name
        wanted = {name.partition(".")[0] for name in fields(signal)} & set(names)
        for field in _handler(record, tuple(sorted(wanted))).schema():
            found[field.name] = field.type
    found.pop("body", None)
    if (status := found.pop("status", None)) is not None:
        found |= {f"status.{field.name}": field.type for field in status}
    return found | dict.fromkeys(_above(signal), pa.string())


def _above(signal: Signal) -> tuple[str, ...]:
    return (*_SCOPE, *_METRIC) if signal is Signal.METRICS else _SCOPE


def _known(signal: Signal, name: str) -> bool:
    head, dot, key = name.partition(".")
    return bool(dot and key and head in _VALUES) or name in (*fields(signal), *_above(signal))


def to_batch(
    signal: Signal, payload: bytes, names: Sequence[str] | Mapping[str, Any] | None
) -> Any:
    """A `pyarrow.RecordBatch` with a row for each record, in order, and these columns.

    Args:
        names: of the columns; None for all `fields`. A mapping says of which type each is to
            be, or None.

    Raises:
        DecodeError: the request, or something that a column needs, cannot be read.
        ValueError, TypeError: it has no such column.
    """
    wanted: Mapping[str, Any] = {}
    if isinstance(names, Mapping):
        wanted, names = names, list(names)
    names = named("to_arrow", signal, names)
    for name, type_ in wanted.items():
        if type_ is not None and not isinstance(type_, pa.DataType):
            raise TypeError(f"to_arrow(columns): {name!r}: expected a pyarrow type, got {type_!r}")
    source = Source(signal, payload, read(LAYOUTS[signal].shape, signal, payload))
    batch = read_columns(list(source.walk()), signal, names)
    if not wanted:
        return batch
    arrays = [cast(batch[name], wanted[name]) for name in names]
    return pa.record_batch(arrays, names=list(names))


def read_columns(lists: Sequence[Rows], signal: Signal, names: Sequence[str]) -> Any:
    """The same of lists of records that were found already; names are known to be good."""
    return Reading(lists, signal, names).batch(names)


class Reading:
    """All records of a request, and what was read of them.

    Attributes:
        rows: how many there are.
        absent: by the key of an attribute that was read, which records do not have it; None
            when all do.
    """

    def __init__(self, lists: Sequence[Rows], signal: Signal, names: Sequence[str]) -> None:
        self._lists = lists
        self._signal = signal
        self.rows = sum(len(rows.raw) for rows in lists)
        self._pairs: tuple[Any, Any, Any] | None = None
        self._fields = self._project(names)
        self.absent: dict[str, Any] = {}

    def batch(self, names: Sequence[str]) -> Any:
        """Some of the columns that it was made for."""
        return pa.record_batch([self.column(name) for name in names], names=list(names))

    def column(self, name: str) -> Any:
        """One column."""
        return joined(self.apart(name), self.rows)

    def apart(self, name: str) -> list[Any]:
        """The same as a column for each type that its values have, null elsewhere."""
        head, dot, key = name.partition(".")
        if dot and head == "attributes":
            return self._attribute(key)
        if dot and head == "resource":
            found = from_python([rows.resource.attributes.get(key) for rows in self._lists])
            return [self._repeated(each) for each in found]
        if name == "body":
            bodies = apart(self._fields[name])
            return from_python(self._bodies()) if bodies is None else bodies
        return [self._field(name)]

    def _field(self, name: str) -> Any:
        head, dot, key = name.partition(".")
        if dot:
            if head in ("scope", "metric"):
                texts = [getattr(getattr(rows, head), key) for rows in self._lists]
                return self._repeated(pa.array(texts, pa.string()))
            inner = pc.struct_field(self._fields[head], key)
            return pc.fill_null(inner, 0 if key == "code" else "")  # no status is an empty one
        found = self._fields.get(name)
        if found is None:  # another kind of data point has it
            return pa.nulls(self.rows, types(self._signal)[name])
        return found

    def _bodies(self) -> list[Any]:
        return [
            values.value(rows.message(index).body)
            for rows in self._lists
            for index in range(len(rows.raw))
        ]

    def _project(self, names: Sequence[str]) -> dict[str, Any]:
        """The fields that these columns are made of, in the order of the records."""
        heads = dict.fromkeys(name.partition(".")[0] for name in names)
        profiles = self._signal is Signal.PROFILES
        kinds: dict[str, list[Rows]] = {}
        for rows in self._lists:
            kinds.setdefault(rows.kind, []).append(rows)
        if not kinds:
            kinds = {next(iter(LAYOUTS[self._signal].record)): []}
        made: dict[str, list[Any]] = {}
        for kind, lists in kinds.items():
            record: Any = LAYOUTS[self._signal].record[kind]
            known = record.DESCRIPTOR.fields_by_name
            wanted = [name for name in heads if name in known and name not in ("scope", "resource")]
            if profiles:
                wanted = [name for name in wanted if name != "attributes"]
            if not wanted:
                continue
            batch = _decode(record, tuple(wanted), lists)
            for name in wanted:
                made.setdefault(name, []).append((kind, batch[name]))
        return {name: self._in_order(kinds, found) for name, found in made.items()}

    def _in_order(self, kinds: dict[str, list[Rows]], found: list[Any]) -> Any:
        """A field of several kinds of data points, as the points come in the request."""
        arrays = dict(found)
        if len(kinds) == 1:
            return next(iter(arrays.values()))
        type_ = next(iter(arrays.values())).type
        parts = []
        starts = {}
        at = 0
        for kind, lists in kinds.items():
            rows = sum(len(one.raw) for one in lists)
            parts.append(arrays.get(kind, pa.nulls(rows, type_)))
            starts[kind] = at
            at += rows
        places: list[int] = []
        for one in self._lists:
            start = starts[one.kind]
            places += range(start, start + len(one.raw))
            starts[one.kind] = start + len(one.raw)
        return pa.concat_arrays(parts).take(pa.array(places, pa.int64()))

    def _attribute(self, key: str) -> list[Any]:
        if self._signal is Signal.PROFILES:  # whose attributes stand in the dictionary
            return from_python(
                [
                    rows.attributes(rows.message(index)).get(key)
                    for rows in self._lists
                    for index in range(len(rows.raw))
                ]
            )
        if self._pairs is None:
            lists = self._fields["attributes"]
            pairs = pc.list_flatten(lists)
            self._pairs = pc.list_parent_indices(lists), pairs.field("key"), pairs.field("value")
        owners, keys, found = self._pairs
        places = pc.indices_nonzero(pc.equal(keys, key.encode()))
        if len(places) != self.rows or not owners.take(places).equals(self._numbers):
            last_first = places[::-1]  # of two with one key, the last counts
            where = pc.index_in(self._numbers, value_set=owners.take(last_first))
            places = last_first.take(where)
        self.absent[key] = places.is_null() if places.null_count else None
        try:
            decoded = _handler(AnyValue, KINDS).array_to_record_batch(found.take(places))
        except ValueError as error:
            raise _unreadable(self._lists, error) from None
        made = apart(decoded.to_struct_array())
        if made is None:
            raw = found.take(places).to_pylist()
            return from_python([values.value(AnyValue.FromString(one or b"")) for one in raw])
        return made

    @property
    def _numbers(self) -> Any:
        return pa.array(range(self.rows), pa.int64())

    def _repeated(self, each: Any) -> Any:
        """What is the same for all records of a list."""
        if len(each) == 1:
            return pa.repeat(each[0], self.rows)
        lengths = (len(rows.raw) for rows in self._lists)
        places = chain.from_iterable(map(repeat, range(len(each)), lengths))
        return each.take(pa.array(places, pa.int64()))


def _decode(record: Any, wanted: tuple[str, ...], lists: Sequence[Rows]) -> dict[str, Any]:
    """The wanted fields of all records of a kind."""
    raw = [one for rows in lists for one in rows.raw]
    try:
        batch = _handler(record, wanted).list_to_record_batch(raw)
    except ValueError as error:
        raise _unreadable(lists, error) from None
    made = {name: batch[name] for name in wanted}
    for oneof in record.DESCRIPTOR.oneofs:
        members = [field.name for field in oneof.fields]
        if len(members) < 2 or made.keys().isdisjoint(members):
            continue
        if several([batch[name] for name in members]):
            made |= {
                name: _one_by_one(name, lists, column.type)
                for name, column in made.items()
                if name in members
            }
    return made


def _one_by_one(name: str, lists: Sequence[Rows], type_: Any) -> Any:
    """A member of a `oneof`, by messages."""
    found = (rows.message(index) for rows in lists for index in range(len(rows.raw)))
    return pa.array([getattr(one, name) if one.HasField(name) else None for one in found], type_)


def _unreadable(lists: Sequence[Rows], error: ValueError) -> DecodeError:
    """The error of the record that cannot be read; protobuf says which one it is."""
    for rows in lists:
        for index in range(len(rows.raw)):
            rows.message(index)
    return lists[0].bad(lists[0].path(0), error)


@lru_cache(maxsize=512)
def _handler(record: Any, wanted: tuple[str, ...]) -> Any:
    descriptor = projection(record, wanted)
    return HandlerPool([descriptor.file]).get_for_message(descriptor)
