"""Whether all of a good request is good, for half of what decoding it costs.

A request is decoded into message types of our own that are OTLP's, with two differences: no
message in them is repeated and there is no oneof, so all spans, attributes and values that
protobuf meets are merged into one of each, and ids are lists, which hold every one it met.
protobuf checks the same bytes, tags, texts and depths as ever, in every occurrence, and does
not have to make (and Python not to look at) a thousand messages.

What is lost is which record an id was in. That matters for the ids that each span must have;
spans that all begin with them, as every encoder writes them, and have no second ones, have
one of each. `good` only ever says yes when it is certain; whoever hears no has to look.
"""

from collections.abc import Iterable
from operator import itemgetter
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError as ProtobufDecodeError

from rxotlp.wire.signals import Signal

__all__ = ["FOLDED", "Folded"]

_Field = descriptor_pb2.FieldDescriptorProto
_TRACE_ID, _SPAN_ID = b"\x0a\x10", b"\x12\x08"  # tag and length, as a span has them first
_NO_TRACE_ID, _NO_SPAN_ID = _TRACE_ID + b"\0" * 16, _SPAN_ID + b"\0" * 8
_HEAD = len(_NO_TRACE_ID) + len(_NO_SPAN_ID)
_SAME = ((0, b"\x0a"), (1, b"\x10"), (18, b"\x12"), (19, b"\x08"))  # bytes of a head: the tags
_head = itemgetter(slice(_HEAD))
_TRACE_LENGTHS = frozenset((0, 16))
_SPAN_LENGTHS = frozenset((0, 8))
_POINTS = ("gauge", "sum", "histogram", "exponential_histogram")  # a summary has no exemplars


class Folded:
    """The check of one signal's requests, of traces, metrics or logs."""

    def __init__(self, signal: Signal) -> None:
        self._signal = signal
        self._class = _folded(signal)

    def decode(self, payload: bytes) -> Any | None:
        """All of it in one of each message; None when it cannot be decoded."""
        try:
            return self._class.FromString(payload)
        except ProtobufDecodeError:
            return None

    def good(self, folded: Any, shape: Any) -> bool:
        """Whether all ids are certainly good.

        Args:
            folded: what `decode` gave.
            shape: the same request as `wire.shapes` has it.
        """
        if self._signal is Signal.TRACES:
            span = folded.resource_spans.scope_spans.spans
            return (
                _begin_with_ids(span, shape)
                and _lengths(span.parent_span_id) <= _SPAN_LENGTHS
                and _possible(span.links)
            )
        if self._signal is Signal.LOGS:
            return _possible(folded.resource_logs.scope_logs.log_records)
        metric = folded.resource_metrics.scope_metrics.metrics
        return all(_possible(getattr(metric, kind).data_points.exemplars) for kind in _POINTS)


def _begin_with_ids(span: Any, shape: Any) -> bool:
    """Whether every span has one trace id and one span id, neither of them zero."""
    heads: list[bytes] = []
    for group in shape.groups:
        for scope in group.scopes:
            heads += map(_head, scope.records)
    count = len(heads)
    every = b"".join(heads)  # none is longer, so it has this length when none is shorter
    return (
        len(span.trace_id) == len(span.span_id) == count
        and len(every) == count * _HEAD
        and all(every[place::_HEAD] == byte * count for place, byte in _SAME)
        and _NO_TRACE_ID not in every
        and _NO_SPAN_ID not in every
    )


def _possible(context: Any) -> bool:
    """Whether ids that may be absent have a length that is possible, each of them."""
    return (
        _lengths(context.trace_id) <= _TRACE_LENGTHS and _lengths(context.span_id) <= _SPAN_LENGTHS
    )


def _lengths(ids: Iterable[bytes]) -> set[int]:
    return set(map(len, ids))


def _folded(signal: Signal) -> type[Any]:
    """The class of a folded request."""
    package = f"rxotlp.wire.folded.{signal.value}"
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    known: dict[str, str] = {}

    def add(descriptor: Descriptor) -> str:
        name = descriptor.full_name.replace(".", "_")
        if descriptor.full_name not in known:
            known[descriptor.full_name] = f".{package}.{name}"
            made = file.message_type.add(name=name)
            for field in descriptor.fields:
                _add_field(made, field, add)
        return known[descriptor.full_name]

    top: Any = signal.names.request.DESCRIPTOR
    name = add(top)
    pool = DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name[1:]))


def _add_field(made: Any, field: FieldDescriptor, add: Any) -> None:
    below = field.message_type
    if below is not None:
        made.field.add(
            name=field.name,
            number=field.number,
            type=_Field.TYPE_MESSAGE,
            type_name=add(below),
            label=_Field.LABEL_OPTIONAL,
        )
        return
    ids = field.type == FieldDescriptor.TYPE_BYTES and field.name.endswith("_id")
    repeated = field.is_repeated or ids
    made.field.add(
        name=field.name,
        number=field.number,
        # An enum is a number that need not be known.
        type=_Field.TYPE_INT32 if field.type == FieldDescriptor.TYPE_ENUM else field.type,
        label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
    )


# A profile's references lead into tables, which folding would lose.
FOLDED: dict[Signal, Folded] = {
    signal: Folded(signal) for signal in Signal if signal is not Signal.PROFILES
}
