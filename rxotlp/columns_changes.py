"""Writing columns back into records.

What was made of a column is compared with what was read, and only a record of which something
changed is written again; all others keep their bytes. Where nothing but attributes came to a
record that did not have them, they are appended to its bytes; otherwise it is decoded, changed
and encoded. A null takes an attribute away, and puts a field back to what it is without one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from rxotlp.columns import Reading, named, types
from rxotlp.columns_extra import pa, pc
from rxotlp.wire import values
from rxotlp.wire.pairs import Pairs
from rxotlp.wire.rows import Rows, Source
from rxotlp.wire.shapes import LAYOUTS, read
from rxotlp.wire.signals import Signal

__all__ = ["change_columns"]

_FAULTS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)


def change_columns(
    signal: Signal,
    payload: bytes,
    function: Callable[[Any], Any],
    names: Sequence[str] | None,
) -> bytes:
    """The request with what `function` made of its columns.

    Args:
        function: gets a `pyarrow.RecordBatch` with a row for each record, and returns columns
            by name, as a mapping or as a batch or table; others stay as they are.
        names: of the columns that it gets; None for all fields.

    Returns:
        `payload` itself, the same object, when nothing changed.

    Raises:
        DecodeError: the request, or something that a column needs, cannot be read.
        ValueError, TypeError: there is no such column, it cannot be written, or what was made
            does not fit into it.
    """
    names = named("map_columns", signal, names)
    shape = read(LAYOUTS[signal].shape, signal, payload)
    lists = list(Source(signal, payload, shape).walk())
    reading = Reading(lists, signal, names)
    batch = reading.batch(names)
    made = _columns(function(batch), sum(len(rows.raw) for rows in lists))
    unread = [name for name in made if name not in names]
    if unread:
        named("map_columns", signal, unread)
        _check_writable(signal, unread)
        other = Reading(lists, signal, unread)
        batch = _wider(batch, other.batch(unread))
        reading.absent |= other.absent
    work = [
        _Column(signal, name, batch[name], column, reading.absent)
        for name, column in made.items()
        if column is not batch[name] and not column.equals(batch[name])
    ]
    _check_writable(signal, [column.name for column in work])
    if not any(column.changed for column in work):
        return payload
    at = 0
    for rows in lists:
        rows.put(list(_rewritten(rows, at, work)))
        at += len(rows.raw)
    changed: bytes = shape.SerializeToString()
    return changed


def _columns(made: Any, rows: int) -> dict[str, Any]:
    if isinstance(made, pa.RecordBatch | pa.Table):
        found = dict(zip(made.schema.names, made.columns, strict=True))
    elif isinstance(made, Mapping):
        found = dict(made)
    else:
        raise TypeError(
            f"map_columns(function): returned {type(made).__name__}, expected a mapping of "
            "columns by name, or a RecordBatch"
        )
    return {name: _array(name, column, rows) for name, column in found.items()}


def _array(name: str, column: Any, rows: int) -> Any:
    try:
        if column is None or isinstance(column, str | bytes | int | float):
            column = pa.scalar(column)  # a text is a value, not a list of its letters
        if isinstance(column, pa.Scalar):
            column = pa.repeat(column, rows)
        elif isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        elif not isinstance(column, pa.Array):
            column = pa.array(column)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
    except (*_FAULTS, TypeError) as error:
        raise TypeError(f"map_columns(function): {name!r} is no column: {error}") from None
    if len(column) != rows:
        raise ValueError(
            f"map_columns(function): {name!r} has {len(column)} rows, expected {rows}: one for "
            "each record; filter_records removes records"
        )
    return column


def _check_writable(signal: Signal, names: Sequence[str]) -> None:
    for name in names:
        head, dot, _ = name.partition(".")
        if dot and (head not in ("attributes", "status") or signal is Signal.PROFILES):
            raise ValueError(
                f"map_columns(function): {name!r} stands above the records and cannot be "
                "changed with them; processors.attributes(level=...) changes it"
            )


def _wider(batch: Any, more: Any) -> Any:
    return pa.record_batch(
        [*batch.columns, *more.columns], names=[*batch.schema.names, *more.schema.names]
    )


class _Column:
    """A column that was made, and where it differs.

    Attributes:
        name: of the column.
        changed: the new values by the number of the record.
        added: the records that do not have it yet.
    """

    __slots__ = ("added", "changed", "name")

    def __init__(
        self, signal: Signal, name: str, before: Any, now: Any, absent: Mapping[str, Any]
    ) -> None:
        self.name = name
        fixed = types(signal).get(name)
        if fixed is not None:
            try:
                now = now.cast(fixed)
            except _FAULTS as error:
                raise ValueError(f"map_columns(function): {name!r}: {error}") from None
        where = pc.indices_nonzero(_differ(before, now))
        numbers = where.to_pylist()
        self.changed: dict[int, Any] = dict(zip(numbers, now.take(where).to_pylist(), strict=True))
        head, _, key = name.partition(".")
        self.added: frozenset[int] = frozenset()
        if head == "attributes" and (missing := absent.get(key)) is not None:
            self.added = frozenset(pc.indices_nonzero(missing).to_pylist())


def _differ(before: Any, now: Any) -> Any:
    """Which values are not the same any more."""
    if before.type == now.type:
        try:
            other = pc.not_equal(before, now)
        except pa.ArrowNotImplementedError:  # lists
            other = None
        if other is not None:
            return pc.coalesce(other, pc.xor(before.is_null(), now.is_null()))
    return pc.or_(before.is_valid(), now.is_valid())


def _rewritten(rows: Rows, at: int, columns: Sequence[_Column]) -> Iterator[bytes]:
    """The records of a list, of which the first has the number `at`."""
    record: Any = rows.source.layout.record[rows.kind]
    pairs = _pairs(record)
    for index, raw in enumerate(rows.raw):
        number = at + index
        touched = [column for column in columns if number in column.changed]
        if not touched:
            yield raw
        elif all(number in column.added for column in touched):
            yield _extended(pairs, raw, number, touched)
        else:
            message = rows.message(index)
            for column in touched:
                _set(message, column.name, column.changed[number])
            yield message.SerializeToString()


@lru_cache(maxsize=64)
def _pairs(record: Any) -> Pairs | None:
    return Pairs(record) if "attributes" in record.DESCRIPTOR.fields_by_name else None


def _extended(pairs: Pairs | None, raw: bytes, number: int, columns: Sequence[_Column]) -> bytes:
    assert pairs is not None  # what has no attributes has none added
    new = {
        column.name.partition(".")[2]: value
        for column in columns
        if (value := column.changed[number]) is not None
    }
    parts = [raw]
    try:
        pairs.add(new, parts)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"map_columns(function): {', '.join(new)}: {error}") from None
    return b"".join(parts)


def _set(message: Any, name: str, value: Any) -> None:
    head, dot, key = name.partition(".")
    try:
        if head == "attributes" and dot:
            _set_attribute(message.attributes, key, value)
        elif head == "status" and dot:
            setattr(message.status, key, value or type(getattr(message.status, key))())
        elif name == "body":
            message.body.CopyFrom(values.any_value(value))
        elif value is not None:
            setattr(message, name, value)
        elif name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"map_columns(function): {name!r}: {error}") from None


def _set_attribute(pairs: Any, key: str, value: Any) -> None:
    """The last of several is the one that counts, so it is the one that stays."""
    found = [index for index, pair in enumerate(pairs) if pair.key == key]
    if value is not None:
        pair = pairs[found.pop()] if found else pairs.add(key=key)
        pair.value.CopyFrom(values.any_value(value))
    for index in reversed(found):
        del pairs[index]
