"""A shop's orders as operations: each becomes spans that carry its number, and a measurement."""

from collections.abc import Awaitable, Callable

from rxotlp.flows import (
    AddSpan,
    BatchProcessing,
    Call,
    ComplexTrace,
    EndTrace,
    ExecutionContext,
    HighLatency,
    Metric,
    NestedTrace,
    Operation,
    RecordMetric,
    SpanStatus,
    StartTrace,
)

__all__ = ["KINDS", "SPANS", "Ask"]

Ask = Callable[[], Awaitable[object]]  # for the stock of an order


def _plain(number: int, _ask: Ask) -> list[Operation]:
    """An order that is told of at once."""
    order = [
        StartTrace("order", {"order": number}),
        AddSpan(None, "pay", {"order": number}),
        EndTrace(status=SpanStatus.ERROR if number % 9 == 0 else SpanStatus.OK),
        EndTrace(),
        RecordMetric(Metric("orders", 1, attributes={"kind": "plain"})),
    ]
    return [BatchProcessing(order)]


def _slow(number: int, ask: Ask) -> list[Operation]:
    """One whose stock is asked for elsewhere."""

    async def stock(_: ExecutionContext) -> list[Operation]:
        await ask()
        return [AddSpan(None, "stock", {"order": number}), EndTrace()]

    count = RecordMetric(Metric("orders", 1, attributes={"kind": "slow"}))
    order = [StartTrace("order", {"order": number}), Call(stock), EndTrace(), count]
    return [HighLatency(BatchProcessing(order))]


def _complex(number: int, _ask: Ask) -> list[Operation]:
    """One that is paid first, and then packed and confirmed together."""

    def part(name: str) -> Operation:
        return BatchProcessing([AddSpan(None, name, {"order": number}), EndTrace()])

    root = f"{number + 1:016x}"
    opened = StartTrace("order", {"order": number}, span_id=root)
    count = RecordMetric(Metric("orders", 1, attributes={"kind": "complex"}))
    return [
        ComplexTrace([opened, part("pay")], [part("pack"), part("confirm")]),
        BatchProcessing([EndTrace(root), count]),
    ]


def _nested(number: int, _ask: Ask) -> list[Operation]:
    """One of parcels within parcels. It has no class: the load decides where it is executed."""
    inner: Operation = BatchProcessing([AddSpan(None, "parcel", {"order": number}), EndTrace()])
    for _ in range(3):
        inner = NestedTrace([inner])
    count = RecordMetric(Metric("orders", 1, attributes={"kind": "nested"}))
    return [NestedTrace([StartTrace("order", {"order": number}), inner, EndTrace(), count])]


KINDS: dict[str, Callable[[int, Ask], list[Operation]]] = {
    "plain": _plain,
    "slow": _slow,
    "complex": _complex,
    "nested": _nested,
}
SPANS = {"plain": 2, "slow": 2, "complex": 4, "nested": 2}
