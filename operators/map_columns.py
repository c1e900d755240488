"""The operator that changes records by columns; a chain of one processor."""

from collections.abc import Callable, Sequence
from typing import Any

from rxotlp.data import Signal, TelemetryData
from rxotlp.operators._described import described
from rxotlp.operators._shell import Operator
from rxotlp.operators.chain import OnError, check_on_error, one_stage

__all__ = ["map_columns"]


@described
def map_columns(
    function: Callable[[Any], Any],
    *,
    columns: Sequence[str] | None = None,
    signal: Signal | None = None,
    on_error: OnError = "reject",
    name: str | None = None,
) -> Operator:
    """Change records by columns of Arrow. Needs the extra: `pip install 'rxotlp[arrow]'`.

    ```
    map_columns(shout)
        source  -a-b-|
        result  -A-B-|
    ```

    Example:
        >>> import pyarrow.compute as pc
        >>> from rxotlp import operators as ops
        >>> from rxotlp.testing import Recorder, Rig
        >>> backend = Recorder()
        >>> doubled = ops.map_columns(
        ...     lambda batch: {"body": pc.multiply(batch["body"], 2)}, columns=["body"]
        ... )
        >>> with Rig(doubled, ops.export(backend)) as rig:
        ...     heard = rig.send([1, 2, 3])
        >>> backend.delivered
        [2, 4, 6]

    Args:
        function: gets a `pyarrow.RecordBatch` with a row for each record of an element, and
            returns columns by name: a mapping of arrays, lists or single values that count
            for all, or a batch or table. Columns that it does not return stay as they are.
        columns: the names of those that it gets, as `TelemetryData.to_arrow` has them; None
            for all fields, without attributes. Those that it returns need not be among them.
        signal: change this signal only; elements of others pass as they are.
        on_error: as in `chain`; a raise concerns the whole element.
        name: the stage's name in the books; "map_columns" by default.

    Raises:
        ImportError: the extra is missing.
        TypeError, ValueError: an argument is none of these.

    Only records in which something changed are written again, the others keep their bytes. An
    attribute that is null goes, a field that is null has its default. Columns of a resource,
    scope or metric can be looked at, not changed. The number of records stays. Holds nothing.
    """
    if not callable(function):
        raise TypeError(
            f"map_columns({function!r}): expected a function of a RecordBatch, "
            f"got {type(function).__name__}"
        )
    if signal is not None and not isinstance(signal, Signal):
        raise TypeError(f"map_columns(signal={signal!r}): expected a Signal or None")
    check_on_error("map_columns", on_error)
    # Only here, as they need the extra.
    from rxotlp.columns import check_any
    from rxotlp.columns_changes import change_columns

    if columns is not None:
        check_any("map_columns(columns)", signal, columns)

    def change(data: TelemetryData) -> TelemetryData:
        if signal is not None and data.signal is not signal:
            return data
        whole = data.to_bytes()
        payload = change_columns(data.signal, whole, function, columns)
        return data if payload is whole else data.derive(payload)

    return one_stage((change,), on_error=on_error, name=name, kind="map_columns")
