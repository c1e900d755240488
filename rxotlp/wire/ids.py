"""The rules for ids in requests, each in two forms: a fast pass and a fault with a path.

The rules are those of the .proto files, read as the Collector reads them:

    span                        trace_id 16 bytes, span_id 8, neither all zero;
                                parent_span_id 8 or none
    link, log record, exemplar  trace_id 16 or none, span_id 8 or none
    profile                     profile_id 16 or none

A link may lack its ids or have zeros: the tracing API keeps such links for their
attributes. `count_good` sees every span of every request, so it is written for speed: it
only says whether all is well. `find_bad_id` then says what is not.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from google.protobuf.message import Message

from rxotlp.wire.signals import Signal

__all__ = ["count_good", "find_bad_id"]

_TRACE = b"\0" * 16
_SPAN = b"\0" * 8
_TRACE_LENGTHS = (0, 16)
_SPAN_LENGTHS = (0, 8)

Fault = tuple[str, str]
"""A path within a record, and what is wrong there."""


def count_good(signal: Signal, request: Message) -> int | None:
    """The items of a request when every id in it is good; None when one is not."""
    return _COUNTS[signal](request)


def find_bad_id(signal: Signal, record: Message) -> Fault | None:
    """The first bad id of a span, data point, log record or profile."""
    return next(_FAULTS[signal](record), None)


def _count_spans(request: Any) -> int | None:
    count = 0
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            spans = scope.spans
            count += len(spans)
            for span in spans:
                trace_id, span_id = span.trace_id, span.span_id
                if (
                    len(trace_id) != 16
                    or trace_id == _TRACE
                    or len(span_id) != 8
                    or span_id == _SPAN
                    or len(span.parent_span_id) not in _SPAN_LENGTHS
                ):
                    return None
                if links := span.links:
                    for link in links:
                        if (
                            len(link.trace_id) not in _TRACE_LENGTHS
                            or len(link.span_id) not in _SPAN_LENGTHS
                        ):
                            return None
    return count


def _count_points(request: Any) -> int | None:
    count = 0
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                if kind is None:
                    continue
                points = getattr(metric, kind).data_points
                count += len(points)
                if kind == "summary":  # the only points without exemplars
                    continue
                for point in points:
                    if exemplars := point.exemplars:
                        for exemplar in exemplars:
                            if (
                                len(exemplar.trace_id) not in _TRACE_LENGTHS
                                or len(exemplar.span_id) not in _SPAN_LENGTHS
                            ):
                                return None
    return count


def _count_records(request: Any) -> int | None:
    count = 0
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            records = scope.log_records
            count += len(records)
            for record in records:
                if (
                    len(record.trace_id) not in _TRACE_LENGTHS
                    or len(record.span_id) not in _SPAN_LENGTHS
                ):
                    return None
    return count


def _count_profiles(request: Any) -> int | None:
    count = 0
    for resource in request.resource_profiles:
        for scope in resource.scope_profiles:
            count += len(scope.profiles)
            for profile in scope.profiles:
                if len(profile.profile_id) not in _TRACE_LENGTHS:
                    return None
    return count


def _required(record: Any, field: str, zero: bytes) -> Iterator[Fault]:
    value = getattr(record, field)
    if len(value) != len(zero):
        yield field, f"{_bytes(len(value))}, expected {len(zero)}"
    elif value == zero:
        yield field, f"{len(zero)} zero bytes, expected an id that is not all zero"


def _optional(record: Any, field: str, length: int) -> Iterator[Fault]:
    actual = len(getattr(record, field))
    if actual not in (0, length):
        yield field, f"{_bytes(actual)}, expected {length} or none"


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


def _within(parts: Iterable[Any], name: str) -> Iterator[Fault]:
    """Faults in a record's links or exemplars."""
    for index, part in enumerate(parts):
        for field, reason in _context_faults(part):
            yield f"{name}[{index}].{field}", reason


def _context_faults(record: Any) -> Iterator[Fault]:
    yield from _optional(record, "trace_id", 16)
    yield from _optional(record, "span_id", 8)


def _span_faults(span: Any) -> Iterator[Fault]:
    yield from _required(span, "trace_id", _TRACE)
    yield from _required(span, "span_id", _SPAN)
    yield from _optional(span, "parent_span_id", 8)
    yield from _within(span.links, "links")


def _point_faults(point: Any) -> Iterator[Fault]:
    yield from _within(getattr(point, "exemplars", ()), "exemplars")


def _profile_faults(profile: Any) -> Iterator[Fault]:
    yield from _optional(profile, "profile_id", 16)


_COUNTS: dict[Signal, Callable[[Message], int | None]] = {
    Signal.TRACES: _count_spans,
    Signal.METRICS: _count_points,
    Signal.LOGS: _count_records,
    Signal.PROFILES: _count_profiles,
}
_FAULTS: dict[Signal, Callable[[Message], Iterator[Fault]]] = {
    Signal.TRACES: _span_faults,
    Signal.METRICS: _point_faults,
    Signal.LOGS: _context_faults,
    Signal.PROFILES: _profile_faults,
}
