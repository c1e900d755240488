"""What `validate="full"` checks: every byte of a request, and the ids in it.

A good request costs one parse by protobuf (`wire.folded`), which sees to the ids as well,
and comes back as the very bytes object it was. Where that is not certain, all of it is decoded
and every id looked at (`wire.ids` has the rules). Only when that fails is the request taken
apart, level by level:

    record (span, point, ...)  rejected alone; the others stay byte for byte
    metric, or its data        its points are rejected; if even they cannot be counted, as
                               many as were found, at least 1
    resource or scope with     its records are rejected, for nobody could say what they
    an unreadable header       belong to
    request, resource or scope DecodeError: nobody can say what or how much was sent, so
    that cannot be cut up      nothing of it is kept

A record is parsed within the levels around it, so that one which is nested too deeply only
as a part of its request is found as well. Groups that lose their last record go too. What
is kept is parsed once more at the end: a receiver never passes on what it could not read.

Taking apart costs microseconds and hundreds of bytes a record, where one parse costs a
fraction. So that nobody can keep a receiver busy for minutes with a request of nothing but
bad records, one with more than MAX_BAD of them, or with more than MAX_TINY children of a
group that average less than LEAST bytes, is refused whole; so are resources and scopes, which
cost as much each, that are as many and as small in a request of which nothing is bad.

Profiles: the dictionary is part of the request's own header, so a bad one is a
DecodeError; a profile that refers to nothing is rejected alone.
"""

from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import Message

from rxotlp.errors import DecodeError
from rxotlp.wire.folded import FOLDED
from rxotlp.wire.ids import count_good, find_bad_id
from rxotlp.wire.profiles import Tables, check_dictionary, rewrite
from rxotlp.wire.shapes import LAYOUTS
from rxotlp.wire.signals import Signal
from rxotlp.wire.split import count_shape
from rxotlp.wire.walker import Field, MalformedError, encode_field, find_fault, walk

__all__ = ["Validated", "validate"]

_LEVELS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    # "data" is the oneof of a metric: one level, of which each member is a child.
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics", "data", "data_points"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.PROFILES: ("resource_profiles", "scope_profiles", "profiles"),
}
MAX_BAD = 10_000  # records and groups: a tenth of a second
MAX_TINY = 10_000
LEAST = 16  # bytes; a span's ids alone have 28, a point with a time and a value 20
_METRIC = 3  # the depth at which a message is a metric; above are request, resource, scope


@dataclass(frozen=True, slots=True)
class Validated:
    """A request without its bad records.

    Attributes:
        payload: the good records; the object that came in when all are good.
        accepted: items in `payload`.
        rejected: items that are not.
        errors: what was wrong, in order; at most as many as were asked for.
        error_count: all that was wrong.
    """

    payload: bytes
    accepted: int
    rejected: int = 0
    errors: tuple[DecodeError, ...] = ()
    error_count: int = 0


def validate(signal: Signal, payload: bytes, *, max_errors: int = 10) -> Validated:
    """Check a request and drop what is bad in it.

    Args:
        signal: whose request it is.
        payload: the request as it came.
        max_errors: how many errors are described, 1 or more; the others are counted.

    Raises:
        DecodeError: nothing of it can be kept, see the module's text.
    """
    if max_errors < 1:
        raise ValueError(f"validate(max_errors={max_errors}): expected 1 or more")
    count = _all_good(signal, payload)  # what it has decoded is gone: a hundred times the bytes
    if count is not None:
        return Validated(payload, count)
    return _Salvage(signal, max_errors).run(payload)


def _all_good(signal: Signal, payload: bytes) -> int | None:
    """How many records there are; None when anything is wrong with them."""
    check = FOLDED.get(signal)
    folded = None if check is None else check.decode(payload)
    if check is not None and folded is None:
        return None
    try:
        shape = LAYOUTS[signal].shape.FromString(payload)
        _check_many(signal, shape, payload)
        if check is not None and check.good(folded, shape):
            return count_shape(signal, shape)
        del folded, shape
        request = signal.names.request.FromString(payload)
    except ProtobufDecodeError:
        return None
    count = count_good(signal, request)
    if count is not None and signal is Signal.PROFILES and not _references_lead(request):
        return None
    return count


def _check_many(signal: Signal, shape: Any, payload: bytes) -> None:
    """Refuse resources and scopes that are too many to be looked at."""
    _refuse_more(len(shape.groups), payload, "")
    for index, group in enumerate(shape.groups):
        _refuse_more(len(group.scopes), payload, f"{_LEVELS[signal][0]}[{index}]")


def _refuse_more(count: int, data: bytes, path: str) -> None:
    most = _most(data)
    if count > most:
        text = f"more than {most} fields in {len(data)} bytes, which are bad or empty"
        raise DecodeError(f"{path or 'the request'}: {text}", path=path)


def _most(data: bytes) -> int:
    """Children that a group of these bytes may have when each is taken in hand."""
    return MAX_TINY + len(data) // LEAST


def _references_lead(request: Any) -> bool:
    try:
        tables = _check_dictionary(request)
        for resource in request.resource_profiles:
            rewrite(resource, tables, "resource_profiles")
    except DecodeError:
        return False  # the descent finds and names it
    return True


def _check_dictionary(request: Any) -> Tables:
    for index, link in enumerate(request.dictionary.link_table):
        fault = find_bad_id(Signal.LOGS, link)  # the rule is the same
        if fault is not None:
            path = f"dictionary.link_table[{index}].{fault[0]}"
            raise DecodeError(f"{path}: {fault[1]}", path=path)
    return check_dictionary(request.dictionary)


class _Salvage:
    """One descent through a request of which something is bad."""

    __slots__ = ("_accepted", "_error_count", "_errors", "_levels", "_max_errors", "_rejected",
                 "_signal", "_tables")  # fmt: skip

    def __init__(self, signal: Signal, max_errors: int) -> None:
        self._signal = signal
        self._levels = _LEVELS[signal]
        self._max_errors = max_errors
        self._accepted = 0
        self._rejected = 0
        self._errors: list[DecodeError] = []
        self._error_count = 0
        self._tables: Tables = {}

    def run(self, payload: bytes) -> Validated:
        request = self._signal.names.request
        descriptor: Any = request.DESCRIPTOR  # typed as either of two implementations
        kept = self._group(payload, descriptor, [], "") or b""
        try:
            request.FromString(kept)
        except ProtobufDecodeError as error:
            names = self._signal.names
            raise DecodeError(f"{names.item} request cannot be read: {error}") from None
        return Validated(
            kept, self._accepted, self._rejected, tuple(self._errors), self._error_count
        )

    def _group(
        self, data: bytes, descriptor: Descriptor, tags: list[int], path: str
    ) -> bytes | None:
        """What can be kept of a request, resource, scope, metric or a metric's data.

        Only called when something in it is bad; None when all of it is.
        """
        depth = len(tags)
        children = self._children(descriptor, depth)
        try:
            fields = _without_replaced(self._walked(data, path), children)
        except MalformedError as error:
            if depth < _METRIC:
                raise self._described(path, str(error)) from None
            self._reject(path, str(error), max(1, self._count(data, descriptor, depth)))
            return None
        fault = self._header_fault(data, descriptor, tags, fields, path)
        if fault is not None:
            where = ".".join(filter(None, (path, fault[0])))
            if depth == 0:
                raise self._described(where, fault[1])
            self._reject(where, fault[1], self._count(data, descriptor, depth))
            return None
        named = self._named(fields, descriptor, children, path)
        kept = self._sift(data, named, descriptor, tags)
        if not kept and depth:
            return None
        pieces = [
            kept.get(field.start, b"")
            if field.number in children and field.has_bytes
            else data[field.start : field.end]
            for field in fields
        ]
        return b"".join(pieces)

    def _walked(self, data: bytes, path: str) -> list[Field]:
        """A group's fields, unless they are absurdly many."""
        fields = list(islice(walk(data), _most(data) + 1))
        _refuse_more(len(fields), data, path)
        return fields

    def _named(
        self, fields: list[Field], descriptor: Descriptor, children: dict[int, bool], path: str
    ) -> list[tuple[Field, str]]:
        """A group's children and the path to each of them."""
        result: list[tuple[Field, str]] = []
        for field in fields:
            if field.number in children and field.has_bytes:
                name = descriptor.fields_by_number[field.number].name
                name = f"{path}.{name}" if path else name
                if children[field.number]:
                    name += f"[{len(result)}]"
                result.append((field, name))
        return result

    def _sift(
        self,
        data: bytes,
        children: list[tuple[Field, str]],
        descriptor: Descriptor,
        tags: list[int],
    ) -> dict[int, bytes]:
        """What can be kept of a group's children: by the place where each starts, its field.

        Halves that are good as they are cost one parse, so one bad record among thousands
        is found in a few of them.
        """
        request = self._framed(b"".join(data[f.start : f.end] for f, _ in children), tags)
        if request is not None and self._all_good(request):
            return {f.start: data[f.start : f.end] for f, _ in children}
        if request is not None and children and len(tags) + 1 == len(self._levels):
            return self._pick(data, children, self._within(request, tags), descriptor)
        if len(children) > 1:
            half = len(children) // 2
            first = self._sift(data, children[:half], descriptor, tags)
            return first | self._sift(data, children[half:], descriptor, tags)
        field, path = children[0]
        child = descriptor.fields_by_number[field.number].message_type
        assert child is not None  # all levels are messages
        inner = data[field.inner : field.end]
        tags = [*tags, field.number]
        if len(tags) < len(self._levels):
            kept = self._group(inner, child, tags, path)
            return {} if kept is None else {field.start: encode_field(field.number, kept)}
        fault = find_fault(child, inner, depth=len(tags)) or ("", "cannot be read")
        self._reject(f"{path}.{fault[0]}" if fault[0] else path, fault[1], 1)
        return {}

    def _pick(
        self, data: bytes, children: list[tuple[Field, str]], group: Any, descriptor: Descriptor
    ) -> dict[int, bytes]:
        """What can be kept of records that can all be read, some with a bad id or reference."""
        kept: dict[int, bytes] = {}
        records = getattr(group, descriptor.fields_by_number[children[0][0].number].name)
        for (field, path), record in zip(children, records, strict=True):
            fault = find_bad_id(self._signal, record) or self._lost_reference(record, path)
            if fault is None:
                self._accepted += 1
                kept[field.start] = data[field.start : field.end]
            else:
                self._reject(f"{path}.{fault[0]}", fault[1], 1)
        return kept

    def _all_good(self, request: Message) -> bool:
        """Count a request's records as accepted when nothing is wrong with any of them."""
        count = count_good(self._signal, request)
        if count is None or not self._references_lead(request):
            return False
        self._accepted += count
        return True

    def _references_lead(self, request: Any) -> bool:
        return self._signal is not Signal.PROFILES or not any(
            self._lost_reference(resource, "resource_profiles")
            for resource in request.resource_profiles
        )

    def _header_fault(
        self, data: bytes, descriptor: Descriptor, tags: list[int], fields: list[Field], path: str
    ) -> tuple[str, str] | None:
        """What is wrong with a group apart from its children."""
        children = self._children(descriptor, len(tags))
        header = b"".join(
            data[field.start : field.end]
            for field in fields
            if field.number not in children or not field.has_bytes
        )
        request = self._framed(header, tags)
        if request is None:
            return find_fault(descriptor, header, depth=len(tags)) or ("", "cannot be read")
        group = self._within(request, tags)
        if self._signal is Signal.PROFILES and not tags:
            self._tables = _check_dictionary(group)
            return None
        return self._lost_reference(group, path)

    def _lost_reference(self, message: Message, path: str) -> tuple[str, str] | None:
        if self._signal is not Signal.PROFILES:
            return None
        try:
            rewrite(message, self._tables, path)
        except DecodeError as error:
            where = error.path
            return where.removeprefix(f"{path}."), str(error).removeprefix(f"{where}: ")
        return None

    def _within(self, message: Any, tags: list[int]) -> Any:
        """The group that `_framed` put into a request."""
        for tag in tags:
            field = message.DESCRIPTOR.fields_by_number[tag]
            value = getattr(message, field.name)
            message = value[0] if field.is_repeated else value
        return message

    def _framed(self, data: bytes, tags: list[int]) -> Message | None:
        """The request that holds nothing but `data`, within the levels of `tags`."""
        for tag in reversed(tags):
            data = encode_field(tag, data)
        try:
            return self._signal.names.request.FromString(data)
        except ProtobufDecodeError:
            return None

    def _children(self, descriptor: Descriptor, depth: int) -> dict[int, bool]:
        """The numbers of a group's child fields, and whether they are repeated."""
        name = self._levels[depth]
        if name in descriptor.oneofs_by_name:
            return {field.number: False for field in descriptor.oneofs_by_name[name].fields}
        return {descriptor.fields_by_name[name].number: True}

    def _count(self, data: bytes, descriptor: Descriptor, depth: int) -> int:
        """Records in a group that is rejected, as far as they can be counted."""
        children = self._children(descriptor, depth)
        count = 0
        fields: list[Field] = []
        with suppress(MalformedError):  # told already; what was found before counts
            fields.extend(walk(data))
        for field in _without_replaced(fields, children):
            if field.number not in children or not field.has_bytes:
                continue
            child = descriptor.fields_by_number[field.number].message_type
            if depth + 1 == len(self._levels):
                count += 1
            elif child is not None:
                count += self._count(data[field.inner : field.end], child, depth + 1)
        return count

    def _reject(self, path: str, reason: str, items: int) -> None:
        self._rejected += items
        self._error_count += 1
        if self._error_count > MAX_BAD:
            raise self._described(path, f"{reason}; and {MAX_BAD} bad before it, so all is refused")
        if len(self._errors) < self._max_errors:
            self._errors.append(self._described(path, reason))

    def _described(self, path: str, reason: str) -> DecodeError:
        return DecodeError(f"{path or 'the request'}: {reason}", path=path)


def _without_replaced(fields: list[Field], children: dict[int, bool]) -> list[Field]:
    """Fields without members of a oneof that a later, other member replaces.

    Only the last member counts to a parser, so only its points were sent.
    """
    if len(children) == 1:
        return fields
    members = [(i, f.number) for i, f in enumerate(fields) if f.number in children and f.has_bytes]
    cut = max((i for i, number in members if number != members[-1][1]), default=-1)
    return [f for i, f in enumerate(fields) if i > cut or f.number not in children]
