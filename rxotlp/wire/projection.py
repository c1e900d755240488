"""Descriptors of records that declare only some fields, for decoders that go by descriptors.

What is not declared is skipped, so a column costs what that field costs. Attributes are pairs of
bytes, because of most of them nobody wants to know the value. Of messages those in `_INNER` are
read; others stay bytes, so that no type contains itself. Enumerations are the integers that they
are. A field that may be absent stands in a `oneof`.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

__all__ = ["projection"]

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "rxotlp.projection"
_INNER = {"attributes": "Pair", "body": "Value", "status": "Status"}


@lru_cache(maxsize=512)
def projection(record: Any, fields: tuple[str, ...]) -> Descriptor:
    """The descriptor of a record type with these of its fields, which keep their numbers.

    Args:
        record: the class of the message.
        fields: names, in any order.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3"
    )
    made = file.message_type.add(name="Record")
    for field in _whole(record.DESCRIPTOR, fields):
        inner = _INNER.get(field.name)
        if inner is None:
            _scalar(made, field)
        else:
            _add(made, field, _Field.TYPE_MESSAGE, type_name=f".{_PACKAGE}.{inner}")
            _scalars(file, inner, field.message_type)
    pool = DescriptorPool()
    pool.Add(file)
    found: Descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.Record")
    return found


def _whole(descriptor: Any, names: Iterable[str]) -> list[Any]:
    """Fields by name, each with the others of its `oneof`: of them only the last counts."""
    found: dict[str, Any] = {}
    for name in names:
        field = descriptor.fields_by_name[name]
        oneof = field.containing_oneof
        for one in [field] if oneof is None else oneof.fields:
            found[one.name] = one
    return list(found.values())


def _scalars(file: Any, name: str, descriptor: Any) -> None:
    """A message of everything in it that is not a list."""
    made = file.message_type.add(name=name)
    for field in descriptor.fields:
        if not field.is_repeated:
            _scalar(made, field, texts=name != "Pair")


def _scalar(made: Any, field: Any, *, texts: bool = True) -> None:
    kind = field.type
    if kind == FieldDescriptor.TYPE_ENUM:
        kind = _Field.TYPE_INT32
    elif field.message_type is not None or (kind == FieldDescriptor.TYPE_STRING and not texts):
        kind = _Field.TYPE_BYTES
    oneof = field.containing_oneof
    if oneof is None:
        _add(made, field, kind)
        return
    names = [known.name for known in made.oneof_decl]
    if oneof.name not in names:
        made.oneof_decl.add(name=oneof.name)
        names.append(oneof.name)
    _add(made, field, kind).oneof_index = names.index(oneof.name)


def _add(made: Any, field: Any, kind: Any, *, type_name: str | None = None) -> Any:
    label = _Field.LABEL_REPEATED if field.is_repeated else _Field.LABEL_OPTIONAL
    return made.field.add(
        name=field.name, number=field.number, type=kind, label=label, type_name=type_name
    )
