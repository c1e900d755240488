"""Changing some parts of a request and leaving the bytes of all others as they came.

Each part is offered to a function of its own, decoded, and encoded again only where the
function says that it changed something. Without a function for scopes, metrics or records
nothing below the resources is decoded: those bytes are unknown fields of a `keys` node.

A profiles request's texts may be indices into one string table, which stands in its
dictionary. So functions get that table too, and may change it: the dictionary is written
again when any function changed anything.
"""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError as ProtobufDecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from rxotlp.errors import DecodeError
from rxotlp.wire.dictionary import read_dictionary
from rxotlp.wire.rows import Source
from rxotlp.wire.shapes import LAYOUTS, read
from rxotlp.wire.signals import Signal
from rxotlp.wire.views import RecordView

__all__ = ["Change", "RecordChange", "rewrite"]

Change = Callable[[Any, Any], bool]
"""Changes a message in place, given the string table; returns whether it did."""

RecordChange = Callable[[RecordView], bytes]
"""The bytes of a record from now on; those of `view.to_bytes()` when it stays as it is."""


def rewrite(
    signal: Signal,
    payload: bytes,
    *,
    resource: Change | None = None,
    scope: Change | None = None,
    metric: Change | None = None,
    record: RecordChange | None = None,
    dictionary: Change | None = None,
) -> bytes:
    """The request with the parts changed for which there is a function.

    Args:
        resource: gets each `Resource`, an empty one where a group has none.
        scope: gets each `InstrumentationScope`, likewise.
        metric: gets each `Metric` that has data, without its points.
        record: gets a view of each record, which may be asked for its `message`.
        dictionary: gets a profiles request's `ProfilesDictionary`, after all others.

    Returns:
        `payload` itself, the same object, when nothing changed.

    Raises:
        DecodeError: something that a function is to get cannot be read; with its path.
    """
    layout = LAYOUTS[signal]
    deep = scope is not None or metric is not None or record is not None
    root = read(layout.shape if deep else layout.keys, signal, payload)
    tables = read_dictionary(root) if signal is Signal.PROFILES else None
    work = _Rewriting(signal, layout.path, () if tables is None else tables.string_table)
    for at, group in enumerate(root.groups):
        if resource is not None:
            work.header(group.resource, Resource, resource, f"[{at}].resource")
        if not deep:
            continue
        for within, node in enumerate(group.scopes):
            where = f"[{at}].{layout.path[1]}[{within}]"
            if scope is not None:
                work.header(node.scope, InstrumentationScope, scope, f"{where}.scope")
            if metric is not None and layout.depth == 3:
                for number, one in enumerate(node.metrics):
                    work.metric(one, metric, f"{where}.{layout.path[2]}[{number}]")
    if record is not None:
        work.records(Source(signal, payload, root), record)
    if tables is not None:
        if dictionary is not None:
            work.apply(dictionary, tables, "dictionary")
        if work.changed:
            del root.dictionary[:]
            root.dictionary.append(tables.SerializeToString())
    payload_now: bytes = root.SerializeToString() if work.changed else payload
    return payload_now


class _Rewriting:
    """One request being changed.

    Attributes:
        changed: whether anything was.
    """

    __slots__ = ("_path", "_signal", "_strings", "changed")

    def __init__(self, signal: Signal, path: tuple[str, ...], strings: Any) -> None:
        self._signal = signal
        self._path = path[0]
        self._strings = strings
        self.changed = False

    def apply(self, change: Change, message: Any, where: str) -> bool:
        """Offer a message to its function."""
        try:
            changed = change(message, self._strings)
        except IndexError as error:
            raise self._bad(where, f"refers past the end of the string table: {error}") from None
        self.changed |= changed
        return changed

    def header(self, occurrences: Any, message_class: Any, change: Change, where: str) -> None:
        """Offer a resource or scope, given the list of its occurrences on the wire."""
        message = self._read(message_class, b"".join(occurrences), f"{self._path}{where}")
        if self.apply(change, message, f"{self._path}{where}"):
            del occurrences[:]
            occurrences.append(message.SerializeToString())

    def metric(self, node: Any, change: Change, where: str) -> None:
        """Offer a metric; its points go around the decoder as bytes."""
        kind = node.WhichOneof("data")
        if kind is None:
            return
        where = f"{self._path}{where}"
        points = list(getattr(node, kind).records)
        del getattr(node, kind).records[:]
        message = self._read(Metric, node.SerializeToString(), where)
        if self.apply(change, message, where):
            node.ParseFromString(message.SerializeToString())
        getattr(node, kind).records.extend(points)

    def records(self, source: Source, change: RecordChange) -> None:
        """Offer every record."""
        for rows in source.walk():
            made = list(map(change, rows.views()))
            if any(now is not before for now, before in zip(made, rows.raw, strict=True)):
                rows.put(made)
                self.changed = True

    def _read(self, message_class: Any, value: bytes, where: str) -> Any:
        try:
            return message_class.FromString(value)
        except ProtobufDecodeError as error:
            raise self._bad(where, str(error)) from None

    def _bad(self, where: str, what: str) -> DecodeError:
        return DecodeError(f"{self._signal.value}: {where}: {what}", path=where)
