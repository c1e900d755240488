"""What do the wire tiers cost against the same work done with full messages?

Unit: a ratio, the peer's CPU time by ours in the same round; both sides alternate, the median
of the rounds' ratios counts and the smallest and largest are printed.
Baseline: `opentelemetry-proto` messages on the same protobuf, written as well as we can:
each job takes the quickest of the ways we tried (cutting decodes once a part and deletes the
rest, filtering deletes in place, one resource goes back as it came). Outputs are compared,
decoded, before anything is measured.
Blind spot: payloads stay in the processor's cache and freed memory stays mapped; a process
that does other things in between pays for both, ours more in proportion.

    P1  count, merge 16, split in 2, split by resource
    P8  a Python predicate on every span, half of them go

    python -m benchmarks.wire
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.workloads import payload
from rxotlp.data import Signal, TelemetryData

__all__ = ["construction", "p1", "p8"]

Job = Callable[[], list[bytes]]

_FIELDS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
}
_ERROR = 2  # Status.STATUS_CODE_ERROR


def p1(*, rounds: int = 7, items: int | None = None) -> list[dict[str, Any]]:
    """P1 on `spans`, `logs` and `metrics`, and `spans-wide`, which has several resources.

    Args:
        rounds: rounds a job, 5 or more for a claim.
        items: items a request; by default the workload's own number.
    """
    results = []
    for name in ("spans", "logs", "metrics", "spans-wide"):
        signal, data = payload(name, items=items)
        others = [payload(name, items=items, seed=seed)[1] for seed in range(16)]
        half = (TelemetryData.from_bytes(signal, data).items + 1) // 2
        jobs: dict[str, tuple[Job, Job]] = {
            "count": (partial(_count, signal, data), partial(_count_messages, signal, data)),
            "merge 16": (partial(_merge, signal, others), partial(_merge_messages, signal, others)),
            "split in 2": (
                partial(_cut, signal, data, half),
                partial(_cut_messages, signal, data, half),
            ),
            "by resource": (
                partial(_by_resource, signal, data),
                partial(_by_resource_messages, signal, data),
            ),
        }
        for job, (ours, peer) in jobs.items():
            if job != "count":
                _check_equal(signal, ours(), peer())
            elif ours() != peer():
                raise AssertionError(f"{name} {job}: the two sides differ")
            results.append(_compare(job, name, ours, peer, rounds))
    return results


def p8(*, rounds: int = 7, items: int | None = None) -> list[dict[str, Any]]:
    """P8 on `spans` and `spans-wide`, against two ways to filter messages.

    "rebuilt" is what people write: a list of the spans to keep, put back with `extend`.
    "in place" deletes from the end, which protobuf does without copying a span.
    """
    results = []
    for name in ("spans", "spans-wide"):
        _, data = payload(name, items=items)
        ours = partial(_filter, data)
        for way, filter_messages in (("rebuilt", _rebuild_messages), ("in place", _weed_messages)):
            peer = partial(filter_messages, data)
            _check_equal(Signal.TRACES, ours(), peer())
            results.append(_compare(f"filter, {way}", name, ours, peer, rounds))
    return results


def construction(*, rounds: int = 7) -> dict[str, Any]:
    """Making an element, against making an empty plain object with a slot: a ratio."""

    class Plain:
        __slots__ = ("payload",)

        def __init__(self, payload: bytes) -> None:
            self.payload = payload

    new, chunks, none = TelemetryData._new, (b"",), TelemetryData.from_bytes(Signal.LOGS, b"")
    metadata = none.metadata
    repeats = range(1000)

    def ours() -> list[bytes]:
        for _ in repeats:
            new(Signal.LOGS, chunks, 1, metadata, None)
        return []

    def peer() -> list[bytes]:
        for _ in repeats:
            Plain(b"")
        return []

    return _compare("construction", "1000 elements", ours, peer, rounds)


def _compare(job: str, name: str, ours: Job, peer: Job, rounds: int) -> dict[str, Any]:
    some, many = _repeats(peer), _repeats(ours)
    mine, theirs = [], []
    for _ in range(rounds):
        mine.append(_seconds(ours, many) / many)
        theirs.append(_seconds(peer, some) / some)
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    return {
        "job": job,
        "workload": name,
        "ours": ours,
        "ours_us": statistics.median(mine) * 1e6,
        "peer_us": statistics.median(theirs) * 1e6,
        "ratio": statistics.median(ratios),
        "spread": (min(ratios), max(ratios)),
    }


def _repeats(job: Job) -> int:
    """How often a job runs in a round: a twentieth of a second, whichever side it is."""
    return max(1, round(0.05 / max(_seconds(job, 2) / 2, 1e-6)))


def _seconds(job: Job, repeats: int) -> float:
    start = time.thread_time()
    for _ in range(repeats):
        job()
    return time.thread_time() - start


def _check_equal(signal: Signal, ours: list[bytes], peer: list[bytes]) -> None:
    decode = signal.names.request.FromString
    if list(map(decode, ours)) != list(map(decode, peer)):
        raise AssertionError(f"{signal.value}: the two sides differ")


# -- ours ---------------------------------------------------------------------------------


def _count(signal: Signal, data: bytes) -> list[bytes]:
    return [str(TelemetryData.from_bytes(signal, data).items).encode()]


def _merge(signal: Signal, payloads: list[bytes]) -> list[bytes]:
    elements = [TelemetryData.from_bytes(signal, data) for data in payloads]
    return [TelemetryData.merge(elements).to_bytes()]


def _cut(signal: Signal, data: bytes, half: int) -> list[bytes]:
    element = TelemetryData.from_bytes(signal, data)
    return [part.to_bytes() for part in element.split(max_items=half)]


def _by_resource(signal: Signal, data: bytes) -> list[bytes]:
    element = TelemetryData.from_bytes(signal, data)
    return [part.to_bytes() for _, part in element.split_by("service.name")]


def _is_error(span: Any) -> object:
    return span.status.code == _ERROR


def _filter(data: bytes) -> list[bytes]:
    kept = TelemetryData.from_bytes(Signal.TRACES, data).filter_records(_is_error)
    return [] if kept is None else [kept.to_bytes()]


# -- the peer -----------------------------------------------------------------------------


def _points(metric: Any) -> Any:
    return getattr(metric, metric.WhichOneof("data")).data_points


def _lists(signal: Signal, request: Any) -> list[Any]:
    """The lists of records of a request, in order."""
    groups, scopes, records = _FIELDS[signal]
    found = [
        getattr(scope, records)
        for group in getattr(request, groups)
        for scope in getattr(group, scopes)
    ]
    if signal is Signal.METRICS:
        return [_points(metric) for metrics in found for metric in metrics]
    return found


def _count_messages(signal: Signal, data: bytes) -> list[bytes]:
    request = signal.names.request.FromString(data)
    return [str(sum(map(len, _lists(signal, request)))).encode()]


def _merge_messages(signal: Signal, payloads: list[bytes]) -> list[bytes]:
    merged = signal.names.request()
    for data in payloads:
        merged.MergeFromString(data)
    return [merged.SerializeToString()]


def _cut_messages(signal: Signal, data: bytes, half: int) -> list[bytes]:
    first = signal.names.request.FromString(data)
    second = signal.names.request.FromString(data)
    _keep(signal, first, 0, half)
    _keep(signal, second, half, 1 << 62)
    parts = [first.SerializeToString(), second.SerializeToString()]
    return [part for part in parts if part]


def _keep(signal: Signal, request: Any, start: int, stop: int) -> None:
    """Remove what is outside of [start, stop), and the lists that this empties."""
    groups, scopes, records = _FIELDS[signal]
    at = 0
    for group in list(getattr(request, groups)):
        for scope in list(getattr(group, scopes)):
            found = getattr(scope, records)
            if signal is Signal.METRICS:
                kept = []
                for index, metric in enumerate(found):
                    at = _keep_within(_points(metric), at, start, stop)
                    if _points(metric):
                        kept.append(index)
                if kept:
                    del found[kept[-1] + 1 :]
                    del found[: kept[0]]
                else:
                    del found[:]
            else:
                at = _keep_within(found, at, start, stop)
            if not found:
                getattr(group, scopes).remove(scope)
        if not getattr(group, scopes):
            getattr(request, groups).remove(group)


def _keep_within(records: Any, at: int, start: int, stop: int) -> int:
    after: int = at + len(records)
    if stop < after:
        del records[max(0, stop - at) :]
    if start > at:
        del records[: start - at]
    return after


def _by_resource_messages(signal: Signal, data: bytes) -> list[bytes]:
    groups = _FIELDS[signal][0]
    request = signal.names.request.FromString(data)
    members: dict[str | None, list[Any]] = {}
    for group in getattr(request, groups):
        key = None
        for attribute in group.resource.attributes:
            if attribute.key == "service.name":
                key = attribute.value.string_value
        members.setdefault(key, []).append(group)
    if len(members) == 1:
        return [data]
    parts = []
    for found in members.values():
        part = signal.names.request()
        getattr(part, groups).extend(found)
        parts.append(part.SerializeToString())
    return parts


def _weed_messages(data: bytes) -> list[bytes]:
    request: Any = Signal.TRACES.names.request.FromString(data)
    for group in request.resource_spans:
        for scope in group.scope_spans:
            spans = scope.spans
            gone = [index for index, span in enumerate(spans) if not _is_error(span)]
            for index in reversed(gone):
                del spans[index]
    return _without_empty(request)


def _rebuild_messages(data: bytes) -> list[bytes]:
    request: Any = Signal.TRACES.names.request.FromString(data)
    for group in request.resource_spans:
        for scope in group.scope_spans:
            kept = [span for span in scope.spans if _is_error(span)]
            del scope.spans[:]
            scope.spans.extend(kept)
    return _without_empty(request)


def _without_empty(request: Any) -> list[bytes]:
    for group in list(request.resource_spans):
        for scope in list(group.scope_spans):
            if not scope.spans:
                group.scope_spans.remove(scope)
        if not group.scope_spans:
            request.resource_spans.remove(group)
    return [request.SerializeToString()] if request.resource_spans else []


def main() -> None:
    """Print every result."""
    for result in [*p1(), *p8(), construction()]:
        low, high = result["spread"]
        print(
            f"{result['job']:18}{result['workload']:14}"
            f"{result['ours_us']:10.1f} us{result['peer_us']:10.1f} us"
            f"{result['ratio']:8.1f}x  ({low:.1f} to {high:.1f})"
        )


if __name__ == "__main__":
    main()
