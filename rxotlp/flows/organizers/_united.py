"""Unites what processors made of copies of one element.

Each is compared with what they were given, field by field, so whatever only one of them
changed is changed in the result:

    attributes   of records, scopes and resources: united, key by key
    fields       likewise, field by field
    conflicts    two changed the same to different values: by policy
    records      matched with those that were given, by identity; never doubled
    removed      by one of them: gone
    new          kept, behind the others; equal ones once

A span is identified by its ids, a log record and a data point by their times and what else
no processor has a reason to change; several with the same identity are told apart by what
is unchanged in them, then by their order.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from google.protobuf.message import Message

from rxotlp.data import Signal, TelemetryData

__all__ = ["Conflicts", "check_conflicts", "united"]

Conflicts = Literal["first", "last", "error"]

_KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")


def check_conflicts(call: str, given: object) -> None:
    """Raise when `given` is no policy."""
    if given not in get_args(Conflicts):
        raise ValueError(f"{call}={given!r}): expected 'first', 'last' or 'error'")


@dataclass(slots=True)
class _Record:
    """A record with what it stands in; `head` is a metric without its points."""

    parts: tuple[Message, ...]  # resource group, scope group, perhaps head, record
    identity: tuple[Any, ...]
    whole: tuple[bytes, ...]  # the parts' bytes
    place: int = 0  # among those of the same identity


def united(
    given: TelemetryData,
    made: Sequence[TelemetryData | None],
    names: Sequence[str],
    conflicts: Conflicts,
) -> TelemetryData | None:
    """One element in place of `given`, of what several processors made of it.

    Raises:
        ValueError: a conflict, where that is an error; or profiles that several changed,
            whose records share one dictionary.
    """
    if any(one is None for one in made):
        return None  # it removed every record
    before = given.to_bytes()
    changed = [
        (name, one)
        for name, one in zip(names, made, strict=True)
        if one is not None and (one.to_bytes() != before or one.metadata != given.metadata)
    ]
    if not changed:
        return given
    signal = given.signal
    for name, one in changed:
        if one.signal is not signal:
            raise ValueError(f"{name} made {one.signal.value} of {signal.value}")
    if len(changed) == 1:
        only = changed[0][1]
        return given.replace(payload=only.to_bytes(), metadata=only.metadata)
    if signal is Signal.PROFILES:
        raise ValueError(
            f"{', '.join(name for name, _ in changed)} all changed profiles, whose records share "
            "one dictionary; expected one of them at most"
        )
    merge = _Merge(conflicts, [name for name, _ in changed])
    base = list(_records(given))
    matched = [_matched(base, list(_records(one))) for _, one in changed]
    records = [
        merge.records(one, [found[number] for found, _ in matched])
        for number, one in enumerate(base)
        if all(number in found for found, _ in matched)
    ]
    seen: set[tuple[bytes, ...]] = set()
    for _, new in matched:
        for record in new:
            if record.whole not in seen:
                seen.add(record.whole)
                records.append(record.parts)
    if not records:
        return None
    return given.derive(_message(given, records), metadata=merge.metadata(given, changed))


# -- apart, and together again -------------------------------------------------------------


def _records(data: TelemetryData) -> Iterator[_Record]:
    groups, scopes, records = _names(data.signal)
    for group in getattr(data.message, groups):
        around = _without(group, scopes)
        for scope in getattr(group, scopes):
            inside = _without(scope, records)
            for one in getattr(scope, records):
                if data.signal is Signal.METRICS:
                    kind = one.WhichOneof("data")
                    if kind is None:
                        continue
                    head = type(one)()
                    head.CopyFrom(one)
                    del getattr(head, kind).data_points[:]
                    getattr(head, kind).SetInParent()
                    for point in getattr(one, kind).data_points:
                        times = (point.start_time_unix_nano, point.time_unix_nano)
                        yield _record((around, inside, head, point), (one.name, kind, *times))
                elif data.signal is Signal.TRACES:
                    yield _record((around, inside, one), (one.trace_id, one.span_id))
                else:
                    times = (one.time_unix_nano, one.observed_time_unix_nano)
                    yield _record((around, inside, one), (*times, one.trace_id, one.span_id))


def _names(signal: Signal) -> tuple[str, str, str]:
    match signal:
        case Signal.TRACES:
            return "resource_spans", "scope_spans", "spans"
        case Signal.METRICS:
            return "resource_metrics", "scope_metrics", "metrics"
    return "resource_logs", "scope_logs", "log_records"


def _record(parts: tuple[Message, ...], identity: tuple[Any, ...]) -> _Record:
    whole = tuple(part.SerializeToString(deterministic=True) for part in parts)
    return _Record(parts, identity, whole)


def _without(message: Any, field: str) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    copy.ClearField(field)
    return copy


def _message(given: TelemetryData, records: list[tuple[Message, ...]]) -> Message:
    """A request of records, each within what it stands in; in their order."""
    groups, scopes, field = _names(given.signal)
    request = type(given.message)()
    holders: dict[tuple[bytes, ...], Any] = {}

    def holder(parts: tuple[Message, ...], add: Callable[[], Any]) -> Any:
        key = tuple(part.SerializeToString(deterministic=True) for part in parts)
        found = holders.get(key)
        if found is None:
            found = holders[key] = add()
            found.CopyFrom(parts[-1])
        return found

    for parts in records:
        group = holder(parts[:1], getattr(request, groups).add)
        scope = holder(parts[:2], getattr(group, scopes).add)
        if len(parts) == 3:
            getattr(scope, field).add().CopyFrom(parts[2])
        else:
            metric = holder(parts[:3], getattr(scope, field).add)
            getattr(metric, metric.WhichOneof("data")).data_points.add().CopyFrom(parts[3])
    whole: Message = request
    return whole


def _matched(base: list[_Record], made: list[_Record]) -> tuple[dict[int, _Record], list[_Record]]:
    """What was made of which record that was given, by its number; and what is new."""
    found: dict[int, _Record] = {}
    left = list(made)
    for several in (base, made):
        places: Counter[Any] = Counter()
        for one in several:
            one.place = places[one.identity]
            places[one.identity] += 1
    # From the surest sign to the weakest: unchanged where it was, unchanged, the record itself
    # unchanged, identity.
    signs: list[Callable[[_Record], Any]] = [
        lambda one: (one.identity, one.place, one.whole),
        lambda one: one.whole,
        lambda one: (one.identity, one.whole[-1]),
        lambda one: one.identity,
    ]
    for sign in signs:
        waiting: dict[Any, deque[int]] = defaultdict(deque)
        for number, one in enumerate(base):
            if number not in found:
                waiting[sign(one)].append(number)
        unmatched = []
        for one in left:
            numbers = waiting.get(sign(one))
            if numbers:
                found[numbers.popleft()] = one
            else:
                unmatched.append(one)
        left = unmatched
    return found, left


# -- three ways ----------------------------------------------------------------------------


class _Merge:
    """Unites messages, field by field."""

    def __init__(self, conflicts: Conflicts, names: list[str]) -> None:
        self._conflicts = conflicts
        self._names = names

    def records(self, base: _Record, made: list[_Record]) -> tuple[Message, ...]:
        """A record, and what it stands in."""
        parts = []
        for level, part in enumerate(base.parts):
            if all(one.whole[level] == base.whole[level] for one in made):
                parts.append(part)
            else:
                parts.append(self._message(part, [one.parts[level] for one in made]))
        return tuple(parts)

    def metadata(
        self, given: TelemetryData, changed: list[tuple[str, TelemetryData]]
    ) -> dict[str, str]:
        """What is known about the request."""
        after = [one.metadata for _, one in changed]
        kept = {}
        for key in dict.fromkeys([*given.metadata, *(key for one in after for key in one)]):
            versions = [one.get(key) for one in after]
            winner = self._winner(given.metadata.get(key), versions, f"metadata {key!r}")
            value = given.metadata.get(key) if winner is None else versions[winner]
            if value is not None:
                kept[key] = value
        return kept

    def _message(self, base: Any, made: list[Any]) -> Any:
        whole = type(base)()
        whole.CopyFrom(base)
        for field in base.DESCRIPTOR.fields:
            name = field.name
            if name == "attributes":
                self._attributes(whole, base, made)
            elif name in ("resource", "scope", *_KINDS):  # messages whose fields are their own
                if any(one.HasField(name) != base.HasField(name) for one in made):
                    self._field(whole, base, made, name, field)
                elif base.HasField(name):
                    inner = self._message(getattr(base, name), [getattr(one, name) for one in made])
                    getattr(whole, name).CopyFrom(inner)
            else:
                self._field(whole, base, made, name, field)
        return whole

    def _field(self, whole: Any, base: Any, made: list[Any], name: str, field: Any) -> None:
        values = [_value(one, name, field) for one in made]
        winner = self._winner(_value(base, name, field), values, name)
        if winner is None:
            return
        source = made[winner]
        whole.ClearField(name)
        if field.is_repeated:
            getattr(whole, name).MergeFrom(getattr(source, name))
        elif field.has_presence and not source.HasField(name):
            return
        elif field.message_type is not None:
            getattr(whole, name).CopyFrom(getattr(source, name))
        else:
            setattr(whole, name, getattr(source, name))

    def _attributes(self, whole: Any, base: Any, made: list[Any]) -> None:
        before = {pair.key: pair for pair in base.attributes}
        after = [{pair.key: pair for pair in one.attributes} for one in made]
        keys = dict.fromkeys([*before, *(key for pairs in after for key in pairs)])
        kept = []
        for key in keys:
            versions = [pairs.get(key) for pairs in after]
            winner = self._winner(
                _bytes(before.get(key)), list(map(_bytes, versions)), f"attribute {key!r}"
            )
            pair = before.get(key) if winner is None else versions[winner]
            if pair is not None:
                kept.append(pair)
        whole.ClearField("attributes")
        whole.attributes.extend(kept)

    def _winner(self, before: Any, values: list[Any], what: str) -> int | None:
        """Whose value counts; None when nobody changed it."""
        changed = [number for number, value in enumerate(values) if value != before]
        if not changed:
            return None
        if self._conflicts == "last":
            return changed[-1]
        if self._conflicts == "error":
            for number in changed[1:]:
                if values[number] != values[changed[0]]:
                    one, other = self._names[changed[0]], self._names[number]
                    raise ValueError(f"{one} and {other} changed {what} to different values")
        return changed[0]


def _value(message: Any, name: str, field: Any) -> Any:
    if field.is_repeated:
        values = getattr(message, name)
        return list(map(_bytes, values)) if field.message_type is not None else list(values)
    if field.has_presence and not message.HasField(name):
        return None
    value = getattr(message, name)
    if field.message_type is not None:
        return _bytes(value)
    return repr(value) if isinstance(value, float) else value  # NaN is no change of NaN


def _bytes(message: Any) -> bytes | None:
    return None if message is None else message.SerializeToString(deterministic=True)
