"""Values of attributes and bodies as one column; `rxotlp.columns` says which type it has."""

import base64
import json
from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList

from rxotlp.columns_extra import pa, pc
from rxotlp.wire import values

__all__ = ["KINDS", "cast", "from_python", "settled", "several"]

_LISTS: dict[str, Any] = {"array_value": ArrayValue, "kvlist_value": KeyValueList}
KINDS = tuple(field.name for field in AnyValue.DESCRIPTOR.fields)
"""What a value may be: the members of its `oneof`."""

_NUMBERS = {"int_value", "double_value"}


def settled(found: Any) -> Any:
    """Values of all kinds as one column; None when one has several kinds, not just the last."""
    children = {
        field.name: child
        for field, child in zip(found.type, found.flatten(), strict=True)
        if child.null_count < len(child)
    }
    if not children:
        return pa.nulls(len(found))
    if len(children) == 1:
        name, only = next(iter(children.items()))
        if name not in _LISTS:
            return only
    elif several(children.values()):
        return None
    elif children.keys() == _NUMBERS:
        return pc.coalesce(children["double_value"], children["int_value"].cast(pa.float64()))
    columns = [(name, child.to_pylist()) for name, child in children.items()]
    texts: list[str | None] = [None] * len(found)
    for name, column in columns:
        for index, value in enumerate(column):
            if value is not None:
                texts[index] = _text(_plain(name, value))
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


def from_python(found: list[Any]) -> Any:
    """Python values as one column, by the same rules."""
    kinds = {type(value) for value in found if value is not None}
    if not kinds:
        return pa.nulls(len(found))
    if kinds == {int, float}:
        return pa.array(found, pa.float64())
    kind = kinds.pop()
    if kinds or kind not in _TYPES:
        texts = [None if value is None else _text(value) for value in found]
        return pa.array(texts, pa.string())
    return pa.array(found, _TYPES[kind])
