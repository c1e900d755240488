"""Choosing records by a condition, on whole lists of records."""

from collections.abc import Callable, Iterable

from rxotlp.data import TelemetryData
from rxotlp.wire.records import select_records
from rxotlp.wire.rows import Rows

__all__ = ["selected"]


def selected(
    data: TelemetryData, choose: Callable[[Rows], Iterable[object]]
) -> TelemetryData | None:
    """The records that are chosen, as `TelemetryData.filter_records` gives them."""
    whole = data.to_bytes()
    kept = select_records(data.signal, whole, choose)
    if kept is None:
        return None
    return data if kept[0] is whole else data.derive(kept[0])
