"""Operators on single records: each is a chain of one processor."""

from collections.abc import Callable
from typing import Any

from rxotlp.data import Signal, TelemetryData
from rxotlp.operators._described import described
from rxotlp.operators._shell import Operator
from rxotlp.operators.chain import OnError, check_on_error, one_stage

__all__ = ["filter_records", "map_records"]

_Filter = Callable[[TelemetryData], TelemetryData | None]


@described
def filter_records(
    predicate: Callable[[Any], object] | Any,
    *,
    signal: Signal | None = None,
    on_error: OnError = "reject",
    name: str | None = None,
) -> Operator:
    """Keep the records for which `predicate` is true.

    ```
    filter_records(lambda span: span.name != "GET /healthz")
        source  -a-b-c-|
        result  -a---C-|          all of b was health checks, and some of c
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Recorder, Rig, spans
        >>> backend = Recorder()
        >>> keep = ops.filter_records(lambda span: span.name != "span 2")
        >>> with Rig(keep, ops.export(backend)) as rig:
        ...     heard = rig.send(spans([1, 2, 3]))
        >>> backend.delivered
        [1, 3]

    Args:
        predicate: gets a record view (see `TelemetryData.records`). Fields are decoded when
            touched, and the records that stay keep their bytes. Or an expression of
            `pyarrow.compute` over columns, as `TelemetryData.to_arrow` names them:
            `pc.field("attributes.http.response.status_code") >= 500`. What is null there is
            false, and so is an attribute of a type that the expression cannot take, each
            record by itself. It needs the extra `rxotlp[arrow]`, and is quicker than a
            function from about 100 records a request on where it asks about attributes, from
            2000 on where about fields.
        signal: look at this signal only; elements of others pass as they are.
        on_error: as in `chain`; a raise concerns the whole element.
        name: the stage's name in the books; "filter_records" by default.

    Raises:
        TypeError, ValueError: an argument is none of these; an expression names a column that
            these records do not have, or gives no truth value.
        ImportError: an expression without the extra.

    An element of which nothing is left is filtered. Holds nothing.
    """
    if _is_expression(predicate):
        _check_signal("filter_records", signal)
        keep = _by_columns(predicate, signal)
    else:
        _check("filter_records", predicate, signal)
        keep = _by_views(predicate, signal)
    check_on_error("filter_records", on_error)
    return one_stage((keep,), on_error=on_error, name=name, kind="filter_records")


def _is_expression(predicate: object) -> bool:
    """Without pyarrow nobody has one, so it need not be there to ask."""
    kind = type(predicate)
    return kind.__name__ == "Expression" and kind.__module__.partition(".")[0] == "pyarrow"


def _by_views(predicate: Callable[[Any], object], signal: Signal | None) -> _Filter:
    def keep(data: TelemetryData) -> TelemetryData | None:
        if signal is not None and data.signal is not signal:
            return data
        return data.filter_records(predicate)

    return keep


def _by_columns(predicate: Any, signal: Signal | None) -> _Filter:
    from rxotlp.columns_expression import Expression  # only here, as it needs the extra

    expression = Expression("filter_records", predicate, signal)

    def keep(data: TelemetryData) -> TelemetryData | None:
        if signal is not None and data.signal is not signal:
            return data
        whole = data.to_bytes()
        kept = expression.select(data.signal, whole)
        if kept is None:
            return None
        return data if kept[0] is whole else data.derive(kept[0])

    return keep


@described
def map_records(
    function: Callable[[Any], Any],
    *,
    signal: Signal | None = None,
    on_error: OnError = "reject",
    name: str | None = None,
) -> Operator:
    """Change records.

    ```
    map_records(redact)
        source  -a-b-|
        result  -A-B-|
    ```

    Example:
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Rig, draw
        >>> def as_b(record):
        ...     record.body.int_value = ord("b")
        >>> with Rig(ops.map_records(as_b)) as rig:
        ...     heard = rig.play("-a-|")
        >>> draw(rig.happened)
        '-b-|'

    Args:
        function: gets each record as its full, mutable OTLP message and changes it in place
            (see `TelemetryData.map_records`).
        signal: change this signal only; elements of others pass as they are.
        on_error: as in `chain`; a raise concerns the whole element.
        name: the stage's name in the books; "map_records" by default.

    Holds nothing.
    """
    _check("map_records", function, signal)
    check_on_error("map_records", on_error)

    def change(data: TelemetryData) -> TelemetryData | None:
        if signal is not None and data.signal is not signal:
            return data
        return data.map_records(function)

    return one_stage((change,), on_error=on_error, name=name, kind="map_records")


def _check(call: str, function: object, signal: object) -> None:
    if not callable(function):
        raise TypeError(
            f"{call}({function!r}): expected a function of a record, got {type(function).__name__}"
        )
    _check_signal(call, signal)


def _check_signal(call: str, signal: object) -> None:
    if signal is not None and not isinstance(signal, Signal):
        raise TypeError(f"{call}(signal={signal!r}): expected a Signal or None")
