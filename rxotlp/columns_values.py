"""Values of attributes and bodies as one column; `rxotlp.columns` says which type it has."""

import base64
import json
from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList

from rxotlp.columns_extra import pa, pc
from rxotlp.wire import values

__all__ = ["KINDS", "apart", "cast", "from_python", "joined", "several"]

_LISTS: dict[str, Any] = {"array_value": ArrayValue, "kvlist_value": KeyValueList}
KINDS = tuple(field.name for field in AnyValue.DESCRIPTOR.fields)
"""What a value may be: the members of its `oneof`."""


def apart(found: Any) -> list[Any] | None:
    """Values of all kinds as a column for each type, null where a value is of another.

    Lists and mappings are texts of JSON. None when a value has several kinds, not just the last.
    """
    children = {
        field.name: child
        for field, child in zip(found.type, found.flatten(), strict=True)
        if child.null_count < len(child)
    }
    if several(children.values()):
        return None
    for name in _LISTS.keys() & children:
        inner = children.pop(name).to_pylist()
        texts = [None if value is None else _text(_plain(name, value)) for value in inner]
        made = pa.array(texts, pa.string())
        other = children.get("string_value")
        children["string_value"] = made if other is None else pc.coalesce(other, made)
    return list(children.values())


def joined(columns: list[Any], rows: int) -> Any:
    """Such columns as one: of their type, of numbers, or of texts."""
    if not columns:
        return pa.nulls(rows)
    if len(columns) == 1:
        return columns[0]
    by_type = {column.type: column for column in columns}
    if by_type.keys() == {pa.int64(), pa.float64()}:
        whole = by_type[pa.int64()].cast(pa.float64(), safe=False)  # the nearest, above 2**53
        return pc.coalesce(by_type[pa.float64()], whole)
    texts: list[str | None] = [None] * rows
    for column in columns:
        for index, value in enumerate(column.to_pylist()):
            if value is not None:
                texts[index] = _text(value)
    return pa.array(texts, pa.string())


def several(members: Iterable[Any]) -> bool:
    """Whether somebody wrote two members of a `oneof`; of those the last counts."""
    seen: Any = None
    for member in members:
        valid = member.is_valid()
        if seen is not None:
            if pc.any(pc.and_(seen, valid)).as_py():
                return True
            valid = pc.or_(seen, valid)
        seen = valid
    return False


def cast(column: Any, type_: Any) -> Any:
    """A column as another type; what cannot be of that type is null."""
    if type_ is None or column.type == type_:
        return column
    if column.type == pa.uint64() and pa.types.is_temporal(type_):
        column = column.cast(pa.int64(), safe=False)  # the years to 2262, as Arrow has them
    try:
        return column.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([_cast_one(value, type_) for value in column], type_)


def _cast_one(value: Any, type_: Any) -> Any:
    try:
        return value.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _plain(kind: str, value: Any) -> Any:
    """A list or mapping out of its bytes; else the value itself."""
    if kind not in _LISTS:
        return value
    inner = _LISTS[kind].FromString(value).values
    if kind == "kvlist_value":
        return dict(values.attributes(inner))
    return [values.value(one) for one in inner]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return _bytes(value)
    return value if isinstance(value, str) else json.dumps(value, default=_bytes)


def _bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
_TYPES[bytes] = pa.binary()


def from_python(found: list[Any]) -> list[Any]:
    """Python values as such columns, by the same rules."""
    columns: dict[Any, list[Any]] = {}
    for index, value in enumerate(found):
        if value is None:
            continue
        kind = type(value)
        if kind not in _TYPES:
            kind, value = str, _text(value)
        columns.setdefault(kind, [None] * len(found))[index] = value
    return [pa.array(column, _TYPES[kind]) for kind, column in columns.items()]
