"""From which size on does an expression over columns beat a Python predicate?

Unit: a ratio, the predicate's CPU time by the expression's in the same round; both sides
alternate, the median of the rounds counts. 2.0 means that the expression takes half.
Baseline: `TelemetryData.filter_records` with a function of a record view, which keeps the same
records to the byte; compared before anything is measured.

    number       one number of the span: its kind
    text         one text of the span: its name
    attribute    a number among 10 attributes
    two          two attributes and the status
    resource     an attribute of the resource

Blind spot: single-threaded, as in a pipeline; pyarrow would use more cores for larger tables.
Building the expression, once a pipeline, is not counted. `change` compares `map_columns` that
writes one attribute into a tenth of the spans with `map_records` that does.

    python -m benchmarks.columns
"""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow.compute as pc

from benchmarks.wire import _compare as compare
from benchmarks.workloads import payload
from rxotlp.columns_changes import change_columns
from rxotlp.columns_expression import Expression
from rxotlp.data import Signal, TelemetryData

__all__ = ["SIZES", "columns"]

SIZES = (1, 8, 32, 128, 512, 2048, 8192)
_CODE = "http.response.status_code"
_field = pc.field

CASES: dict[str, tuple[Any, Callable[[Any], object]]] = {
    "number": (_field("kind") == 3, lambda span: span.kind == 3),
    "text": (_field("name") == "GET /cart", lambda span: span.name == "GET /cart"),
    "attribute": (
        _field(f"attributes.{_CODE}") >= 500,
        lambda span: span.attributes.get(_CODE, 0) >= 500,
    ),
    "two": (
        (_field(f"attributes.{_CODE}") >= 400)
        & (_field("attributes.http.route") == "/cart")
        & (_field("status.code") == 2),
        lambda span: (
            span.attributes.get(_CODE, 0) >= 400
            and span.attributes.get("http.route") == "/cart"
            and span.status.code == 2
        ),
    ),
    "resource": (
        _field("resource.service.name") == "shop-0",
        lambda span: span.resource.attributes.get("service.name") == "shop-0",
    ),
}


def columns(*, rounds: int = 7, sizes: tuple[int, ...] = SIZES) -> list[dict[str, Any]]:
    """Every case at every size.

    Args:
        rounds: rounds a case, 5 or more for a claim.
        sizes: spans a request.
    """
    results = []
    for name, (expression, predicate) in CASES.items():
        chosen = Expression("benchmark", expression, Signal.TRACES)
        for size in sizes:
            _, data = payload("spans", items=size)
            ours = partial(_select, chosen, data)
            peer = partial(_filter, predicate, data)
            if ours() != peer():
                raise AssertionError(f"{name}, {size}: the two sides differ")
            row = compare(name, "spans", ours, peer, rounds)
            results.append({"size": size} | row)
    for size in sizes:
        _, data = payload("spans", items=size)
        row = compare("change", "spans", partial(_map, data), partial(_map_records, data), rounds)
        results.append({"size": size} | row)
    return results


def breaks_even(rows: list[dict[str, Any]]) -> dict[str, int | None]:
    """From which of the sizes on each case is quicker by columns; None when at none."""
    found: dict[str, int | None] = {}
    for name in dict.fromkeys(row["job"] for row in rows):
        quicker = None
        for row in reversed([row for row in rows if row["job"] == name]):
            if row["ratio"] <= 1:
                break
            quicker = row["size"]
        found[name] = quicker
    return found


def _select(expression: Expression, data: bytes) -> list[bytes]:
    kept = expression.select(Signal.TRACES, data)
    return [] if kept is None else [kept[0]]


def _filter(predicate: Callable[[Any], object], data: bytes) -> list[bytes]:
    kept = TelemetryData.from_bytes(Signal.TRACES, data).filter_records(predicate)
    return [] if kept is None else [kept.to_bytes()]


def _errors(batch: Any) -> Any:
    found = pc.and_(pc.equal(batch["kind"], 3), pc.equal(batch["status.code"], 2))
    return {"attributes.slo.bad": pc.if_else(found, True, None)}


def _map(data: bytes) -> list[bytes]:
    return [change_columns(Signal.TRACES, data, _errors, ["kind", "status.code"])]


def _one_error(span: Any) -> None:
    if span.kind == 3 and span.status.code == 2:
        span.attributes.add(key="slo.bad").value.bool_value = True


def _map_records(data: bytes) -> list[bytes]:
    return [TelemetryData.from_bytes(Signal.TRACES, data).map_records(_one_error).to_bytes()]


def main() -> None:
    """Measure and print."""
    rows = columns()
    sizes = [str(size) for size in SIZES]
    print(f"| case | {' | '.join(sizes)} | quicker from |")
    print(f"| --- | {' | '.join('---' for _ in sizes)} | --- |")
    for name, first in breaks_even(rows).items():
        ratios = [f"{row['ratio']:.2f}" for row in rows if row["job"] == name]
        print(f"| {name} | {' | '.join(ratios)} | {first or 'never'} |")
    spreads = [row["spread"][1] / row["spread"][0] for row in rows]
    print(f"largest by smallest round: {statistics.median(spreads):.2f} in the median")


if __name__ == "__main__":
    main()
