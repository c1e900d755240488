"""`TelemetryData`: one stream element, which is one OTLP export request.

It keeps the bytes it arrived in and is decoded as far as somebody looks:

    merge                               nothing: bytes are joined when they leave
    items, split, split_by, resources   down to the lists of records
    records, filter_records             the fields that are touched
    map_records, message                everything

Elements are immutable, so they can be shared between branches and threads. Each holds a
share of the receipt of the request it came from (see `shares`) and every method that makes
an element of others says here what becomes of their shares. Copies made by `copy`,
`deepcopy`, pickle and `detached()` have none.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, final

from google.protobuf.message import Message

from rxotlp import merged
from rxotlp.arguments import check_limit, check_signal, encoded, frozen
from rxotlp.shares import DIED_IN_TIME
from rxotlp.wire import group, json, profiles, records, split
from rxotlp.wire.partition import hashable
from rxotlp.wire.shapes import read
from rxotlp.wire.signals import Signal
from rxotlp.wire.values import ResourceView
from rxotlp.wire.views import RecordView

if TYPE_CHECKING:
    from rxotlp.shares import Share

__all__ = ["RecordView", "ResourceView", "Signal", "TelemetryData"]

_UNCOUNTED: Final = -1


@final
class TelemetryData:
    """Telemetry of one signal, as it travels through a stream.

    Made by `from_bytes`, `from_message` and `from_json`, or from another element by its
    methods. Nothing is decoded, and so nothing is checked, before it is looked at; a method
    that looks raises `DecodeError` when it cannot read what it needs.
    """

    __slots__ = ("__weakref__", "_chunks", "_items", "_metadata", "_parts", "_share", "_signal")

    _chunks: tuple[bytes, ...]
    _items: int
    _metadata: Mapping[str, str]
    # Of a merged element: the size and the share of each part, in the order of the chunks.
    _parts: "tuple[tuple[int, Share | None], ...] | None"
    _share: "Share | None"
    _signal: Signal

    def __init__(self) -> None:
        raise TypeError(
            "TelemetryData(): expected from_bytes(), from_message() or from_json(); "
            "an element is one OTLP request and cannot be empty-handed"
        )

    @staticmethod
    def _new(
        signal: Signal,
        chunks: tuple[bytes, ...],
        items: int,
        metadata: Mapping[str, str],
        share: "Share | None",
    ) -> "TelemetryData":
        """The one constructor; `items` is -1 when nobody has counted them."""
        made = _make(TelemetryData)
        made._share = share
        made._signal = signal
        made._chunks = chunks
        made._items = items
        made._metadata = metadata
        made._parts = None
        return made

    def __del__(self) -> None:
        try:
            share = self._share
        except AttributeError:  # never finished
            return
        if share is None:
            return
        if share.thread == get_ident():  # inside its own emission, as most are
            share.flags |= DIED_IN_TIME
        else:
            share.element_died()

    # -- from outside, and back -----------------------------------------------------------

    @staticmethod
    def from_bytes(
        signal: Signal,
        payload: bytes | bytearray | memoryview,
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> "TelemetryData":
        """An element from an encoded `Export…ServiceRequest`. Nothing is decoded.

        Args:
            signal: whose request it is.
            payload: bytes are kept as they are, anything else is copied.
            metadata: what is known about the request beside its data.
        """
        check_signal("from_bytes", signal)
        if type(payload) is not bytes:
            if not isinstance(payload, bytes | bytearray | memoryview):
                raise TypeError(
                    f"TelemetryData.from_bytes(payload={type(payload).__name__}): expected bytes"
                )
            payload = bytes(payload)
        return _new(signal, (payload,), _UNCOUNTED, frozen("from_bytes", metadata), None)

    @staticmethod
    def from_message(
        message: Message, *, metadata: Mapping[str, str] | None = None
    ) -> "TelemetryData":
        """An element from an `Export…ServiceRequest` message, which is encoded at once."""
        signal, payload = encoded("from_message", message)
        return _new(signal, (payload,), _UNCOUNTED, frozen("from_message", metadata), None)

    @staticmethod
    def from_json(
        signal: Signal, text: str | bytes, *, metadata: Mapping[str, str] | None = None
    ) -> "TelemetryData":
        """An element from OTLP/JSON.

        Raises:
            DecodeError: it is no JSON or no OTLP; the message says where.
        """
        check_signal("from_json", signal)
        payload = json.decode(signal, text).SerializeToString()
        return _new(signal, (payload,), _UNCOUNTED, frozen("from_json", metadata), None)

    def to_bytes(self) -> bytes:
        """The encoded request; the very bytes it came in when nobody changed it."""
        chunks = self._chunks
        if len(chunks) == 1:
            return chunks[0]
        if self._signal is Signal.PROFILES:
            # From here on its parts cannot be told apart.
            self._parts = None
            payload = profiles.merge(list(chunks)) if chunks else b""
        else:
            payload = b"".join(chunks)
        self._chunks = (payload,)
        return payload

    def to_json(self) -> str:
        """The request as OTLP/JSON, on one line."""
        return json.encode(self.message)

    # -- looking ------------------------------------------------------------------------

    @property
    def signal(self) -> Signal:
        """Which kind of telemetry it is."""
        return self._signal

    @property
    def metadata(self) -> Mapping[str, str]:
        """What is known about the request beside its data; read-only."""
        return self._metadata

    @property
    def items(self) -> int:
        """Spans, data points, log records or profiles; counted when first asked for."""
        items = self._items
        if items < 0:
            signal = self._signal
            items = 0
            for chunk in self._chunks:
                items += split.count(signal, chunk)
            self._items = items
        return items

    @property
    def size(self) -> int:
        """Bytes that `to_bytes` gives."""
        chunks = self._chunks
        if len(chunks) == 1 or self._signal is Signal.PROFILES:
            return len(self.to_bytes())
        return sum(map(len, chunks))

    @property
    def message(self) -> Any:
        """The request as a decoded OTLP message, a new one each time.

        Changing it does not change the element: give it to `derive` or `replace`.
        """
        return read(self._signal.names.request, self._signal, self.to_bytes())

    def resources(self) -> list[ResourceView]:
        """The resource of each group, in order: its `attributes` and OTLP's own fields."""
        return group.resources(self._signal, self.to_bytes())

    def records(self) -> Iterator[RecordView]:
        """A view of each record, in order.

        A view has the OTLP message's own field names, and decodes a field when it is
        touched: names, ids, times, status and severity are cheap, everything else decodes
        that record. `attributes` is a read-only mapping to Python values and a log record's
        `body` is one such value. `resource` and `scope` are views too, a data point's
        `metric` is the OTLP `Metric` without its points, and `message` is the whole record.
        """
        return records.views(self._signal, self.to_bytes())

    def to_arrow(self, columns: Sequence[str] | Mapping[str, Any] | None = None) -> Any:
        """The records as a `pyarrow.RecordBatch`, a row each, in order.

        Needs the extra: `pip install 'rxotlp[arrow]'`.

        Args:
            columns: their names: OTLP's for a field of the record, such as `name` or
                `time_unix_nano`; `status.code`, `status.message` (spans), `body` (log
                records), `scope.name`, `scope.version`, and of data points `metric.name`,
                `metric.unit`, `metric.description`; `attributes.KEY` and `resource.KEY` for
                attributes. None for all fields of the records. A mapping says the Arrow type
                that each is to have, or None: batches of a stream then fit into one table,
                and what cannot be of that type is null.

        A field that may be absent, and an attribute, is null where it is. A column of
        attributes or bodies has the type of its values: bool, int64, double (whole numbers
        among them too), string or binary; where they are mixed, and for lists and mappings,
        it is string: texts as they are, all else as JSON. Only these columns are decoded.

        Raises:
            ImportError: the extra is missing.
            ValueError, TypeError: there is no such column.
            DecodeError: what they need cannot be read.
        """
        from rxotlp.columns import to_batch

        return to_batch(self._signal, self.to_bytes(), columns)

    @property
    def record(self) -> RecordView:
        """A view of its only record, as behind `ops.records()`.

        Raises:
            ValueError: it has none, or several.
        """
        if self.items != 1:
            raise ValueError(f"{self!r}.record: expected one record; ops.records() makes such")
        return next(self.records())

    # -- making others ------------------------------------------------------------------

    def derive(
        self, payload: bytes | Message, *, metadata: Mapping[str, str] | None = None
    ) -> "TelemetryData":
        """A new element that stands for (a part of) this one.

        Its receipt hears what becomes of it, besides what becomes of this one.

        Args:
            payload: an encoded request of the same signal, or a request message of any.
            metadata: in place of this element's.
        """
        if isinstance(payload, Message):
            signal, payload = encoded("derive", payload)
        elif isinstance(payload, bytes):
            signal = self._signal
        else:
            raise TypeError(
                f"TelemetryData.derive({type(payload).__name__}): expected bytes or a message"
            )
        kept = self._metadata if metadata is None else frozen("derive", metadata)
        return self._child(_new(signal, (payload,), _UNCOUNTED, kept, None))

    def replace(
        self,
        *,
        metadata: Mapping[str, str] | None = None,
        payload: bytes | Message | None = None,
    ) -> "TelemetryData":
        """This element with other metadata or another payload; as for `derive`."""
        if payload is not None:
            return self.derive(payload, metadata=metadata)
        kept = self._metadata if metadata is None else frozen("replace", metadata)
        made = _new(self._signal, self._chunks, self._items, kept, None)
        made._parts = self._parts
        return self._child(made)

    def detached(self) -> "TelemetryData":
        """The same data without a receipt: keeping it keeps no sender waiting."""
        return _new(self._signal, self._chunks, self._items, self._metadata, None)

    def split(
        self, *, max_items: int | None = None, max_bytes: int | None = None
    ) -> "list[TelemetryData]":
        """Cut it into parts, in order, each within the limits.

        A single record that needs more than `max_bytes`, together with its resource and
        scope, is a part of its own. Parts speak for this element, which is done with; when
        it is within the limits, the list holds the element itself.

        Args:
            max_items: items a part holds at most, 1 or more.
            max_bytes: bytes a part has at most, 1 or more.
        """
        check_limit("max_items", max_items)
        check_limit("max_bytes", max_bytes)
        items = self._items
        if (max_items is None or 0 <= items <= max_items) and (
            max_bytes is None or self.size <= max_bytes
        ):
            return [self]
        parts = split.split(self._signal, self.to_bytes(), max_items=max_items, max_bytes=max_bytes)
        if len(parts) == 1:
            self._items = parts[0][1]
            return [self]
        return self._in_place_of_this(parts)

    def split_by(
        self, by: str | Callable[[ResourceView], Hashable]
    ) -> "list[tuple[Hashable, TelemetryData]]":
        """Cut it into one element for each key, looking at resources only.

        Parts speak for this element, which is done with; when there is one key only, the
        list holds the element itself, and when it has no resource group, nothing.

        Args:
            by: the name of a resource attribute (a resource without it has the key None), or
                a function from a resource view to a key.

        Returns:
            Keys and elements, in the order in which the keys first appear.
        """
        if isinstance(by, str):
            name = by
            key: Callable[[ResourceView], Hashable] = lambda resource: hashable(  # noqa: E731
                resource.attributes.get(name)
            )
        elif callable(by):
            key = by
        else:
            raise TypeError(
                f"TelemetryData.split_by({by!r}): expected the name of a resource attribute or "
                f"a function of a resource, got {type(by).__name__}"
            )
        signal = self._signal
        parts = group.group_by(signal, self.to_bytes(), key)
        if len(parts) == 1:
            return [(parts[0][0], self)]
        if self._share is None:
            counted = [(payload, _UNCOUNTED) for _, payload in parts]
        else:
            counted = [(payload, split.count(signal, payload)) for _, payload in parts]
        made = self._in_place_of_this(counted)
        return [(which, part) for (which, _), part in zip(parts, made, strict=True)]

    def filter_records(self, predicate: Callable[[RecordView], object]) -> "TelemetryData | None":
        """The records for which `predicate` is true; they keep their bytes.

        Returns:
            The element itself when all of them stay, None when none does. What held records
            before (a metric, a scope, a group) and holds none now goes too.
        """
        whole = self.to_bytes()
        kept = records.filter_records(self._signal, whole, predicate)
        if kept is None:
            return None
        payload, items = kept
        if payload is whole:
            self._items = items
            return self
        return self._child(_new(self._signal, (payload,), items, self._metadata, None))

    def map_records(self, function: Callable[[Any], Any]) -> "TelemetryData":
        """Change every record.

        Args:
            function: gets each record as its full, mutable OTLP message (`Span`,
                `LogRecord`, `Profile`, or one of the data point messages). It changes it in
                place and returns None, or returns a message of the same type to take its
                place. To remove records use `filter_records`.

        Raises:
            TypeError: `function` returned anything else.
        """
        payload, items = records.map_records(self._signal, self.to_bytes(), function)
        return self._child(_new(self._signal, (payload,), items, self._metadata, None))

    @staticmethod
    def merge(elements: "Iterable[TelemetryData]") -> "TelemetryData":
        """One element in place of several of one signal, in order.

        Nothing is copied before the bytes are asked for. The new element speaks for all of
        them, which are done with. Its metadata are the entries that all of them have in
        common.

        Raises:
            ValueError: there is none, or they are of different signals.
        """
        elements = list(elements)
        if not elements:
            raise ValueError("TelemetryData.merge([]): expected 1 or more; nothing has no signal")
        if len(elements) == 1:
            return elements[0]
        return merged.merge(elements)

    # -- for the engine -----------------------------------------------------------------

    def _with_share(self, share: "Share | None") -> "TelemetryData":
        """The same data with another share."""
        made = _make(TelemetryData)
        made._share = share
        made._signal = self._signal
        made._chunks = self._chunks
        made._items = self._items
        made._metadata = self._metadata
        made._parts = self._parts
        return made

    def _outgoing(self) -> "TelemetryData":
        """What is to be sent: without the parts whose senders were told to send again."""
        return self if self._parts is None else merged.outgoing(self)

    def _pieces(self) -> tuple[bytes, ...]:
        """What `to_bytes` gives, in pieces that need not be joined for it."""
        return (self.to_bytes(),) if self._signal is Signal.PROFILES else self._chunks

    def _divided(self, fits: int | None) -> "list[tuple[TelemetryData, list[Share]]]":
        """Its parts in smaller groups; see `merged.divide`."""
        return merged.divide(self, fits=fits)

    def _child(self, made: "TelemetryData") -> "TelemetryData":
        """Give an element that was made from this one its share."""
        share = self._share
        if share is not None:
            made._share = share.child(made.items)
        return made

    def _in_place_of_this(self, parts: Sequence[tuple[bytes, int]]) -> "list[TelemetryData]":
        signal, metadata = self._signal, self._metadata
        share = self._share
        if share is None:
            return [_new(signal, (payload,), items, metadata, None) for payload, items in parts]
        shares = share.split([items for _, items in parts])
        return [
            _new(signal, (payload,), items, metadata, part)
            for (payload, items), part in zip(parts, shares, strict=True)
        ]

    # -- what Python asks for -----------------------------------------------------------

    def __copy__(self) -> "TelemetryData":
        return self.detached()

    def __deepcopy__(self, memo: dict[int, Any]) -> "TelemetryData":
        return self.detached()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._signal, self._chunks, self._items, dict(self._metadata))

    def __repr__(self) -> str:
        names = self._signal.names
        items = self._items
        count = "" if items < 0 else f" {items} {names.item if items == 1 else names.items},"
        size = sum(map(len, self._chunks))
        return f"<TelemetryData {self._signal.value}:{count} {size} bytes>"


_make = object.__new__
_new = TelemetryData._new


def _restored(
    signal: Signal, chunks: tuple[bytes, ...], items: int, metadata: dict[str, str]
) -> TelemetryData:
    return _new(signal, chunks, items, frozen("pickle", metadata), None)
