"""What do the ready-made processors cost against the same work done with full messages?

Unit: a ratio, the peer's CPU time by ours in the same round, as in `benchmarks.wire`.
Baseline: decode the request with `opentelemetry-proto`, do the work in place as well as we
can, encode it. Outputs are compared, decoded, before anything is measured.
Freed memory is kept, as every receiver keeps it (`rxotlp.sources.memory`); without that,
page faults of large requests cost more than the work on them.
Blind spot: payloads stay in the processor's cache; and all records of one request have the
same keys, so what is saved where a key does not occur shows only in the row that says so.

    attributes, resource level      wanted: 10 times or more
    filter_spans by status          wanted: 3 times or more

    python -m benchmarks.processors
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.wire import _compare as compare
from benchmarks.workloads import payload
from rxotlp.data import Signal, TelemetryData
from rxotlp.processors import (
    attr,
    attributes,
    filter_resources,
    filter_spans,
    redact,
    resource,
    status,
    where,
)
from rxotlp.sources.memory import keep_freed_memory

__all__ = ["processors"]

_NEW = {"deployment.environment.name": "prod"}
_ERROR = 2  # Status.STATUS_CODE_ERROR


def processors(*, rounds: int = 7, items: int | None = None) -> list[dict[str, Any]]:
    """Every processor on `spans`, and resource level on the other workloads too.

    Args:
        rounds: rounds a job, 5 or more for a claim.
        items: items a request; by default the workload's own number.
    """
    keep_freed_memory()
    at_resource = attributes(upsert=_NEW, level="resource")
    jobs: list[tuple[str, Any, Callable[[Any], None]]] = [
        ("attributes, resource", at_resource, _set_on_resources),
        ("attributes, upsert", attributes(upsert=_NEW), _set_on_records),
        ("attributes, update", attributes(update={"user.id": 0}), _update_records),
        ("attributes, key absent", attributes(delete=["no.such.key"]), _nothing),
        ("redact, key", redact(keys=["user.id"]), _redact_records),
        ("filter, status", filter_spans(status.is_error), _keep_errors),
        ("filter, attribute", filter_spans(attr("http.route") == "/healthz"), _keep_health),
        ("filter, resource", filter_resources(resource("service.name").exists), _nothing),
        ("where, attributes", where(status.is_error, attributes(upsert=_NEW)), _set_on_errors),
    ]
    results = []
    for name in ("spans", "spans-wide", "logs", "metrics"):
        signal, data = payload(name, items=items)
        for job, processor, change in jobs if name == "spans" else jobs[:1]:
            ours = partial(_process, processor, signal, data)
            peer = partial(_message, change, signal, data)
            if not job.startswith("where"):  # which puts what it was asked for first
                _check_same(signal, ours(), peer())
            results.append(compare(job, name, ours, peer, rounds))
    return results


def _check_same(signal: Signal, ours: list[bytes], peer: list[bytes]) -> None:
    """Decoded, and with attributes by key, because their order means nothing."""
    both = []
    for payloads in (ours, peer):
        requests = list(map(signal.names.request.FromString, payloads))
        for request in requests:
            for record in _records(request):
                record.attributes.sort(key=lambda pair: pair.key)
        both.append(requests)
    if both[0] != both[1]:
        raise AssertionError(f"{signal.value}: the two sides differ")


def _process(processor: Any, signal: Signal, data: bytes) -> list[bytes]:
    return [processor(TelemetryData.from_bytes(signal, data)).to_bytes()]


# -- the peer -----------------------------------------------------------------------------


def _message(change: Callable[[Any], None], signal: Signal, data: bytes) -> list[bytes]:
    request = signal.names.request.FromString(data)
    change(request)
    return [request.SerializeToString()]


def _nothing(request: Any) -> None:
    """Decode and encode, as somebody must who wants to look."""


def _groups(request: Any) -> Any:
    return getattr(request, request.DESCRIPTOR.fields[0].name)


def _lists(request: Any) -> Iterator[Any]:
    """The lists of records of a request."""
    for group in _groups(request):
        if hasattr(group, "scope_spans"):
            yield from (scope.spans for scope in group.scope_spans)
        elif hasattr(group, "scope_logs"):
            yield from (scope.log_records for scope in group.scope_logs)
        else:
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    yield getattr(metric, metric.WhichOneof("data")).data_points


def _records(request: Any) -> Iterator[Any]:
    for records in _lists(request):
        yield from records


def _set_on_resources(request: Any) -> None:
    for group in _groups(request):
        _set(group.resource.attributes)


def _set(pairs: Any) -> None:
    for key, value in _NEW.items():
        for pair in pairs:
            if pair.key == key:
                pair.value.string_value = value
                break
        else:
            pairs.add(key=key).value.string_value = value


def _set_on_records(request: Any) -> None:
    for record in _records(request):
        _set(record.attributes)


def _update_records(request: Any) -> None:
    for record in _records(request):
        for pair in record.attributes:
            if pair.key == "user.id":
                pair.value.int_value = 0


def _redact_records(request: Any) -> None:
    for record in _records(request):
        for pair in record.attributes:
            if pair.key == "user.id":
                pair.value.string_value = "[redacted]"


def _keep_errors(request: Any) -> None:
    _keep(request, lambda span: span.status.code == _ERROR)


def _is_health(span: Any) -> bool:
    return any(
        pair.key == "http.route" and pair.value.string_value == "/healthz"
        for pair in span.attributes
    )


def _keep_health(request: Any) -> None:
    _keep(request, _is_health)


def _keep(request: Any, wanted: Callable[[Any], bool]) -> None:
    for spans in _lists(request):
        gone = [index for index, span in enumerate(spans) if not wanted(span)]
        for index in reversed(gone):
            del spans[index]


def _set_on_errors(request: Any) -> None:
    for span in _records(request):
        if span.status.code == _ERROR:
            _set(span.attributes)


def main() -> None:
    """Print every result."""
    for result in processors():
        low, high = result["spread"]
        print(
            f"{result['job']:24}{result['workload']:12}"
            f"{result['ours_us']:10.1f} us{result['peer_us']:10.1f} us"
            f"{result['ratio']:8.1f}x  ({low:.1f} to {high:.1f})"
        )


if __name__ == "__main__":
    main()
