# orders.py
import reactivex as rx
from reactivex import operators as rx_ops

from rxotlp import Pipeline, exporters
from rxotlp import operators as ops
from rxotlp.flows import AddSpan, BatchProcessing, EndTrace, StartTrace, SyncControlFlow


def told(order: str) -> BatchProcessing:
    """What there is to tell of an order: a trace of two spans."""
    start = StartTrace("order", {"order.id": order})
    return BatchProcessing([start, AddSpan(None, "pay"), EndTrace(), EndTrace()])


flow = SyncControlFlow()

with Pipeline(flow.telemetry.pipe(ops.export(exporters.File("orders.jsonl")))):
    orders = rx.of("A-17", "A-18")
    orders.pipe(rx_ops.map(told), ops.execute(flow)).subscribe()
